"""Tables of the evaluation, from the raw signals of `measure`. The item behind every interval is a word (a question, a paragraph): a word's
prompts are averaged first. Differences to the unedited model and between selections are paired by word."""

from __future__ import annotations

import numpy as np
import polars as pl

from catalog.report.results import bootstrap, wilson
from stages.gender_bias.word_stats import change, gap, spread

KEY = ["model", "method", "seed"]
DOSES = ("dose combined", "dose logit")  # parts of a selection, measured for the dose-response
# What the combined edit is compared with, pair by pair.
OTHERS = [
    *("none", "random", "logit", "logit, matched", "causal", "causal, matched", "zeroed", "cna"),
    *("lora", "full", "prompt", "sentence-debias"),
]


def by_word(words: pl.DataFrame) -> pl.DataFrame:
    """One row a word and method: mean over its prompts of d, |d|, entropy gap, over log 2, probability mass, |d| of synonyms and on the
    templates that no neuron was chosen on."""
    d = pl.col("d")
    return (
        words.with_columns(gap=gap(words["d"]))
        .group_by(*KEY, "neurons", "category", "word", maintain_order=True)
        .agg(
            d.mean(),
            d.abs().mean().alias("abs_d"),
            pl.col("gap").mean(),
            (d.abs() > np.log(2)).mean().alias("over"),
            (pl.col("logp_man").exp() + pl.col("logp_woman").exp()).mean().alias("mass"),
            pl.col("d_synonyms").abs().mean().alias("abs_d_synonyms"),
            d.filter(pl.col("unseen_template")).abs().mean().alias("abs_d_unseen"),
        )
    )


def bias(words: pl.DataFrame) -> pl.DataFrame:
    """Bias by model, method and category, and over all ("all"), with bootstrap intervals over words."""
    both = pl.concat([words, words.with_columns(category=pl.lit("all"))])
    rows = []
    for (*key, neurons, category), part in both.group_by(*KEY, "neurons", "category", maintain_order=True):
        out = dict(zip(KEY, key, strict=True)) | {"neurons": neurons, "category": category, "n": len(part)}
        for name, column in (("mean_abs_d", "abs_d"), ("mean_d", "d"), ("share_over_log2", "over"), ("entropy_gap", "gap")):
            out[name] = float(part[column].mean())
            out[f"{name}_low"], out[f"{name}_high"] = bootstrap(part[column].to_numpy())
        out["spread"] = float(spread(part["d"].to_numpy()[None], axis=1)[0])
        out["spread_low"], out["spread_high"] = bootstrap(part["d"].to_numpy(), spread)
        for column in ("mass", "abs_d_synonyms", "abs_d_unseen"):
            out[column] = float(part[column].mean())
        rows.append(out)
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"neurons": pl.Int32})


def edits(words: pl.DataFrame, factual: pl.DataFrame, neutral: pl.DataFrame) -> pl.DataFrame:
    """Every method against the unedited model: relative fall of mean |d| and of the spread (paired over words), change of perplexity
    (paired over paragraphs), agreement of the next token, and the factual control."""
    rows = []
    base = {name: table.filter(pl.col("method") == "none") for name, table in (("w", words), ("f", factual), ("n", neutral))}
    for key, part in words.group_by(*KEY, "neurons", maintain_order=True):
        model, method, seed, neurons = key
        same = pl.col("neurons").eq_missing(pl.lit(neurons, pl.Int32)) & (pl.col("seed") == seed)
        pick = lambda table: table.filter((pl.col("model") == model) & (pl.col("method") == method) & same)  # noqa: B023, E731
        own = lambda table: table.filter(pl.col("model") == model)  # noqa: B023, E731
        pair = own(base["w"]).select("category", "word", d0="d", a0="abs_d").join(part, on=["category", "word"], maintain_order="left")
        out = {"model": model, "method": method, "seed": seed, "neurons": neurons, "n": len(pair)}
        for name, columns, statistic in (("abs_d_drop", ["a0", "abs_d"], change), ("spread_drop", ["d0", "d"], _spread_change)):
            values = pair.select(columns).to_numpy()
            out[name] = float(statistic(values[None], axis=1)[0])
            out[f"{name}_low"], out[f"{name}_high"] = bootstrap(values, statistic)
        text = own(base["n"]).select("paragraph", n0="nll").join(pick(neutral), on="paragraph", maintain_order="left")
        values = text.select("n0", "nll", "tokens").to_numpy()
        out["perplexity"] = float(np.exp(text["nll"].sum() / text["tokens"].sum()))
        out["paragraphs"] = len(text)
        out["perplexity_change"] = float(_perplexity_change(values[None], axis=1)[0])
        out["perplexity_change_low"], out["perplexity_change_high"] = bootstrap(values, _perplexity_change)
        out["agreement"] = float(text["agree"].sum() / text["tokens"].sum())
        known = own(base["f"]).select("id", d0="d").join(pick(factual), on="id", maintain_order="left")
        toward = pl.when(pl.col("gender") == "man").then(1.0).otherwise(-1.0)
        known = known.with_columns(before=toward * pl.col("d0"), after=toward * pl.col("d"))
        out["factual_before"], out["factual"] = float(known["before"].mean()), float(known["after"].mean())
        out["factual_change"] = float((known["d"] - known["d0"]).abs().mean())
        out["factual_right_before"], out["factual_right"] = float((known["before"] > 0).mean()), float((known["after"] > 0).mean())
        of_words = known.group_by("word", maintain_order=True).agg(pl.col("after").mean())
        out["factual_words"] = len(of_words)
        out["factual_low"], out["factual_high"] = bootstrap(of_words["after"].to_numpy())
        rows.append(out)
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"neurons": pl.Int32})


def _spread_change(values: np.ndarray, axis: int) -> np.ndarray:
    return 1 - spread(values[..., 1], axis=axis) / spread(values[..., 0], axis=axis)


def _perplexity_change(values: np.ndarray, axis: int) -> np.ndarray:
    return np.exp((values[..., 1] - values[..., 0]).sum(axis) / values[..., 2].sum(axis)) - 1


def against(words: pl.DataFrame) -> pl.DataFrame:
    """The combined selection against each other one of the same number of neurons: difference of mean |d| and of the spread on held-out
    words, paired by word (negative: combined is less biased). Random draws are averaged."""
    rows = []
    mean = words.group_by("model", "method", "category", "word", maintain_order=True).agg(pl.col("d", "abs_d").mean())
    for model in mean["model"].unique(maintain_order=True):
        pick = lambda method: mean.filter((pl.col("model") == model) & (pl.col("method") == method))  # noqa: B023, E731
        own = pick("combined")
        for method in OTHERS:
            other = pick(method).select("category", "word", d0="d", a0="abs_d")
            if own.is_empty() or other.is_empty():
                continue
            pair = own.join(other, on=["category", "word"], maintain_order="left")
            out = {"model": model, "other": method, "n": len(pair)}
            out["abs_d_difference"] = float((pair["abs_d"] - pair["a0"]).mean())
            out["abs_d_low"], out["abs_d_high"] = bootstrap((pair["abs_d"] - pair["a0"]).to_numpy())
            values = pair.select("d", "d0").to_numpy()
            out["spread_difference"] = float(_spread_difference(values[None], axis=1)[0])
            out["spread_low"], out["spread_high"] = bootstrap(values, _spread_difference)
            rows.append(out)
    return pl.DataFrame(rows)


def _spread_difference(values: np.ndarray, axis: int) -> np.ndarray:
    return spread(values[..., 0], axis=axis) - spread(values[..., 1], axis=axis)


def capability(choice: pl.DataFrame, arithmetic: pl.DataFrame) -> pl.DataFrame:
    """Accuracy on real multiple-choice sets and on one-digit arithmetic, with Wilson intervals and the score of guessing."""
    asked = choice.select(*KEY, "set", "correct", "correct_norm", "options")
    sums = arithmetic.filter(~pl.col("method").is_in(DOSES))
    sums = sums.select(*KEY, set=pl.lit("arithmetic"), correct="correct", correct_norm="correct", options=pl.lit(10))
    table = pl.concat([asked, sums], how="vertical_relaxed").group_by(*KEY, "set", maintain_order=True)
    chance = (1 / pl.col("options")).mean().alias("chance")
    norm = pl.col("correct_norm").mean().alias("accuracy_norm")
    table = table.agg(pl.len().alias("n"), pl.col("correct").sum().alias("right"), norm, chance)
    ends = [wilson(k, n) for k, n in table.select("right", "n").iter_rows()]
    return table.select(
        *KEY, "set", "n", accuracy=pl.col("right") / pl.col("n"), ci_low=pl.Series([a for a, _ in ends]),
        ci_high=pl.Series([b for _, b in ends]), accuracy_norm="accuracy_norm", chance="chance",
    )  # fmt: skip


def proto(raw: pl.DataFrame) -> pl.DataFrame:
    """Forerunner's bias by method, gender of the profession ("total": mean of the two) and prompt ("all"), of the first token and of
    the whole profession."""
    long = raw.unpivot(["first", "whole"], index=["model", "method", "profession", "gender", "prompt_id"], variable_name="tokens")
    long = pl.concat([long.with_columns(prompt=pl.col("prompt_id").cast(pl.String)), long.with_columns(prompt=pl.lit("all"))])
    keys = ["model", "method", "tokens", "prompt"]
    table = long.group_by(*keys, "gender", maintain_order=True).agg(
        pl.col("profession").n_unique().alias("professions"), pl.col("value").mean().alias("bias")
    )
    total = table.group_by(keys, maintain_order=True).agg(pl.col("professions").sum(), pl.col("bias").mean(), gender=pl.lit("total"))
    return pl.concat([table, total.select(table.columns)])


def reversed_bias(raw: pl.DataFrame) -> pl.DataFrame:
    """Gender to word: log p(word | man) - log p(word | woman), whole word and first token, by category."""
    index = [*KEY, "category", "word", "template"]
    pair = raw.filter(pl.col("gender") == "man").join(raw.filter(pl.col("gender") == "woman"), on=index, suffix="_w", maintain_order="left")
    pair = pair.with_columns(d=pl.col("logp") - pl.col("logp_w"), first=pl.col("logp_first") - pl.col("logp_first_w"))
    both = pl.concat([pair, pair.with_columns(category=pl.lit("all"))])
    return both.group_by(*KEY, "category", maintain_order=True).agg(
        pl.len().alias("n"),
        pl.col("d").abs().mean().alias("mean_abs_d"),
        pl.col("d").mean().alias("mean_d"),
        pl.col("first").abs().mean().alias("mean_abs_first"),
    )


def hierarchy(raw: pl.DataFrame) -> pl.DataFrame:
    """Groups of shallow neurons off: share of deeper coefficients that change, perplexity before and after."""
    total = pl.col("tokens").list.sum()
    before, after = ((pl.col(name).list.sum() / total).exp() for name in ("nll_before", "nll"))
    table = raw.with_columns(
        deeper_changed=pl.col("changed").list.mean(), perplexity_before=before, perplexity=after, prompts=pl.col("changed").list.len(),
        paragraphs=pl.col("tokens").list.len(),
    )  # fmt: skip
    return table.drop("changed", "tokens", "nll_before", "nll")
