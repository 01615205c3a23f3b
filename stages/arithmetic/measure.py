"""Model runs of the system: head scan, CNA, verification, memorise / change-one, hidden-interpretable scan, four-stage chain.

Writes raw signals, one row a prompt, to `models/arithmetic_neurons/<profile>/`; `evaluate` makes the tables, so that another
statistic needs no model run. Attribution is fp32 whatever the model's dtype.
"""

from __future__ import annotations

import random
import time

import polars as pl
import torch

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet, write_safetensors
from catalog.base.params import ROOT, profile_params
from catalog.base.progress import progress
from catalog.inside.anatomy import View, forest, forests, next_logprobs, view
from catalog.inside.attribution import Lens, Trace, lens, predicted, top_tokens, trace
from catalog.inside.interventions import head_scan, random_neurons, scale_heads
from catalog.inside.neurons import Top, bases, comparative_neurons, geometry, likely_tokens
from catalog.models.answers import answer_ids
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from stages.arithmetic.chain import chain
from stages.arithmetic.dataset import compute, pairs, render
from stages.arithmetic.method import Case, Neuron, at_least, concept, hidden_counts, mask_out, masked_runs, verify_case
from stages.arithmetic.settings import Measure, Params, Row

Tables = dict[str, list[pl.DataFrame]]


def worked_examples(row: Row, op: str, template: str, digits: int, avoid: set, seed: int) -> str:
    """``row.shots`` solved problems of the same form, none of them in ``avoid``: {(op, a, b)}."""
    pool = [pair for pair in pairs(op, digits) if (op, *pair) not in avoid]
    chosen = random.Random(f"{seed} {op} {template} {digits}").sample(pool, row.shots)
    return "".join(f"{render(template, op, a, b)}{compute(op, a, b)}\n" for a, b in chosen)


def tokenised(tokenizer, row: Row, problems: pl.DataFrame, seed: int) -> pl.DataFrame:
    """``problems`` with ``ids`` (prompt with its worked examples) and ``answers`` (token ids of the answer behind it)."""
    avoid = set(problems.select("operation", "a", "b").iter_rows())
    starts = {
        key: worked_examples(row, *key, avoid, seed) if row.shots else ""
        for key in problems.select("operation", "template", "digits").unique().iter_rows()
    }
    texts = [starts[r["operation"], r["template"], r["digits"]] + r["prompt"] for r in problems.iter_rows(named=True)]
    answers = [answer_ids(tokenizer, text, answer) for text, answer in zip(texts, problems["answer"], strict=True)]
    return problems.with_columns(ids=pl.Series(tokenizer(texts).input_ids), answers=pl.Series(answers))


def predictions(v: View, problems: pl.DataFrame, model: str) -> pl.DataFrame:
    """Whether the first answer token is the model's top-1, and its log-probability, for each problem."""
    logp = next_logprobs(v, problems["ids"].to_list())
    gold = torch.tensor(problems["answers"].list.first().to_list(), device=logp.device)
    return problems.select("id", "split", "operation", "template", "digits", "form").with_columns(
        pl.lit(model).alias("model"),
        correct=pl.Series((logp.argmax(-1) == gold).tolist()),
        logprob=pl.Series(logp.gather(1, gold[:, None])[:, 0].tolist()),
    )


def scan(v: View, problems: pl.DataFrame, model: str, phase: str, heads: list[Neuron] | None) -> pl.DataFrame:
    """Zero each head in turn: correct and logprob of each problem, one row a head and problem."""
    gold = torch.tensor(problems["answers"].list.first().to_list(), device=v.device)
    heads = heads or [(layer, j) for layer in range(v.n_layers) for j in range(v.n_heads)]

    def read(logp: torch.Tensor, group: list[int]) -> torch.Tensor:
        want = gold[group][None, :, None].expand(len(logp), -1, -1)
        return torch.stack([logp.gather(-1, want)[..., 0], (logp.argmax(-1)[..., None] == want)[..., 0].float()], -1)

    with progress(_work(v, problems, heads), f"{model}: {phase} of {len(heads)} heads", "layer") as advance:
        out = head_scan(v, problems["ids"].to_list(), read, heads=heads, progress=lambda work: _advancing(work, advance))
    repeated = pl.DataFrame(heads, schema=["layer", "head"], orient="row").join(
        problems.select("id", "operation", "template", "digits"), how="cross"
    )
    return repeated.with_columns(
        pl.lit(model).alias("model"),
        pl.lit(phase).alias("phase"),
        logprob=pl.Series(out[..., 0].flatten().tolist()),
        correct=pl.Series((out[..., 1].flatten() > 0.5).tolist()),
    )


def _work(v: View, problems: pl.DataFrame, heads: list[Neuron]) -> int:
    return len(forests(problems["ids"].to_list(), 256)) * len({layer for layer, _ in heads})


def _advancing(work, advance):
    for item in work:
        yield item
        advance()


def head_effects(base: pl.DataFrame, scanned: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Mean fall of the right token's log-probability per head (and ``by``), largest first; ties by layer and head."""
    joined = scanned.join(base.select("id", pl.col("logprob").alias("before")), on="id")
    drop = joined.group_by("layer", "head", *by).agg(drop=(pl.col("before") - pl.col("logprob")).mean())
    return drop.sort("drop", "layer", "head", descending=[True, False, False])


def study_row(row: Row, problems: pl.DataFrame, p: Measure, seed: int, profile: str, out: Tables) -> dict:
    """Every experiment of one model; tables are appended to ``out``. Returns its neuron sets."""
    model, tokenizer = load_lm(row.model, dtype="float32" if profile == "small" else None)
    v = view(model)
    generator = torch.Generator().manual_seed(seed)
    wanted = (
        (pl.col("split") == "eval")
        | ((pl.col("split") == "study") & (pl.col("template") == row.study_template))
        | ((pl.col("split") == "scan") & (pl.col("template") == row.scan_template) & (pl.col("digits") == row.scan_digits))
    )
    problems = tokenised(tokenizer, row, problems.filter(wanted & pl.col("operation").is_in(row.operations)), seed)
    base = predictions(v, problems, row.model)
    out["predictions"].append(base)

    scanned = scan(v, problems.filter(pl.col("split") == "scan"), row.model, "scan", None)
    order = head_effects(base, scanned, [])
    best = order.head(p.confirm_heads).select("layer", "head").rows()
    every = order.select("layer", "head").sort("layer", "head").rows()
    others = [h for h in every if h not in set(best)]
    control = [others[i] for i in torch.randperm(len(others), generator=generator)[: p.control_heads].tolist()]
    digits = problems.filter((pl.col("split") == "eval") & (pl.col("form") == "digits"))
    confirmed = scan(v, digits, row.model, "confirm", best + control)
    out["heads"] += [scanned, confirmed]
    effects = head_effects(
        base, confirmed.join(pl.DataFrame(best, schema=["layer", "head"], orient="row"), on=["layer", "head"]), ["operation"]
    )
    heads = {op: effects.filter(pl.col("operation") == op).select("layer", "head").row(0) for op in row.operations}

    if "memorise" in row.experiments:
        for op, head in heads.items():
            own = problems.filter((pl.col("split") == "study") & (pl.col("operation") == op))
            out["heads"].append(scan(v, own, row.model, "study", [head]))

    sets, cases, read = cna(v, tokenizer, row, problems.join(base.select("id", "correct"), on="id"), heads, p, out)
    start = round(p.deep_from * v.n_layers)
    with progress(len(cases), f"{row.model}: verification", "case") as advance:
        for name, op, case in cases:
            rows = verify_case(v, case, p.set_sizes, start, generator)
            out["verify"].append(pl.DataFrame(rows).with_columns(pl.lit(row.model).alias("model"), case=pl.lit(name), operation=pl.lit(op)))
            advance()
    if "memorise" in row.experiments:
        out["memorise"].append(memorise(v, problems, row, heads))
    if "hidden" in row.experiments:
        ops = [op for _, op, _ in cases]
        some = [case for i, (_, op, case) in enumerate(cases) if ops[:i].count(op) < p.hidden_cases]
        hidden(v, read, tokenizer, row.model, some, p, generator, out)
    if "chain" in row.experiments:
        first = {op: name for name, op, _ in reversed(cases)}
        for op, name in sorted(first.items()):
            nodes, edges = explain(v, tokenizer, sets[name])
            labels = {"model": pl.lit(row.model), "operation": pl.lit(op), "case": pl.lit(name)}
            out["chain"].append(pl.DataFrame(nodes).with_columns(**labels))
            out["chain_edges"].append(pl.DataFrame(edges).with_columns(**labels))
    saved = {name: {"ids": s["ids"], "neurons": [list(n) for n in s["neurons"]]} for name, s in sets.items()}
    return {"heads": {op: list(head) for op, head in heads.items()}, "cases": saved}


def cna(v: View, tokenizer, row: Row, problems: pl.DataFrame, heads: dict[str, Neuron], p: Measure, out: Tables):
    """CNA of every case: the first ``p.cases`` one-digit study problems per operation that the model gets right. Returns the
    neuron sets by case, the cases for verification, and a lens."""
    answered = problems.filter((pl.col("split") == "study") & (pl.col("digits") == 1) & pl.col("correct"))
    runs: dict[str, tuple[pl.DataFrame, Trace, Trace]] = {}
    for op, head in heads.items():
        mine = answered.filter(pl.col("operation") == op).head(p.cases)
        if mine.is_empty():
            continue
        tree = forest(mine["ids"].to_list(), v.device)
        original = trace(v, tree)
        with scale_heads(v, [head]):
            runs[op] = (mine, original, trace(v, tree))
    if not runs:
        raise CatalogError(
            f"{row.model} answers no one-digit problem right; choose another study_template or more shots in stages/arithmetic/params.yaml."
        )
    reads = {op: lens(v, original) for op, (_, original, _) in runs.items()}
    share = p.bound_tokens // len(runs)
    known = {op: (bases(original, reads[op]), bases(headless, reads[op])) for op, (_, original, headless) in runs.items()}
    likely = [likely_tokens(list(both), share) for both in known.values()]
    geo = geometry(v, next(iter(reads.values())), torch.cat(likely).unique())  # weights only: one for all cases
    sets: dict[str, dict] = {}
    cases: list[tuple[str, str, Case]] = []
    with progress(sum(len(mine) for mine, _, _ in runs.values()), f"{row.model}: CNA", "case") as advance:
        for op, (mine, original, headless) in runs.items():
            targets = predicted(original, reads[op]).tolist()
            for i, problem in enumerate(mine.iter_rows(named=True)):
                name = f"{problem['a']}{op}{problem['b']}"
                pair = (v, original, headless, reads[op], i, targets[i], p.set_sizes[0], geo)
                top = comparative_neurons(*pair, p.cna_limit, p.decimals, known[op])
                neurons = list(zip(top.layer.tolist(), top.index.tolist(), strict=True))
                out["cna"].append(cna_table(v, reads[op], tokenizer, top, row.model, op, name, heads[op]))
                if "certify" in row.experiments and not sets:
                    out["certify"].append(certified(comparative_neurons(*pair, base=known[op]), top, row.model, op, name))
                at = original.last[i]
                importance = top.imp[0].tolist()
                case = Case(problem["ids"], problem["answers"][0], original.coef[:, at], headless.coef[:, at], neurons, importance)
                cases.append((name, op, case))
                sets[name] = {"neurons": neurons, "delta": top.score.tolist(), "imp": importance, "ids": problem["ids"]}
                advance()
    return sets, cases, next(iter(reads.values()))


def cna_table(v: View, read: Lens, tokenizer, top: Top, model: str, op: str, case: str, head: Neuron) -> pl.DataFrame:
    """One case's neurons as rows; what they promote is read for the first ten."""
    ids = list(zip(top.layer[:10].tolist(), top.index[:10].tolist(), strict=True))
    subvalues = torch.stack([top.coef[0, rank] * v.values(layer)[:, k] for rank, (layer, k) in enumerate(ids)])
    reading = [" ".join(tokens) for tokens in top_tokens(read, tokenizer, subvalues, 8)]
    count = len(top.layer)
    return pl.DataFrame(
        {
            "model": model, "operation": op, "case": case, "head_layer": head[0], "head": head[1], "rank": list(range(1, count + 1)),
            "layer": top.layer.tolist(), "index": top.index.tolist(), "imp_orig": top.imp[0].tolist(), "imp_int": top.imp[1].tolist(),
            "delta": top.score.tolist(), "coef_orig": top.coef[0].tolist(), "coef_int": top.coef[1].tolist(),
            "top_tokens": reading + [""] * (count - len(reading)), "proven": [rank < top.certified for rank in range(count)],
            "evaluated": top.evaluated,
        }
    )  # fmt: skip


def certified(full: Top, limited: Top, model: str, op: str, case: str) -> pl.DataFrame:
    """How much of the proven list the limited search has found."""
    found = [set(zip(top.layer.tolist(), top.index.tolist(), strict=True)) for top in (full, limited)]
    row = {"model": model, "operation": op, "case": case, "k": len(found[0]), "evaluated_limited": limited.evaluated}
    return pl.DataFrame([row | {"evaluated_certified": full.evaluated, "recall": len(found[0] & found[1]) / len(found[0])}])


def explain(v: View, tokenizer, found: dict) -> tuple[list[dict], list[dict]]:
    """The four-stage chain of one case, from its ten best CNA neurons."""
    attended = trace(v, forest([found["ids"]], v.device), attention=True)
    tokens = [tokenizer.decode(t) for t in found["ids"]]
    return chain(v, attended, lens(v, attended), tokenizer, tokens, 0, found["neurons"][:10], found["delta"][:10], found["imp"][:10])


def memorise(v: View, problems: pl.DataFrame, row: Row, heads: dict[str, Neuron]) -> pl.DataFrame:
    """Every token of two-digit problems' results, teacher-forced, with and without the operation's head."""
    rows, prompts = [], []
    for problem in problems.filter((pl.col("split") == "study") & (pl.col("digits") == 2)).iter_rows(named=True):
        if len(problem["answers"]) != len(problem["marks"]):
            raise CatalogError(
                f"{row.model} has tokens of several digits, so its answers have no token for each digit; "
                "take memorise out of its experiments in stages/arithmetic/params.yaml."
            )
        for place, mark in enumerate(problem["marks"]):
            prompts.append(problem["ids"] + problem["answers"][:place])
            rows.append(
                {
                    "model": row.model,
                    "operation": problem["operation"],
                    "id": problem["id"],
                    "place": place,
                    "type": "memorise" if mark == "m" else "change-one",
                    "gold": problem["answers"][place],
                }
            )
    table = pl.DataFrame(rows)
    table = table.with_columns(before=pl.Series(_right(next_logprobs(v, prompts), rows)))
    after = [False] * len(rows)
    for op, head in heads.items():
        mine = [i for i, r in enumerate(rows) if r["operation"] == op]
        with scale_heads(v, [head]):
            right = _right(next_logprobs(v, [prompts[i] for i in mine]), [rows[i] for i in mine])
        for i, value in zip(mine, right, strict=True):
            after[i] = value
    return table.with_columns(after=pl.Series(after)).filter(pl.col("operation").is_in(list(heads))).drop("gold")


def _right(logp: torch.Tensor, rows: list[dict]) -> list[bool]:
    return (logp.argmax(-1).cpu() == torch.tensor([r["gold"] for r in rows])).tolist()


def hidden(v: View, read: Lens, tokenizer, model: str, cases: list[Case], p: Measure, generator: torch.Generator, out: Tables) -> None:
    """Count concepts of shallow neurons, then zero each hidden-interpretable set and a random one of the same size."""
    until = round(p.hidden_until * v.n_layers)
    layers = list(range(until))
    vocabulary = min(p.hidden_vocabulary, read.unembed.shape[0])
    concepts = torch.tensor([concept(tokenizer.decode([i])) for i in range(vocabulary)], device=v.device)
    with progress(len(layers) * len(p.hidden_maps), f"{model}: hidden-interpretable scan", "layer") as advance:
        counts = hidden_counts(v, read, layers, list(p.hidden_maps), concepts, p.hidden_top, advance)
    plans: list[tuple[int, bool, int, torch.Tensor]] = []
    for m in p.hidden_counts:
        chosen = [(layers[i], k) for i, k in at_least(counts, m).nonzero().tolist()]
        stray = random_neurons(len(chosen), layers, v.n_ffn, generator)
        plans += [(m, False, len(chosen), mask_out(v, chosen)), (m, True, len(chosen), mask_out(v, stray))]
    for number, case in enumerate(cases):
        logp, _ = masked_runs(v, case.prompt, torch.stack([plan[3] for plan in plans]))
        right = (logp.argmax(-1) == case.answer).tolist()
        out["hidden"].append(
            pl.DataFrame(
                {
                    "model": model,
                    "case": number,
                    "m": [x[0] for x in plans],
                    "control": [x[1] for x in plans],
                    "count": [x[2] for x in plans],
                    "total": len(layers) * v.n_ffn,
                    "concepts": int((concepts > 0).sum()),
                    "maps": len(p.hidden_maps),
                    "correct": right,
                    "logprob": logp[:, case.answer].tolist(),
                }
            )
        )


def main(profile: str) -> None:
    started = time.perf_counter()
    params = profile_params(Params, "arithmetic", profile)
    if profile == "full":  # before any work
        for row in params.measure.rows:
            require_full(row.model)
    problems = pl.read_parquet(ROOT / "data" / "arithmetic" / profile / "problems.parquet")
    names = "predictions heads cna verify memorise hidden chain chain_edges certify".split()
    out: Tables = {name: [] for name in names}
    sets = {row.model: study_row(row, problems, params.measure, params.seed, profile, out) for row in params.measure.rows}
    with atomic_dir(ROOT / "models" / "arithmetic_neurons" / profile) as folder:
        for name in names:
            write_parquet(pl.concat(out[name]) if out[name] else pl.DataFrame(), folder / f"{name}.parquet")
        write_json(sets, folder / "neurons.json")
        # The same sets as tensors of (layer, index) rows, best first: what an editor of the model loads.
        tensors = {f"{model}/{case}": torch.tensor(found["neurons"]) for model, s in sets.items() for case, found in s["cases"].items()}
        write_safetensors(tensors, folder / "neurons.safetensors")
    facts = {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": peak_memory_mb()}
    write_json(facts, ROOT / "models" / "arithmetic_neurons" / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
