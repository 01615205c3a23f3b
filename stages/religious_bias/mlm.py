"""Masked language models: loading, probabilities at a mask, and quality on ordinary text.

A prompt has the literal ``[MASK]`` once, whatever the model calls its mask; with x the prompt, the model gives log p(w | x) for every
token w. Word forms of several tokens, and the same masks under a causal LM, are in `stages.religious_bias.fills`. Logits are computed
at masked
positions only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, load_shared
from catalog.base.progress import progress
from catalog.models.devices import place, set_up, tokens_at_once
from catalog.models.inference import batches_by_length
from catalog.models.lm import quiet_transformers
from catalog.models.weights import resolve

MASK = "[MASK]"  # in texts; the tokenizer's own mask takes its place
MASKED_SHARE = 0.15  # of the tokens of a text, in training and in `quality`


class Quality(NamedTuple):
    """How well a masked LM fills ordinary text.

    top1: share of masked tokens that are the most probable one; perplexity: exp of the mean negative log-probability of a masked token.
    masked, correct: numbers of tokens, for `catalog.report.intervals.wilson`.
    per_text: ``(N, 3)`` masked tokens, correct ones and summed negative log-probability (nats) of each text, for a bootstrap over texts.
    """

    top1: float
    perplexity: float
    masked: int
    correct: int
    per_text: np.ndarray


# --- loading ------------------------------------------------------------------------------------------------------------------------


def load_mlm(
    name: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    attention: str = "sdpa",
    root: Path = ROOT,
) -> tuple[Any, Any]:
    """Load a masked LM and its tokenizer, as `catalog.models.lm.load_lm` does for a causal LM: only safetensors, no code from a repository.

    Args:
        name: a catalog name, the name of an asset that is a whole model, or the folder of a saved model.
        dtype, device, attention, root: as for `load_lm`.

    Returns:
        (model in evaluation mode on its device, tokenizer with a mask token and a padding token).

    Raises:
        CatalogError: the model is undeclared, not fetched or built, damaged, cannot be had from the hub, or is no trained masked LM.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    source, remedy = _source(name, root)
    device, dtype = set_up(dtype, device, root)
    where, options = (str(source), {"local_files_only": True}) if isinstance(source, Path) else (source[0], {"revision": source[1]})
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
            model, report = AutoModelForMaskedLM.from_pretrained(
                where,
                dtype=dtype,
                use_safetensors=True,
                attn_implementation=attention,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(f"Masked LM {name} could not be loaded, {remedy}: {reason}") from error
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise CatalogError(f"{name} has no weights {missing[0]}, so it is no trained masked LM; use a model with its masked-LM head.")
    if tokenizer.mask_token is None or tokenizer.pad_token is None or not tokenizer.is_fast:
        raise CatalogError(f"The tokenizer of {name} needs a mask token, a padding token and a tokenizer.json; use a masked LM.")
    tokenizer.padding_side = "right"
    place(model, device)
    return model.eval(), tokenizer


def _source(name: str | Path, root: Path) -> tuple[Path | tuple[str, str], str]:
    """Where a model is, and what to do when it cannot be loaded from there."""
    if Path(name).is_dir():
        return Path(name), "make this folder again"
    asset = (load_shared(root).get("assets") or {}).get(str(name))
    if asset is not None and "config.json" in asset.get("files", {}):
        folder = Path(root) / "data" / "assets" / str(name)
        if not (folder / "config.json").is_file():
            raise CatalogError(f"Model {name} is not fetched yet; run `dvc repro fetch@{name}`.")
        return folder, f"run `dvc repro -f fetch@{name}`"
    source = resolve(str(name), root)
    remedy = f"run `dvc repro -f model@{name}`" if isinstance(source, Path) else "check the hub, HF_TOKEN and the free disk space"
    return source, remedy


# --- one forward pass ---------------------------------------------------------------------------------------------------------------


def logits_at(model: Any, at: Tensor, **inputs: Tensor) -> Tensor:
    """Logits ``(n, V)`` at the n marked positions of a batch, row by row, in the model's own type.

    The output layer of a masked LM takes whatever the encoder gives it, so the encoder is made to give the marked positions only: with
    15 % of them marked, a small model with a large vocabulary is several times faster.

    Args:
        model: a masked LM of transformers (in training also wrapped for several processes).
        at: ``(B, T)`` bool.
        inputs: `input_ids` and, if anything is padded, `attention_mask`.
    """
    encoder = model
    while hasattr(encoder, "module"):
        encoder = encoder.module

    def keep(module: Any, args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[at][None]
        return output

    handle = encoder.base_model.register_forward_hook(keep)
    try:
        return model(**inputs).logits[0]
    finally:
        handle.remove()


@torch.no_grad()
def place_logprobs(
    model: Any, tokenizer: Any, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]], max_tokens: int | None, desc: str | None
) -> Iterator[tuple[int, Tensor]]:
    """For every row of token ids, in an order of its own: its index and the log-probabilities ``(places, V)`` at its places, float32."""
    limit = _limit(model, tokenizer)
    for i, row in enumerate(rows):
        if len(row) > limit:
            raise CatalogError(f"Text {i} has {len(row)} tokens, but the model reads at most {limit}; shorten it.")
    budget = max_tokens or tokens_at_once(model.device, cpu=4_096)
    with progress(len(rows), desc or "", "text", enabled=desc is not None) as advance:
        for batch in batches_by_length([len(row) for row in rows], budget):
            width = len(rows[batch[0]])
            ids = torch.full((len(batch), width), tokenizer.pad_token_id)
            seen, at = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
            for b, i in enumerate(batch):
                ids[b, : len(rows[i])] = torch.tensor(rows[i])
                seen[b, : len(rows[i])] = 1
                at[b, list(places[i])] = True
            inputs = {"input_ids": ids.to(model.device), "attention_mask": seen.to(model.device)}
            logprobs = logits_at(model, at.to(model.device), **inputs).float().log_softmax(-1)
            yield from zip(batch, logprobs.split([len(places[i]) for i in batch]), strict=True)
            advance(len(batch))


# --- at one mask --------------------------------------------------------------------------------------------------------------------


def mask_id_prompt(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a prompt with the tokenizer's own mask, exactly one, for ``[MASK]``.

    Raises:
        CatalogError: the text has not exactly one ``[MASK]``, or the tokenizer has no mask token.
    """
    before, after = split_at_mask(text)
    if tokenizer.mask_token is None:
        raise CatalogError("This tokenizer has no mask token; score the prompt with stages.religious_bias.fills.causal_mask_logprobs.")
    ids = list(tokenizer(before + tokenizer.mask_token + after)["input_ids"])
    if ids.count(tokenizer.mask_token_id) != 1:
        raise CatalogError(f"The prompt {text!r} has other masks besides its one {MASK}; remove {tokenizer.mask_token} from it.")
    return ids


def mask_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    columns: Sequence[int] | None = None,
    *,
    max_tokens: int | None = None,
    desc: str | None = None,
) -> Tensor:
    """Log-probabilities (nats) of the tokens at the mask of each prompt.

    Args:
        texts: prompts with ``[MASK]`` once each.
        columns: keep these token ids only, in this order; the probabilities stay those among the whole vocabulary.
        max_tokens: of one forward pass, padding included; 4,096 on a CPU and 16,384 on a GPU by default.
        desc: shows progress under this name.

    Returns:
        ``(N, V)``, or ``(N, len(columns))``, float32 on the CPU.
    """
    rows = [mask_id_prompt(tokenizer, text) for text in texts]
    width = model.config.vocab_size if columns is None else len(columns)
    result = torch.empty(len(rows), width)
    places = [[row.index(tokenizer.mask_token_id)] for row in rows]
    for i, logprobs in place_logprobs(model, tokenizer, rows, places, max_tokens, desc):
        result[i] = (logprobs[0] if columns is None else logprobs[0, list(columns)]).cpu()
    return result


def split_at_mask(text: str) -> tuple[str, str]:
    """What stands before and after the one ``[MASK]`` of a prompt. CatalogError if there is none, or more."""
    parts = text.split(MASK)
    if len(parts) != 2:
        raise CatalogError(f"A prompt must have {MASK} exactly once, but {text!r} has it {len(parts) - 1} times; correct it.")
    return parts[0], parts[1]


# --- quality ------------------------------------------------------------------------------------------------------------------------


def quality(
    model: Any, tokenizer: Any, texts: Sequence[str], seed: int, *, max_tokens: int | None = None, desc: str | None = None
) -> Quality:
    """Accuracy and perplexity on ordinary text: 15 % of each text's tokens, at least one, are masked all at once and predicted.

    Every chosen token is replaced by the mask. Which are chosen follows from the seed and the tokens, so models with the same tokenizer
    have the same to predict; perplexities of different tokenizers cannot be compared. A long text is cut at what the model reads.

    Args:
        texts: ordinary text, such as paragraphs; empty texts are an error.
        seed: of the choice of tokens.
        max_tokens, desc: as for `mask_logprobs`.
    """
    if not texts:
        raise CatalogError("There is no text to measure the masked LM on; check the data set of this stage.")
    encoded = tokenizer(list(texts), truncation=True, max_length=_limit(model, tokenizer))["input_ids"]
    rng, special = np.random.default_rng(seed), set(tokenizer.all_special_ids)
    places, rows = [], []
    for i, ids in enumerate(encoded):
        free = [t for t, token in enumerate(ids) if token not in special]
        if not free:
            raise CatalogError(f"Text {i} has no token to mask; leave it out.")
        chosen = sorted(rng.choice(free, size=max(1, round(MASKED_SHARE * len(free))), replace=False).tolist())
        places.append(chosen)
        hidden = set(chosen)
        rows.append([tokenizer.mask_token_id if t in hidden else token for t, token in enumerate(ids)])
    per_text = np.zeros((len(texts), 3))
    for i, logprobs in place_logprobs(model, tokenizer, rows, places, max_tokens, desc):
        right = torch.tensor([encoded[i][t] for t in places[i]], device=logprobs.device)
        nll = -logprobs.gather(1, right[:, None]).sum()
        per_text[i] = len(right), int((logprobs.argmax(-1) == right).sum()), float(nll)
    masked, correct, nll = per_text.sum(0)
    return Quality(correct / masked, float(np.exp(nll / masked)), int(masked), int(correct), per_text)


def _limit(model: Any, tokenizer: Any) -> int:
    """Tokens of the longest text a model reads. RoBERTa keeps two of its positions for padding; its tokenizer knows."""
    return min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", tokenizer.model_max_length))
