"""What is measured on a model, edited or not: bias of the CommonWords prompts, the factual control, and neutral text.

A :class:`Bench` holds one loaded model with every prompt laid out once (`catalog.inside.scan`); after an edit of layer l and up the
measurement resumes at layer l, so that twenty edits cost a few whole runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import View, view
from catalog.inside.scan import Probe, finish, probe
from catalog.inside.two_targets import single_tokens
from catalog.models.inference import log_likelihood
from catalog.models.lm import load_lm


@dataclass(frozen=True)
class Targets:
    """Token ids of the two targets and of their synonyms, male and female in the same order."""

    man: int
    woman: int
    male: list[int]
    female: list[int]


def targets(tokenizer, name: str, synonyms: pl.DataFrame) -> Targets:
    """Targets of ``synonyms`` (male, female) that are single tokens in both genders.

    Raises:
        CatalogError: man or woman is not a single token of this model.
    """
    man, woman = single_tokens(tokenizer, ["man", "woman"])
    if man is None or woman is None:
        raise CatalogError(f"' man' and ' woman' are not single tokens of {name}, so its bias is not defined; leave it out of `measure`.")
    pairs = zip(*(single_tokens(tokenizer, synonyms[side].to_list()) for side in ("male", "female")), strict=True)
    whole = [pair for pair in pairs if None not in pair]
    return Targets(man, woman, [a for a, _ in whole], [b for _, b in whole])


@dataclass
class Bench:
    """A model and its prompts. ``words`` are the word-to-gender prompts of the evaluate split, ``factual`` the control; both keep the order
    of their tables. ``neutral`` reads every token of the paragraphs of ``texts``."""

    name: str
    model: torch.nn.Module
    tokenizer: object
    v: View
    to: Targets
    words: pl.DataFrame
    factual: pl.DataFrame
    texts: list[str]
    on_words: Probe
    on_factual: Probe
    on_neutral: Probe

    def ids(self, texts: list[str], prefix: str = "") -> list[list[int]]:
        """Token ids of prompts."""
        return self.tokenizer([prefix + text for text in texts])["input_ids"]

    def odds(self, p: Probe, start: int = 0) -> pl.DataFrame:
        """One row a prompt: d (log-odds of man against woman), log p of each, and d_synonyms, the log-odds of the two synonym sets."""
        to = self.to
        wanted = [to.man, to.woman, *to.male, *to.female]
        at = finish(self.v, p, start, lambda logp: logp[:, wanted])
        table = torch.empty_like(at)
        table[p.rows] = at
        count = len(to.male)
        sets = table[:, 2 : 2 + count].logsumexp(1) - table[:, 2 + count :].logsumexp(1)
        return pl.DataFrame(
            {
                "d": (table[:, 0] - table[:, 1]).tolist(),
                "logp_man": table[:, 0].tolist(),
                "logp_woman": table[:, 1].tolist(),
                "d_synonyms": sets.tolist(),
            }
        )

    def reading(self, start: int = 0) -> tuple[Tensor, Tensor]:
        """On neutral text, at every token: negative log-probability of the token that follows (R,), and the model's top-1 (R,)."""
        out = []
        at = 0

        def read(logp: Tensor) -> Tensor:
            nonlocal at
            after = self.on_neutral.after[at : at + len(logp)]
            at += len(logp)
            return torch.stack([-logp.gather(1, after[:, None])[:, 0].double(), logp.argmax(-1).double()], 1)

        out = finish(self.v, self.on_neutral, start, read)
        return out[:, 0], out[:, 1].long()


def load(name: str, dtype: str | None = None) -> tuple[torch.nn.Module, object, View]:
    """A model by its catalog name, its tokenizer and its anatomy."""
    model, tokenizer = load_lm(name, dtype=dtype)
    return model, tokenizer, view(model)


def held_out(prompts: pl.DataFrame, templates: int | None) -> pl.DataFrame:
    """Word-to-gender prompts of the evaluate words: of each category, the first ``templates`` wordings that neurons are chosen on and as
    many that they are not; all without a number."""
    words = prompts.filter((pl.col("direction") == "word_to_gender") & (pl.col("split") == "evaluate")).sort("id")
    place = pl.col("template").rank("dense").over("category", "unseen_template")
    return words if templates is None else words.filter(place <= templates)


def bench(name: str, loaded: tuple, prompts: pl.DataFrame, synonyms: pl.DataFrame, neutral: pl.DataFrame, templates: int | None) -> Bench:
    """Lay out a model's prompts and run them once."""
    model, tokenizer, v = loaded
    to = targets(tokenizer, name, synonyms)
    words = held_out(prompts, templates)
    factual = prompts.filter(pl.col("direction") == "factual")
    texts = neutral.filter(pl.col("split") == "evaluate")["text"].to_list()
    ids = lambda these: tokenizer(these)["input_ids"]  # noqa: E731
    return Bench(
        name,
        model,
        tokenizer,
        v,
        to,
        words,
        factual,
        texts,
        probe(v, ids(words["text"].to_list())),
        probe(v, ids(factual["text"].to_list())),
        probe(v, ids(texts), every=1),
    )


def reverse(model, tokenizer, prompts: pl.DataFrame) -> pl.DataFrame:
    """The other direction, gender to word: log p of the whole word (all its tokens) after the prompt, one row a prompt; and of its first
    token alone."""
    mine = prompts.filter((pl.col("direction") == "gender_to_word") & (pl.col("split") == "evaluate"))
    found = log_likelihood(model, tokenizer, [(text, f" {word}") for text, word in mine.select("text", "continuation").iter_rows()])
    first = [float(tokens[0]) for tokens in found.tokens]
    return mine.select("id", "category", "word", "template", "gender").with_columns(
        logp=pl.Series(found.total.tolist()), logp_first=pl.Series(first)
    )


def choices(model, tokenizer, items: pl.DataFrame) -> pl.DataFrame:
    """Multiple choice by the options' texts: correct with the summed log-probability, and with the mean per token (the usual
    length-normalised form), one row an item. Letters are no use: small models always pick the same one."""
    asked = items.select("question", "options").iter_rows()
    pairs = [(f"Question: {question}\nAnswer:", f" {option}") for question, options in asked for option in options]
    found = log_likelihood(model, tokenizer, pairs)
    length = torch.tensor([len(tokens) for tokens in found.tokens])
    rows, at = [], 0
    for number, name, options, answer in items.select("id", "set", "options", "answer").iter_rows():
        piece = slice(at, at + len(options))
        total, mean = found.total[piece], found.total[piece] / length[piece]
        rows.append({"id": number, "set": name, "correct": int(total.argmax()) == answer, "correct_norm": int(mean.argmax()) == answer})
        at += len(options)
    return pl.DataFrame(rows)
