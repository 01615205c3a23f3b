"""Data of simdoc: published layouts with their defects, cleaning that no level can be told by."""

import csv
import json
from pathlib import Path

import graded_tables
import polars as pl
import pytest
from graded_tables import DATA
from jsonl_pairs import pair, write_lines

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from stages.simdoc import corpora, dataset
from stages.simdoc.cleaning import clean, join_ligatures, latin, unglue
from stages.simdoc.settings import Data

BOM = b"\xef\xbb\xbf"


@pytest.fixture(scope="module")
def graded():
    return graded_tables.graded()


def notes(corpus, step):
    return corpus.notes.filter(pl.col("step") == step).select("id", "what").rows()


def text_of(corpus, name, level):
    return corpus.documents.filter((pl.col("id") == name) & (pl.col("level") == level))["text"].item()


# --- OneStopEnglish ---------------------------------------------------------------------------------------------------------------------


def article(name, verb):
    """Lines that the three levels of one article share but for a verb, with a quote, an apostrophe and a dash."""
    return f"The {name} story {verb} here.\n“It’s fine,” she said – twice.\nThe end of the {name} came at the café."


@pytest.fixture
def onestop(tmp_path):
    """Nine articles with the defects of the published files, in the folders of the repository."""
    base = tmp_path / "corpus" / "Texts-SeparatedByReadingLevel"
    for folder in ("Adv-Txt", "Int-Txt/Int-Txt", "Ele-Txt"):
        (base / folder).mkdir(parents=True)
        (base / folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    names = ["Alps", "Boats", "Mirrors", "Riflemen", "climate change ", "Skydiver", *corpora.WRONG]
    for name in names:
        adv, inter, ele = (article(name.strip(), verb) for verb in ("commenced", "began", "starts"))
        if name == "Mirrors":
            adv += "\nSoljačić Mysłajek saw it."
            inter += "\nSoljacic Myslajek saw it."
            ele += "\nSoljačić saw it."
        if name == "Riflemen":  # ligatures, whole on one level and broken on the others
            adv, inter, ele = adv + "\nA ri ﬂ e, the ﬁrst.", inter + "\nA rifl e, the fi rst.", ele + "\nA riﬂe, the ﬁ rst."
        if name == "Alps":
            ele += "\nA rifle was the first."  # where the whole words are known from
        if name in corpora.WRONG:
            ele = "Nothing whatever about that subject: " + name[::-1]
        lines = "\n".join(line + " " for line in adv.split("\n")) + "\n"  # spaces at line ends
        (base / "Adv-Txt" / f"{name}-adv.txt").write_bytes((b"" if name == "Boats" else BOM) + lines.encode())
        (base / "Ele-Txt" / f"{name}-ele.txt").write_bytes(BOM + ele.replace("\n", "\r\n").encode())
        inner = inter.encode("cp1252") if name == "Boats" else BOM + inter.encode()
        (base / "Int-Txt/Int-Txt" / f"{name}-int.txt").write_bytes(inner)
        outer = "Intermediate\n" + inter.encode("ascii", "ignore").decode()
        (base / "Int-Txt" / f"{name}-int.txt").write_bytes(outer.encode())
    return tmp_path / "corpus"


def test_onestop_reads_each_text_once_at_three_levels_and_leaves_the_wrong_ones_out(onestop):
    corpus = corpora.load("onestop", onestop)
    names = ["Alps", "Boats", "Mirrors", "Riflemen", "Skydiver", "climate change"]
    assert corpus.documents.select("id", "level").rows() == [(name, level) for name in names for level in corpora.LEVELS]
    assert notes(corpus, "not read") == [(None, "9 outer intermediate files")]
    assert notes(corpus, "excluded") == sorted(corpora.WRONG.items())
    assert notes(corpus, "suspect") == notes(corpus, "duplicate") == []
    assert corpus.documents["topic"].null_count() == len(corpus.documents)
    kinds = [("advanced", "intermediate"), ("advanced", "elementary"), ("intermediate", "elementary")]
    assert corpus.pairs.select("id", "source_level", "target_level").rows() == [(name, *kind) for name in names for kind in kinds]
    for name, a, b, source, target in corpus.pairs.iter_rows():
        assert source == text_of(corpus, name, a) and target == text_of(corpus, name, b)
    assert corpora.onestop(onestop / "Texts-SeparatedByReadingLevel").documents.equals(corpus.documents)


def test_onestop_cleans_every_level_alike_so_that_no_character_tells_it(onestop):
    corpus = corpora.load("onestop", onestop)
    expected = 'The Boats story {} here.\n\n"It\'s fine," she said - twice.\n\nThe end of the Boats came at the café.'
    for level, verb in zip(corpora.LEVELS, ("commenced", "began", "starts")):
        assert text_of(corpus, "Boats", level) == expected.format(verb)
        assert text_of(corpus, "Riflemen", level).endswith("A rifle, the first.")
    characters = {
        level: set("".join(part["text"])) for (level,), part in corpus.documents.filter(pl.col("id") != "Mirrors").group_by("level")
    }
    plain = {level: {c for c in found if not (c.isascii() and c.isalpha())} for level, found in characters.items()}
    assert plain["advanced"] == plain["intermediate"] == plain["elementary"] == set("\n \"',-.é")
    for text in corpus.documents["text"]:
        assert not text.startswith(("\ufeff", "Intermediate")) and "\r" not in text and " \n" not in text and text == text.strip()
    assert {text_of(corpus, "Mirrors", level).split("\n\n")[-1] for level in corpora.LEVELS} == {
        "Soljacic Myslajek saw it.",
        "Soljacic saw it.",
    }
    assert len(notes(corpus, "byte order mark")) == 8 + 8 + 9
    assert notes(corpus, "encoding") == [("Boats", "intermediate is not UTF-8: read as Windows-1252")]
    assert notes(corpus, "letters outside Latin-1") == [("Mirrors", f"base letters in {level}") for level in ("advanced", "elementary")]
    assert notes(corpus, "broken ligatures") == [
        ("Riflemen", "1 words joined in advanced"),
        ("Riflemen", "2 words joined in intermediate"),
        ("Riflemen", "1 words joined in elementary"),
    ]


def test_onestop_strips_a_header_and_notes_texts_that_share_few_words(onestop):
    base = onestop / "Texts-SeparatedByReadingLevel"
    path = base / "Int-Txt/Int-Txt/Alps-int.txt"
    path.write_bytes(BOM + b"Intermediate \r\n\r\n" + path.read_bytes().removeprefix(BOM))
    (base / "Ele-Txt/Skydiver-ele.txt").write_text("Quite another matter altogether.", encoding="utf-8")
    corpus = corpora.load("onestop", onestop)
    assert text_of(corpus, "Alps", "intermediate").startswith("The Alps story began here.")
    assert notes(corpus, "header line") == [("Alps", "removed from intermediate")]
    assert [name for name, _ in notes(corpus, "suspect")] == ["Skydiver"] and "Skydiver" in corpus.documents["id"].to_list()


def test_onestop_without_the_inner_folder_is_refused(onestop):
    inner = onestop / "Texts-SeparatedByReadingLevel/Int-Txt/Int-Txt"
    for path in inner.iterdir():
        path.unlink()
    with pytest.raises(CatalogError, match="the inner Int-Txt included"):
        corpora.load("onestop", onestop)


# --- the other layouts --------------------------------------------------------------------------------------------------------------------


def test_dwikipedia_is_read_line_by_line_and_glued_sentences_are_parted(tmp_path):
    source = "moray lies in scotland.it has a coast .the u.s. and e.g. 3.5 of about.com stay .\nnext\u2028line ends ``here'' .\n"
    (tmp_path / "valid.src").write_text(source, encoding="utf-8")
    (tmp_path / "valid.tgt").write_text("moray is in scotland .\nnext .\n", encoding="utf-8")
    corpus = corpora.load("dwikipedia", tmp_path, ("valid.src", "valid.tgt"))
    assert corpus.documents.select("id", "level").rows() == [
        (name, level) for name in ("dwiki-000001", "dwiki-000002") for level in ("complex", "simple")
    ]
    assert text_of(corpus, "dwiki-000001", "complex") == (
        "moray lies in scotland . it has a coast . the u.s. and e.g. 3.5 of about.com stay ."
    )
    assert text_of(corpus, "dwiki-000002", "complex").endswith('line ends "here" .')
    assert corpus.pairs.height == 2
    assert notes(corpus, "glued sentences") == [(None, "2 full stops parted in complex"), (None, "0 full stops parted in simple")]
    (tmp_path / "valid.tgt").write_text("moray is in scotland .\n", encoding="utf-8")
    with pytest.raises(CatalogError, match="valid.src has 2 lines and valid.tgt 1"):
        corpora.load("dwikipedia", tmp_path, ("valid.src", "valid.tgt"))
    (tmp_path / "valid.tgt").write_text("moray .\n \nmore .\n", encoding="utf-8")
    (tmp_path / "valid.src").write_text("moray it is .\nit .\nmore .\n", encoding="utf-8")
    with pytest.raises(CatalogError, match="valid.tgt, line 2 is empty"):
        corpora.load("dwikipedia", tmp_path, ("valid.src", "valid.tgt"))


def write_cochrane(folder, splits):
    for split, lines in splits.items():
        for ending, column in zip(("doi", "source", "target"), zip(*lines)):
            (folder / f"{split}.{ending}").write_text("\n".join(column) + "\n", encoding="utf-8")


def test_cochrane_keeps_the_published_splits_and_no_text_in_two(tmp_path):
    splits = {
        "train": [("10.1/a", "Abstract a.", "Plain a."), ("10.1/b", "Abstract t.", "Plain b.")],  # b repeats an abstract of test
        "val": [("10.1/v", "Abstract v.", "Plain v.")],
        "test": [("10.1/t", "Abstract t.", "Plain t.")],
    }
    write_cochrane(tmp_path, splits)
    corpus = corpora.load("cochrane", tmp_path)
    assert corpus.splits == {"10.1/a": "train", "10.1/v": "validation", "10.1/t": "test"}
    assert notes(corpus, "duplicate") == [("10.1/b", "a text of 10.1/t as well; left out")]
    p = Data(**{**vars(DATA), "levels": ("complex", "simple"), "pairs": (("complex", "simple"),)})
    assert dict(dataset.build(corpus, p, 0)["pairs"].select("id", "split").iter_rows()) == corpus.splits
    for ending in ("doi", "source", "target"):
        (tmp_path / f"train.{ending}").unlink()
    (tmp_path / "val.doi").unlink()
    part = corpora.load("cochrane", tmp_path)
    assert part.splits == {} and part.pairs["id"].to_list() == ["10.1/t", "val-00001"]
    assert notes(part, "splits") == [(None, "only test, validation are there, so splits are drawn anew")]
    with pytest.raises(CatalogError, match="no train, val or test .source"):
        (tmp_path / "empty").mkdir()
        corpora.load("cochrane", tmp_path / "empty")


@pytest.fixture
def newsela(tmp_path):
    folder = tmp_path / "newsela"
    (folder / "articles").mkdir(parents=True)
    rows = [("owl", "en", "Owls, at night", grade, version) for version, grade in enumerate(("12.0", "7.0", "3.0"))]
    rows.append(("owl", "es", "Búhos", "6.0", 0))
    with (folder / "articles_metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slug", "language", "title", "grade_level", "version", "filename"])
        for slug, language, title, grade, version in rows:
            name = f"{slug}.{language}.{version}.txt"
            table.writerow([slug, language, title, grade, version, name])
            text = f"NEW YORK — Owls hunt at night, version {version}.\n\n## How they hear\n\nThey don’t sleep then."
            (folder / "articles" / name).write_text(text, encoding="utf-8")
    return folder


def test_newsela_is_read_by_its_table_in_english_only(newsela):
    corpus = corpora.load("newsela", newsela)
    assert corpus.documents.select("id", "level").rows() == [("owl", "v0"), ("owl", "v1"), ("owl", "v2")]
    assert text_of(corpus, "owl", "v2") == "NEW YORK - Owls hunt at night, version 2.\n\nHow they hear\n\nThey don't sleep then."
    assert corpus.pairs.select("source_level", "target_level").rows() == [("v0", "v1"), ("v0", "v2"), ("v1", "v2")]
    assert notes(corpus, "language") == [(None, "1 articles that are not English left out")]
    (newsela / "articles/owl.en.1.txt").unlink()
    with pytest.raises(CatalogError, match="names owl.en.1.txt"):
        corpora.load("newsela", newsela)


def test_jsonl_takes_a_byte_order_mark_and_refuses_half_of_a_character(tmp_path):
    path = write_lines(tmp_path / "own.jsonl", [pair("a"), pair("b", "Another long text \U0001f600.", "Small.")])
    plain = corpora.load("jsonl", path).pairs
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert corpora.load("jsonl", path).pairs.equals(plain) and "\U0001f600" in plain["source"][1]
    write_lines(path, [pair("a"), pair("b", "Cut \ud83d.", "Small.")])
    with pytest.raises(CatalogError, match=r"Line 2 of own.jsonl .* \\ud83d is half a character"):
        corpora.load("jsonl", path)


def test_jsonl_takes_pairs_as_they_are_given(tmp_path):
    rows = [
        pair("b", topic="sea"),
        pair("a", source="Other long text."),
        pair("b", target="Middle text.", levels=("hard", "middle"), topic="sea"),
    ]
    rows[1]["target"] = "Other short."
    corpus = corpora.load("jsonl", write_lines(tmp_path / "own.jsonl", rows))
    assert corpus.pairs.rows() == [
        ("a", "hard", "easy", "Other long text.", "Other short."),
        ("b", "hard", "easy", "Long text here.", "Short."),
        ("b", "hard", "middle", "Long text here.", "Middle text."),
    ]
    assert set(corpus.documents.select("id", "level", "topic").iter_rows()) == {
        ("a", "hard", None),
        ("a", "easy", None),
        ("b", "hard", "sea"),
        ("b", "easy", "sea"),
        ("b", "middle", "sea"),
    }
    assert corpora.load("jsonl", tmp_path, ("own.jsonl",)).pairs.equals(corpus.pairs)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([pair(), pair(source="Not the same.")], "line 2: 'a' has another text of the level 'hard'"),
        ([pair(levels=("hard", "hard"))], "needs two levels"),
        ([pair(), {"id": "b", "source": "Text."}], "line 2 has no text for 'target'"),
        ([pair(target=" ")], "no text for 'target'"),
        ([pair(target="...")], "'a' has no words at the level easy"),
        (["text"], "line 1 has no text for 'id'"),
    ],
)
def test_jsonl_says_what_is_wrong(tmp_path, rows, message):
    with pytest.raises(CatalogError, match=message):
        corpora.load("jsonl", write_lines(tmp_path / "own.jsonl", rows))


def test_the_same_text_under_two_ids_is_kept_once_and_an_unchanged_pair_is_noted(tmp_path):
    rows = [pair("a"), pair("b", target="Shorter."), pair("c", source="Same text.", target="Same text.")]
    corpus = corpora.load("jsonl", write_lines(tmp_path / "own.jsonl", rows))
    assert corpus.pairs["id"].to_list() == ["a", "c"]
    assert notes(corpus, "duplicate") == [("b", "a text of a as well; left out")]
    assert notes(corpus, "unchanged") == [("c", "hard and easy are the same text; kept")]


def test_load_names_what_is_missing(tmp_path):
    with pytest.raises(CatalogError, match="'wikilarge' is unknown; choose one of graded, onestop"):
        corpora.load("wikilarge", tmp_path)
    with pytest.raises(CatalogError, match="newsela needs a path"):
        corpora.load("newsela", None)
    with pytest.raises(CatalogError, match="gives it out on request"):
        corpora.load("newsela", tmp_path / "absent")
    with pytest.raises(CatalogError, match="read from 2 files under its path, not 1"):
        corpora.load("dwikipedia", tmp_path, ("one.src",))
    with pytest.raises(CatalogError, match="has no .jsonl files"):
        corpora.load("graded", tmp_path)
    with pytest.raises(CatalogError, match="no articles_metadata.csv"):
        corpora.load("newsela", tmp_path)
    row = {"id": "a", "topic": "t", "title": "T", "advanced": "One two.", "intermediate": "", "elementary": "One."}
    write_lines(tmp_path / "own.jsonl", [row])
    with pytest.raises(CatalogError, match="own.jsonl, line 1 has no text for 'intermediate'"):
        corpora.load("graded", tmp_path)
    write_lines(tmp_path / "own.jsonl", [row | {"intermediate": "One, two."}] * 2)
    with pytest.raises(CatalogError, match="'a' has two documents of the level advanced"):
        corpora.load("graded", tmp_path)


def test_cleaning_by_hand():
    assert clean("\ufeff“A”–b — ‘c’…  d. \r\nOﬃce") == "\"A\"-b - 'c'... d.\n\nOffice"
    assert clean("ﬁ\u0301") == clean(clean("ﬁ\u0301")) == "f\u00ed"  # the accent behind a ligature goes on its last letter
    assert clean(clean("One.\nTwo…\n\n\nThree—four.")) == clean("One.\nTwo…\n\n\nThree—four.") == "One.\n\nTwo...\n\nThree - four."
    assert latin("Łódź, café, €5") == "Lódz, café, €5"
    assert unglue("by 2013.he won .in u.k. at www.a.com or 8p.m .") == ("by 2013 . he won . in u.k. at www.a.com or 8p.m .", 2)
    known = {"first", "rifle", "definitely", "benefits", "the", "as", "fit", "officer"}
    assert join_ligatures("the fi rst ri fl e de fi nitely bene fits offi cer", known) == ("the first rifle definitely benefits officer", 5)
    assert join_ligatures("as fi t, sci-fi fans, the fits", known) == ("as fit, sci-fi fans, the fits", 1)


def test_the_projects_own_documents_need_no_cleaning(graded):
    raw = {}
    for path in sorted((Path(ROOT) / corpora.GRADED).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            raw |= {(row["id"], level): row[level] for level in corpora.LEVELS}
    assert {(name, level): text for name, level, text in graded.documents.select("id", "level", "text").iter_rows()} == raw
    assert graded.notes.is_empty() and graded.documents["topic"].null_count() == 0
