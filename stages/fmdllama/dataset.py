"""The instruction set of financial misinformation: claims and notes about real share prices, with labels that follow from the text.

Writes ``data/fmdid/<profile>/items.parquet``, one row an item of one of two tasks: ``claim`` (a claim and a context: True, False or NEI,
with an explanation) and ``article`` (a note whose figures agree or contradict each other: True or Fake). Splits share no share, no year
and no wording. Imports no torch.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.fmdllama import articles
from stages.fmdllama.facts import monthly
from stages.fmdllama.grid import EVIDENCE, GROUP, Claim, Context, Facts, contexts
from stages.fmdllama.settings import SPLITS, Data, Params, Part
from stages.fmdllama.wording import dollars, month_name, month_word, plain, quarter, read, sentence, signed

SYSTEM, DATASET = "fmdllama", "fmdid"
UP = ("down", "up")
# aspect of a sentence -> what it tells about, where that is not what the claim is about
MATTERS = {"words": "a move", "change": "a change", "level": "a price", "volatility": "a swing", "streak": "a run", "drawdown": "a dip"}
WORDING = Path("data") / DATASET / "raw" / "wording.yaml"
SCHEMA = {
    "task": pl.String,
    "id": pl.String,
    "split": pl.String,
    "kind": pl.String,
    "polarity": pl.String,
    "template": pl.String,
    "assets": pl.List(pl.String),
    "month": pl.String,
    "context_id": pl.String,
    "claim": pl.String,
    "context": pl.List(pl.String),
    "deciding": pl.List(pl.Int32),
    "retrieved": pl.List(pl.Int32),
    "label": pl.String,
    "reason": pl.String,
    "explanation": pl.String,
    "threshold": pl.Float64,
}


def build(p: Data, daily: pl.DataFrame, names: dict[str, str], wordings: dict[str, Any], seed: int) -> pl.DataFrame:
    """All items of both tasks, in a fixed order.

    Args:
        daily: ``asset``, ``source``, ``date``, ``adj_close``.
        names: ticker -> name of the company, as sentences have it.

    Raises:
        CatalogError: see `check`; a share without prices; too few shares or years for a kind of claim.
    """
    check(p)
    rows: list[dict[str, Any]] = []
    for split in SPLITS:
        part = p.splits[split]
        facts = monthly(_prices(p, part, daily)).filter(pl.col("month").dt.year().is_between(*part.years))
        rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
        kinds = _shares(p.kinds, 3 * part.contexts)
        for number, context in enumerate(contexts(Facts(facts), kinds, rng)):
            rows += items(context, f"{split}-{number:04d}", split, names, wordings, rng)
        rows += articles.notes(facts, names, wordings["articles"][split], part.notes, split, rng)
    blank = dict.fromkeys(SCHEMA)
    return pl.DataFrame([blank | row for row in rows], schema=SCHEMA)


def check(p: Data) -> None:
    """Raise a CatalogError where two splits have a share or a year in common, or a split or kind is unknown."""
    if set(p.splits) != set(SPLITS):
        raise CatalogError(f"data.splits of {SYSTEM} names {', '.join(p.splits)}; it needs {', '.join(SPLITS)}.")
    if unknown := sorted(set(p.kinds) - set(EVIDENCE)):
        raise CatalogError(f"data.kinds of {SYSTEM} names {unknown[0]}; the kinds are {', '.join(EVIDENCE)}.")
    parts = list(p.splits.items())
    for i, (name, part) in enumerate(parts):
        for other_name, other in parts[i + 1 :]:
            if both := sorted(set(part.shares) & set(other.shares)):
                raise CatalogError(f"{both[0]} is in the splits {name} and {other_name} of {SYSTEM}; leave it in one.")
            if part.years[0] <= other.years[1] and other.years[0] <= part.years[1]:
                raise CatalogError(f"The years of the splits {name} and {other_name} of {SYSTEM} overlap; part them.")


def _prices(p: Data, part: Part, daily: pl.DataFrame) -> pl.DataFrame:
    """Prices of a split's shares in its years, each from its source, with the month before, which the first change needs."""
    wanted = pl.DataFrame({"asset": list(part.shares), "source": [p.sources.get(share, p.source) for share in part.shares]})
    found = daily.join(wanted, on=["asset", "source"])
    if missing := sorted(set(part.shares) - set(found["asset"].unique())):
        raise CatalogError(f"There are no prices of {missing[0]} from {p.sources.get(missing[0], p.source)}; name another share or source.")
    first, last = part.years
    return found.filter(pl.col("date").dt.offset_by("2mo").dt.year() >= first, pl.col("date").dt.year() <= last)


def _shares(weights: dict[str, int], total: int) -> list[str]:
    """``total`` kinds in proportion to their weights, by largest remainder."""
    exact = {kind: total * weight / sum(weights.values()) for kind, weight in weights.items()}
    counts = {kind: int(value) for kind, value in exact.items()}
    for kind in sorted(exact, key=lambda kind: counts[kind] - exact[kind])[: total - sum(counts.values())]:
        counts[kind] += 1
    return [kind for kind, count in counts.items() for _ in range(count)]


def items(
    context: Context, context_id: str, split: str, names: dict[str, str], wordings: dict[str, Any], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Rows of the claims on one context. The three of a triple have the same wording; all share one list of sentences."""
    shares = [names[share] for share in context.shares]
    cells = [(share, month) for share in range(3) for month in range(3)]
    texts = {
        (share, month): sentence(
            wordings, split, context.aspects[share, month], int(rng.integers(1000)), shares[share], context.facts[share][month]
        )
        for share, month in cells
    }
    order = [cells[i] for i in rng.permutation(9)]
    place = {cell: 1 + position for position, cell in enumerate(order)}
    leads = wordings["lead"][split]
    a, b, c = (shares[i] for i in rng.permutation(3))
    lead = leads[rng.integers(len(leads))].format(a=a, b=b, c=c, **quarter(context.months[0]))
    sentences = [lead, *(texts[cell] for cell in order)]
    rows = []
    for triple in range(0, len(context.claims), 3):
        group = GROUP.get(context.claims[triple].kind, context.claims[triple].kind)
        number = int(rng.integers(len(wordings["claims"][group][split])))
        for claim in context.claims[triple : triple + 3]:
            deciding, retrieved = (sorted(place[cell] for cell in where) for where in (claim.deciding, claim.about))
            named = [shares[share] for share in claim.shares]
            rows.append(
                {
                    "task": "claim",
                    "id": f"{context_id}-{claim.kind}-{triple // 3}-{claim.label}",
                    "split": split,
                    "kind": claim.kind,
                    "polarity": "positive" if claim.positive else "negative",
                    "template": f"{group}/{split}/{number}",
                    "assets": [context.shares[share] for share in claim.shares],
                    "month": f"{context.months[claim.month]:%Y-%m}",
                    "context_id": context_id,
                    "claim": phrase(wordings["claims"][group][split][number], claim, named, context),
                    "context": sentences,
                    "deciding": deciding,
                    "retrieved": retrieved,
                    "label": claim.label,
                    "reason": (why := reason(claim, context, named)),
                    "explanation": " ".join([*(sentences[i] for i in retrieved), why]),  # the reference of the explanation task
                    "threshold": claim.threshold,
                }
            )
    return rows


def phrase(wording: list[str], claim: Claim, named: list[str], context: Context) -> str:
    """The claim as a sentence."""
    threshold = "" if claim.threshold is None else plain(claim.threshold)
    other = named[1] if len(named) > 1 else ""
    return wording[not claim.positive].format(x=named[0], y=other, m=month_name(context.months[claim.month]), t=threshold)


def reason(claim: Claim, context: Context, named: list[str]) -> str:
    """What the sentences tell and what the claim says, in the same few words for every wording.

    It does not say whether the claim is true, so that it can stand before the label. What is told and what is claimed end in the same words
    if and only if the claim is true, and what is told is another matter (`MATTERS`) if and only if the claim is left open: what a model
    must find out is written down one thing at a time.
    """
    cells = [context.facts[share][claim.month] for share in claim.shares]
    other = {cell: MATTERS[context.aspects[cell]] for cell in claim.about if context.aspects[cell] not in EVIDENCE[claim.kind]}
    group, one = GROUP.get(claim.kind, claim.kind), cells[0]
    if group == "compare":
        changes = [signed(fact["change"]) if claim.kind == "compare-by-number" else UP[fact["change"] > 0] for fact in cells]
        told = ", ".join(f"{name} {other.get(cell, change)}" for name, cell, change in zip(named, claim.about, changes))
        first = (cells[0]["change"] > cells[1]["change"]) == claim.positive
        which = "better" if claim.positive else "worse"
        return f"Told: {told}{'' if other else f', so {which} is {named[0 if first else 1]}'}; claimed: {named[0]}."
    if group == "extreme":
        share = claim.shares[0]
        changes = {fact["month"]: fact["change"] for fact in context.facts[share]}
        cells = [(share, month) for month in range(3)]
        told = ", ".join(f"{month_word(month)} {other.get(cell, signed(changes[month]))}" for cell, month in zip(cells, changes))
        best = (max if claim.positive else min)(changes, key=changes.__getitem__)
        which = "" if other else f", so {'best' if claim.positive else 'worst'} is {month_word(best)}"
        return f"Told: {told}{which}; claimed: {month_word(context.months[claim.month])}."
    if group in ("move", "volatility"):
        words = UP if group == "move" else ("calmer", "wilder")
        positive = one["change"] > 0 if group == "move" else one["swing"] > one["swing_before"]
        return f"Told: {other.get(claim.about[0], words[positive])}; claimed: {words[claim.positive]}."
    over = "at least" if group == "streak" else "above"
    claimed = over if claim.positive else "below"
    if other:
        return f"Told: {other[claim.about[0]]}; claimed: {claimed}."
    found = {"threshold": lambda: one["change"], "level": lambda: one["last"]}.get(group, lambda: one[group])()
    written = {"threshold": signed, "level": dollars}.get(group, plain)(found)
    limit = claim.threshold if group != "threshold" or claim.positive else -claim.threshold
    bound = f"{'-+'[limit > 0] if group == 'threshold' else ''}{plain(abs(limit))}"
    above = found >= limit if group == "streak" else found > limit
    return f"Told: {written} against {bound}, {over if above else 'below'}; claimed: {claimed}."


def main(profile: str) -> None:
    """Write ``data/fmdid/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    prices = ROOT / "data" / "prices" / profile
    daily = pl.read_parquet(prices / "daily.parquet", columns=["asset", "source", "date", "adj_close"])
    names = dict(pl.read_parquet(prices / "listings.parquet").select("asset", "name").unique().iter_rows())
    made = build(params.data, daily, names, read(ROOT / WORDING), params.seed)
    with atomic_dir(ROOT / "data" / DATASET / profile) as folder:
        write_parquet(made, folder / "items.parquet")


if __name__ == "__main__":
    run(main)
