"""Find the neurons of one model: scores on the locate words, causal scan of the candidates, selections, neuron cards, hierarchy.

Only words and templates of the split *locate*, and neutral text of that split, are used here; nothing is chosen on what is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from catalog.inside.interventions import random_neurons, scale_neurons
from catalog.inside.patch import patched
from catalog.inside.scan import Neuron, Probe, finish, odds, probe
from catalog.inside.two_targets import Found, Search, top, weigh
from stages.gender_bias.method import choose, classify
from stages.gender_bias.settings import Measure


def search(p: Measure) -> Search:
    """How the neurons of an edit are looked for. Those of the deeper layers only: what a shallow neuron does runs through all the others,
    and does not add up (see `hierarchy`)."""
    return Search(
        p.logit_candidates, p.causal_candidates, p.query_candidates, p.query_prompts, p.scan_paragraphs, p.neutral_every, p.shallow,
        p.general_candidates,
    )  # fmt: skip


def locate_prompts(prompts: pl.DataFrame, per_category: int) -> pl.DataFrame:
    """The first ``per_category`` locate words of each category, in the order of the table, with one template each in turn."""
    mine = prompts.filter((pl.col("direction") == "word_to_gender") & (pl.col("split") == "locate")).sort("id")
    words = mine.select("category", "word").unique(maintain_order=True)
    words = words.with_columns(turn=pl.int_range(pl.len()).over("category")).filter(pl.col("turn") < per_category)
    form = pl.col("template").rank("dense").over("category") - 1
    ranked = mine.with_columns(form=form, forms=pl.col("template").n_unique().over("category"))
    return ranked.join(words, on=["category", "word"]).filter(pl.col("form") == pl.col("turn") % pl.col("forms")).sort("id")


@dataclass(frozen=True)
class Selection:
    """Neurons, best first, and the factor each is scaled by (0: off)."""

    neurons: list[Neuron]
    factors: list[float]


def selections(v, found: Found, budget: float, shares: Tensor, p: Measure) -> dict[str, Selection]:
    """The edits to compare. *combined* weighs the scanned neurons; *logit* and *causal* switch as many off, and, *matched*, turn them
    down by one factor that does as much damage to neutral text as the combined edit may; *zeroed* switches a few chosen ones off.
    ``budget`` and ``shares`` are those of :func:`weighed`."""
    rows = strongest(found, shares, len(shares))
    picked = choose(found.d, found.effects, found.damage, p.neurons, budget)
    causal = found.fall.argsort(descending=True, stable=True)[: len(rows)].tolist()
    out = {"combined": Selection([found.pool[k] for k in rows], [1 - float(shares[k]) for k in rows])}
    sets = {"zeroed": [found.pool[k] for k in picked], "logit": found.logit_order[: len(rows)], "causal": [found.pool[k] for k in causal]}
    out |= {name: Selection(neurons, [0.0] * len(neurons)) for name, neurons in sets.items() if neurons}
    for name in ("logit", "causal"):
        out[f"{name}, matched"] = Selection(sets[name], [matched(v, found, sets[name], budget)] * len(sets[name]))
    return out


def strongest(found: Found, shares: Tensor, count: int) -> list[int]:
    """Rows of at most ``count`` weighed neurons, largest root mean square effect of what is taken away first."""
    order = (shares * found.effects.square().mean(1).sqrt()).argsort(descending=True, stable=True).tolist()
    return [k for k in order if shares[k] > 0][:count]


def weighed(v, found: Found, report: Probe, p: Measure) -> tuple[float, Tensor]:
    """The largest budget of ``p`` at which all neurons together make neutral text worse by no more than ``p.perplexity_limit`` (the
    smallest if none is), and the shares (K,) to take away at it. ``report`` reads every token of the neutral text of the split locate."""
    clean = _nll(v, report, v.n_layers - 1)
    kept: tuple[float, Tensor] | None = None
    for budget in p.kl_budgets:
        shares = refitted(v, found, budget, p)
        kept = (budget, shares) if kept is None else kept
        rows = shares.nonzero()[:, 0].tolist()
        with patched(v, [found.pool[k] for k in rows], [1 - float(shares[k]) for k in rows]):
            worse = float((_nll(v, report, found.pool[rows[0]][0]) - clean).exp()) - 1
        if worse > p.perplexity_limit:
            break
        kept = (budget, shares)
    return kept


def refitted(v, found: Found, budget: float, p: Measure, rows: list[int] | None = None) -> Tensor:
    """Shares (K,) at a budget. Effects do not quite add up, so the fit is corrected by what the edit as a whole does to each prompt."""
    rows = list(range(len(found.pool))) if rows is None else rows
    effects, damage = found.effects[rows], found.damage[rows]
    d, out = found.d, torch.zeros(len(found.pool), device=found.d.device)
    for turn in range(p.refits + 1):
        shares = weigh(d, effects, damage, budget)
        used = [k for k, share in zip(rows, shares.tolist(), strict=True) if share > 0]
        if not used or turn == p.refits:
            break
        with patched(v, [found.pool[k] for k in used], [1 - float(share) for share in shares if share > 0]):
            read = odds(v, found.on_prompts, found.pool[used[0]][0], found.pair)
        measured = torch.empty_like(found.d)
        measured[found.on_prompts.rows] = read
        d = measured - shares @ effects
    out[rows] = shares
    return out


def part(v, found: Found, shares: Tensor, count: int, budget: float, p: Measure) -> Selection:
    """The combined edit with at most ``count`` neurons: its strongest, weighed again at the same budget."""
    again = refitted(v, found, budget, p, sorted(strongest(found, shares, count)))
    rows = strongest(found, again, count)
    return Selection([found.pool[k] for k in rows], [1 - float(again[k]) for k in rows])


@torch.inference_mode()
def _nll(v, report: Probe, start: int) -> Tensor:
    """Mean negative log-probability of the tokens that follow at the read positions."""
    return -finish(v, report, start, lambda logp: logp).gather(1, report.after[:, None]).double().mean()


def matched(v, found: Found, neurons: list[Neuron], budget: float) -> float:
    """The factor at which ``neurons`` do ``budget`` nats of damage to the neutral text of the split locate, damage being quadratic in what
    is taken away; 0 when they do less even when off."""
    with scale_neurons(v, neurons):
        changed = finish(v, found.on_neutral, min(layer for layer, _ in neurons), lambda logp: logp)
    off = float((found.clean.exp() * (found.clean - changed)).sum(-1).mean())
    return 0.0 if off <= budget else 1 - (budget / off) ** 0.5


def cards(found: Found, words: list[str], sets: dict[str, Selection], p: Measure, model: str) -> pl.DataFrame:
    """Neuron cards: scores, class, selections, promoted tokens, and the words that activate each most; ``words`` (P,) of the prompts."""
    kinds = classify(found.fall, found.damage, p.gender_fall, p.general_kl)
    strongest = found.coef.abs().topk(min(8, len(words)), dim=1).indices.tolist()
    return pl.DataFrame(
        {
            "model": model,
            "layer": [layer for layer, _ in found.pool],
            "index": [index for _, index in found.pool],
            "class": kinds,
            "logit_score": found.logit.tolist(),
            "query_score": found.query.tolist(),
            "gradient_score": found.gradient.tolist(),
            "fall": found.fall.tolist(),
            "neutral_kl": found.damage.tolist(),
            "coefficient": found.coef.mean(1).tolist(),
            "coefficient_sd": found.coef.std(1).tolist(),
            "coefficient_man": [_mean(row[found.d > 0]) for row in found.coef],
            "coefficient_woman": [_mean(row[found.d < 0]) for row in found.coef],
            "combined_rank": [_rank(sets["combined"].neurons, n) for n in found.pool],
            "combined_factor": [_factor(sets["combined"], n) for n in found.pool],
            "zeroed_rank": [_rank(sets["zeroed"].neurons, n) if "zeroed" in sets else None for n in found.pool],
            "logit_rank": [_rank(sets["logit"].neurons, n) for n in found.pool],
            "causal_rank": [_rank(sets["causal"].neurons, n) for n in found.pool],
            "promotes": found.promotes,
            "activated_by": [" ".join(words[i].replace(" ", "_") for i in row) for row in strongest],
        },
        schema_overrides={f"{name}_rank": pl.Int32 for name in ("combined", "zeroed", "logit", "causal")},
    )


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _rank(order: list[Neuron], neuron: Neuron) -> int | None:
    return order.index(neuron) + 1 if neuron in order else None


def _factor(chosen: Selection, neuron: Neuron) -> float | None:
    return dict(zip(chosen.neurons, chosen.factors, strict=True)).get(neuron)


@torch.inference_mode()
def hierarchy(
    v, tokenizer, found: Found, texts: list[str], report: Probe, nll: Tensor, p: Measure, model: str, generator: torch.Generator
) -> pl.DataFrame:
    """Switch off a few shallow general neurons, as many gender neurons, as many random ones. One row a group: for each of a dozen prompts
    of ``texts`` the share of deeper coefficients that change by more than a tenth of their size at its last position (``changed``), and for
    each paragraph of ``report`` its tokens and their negative log-probability before (``nll``, of every token) and after.

    All are shallow. General neurons have the largest KL among those that write most on neutral text (mean |m| times the length of v), on
    the paragraphs of the split locate; gender neurons are those with the largest gradient score whose KL is at most ``p.general_kl``."""
    shallow = list(range(max(1, round(p.shallow * v.n_layers))))
    tree = found.on_neutral.trees[0]
    written = []
    for layer in shallow:
        caught: list[Tensor] = []
        handle = v.down_proj(layer).register_forward_pre_hook(lambda _, args, c=caught: c.append(args[0][0]))
        try:
            v.blocks[layer](tree.streams[layer][None], **tree.context)
        finally:
            handle.remove()
        written.append(caught[0].abs().float().mean(0) * v.values(layer).norm(dim=0))
    loudest = top(torch.stack(written), p.general_candidates)

    some = probe(v, tokenizer(texts[:: max(1, len(texts) // 12)])["input_ids"])
    base = [(_coefficients(v, tree, 0), tree) for tree in some.trees]
    kl: dict[Neuron, float] = {}
    for neuron in {*loudest, *found.early}:
        with scale_neurons(v, [neuron]):
            changed = finish(v, found.on_neutral, neuron[0], lambda logp: logp)
        kl[neuron] = float((found.clean.exp() * (found.clean - changed)).sum(-1).mean())
    groups = {
        "general": sorted(loudest, key=lambda neuron: (-kl[neuron], neuron))[: p.hierarchy_neurons],
        "gender": [neuron for neuron in found.early if kl[neuron] <= p.general_kl][: p.hierarchy_neurons],
        "random": random_neurons(p.hierarchy_neurons, shallow, v.n_ffn, generator),
    }
    rows = []
    for group, neurons in groups.items():
        if not neurons:
            continue
        first = min(layer for layer, _ in neurons)
        with scale_neurons(v, neurons):
            loss = -finish(v, report, first, lambda logp: logp).gather(1, report.after[:, None])[:, 0].double()
            changed = torch.zeros(len(some.rows), device=v.device)
            for before, tree in base:
                after = _coefficients(v, tree, 0)
                deeper = slice(max(layer for layer, _ in neurons) + 1, None)
                large = (after[deeper] - before[deeper]).abs() > 0.1 * before[deeper].abs()
                changed[tree.prompts] = large.float().mean((0, 2))
        rows.append(
            {
                "model": model, "group": group, "n": len(neurons), "first_layer": first, "last_layer": max(layer for layer, _ in neurons),
                "neurons": [f"{layer}_{index}" for layer, index in neurons], "changed": changed.tolist(),
                "tokens": torch.bincount(report.rows).tolist(), "nll_before": _sums(nll, report), "nll": _sums(loss, report),
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


def _sums(values: Tensor, p: Probe) -> list[float]:
    """Sums of the read positions' values by prompt."""
    return torch.bincount(p.rows, weights=values.double()).tolist()


def _coefficients(v, tree, start: int) -> Tensor:
    """FFN coefficients at the read positions of a tree, (L, R, N)."""
    caught: list[Tensor] = []
    handles = [v.down_proj(i).register_forward_pre_hook(lambda _, args: caught.append(args[0][0, tree.read])) for i in range(v.n_layers)]
    try:
        hidden = tree.streams[start][None]
        for block in v.blocks[start:]:
            hidden = block(hidden, **tree.context)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(caught)
