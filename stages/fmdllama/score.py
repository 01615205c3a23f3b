"""`python -m stages.fmdllama.score PREDICTIONS.jsonl`: scores of labels and explanations, beside the majority label.

A line is one answer: ``gold``, the right label; ``text``, what a model wrote, from which label and explanation are read, or ``prediction``,
its label (and ``explanation``); best with ``id``. ``explanation_gold`` is the reference that ROUGE compares with. ``task`` is claim (True,
False or NEI) if not given, or article (True or Fake); tasks are scored apart. Lines of one ``context_id`` are resampled together for the
intervals.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from catalog.base.errors import CatalogError, run
from catalog.base.text import print_out, read_text
from stages.fmdllama import clusters, scores
from stages.fmdllama.answers import MODES, SPELLINGS, STATUSES, parse
from stages.fmdllama.baselines import majority
from stages.fmdllama.files import json_lines
from stages.fmdllama.prompts import LABELS

NAMES = {"accuracy": "accuracy", "micro_f1": "micro-F1, gold labels", "micro_f1_union": "micro-F1, all classes"} | {
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1, gold labels",
    "macro_f1_union": "macro F1, all classes",
    "unreadable": "unreadable",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "unicode_rouge1": "ROUGE-1, all scripts",
    "unicode_rouge2": "ROUGE-2, all scripts",
    "unicode_rougeL": "ROUGE-L, all scripts",
    "empty": "without explanation",
    "words": "words of one, mean",
    "challenge": "challenge score",
}
NOTES = (
    "An unreadable answer is wrong. Gold labels: scores over the labels that the gold column has; all classes: also over others that were "
    "answered, and unreadable answers as a class, where micro-F1 is accuracy.",
    "ROUGE: F1 without stemming, arithmetic mean, tokens of a-z and 0-9; Lsum compares line by line. All scripts: words of any script, "
    "characters of those without spaces; not the published metric.",
    "Challenge score: mean of accuracy and ROUGE-1.",
)


FIELDS = ("id", "gold", "text", "prediction", "explanation", "explanation_gold", "task", "context_id")


@dataclass(frozen=True)
class Row:
    """One answer, read."""

    task: str
    id: str | None
    context: str | None
    gold: str
    label: str | None
    status: str
    explanation: str
    reference: str | None


def load(path: str, mode: str = "strict", labels: Sequence[str] | None = None, unread: Counter[str] | None = None) -> list[Row]:
    """The answers of a file.

    Args:
        labels: in place of those of each line's task.
        unread: is told the names of fields that are not read, and on how many lines: one may be a misspelt `FIELDS`.

    Raises:
        CatalogError: see `stages.fmdllama.files`; a line without gold, without an answer or with two, with an unknown task or label; an id
            that occurs twice in a task, or ids or contexts on some lines alone.
    """
    rows = []
    for number, value in json_lines(read_text(path), path):
        rows.append(_row(value, f"Line {number} of {path}", mode, labels))
        if unread is not None:
            unread.update(key for key in value if key not in FIELDS)
    with_id = [row for row in rows if row.id is not None]
    if with_id and len(with_id) < len(rows):
        raise CatalogError(f"Some lines of {path} have an id and others have none; give all of them one, or none.")
    for task in {row.task for row in rows}:
        if len({row.context is None for row in rows if row.task == task}) > 1:
            raise CatalogError(
                f"Some lines of the task {task} in {path} have a context_id and others have none; give all of them one, or none."
            )
    twice = [key for key, count in Counter((row.task, row.id) for row in with_id).items() if count > 1]
    if twice:
        raise CatalogError(f"The id {twice[0][1]!r} stands twice in {path}; keep one answer to each item, or give each its own id.")
    return rows


def _row(value: Mapping[str, Any], where: str, mode: str, labels: Sequence[str] | None) -> Row:
    if missing := [key for key in ("gold",) if key not in value] or ["text or prediction"] * (
        "text" not in value and "prediction" not in value
    ):
        raise CatalogError(f'{where} lacks {missing[0]}; write {{"id": ..., "gold": ..., "text": ...}} on each line.')
    if "text" in value and "prediction" in value:
        raise CatalogError(f"{where} has both text and prediction; leave the one out that is not to be scored.")
    if "text" in value and "explanation" in value:
        raise CatalogError(f"{where} has an explanation beside the text that it is read from; leave one out, or give prediction for text.")
    task = value.get("task", "claim")
    if not isinstance(task, str) or task not in LABELS:
        raise CatalogError(f"{where} has the task {task!r}; the tasks are {' and '.join(LABELS)}.")
    known = tuple(labels or LABELS[task])
    texts = {key: value.get(key) for key in ("text", "prediction", "explanation", "explanation_gold")}
    if wrong := [key for key, text in texts.items() if text is not None and not isinstance(text, str)]:
        raise CatalogError(f"{where} has {json.dumps(texts[wrong[0]])[:40]} for {wrong[0]}, which must be a text.")
    names = {}
    for key in ("id", "context_id"):
        names[key] = value.get(key)
        if names[key] is not None and (isinstance(names[key], bool) or not isinstance(names[key], (str, int)) or names[key] == ""):
            raise CatalogError(f"{where} has the {key} {json.dumps(names[key])[:40]}, which must be a text or a whole number.")
    names = {key: None if name is None else str(name) for key, name in names.items()}
    gold = _label(value["gold"], known, f"{where} has the gold label")
    if "prediction" in value:
        said = texts["prediction"]
        label = _label(said, known, f"{where} has the prediction") if said and said.strip() else None
        answer = (label, texts["explanation"] or "", "empty" if label is None else "ok")
    else:
        if unread := [name for name in known if name not in SPELLINGS.values()]:
            raise CatalogError(
                f"The label {unread[0]} is not looked for in texts; give prediction in place of text, or use other --labels."
            )
        answer = parse(texts["text"] or "", mode, known)
    return Row(task, names["id"], names["context_id"], gold, answer[0], answer[2], answer[1], texts["explanation_gold"])


def _label(value: Any, known: Sequence[str], where: str) -> str:
    """A label as it is known, whatever its capital letters."""
    spelt = {name.lower(): name for name in known} | {text: name for text, name in SPELLINGS.items() if name in known}
    found = spelt.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise CatalogError(
            f"{where} {json.dumps(value, ensure_ascii=False)[:40]}, which is none of {', '.join(known)}; correct it or use --labels."
        )
    return found


def _spelt(name: str) -> str:
    """A label of the command line as texts give it, whatever its capital letters."""
    return SPELLINGS.get(name.lower(), name)


def measure(rows: Sequence[Row]) -> dict[str, Any]:
    """All scores of the answers of one task, and of the majority label on them.

    Returns:
        ``n``; ``contexts``, how many units the interval is over; ``labels``; ``majority``, the label; ``statuses``, how many of each;
        ``explanations``, how many have a reference; ``not_scorable``, whose reference has no token; ``interval`` of the accuracy, also the
        majority's; and by name of `NAMES` the ``scores`` and the ``trivial`` ones.
    """
    gold, said = [row.gold for row in rows], [row.label for row in rows]
    labels = [name for name in dict.fromkeys([*LABELS[rows[0].task], *gold]) if name in gold]
    most = majority(gold)
    units = [f"context {row.context}" if row.context is not None else f"line {number}" for number, row in enumerate(rows)]
    context = np.unique(units, return_inverse=True)[1]
    found: dict[str, Any] = {"n": len(rows), "contexts": int(context.max()) + 1, "labels": labels, "majority": most}
    found["statuses"] = {name: count for name in STATUSES if (count := sum(row.status == name for row in rows))}
    for name, answers in (("scores", said), ("trivial", [most] * len(gold))):
        own = scores.classification(gold, answers, labels)
        found[name] = {key: value for key, value in own.items() if key != "n"}
        right = np.array([one == other for one, other in zip(gold, answers)], dtype=np.float64)
        found[f"{name}_interval"] = list(clusters.ratio(context, right, np.ones(len(gold)))[1:])
    pairs = [(row.reference, row.explanation) for row in rows if row.reference is not None]
    found["explanations"] = len(pairs)
    found["not_scorable"] = 0
    if pairs:
        own, found["not_scorable"] = explanation_scores(*zip(*pairs))
        found["scores"] |= own
    if len(pairs) == len(rows) and not found["not_scorable"]:  # both parts are of the same answers
        found["scores"]["challenge"] = scores.challenge(found["scores"]["accuracy"], found["scores"]["rouge1"])
    return found


def explanation_scores(references: Sequence[str], candidates: Sequence[str]) -> tuple[dict[str, float], int]:
    """Scores of explanations, and how many references the published ROUGE finds no token in, which it leaves out."""
    plain = scores.rouge(references, candidates)
    found = {name: value for name, value in scores.mean_rouge(plain).items() if name != "n"}
    scorer = RougeScorer(["rougeLsum"], use_stemmer=False)
    lines = [
        scorer.score(one, other)["rougeLsum"].fmeasure for one, other, score in zip(references, candidates, plain) if score is not None
    ]
    if lines:
        found["rougeLsum"] = float(np.mean(lines))
    if scores.needs_unicode([*references, *candidates]):
        every = scores.mean_rouge(scores.rouge(references, candidates, unicode=True))
        found |= {f"unicode_{name}": value for name, value in every.items() if name != "n"}
    found["empty"] = float(np.mean([not text.strip() for text in candidates]))
    found["words"] = float(np.mean([len(text.split()) for text in candidates]))
    return found, plain.count(None)


def table(task: str, found: Mapping[str, Any]) -> str:
    """Scores of `measure` as text."""
    over = "" if found["contexts"] == found["n"] else f" on {found['contexts']} contexts"
    lines = [f"{task}: {found['n']} answers{over}, gold labels {', '.join(found['labels'])}", ""]
    lines.append(f"{'':<26}{'answers':>26}{'always ' + found['majority']:>26}")
    names = {**NAMES, **{f"f1_{label}": f"F1 of {label}" for label in found["labels"]}}
    for key in (*list(NAMES)[:7], *(f"f1_{label}" for label in found["labels"]), *list(NAMES)[7:]):
        if key in found["scores"]:
            cells = [
                _cell(found[side].get(key), found[f"{side}_interval"] if key == "accuracy" else None) for side in ("scores", "trivial")
            ]
            lines.append(f"  {names[key]:<24}{cells[0]:>26}{cells[1]:>26}")
    lines += ["", "read: " + ", ".join(f"{count} {name}" for name, count in found["statuses"].items())]
    if found["explanations"]:
        lines.append(f"explanations with a reference: {found['explanations']}, of which not scorable: {found['not_scorable']}")
    return "\n".join(lines)


def _cell(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" + ("" if interval is None else f" [{interval[0]:.4f}, {interval[1]:.4f}]")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the file named on the command line, score, and print."""
    options = _parser().parse_args(argv)
    labels = None if options.labels is None else [_spelt(name.strip()) for name in options.labels.split(",")]
    if labels is not None and (len(set(labels)) < len(labels) or len(labels) < 2 or not all(labels)):
        raise CatalogError(f"--labels {options.labels} names no two different labels; write them with commas, as True,False,NEI.")
    unread: Counter[str] = Counter()
    rows = load(options.predictions, options.mode, labels, unread)
    tasks = {task: measure([row for row in rows if row.task == task]) for task in dict.fromkeys(row.task for row in rows)}
    notes = list(NOTES)
    if unread:
        notes.insert(0, "Fields not read: " + ", ".join(f"{name} ({n} lines)" for name, n in sorted(unread.items())) + ".")
    result = {"mode": options.mode, "tasks": tasks, "notes": notes}
    text = "\n\n".join([*(table(task, found) for task, found in tasks.items()), "\n".join(notes)])
    if options.json:
        text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    print_out(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stages.fmdllama.score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", metavar="PREDICTIONS.jsonl", help="one JSON object a line")
    parser.add_argument("--mode", choices=MODES, default="strict", help="how answers are read: strict, or as the paper's notebook does")
    parser.add_argument("--labels", help="labels with commas, in place of those of the task")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    run(lambda: main(), [])
