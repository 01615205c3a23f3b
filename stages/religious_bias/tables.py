"""Tables of the text audit, from the scores of `signals`: every number with an interval over templates, every test corrected by Holm.

Religions are compared on matched templates: within one template nothing differs but the religion. Tests are permutation tests (religions
exchanged within a template), chi-square tests of counts against equal shares, and for mitigations sign-flip tests of the same template
before and after. All of them are one family (`adjust`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from catalog.report.results import bootstrap, wilson
from stages.religious_bias.audit import newcombe
from stages.religious_bias.dataset import RELIGIONS
from stages.religious_bias.external import sentences
from stages.religious_bias.labels import read_labels
from stages.religious_bias.method import (
    chi_square,
    group_gaps,
    holm,
    icat,
    label_audit,
    paired_test,
    ratio_interval,
)
from stages.religious_bias.signals import log_ratios

# The score that a mitigation is judged by, and the stem of its prompts; None takes every prompt that is no twin of ours.
JUDGED = {"mask-open": ("log ratio", "negative"), "mask-named": ("negative share", None), "completion": ("negative share", None)}
JUDGED |= {"cross": ("polarity", None)}


def rbs(counted: pl.DataFrame) -> pl.DataFrame:
    """Religious Bias Score, our definition: percent, by model, task, stem, mitigation and religion, with intervals over templates."""
    rows = []
    keys = ["model", "task", "stem", "condition", "religion"]
    for key, part in counted.filter(pl.col("religion") != "").group_by(keys, maintain_order=True):
        hits, trials, n, refusals = (float(part[c].sum()) for c in ("hits", "trials", "n", "refusals"))
        low, high = ratio_interval(part["hits"].to_numpy(), part["trials"].to_numpy())
        answered = trials if key[1] in ("mask-open", "image") else n - refusals
        out = dict(zip(("model", "task", "stem", "mitigation", "religion"), key, strict=True)) | {"n": int(n), "answered": int(answered)}
        out |= {"rbs": 100 * hits / trials if trials else None, "ci_low": low, "ci_high": high}
        rows.append(out | {"rbs_without_refusals": 100 * hits / answered if answered else None, "paper_value": None})
    kinds = dict.fromkeys(("rbs", "ci_low", "ci_high", "rbs_without_refusals", "paper_value"), pl.Float64)
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=kinds)


def masked(masks: pl.DataFrame) -> pl.DataFrame:
    """Prior-corrected log ratios of the unmitigated prompts: model, template, stem, religion, p_template, p_neutral, log_ratio."""
    mine = log_ratios(masks.filter(pl.col("condition") == "none"))
    p = {"p_template": pl.col("logp").exp(), "p_neutral": pl.col("logp_neutral").exp()}
    return mine.select("model", "template", "stem", "religion", **p, log_ratio="log_ratio")


def t_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """Student's interval of the mean of (n,) values. Of a handful of items the percentile bootstrap is too short: of four it leaves out
    the true mean of 0 on one side in one case of ten. Of a single item there is none."""
    n = len(values)
    if n < 2:
        return None, None
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - half, float(values.mean()) + half


def matrix(part: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """(T, R) values of the templates that have every religion, and their names."""
    wide = part.pivot("religion", index="template", values="value").sort("template").select("template", *RELIGIONS).drop_nulls()
    return wide.select(RELIGIONS).to_numpy(), wide["template"].to_list()


def gaps(scores: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """Differences between religions without mitigation: a permutation test of each score, and chi-square of the answers to open prompts.

    The few cross-domain templates are tested together, whatever their stem. Twins share all words but the predicate, so their scores are
    averaged to one of the frame first: exchanging religions in each twin by itself would take them for separate evidence.
    """
    rows = []
    scores = pl.concat([scores.filter(pl.col("task") != "cross"), by_frame(scores.filter(pl.col("task") == "cross"))], how="diagonal")
    scores = scores.with_columns(stem=pl.when(pl.col("task") == "cross").then(pl.lit("all")).otherwise(pl.col("stem")))
    keys = ["model", "task", "score", "stem"]
    asked = scores.filter(pl.col("condition") == "none", pl.col("religion") != "")
    answers = counted.filter(pl.col("condition") == "none", pl.col("task").is_in(["mask-open", "image"]))
    for key, part in asked.group_by(keys, maintain_order=True):
        values, _ = matrix(part)
        if not len(values):
            continue
        found = group_gaps(values, RELIGIONS)
        about = dict(zip(keys, key, strict=True)) | {"test": "permutation", "n": len(values), "gap": found.gap}
        about |= {"gap_low": found.ci[0], "gap_high": found.ci[1], "gap_expected": found.expected, "p": found.p, "chi2": None, "df": None}
        about |= {"gap_expected_low": found.chance[0], "gap_expected_high": found.chance[1]}
        rows += [about | r for r in found.table.iter_rows(named=True)]
    for (model, task, stem), part in answers.group_by("model", "task", "stem", maintain_order=True):
        hits = {r: int(part.filter(pl.col("religion") == r)["hits"].sum()) for r in RELIGIONS}
        found = chi_square(hits)
        if found.p is None:
            continue
        shares = {r: 100 * k / sum(hits.values()) for r, k in hits.items()}
        about = {"model": model, "task": task, "score": "RBS", "stem": stem, "test": "chi-square", "n": sum(hits.values())}
        about |= {"gap": max(shares.values()) - min(shares.values()), "gap_low": None, "gap_high": None, "gap_expected": None}
        about |= {"gap_expected_low": None, "gap_expected_high": None}
        about |= {"p": found.p, "chi2": found.statistic, "df": found.df}
        for r in RELIGIONS:
            own = part.filter(pl.col("religion") == r)
            low, high = ratio_interval(own["hits"].to_numpy(), own["trials"].to_numpy())
            mean = 100 / len(RELIGIONS)
            rows.append(about | {"religion": r, "mean": shares[r], "diff": shares[r] - mean, "ci_low": low - mean, "ci_high": high - mean})
    order = [
        *keys,
        *"test n religion mean diff ci_low ci_high gap gap_low gap_high gap_expected gap_expected_low gap_expected_high p chi2 df".split(),
    ]
    kinds = dict.fromkeys(("gap_low", "gap_high", "gap_expected", "gap_expected_low", "gap_expected_high", "chi2"), pl.Float64) | {
        "df": pl.Int64
    }
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=kinds).select(order)


def by_frame(scores: pl.DataFrame) -> pl.DataFrame:
    """Scores averaged over the twins of a frame, which takes the place of the template."""
    keys = ["model", "task", "score", "condition", "frame", "religion"]
    return scores.group_by(keys, maintain_order=True).agg(pl.col("value").mean()).with_columns(template=pl.col("frame"))


def refusals(texts: pl.DataFrame) -> pl.DataFrame:
    """Refusals by model, religion and mitigation, with Wilson's interval."""
    by = ["model", pl.col("named").alias("religion"), pl.col("condition").alias("mitigation")]
    table = texts.filter(pl.col("named") != "").group_by(by, maintain_order=True).agg(n=pl.len(), refusals=pl.col("refusal").sum())
    return with_wilson(table.with_columns(pl.col("n", "refusals").cast(pl.Int64)), "refusals", "rate")


def with_wilson(table: pl.DataFrame, hits: str, name: str) -> pl.DataFrame:
    """The share ``hits`` / n as column ``name``, with ci_low and ci_high; null where hits is."""
    ends = [(None, None) if k is None else wilson(k, n) for k, n in table.select(hits, "n").iter_rows()]
    low, high = (pl.Series([e[i] for e in ends], dtype=pl.Float64) for i in (0, 1))
    return table.with_columns((pl.col(hits) / pl.col("n")).alias(name), ci_low=low, ci_high=high)


def judged(part: pl.DataFrame, task: str) -> pl.DataFrame:
    """The score that mitigations of one model and task are judged by: condition, template, religion (`all` too), value, utility."""
    score, stem = JUDGED[task]
    mine = part.filter(pl.col("score") == score, pl.col("stem") == stem if stem else ~pl.col("twin"), pl.col("religion") != "")
    spread = (pl.col("value") - pl.col("value").mean()).abs().mean() if stem else pl.col("value").mean()
    whole = mine.group_by("condition", "template", maintain_order=True).agg(spread.alias("value"), pl.col("utility").mean(), pl.len())
    whole = whole.filter(pl.col("len") == len(RELIGIONS)).with_columns(religion=pl.lit("all"))
    return pl.concat([mine.select("condition", "template", "religion", "value", "utility"), whole.drop("len")], how="diagonal")


def mitigation(scores: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """Each mitigation against none, paired by template; a negative delta is less bias.

    Religion ``all`` is the mean over religions; of the log ratio, which is signed, it is the mean distance of a religion from the mean of
    all religions. Images are independent draws, so their test is that of two shares (chi-square of the 2 x 2 table).
    """
    rows = []
    for (model, task), part in scores.group_by("model", "task", maintain_order=True):
        score = JUDGED[task][0]
        both = judged(part, task)
        base = both.filter(pl.col("condition") == "none").select("template", "religion", before="value", utility_before="utility")
        for (name, religion), other in both.filter(pl.col("condition") != "none").group_by("condition", "religion", maintain_order=True):
            pair = base.join(other, on=["template", "religion"], maintain_order="left").sort("template")
            if not len(pair):
                continue
            found = paired_test(pair["before"].to_numpy(), pair["value"].to_numpy())
            about = {"model": model, "task": task, "score": score, "religion": religion, "mitigation": name, "n": found.n}
            about |= {"before": pair["before"].mean(), "after": pair["value"].mean(), "delta": found.delta, "ci_low": found.ci[0]}
            about |= {"ci_high": found.ci[1], "p": found.p, "utility_before": pair["utility_before"].mean()}
            rows.append(about | {"utility_after": pair["utility"].mean()})
    drawn = counted.filter(pl.col("task") == "image", pl.col("stem") == "negative")
    sums = drawn.group_by("model", "religion", "condition", maintain_order=True).agg(pl.col("hits", "trials", "n").sum())
    for (model, religion), part in sums.group_by("model", "religion", maintain_order=True):
        before = part.filter(pl.col("condition") == "none").row(0, named=True)
        for after in part.filter(pl.col("condition") != "none").iter_rows(named=True):
            if before["trials"] and after["trials"]:
                rows.append(_images(model, religion, before, after))
    kinds = dict.fromkeys(("utility_before", "utility_after", "p"), pl.Float64)
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=kinds)


def _images(model: str, religion: str, before: dict, after: dict) -> dict:
    """Share of one religion's marker on images of negative descriptors, before and after; Newcombe's (1998) interval of the difference."""
    (k0, n0), (k1, n1) = ((int(r["hits"]), int(r["trials"])) for r in (before, after))
    p0, p1 = k0 / n0, k1 / n1
    low, high = newcombe(k0, n0, k1, n1)
    table = np.array([[k0, n0 - k0], [k1, n1 - k1]])
    p = float(stats.chi2_contingency(table, correction=False).pvalue) if table.sum(0).all() else None
    out = {"model": model, "task": "image", "score": "marker share", "religion": religion, "mitigation": after["condition"], "n": n1}
    out |= {"before": p0, "after": p1, "delta": p1 - p0, "ci_low": low, "ci_high": high, "p": p}
    return out | {"utility_before": n0 / before["n"], "utility_after": n1 / after["n"]}


def adjust(gap: pl.DataFrame, change: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables with p_holm: one family of all tests, where the rows of a gap are one test."""
    keys = ["model", "task", "score", "stem", "test"]
    single = gap.unique(keys, keep="first", maintain_order=True)
    adjusted = holm([*single["p"].to_list(), *change["p"].to_list()])
    first = single.select(keys).with_columns(p_holm=pl.Series(adjusted[: len(single)], dtype=pl.Float64))
    gap = gap.join(first, on=keys, how="left", maintain_order="left")
    return gap, change.with_columns(p_holm=pl.Series(adjusted[len(single) :], dtype=pl.Float64))


def cross(polarity: pl.DataFrame) -> pl.DataFrame:
    """Mean over templates of negative less positive log mass of the next word, for each combination; unmitigated prompts."""
    keys = ["model", "religion", "gender", "age", "nationality"]
    mine = polarity.filter(pl.col("condition") == "none").rename({"named": "religion"})
    return mine.group_by(keys, maintain_order=True).agg(n=pl.len().cast(pl.Int64), score=(pl.col("negative") - pl.col("positive")).mean())


def labels(texts: pl.DataFrame, human: Path, model: str) -> pl.DataFrame:
    """Agreement of label sources on all completions. A file of people's labels, if there is one, is of the first samples of ``model``;
    its id is that of the prompt."""
    sources = {"lexicon": texts["lexicon"].to_list(), "VADER": texts["vader"].to_list()}
    if human.is_file():
        given = read_labels(human).with_columns(model=pl.lit(model), sample=pl.lit(0, pl.Int32))
        joined = texts.select("id", "model", "sample").join(given, on=["id", "model", "sample"], how="left", maintain_order="left")
        sources["people"] = joined["label"].to_list()
    return label_audit(sources)


def external(scores: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """StereoSet's ss, lms and icat, and preferences on CrowS-Pairs, percent, with intervals over items, for each scorer of `sentences`.

    An item of which two sentences are the same text, or one has no likelihood (an unknown word), is left out and counted; two sentences of
    one score are a tie, counted as half a preference and in ``ties``."""
    rows = []
    documented = set(items.filter(pl.col("label") != "undocumented")["set"])
    texts = [[text for text in sentences(r) if text is not None] for r in items.iter_rows(named=True)]
    about = items.select("set", "id", apart=pl.Series([len(set(t)) == len(t) for t in texts]), sentences=pl.Series([len(t) for t in texts]))
    table = scores.join(about, on=["set", "id"], how="left", maintain_order="left")
    scored = pl.sum_horizontal(pl.col("a", "b", "c").is_not_null().cast(pl.Int64)) == pl.col("sentences")
    for (name, model, scorer), part in table.group_by("set", "model", "scorer", maintain_order=True):
        pairs_only = pl.col("a").is_not_null() & pl.col("b").is_not_null()
        kept = part.filter(pl.col("apart") & (scored if name in documented else pairs_only))
        if kept.is_empty():
            continue
        a, b, c = (kept[x].to_numpy() for x in "abc")
        about_it = (name, model, scorer)
        if name not in documented:
            found = [("first candidate preferred", won(a, b).mean(), *bootstrap(won(a, b)), int((a == b).sum()))]
        else:
            ss, lms = won(a, b), (won(a, c) + won(b, c)) / 2
            pairs, tied = np.stack([ss, lms], axis=1), (a == c) | (b == c)
            joint = lambda x, axis: x[..., 1].mean(axis) * np.minimum(x[..., 0].mean(axis), 100 - x[..., 0].mean(axis)) / 50  # noqa: E731
            found = [
                ("ss", ss.mean(), *bootstrap(ss), int((a == b).sum())),
                ("lms", lms.mean(), *bootstrap(lms), int(tied.sum())),
                ("icat", icat(float(lms.mean()), float(ss.mean())), *bootstrap(pairs, joint), int(((a == b) | tied).sum())),
            ]
        for score, value, low, high, ties in found:
            rows.append((*about_it, score, len(kept), ties, len(part) - len(kept), value, low, high))
    kinds = dict.fromkeys(("set", "model", "scorer", "score"), pl.String) | dict.fromkeys(("n", "ties", "left_out"), pl.Int64)
    return pl.DataFrame(rows, schema=kinds | dict.fromkeys(("value", "ci_low", "ci_high"), pl.Float64), orient="row")


def won(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """100 where a is the higher score, 50 where both are the same."""
    return 100.0 * ((a > b) + 0.5 * (a == b))


def quality(raw: pl.DataFrame) -> pl.DataFrame:
    """What a model is worth on ordinary text: masked-token accuracy with Wilson's interval (null for a causal LM) and perplexity."""
    table = with_wilson(raw, "correct", "masked_accuracy").with_columns(perplexity=(pl.col("nll") / pl.col("n")).exp())
    return table.select("model", "n", "masked_accuracy", "ci_low", "ci_high", "perplexity")
