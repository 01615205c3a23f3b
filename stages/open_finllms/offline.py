"""The offline tasks: for each task type of the paper a set that can be had or made without the hub, in the columns of the task files.

Credit is scored on the real German table; shares move as they really did (rule of ACL18); finance questions are FiQA's and summaries
XSum's. Where no real set can be had, texts are authored on real prices and labels follow by rule: sentiment of notes, questions on
headlines, named entities, relations, questions on tables. The published sets themselves run through the same code once somebody has their
files (`tasks/*.yaml`); those of this stage are `tasks/offline/*.yaml`.

Splits share no share, no day, no wording of a text and no wording of an instruction. Writes `data/finance_tasks/<profile>/items.parquet`,
key [task, id]; a row a question, `unit` what is resampled together. Imports no torch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.open_finllms import offline_notes, offline_real, offline_tables
from stages.open_finllms.dedup import key
from stages.open_finllms.offline_facts import Facts
from stages.open_finllms.offline_wordings import SPLITS
from stages.open_finllms.settings import Params, Tasks

SYSTEM = "open_finllms"
AUTHORED = ("sentiment", "headlines", "ner", "relations", "table_qa")  # real prices, texts of ours
SCHEMA = {
    **dict.fromkeys(
        ("task", "id", "type", "split", "origin", "unit", "instruction", "context", "question", "gold", "label_type", "text", "template",
         "asset", "date"),
        pl.String,
    ),
    **dict.fromkeys(("choices", "label"), pl.List(pl.String)),
}  # fmt: skip
_TRIES = 50  # draws for each item wanted, before a pool counts as empty

Row = dict[str, Any]


def streams(
    facts: Facts, p: Tasks, seed: int, real: Mapping[str, Mapping[str, list[Row]]], name: str = "tasks"
) -> Iterator[tuple[str, str, Iterator[Row]]]:
    """(task, split, its rows without an end, or as many as there are). `name` tells independent draws apart."""
    drawn = {
        "sentiment": offline_notes.sentiment,
        "headlines": offline_notes.headlines,
        "ner": offline_notes.ner,
        "relations": offline_notes.relations,
        "table_qa": lambda *given: offline_tables.table_qa(*given, p),
        "stock": lambda *given: offline_tables.stock(*given, p),
    }
    for task, make in drawn.items():
        for split in SPLITS:
            yield task, split, make(facts, split, random.Random(f"{seed}:{name}:{task}:{split}"))
    for task, by_split in real.items():
        for split in SPLITS:
            yield task, split, iter(by_split[split])


def text_key(row: Row) -> bytes:
    """What a row is told by: its text and its question, not how it is asked for."""
    return key(f"{row['context']}\n{row.get('question') or ''}")


def take(rows: Iterator[Row], task: str, split: str, n: int, taken: set[bytes], endless: bool) -> list[Row]:
    """The first `n` rows whose text is none of `taken`; of a real set fewer, if there are no more.

    Raises:
        CatalogError: a set that is drawn does not have so many.
    """
    found: list[Row] = []
    for row in islice(rows, _TRIES * n if endless else None):
        if len(found) == n:
            break
        mark = text_key(row)
        if mark not in taken:
            taken.add(mark)
            found.append(row)
    if endless and len(found) < n:
        raise CatalogError(f"The task {task} gives {len(found)} different items of {split}, not {n}; lower tasks.sizes.{task}.")
    return found


def build(facts: Facts, p: Tasks, seed: int, real: Mapping[str, Mapping[str, list[Row]]]) -> pl.DataFrame:
    """The table `items`. A text is in it once at most, whatever its split."""
    taken: dict[str, set[bytes]] = {}
    rows = []
    for task, split, stream in streams(facts, p, seed, real):
        if task not in p.sizes:
            raise CatalogError(f"tasks.sizes has no {task}; give its items of train, valid and test.")
        n = p.sizes[task][SPLITS.index(split)]
        for at, row in enumerate(take(stream, task, split, n, taken.setdefault(task, set()), task not in real), start=1):
            name = f"{task}:{split}:{at}"
            base = {"task": task, "id": name, "split": split, "origin": "authored" if task in AUTHORED else "real"}
            unit = f"{split} {row['unit']}" if row.get("unit") else name
            rows.append(dict.fromkeys(SCHEMA) | {"question": "", "label_type": ""} | row | base | {"unit": unit})
    return pl.DataFrame(rows, schema=SCHEMA)


def load(profile: str, p: Params, root: Path = ROOT) -> tuple[Facts, dict[str, dict[str, list[Row]]]]:
    """Facts of the prices, and the real sets."""
    prices = root / "data" / "prices" / profile
    require_dep(prices, root)
    if not prices.is_dir():
        raise CatalogError(f"The tasks need {prices.relative_to(root)}, which is absent; run `dvc repro {SYSTEM}_prices` to make it.")
    facts = Facts(pl.read_parquet(prices / "daily.parquet"), pl.read_parquet(prices / "listings.parquet"), p.tasks)
    real = {
        "german": offline_real.german(offline_real.asset(offline_real.GERMAN, root), p.seed),
        "fiqa": offline_real.fiqa(offline_real.asset(offline_real.FIQA, root), p.tasks, p.seed),
        "summaries": offline_real.summaries(root, p.corpus, p.tasks, p.seed),
    }
    return facts, real


def main(profile: str) -> None:
    """Write `data/finance_tasks/<profile>/`."""
    p = profile_params(Params, SYSTEM, profile)
    facts, real = load(profile, p)
    with atomic_dir(ROOT / "data" / "finance_tasks" / profile) as folder:
        write_parquet(build(facts, p.tasks, p.seed, real), folder / "items.parquet")


if __name__ == "__main__":
    run(main)
