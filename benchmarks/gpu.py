"""What the GPU at hand does with this project's training and generation, on a model of any width made of random numbers.

    PYTHONPATH=. python benchmarks/gpu.py                                  # about 0.4 billion parameters
    PYTHONPATH=. python benchmarks/gpu.py --width 4096 --layers 32         # the shape of a model of 7 billion
    PYTHONPATH=. python benchmarks/gpu.py --rank 16 --batch 32             # a LoRA in place of full fine-tuning

Nothing is downloaded or written. Tokens are random, which costs what a text costs. (a) Training: a few steps as `catalog.training.train`
makes them, after one run that is not counted; tokens a second, the share of the GPU's bfloat16 peak (MFU, where its peak is known) and the
most memory its tensors took. (b) Generation: greedy, all prompts of one length in one batch; new tokens a second. A number is of one run:
other work on the same GPU shows in it.
"""

from __future__ import annotations

import argparse
import random
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.timing import clock
from catalog.base.errors import CatalogError
from catalog.models.devices import device_name, peak_memory_mb, pick_device, pick_dtype
from catalog.training.adapters import lora
from catalog.training.flops import peak
from catalog.training.settings import Settings
from catalog.training.train import Run, train

VOCABULARY = 32_000
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
OPTIONS = {
    "width": (1024, "of the model"),
    "layers": (24, "of the model"),
    "vocabulary": (VOCABULARY, "number of tokens that the model knows"),
    "length": (1024, "tokens of a text"),
    "batch": (16, "texts of a training step"),
    "steps": (10, "training steps that are counted"),
    "rank": (0, "of a LoRA; 0: full fine-tuning"),
    "prompts": (64, "prompts that are continued at once"),
    "new": (128, "tokens of a continuation"),
}


def gpu() -> torch.device:
    """This process's GPU.

    Raises:
        CatalogError: there is none.
    """
    if not torch.cuda.is_available():
        raise CatalogError("This benchmark measures a CUDA GPU and torch sees none; run it on a machine that has one.")
    return pick_device("cuda")


def made(width: int, layers: int, device: torch.device, vocabulary: int = VOCABULARY) -> LlamaForCausalLM:
    """A random Llama with heads 64 wide and a feed-forward part 8/3 as wide as the model, in float32 as training keeps its weights."""
    heads = max(1, width // 64)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=-(-8 * width // 3 // 64) * 64,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.device(device):
        return LlamaForCausalLM(config)


def trained(model: LlamaForCausalLM, settings: Settings, length: int) -> Run:
    """A run on random tokens, of which each is learnt from those before it."""
    rng, vocabulary = random.Random(0), model.config.vocab_size
    texts = [[rng.randrange(2, vocabulary) for _ in range(length)] for _ in range(settings.batch_size)]
    examples = [{"input_ids": ids, "labels": [-100, *ids[1:]]} for ids in texts]
    if settings.lora_rank:
        with lora(model, settings) as adapted:
            return train(adapted, examples, settings)
    return train(model, examples, settings)


@torch.no_grad()
def generated(model: LlamaForCausalLM, prompts: int, length: int, new: int) -> int:
    """Tokens that the model has continued random prompts by: all of them, since none ends early."""
    ids = torch.randint(2, model.config.vocab_size, (prompts, length), device=model.device)
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return prompts * (out.shape[1] - length)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, (default, what) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default})")
    args = parser.parse_args(arguments)
    try:
        device = gpu()
    except CatalogError as error:
        print(error)
        return 1
    model = made(args.width, args.layers, device, args.vocabulary)
    most = peak(device_name(device))
    print(
        f"{device_name(device)}: peak {f'{most / 1e12:.0f} TFLOP/s' if most else 'not known'}; torch {torch.__version__}; "
        f"{sum(weight.numel() for weight in model.parameters()) / 1e6:,.1f} million parameters"
    )
    settings = Settings(
        steps=args.steps, batch_size=args.batch, row_tokens=0, lora_rank=args.rank, lora_targets=TARGETS, dtype="auto", log_steps=args.steps
    )
    trained(model, Settings(**{**vars(settings), "steps": 1}), args.length)  # kernels are chosen, memory is taken
    torch.cuda.reset_peak_memory_stats(device)
    info = trained(model, settings, args.length).info
    share = "not known" if info["mfu"] is None else f"{info['mfu']:.1%}"
    print(
        f"(a) training, {info['dtype']}: {info['tokens_per_second']:,.0f} tokens/s, MFU {share}, {peak_memory_mb(device):,} MiB, "
        f"{info['seconds'] / args.steps:.3f} s a step of {args.batch} x {args.length} tokens"
    )
    model = model.eval().to(pick_dtype("auto", device))
    generated(model, args.prompts, args.length, 2)
    torch.cuda.reset_peak_memory_stats(device)
    seconds, tokens = clock(lambda: generated(model, args.prompts, args.length, args.new))
    print(
        f"(b) generation, {str(model.dtype).removeprefix('torch.')}: {tokens / seconds:,.0f} tokens/s, {peak_memory_mb(device):,} MiB, "
        f"{args.prompts} prompts of {args.length} tokens and {args.new} new ones each"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
