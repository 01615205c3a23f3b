"""Load a simplifier of either kind, and write simplified documents with it, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, load_shared
from catalog.base.progress import progress
from catalog.models.devices import pick_device, pick_dtype
from catalog.models.inference import batches_by_length, generate
from catalog.models.lm import load_lm, quiet_transformers
from catalog.models.weights import resolve
from catalog.training.adapters import folded, lora, saved_lora
from catalog.training.settings import Settings
from stages.simdoc.simplify import is_seq2seq, pieces

Prompt = Callable[[str], tuple[list[int], int]]  # piece of a document -> token ids, tokens of the piece that were cut


@dataclass(frozen=True)
class Written:
    """One simplified document."""

    text: str
    prompts: tuple[tuple[int, ...], ...]  # token ids of each piece's
    answers: tuple[str, ...]  # to each piece
    cut: int  # tokens of the source that were not read
    unfinished: int  # pieces whose answer was cut off at the limit


def load_model(name: str | Path, root: Path = ROOT) -> tuple[Any, Any]:
    """(model, tokenizer) of a catalog model or a saved folder, decoder-only or encoder-decoder.

    Raises:
        CatalogError: as `catalog.models.lm.load_lm`.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

    source = Path(name) if Path(name).is_dir() else resolve(str(name), root)
    where, options = (str(source), {"local_files_only": True}) if isinstance(source, Path) else (source[0], {"revision": source[1]})
    try:
        with quiet_transformers():
            if not AutoConfig.from_pretrained(where, **options).is_encoder_decoder:
                return load_lm(name, root=root)
            shared = load_shared(root)
            device = pick_device(shared["device"])
            # Trained weights are float32: T5's own lose small steps, and overflow, in shorter types.
            dtype = torch.float32 if shared["dtype"] == "auto" else pick_dtype(shared["dtype"], device)
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
            model = AutoModelForSeq2SeqLM.from_pretrained(where, dtype=dtype, use_safetensors=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(f"Model {name} could not be loaded; check the hub and the free disk space: {reason}") from error
    return model.to(device).eval(), tokenizer


@contextmanager
def adapted(model: Any, what: str | Path | tuple[Settings, Mapping[str, Tensor]] | None) -> Iterator[Any]:
    """``model`` with a LoRA added to its weights: of a folder, or of settings and tensors; None: as it is."""
    if what is None:
        yield model
        return
    with saved_lora(model, what) if isinstance(what, (str, Path)) else lora(model, *what) as tuned, folded(tuned):
        yield tuned.eval()


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    batch_tokens: int = 0,
    desc: str | None = None,
) -> list[str]:
    """The text that each prompt is answered with, by a model of either kind; temperature 0 is greedy."""
    if not is_seq2seq(model):
        options = {"temperature": temperature, "seed": seed, "max_tokens": batch_tokens or None, "desc": desc}
        return generate(model, tokenizer, prompts, max_new_tokens, **options)
    from transformers import GenerationConfig

    start = model.config.decoder_start_token_id
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=start if start is not None else tokenizer.pad_token_id,
        **({"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}),
    )
    texts = [""] * len(prompts)
    lengths = [len(item) + max_new_tokens for item in prompts]
    with torch.no_grad(), torch.random.fork_rng(), progress(len(prompts), desc or "", "prompt", enabled=desc is not None) as advance:
        torch.manual_seed(seed)
        for batch in batches_by_length(lengths, batch_tokens or 4096):
            inputs = tokenizer.pad({"input_ids": [list(prompts[i]) for i in batch]}, padding_side="right", return_tensors="pt")
            new = model.generate(**inputs.to(model.device), generation_config=config)
            for i, text in zip(batch, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                texts[i] = text
            advance(len(batch))
    return texts


def write(
    model: Any,
    tokenizer: Any,
    documents: Sequence[str],
    prompt: Sequence[Prompt],
    unit: str,
    max_new_tokens: int,
    **options: Any,
) -> list[Written]:
    """Simplify documents piece by piece.

    Args:
        prompt: of each document.
        unit: as for `stages.simdoc.simplify.pieces`.
        options: of `answers`.

    Returns:
        One text for each document, its pieces' answers as paragraphs.
    """
    parts = [pieces(text, unit) for text in documents]
    asked = [make(piece) for make, found in zip(prompt, parts, strict=True) for piece in found]
    texts = answers(model, tokenizer, [ids for ids, _ in asked], max_new_tokens, **options)
    # A text that ends by itself is shorter than the limit by its end token at least.
    ends = [len(ids) < max_new_tokens for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    out, at = [], 0
    for found in parts:
        span = slice(at, at + len(found))
        text = "\n\n".join(part.strip() for part in texts[span] if part.strip())
        prompts = tuple(tuple(ids) for ids, _ in asked[span])
        out.append(Written(text, prompts, tuple(texts[span]), sum(cut for _, cut in asked[span]), ends[span].count(False)))
        at = span.stop
    return out
