"""Find the neurons of one model: scores on the locate words, causal scan of the candidates, selections, neuron cards, hierarchy.

Only words and templates of the split *locate*, and neutral text of that split, are used here; nothing is chosen on what is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from catalog.base.progress import progress
from catalog.inside.anatomy import forest
from catalog.inside.attribution import lens, top_tokens, trace
from catalog.inside.interventions import random_neurons, scale_neurons
from catalog.inside.patch import patched
from stages.gender_bias.measure import Targets
from stages.gender_bias.method import (
    Neuron,
    aligned,
    choose,
    classify,
    directions,
    gradient_scores,
    query_scores,
    top,
    two_target_scores,
    weigh,
)
from stages.gender_bias.scan import Probe, finish, neuron_scan, odds, probe
from stages.gender_bias.settings import Edit


@dataclass
class Found:
    """Scan of one model's candidates, K neurons: ``effects`` (K, P) change of d when each alone is off, ``damage`` (K,) its KL on neutral
    text (nats), ``logit``, ``gradient``, ``query`` (K,) scores, ``coef`` (K, P) coefficients at the last position; ``logit_order`` the
    neurons of the whole model by logit-based score; ``on_words`` the prompts, ``on_neutral`` neutral text, ``clean`` (R, V) its
    log-probabilities; ``early`` the shallow neurons with the largest gradient score."""

    prompts: pl.DataFrame
    d: Tensor
    pool: list[Neuron]
    effects: Tensor
    damage: Tensor
    logit: Tensor
    gradient: Tensor
    query: Tensor
    coef: Tensor
    logit_order: list[Neuron]
    promotes: list[str]
    on_words: Probe
    on_neutral: Probe
    clean: Tensor
    targets: Targets
    early: list[Neuron]

    @property
    def fall(self) -> Tensor:
        """Fall of mean |d| when each neuron alone is off, (K,)."""
        return self.d.abs().mean() - (self.d + self.effects).abs().mean(1)


def locate_prompts(prompts: pl.DataFrame, per_category: int) -> pl.DataFrame:
    """The first ``per_category`` locate words of each category, in the order of the table, with one template each in turn."""
    mine = prompts.filter((pl.col("direction") == "word_to_gender") & (pl.col("split") == "locate")).sort("id")
    words = mine.select("category", "word").unique(maintain_order=True)
    words = words.with_columns(turn=pl.int_range(pl.len()).over("category")).filter(pl.col("turn") < per_category)
    form = pl.col("template").rank("dense").over("category") - 1
    ranked = mine.with_columns(form=form, forms=pl.col("template").n_unique().over("category"))
    return ranked.join(words, on=["category", "word"]).filter(pl.col("form") == pl.col("turn") % pl.col("forms")).sort("id")


def find(v, tokenizer, to: Targets, prompts: pl.DataFrame, neutral: list[str], p: Edit) -> Found:
    """Score all neurons, scan the best of each score."""
    ids = tokenizer(prompts["text"].to_list())["input_ids"]
    tree = forest(ids, v.device)
    run = trace(v, tree)
    read = lens(v, run)
    along = directions(v, read, to.man, to.woman)
    scores = two_target_scores(run, read, along)
    on_words = probe(v, ids)
    d = torch.empty(len(ids), device=v.device)
    d[on_words.rows] = odds(v, on_words, v.n_layers - 1, (to.man, to.woman))
    logit = aligned(scores, d)
    gradient = gradient_scores(v, tree, d, to.man, to.woman)
    query = torch.zeros_like(logit)
    asked = ids[:: max(1, len(ids) // p.query_prompts)][: p.query_prompts]
    attended = trace(v, forest(asked, v.device), attention=True)
    own = lens(v, attended)
    for i in range(len(asked)):
        query += query_scores(v, attended, own, i, to.man, to.woman) / len(asked)
    # Of the deeper layers only: what a shallow neuron does runs through all the others, and does not add up (see hierarchy).
    depth = round(p.shallow * v.n_layers)
    early = top(gradient[:depth], p.general_candidates)
    for kind in (logit, gradient, query):
        kind[:depth] = 0.0
    chosen = [*top(logit, p.logit_candidates), *top(gradient, p.causal_candidates), *top(query, p.query_candidates)]
    pool = sorted(set(chosen))
    on_neutral = probe(v, tokenizer(neutral[: p.scan_paragraphs])["input_ids"], every=p.neutral_every)
    clean = finish(v, on_neutral, 0, lambda logp: logp)

    def kl(logp: Tensor, first: int) -> Tensor:
        base = clean[first : first + logp.shape[1]]
        return (base.exp() * (base - logp)).sum(-1)

    trees = len(on_words.trees) + len(on_neutral.trees)
    with progress(len(pool) * trees, f"scan of {len(pool)} neurons", "neuron") as advance:
        changed = neuron_scan(v, on_words, pool, (to.man, to.woman), advance)
        damage = neuron_scan(v, on_neutral, pool, kl, advance).mean(1)
    effects = torch.empty_like(changed)
    effects[:, on_words.rows] = changed
    effects -= d
    at = tuple(torch.tensor(pool, device=v.device).T)
    coef = run.coef[:, run.last][at[0], :, at[1]]
    signed = torch.stack([coef[k].mean() * v.values(layer)[:, index] for k, (layer, index) in enumerate(pool)])
    reading = [" ".join(tokens) for tokens in top_tokens(read, tokenizer, signed, 10)]
    order = top(logit, 512)
    scores = (logit[at], gradient[at], query[at])
    return Found(prompts, d, pool, effects, damage, *scores, coef, order, reading, on_words, on_neutral, clean, to, early)


@dataclass(frozen=True)
class Selection:
    """Neurons, best first, and the factor each is scaled by (0: off)."""

    neurons: list[Neuron]
    factors: list[float]


def selections(v, found: Found, budget: float, shares: Tensor, p: Edit) -> dict[str, Selection]:
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


def weighed(v, found: Found, report: Probe, p: Edit) -> tuple[float, Tensor]:
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


def refitted(v, found: Found, budget: float, p: Edit, rows: list[int] | None = None) -> Tensor:
    """Shares (K,) at a budget. Effects do not quite add up, so the fit is corrected by what the edit as a whole does to each prompt."""
    rows = list(range(len(found.pool))) if rows is None else rows
    effects, damage, to = found.effects[rows], found.damage[rows], found.targets
    d, out = found.d, torch.zeros(len(found.pool), device=found.d.device)
    for turn in range(p.refits + 1):
        shares = weigh(d, effects, damage, budget)
        used = [k for k, share in zip(rows, shares.tolist(), strict=True) if share > 0]
        if not used or turn == p.refits:
            break
        with patched(v, [found.pool[k] for k in used], [1 - float(share) for share in shares if share > 0]):
            read = odds(v, found.on_words, found.pool[used[0]][0], (to.man, to.woman))
        measured = torch.empty_like(found.d)
        measured[found.on_words.rows] = read
        d = measured - shares @ effects
    out[rows] = shares
    return out


def part(v, found: Found, shares: Tensor, count: int, budget: float, p: Edit) -> Selection:
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


def cards(found: Found, sets: dict[str, Selection], p: Edit, model: str) -> pl.DataFrame:
    """Neuron cards: scores, class, selections, promoted tokens, and the words that activate each most."""
    kinds = classify(found.fall, found.damage, p.gender_fall, p.general_kl)
    words = found.prompts["word"].to_list()
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
def hierarchy(v, tokenizer, found: Found, report: Probe, nll: Tensor, p: Edit, model: str, generator: torch.Generator) -> pl.DataFrame:
    """Switch off a few shallow general neurons, as many gender neurons, as many random ones: share of deeper coefficients that change by
    more than a tenth of their size at the prompts' last positions, and perplexity of the neutral text of ``report`` (``nll`` before).

    All are shallow. General neurons have the largest KL among those that write most on neutral text (mean |m| times the length of v);
    gender neurons are those with the largest gradient score whose KL is at most ``p.general_kl``."""
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

    some = probe(v, tokenizer(found.prompts["text"].to_list()[:: max(1, len(found.prompts) // 12)])["input_ids"])
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
            moved, total = 0.0, 0
            for before, tree in base:
                after = _coefficients(v, tree, 0)
                deeper = slice(max(layer for layer, _ in neurons) + 1, None)
                large = (after[deeper] - before[deeper]).abs() > 0.1 * before[deeper].abs()
                moved, total = moved + float(large.sum()), total + large.numel()
        rows.append(
            {
                "model": model, "group": group, "n": len(neurons), "first_layer": first, "last_layer": max(layer for layer, _ in neurons),
                "deeper_changed": moved / total if total else None,
                "perplexity_before": float(nll.mean().exp()), "perplexity": float(loss.mean().exp()),
                "neurons": " ".join(f"{layer}_{index}" for layer, index in neurons),
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


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
