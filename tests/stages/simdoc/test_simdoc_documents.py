"""The authored documents at three reading levels: complete, apart from each other, and true to their own rules."""

import itertools
import json
import re

import pytest

from catalog.base import io
from catalog.base.params import ROOT, profile_params
from stages.simdoc.evaluate import data_files
from stages.simdoc.settings import Params

LEVELS = ("advanced", "intermediate", "elementary")
WORDS = {"advanced": (200, 310), "intermediate": (150, 240), "elementary": (100, 175)}
TOPICS = ("culture", "health", "history", "nature", "society", "technology")
FOLDER = ROOT / "data" / "graded_documents" / "raw"


@pytest.fixture(scope="module")
def documents():
    return [json.loads(line) for topic in TOPICS for line in (FOLDER / f"{topic}.jsonl").read_text(encoding="utf-8").splitlines()]


def sentences(text):
    return [part for part in re.split(r"(?<=[.!?])\s+", text) if part]


def test_every_document_has_its_levels(documents):
    assert len(documents) == 66 and len({row["id"] for row in documents}) == 66
    assert {path.stem for path in FOLDER.iterdir()} == set(TOPICS)
    for row in documents:
        assert set(row) == {"id", "topic", "title", *LEVELS} and row["id"].startswith(row["topic"] + "-")
        for level in LEVELS:
            text = row[level]
            assert WORDS[level][0] <= len(text.split()) <= WORDS[level][1], (row["id"], level)
            assert text.isascii() and text == text.strip() and len(text.split("\n\n")) >= 2 and len(sentences(text)) >= 6


def test_a_simpler_level_is_shorter_rewritten_and_invents_no_number(documents):
    for row in documents:
        assert len(row["advanced"]) > len(row["intermediate"]) > len(row["elementary"])
        known = set(re.findall(r"\d[\d,.]*\d|\d", row["advanced"]))
        for level in LEVELS[1:]:
            assert set(re.findall(r"\d[\d,.]*\d|\d", row[level])) <= known, (row["id"], level)
        assert len(set(sentences(row["advanced"])) & set(sentences(row["elementary"]))) <= 1, row["id"]
        mean = [len(row[level].split()) / len(sentences(row[level])) for level in LEVELS]
        assert mean[0] > mean[1] > mean[2], row["id"]


def test_no_passage_stands_in_two_documents(documents):
    found = {}
    for row, level in itertools.product(documents, LEVELS):
        words = re.findall(r"\w+", row[level].lower())
        for start in range(len(words) - 9):
            assert found.setdefault(tuple(words[start : start + 10]), row["id"]) == row["id"], row["id"]


def test_the_catalog_has_the_documents_of_the_profile_that_is_made_of_them():
    shown = {profile: data_files(profile, profile_params(Params, "simdoc", profile).data) for profile in ("small", "full")}
    authored = {profile: [path for path, name in files if name == "graded_documents"] for profile, files in shown.items()}
    assert authored == {"small": [FOLDER / f"{topic}.jsonl" for topic in TOPICS], "full": []}
    entries = [row for row in io.read_json(ROOT / "reports/simdoc/small/datasets.json") if row["dataset"] == "graded_documents"]
    assert [row["md5"] for row in entries] == [io.md5(path) for path in authored["small"]] and sum(row["rows"] for row in entries) == 66
