"""Published sets load whole, and trivial answers to them get what can be counted by hand. Set CATALOG_REAL_DATA to a folder with them."""

import os
from collections import Counter
from pathlib import Path

import pytest

from stages.open_finllms import tasks
from stages.open_finllms.scoring import score

FOLDER = os.environ.get("CATALOG_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="CATALOG_REAL_DATA names no folder with the published sets")


def rows(task, *path):
    path = Path(FOLDER, *path)
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return tasks.rows(tasks.load()[task], path)


@pytest.mark.parametrize(
    ("file", "n", "counts"),
    [
        ("Sentences_AllAgree.txt", 2264, {"neutral": 1391, "positive": 570, "negative": 303}),
        ("Sentences_75Agree.txt", 3453, {"neutral": 2146, "positive": 887, "negative": 420}),
    ],
)
def test_phrasebank(file, n, counts):
    found = rows("phrasebank", "phrasebank", file)
    assert len(found) == n and Counter(row["gold"] for row in found) == counts
    share = counts["neutral"] / n
    for mode in ("paper", "strict"):
        always = score("classes", found, {row["id"]: "neutral" for row in found}, mode, {"mcc": True})
        assert always["acc"].value == pytest.approx(share) and always["acc"].missing == 0
        for metric in ("acc", "f1", "macro_f1", "mcc", "mcc_50"):  # the commonest label is the best constant answer
            assert always[metric].value == pytest.approx(always[metric].constant)
        assert always["f1"].value == pytest.approx(share * 2 * share / (1 + share))
    # The sentence itself as its answer: what each reader finds in texts that give no label.
    echo = {row["id"]: row["text"] for row in found}
    paper, strict = (score("classes", found, echo, mode) for mode in ("paper", "strict"))
    assert 0.9 < strict["acc"].missing < 1 and 0.9 < paper["acc"].missing < 1


def test_tatqa():
    found = rows("tatqa", "tatqa", "tatqa_dataset_dev.json")
    assert len(found) == 1668 and len({row["unit"] for row in found}) == 278
    assert Counter(row["answer_type"] for row in found) == {"span": 701, "arithmetic": 718, "multi-span": 217, "count": 32}
    gold = score("questions", found, {row["id"]: row["gold"] for row in found}, "strict")
    assert gold["acc"].value == 1 and gold["acc"].units == 278
    wrapped = {row["id"]: f"We compute it.\nAnswer: {row['gold']}" for row in found}
    assert score("questions", found, wrapped, "strict")["acc"].value == 1
    assert score("questions", found, wrapped, "paper")["acc"].value == 0
    commonest, count = Counter(row["gold"] for row in found).most_common(1)[0]
    always = score("questions", found, {row["id"]: commonest for row in found}, "paper")
    assert always["acc"].value == pytest.approx(count / 1668) == always["acc"].constant
    assert always["acc"].low < always["acc"].value < always["acc"].high
