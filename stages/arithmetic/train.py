"""LoRA on one attention layer at a time, CNA under LoRA, and pruning with LoRA (arXiv 2409.14144 §5, §6.1).

Each run trains q, k, v and o of a single layer. Nothing below that layer changes or needs a gradient, so its input is computed once
and each step runs the layers above only (on one process; several take the ordinary path, which gives the same loss). A finished run
is kept under `.checkpoints/`, so that a killed stage goes on with the next.

Pruning keeps the union of the top neurons by CNA of the original against the tuned model and drops every other FFN neuron of the
deep layers; the control keeps as many random ones. Outputs: `models/arithmetic_lora/<profile>/` and, apart from it because it
holds times, `models/arithmetic_lora/<profile>.run.json`.
"""

from __future__ import annotations

import dataclasses

import polars as pl
import torch
from torch import Tensor

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, read_json, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.inside.anatomy import Forest, View, embed, finish_blocks, forest, forests, logits_at, run_blocks, view
from catalog.inside.attribution import Trace, lens, predicted, trace
from catalog.inside.interventions import pruned, random_neurons
from catalog.inside.neurons import bases, comparative_neurons, geometry, likely_tokens
from catalog.models.answers import answer_ids
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import lora, save_lora
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.packing import encode
from catalog.training.settings import Settings
from catalog.training.tail import lower_once
from catalog.training.train import train_once
from stages.arithmetic.method import Neuron
from stages.arithmetic.settings import Params, Train

STAGE = "arithmetic_train"


Stream = tuple[list[int], Forest, dict, Tensor]


@torch.inference_mode()
def streams(v: View, prompts: list[list[int]], start: int) -> list[Stream]:
    """Residual streams entering layer ``start``, for :func:`right`: computed once, read before and after training."""
    out = []
    for group, tree in forests(prompts, 768, v.device):
        hidden, context = embed(v, tree)
        out.append((group, tree, context, run_blocks(v, hidden, context, 0, start)))
    return out


@torch.inference_mode()
def right(v: View, cached: list[Stream], start: int, gold: list[int]) -> pl.DataFrame:
    """Columns correct and logprob of the first answer token of each prompt."""
    correct, logprob = [False] * len(gold), [0.0] * len(gold)
    for group, tree, context, hidden in cached:
        logp = logits_at(v, finish_blocks(v, hidden, context, start, tree.last)[0]).log_softmax(-1)
        for row, i in enumerate(group):
            correct[i], logprob[i] = bool(logp[row].argmax() == gold[i]), float(logp[row, gold[i]])
    return pl.DataFrame({"correct": correct, "logprob": logprob})


def settings(p: Train, layer: int, rate: float, seed: int) -> Settings:
    """A LoRA of q, k, v and o of one layer."""
    return Settings(
        epochs=p.epochs,
        batch_size=p.batch_size,
        learning_rate=rate,
        lora_rank=p.rank,
        lora_alpha=p.alpha,
        lora_layers=(layer,),
        log_steps=1,
        save_steps=5,
        row_tokens=256,
        dtype="float32",
        seed=seed,
    )


class Bench:
    """One loaded model with its training examples and test problems."""

    def __init__(self, name: str, problems: pl.DataFrame, p: Train, seed: int, profile: str):
        self.name, self.p, self.seed, self.profile = name, p, seed, profile
        self.model, self.tokenizer = load_lm(name, dtype="float32" if profile == "small" else None)
        self.v = view(self.model)
        own = problems.filter(pl.col("split") == "lora_train")
        self.examples = encode(self.tokenizer, self.tokens(own), end=False)
        self.parent = checkpoint_folder(
            STAGE, profile, self.model, self.examples, settings(p, 0, 0.0, seed), extra=[name, dataclasses.asdict(p)]
        )
        self.test = problems.filter(pl.col("split") == "lora_test")
        tested = self.tokens(self.test)
        self.prompts, self.gold = [ids for ids, _ in tested], [answer[0] for _, answer in tested]
        self.entering: dict[int, tuple[list[dict], list[Stream]]] = {}
        self.curves: list[pl.DataFrame] = []
        self.results: list[pl.DataFrame] = []
        self.info: list[dict] = []

    def tokens(self, problems: pl.DataFrame) -> list[tuple[list[int], list[int]]]:
        """Ids of each prompt and of its answer, with a border between them even in "12-37=-25", where "=-" is one token: what is trained
        on is what is tested."""
        prompts, answers = problems["prompt"].to_list(), problems["answer"].to_list()
        behind = [answer_ids(self.tokenizer, prompt, answer, apart=True) for prompt, answer in zip(prompts, answers, strict=True)]
        return list(zip(self.tokenizer(prompts).input_ids, behind, strict=True))

    def note(self, variant: str, layer: int | None, rate: float | None, scored: pl.DataFrame) -> None:
        labels = {
            "model": pl.lit(self.name),
            "variant": pl.lit(variant),
            "layer": pl.lit(layer, pl.Int32),
            "rate": pl.lit(rate, pl.Float64),
        }
        self.results.append(self.test.select("id", "operation", "template").with_columns(scored["correct"], scored["logprob"], **labels))

    def untuned(self, variant: str) -> None:
        """Score the model as it stands."""
        self.note(variant, None, None, right(self.v, streams(self.v, self.prompts, 0), 0, self.gold))

    def entry(self, layer: int) -> tuple[list[dict], list[Stream]]:
        """Examples and test streams as they enter ``layer``: what lies below is never trained or pruned, so once a layer is enough."""
        if layer not in self.entering:
            examples = lower_once(self.model, self.examples, (layer,))
            self.entering[layer] = examples, streams(self.v, self.prompts, layer)
        return self.entering[layer]

    def tune(self, variant: str, layer: int, rate: float) -> dict[str, Tensor]:
        """Train a LoRA on one layer, score it, and give its tensors. A run that an interrupted stage finished is not trained again."""
        s = settings(self.p, layer, rate, self.seed)
        examples, cached = self.entry(layer)
        done = train_once(
            self.model, examples, s, self.parent / f"{variant}-{layer}-{rate:g}", desc=f"{self.name} {variant}, layer {layer}"
        )
        if not is_main():
            return {}
        with lora(self.model, s, done.tensors):
            self.note(variant, layer, rate, right(self.v, cached, layer, self.gold))
        label = {"model": self.name, "variant": variant, "layer": layer, "rate": rate}
        self.curves.append(pl.DataFrame(done.history).with_columns(*[pl.lit(x).alias(n) for n, x in label.items()]))
        self.info.append(label | done.info)
        return done.tensors


def coefficients_of(run: Trace, prompt: int, neurons: list[Neuron]) -> list[float]:
    """Coefficients of ``neurons`` at the last position of a prompt."""
    at = tuple(torch.tensor(neurons, device=run.coef.device).T)
    return run.coef[:, run.last[prompt]][at].tolist()


def solved(bench: Bench, problems: pl.DataFrame, count: int) -> list[list[int]]:
    """Prompts of ``count`` one-digit study problems of the trained templates, spread over the operations."""
    pool = problems.filter((pl.col("split") == "study") & (pl.col("digits") == 1))
    trained = problems.filter(pl.col("split") == "lora_train")["template"].unique()
    pool = pool.filter(pl.col("template") == pool.filter(pl.col("template").is_in(trained.implode()))["template"].min())
    spread = pool.with_columns(turn=pl.int_range(pl.len()).over("operation")).sort("turn", "id").head(count)
    return bench.tokenizer(spread["prompt"].to_list()).input_ids


def compare(bench: Bench, prompts: list[list[int]], s: Settings, tensors: dict[str, Tensor], k: int) -> list[list[Neuron]]:
    """CNA of the tuned model against the base model: top-k neurons of each prompt, by what the LoRA added to their Imp."""
    tree = forest(prompts, bench.v.device)
    base = trace(bench.v, tree)
    with lora(bench.model, s, tensors):
        tuned = trace(bench.v, tree)
    read = lens(bench.v, tuned)
    targets = predicted(tuned, read).tolist()
    known = bases(tuned, read), bases(base, read)
    geo = geometry(bench.v, read, likely_tokens(list(known), 256))
    pairs = [(bench.v, tuned, base, read, i, targets[i], k, geo) for i in range(len(prompts))]
    tops = [comparative_neurons(*pair, limit=k + 64, base=known) for pair in pairs]
    return [list(zip(top.layer.tolist(), top.index.tolist(), strict=True)) for top in tops]


def coefficient_table(
    bench: Bench, prompts: list[list[int]], sets: list[list[Neuron]], runs: dict, p: Train, label: str
) -> list[pl.DataFrame]:
    """Coefficients of each prompt's neurons in the base model and under every LoRA of the sweep."""
    tree = forest(prompts, bench.v.device)
    base = trace(bench.v, tree)
    out = []
    for (layer, rate), tensors in runs.items():
        with lora(bench.model, settings(p, layer, rate, bench.seed), tensors):
            tuned = trace(bench.v, tree)
        for i, neurons in enumerate(sets):
            out.append(
                pl.DataFrame(
                    {
                        "model": bench.name,
                        "lora_layer": layer,
                        "rate": rate,
                        "set": label,
                        "case": i,
                        "rank": list(range(1, len(neurons) + 1)),
                        "layer": [n[0] for n in neurons],
                        "index": [n[1] for n in neurons],
                        "coef_base": coefficients_of(base, i, neurons),
                        "coef_tuned": coefficients_of(tuned, i, neurons),
                    }
                )
            )
    return out


def main(profile: str) -> None:
    params = profile_params(Params, "arithmetic", profile)
    p = params.train
    if profile == "full":  # before any work
        for name in (p.model, p.second_model):
            require_full(name)
    problems = pl.read_parquet(ROOT / "data" / "arithmetic" / profile / "problems.parquet")
    found = read_json(ROOT / "models" / "arithmetic_neurons" / profile / "neurons.json")
    bench = Bench(p.model, problems, p, params.seed, profile)
    bench.untuned("base")
    runs = {(layer, rate): bench.tune("lora", layer, rate) for layer in p.layers for rate in p.rates}
    key = (p.prune_layer, p.rates[0])
    chosen = runs[key] if key in runs else bench.tune("lora", *key)
    s = settings(p, *key, params.seed)

    cases = solved(bench, problems, max(p.cna_cases, p.prune_cases))
    sets = compare(bench, cases, s, chosen, p.prune_top)
    tables = coefficient_table(bench, cases[: p.cna_cases], [neurons[:50] for neurons in sets[: p.cna_cases]], runs, p, "lora")
    with_head = [found[p.model]["cases"][name] for name in sorted(found.get(p.model, {}).get("cases", {}))][: p.cna_cases]
    if with_head:
        known = [[tuple(n) for n in case["neurons"]] for case in with_head]
        tables += coefficient_table(bench, [case["ids"] for case in with_head], known, runs, p, "head")

    deep = range(round(params.measure.deep_from * bench.v.n_layers), bench.v.n_layers)
    if p.prune_layer > deep.start:
        raise CatalogError(f"prune_layer {p.prune_layer} lies above layer {deep.start}, where pruning begins; choose a lower one.")
    kept = sorted({n for neurons in sets[: p.prune_cases] for n in neurons if n[0] in deep})
    stray = random_neurons(len(kept), list(deep), bench.v.n_ffn, torch.Generator().manual_seed(params.seed))
    for variant, neurons in (("pruned", kept), ("random-pruned", stray)):
        with pruned(bench.v, neurons, deep):
            bench.untuned(variant)
            bench.tune(variant, *key)
    facts = {"kept": kept, "total": len(deep) * bench.v.n_ffn, "first_layer": deep.start, "lora_layer": p.prune_layer}
    results, curves, info = bench.results, bench.curves, bench.info

    if p.second_model != p.model:
        del bench
        second = Bench(p.second_model, problems, p, params.seed, profile)
        second.untuned("base")
        second.tune("lora", p.second_layer, p.rates[0])
        results, curves, info = results + second.results, curves + second.curves, info + second.info
    if is_main():
        with atomic_dir(ROOT / "models" / "arithmetic_lora" / profile) as folder:
            for (layer, rate), adapter in runs.items():
                save_lora(adapter, settings(p, layer, rate, params.seed), p.model, folder / f"layer_{layer:02d}_{rate:g}")
            write_parquet(pl.concat(results), folder / "predictions.parquet")
            write_parquet(pl.concat(curves), folder / "curves.parquet")
            write_parquet(pl.concat(tables), folder / "coefficients.parquet")
            write_json(facts, folder / "pruned.json")
        write_json({"runs": info}, ROOT / "models" / "arithmetic_lora" / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
