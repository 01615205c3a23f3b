"""Side by side on one real LLM and one prompt: this project's attribution against the definition and against other ways to do it.

    PYTHONPATH=. python benchmarks/attribution.py smollm2                  # everything
    PYTHONPATH=. python benchmarks/attribution.py qwen_coder --layers 2    # the direct way on 2 layers only, times extrapolated

(a) certified top-k FFN neurons of the whole model, and exact scores of all neurons; (b) the definition: one softmax over the whole
vocabulary a neuron, batched by layer; (c) TransformerLens' nearest call, the neurons' direct logit attribution (it has no
log-probability increase; needs `pip install 'transformer-lens>=4'`); (d) the head scan here against a deep copy of the model for each
head. Then certified top-k against brute force on many prompts, and parts against the whole. Times are medians of three where they
are short. Memory is the peak of the process so far, so it only grows from line to line.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys

import torch

from benchmarks.timing import clock
from catalog.inside.anatomy import forest, next_logprobs, view
from catalog.inside.attribution import head_vectors, lens, predicted, trace
from catalog.inside.interventions import head_scan
from catalog.inside.neurons import neuron_scores, top_neurons
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm
from catalog.models.weights import resolve

PROMPT = "The sum of 34 and 25 is "
PROMPTS = [
    f"The {noun} {link} {a} and {b} is "
    for noun, link in (("sum", "of"), ("product", "of"), ("ratio", "of"), ("difference", "between"))
    for a, b in ((84, 12), (36, 9), (72, 24), (50, 25), (96, 8))
]


def say(what: str, seconds: float, note: str = "") -> None:
    peak = peak_memory_mb() / 1024
    print(f"{what:<64} {seconds:9.3f} s   peak {peak:5.2f} GiB   {note}", flush=True)


@torch.inference_mode()
def direct(v, run, read, target: int, layers: list[int], rows: int = 128) -> torch.Tensor:
    """The definition: softmax of W_U (base + m v) for every neuron, ``rows`` neurons at a time: (len(layers), N)."""
    out = []
    at = run.last[0]
    for layer in layers:
        base = run.mid[layer, at]
        parts = (v.values(layer) * run.coef[layer, at]).T
        origin = read.logits(base, 0).log_softmax(-1)[target]
        scores = [read.logits(base + piece, 0).log_softmax(-1)[:, target] for piece in parts.split(rows)]
        out.append(torch.cat(scores) - origin)
    return torch.stack(out)


def deep_copies(v, prompts: list[list[int]], heads: list[tuple[int, int]]) -> list[torch.Tensor]:
    """Log-probabilities with each head zeroed in a deep copy of the whole model."""
    out = []
    for layer, head in heads:
        other = view(copy.deepcopy(v.model))
        with torch.no_grad():
            other.o_proj(layer).weight[:, head * v.d_head : (head + 1) * v.d_head] = 0
        with torch.inference_mode():
            out.append(torch.stack([other.model(torch.tensor([p])).logits[0, -1].log_softmax(-1) for p in prompts]))
    return out


def transformer_lens(name: str, model, tokenizer, target: int):
    """Neuron-level direct logit attribution by TransformerLens of the same weights, or None where it is not installed."""
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError:
        return None
    # The bridge puts its own modules into the model it is given, so it gets a copy; the name only says where the configuration is.
    hooked = TransformerBridge.boot_transformers(
        str(resolve(name)), hf_model=copy.deepcopy(model), tokenizer=tokenizer, device="cpu", dtype=torch.float32
    )
    ids = torch.tensor([tokenizer(PROMPT).input_ids])

    def attribute():
        with torch.inference_mode():
            _, cache = hooked.run_with_cache(ids)
            stack = cache.stack_neuron_results(layer=-1, pos_slice=-1, apply_ln=True)  # (L*N, 1, d)
            return stack[:, 0] @ hooked.W_U[:, target]

    return attribute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="smollm2")
    parser.add_argument("--layers", type=int, default=0, help="layers for the direct way and for brute force; 0: all")
    parser.add_argument("--heads", type=int, default=4, help="heads for the deep copies")
    parser.add_argument("--brute", type=int, default=20, help="prompts of the brute-force comparison; 0: none")
    args = parser.parse_args()
    model, tokenizer = load_lm(args.model, dtype="float32", device="cpu")
    v = view(model)
    ids = tokenizer(PROMPT).input_ids
    run = trace(v, forest([ids]))
    read = lens(v, run)
    target = predicted(run, read)[0].item()
    layers = list(range(v.n_layers))[-args.layers :] if args.layers else list(range(v.n_layers))
    scale = v.n_layers / len(layers)
    part = "" if scale == 1 else f" (from {len(layers)} of {v.n_layers} layers)"
    print(
        f"{args.model}: {v.n_layers} layers, {v.n_layers * v.n_ffn:,} FFN neurons, "
        f"vocabulary {len(read.unembed):,}; torch {torch.__version__}"
    )

    top_neurons(v, run, read, 0, target, 10)
    a, top = clock(lambda: top_neurons(v, run, read, 0, target, 100), 3, statistics.median)
    say("(a) certified top-100 over all neurons", a, f"{top.evaluated} scored exactly, {top.certified} certified")
    peer = transformer_lens(args.model, model, tokenizer, target)
    if peer is None:
        print("(c) TransformerLens is not installed: pip install 'transformer-lens>=4'")
    else:
        c, attribution = clock(peer, 3, statistics.median)
        say("(c) TransformerLens: direct logit attribution of all neurons", c, f"{c / a:.1f} x (a); no softmax, so another score")
        shared = set(attribution.topk(100).indices.tolist()) & set((top.layer * v.n_ffn + top.index).tolist())
        print(f"    its top 100 shares {len(shared)} neurons with the exact top 100")
        del peer, attribution
    e, exact = clock(lambda: neuron_scores(v, run, read, torch.tensor([target]), layers))
    say(f"(a) exact scores of all neurons{part}", e * scale)
    b, scores = clock(lambda: direct(v, run, read, target, layers))
    say(f"(b) the definition, one softmax a neuron{part}", b * scale, f"{b * scale / a:.0f} x certified top-100, {b / e:.2f} x all exact")
    print(f"    largest deviation of exact scores from the definition: {(scores - exact[0]).abs().max():.2e} nats")
    del scores, exact

    prompts = [tokenizer(p).input_ids for p in PROMPTS[:8]]
    heads = [(round(i * (v.n_layers - 1) / (args.heads - 1)), i % v.n_heads) for i in range(args.heads)]
    every = v.n_layers * v.n_heads
    h, found = clock(lambda: head_scan(v, prompts, lambda logp, group: logp.amax(-1)))
    say(f"(d) head scan here, {every} heads x {len(prompts)} prompts", h)
    d, copies = clock(lambda: deep_copies(v, prompts, heads))
    d *= every / len(heads)
    say(f"(d) deep copy and zero (from {len(heads)} heads)", d, f"{d / h:.1f} x the head scan")
    deviation = max((copies[i].amax(-1) - found[layer * v.n_heads + j]).abs().max().item() for i, (layer, j) in enumerate(heads))
    print(f"    largest deviation: {deviation:.2e} nats")

    if args.brute:
        prompts = [tokenizer(p).input_ids for p in PROMPTS[: args.brute]]
        run = trace(v, forest(prompts))
        read = lens(v, run)
        targets = predicted(run, read)
        whole = torch.stack([model(torch.tensor([p])).logits[0, -1].detach() for p in prompts])
        final = torch.stack([read.logits(run.x[-1, run.last[p]], p) for p in range(len(prompts))])
        summed = run.x[0, run.last] + run.attn[:, run.last].sum(0) + run.ffn[:, run.last].sum(0)
        total = torch.stack([read.logits(summed[p], p) for p in range(len(prompts))])
        parts = run.x[0, run.last] + sum(head_vectors(v, run, i).sum(1) for i in range(v.n_layers))
        parts = parts + sum(run.coef[i, run.last] @ v.values(i).T for i in range(v.n_layers))
        finest = torch.stack([read.logits(parts[p], p) for p in range(len(prompts))])
        for name, logits in (("final residual", final), ("sum of layers", total), ("sum of heads and neurons", finest)):
            print(f"{name}: logits within {(logits - whole).abs().max():.1e} of the model's, {len(prompts)} prompts")
        print(f"prefix forest: within {(next_logprobs(v, prompts) - whole.log_softmax(-1)).abs().max():.1e}")
        t, exact = clock(lambda: neuron_scores(v, run, read, targets, layers))
        say(f"brute force for {len(prompts)} prompts{part}", t)
        same, extra = {10: 0, 100: 0, 300: 0}, {10: [], 100: [], 300: []}
        chosen = torch.zeros(v.n_layers, dtype=torch.bool).index_fill_(0, torch.tensor(layers), True)
        for p in range(len(prompts)):
            for k in same:
                top = top_neurons(v, run, read, p, targets[p].item(), k)
                inside = chosen[top.layer]
                best = exact[p].flatten().topk(max(1, int(inside.sum())))
                flat = torch.tensor([layers.index(x) for x in top.layer[inside].tolist()]) * v.n_ffn + top.index[inside]
                same[k] += set(flat.tolist()) == set(best.indices.tolist()) and top.certified == len(top.layer)
                extra[k].append(top.evaluated)
        for k, count in same.items():
            print(
                f"certified top-{k} equals brute force{part}: {count} of {len(prompts)}; "
                f"{statistics.median(extra[k]):.0f} scored exactly (median)"
            )


if __name__ == "__main__":
    sys.exit(main())
