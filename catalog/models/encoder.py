"""Embeddings of sentences and of tokens by a small encoder (all-MiniLM-L6-v2; Reimers and Gurevych 2019, section 3).

A sentence's embedding is the mean over its tokens' last hidden states, scaled to length 1. Tokens' own embeddings, special ones left out,
are what `bertscore` matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catalog.base.errors import CatalogError
from catalog.base.vectors import unit_rows
from catalog.base.params import ROOT, load_shared
from catalog.models.devices import pick_device, pick_dtype
from catalog.models.inference import batches_by_length
from catalog.models.lm import quiet_transformers

TOKENS = 2048  # of a forward pass, padding included
LONGEST = 256  # tokens of a sentence that are read, as this encoder was trained


def load_encoder(name: str) -> tuple[Any, Any]:
    """(model, tokenizer) of the asset ``data/assets/<name>``, on the device and in the floating-point type of params.yaml.

    Raises:
        CatalogError: the asset is not there, or damaged.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = Path(ROOT) / "data" / "assets" / name
    if not folder.is_dir():
        raise CatalogError(f"The sentence encoder {name} is not there; run `dvc repro fetch@{name}`.")
    shared = load_shared(ROOT)
    device = pick_device(shared["device"])
    dtype = pick_dtype(shared["dtype"], device)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise CatalogError(f"The sentence encoder {name} cannot be loaded; run `dvc repro -f fetch@{name}`: {error}") from error
    return model.to(device).eval(), tokenizer


@torch.no_grad()
def _states(model: Any, tokenizer: Any, ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """(T, d) last hidden states of each list of token ids."""
    out: list[Any] = [None] * len(ids)
    for batch in batches_by_length([len(item) for item in ids], TOKENS):
        padded = tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt").to(model.device)
        states = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state.float().cpu().numpy()
        for row, i in enumerate(batch):
            out[i] = states[row, : len(ids[i])]
    return out


def sentence_embeddings(encoder: tuple[Any, Any], texts: Sequence[str]) -> np.ndarray:
    """(N, d) float32, one row a sentence, of length 1; each different sentence is read once."""
    model, tokenizer = encoder
    different = list(dict.fromkeys(texts))
    if not different:
        return np.zeros((0, model.config.hidden_size), dtype=np.float32)
    ids = tokenizer(different, truncation=True, max_length=min(LONGEST, model.config.max_position_embeddings))["input_ids"]
    means = np.stack([states.mean(axis=0) for states in _states(model, tokenizer, ids)])
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    place = {text: number for number, text in enumerate(different)}
    return unit[[place[text] for text in texts]].astype(np.float32)


def by_document(encoder: tuple[Any, Any], documents: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """(S, d) embeddings of the sentences of each document; (0, d) where it has none."""
    rows = sentence_embeddings(encoder, [text for parts in documents for text in parts])
    ends = np.cumsum([len(parts) for parts in documents])
    return [rows[end - len(parts) : end] for parts, end in zip(documents, ends)]


def token_embeddings(encoder: tuple[Any, Any], texts: Sequence[str]) -> list[np.ndarray]:
    """(T, d) contextual embeddings of the tokens of each text, special tokens left out; (0, d) of an empty one.

    A text that is longer than the encoder can read is cut into pieces of equal length, none of which sees another.
    """
    model, tokenizer = encoder
    most = model.config.max_position_embeddings - 2
    plain = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    pieces, owner = [], []
    for number, ids in enumerate(plain):
        count = -(-len(ids) // most)
        for part in np.array_split(np.asarray(ids, dtype=np.int64), count) if count else []:
            pieces.append([tokenizer.cls_token_id, *part.tolist(), tokenizer.sep_token_id])
            owner.append(number)
    out: list[list[np.ndarray]] = [[] for _ in plain]
    for number, states in zip(owner, _states(model, tokenizer, pieces)):
        out[number].append(states[1:-1])
    empty = np.zeros((0, model.config.hidden_size), dtype=np.float32)
    return [np.concatenate(parts) if parts else empty for parts in out]


def bertscore(embeddings_out: np.ndarray, embeddings_ref: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 of BERTScore (Zhang et al. 2020, section 3): each token is matched with its most similar one, without idf.

    Args:
        embeddings_out: (n, d) contextual embeddings of the output's tokens, of any length; special tokens left out.
        embeddings_ref: (m, d) of the reference's.

    Returns:
        Means of the best cosines, over the output's tokens, over the reference's, and F1 (0 unless both are positive).

    Raises:
        CatalogError: no token on one side, or vectors of different lengths.
    """
    ours, theirs = unit_rows(embeddings_out), unit_rows(embeddings_ref)
    if not (len(ours) and len(theirs)) or ours.shape[1] != theirs.shape[1]:
        raise CatalogError(f"Embeddings of the shapes {ours.shape} and {theirs.shape} cannot be matched; give (tokens, d) for both.")
    cosines = ours @ theirs.T
    precision, recall = float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean())
    return precision, recall, 2 * precision * recall / (precision + recall) if min(precision, recall) > 0 else 0.0
