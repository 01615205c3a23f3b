"""Adapt a small masked LM by ordinary masked language modelling (Devlin et al. 2019), so that it can be probed at all.

The masked LM of profile small was tuned for retrieval and fills gaps badly as it is shipped. It is trained on ordinary text, never on a
bias set: a probe must not be answered from sentences that were learnt. The texts are put one after another and cut into sequences of L
tokens, [CLS] and [SEP] included; in each, 15 % of the other tokens are chosen. Of these 80 % are replaced by the mask, 10 % by a random
token and 10 % stay, and the loss is

    mean over chosen tokens of -log p(token | sequence).

With the word embeddings left as they are, words that the text seldom has keep their place: most names of religions occur in it a few times
or never, and their rows of the output matrix would only be pushed away from what does occur.

A sequence that is read again is masked anew. All masks follow from the seed before training begins, so they do not depend on how many
processes train, and each sequence has equally many, so micro-batches of any size have the same gradient. Training itself is that of
`catalog.training.train`, with logits at the chosen positions only.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.training.packing import IGNORE
from catalog.training.settings import Settings
from catalog.training.train import Run, train
from stages.religious_bias.mlm import MASKED_SHARE, logits_at
from stages.religious_bias.settings import Mlm

KEPT, RANDOM = 0.1, 0.1  # shares of the chosen tokens that stay, and that become a random token


def to_train(neutral: pl.DataFrame) -> pl.DataFrame:
    """The paragraphs of the data set `capability` that a masked LM may read: source, text."""
    return neutral.filter(pl.col("split") == "train").sort("id").select("source", "text")


def hold_out(paragraphs: pl.DataFrame, count: int) -> tuple[list[str], list[str]]:
    """Texts to train on and texts to measure quality on: the last whole documents, in the order given, with at least `count` paragraphs.

    Args:
        paragraphs: source (the document), text; the paragraphs of a document need not be neighbours.

    Raises:
        CatalogError: nothing would be left to train on.
    """
    sizes = paragraphs.group_by("source", maintain_order=True).len().reverse()
    kept_out = sizes.filter(pl.col("len").cum_sum() - pl.col("len") < count)["source"]
    apart = paragraphs["source"].is_in(kept_out.implode())
    if apart.all():
        raise CatalogError(f"There are no documents to train on beside {count} paragraphs held out; lower mlm.held_out or give more text.")
    return paragraphs.filter(~apart)["text"].to_list(), paragraphs.filter(apart)["text"].to_list()


def sequences(tokenizer: Any, texts: Sequence[str], length: int) -> np.ndarray:
    """Token ids ``(B, length)`` of the texts one after another, a separator between them; a rest that fills no sequence is left out.

    Raises:
        CatalogError: the texts do not fill one sequence.
    """
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"] if len(texts) else []:
        stream += [*ids, last]
    inner = length - 2
    count = len(stream) // inner if inner > 0 else 0
    if not count:
        raise CatalogError(f"The training texts do not fill one sequence of {length} tokens; give more text or lower mlm.sequence.")
    body = np.array(stream[: count * inner], dtype=np.int64).reshape(count, inner)
    return np.hstack([np.full((count, 1), first), body, np.full((count, 1), last)])


def mask(ids: np.ndarray, tokenizer: Any, seed: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Choose 15 % of the tokens of each sequence, never a special one, and hide them: inputs and labels (-100 elsewhere), ``(B, T)``."""
    rng = np.random.default_rng(seed)
    special = np.isin(ids, tokenizer.all_special_ids)
    count = max(1, round(MASKED_SHARE * (ids.shape[1] - 2)))
    rank = np.where(special, 2.0, rng.random(ids.shape)).argsort(axis=1, kind="stable").argsort(axis=1)
    chosen = (rank < count) & ~special
    ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    fate, other = rng.random(ids.shape), rng.choice(ordinary, size=ids.shape)
    inputs = np.where(chosen & (fate < 1 - KEPT - RANDOM), tokenizer.mask_token_id, ids)
    inputs = np.where(chosen & (fate >= 1 - RANDOM), other, inputs)
    return inputs, np.where(chosen, ids, IGNORE)


def examples_of(tokenizer: Any, texts: Sequence[str], p: Mlm, seed: int) -> list[dict[str, np.ndarray]]:
    """Masked sequences enough for all steps: every sequence once, then all of them with other masks, and so on."""
    ids = sequences(tokenizer, texts, p.sequence)
    readings = math.ceil(p.steps * p.batch_size / len(ids))
    masked = (mask(ids, tokenizer, [seed, reading]) for reading in range(readings))
    return [{"input_ids": row, "labels": label} for inputs, labels in masked for row, label in zip(inputs, labels, strict=True)]


def collate(batch: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Sequences of one length as a batch."""
    return {key: torch.from_numpy(np.stack([example[key] for example in batch])) for key in batch[0]}


def mlm_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Mean negative log-probability (nats) of the chosen tokens."""
    at = batch["labels"] != IGNORE
    logits = logits_at(model, at, input_ids=batch["input_ids"])
    return torch.nn.functional.cross_entropy(logits.float(), batch["labels"][at])


@contextlib.contextmanager
def as_asked(model: Any, p: Mlm) -> Iterator[None]:
    """Dropout of `p` and, unless they are to be trained, frozen word embeddings; afterwards as before."""
    layers = [(module, module.p) for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    embeddings = model.get_input_embeddings().weight
    learnt, cached = embeddings.requires_grad, hasattr(model.config, "use_cache")
    try:
        for module, _ in layers:
            module.p = p.dropout
        embeddings.requires_grad_(learnt and p.train_embeddings)
        if not cached:  # training reads this setting, which some encoders do not have
            model.config.use_cache = False
        yield
    finally:
        for module, before in layers:
            module.p = before
        embeddings.requires_grad_(learnt)
        if not cached:
            del model.config.use_cache


def adapt(model: Any, tokenizer: Any, texts: Sequence[str], p: Mlm, seed: int) -> Run:
    """Train a loaded masked LM on ordinary text; afterwards the model is the adapted one. Save it with `catalog.training.train.save_model`.

    Args:
        model, tokenizer: of `stages.religious_bias.mlm.load_mlm`, in float32.
        texts: ordinary text, no bias set.
        p: how long and how.
        seed: of masks, order and dropout.

    Returns:
        Weights, training curve and figures. No checkpoints are kept, since the whole takes a minute.

    Raises:
        CatalogError: no steps, too little text, or settings that do not fit together.
    """
    if p.steps < 1:
        raise CatalogError("There is nothing to adapt with mlm.steps 0; use the model as it is, or raise mlm.steps.")
    settings = Settings(
        steps=p.steps,
        batch_size=p.batch_size,
        learning_rate=p.learning_rate,
        warmup=p.warmup,
        weight_decay=p.weight_decay,
        log_steps=p.log_steps,
        dtype=p.dtype,
        seed=seed,
    )
    examples = examples_of(tokenizer, texts, p, seed)
    with as_asked(model, p):
        return train(model, examples, settings, loss_fn=mlm_loss, collate=collate, desc="masked language modelling")
