"""The coherence model: are the sentences of a document in their order?

Sentence embeddings [S, d] -> bidirectional LSTM [S, 2h] -> mean over sentences, or the last state of either direction -> linear -> sigmoid,
a scalar c in (0, 1). It learns original documents (1) from the same sentences in another order (0); the paper does not say what its own
model was trained on and names GCDC for its test. Both classes weigh the same, so c is about 1/2 where it cannot tell.

The shuffle test (Barzilay and Lapata 2008) asks whether an original scores above its own shuffle; chance is one half. A document of fewer
than two sentences has no order and no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from catalog.base.errors import CatalogError
from catalog.base.io import read_json, write_json, write_safetensors
from catalog.models.encoder import by_document
from stages.simdoc.settings import Coherence
from stages.simdoc.text import sentences

WEIGHTS, CONFIG = "model.safetensors", "config.json"
BATCH = 128  # documents scored at once


class CoherenceModel(nn.Module):
    """See the module; d: width of the embeddings, h: ``hidden``."""

    def __init__(self, width: int, hidden: int, pooling: str, dropout: float = 0.0) -> None:
        super().__init__()
        if pooling not in ("mean", "last"):
            raise CatalogError(f"The coherence model cannot pool by {pooling!r}; use mean or last.")
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, 1)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """(B, S, d) embeddings padded behind, (B,) numbers of sentences -> (B,) log-odds of being in order."""
        packed = nn.utils.rnn.pack_padded_sequence(self.dropout(rows), lengths, batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        if self.pooling == "last":
            pooled = torch.cat([last[0], last[1]], dim=-1)
        else:
            states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
            pooled = states.sum(1) / lengths[:, None]  # padding is 0
        return self.out(self.dropout(pooled))[:, 0]


def padded(documents: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(B, S, d) and (B,) of documents of (S_i, d)."""
    lengths = torch.tensor([len(rows) for rows in documents])
    return nn.utils.rnn.pad_sequence([torch.from_numpy(np.ascontiguousarray(rows)) for rows in documents], batch_first=True), lengths


@torch.no_grad()
def scores(model: CoherenceModel, documents: Sequence[np.ndarray]) -> list[float | None]:
    """c of each document, of (S_i, d) sentence embeddings; None where it has fewer than two sentences."""
    model.eval()
    out: list[float | None] = [None] * len(documents)
    asked = [i for i, rows in enumerate(documents) if len(rows) > 1]
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        for i, value in zip(part, model(*padded([documents[i] for i in part])).sigmoid().tolist()):
            out[i] = value
    return out


def balanced_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over classes of the mean over documents; a class that is absent is left out."""
    each = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return torch.stack([each[labels == label].mean() for label in labels.unique()]).mean()


def reordered(documents: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Each document in a random order of its sentences that is not its own; those of fewer than two sentences are left out."""
    out = []
    for rows in documents:
        if len(rows) > 1:
            order = np.arange(len(rows))
            while (order == np.arange(len(rows))).all():
                order = rng.permutation(len(rows))
            out.append(rows[order])
    return out


def fit(
    train: Sequence[np.ndarray],
    validation: tuple[Sequence[np.ndarray], Sequence[int]],
    p: Coherence,
    seed: int,
) -> tuple[CoherenceModel, list[dict[str, float]]]:
    """Train until the loss on validation documents has not fallen for ``p.patience`` epochs; the weights of the best epoch.

    Args:
        train: original documents, (S, d) each; each epoch sees every one with a new order of its sentences beside it.
        validation: documents and their labels, 1 for an original and 0 for a shuffle.

    Returns:
        The model, and for each epoch its number, the mean training loss and the validation loss.

    Raises:
        CatalogError: no document with an order, or none to validate on.
    """
    usable = [rows for rows in train if len(rows) > 1]
    if not usable or not len(validation[0]):
        raise CatalogError("The coherence model needs documents of two and more sentences to train and to validate; use a larger corpus.")
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CoherenceModel(usable[0].shape[1], p.hidden, p.pooling, p.dropout)
        optimiser = torch.optim.AdamW(model.parameters(), lr=p.learning_rate, weight_decay=p.weight_decay)
        held, labels = padded(validation[0]), torch.tensor(validation[1], dtype=torch.float32)
        best, state, history = float("inf"), {}, []
        for epoch in range(1, p.epochs + 1):
            model.train()
            losses = []
            for part in np.array_split(rng.permutation(len(usable)), -(-len(usable) // p.batch_size)):
                originals = [usable[i] for i in part]
                target = torch.tensor([1.0] * len(originals) + [0.0] * len(originals))
                loss = balanced_loss(model(*padded([*originals, *reordered(originals, rng)])), target)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                losses.append(float(loss.detach()))
            model.eval()
            with torch.no_grad():
                value = float(balanced_loss(model(*held), labels))
            history.append({"epoch": epoch, "loss": float(np.mean(losses)), "validation": value})
            if value < best:
                best, state = value, {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif epoch - min(history, key=lambda row: row["validation"])["epoch"] >= p.patience:
                break
        model.load_state_dict(state)
    return model.eval(), history


def save(model: CoherenceModel, folder: str | Path) -> None:
    """Write weights and sizes; `load` reads them."""
    write_safetensors(dict(model.state_dict()), Path(folder) / WEIGHTS)
    sizes = {"width": model.lstm.input_size, "hidden": model.lstm.hidden_size, "pooling": model.pooling}
    write_json(sizes, Path(folder) / CONFIG)


def load(folder: str | Path) -> CoherenceModel:
    """The model that `save` wrote.

    Raises:
        CatalogError: the folder holds no whole model.
    """
    try:
        sizes = read_json(Path(folder) / CONFIG)
        model = CoherenceModel(sizes["width"], sizes["hidden"], sizes["pooling"])
        model.load_state_dict(load_file(Path(folder) / WEIGHTS))
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise CatalogError(f"{folder} holds no whole coherence model ({error}); run the stage simdoc_train again.") from error
    return model.eval()


def document_scores(model: CoherenceModel, encoder: tuple, texts: Sequence[str]) -> list[float | None]:
    """c of each text, cut into sentences by rule; None where it has fewer than two."""
    return scores(model, by_document(encoder, [sentences(text) for text in texts]))
