"""Sample rows from a causal LM under a grammar: keys are given, values are chosen among those a column may take.

Rows of a batch move column by column. At a column the model is asked only where there is a choice: a category's tokens that follow from the
ones before, and what stands between two values, are fed together with the next question (as in "jump-forward" decoding), so a row of 21
columns takes about 30 forward passes and not 150. The next token is drawn from the model's distribution over the tokens that the grammar
allows, at a temperature, by the inverse of its cumulative distribution at a uniform number that belongs to the row, the column and the
step (a counter-based generator keyed by seed and row id). A row therefore does not depend on the rows it is sampled with, beyond the
rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalog.errors import CatalogError
from stages.harmonic.grammar import Value
from stages.harmonic.serialise import Pieces

STEPS = 32  # uniform numbers a column; a value of more tokens takes them again from the start


@dataclass(frozen=True)
class Request:
    """A row to be sampled: its id, which seeds it; the prompt's token ids; the order of the columns; cells that are given, by column."""

    id: int
    prompt: list[int]
    order: tuple[int, ...]
    fixed: dict[int, str | float | None]


@torch.inference_mode()
def sample_rows(
    model: Any,
    pieces: Pieces,
    requests: Sequence[Request],
    *,
    temperature: float,
    seed: int,
    batch: int,
    advance: Callable[[int], None] = lambda _: None,
) -> list[dict[str, str | float | None]]:
    """One row for each request, in their order, columns by name.

    Args:
        temperature: above 0; the distribution over allowed tokens is sharpened below 1.
        batch: rows sampled together; those with prompts of like length share a batch.

    Raises:
        CatalogError: a temperature of 0 or less, or a batch below 1.
    """
    if temperature <= 0 or batch < 1:
        raise CatalogError(f"Sampling needs a temperature above 0 and a batch of at least 1, not {temperature} and {batch}.")
    values = [Value(pieces, at) for at in range(len(pieces.schema.columns))]
    with _grouped_attention(model):
        return _sample(model, pieces, values, requests, temperature, seed, batch, advance)


def _sample(model, pieces, values, requests, temperature, seed, batch, advance) -> list[dict[str, str | float | None]]:
    out: list[dict[str, str | float | None]] = [{} for _ in requests]
    order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), i))
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        for i, row in zip(group, _batch(model, pieces, values, [requests[i] for i in group], temperature, seed), strict=True):
            out[i] = {column.name: row[column.name] for column in pieces.schema.columns}
        advance(len(group))
    return out


class _Row:
    """One row on its way: the tokens to be fed next, the value so far, the cells that are done."""

    def __init__(self, request: Request, pieces: Pieces, values: list[Value], seed: int):
        self.request, self.pieces, self.values = request, pieces, values
        self.uniform = np.random.Generator(np.random.Philox(key=[seed, request.id])).random((len(request.order), STEPS))
        self.pending = list(request.prompt)
        self.length = 0  # tokens fed so far
        self.cells: dict[str, str | float | None] = {}
        self.slot, self.asked = -1, 0
        self.active = False
        self.next_column()

    def next_column(self) -> None:
        """Open the next column; given cells and values without a choice are written at once."""
        while True:
            self.slot, self.asked, self.state = self.slot + 1, 0, ()
            if self.slot == len(self.request.order):
                self.active = False
                return
            at = self.request.order[self.slot]
            self.pending += (self.pieces.first if self.slot == 0 else self.pieces.later)[at]
            if at in self.request.fixed:
                value = self.request.fixed[at]
                self.pending += self.pieces.value(at, value)
                self.cells[self.pieces.schema.columns[at].name] = value
                continue
            self.active = True
            if not self.go_on():
                return

    def go_on(self) -> bool:
        """Write the tokens that must follow; True when the value is complete with them."""
        at = self.request.order[self.slot]
        forced = self.values[at].forced(self.state)
        self.pending += forced
        self.state = (*self.state, *forced)
        tokens, _ = self.values[at].follow(self.state)
        if tokens:
            return False
        self.cells[self.pieces.schema.columns[at].name] = self.values[at].read(self.state)
        self.active = False
        return True

    def ending(self) -> int:
        """The token that says that a value ends here: the first one of what comes next."""
        nxt = self.slot + 1
        return self.pieces.later[self.request.order[nxt]][0] if nxt < len(self.request.order) else self.pieces.close[0]

    def choices(self) -> list[int]:
        at = self.request.order[self.slot]
        tokens, ends = self.values[at].follow(self.state)
        return [*tokens, self.ending()] if ends else tokens

    def take(self, token: int, last: bool) -> None:
        """Add the token chosen; ``last``: it ended the value."""
        self.asked += 1
        at = self.request.order[self.slot]
        if last:
            self.cells[self.pieces.schema.columns[at].name] = self.values[at].read(self.state)
            self.active = False
            return
        self.pending.append(token)
        self.state = (*self.state, token)
        self.go_on()


def _batch(model: Any, pieces: Pieces, values: list[Value], requests: list[Request], temperature: float, seed: int) -> list[dict]:
    rows = [_Row(request, pieces, values, seed) for request in requests]
    cache = _Cache(model, len(rows))
    while any(row.slot < len(row.request.order) for row in rows):
        while asking := [i for i, row in enumerate(rows) if row.active]:
            logits = cache.feed([row.pending if row.active else [] for row in rows])
            for row in rows:
                if row.active:
                    row.length, row.pending = row.length + len(row.pending), []
            allowed = [rows[i].choices() for i in asking]
            drawn = _draw(logits[asking], allowed, [rows[i] for i in asking], temperature)
            for i, place, tokens in zip(asking, drawn, allowed, strict=True):
                row = rows[i]
                at = row.request.order[row.slot]
                ends = row.values[at].follow(row.state)[1]
                row.take(tokens[place], ends and place == len(tokens) - 1)
        for row in rows:
            if row.slot < len(row.request.order):
                row.next_column()
    return [row.cells for row in rows]


def _draw(logits: Tensor, allowed: list[list[int]], rows: list[_Row], temperature: float) -> list[int]:
    """Place of the chosen token in each row's allowed ones, by inverse CDF in float64."""
    width = max(map(len, allowed))
    index = torch.tensor([[*tokens, *[tokens[0]] * (width - len(tokens))] for tokens in allowed], device=logits.device)
    scores = (logits.gather(1, index).double() / temperature).cpu().numpy()
    count = np.array([len(tokens) for tokens in allowed])
    scores[np.arange(width) >= count[:, None]] = -np.inf
    weights = np.exp(scores - scores.max(1, keepdims=True)).cumsum(1)
    u = np.array([row.uniform[row.slot, row.asked % STEPS] for row in rows])
    return np.minimum((weights <= u[:, None] * weights[:, -1:]).sum(1), count - 1).tolist()


def grouped_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
    """Attention of transformers' interface in which the query heads of a group share their key-value head as it lies in memory.

    The library's own copies the cache for every head of a group at every step, which takes longer than the step itself.
    query (B, H, T, d_h); key, value (B, G, L, d_h); attention_mask (B, 1, T, L), boolean or additive.
    """
    rows, heads, steps, width = query.shape
    groups = key.shape[1]
    query = query.reshape(rows, groups, heads // groups * steps, width)
    mask = attention_mask.repeat(1, 1, heads // groups, 1)
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(rows, heads, steps, width).transpose(1, 2), None


@contextmanager
def _grouped_attention(model: Any) -> Iterator[None]:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register("grouped", grouped_attention)
    AttentionMaskInterface.register("grouped", eager_mask)  # always a mask: padding lies inside the cache
    before = model.config._attn_implementation
    model.set_attn_implementation("grouped")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


class _Cache:
    """Keys and values of a batch whose rows are fed different numbers of tokens: shorter ones are padded on the left of each feed, and
    the padding is masked for good."""

    def __init__(self, model: Any, rows: int):
        from transformers import DynamicCache

        self.model, self.past = model, DynamicCache(config=model.config)
        self.mask = torch.zeros(rows, 0, dtype=torch.long, device=model.device)
        self.length = torch.zeros(rows, dtype=torch.long, device=model.device)

    def feed(self, tokens: list[list[int]]) -> Tensor:
        """Logits (B, V), float32, after the last token of each row; those of a row without tokens mean nothing."""
        width = max(map(len, tokens))
        device = self.model.device
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in tokens], device=device)
        own = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in tokens], device=device)
        self.mask = torch.cat([self.mask, own], 1)
        places = (self.length[:, None] + own.cumsum(1) - 1).clamp_min(0)
        self.length += own.sum(1)
        # By an index, which copies: a slice would not be contiguous, and the product with the output layer would then copy its weight for
        # each row of the batch.
        last = torch.tensor([width - 1], device=device)
        out = self.model(
            input_ids=ids, attention_mask=self.mask, position_ids=places, past_key_values=self.past, use_cache=True, logits_to_keep=last
        )
        return out.logits[:, -1].float()
