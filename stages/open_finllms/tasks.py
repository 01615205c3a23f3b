"""Registry of text tasks: one YAML file a task in `tasks/`, in the form of lm-evaluation-harness, read, checked and rendered.

Of that form we use task, tag, include, dataset_path, dataset_name, dataset_kwargs, the splits, doc_to_text, doc_to_target, doc_to_choice,
output_type, generation_kwargs, num_fewshot, fewshot_delimiter, target_delimiter, metric_list and metadata. Ours are

    scorer: classes           one of stages.open_finllms.scoring.SCORERS
    scorer_options: {...}     what that scorer lets a task set
    mode: [paper, strict]     how it is scored
    id_column: id             null where a set has no ids: the number of the row
    unit_column: document     questions with the same value are resampled together

Rows come from a local file: `dataset_kwargs.data_files` where the set is the user's own (dataset_path json, csv or parquet), otherwise a
file that somebody got from the hub. Templates are Jinja in a sandbox without globals: they see the row's columns and nothing else, a column
that is not there is an error, and a row's text is never itself read as a template.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from catalog.base.errors import CatalogError
from stages.open_finllms.score_common import MODES
from stages.open_finllms.scoring import SCORERS
from stages.open_finllms.task_rows import read_rows

FOLDER = Path(__file__).parent / "tasks"
_LOCAL = ("json", "csv", "parquet")  # names of dataset_path that mean: the user's own file
_REQUIRED = (
    "task", "tag", "dataset_path", "test_split", "doc_to_text", "doc_to_target", "output_type", "generation_kwargs", "num_fewshot",
    "metric_list", "metadata", "scorer", "mode",
)  # fmt: skip
_OPTIONAL = (
    "include", "dataset_name", "dataset_kwargs", "training_split", "validation_split", "fewshot_split", "doc_to_choice",
    "fewshot_delimiter", "target_delimiter", "scorer_options", "id_column", "unit_column",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A task as its file has it."""

    task: str
    tag: tuple[str, ...]  # zero_shot, few_shot, instruct, extra
    dataset_path: str
    test_split: str
    doc_to_text: str
    doc_to_target: str
    output_type: str
    generation_kwargs: Mapping[str, Any]
    num_fewshot: int
    metric_list: tuple[Mapping[str, Any], ...]
    metadata: Mapping[str, Any]  # version; n, metric: test items and metric that the paper prints
    scorer: str
    mode: tuple[str, ...]
    doc_to_choice: str | tuple[str, ...] | None = None  # a column with the list, or the list
    dataset_name: str | None = None
    dataset_kwargs: Mapping[str, Any] = field(default_factory=dict)  # revision, data_files, layout
    training_split: str | None = None
    validation_split: str | None = None
    fewshot_split: str | None = None
    fewshot_delimiter: str = "\n\n"
    target_delimiter: str = " "
    scorer_options: Mapping[str, Any] = field(default_factory=dict)
    id_column: str | None = "id"  # null: the number of the row
    unit_column: str | None = None  # questions with the same value share a document, and are resampled together

    @property
    def columns(self) -> tuple[str, ...]:
        """Every published column that the task reads."""
        found = {*_variables(self.doc_to_text), *_variables(self.doc_to_target), *SCORERS[self.scorer].columns}
        found |= {self.doc_to_choice} if isinstance(self.doc_to_choice, str) else set()
        found |= {name for name in (self.id_column, self.unit_column) if name}
        return tuple(sorted(found))


def load(folder: Path = FOLDER) -> dict[str, Task]:
    """All tasks of a folder by name, checked."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise CatalogError(f"{folder} has no task: put YAML files there, one a task.")
    tasks: dict[str, Task] = {}
    where: dict[str, Path] = {}
    for path in files:
        task = load_task(path)
        if task.task in tasks:
            raise CatalogError(f"{where[task.task].name} and {path.name} both name their task {task.task}; give each a name of its own.")
        tasks[task.task], where[task.task] = task, path
    return tasks


def load_task(path: Path) -> Task:
    """One file, with what it includes."""
    content = _content(path)
    if "include" in content:
        base = path.parent / str(content.pop("include"))
        if base.parent != path.parent:
            raise CatalogError(f"{path.name} includes {base.name} from another folder; a task includes a file beside it.")
        below = _content(base)
        if "include" in below:
            raise CatalogError(f"{path.name} includes {base.name}, which includes a file itself; include that one.")
        content = {**below, **content}
    for name in _REQUIRED:
        if name not in content:
            raise CatalogError(f"{path.name} has no {name}; a task needs {', '.join(_REQUIRED)}.")
    unknown = sorted(content.keys() - set(_REQUIRED) - set(_OPTIONAL))
    if unknown:
        raise CatalogError(f"{path.name} has {unknown[0]}, which no task has; check its spelling.")
    for name in ("tag", "mode"):
        content[name] = (content[name],) if isinstance(content[name], str) else content[name]
    content = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    _check(path.name, content)
    return Task(**content)


def _content(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CatalogError(f"There is no task file {path}.") from error
    except yaml.YAMLError as error:
        raise CatalogError(f"{path.name} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(found, dict):
        raise CatalogError(f"{path.name} must hold the fields of a task.")
    return found


def _check(where: str, content: Mapping[str, Any]) -> None:
    kinds = {
        "task": str,
        "dataset_path": str,
        "test_split": str,
        "doc_to_text": str,
        "doc_to_target": str,
        "num_fewshot": int,
        "metadata": dict,
    }
    for name, kind in kinds.items():
        if not isinstance(content[name], kind):
            raise CatalogError(f"{where}: {name} is {content[name]!r}, but must be of type {kind.__name__}.")
    if content["scorer"] not in SCORERS:
        raise CatalogError(f"{where} names the scorer {content['scorer']}, which there is not; there are {', '.join(SCORERS)}.")
    scorer, options = SCORERS[content["scorer"]], content.get("scorer_options", {})
    for name in options:
        if name not in scorer.options:
            known = ", ".join(scorer.options) or "none"
            raise CatalogError(f"{where} sets {name} for the scorer {content['scorer']}, whose options are: {known}.")
    for name in scorer.needed:
        if name not in options:
            raise CatalogError(f"{where} has no scorer_options.{name}, without which the scorer {content['scorer']} does not run.")
    if scorer.choices and "doc_to_choice" not in content:
        raise CatalogError(f"{where} has no doc_to_choice, which the scorer {content['scorer']} needs.")
    if set(content["mode"]) - set(MODES) or not content["mode"]:
        raise CatalogError(f"{where} has the mode {', '.join(map(str, content['mode'])) or 'none'}; there are {' and '.join(MODES)}.")
    for entry in content["metric_list"]:
        if not isinstance(entry, Mapping) or entry.get("metric") not in scorer.metrics:
            raise CatalogError(f"{where} lists the metric {entry!r}; the scorer {content['scorer']} gives {', '.join(scorer.metrics)}.")
    if content["output_type"] != "generate_until":
        raise CatalogError(f"{where} has output_type {content['output_type']}, but answers are generated here: generate_until.")
    if "version" not in content["metadata"]:
        raise CatalogError(f"{where} has no metadata.version.")
    for name in ("doc_to_text", "doc_to_target"):
        _variables(content[name], f"{where}, {name}")


# --- Templates ----------------------------------------------------------------------------------------------------------------


def _printed(value: Any) -> Any:
    if value is None:
        raise TypeError("a column that it prints is empty in this row")
    return value


_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_printed)
_ENVIRONMENT.globals.clear()  # lm-evaluation-harness has some; a template here sees its row only


@lru_cache
def _variables(template: str, where: str = "A template") -> frozenset[str]:
    """Columns that a template names."""
    try:
        return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(template)))
    except TemplateError as error:
        raise CatalogError(f"{where}, is no Jinja template: {error}.") from error


@lru_cache
def _compiled(template: str) -> Template:
    return _ENVIRONMENT.from_string(template)


def render(template: str, row: Mapping[str, Any], where: str) -> str:
    """A template filled with a row."""
    try:
        return _compiled(template).render(**row)
    except SecurityError as error:
        raise CatalogError(f"{where}: the template does what is not allowed: {error}.") from error
    except (TemplateError, TypeError, KeyError, ValueError, IndexError) as error:
        raise CatalogError(f"{where}: the template cannot be filled: {error}.") from error


# --- Rows ---------------------------------------------------------------------------------------------------------------------


def rows(task: Task, path: Path | None = None, split: str | None = None, root: Path = Path()) -> list[dict[str, Any]]:
    """Rows of a task as `scoring.score` takes them: the published columns, and id, prompt, gold, choices, unit.

    Args:
        path: the file; that of `dataset_kwargs.data_files` by default.
        split: of data_files; the test split by default.
        root: what data_files are relative to.
    """
    if path is None:
        path = root / local_file(task, split or task.test_split)
    return prepared(task, read_rows(path, task.dataset_kwargs.get("layout")), str(path))


def local_file(task: Task, split: str) -> str:
    """File that a task names for a split."""
    files = task.dataset_kwargs.get("data_files") or {}
    if split not in files:
        origin = "the user's own file" if task.dataset_path in _LOCAL else f"{task.dataset_path} on the hub"
        raise CatalogError(f"Task {task.task} names no local file for its split {split}; it comes from {origin}: name a file.")
    return files[split]


def prepared(task: Task, found: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """Published rows checked against the task's columns, with what the scorer needs."""
    prepared_rows, columns = [], task.columns
    for at, row in enumerate(found, start=1):
        lacking = [name for name in columns if name not in row]
        if lacking:
            raise CatalogError(
                f"Row {at} of {where} lacks {', '.join(lacking)}, which task {task.task} reads; its columns are {', '.join(sorted(row))}."
            )
        here = f"Task {task.task}, row {at} of {where}"
        empty = [name for name in (task.id_column, task.unit_column, task.doc_to_choice) if isinstance(name, str) and row[name] is None]
        if empty:
            raise CatalogError(f"{here}: {', '.join(empty)} is empty.")
        choices = row[task.doc_to_choice] if isinstance(task.doc_to_choice, str) else task.doc_to_choice
        if choices is not None and (isinstance(choices, str) or not choices):
            raise CatalogError(f"{here}: its choices are {choices!r}, but must be a list.")
        if choices is not None and isinstance(row.get("gold"), int) and not 0 <= row["gold"] < len(choices):
            raise CatalogError(f"{here}: gold is {row['gold']}, but its {len(choices)} choices are numbered from 0.")
        prepared_rows.append(
            dict(row)
            | {
                "id": str(row[task.id_column] if task.id_column else at),
                "prompt": render(task.doc_to_text, row, here),
                "gold": render(task.doc_to_target, row, here),
            }
            | ({"choices": list(choices)} if choices is not None else {})
            | ({"unit": str(row[task.unit_column])} if task.unit_column else {})
        )
    return prepared_rows


def prompts(task: Task, questions: Sequence[Mapping[str, Any]], examples: Sequence[Mapping[str, Any]] = (), seed: int = 0) -> list[str]:
    """Prompts of prepared rows, with `num_fewshot` examples before each: the same ones for every question, none of them a question.

    Raises:
        CatalogError: too few examples that are not among the questions.
    """
    asked = {row["prompt"] for row in questions}
    others = [row for row in examples if row["prompt"] not in asked]
    if len(others) < task.num_fewshot:
        raise CatalogError(f"Task {task.task} needs {task.num_fewshot} examples that are no questions, but there are {len(others)}.")
    shown = random.Random(seed).sample(others, task.num_fewshot)
    before = "".join(row["prompt"] + task.target_delimiter + row["gold"] + task.fewshot_delimiter for row in shown)
    return [before + row["prompt"] for row in questions]
