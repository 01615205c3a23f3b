"""Privacy scores of synthetic tables (HARMONIC, arXiv 2408.02927, evaluation), in the paper's form and in a strict one.

The paper looks at synthetic and training rows alone. A synthetic row near a training row can be a copy or just typical, so the strict
scores ask the same of holdout rows, which the generator has never seen: distance to closest record against both, and attacks (is this row
a member of the training set? what is its sensitive value?) scored by how much better they do on training rows than on holdout rows.

Distances are Gower's and lie in [0, 1], except in the paper's DCR; likelihoods are nats per token; shares lie in [0, 1]. Membership scores
are higher for rows more likely to be members. Every function is deterministic. n is the number of synthetic rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import polars as pl
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from scipy.stats import rankdata

from catalog.base.errors import CatalogError
from catalog.report.intervals import wilson
from stages.harmonic.distances import CELLS, coded_together, nearest, nearest_points, restricted
from stages.harmonic.schema import Schema, scale

SAME = 1e-12  # distances nearer than this tie: sums of the same terms in another order differ by rounding


# --- distance to closest record -----------------------------------------------------------------------------------------------------------


def dcr(synthetic: pl.DataFrame, train: pl.DataFrame, holdout: pl.DataFrame, schema: Schema) -> dict:
    """Distance to closest record, strict form: Gower distance of each row to its nearest row of another table.

    Returns:
        ``syn_train``, ``syn_holdout``, ``holdout_train``, each with ``_median`` and ``_p05`` (5th percentile, linear interpolation);
        the last is the yardstick of rows that are no copies. ``closer_to_train``: share of synthetic rows nearer to train than to
        holdout, ties half, with the counts ``closer``, ``ties`` and ``n``; ``closer_expected`` is the share of independent rows, one half
        for tables of equal size. ``copy_rate`` and ``copies``: synthetic rows equal to a training row. ``nndr_median``: distance to the
        nearest over that to the second nearest training row, 1 where both are 0. ``rows``: arrays behind them, ``syn_train`` (n,),
        ``syn_holdout`` (n,), ``holdout_train`` (rows of holdout,), ``nndr`` (n,) and ``nearest_train`` (n,), a place in ``train``.

    Raises:
        CatalogError: a table without rows or columns, or fewer than two training rows.
    """
    syn, members, others = coded_together([synthetic, train, holdout], schema)
    two, place = nearest(syn, members, schema, 2)
    syn_train, second = two.T
    syn_holdout = nearest(syn, others, schema)[0][:, 0]
    holdout_train = nearest(others, members, schema)[0][:, 0]
    ties = np.abs(syn_train - syn_holdout) <= SAME
    closer = (syn_train < syn_holdout) & ~ties
    copies = syn_train == 0
    nndr = np.divide(syn_train, second, out=np.ones_like(second), where=second > 0)
    found: dict = {}
    for name, values in (("syn_train", syn_train), ("syn_holdout", syn_holdout), ("holdout_train", holdout_train)):
        found[f"{name}_median"] = float(np.median(values))
        found[f"{name}_p05"] = float(np.percentile(values, 5))
    return found | {
        "closer_to_train": float((closer.sum() + ties.sum() / 2) / len(closer)),
        "closer_expected": len(train) / (len(train) + len(holdout)),
        "closer": int(closer.sum()),
        "ties": int(ties.sum()),
        "copy_rate": float(copies.mean()),
        "copies": int(copies.sum()),
        "nndr_median": float(np.median(nndr)),
        "n": len(synthetic),
        "rows": {
            "syn_train": syn_train,
            "syn_holdout": syn_holdout,
            "holdout_train": holdout_train,
            "nndr": nndr,
            "nearest_train": place[:, 0],
        },
    }


def dcr_paper(synthetic: pl.DataFrame, train: pl.DataFrame) -> dict:
    """Distance to closest record as released; what the README's figure is, is less clear.

    Rows that occur twice in a table are dropped from it altogether, so copies made twice go unseen. Then each table *for itself* is label
    encoded (sorted levels) and standardised: the released code's choice, under which one cell has different values in the two tables, so
    the rows of a partial copy are not at distance 0. Distances are Euclidean over all columns. A missing category is a level that sorts
    first, a missing number the column's mean; the released code knows neither.

    Returns:
        5th percentiles of the distance to the nearest other row, ``real_syn`` (from each real row to the synthetic ones), ``real_real``
        and ``syn_syn``; ``dcr``, their mean, is the number that the released code prints. ``n_real``, ``n_syn``: rows left.
    """
    names = [name for name in train.columns if name not in ("id", "split", "file")]
    if absent := [name for name in names if name not in synthetic.columns]:
        raise CatalogError(f"The synthetic table lacks the column {absent[0]}; add it.")
    points = []
    for title, frame in (("real", train), ("synthetic", synthetic)):
        unique = frame.select(names).unique(keep="none", maintain_order=True)
        if len(unique) < 2:
            raise CatalogError(f"The {title} table has {len(unique)} rows that occur once; the paper's DCR needs at least two.")
        columns = []
        for name in names:
            if train[name].dtype == pl.String:
                values = np.unique(unique[name].cast(pl.String).fill_null("").to_numpy(), return_inverse=True)[1].astype(np.float64)
            else:
                values = unique[name].cast(pl.Float64).fill_nan(None).to_numpy()
            known = values[~np.isnan(values)]
            middle = scale(known[:, None])[0][0] if len(known) else 0.0
            columns.append(np.where(np.isnan(values), middle, values))
        cells = np.stack(columns, axis=1)
        centre, spread = scale(cells)
        points.append((cells - centre) / spread)
    real, syn = points
    found = {
        "real_syn": nearest_points(real, syn)[0],
        "real_real": nearest_points(real, real, exclude_self=np.arange(len(real)))[0],
        "syn_syn": nearest_points(syn, syn, exclude_self=np.arange(len(syn)))[0],
    }
    fifth = {name: float(np.percentile(values, 5)) for name, values in found.items()}
    return fifth | {"dcr": float(np.mean(list(fifth.values()))), "n_real": len(real), "n_syn": len(syn)}


def nrs(synthetic: pl.DataFrame, train: pl.DataFrame, schema: Schema, tolerance: float = 0.01) -> dict:
    """New row synthesis: 1 - share of synthetic rows that match a training row (the rules of sdmetrics' NewRowSynthesis).

    A row matches if every category is equal, every number of the training row lies within ``tolerance`` times the *synthetic* number of
    it, and missing cells meet missing cells.

    Returns:
        ``nrs``, ``new`` (rows that match none) and ``n``.
    """
    syn, real = coded_together([synthetic, train], schema)
    margin = np.abs(tolerance * syn.numbers)
    block = max(1, CELLS // len(train))
    matched = np.zeros(len(synthetic), dtype=bool)
    for start in range(0, len(synthetic), block):
        rows = slice(start, start + block)
        fits = np.ones((len(syn.codes[rows]), len(train)), dtype=bool)
        for x, y in zip(syn.codes[rows].T, real.codes.T):
            fits &= x[:, None] == y
        for x, edge, y in zip(syn.numbers[rows].T, margin[rows].T, real.numbers.T):
            near = np.abs(y - x[:, None]) <= edge[:, None]  # false for NaN
            fits &= near | (np.isnan(x)[:, None] & np.isnan(y))
        matched[rows] = fits.any(1)
    new = int((~matched).sum())
    return {"nrs": new / len(matched), "new": new, "n": len(matched)}


# --- membership inference -----------------------------------------------------------------------------------------------------------------


def _scores(member_scores: np.ndarray, other_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    members, others = np.asarray(member_scores, dtype=np.float64), np.asarray(other_scores, dtype=np.float64)
    if members.ndim != 1 or others.ndim != 1 or not len(members) or not len(others) or np.isnan(members).any() or np.isnan(others).any():
        raise CatalogError("A membership attack needs scores of at least one member and one other row, none of them NaN.")
    return members, others


def membership_auc(member_scores: np.ndarray, other_scores: np.ndarray) -> float:
    """Probability that a member's score is higher than another row's, ties half: 0.5 is chance, 1 gives every member away."""
    members, others = _scores(member_scores, other_scores)
    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    return float((ranks.sum() - len(members) * (len(members) + 1) / 2) / (len(members) * len(others)))


def auc_interval(member_scores: np.ndarray, other_scores: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """DeLong's (1988) interval of `membership_auc`, cut to [0, 1].

    At complete separation DeLong's variance is 0 however few rows there are; there the interval is Wilson's for as many trials as the
    smaller group has rows, all won or all lost.

    Raises:
        CatalogError: fewer than two scores in a group.
    """
    members, others = _scores(member_scores, other_scores)
    if min(len(members), len(others)) < 2:
        raise CatalogError("An interval of the AUC needs at least two members and two other rows; score more rows.")
    auc = membership_auc(members, others)
    if auc in (0.0, 1.0):
        trials = min(len(members), len(others))
        return wilson(round(auc * trials), trials, level)
    ranks = rankdata(np.concatenate([members, others]))
    beaten = (ranks[: len(members)] - rankdata(members)) / len(others)  # share of the others below each member
    lost = 1 - (ranks[len(members) :] - rankdata(others)) / len(members)  # share of the members above each other row
    half = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(beaten.var(ddof=1) / len(members) + lost.var(ddof=1) / len(others))
    return float(max(0, auc - half)), float(min(1, auc + half))


def tpr_at_fpr(member_scores: np.ndarray, other_scores: np.ndarray, fpr: float = 0.01) -> float:
    """Share of members found by the threshold that flags at most ``fpr`` of the other rows (Carlini et al. 2022, arXiv 2112.03570).

    Flagged are scores strictly above the threshold, a score of another row, so ties are never split in the attack's favour. With fewer
    than 1 / fpr other rows none of them may be flagged.
    """
    members, others = _scores(member_scores, other_scores)
    allowed = int(np.floor(fpr * len(others) + 1e-9))  # 0.29 * 100 is 28.999999999999996
    if allowed >= len(others):
        return 1.0
    return float((members > np.sort(others)[::-1][allowed]).mean())


def distance_scores(real: pl.DataFrame, synthetic: pl.DataFrame, schema: Schema) -> np.ndarray:
    """Membership scores of real rows: minus the Gower distance to the nearest synthetic row, (rows of real,) in [-1, 0]."""
    rows, syn = coded_together([real, synthetic], schema)
    return -nearest(rows, syn, schema)[0][:, 0]


def levatt(real_texts: Sequence[str], synthetic_texts: Sequence[str]) -> np.ndarray:
    """Membership scores of rows as texts: minus the least Levenshtein distance to a synthetic text (LevAtt, arXiv 2512.08875).

    Language models repeat strings of digits, which a distance over columns sees as numbers that happen to be near.

    Returns:
        (rows,) of whole numbers: 0 for a text that occurs among the synthetic ones, -1 for one digit changed.
    """
    synthetic = list(dict.fromkeys(synthetic_texts))
    if not len(real_texts) or not synthetic:
        raise CatalogError("The edit distance attack needs at least one real and one synthetic text.")
    block = max(1, 16 * CELLS // len(synthetic))
    least = [
        process.cdist(real_texts[start : start + block], synthetic, scorer=Levenshtein.distance, dtype=np.int32).min(1)
        for start in range(0, len(real_texts), block)
    ]
    return -np.concatenate(least).astype(np.float64)


# --- likelihood ---------------------------------------------------------------------------------------------------------------------------


def difference_interval(a: np.ndarray, b: np.ndarray, n_boot: int = 2000, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of mean(a) - mean(b) of two independent groups, each resampled for itself."""
    rng = np.random.default_rng(seed)
    draws = np.zeros(n_boot)
    for sign, values in ((1, np.asarray(a, dtype=np.float64)), (-1, np.asarray(b, dtype=np.float64))):
        chunk = max(1, 16 * CELLS // len(values))
        for start in range(0, n_boot, chunk):
            index = rng.integers(0, len(values), size=(min(chunk, n_boot - start), len(values)))
            draws[start : start + chunk] += sign * values[index].mean(1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def dlt(
    nll_train: np.ndarray, nll_holdout: np.ndarray, nll_syn: np.ndarray, n_boot: int = 2000, level: float = 0.95, seed: int = 0
) -> dict:
    """Data leakage test: perplexity of real, unseen and synthetic rows under the fine-tuned model.

    A perplexity is the mean over rows of exp(nats per token of the row), in this order: the released code averages the rows' perplexities.
    It takes 2 to the power of nats, though, which is perplexity ** 0.693.

    Args:
        nll_train, nll_holdout, nll_syn: mean nats per token of each row, one array a table.

    Returns:
        ``ppl_train``, ``ppl_holdout``, ``ppl_syn`` and ``nll_train``, ``nll_holdout``, ``nll_syn``, means over rows;
        ``dlt_paper`` = ppl_train - ppl_syn, higher = less leakage, and ``dlt_paper_base2``, the same with the released 2 ** nats;
        ``dlt_gap`` = ppl_holdout - ppl_train and ``nll_gap`` = nll_holdout - nll_train (nats per token), above 0 = memorised, each with
        bootstrap bounds ``_low`` and ``_high``.
    """
    nll = {"train": nll_train, "holdout": nll_holdout, "syn": nll_syn}
    nll = {name: np.asarray(values, dtype=np.float64) for name, values in nll.items()}
    for name, values in nll.items():
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise CatalogError(f"The leakage test needs one finite number of nats for each of at least one {name} row.")
    ppl = {name: np.exp(values) for name, values in nll.items()}
    found = {f"ppl_{name}": float(values.mean()) for name, values in ppl.items()}
    found |= {f"nll_{name}": float(values.mean()) for name, values in nll.items()}
    found["dlt_paper"] = found["ppl_train"] - found["ppl_syn"]
    found["dlt_paper_base2"] = float(np.exp2(nll["train"]).mean() - np.exp2(nll["syn"]).mean())
    for name, values in (("dlt_gap", ppl), ("nll_gap", nll)):
        found[name] = float(values["holdout"].mean() - values["train"].mean())
        found[f"{name}_low"], found[f"{name}_high"] = difference_interval(values["holdout"], values["train"], n_boot, level, seed)
    return found


# --- attribute disclosure -----------------------------------------------------------------------------------------------------------------


def attribute_disclosure(
    synthetic: pl.DataFrame,
    train: pl.DataFrame,
    holdout: pl.DataFrame,
    schema: Schema,
    sensitive: str,
    known: Sequence[str],
    k: int = 1,
) -> dict:
    """How much better the synthetic table gives away a sensitive category of training rows than of rows it was not made from.

    An attacker who knows some columns of a person takes the sensitive value of the nearest synthetic row (Gower on those columns), or the
    commonest among the k nearest, of equally common ones that of the nearest row. Guessing from what holds in the population works on
    holdout rows as well, so only the difference is disclosure.

    Args:
        sensitive: a category column.
        known: columns that the attacker knows, ``sensitive`` not among them.

    Returns:
        ``train_share``, ``holdout_share`` (rows guessed right), their counts ``train_right``, ``train_n``, ``holdout_right``,
        ``holdout_n``, and ``advantage`` = train_share - holdout_share. Rows whose sensitive cell is missing are left out.

    Raises:
        CatalogError: no such column, a sensitive number, ``sensitive`` among ``known``, or fewer than k synthetic rows.
    """
    restricted(schema, [sensitive, *known])
    if schema[sensitive].numeric:
        raise CatalogError(f"{sensitive} is a number and cannot be guessed right or wrong; choose a category as the sensitive column.")
    if sensitive in known:
        raise CatalogError(f"{sensitive} is the sensitive column; leave it out of the known ones.")
    used, target = restricted(schema, known), restricted(schema, [sensitive])
    frames = [synthetic, *(frame.filter(pl.col(sensitive).is_not_null()) for frame in (train, holdout))]
    features, values = coded_together(frames, used), [cells.codes[:, 0] for cells in coded_together(frames, target)]
    found: dict = {}
    for name, rows, truth in zip(("train", "holdout"), features[1:], values[1:]):
        votes = values[0][nearest(rows, features[0], used, k)[1]]  # (rows, k)
        support = (votes[:, :, None] == votes[:, None, :]).sum(2)
        guess = np.take_along_axis(votes, support.argmax(1)[:, None], 1)[:, 0]  # argmax: the nearest of those with most support
        right = int((guess == truth).sum())
        found |= {f"{name}_share": right / len(truth), f"{name}_right": right, f"{name}_n": len(truth)}
    return found | {"advantage": found["train_share"] - found["holdout_share"]}
