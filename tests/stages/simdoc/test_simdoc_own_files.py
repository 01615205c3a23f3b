"""Corpora of the user's own: what is wrong with a file is one sentence that names the line."""

import csv

import pytest
from jsonl_pairs import pair, write_lines

from catalog.base.errors import CatalogError
from stages.simdoc import corpora


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (pair("b", source="猫坐在垫子上。它睡着了。"), "own.jsonl, line 2: source is not in Latin letters; words, sentences and syllables"),
        (pair("b", target="Кот спит."), "own.jsonl, line 2: target is not in Latin letters"),
        (pair("b", topic=["sea"]), "own.jsonl, line 2 has no text for 'topic'"),
        (pair("b", topic={"sea": 1}), "own.jsonl, line 2 has no text for 'topic'"),
        (pair("b", topic=3), "own.jsonl, line 2 has no text for 'topic'"),
        (pair("a", topic="land", levels=("hard", "easy")), "own.jsonl, line 2: 'a' has the topic 'sea' before; give an id one topic"),
    ],
)
def test_a_row_that_is_no_pair_is_one_sentence(tmp_path, row, message):
    with pytest.raises(CatalogError, match=message):
        corpora.load("jsonl", write_lines(tmp_path / "own.jsonl", [pair("a", topic="sea"), row]))


def test_a_pair_in_other_letters_is_refused_in_the_documents_of_levels_too(tmp_path):
    row = {"id": "a", "topic": "t", "title": "T", "advanced": "One two three.", "intermediate": "猫坐在垫子上。", "elementary": "One."}
    write_lines(tmp_path / "own.JSONL", [row])
    with pytest.raises(CatalogError, match="own.JSONL, line 1: intermediate is not in Latin letters"):
        corpora.load("graded", tmp_path)


def test_the_topic_of_an_id_may_stand_in_a_later_row_alone(tmp_path):
    rows = [pair("a"), pair("a", target="Middle text.", levels=("hard", "middle"), topic="sea"), pair("b", "Other long text.", "Other.")]
    corpus = corpora.load("jsonl", write_lines(tmp_path / "own.jsonl", rows))
    assert dict(corpus.documents.select("id", "topic").iter_rows()) == {"a": "sea", "b": None}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "id": "b"}', "Line 2 of own.jsonl cannot be read as JSON: the key 'id' occurs twice in one object"),
        ('{"id": ' + "[" * 100_000, "Line 2 of own.jsonl cannot be read as JSON: it is nested more than"),
    ],
)
def test_json_that_loses_a_key_or_has_no_end_is_one_sentence(tmp_path, line, message):
    path = write_lines(tmp_path / "own.jsonl", [pair()])
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=message):
        corpora.load("jsonl", path)


# --- Newsela ------------------------------------------------------------------------------------------------------------------------------


def newsela(folder, *rows):
    """A table of the corpus with one article a row (version, title), and the articles."""
    (folder / "articles").mkdir(exist_ok=True)
    with (folder / "articles_metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slug", "language", "title", "version", "filename"])
        for place, (version, title, *more) in enumerate(rows):
            table.writerow(["owl", "en", title, version, f"owl.en.{place}.txt", *more])
            (folder / "articles" / f"owl.en.{place}.txt").write_text(f"Owls hunt at night, version {place}.", encoding="utf-8")
    return folder


def test_a_long_field_of_the_table_and_a_version_with_a_zero_are_read(tmp_path):
    corpus = corpora.load("newsela", newsela(tmp_path, ("00", "long, " * 30_000), ("1", "two\nlines")))
    assert corpus.documents["level"].to_list() == ["v0", "v1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("²", "Owls"), "articles_metadata.csv, line 4: version is '²' but must be a whole number"),
        (("٣", "Owls"), "line 4: version is '٣' but must be a whole number"),
        (("9" * 5000, "Owls"), "line 4: version is '9{40}' but must be a whole number"),
        (("2", "Owls", "more"), "articles_metadata.csv, line 4 has more fields than the header"),
    ],
)
def test_a_wrong_row_of_the_table_is_one_sentence(tmp_path, row, message):
    with pytest.raises(CatalogError, match=message):
        corpora.load("newsela", newsela(tmp_path, ("0", "two\nlines"), row))


# --- OneStopEnglish -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("Кот сидит на окне.".encode("cp1251"), r"Cat-int.txt is not UTF-8 at byte 1 \(0xca"),
        ("猫が座る。眠る。".encode("shift-jis"), "Cat-int.txt is not UTF-8 at byte"),
        ("The cat sat in the café".encode()[:-1], "Cat-int.txt ends within a character of UTF-8"),
        ("“Café”, the cat said.".encode("cp1252"), None),
    ],
)
def test_only_english_in_windows_1252_is_read_as_such(tmp_path, data, message):
    for folder, level in (("Adv-Txt", "adv"), ("Int-Txt/Int-Txt", "int"), ("Ele-Txt", "ele")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"Cat-{level}.txt").write_bytes(data if level == "int" else f"The cat sat: {level}.".encode())
    if message is None:
        assert corpora.load("onestop", tmp_path).documents["text"][1] == '"Café", the cat said.'
    else:
        with pytest.raises(CatalogError, match=message):
            corpora.load("onestop", tmp_path)
