"""What FinLLaMA-Instruct is tuned on: four sources merged into one set, without what two of them share.

The paper merges five published collections, 594,000 instructions, and removes about 30,000 rows that several have. Here the sources are

* tasks: the train split of every offline task (`offline`), as FLUPE is of the benchmark's sets;
* collection: sentiment, headlines, named entities and finance questions put together anew, half of them texts of `tasks`, with another
  wording of what is asked, as collections repackage published sets;
* checks: claims on a day's price with a verdict, in the manner of sets on financial misinformation;
* sums: percentages in words, in place of the general mathematics that is 46 % of the paper's instructions.

Rows are told by a hash of their normalised text and question, not of the wording of the instruction. The first source that has a text
keeps it, in the order above; a text of valid or test is in no source. Writes `data/finance_instructions/<profile>/`: `items.parquet`,
in random order, so that any first rows are a sample of all, `sources.parquet`, `duplicates.parquet`. Imports no torch.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.open_finllms import offline, offline_notes
from stages.open_finllms.offline_facts import Day, Facts
from stages.open_finllms.offline_wordings import INSTRUCTIONS
from stages.open_finllms.settings import Instructions, Params
from stages.open_finllms.tasks import FOLDER, Task, prepared
from stages.open_finllms.tasks import load as load_tasks

SYSTEM = "open_finllms"
OFFLINE = FOLDER / "offline"
REPACKED = ("sentiment", "headlines", "ner", "fiqa")  # tasks that the collection has, too
SOURCES = ("tasks", "checks", "sums", "collection")
_NEW = 2  # a collection draws from the task's rows and as many others: one share in so many is of the task

Row = dict[str, Any]
CLAIMS = {
    "up": (
        "{name} rose on {date}.",
        "On {date} the share of {name} gained in value.",
        "The close of {name} on {date} was above the one before.",
    ),
    "down": (
        "{name} fell on {date}.",
        "On {date} the share of {name} lost value.",
        "The close of {name} on {date} was below the one before.",
    ),
}
CHECK = "Decide from the evidence whether the claim is True or False.\nEvidence: {evidence}\nClaim: {claim}\nAnswer:"
SUMS = (
    "A price goes from {a} to {b}. By how many per cent does it change, to one decimal?",
    "What is {p} per cent of {a}, to two decimals?",
    "A fund of {a} grows by {p} per cent. What is it worth then, to two decimals?",
)


def of_tasks(items: pl.DataFrame) -> dict[str, list[Row]]:
    """Rows of the split train by task."""
    train = items.filter(pl.col("split") == "train")
    return {task: train.filter(pl.col("task") == task).to_dicts() for task in train["task"].unique(maintain_order=True)}


def collection(train: Mapping[str, list[Row]], fresh: Mapping[str, Iterator[Row]], p: Instructions, seed: int) -> Iterator[Row]:
    """Rows of the repacked tasks, drawn from those of the source `tasks` and as many others, asked for in new words.

    Args:
        fresh: further rows of each task.
    """
    for task in REPACKED:
        rng = random.Random(f"{seed}:collection:{task}")
        own = train[task]
        seen = {offline.text_key(row) for row in own}
        others: list[Row] = []
        for row in fresh[task]:
            if len(others) == (_NEW - 1) * len(own):
                break
            if offline.text_key(row) not in seen:
                seen.add(offline.text_key(row))
                others.append(dict.fromkeys(offline.SCHEMA) | {"question": ""} | row)
        pool = own + others
        for row in rng.sample(pool, min(len(pool), round(p.collection * len(own)))):
            yield row | {"task": task, "instruction": rng.choice(INSTRUCTIONS[task]["train"])}


def checks(facts: Facts, n: int, seed: int) -> Iterator[tuple[str, str]]:
    """(prompt, answer): claims on the direction of a day, as often True as False."""
    rng = random.Random(f"{seed}:checks")
    days: Iterator[Day] = (day for day in facts.drawn("train", rng) if day.direction in CLAIMS)
    for at, day in zip(range(n), days):
        said = rng.choice(offline_notes.NOTES["train"]["any" if rng.random() < offline_notes.ANY else day.direction]).format(**day.fields)
        claimed = day.direction if at % 2 == 0 else ("down" if day.direction == "up" else "up")
        claim = rng.choice(CLAIMS[claimed]).format(**day.fields)
        yield CHECK.format(evidence=said, claim=claim), "True" if claimed == day.direction else "False"


def sums(n: int, seed: int) -> Iterator[tuple[str, str]]:
    """(prompt, answer): percentages in words."""
    rng = random.Random(f"{seed}:sums")
    for at in range(n):
        a, b, p = rng.randrange(20, 400), rng.randrange(20, 400), rng.randrange(1, 60)
        answers = (f"{100 * (b / a - 1) + 0.0:.1f}", f"{a * p / 100:.2f}", f"{a * (1 + p / 100):.2f}")
        kind = at % len(SUMS)
        yield f"{SUMS[kind].format(a=a, b=b, p=p)}\nAnswer:", answers[kind]


def shortened(text: str, words: int) -> str:
    """The first words of a text, as they stand; all of a shorter one."""
    parts = text.split(" ")
    return text if len(parts) <= words else " ".join(parts[:words])


def asked(tasks: Mapping[str, Task], row: Row, words: int) -> tuple[str, str]:
    """(prompt, answer) of a row by the task's own template, so that training and evaluation put it alike."""
    task = tasks[row["task"]]
    made = prepared(task, [row | {"id": "one", "unit": "one", "context": shortened(row["context"], words)}], "the offline tasks")[0]
    return made["prompt"], made["gold"]


def merge(
    sources: Mapping[str, list[tuple[str, str, bytes, str, str]]], kept_out: Mapping[bytes, str]
) -> tuple[list[Row], pl.DataFrame, pl.DataFrame]:
    """Rows without repeats, counts by source, duplicates by pair of sources.

    Args:
        sources: name -> (task, split, text's hash, prompt, answer), in the order of precedence.
        kept_out: hashes of texts of valid and test -> split.
    """
    first: dict[bytes, str] = dict(kept_out)
    pairs: Counter[tuple[str, str]] = Counter()
    rows, counts = [], []
    for source, found in sources.items():
        kept = 0
        for task, split, mark, prompt, answer in found:
            if mark in first:
                pairs[first[mark], source] += 1
                continue
            first[mark] = source
            kept += 1
            rows.append({"id": f"{source}:{kept}", "source": source, "task": task, "split": split, "prompt": prompt, "answer": answer})
        counts.append({"source": source, "before": len(found), "after": kept})
    table = pl.DataFrame(
        [{"kept": kept, "other": other, "n": n} for (kept, other), n in sorted(pairs.items())],
        schema={"kept": pl.String, "other": pl.String, "n": pl.Int64},
    )
    return rows, pl.DataFrame(counts), table


def build(
    items: pl.DataFrame, facts: Facts, fresh: Mapping[str, Iterator[Row]], tasks: Mapping[str, Task], p: Instructions, seed: int
) -> dict[str, pl.DataFrame]:
    """The tables `items`, `sources` and `duplicates`; rows of the split valid are those of the offline tasks."""
    train = of_tasks(items)
    key = offline.key
    rows = {"tasks": [row for some in train.values() for row in some], "collection": list(collection(train, fresh, p, seed))}
    made = {
        name: [(row["task"], "train", offline.text_key(row), *asked(tasks, row, p.words)) for row in some] for name, some in rows.items()
    }
    made["checks"] = [("checks", "train", key(prompt), prompt, answer) for prompt, answer in checks(facts, p.checks, seed)]
    made["sums"] = [("sums", "train", key(prompt), prompt, answer) for prompt, answer in sums(p.sums, seed)]
    others = [row for row in items.to_dicts() if row["split"] != "train"]
    merged, counts, pairs = merge({name: made[name] for name in SOURCES}, {offline.text_key(row): row["split"] for row in others})
    random.Random(f"{seed}:instructions").shuffle(merged)
    for row in others:
        if row["split"] == "valid":
            prompt, answer = asked(tasks, row, p.words)
            merged.append({"id": row["id"], "source": "tasks", "task": row["task"], "split": "valid", "prompt": prompt, "answer": answer})
    return {"items": pl.DataFrame(merged), "sources": counts, "duplicates": pairs}


def further(facts: Facts, p: Params, real: Mapping[str, Mapping[str, list[Row]]], items: pl.DataFrame) -> dict[str, Iterator[Row]]:
    """More rows of each repacked task: independent draws on the days of train, and real rows that the tasks left."""
    used = {offline.text_key(row) for row in items.to_dicts()}
    streams = offline.streams(facts, p.tasks, p.seed, real, name="collection")
    found = {task: rows for task, split, rows in streams if split == "train" and task in REPACKED}
    return {task: (row for row in rows if offline.text_key(row) not in used) for task, rows in found.items()}


def main(profile: str) -> None:
    """Write `data/finance_instructions/<profile>/`."""
    p = profile_params(Params, SYSTEM, profile)
    path = ROOT / "data" / "finance_tasks" / profile / "items.parquet"
    require_dep(path.parent, ROOT)
    if not path.is_file():
        raise CatalogError(f"The instructions need {path.relative_to(ROOT)}, which is absent; run `dvc repro {SYSTEM}_tasks` to make it.")
    items = pl.read_parquet(path)
    facts, real = offline.load(profile, p)
    tables = build(items, facts, further(facts, p, real, items), load_tasks(OFFLINE), p.instructions, p.seed)
    with atomic_dir(ROOT / "data" / "finance_instructions" / profile) as folder:
        for name, table in tables.items():
            write_parquet(table, folder / f"{name}.parquet")


if __name__ == "__main__":
    run(main)
