"""Rows as texts and as tokens: JSON for the instructions of HARMONIC, "name is value" for GReaT, sentences for the classification test.

A row is tokenised in *pieces*, the same ones whether it is shown, learnt or sampled: what opens a value (``{"age":`` or ``,"age":``), the
value, what closes the row. A number is one token a character. So a sampler can feed what is fixed, let the model choose among the values
that a column may take, and never meets a token that would run across the border of a value. Texts are those of ``json.dumps``, compact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from catalog.base.errors import CatalogError
from stages.harmonic.schema import Column, Schema

Cells = Mapping[str, str | float | None]
FORMS = ("json", "great")
_GAP = "\x01"  # stands for the examples while the chat template is filled in


def value_text(column: Column, value: str | float | None, form: str) -> str:
    """One cell as it is written in ``form``; a missing one is null in JSON and None in words."""
    if value is None:
        return "null" if form == "json" else " None"
    text = column.text(value)
    if form == "great":
        return f" {text}"
    return text if column.numeric else json.dumps(text, ensure_ascii=False)


def opening(column: Column, first: bool, form: str) -> str:
    """What stands before a cell's value."""
    if form == "great":
        return f"{'' if first else ', '}{column.alias} is"
    return f"{'{' if first else ','}{json.dumps(column.alias, ensure_ascii=False)}:"


CLOSING = {"json": "}", "great": ""}


def row_text(cells: Cells, schema: Schema, order: Sequence[int] | None = None, form: str = "json") -> str:
    """A row as text, columns in ``order`` (numbers of the schema's columns; the schema's own order by default)."""
    order = range(len(schema.columns)) if order is None else order
    parts = []
    for place, at in enumerate(order):
        column = schema.columns[at]
        parts.append(opening(column, place == 0, form) + value_text(column, cells[column.name], form))
    return "".join(parts) + CLOSING[form]


@dataclass(frozen=True)
class Pieces:
    """Token ids of everything a row of ``schema`` is made of, in one form.

    first, later: of what opens each column's value, at the beginning of a row and inside; close: of what ends a row; characters: id of each
    character of a number; levels: of each column's texts, with the missing cell as None (a number's own texts are made of characters);
    lead: what stands before the characters of a number; encode: token ids of any text inside a row.
    """

    schema: Schema
    form: str
    first: list[list[int]]
    later: list[list[int]]
    close: list[int]
    characters: dict[str, int]
    lead: list[int]
    levels: list[dict[str | None, list[int]]]
    encode: Callable[[str], list[int]]

    def value(self, at: int, value: str | float | None) -> list[int]:
        """Token ids of a value of column ``at``."""
        column = self.schema.columns[at]
        if column.numeric and value is not None:
            return [*self.lead, *(self.characters[c] for c in column.text(value))]
        known = self.levels[at].get(value)
        # A level or a missing cell that the training rows do not have, in a row that is shown or scored; it is never sampled.
        return self.encode(value_text(column, value, self.form)) if known is None else known

    def row(self, cells: Cells, order: Sequence[int] | None = None) -> list[int]:
        """Token ids of a whole row, what closes it included."""
        order = range(len(self.schema.columns)) if order is None else order
        out: list[int] = []
        for place, at in enumerate(order):
            out += (self.first if place == 0 else self.later)[at]
            out += self.value(at, cells[self.schema.columns[at].name])
        return out + self.close


def pieces(tokenizer: Any, schema: Schema, form: str) -> Pieces:
    """Tokenise the parts of a row.

    Raises:
        CatalogError: an unknown form, or a tokenizer that has no token of its own for a digit.
    """
    if form not in FORMS:
        raise CatalogError(f"The form {form!r} of a row is unknown; use {' or '.join(FORMS)}.")
    # Behind a line break, so that tokenizers which put a space before every text do not.
    line = tokenizer("\n", add_special_tokens=False)["input_ids"]

    def ids(text: str) -> list[int]:
        found = tokenizer(f"\n{text}", add_special_tokens=False)["input_ids"]
        return found[len(line) :] if found[: len(line)] == line else tokenizer(text, add_special_tokens=False)["input_ids"]

    characters = {c: ids(c) for c in "0123456789.-"}
    if bad := [c for c, found in characters.items() if len(found) != 1]:
        raise CatalogError(f"This tokenizer has no token for {bad[0]!r}, which numbers are made of; choose another model.")
    levels: list[dict[str | None, list[int]]] = []
    for column in schema.columns:
        texts: list[str | None] = [None] if column.missing else []
        levels.append({level: ids(value_text(column, level, form)) for level in [*texts, *column.levels]})
    return Pieces(
        schema=schema,
        form=form,
        first=[ids(opening(column, True, form)) for column in schema.columns],
        later=[ids(opening(column, False, form)) for column in schema.columns],
        close=[*ids(CLOSING[form]), tokenizer.eos_token_id] if CLOSING[form] else [tokenizer.eos_token_id],
        characters={c: found[0] for c, found in characters.items()},
        lead=ids(" ") if form == "great" else [],
        levels=levels,
        encode=ids,
    )


@dataclass(frozen=True)
class Instruction:
    """The fixed parts of the prompt: token ids before and after the examples, and between two of them."""

    before: list[int]
    after: list[int]
    between: list[int]

    def prompt(self, examples: Sequence[Sequence[int]]) -> list[int]:
        """Prompt around rows given as token ids without their end token."""
        out = list(self.before)
        for row in examples:
            out += [*row, *self.between]
        return out + self.after


def instruction(tokenizer: Any, schema: Schema, description: str, k: int) -> Instruction:
    """The instruction of HARMONIC (rows in JSON, one more is asked for) in the model's own chat template.

    Args:
        description: what the table holds, a few words.
        k: rows that are shown.
    """
    target = schema[schema.target].alias
    rows = "1 row" if k == 1 else f"{k} rows"
    text = f"{rows} of {description} in JSON, {len(schema.columns)} columns, label {target}. Write one more row.\n{_GAP}"
    if tokenizer.chat_template is None:
        raise CatalogError("This model has no chat template; choose an instruct model for the instructions.")
    messages = [{"role": "user", "content": text}]
    whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    before, after = whole.split(_GAP)
    between = tokenizer("\n", add_special_tokens=False)["input_ids"]
    return Instruction(*(tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after)), between)


# --- the classification test ---------------------------------------------------------------------------------------------------------


def question(cells: Cells, schema: Schema) -> str:
    """A row without its label as sentences (paper: "The state of <column> is <value>"), and the question."""
    said = [
        f"The {column.alias.replace('_', ' ')} is {'unknown' if cells[column.name] is None else column.text(cells[column.name])}"
        for column in schema.columns
        if column.name != schema.target
    ]
    choices = " or ".join(schema[schema.target].levels)
    return f"{', '.join(said)}. The {schema[schema.target].alias.replace('_', ' ')}, {choices}, is:"


def rows_of(frame: pl.DataFrame, schema: Schema) -> list[dict[str, str | float | None]]:
    """Rows of a frame as mappings of the schema's columns."""
    return frame.select(schema.names).to_dicts()
