"""Side by side: preference optimisation here, method by method, and DPO here against TRL's DPOTrainer, on one real LLM and the same pairs.

    PYTHONPATH=. python benchmarks/training.py                     # this project's methods; needs `dvc repro sepo_data`
    PYTHONPATH=. python benchmarks/training.py --trl FOLDER        # and TRL

TRL is no dependency. It is installed into a folder of its own, where what this project's environment has already is not installed again:

    pip install --target FOLDER --no-deps trl==1.16.0 datasets dill multiprocess xxhash

(a) Seconds a step of each method with a LoRA on all linear modules of all layers (nothing is left out of a step as
`catalog.training.tail` would),
and the whole cost of SePO, with its oracle and its scores, beside that of DPO for the same number of steps of the policy; then the step as
profile small takes it, with the LoRA on the upper layers and what the others say computed before. (b) TRL on the same weights, LoRA,
batches in the same order, optimiser and first random numbers; its token ids must be those here, and the losses of both are compared. TRL
gets the form of weights, products and attention that it is fastest with, and no activation checkpointing. The form of a batch here is
chosen as well.

All methods and TRL take turns in each round. A step is timed from the end of the one before to its own end, by one callback for both; the
first step of a run is left out. Numbers are medians over the rounds of a round's mean step, with the range in brackets; a ratio is the
median of the rounds' ratios. All on the CPU, which nothing else should use: the last line says whether the process had it to itself.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import peft
import torch
import transformers

from benchmarks.timing import clock, fastest, ratio, spread
from catalog.models.devices import cpus, pick_dtype
from catalog.models.lm import load_lm
from catalog.training.adapters import lora, upper_layers
from catalog.training.packing import grouped, order
from catalog.training.pairs import SIDES, pair_collate, sides
from catalog.training.settings import Settings
from catalog.training.train import Run, train
from stages.sepo.method import labels_of, loss_of
from stages.sepo.oracle import with_reference
from stages.sepo.scoring import token_log_probs
from stages.sepo.selection import scores
from stages.sepo.settings import LIVE_DPO, Method, Tokens
from stages.sepo.texts import Pairs, encoded, entering, prompt_ids, read

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BETA = 0.1  # of DPO, on both sides
SHARED = pair_collate(shared=True)  # as the stage packs a batch
COLLATES = {
    "a row for each text": pair_collate(),
    "texts packed into rows of 512 tokens": pair_collate(512),
    "both responses behind one prompt": SHARED,
}
FORMS = {  # of TRL: type of the weights, of the products (autocast), attention
    "float32-sdpa": ("float32", False, "sdpa"),
    "autocast-sdpa": ("float32", True, "sdpa"),
    "bfloat16-sdpa": ("bfloat16", True, "sdpa"),
    "autocast-eager": ("float32", True, "eager"),
    "bfloat16-eager": ("bfloat16", True, "eager"),
}
INSTALL = "pip install --target FOLDER --no-deps trl==1.16.0 datasets dill multiprocess xxhash"


def method(name: str, loss: str, reference: str = "none", selector: str = "all", share: float = 1.0, beta: float = BETA) -> Method:
    return Method(name, loss, selector, reference, chosen_share=share, rejected_share=share, beta=beta, gamma=0.0, alpha=0.5, weight=1.0)


LIVE, CACHED, SIMPO, SEPO = "DPO, live reference", "DPO, cached reference", "SimPO", "SePO"
METHODS = {
    LIVE: replace(LIVE_DPO, beta=BETA),
    CACHED: replace(LIVE_DPO, name="dpo-cached", reference="cached", beta=BETA),
    SIMPO: method("simpo", "simpo", beta=2.0),
    SEPO: method("sepo", "sepo", selector="oracle", share=0.3, beta=1.0),
    "TDPO2": method("tdpo2", "tdpo2", "live"),
    "ConfPO": method("confpo", "confpo", beta=2.0),
}
TUNING = "fine-tuning on chosen responses"
TRL, TRL_CACHED = "TRL, live reference", "TRL, precomputed reference"


@dataclass(frozen=True)
class Bench:
    """What both sides are given: a batch is the next ``settings.batch_size`` pairs."""

    name: str
    pairs: Pairs
    settings: Settings
    tokenizer: Any
    threads: int

    def load(self, dtype: str = "float32", attention: str = "sdpa") -> Any:
        model, _ = load_lm(self.name, dtype=dtype, device="cpu", attention=attention)
        torch.set_num_threads(self.threads)  # `load_lm` takes every CPU it may use
        return model


class Ends(transformers.TrainerCallback):
    """When each optimiser step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.at.append(time.perf_counter())


@contextlib.contextmanager
def timed() -> Iterator[Ends]:
    """Note the steps of any `transformers.Trainer` made inside, ours or TRL's."""
    ends = Ends()
    transformers.trainer.DEFAULT_CALLBACKS.append(ends)
    try:
        yield ends
    finally:
        transformers.trainer.DEFAULT_CALLBACKS.remove(ends)


def a_step(ends: Ends) -> float:
    """Mean seconds of the steps after the first."""
    return (ends.at[-1] - ends.at[0]) / (len(ends.at) - 1)


def ours(b: Bench, model: Any, examples: Sequence[Any], m: Method | None, collate: Callable | None) -> tuple[float, Run]:
    """Seconds a step, and the run, of a fresh LoRA; without a method the fine-tuning of a reference."""
    with lora(model, b.settings) as adapted, timed() as ends:
        done = train(adapted, examples, b.settings, loss_fn=loss_of(m) if m else None, collate=collate)
    return a_step(ends), done


def oracle_scores(b: Bench, model: Any, tensors: Any) -> list[dict]:
    """Log-probabilities of the response tokens under an oracle, as the stage asks for them."""
    with lora(model, b.settings, tensors) as adapted:
        return token_log_probs(adapted.eval(), b.pairs.tokens, 0)


def selected(tokens: Sequence[Any], oracle: list[dict], reference: list[dict]) -> list[dict]:
    """Pairs with labels at SePO's tokens."""
    found = [{side: scores(one[side], other[side]) for side in SIDES} for one, other in zip(oracle, reference, strict=True)]
    return labels_of(METHODS[SEPO], tokens, found, 0)


# --- TRL ---------------------------------------------------------------------------------------------------------------------


def peer(folder: str | None) -> tuple[Any, Any] | None:
    """The modules (trl, datasets) from `folder`, behind this project's own packages; None where they are not there."""
    if folder is None:
        print(f"(b) left out: TRL is no dependency. Install it by `{INSTALL}` and give its place by --trl FOLDER.")
        return None
    os.environ["TQDM_DISABLE"] = "1"
    sys.path.append(os.path.abspath(folder))
    try:
        trl, datasets = importlib.import_module("trl"), importlib.import_module("datasets")
        trl.DPOTrainer, trl.DPOConfig  # noqa: B018  (loaded when they are asked for)
    except (ImportError, RuntimeError, AttributeError) as error:
        print(f"(b) left out: TRL in {folder} cannot be imported ({error}). Install it by `{INSTALL}`.")
        return None
    datasets.disable_progress_bars()
    return trl, datasets


def texts(b: Bench) -> list[dict[str, str]]:
    """Prompt, as the chat template renders it, and responses, in the order in which `train` takes the pairs."""
    size, count = b.settings.batch_size, len(b.pairs.tokens)
    lengths = [sum(len(pair[f"{side}_input_ids"]) for side in SIDES) for pair in b.pairs.tokens]
    turn = grouped(order(count, b.settings.steps * size, b.settings.seed), lengths, size, b.settings.seed)
    rows = b.pairs.rows.select("prompt", "chosen", "rejected").rows()
    return [
        {"prompt": b.tokenizer.decode(prompt_ids(b.tokenizer, rows[i][0], None)), "chosen": rows[i][1], "rejected": rows[i][2]}
        for i in turn.tolist()
    ]


def theirs(b: Bench, modules: tuple[Any, Any], form: str, precomputed: bool = False) -> tuple[float, list[float], Any]:
    """Seconds a step, losses and tokenised pairs of TRL's DPOTrainer."""
    trl, datasets = modules
    dtype, products, attention = FORMS[form]
    s = b.settings
    with tempfile.TemporaryDirectory() as folder, timed() as ends, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers' new names, which TRL does not use yet
        arguments = trl.DPOConfig(
            output_dir=folder,
            max_steps=s.steps,
            per_device_train_batch_size=s.batch_size,
            train_sampling_strategy="sequential",
            learning_rate=s.learning_rate,
            lr_scheduler_type=s.schedule,
            weight_decay=s.weight_decay,
            max_grad_norm=s.max_grad_norm,
            beta=BETA,
            max_length=None,
            precompute_ref_log_probs=precomputed,
            gradient_checkpointing=False,
            bf16=products,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=s.seed,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = trl.DPOTrainer(
            model=b.load(dtype, attention),  # of its own: TRL changes the model that it is given
            args=arguments,
            train_dataset=datasets.Dataset.from_list(texts(b)),
            processing_class=b.tokenizer,
            peft_config=peft.LoraConfig(task_type="CAUSAL_LM", r=s.lora_rank, lora_alpha=s.lora_alpha, target_modules=sorted(LINEAR)),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return a_step(ends), [log["loss"] for log in trainer.state.log_history if "loss" in log], trainer.train_dataset


def upper(b: Bench, share: float, model: Any, reference: list[dict], oracle: list[dict]) -> tuple[Bench, dict[str, list[dict]]]:
    """A bench whose LoRA sits on the layers above ``share`` of the depth, and each method's examples, with what enters those layers."""
    layers = upper_layers(model.config.num_hidden_layers, share)
    pairs = entering(model, b.pairs, layers)
    examples = dict.fromkeys(METHODS, pairs.tokens) | {CACHED: with_reference(pairs, reference)}
    examples[SEPO] = selected(pairs.tokens, oracle, reference)
    return replace(b, pairs=pairs, settings=replace(b.settings, lora_layers=layers)), examples


def check_tokens(b: Bench, data: Any) -> str:
    """A sentence; stops unless TRL trains on exactly the tokens that are trained on here."""
    mine = sorted((tuple(pair[f"{side}_input_ids"]), side, pair[f"{side}_labels"].count(-100)) for pair in b.pairs.tokens for side in SIDES)
    other = sorted((tuple(row["prompt_ids"] + row[f"{side}_ids"]), side, len(row["prompt_ids"])) for row in data for side in SIDES)
    if mine != other:
        unlike = len(set(mine) ^ set(other))
        raise SystemExit(f"TRL's tokens are not those here, {unlike} texts of one side are not on the other: the times say nothing.")
    return f"tokens: all {len(mine)} texts alike, {sum(len(ids) for ids, *_ in mine)} tokens on either side"


# --- the report --------------------------------------------------------------------------------------------------------------


def compare(names: Sequence[str], times: dict[str, list[float]]) -> None:
    """Print what a step costs against others, of the methods that were timed."""
    for one, other, most in ((SEPO, SIMPO, 0.95), (SEPO, LIVE, 0.75), (CACHED, LIVE, None)):
        if {one, other} <= set(names):
            ratio(f"{one} over {other}", times[one], times[other], most)


def whole_cost(b: Bench, times: dict[str, list[float]], pieces: dict[str, list[float]], steps: int) -> None:
    """Cost of all that a method needs, for `steps` steps of the policy, each pair met once."""
    scale = steps * b.settings.batch_size / len(b.pairs.tokens)
    passes = {name: [scale * value for value in values] for name, values in pieces.items()}
    runs = {name: [steps * value for value in values] for name, values in times.items()}
    live, cached = runs[LIVE], [x + y for x, y in zip(passes["reference"], runs[CACHED], strict=True)]
    print(f"whole cost, {steps} steps of the policy, {steps * b.settings.batch_size} pairs, each met once")
    print(f"    {LIVE:<58} {spread(live, ' s')}")
    print(f"    {'DPO, reference log-probabilities first':<58} {spread(cached, ' s')}")
    print(f"    {TUNING + ', which all start from:':<58} {spread(runs[TUNING], ' s')}, in none of these sums")
    for share in (1.0, 0.25):
        parts = [[share * value for value in runs[CACHED]], passes["reference"], passes["oracle"], passes["selection"], runs[SEPO]]
        whole = [sum(part) for part in zip(*parts, strict=True)]
        named = zip(("oracle's DPO", "reference", "scoring", "selection", "policy"), parts, strict=True)
        shown = ", ".join(f"{name} {statistics.median(part):.2f}" for name, part in named)
        print(f"    {f'SePO, oracle from {share:.0%} of the pairs':<58} {spread(whole, ' s')} = {shown}")
        ratio("    over DPO, live reference", whole, live)
        ratio("    over DPO, reference first", whole, cached)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trl", metavar="FOLDER", help="where TRL is installed; without it TRL is left out")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a run")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of a batch")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--threads", type=int, default=cpus())
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--weights", default="float32", choices=("float32", "bfloat16"), help="type of the weights here")
    parser.add_argument("--collate", choices=[*map(str, range(len(COLLATES)))], help="number of the form of a batch; tried out by default")
    parser.add_argument("--form", choices=list(FORMS), help="of TRL; tried out by default")
    parser.add_argument("--upper", type=float, default=0.9, help="share of the depth above which the second LoRA sits")
    parser.add_argument("--only", nargs="*", help=f"beginnings of names of methods to be timed; all by default: {', '.join(METHODS)}")
    args = parser.parse_args()
    if args.steps < 1:
        raise SystemExit("A run needs at least one timed step.")

    settings = Settings(
        steps=args.steps + 1,
        batch_size=args.pairs,
        group_by_length=True,
        learning_rate=1e-4,
        lora_rank=16,
        lora_alpha=32,
        lora_targets=LINEAR,
        log_steps=1,
    )
    count = settings.steps * args.pairs
    tokenizer = load_lm(args.model, dtype="float32", device="cpu")[1]
    limits = Tokens(system=None, max_prompt=512, min_response=2, max_length=640, train={"xsum": count}, test={})
    pairs, _ = encoded(read("small"), tokenizer, limits, "xsum", "train", 0)
    if len(pairs.tokens) < count:
        raise SystemExit(f"There are {len(pairs.tokens)} pairs and {count} are needed; take fewer steps or pairs.")
    b = Bench(args.model, pairs, settings, tokenizer, args.threads)
    model = b.load(args.weights)
    products = str(pick_dtype("auto", "cpu")).removeprefix("torch.")
    responses = sum(label != -100 for pair in pairs.tokens for side in SIDES for label in pair[f"{side}_labels"]) / count / 2
    lengths = sum(len(pair[f"{side}_input_ids"]) for pair in pairs.tokens for side in SIDES) / count / 2
    print(
        f"{args.model}, LoRA of rank {settings.lora_rank} on all linear modules of all layers, {args.pairs} pairs a step, "
        f"texts of {lengths:.0f} tokens with responses of {responses:.0f} on average"
    )
    print(
        f"{platform.machine()}, {args.threads} threads, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"here weights {args.weights}, products {products}"
    )

    few = replace(b, settings=replace(settings, steps=min(3, settings.steps)))  # to find the fastest form
    # Whatever is first is slow, so the reference's pass comes before anything that is timed; the oracle is DPO's own run.
    reference = token_log_probs(model, pairs.tokens, 0)
    cached = with_reference(pairs, reference)
    if args.collate is None:
        form = fastest("form of a batch", {name: ours(few, model, pairs.tokens, METHODS[SIMPO], c)[0] for name, c in COLLATES.items()})
    else:
        form = list(COLLATES)[int(args.collate)]
        print(f"form of a batch: {form}")
    collate = COLLATES[form]
    oracle = ours(b, model, cached, METHODS[CACHED], collate)[1].tensors
    scored = oracle_scores(b, model, oracle)
    examples = dict.fromkeys(METHODS, pairs.tokens) | {CACHED: cached}
    examples[SEPO] = selected(pairs.tokens, scored, reference)
    tail, tail_examples = upper(b, args.upper, model, reference, scored)
    modules = peer(args.trl)
    if modules:
        peer_form = args.form or fastest("TRL's form", {name: theirs(few, modules, name)[0] for name in FORMS})
        print(f"TRL {modules[0].__version__}, {peer_form}")

    names = [name for name in METHODS if not args.only or any(name.lower().startswith(o.lower()) for o in args.only)]
    times: dict[str, list[float]] = {name: [] for name in [*names, TUNING, TRL, TRL_CACHED]}
    tail_times: dict[str, list[float]] = {name: [] for name in names}
    pieces: dict[str, list[float]] = {"reference": [], "oracle": [], "selection": []}
    losses: dict[str, list[float]] = {}
    alike = ""
    began, busy = time.perf_counter(), time.process_time()
    for turn in range(args.repeats):
        for name in names:
            seconds, done = ours(b, model, examples[name], METHODS[name], collate)
            times[name].append(seconds)
            losses[name] = [point["loss"] for point in done.history]
            if modules and name in (LIVE, CACHED):
                other = TRL if name == LIVE else TRL_CACHED
                seconds, losses[other], data = theirs(b, modules, peer_form, name == CACHED)
                times[other].append(seconds)
                alike = alike or check_tokens(b, data)
        for name in names:
            tail_times[name].append(ours(tail, model, tail_examples[name], METHODS[name], SHARED)[0])
        if not args.only:
            times[TUNING].append(ours(b, model, sides(pairs.tokens)[: len(pairs.tokens)], None, None)[0])
            pieces["reference"].append(clock(lambda: token_log_probs(model, pairs.tokens, 0))[0])
            seconds, found = clock(lambda: oracle_scores(b, model, oracle))
            pieces["oracle"].append(seconds)
            pieces["selection"].append(clock(lambda: selected(pairs.tokens, found, reference))[0])  # noqa: B023
        print(f"round {turn + 1} of {args.repeats}", file=sys.stderr, flush=True)

    had = (time.process_time() - busy) / (time.perf_counter() - began) / args.threads
    print(f"(a) seconds a step, {args.repeats} rounds of {args.steps} steps")
    for name in [*names, *([] if args.only else [TUNING])]:
        print(f"    {name:<58} {spread(times[name], ' s')}")
    compare(names, times)
    if not args.only:
        whole_cost(b, times, pieces, args.steps)
    print(f"    with the LoRA on layers {min(tail.settings.lora_layers)} and up, the others computed before:")
    for name in names:
        print(f"    {name:<58} {spread(tail_times[name], ' s')}")
    compare(names, tail_times)
    if modules:
        print(f"(b) DPO here against TRL, seconds a step; {alike or 'no method of both was asked for'}")
        for mine, other in ((LIVE, TRL), (CACHED, TRL_CACHED)):
            if mine in names:
                print(f"    {other:<58} {spread(times[other], ' s')}")
                ratio(f"here over {other}", times[mine], times[other], 1.0)
                apart = max(abs(x - y) for x, y in zip(losses[mine], losses[other], strict=True))
                print(f"    {'largest difference of a loss, and the losses here':<58} {apart:.2g}; {spread(losses[mine])}")
    alone = "" if had > 0.7 else ": something else was running or waited for, measure again on an idle machine"
    print(f"In the rounds the process was computing {had:.0%} of the time of its {args.threads} threads{alone}.")


if __name__ == "__main__":
    main()
