"""Paired and joint statistics that claims are tested by, each with a 95 % bootstrap interval over its items.

Where a claim sets the combined edit against several rivals, the statistic is its lead over the best of them: the least of its leads, with
an interval that is simultaneous over the rivals (`least`). The same words are drawn for all methods, so differences are paired by word; the
definitional words are other words and are drawn apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

PARTS = ("logit", "causal", "random", "logit, matched", "causal, matched")  # other selections of as many neurons
TUNED = ("lora", "full", "prompt", "sentence-debias")
RESAMPLES = 2000
Rows = list[dict]


def resampled(
    samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], seed: int = 0, comparisons: int = 1
) -> tuple[float, float, float]:
    """Value and interval of a statistic of independent samples (n_i, k_i). It takes them with resamples in front, (b, n_i, k_i), and
    returns (b,). The interval always holds the value; its level is 1 - .05 / comparisons, with as many resamples outside of either end."""
    generator = np.random.default_rng(seed)
    value = float(statistic(*(sample[None] for sample in samples))[0])
    drawn = [sample[generator.integers(0, len(sample), (RESAMPLES * comparisons, len(sample)))] for sample in samples]
    low, high = np.quantile(statistic(*drawn), [0.025 / comparisons, 1 - 0.025 / comparisons])
    return value, min(float(low), value), max(float(high), value)


def least(samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray]) -> tuple[float, float, float]:
    """The least value of a statistic over k samples (n, c): of all values, low ends and high ends, each interval at the level 1 - .05 / k.

    All k intervals hold at once with 95 %, and then the least true value lies between these two ends. To take the least anew in every
    resample would count the selection twice, and the high end would be too low."""
    each = [resampled([sample], statistic, comparisons=len(samples)) for sample in samples]
    value, low, high = (min(ends) for ends in zip(*each, strict=True))
    return value, low, high


def _row(model: str | None, contrast: str, found: tuple[float, float, float], n: int) -> dict:
    return {"model": model, "contrast": contrast, "value": found[0], "ci_low": found[1], "ci_high": found[2], "n": n}


def contrasts(words: pl.DataFrame, factual: pl.DataFrame, answers: pl.DataFrame, raw: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Every contrast: model, contrast, value, ci_low, ci_high, n.

    Args:
        words: of `tables.by_word`; factual: definitional prompts with word, gender and d of each method; answers: of :func:`answered`;
        raw: the signals of `measure`.
    """
    rows = pervasive(words)
    for model in words.filter(pl.col("method") == "combined")["model"].unique(maintain_order=True):
        own = lambda table: table.filter(pl.col("model") == model)  # noqa: B023, E731
        rows += [*falls(model, own(words)), *definitional(model, own(words), own(factual)), *capability(model, own(answers))]
    for model in raw["proto_a"]["model"].unique(maintain_order=True) if raw["proto_a"].height else ():
        rows += proto(model, raw["proto_a"].filter(pl.col("model") == model))
    for model in raw["hierarchy"]["model"].unique(maintain_order=True) if raw["hierarchy"].height else ():
        rows += neurons_off(model, raw["hierarchy"].filter(pl.col("model") == model))
    return pl.DataFrame(
        rows, schema={"model": pl.String, "contrast": pl.String, **dict.fromkeys(("value", "ci_low", "ci_high"), pl.Float64), "n": pl.Int64}
    )


def pervasive(words: pl.DataFrame) -> Rows:
    """Share of words with |d| over log 2 in the model that has the smallest such share, over the words that all models have."""
    plain = words.filter(pl.col("method") == "none")
    wide = plain.pivot("model", index=["category", "word"], values="over").drop_nulls()
    values = wide.select(pl.exclude("category", "word")).to_numpy()
    return [
        _row(
            None,
            "least biased model, share over log 2",
            least(np.split(values, values.shape[1], axis=1), lambda x: x[..., 0].mean(1)),
            len(values),
        )
    ]


def falls(model: str, words: pl.DataFrame) -> Rows:
    """Fall of mean |d| under random neurons, and the lead of the combined edit's fall over the best rival of each set. Random draws are
    averaged; each corrective prompt is a rival of its own."""
    drawn = pl.when(pl.col("method") == "prompt").then(pl.format("prompt {}", "seed")).otherwise(pl.col("method"))
    mean = words.with_columns(rival=drawn).group_by("rival", "method", "category", "word", maintain_order=True).agg(pl.col("abs_d").mean())
    wide = mean.pivot("rival", index=["category", "word"], values="abs_d").sort("category", "word")
    rivals = dict(mean.select("rival", "method").unique(maintain_order=True).iter_rows())
    rows = []
    if "random" in rivals:
        pair = wide.select("none", "random").to_numpy()
        rows.append(
            _row(
                model, "random neurons, fall of mean |d|", resampled([pair], lambda x: 1 - x[..., 1].mean(1) / x[..., 0].mean(1)), len(pair)
            )
        )
    for name, kinds in (("lead over other selections", PARTS), ("lead over tuning, prompts and projection", TUNED)):
        others = [rival for rival, method in rivals.items() if method in kinds]
        if not others:
            continue
        lead = lambda x: (x[..., 2].mean(1) - x[..., 1].mean(1)) / x[..., 0].mean(1)  # noqa: E731
        rows.append(_row(model, name, least([wide.select("none", "combined", rival).to_numpy() for rival in others], lead), len(wide)))
    return rows


def definitional(model: str, words: pl.DataFrame, factual: pl.DataFrame) -> Rows:
    """What the combined edit takes from definitional words: relative fall of their mean log-odds towards their own gender, the fall of
    bias less that fall, and the change of the share on the right side, by word."""
    toward = pl.when(pl.col("gender") == "man").then(1.0).otherwise(-1.0) * pl.col("d")
    kept = factual.filter(pl.col("method").is_in(["none", "combined"])).with_columns(d=toward, right=(toward > 0).cast(pl.Float64))
    by_word = kept.group_by("method", "word", maintain_order=True).agg(pl.col("d", "right").mean())
    known = by_word.pivot("method", index="word", values=["d", "right"]).sort("word")
    known = known.select("d_none", "d_combined", "right_none", "right_combined").to_numpy()
    wide = words.filter(pl.col("method").is_in(["none", "combined"])).pivot("method", index=["category", "word"], values="abs_d")
    bias = wide.sort("category", "word").select("none", "combined").to_numpy()
    fall = lambda x: 1 - x[..., 1].mean(1) / x[..., 0].mean(1)  # noqa: E731
    return [
        _row(model, "fall of definitional log-odds", resampled([known], fall), len(known)),
        _row(
            model, "fall of bias less fall of definitional log-odds", resampled([bias, known], lambda b, k: fall(b) - fall(k)), len(known)
        ),
        _row(
            model, "definitional words on the right side, change", resampled([known], lambda x: (x[..., 3] - x[..., 2]).mean(1)), len(known)
        ),
    ]


def answered(choice: pl.DataFrame, arithmetic: pl.DataFrame) -> pl.DataFrame:
    """Every answer to a question or a sum: model, method, id, correct, of the unedited model and the combined edit."""
    both = [
        table.select("model", "method", pl.format("{} {}", pl.lit(kind), "id").alias("id"), "correct")
        for kind, table in (("choice", choice), ("sum", arithmetic))
    ]
    return pl.concat(both).filter(pl.col("method").is_in(["none", "combined"]))


def capability(model: str, answers: pl.DataFrame) -> Rows:
    """Change of accuracy from the unedited model to the combined edit over all questions and sums, paired by item."""
    wide = answers.with_columns(pl.col("correct").cast(pl.Float64)).pivot("method", index="id", values="correct").sort("id")
    if not {"none", "combined"} <= set(wide.columns):
        return []
    values = wide.select("none", "combined").drop_nulls().to_numpy()
    rows = [_row(model, "accuracy, change", resampled([values], lambda x: (x[..., 1] - x[..., 0]).mean(1)), len(values))]
    for column, name in enumerate(("unedited", "combined")):
        rows.append(_row(model, f"accuracy, {name}", resampled([values[:, [column]]], lambda x: x[..., 0].mean(1)), len(values)))
    return rows


def proto(model: str, raw: pl.DataFrame) -> Rows:
    """Relative fall of the forerunner's total bias (mean of both genders' means, first token), professions of each gender resampled."""
    mean = raw.group_by("method", "gender", "profession", maintain_order=True).agg(pl.col("first").mean())
    rows = []
    for method in ("cna", "combined"):
        sides = []
        for gender in ("woman", "man"):
            part = mean.filter((pl.col("gender") == gender) & pl.col("method").is_in(["none", method]))
            sides.append(part.pivot("method", index="profession", values="first").sort("profession").select("none", method).to_numpy())
        fall = lambda w, m: 1 - (w[..., 1].mean(1) + m[..., 1].mean(1)) / (w[..., 0].mean(1) + m[..., 0].mean(1))  # noqa: E731
        rows.append(_row(model, f"professions, fall under {method}", resampled(sides, fall), sum(map(len, sides))))
    return rows


def neurons_off(model: str, raw: pl.DataFrame) -> Rows:
    """Shallow groups of neurons off: relative change of perplexity over paragraphs, and deeper coefficients changed more than by the
    random group, paired by prompt."""
    table, rows = {r["group"]: r for r in raw.iter_rows(named=True)}, []
    for group, r in table.items():
        values = np.stack([r["nll_before"], r["nll"], r["tokens"]], axis=1).astype(float)
        worse = lambda x: np.exp((x[..., 1] - x[..., 0]).sum(1) / x[..., 2].sum(1)) - 1  # noqa: E731
        rows.append(_row(model, f"{group} neurons off, perplexity change", resampled([values], worse), len(values)))
        changed = np.array(r["changed"])[:, None]
        rows.append(
            _row(
                model, f"{group} neurons off, deeper coefficients changed", resampled([changed], lambda x: x[..., 0].mean(1)), len(changed)
            )
        )
    if {"general", "random"} <= set(table):
        pair = np.stack([table["general"]["changed"], table["random"]["changed"]], axis=1)
        more = resampled([pair], lambda x: (x[..., 0] - x[..., 1]).mean(1))
        rows.append(_row(model, "general less random neurons off, deeper coefficients changed", more, len(pair)))
    return rows
