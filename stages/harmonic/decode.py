"""Sample rows from a causal LM under a grammar: keys are given, values are chosen among those a column may take.

The model is asked only where there is a choice: a category's tokens that follow from the ones before, and what stands between two values,
are fed together with the next question (as in "jump-forward" decoding), so a row of 21 columns takes about 30 forward passes and not 150.
What all prompts of a batch begin with is read once.
Rows do not wait for each other: each is at a column of its own. The next token is drawn from the model's distribution over the tokens that
the grammar allows, at a temperature, by the inverse of its cumulative distribution at a uniform number that belongs to the row, the column
and the step (a counter-based generator keyed by seed and row id). A row therefore does not depend on the rows it is sampled with, beyond
the rounding of sums in another order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.models.windows import windows
from stages.harmonic.grammar import Value
from stages.harmonic.serialise import Pieces

PACK = 4096  # tokens of a forward pass, of whole rows
ROOM = 128  # places by which a layer's memory grows
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
    with _packed_attention(model):
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
    """One row on its way: the tokens to be fed next, the value so far, the cells that are done. ``active``: the model is asked next."""

    def __init__(self, request: Request, pieces: Pieces, values: list[Value], seed: int):
        self.request, self.pieces, self.values = request, pieces, values
        self.uniform = np.random.Generator(np.random.Philox(key=[seed, request.id])).random((len(request.order), STEPS))
        self.pending = list(request.prompt)
        self.cells: dict[str, str | float | None] = {}
        self.slot, self.active = -1, True
        self.next_column()

    @property
    def at(self) -> int:
        return self.request.order[self.slot]

    def next_column(self) -> None:
        """Open the next column at which the model has a choice; given cells and values without one are written at once."""
        while self.slot + 1 < len(self.request.order):
            self.slot, self.asked, self.state = self.slot + 1, 0, ()
            self.pending += (self.pieces.first if self.slot == 0 else self.pieces.later)[self.at]
            if self.at in self.request.fixed:
                value = self.request.fixed[self.at]
                self.pending += self.pieces.value(self.at, value)
                self.cells[self.pieces.schema.columns[self.at].name] = value
            elif not self.go_on():
                return
        self.active = False

    def go_on(self) -> bool:
        """Write the tokens that must follow; True when the value is complete with them."""
        forced = self.values[self.at].forced(self.state)
        self.pending += forced
        self.state = (*self.state, *forced)
        if self.values[self.at].follow(self.state)[0]:
            return False
        self.finish()
        return True

    def finish(self) -> None:
        self.cells[self.pieces.schema.columns[self.at].name] = self.values[self.at].read(self.state)

    def ending(self) -> int:
        """The token that says that a value ends here: the first one of what comes next."""
        nxt = self.slot + 1
        return self.pieces.later[self.request.order[nxt]][0] if nxt < len(self.request.order) else self.pieces.close[0]

    def choices(self) -> list[int]:
        """Tokens that may follow; where the value may end, the one that says so comes last."""
        tokens, ends = self.values[self.at].follow(self.state)
        return [*tokens, self.ending()] if ends else tokens

    def take(self, place: int) -> None:
        """Add the token at `place` of `choices`; what was pending has been fed."""
        tokens, _ = self.values[self.at].follow(self.state)
        self.asked, self.pending = self.asked + 1, []
        if place == len(tokens):  # the value ends
            self.finish()
            self.next_column()
            return
        self.pending.append(tokens[place])
        self.state = (*self.state, tokens[place])
        if self.go_on():
            self.next_column()


def _batch(model: Any, pieces: Pieces, values: list[Value], requests: list[Request], temperature: float, seed: int) -> list[dict]:
    rows = [_Row(request, pieces, values, seed) for request in requests]
    cache = _Cache(model, len(rows), max(len(request.prompt) for request in requests))
    begin = os.path.commonprefix([request.prompt[:-1] for request in requests])
    if len(rows) > 1 and len(begin) > 1:
        cache.begin(begin)
        for row in rows:
            del row.pending[: len(begin)]
    while asking := [i for i, row in enumerate(rows) if row.active]:
        logits = cache.feed([row.pending if row.active else [] for row in rows])
        allowed = [rows[i].choices() for i in asking]
        drawn = _draw(logits, allowed, [rows[i] for i in asking], temperature)
        for i, place in zip(asking, drawn, strict=True):
            rows[i].take(place)
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


def packed_attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, slots=None, masks=None, softcap=None, s_aux=None, **_
):
    """Attention of transformers' interface for a pack: tokens of several rows one behind the other, each of which sees its own row.

    Query heads of a group share their key-value head as it lies in memory; the library's own attention copies the cache for every head of a
    group at every step, which takes longer than the step itself.

    query (1, H, N, d_h); key, value (B, G, L, d_h); attention_mask (B, 1, H / G T, L), additive, the same for each head of a group;
    slots (N,): place of each token in (B, T); masks: where layers have windows, a mask for each layer instead of `attention_mask`.

    Raises:
        CatalogError: the model caps its scores, or has scores of no token.
    """
    if softcap is not None or s_aux is not None:
        raise CatalogError("This model's attention has a cap or sinks, which sampling under a grammar does not know; use decoding: free.")
    if masks is not None:
        attention_mask = masks[module.layer_idx]
    heads, _, width = query.shape[1:]
    rows, groups = key.shape[:2]
    steps = attention_mask.shape[2] * groups // heads
    spread = query.new_zeros(rows * steps, heads * width)
    spread.index_copy_(0, slots, query[0].transpose(0, 1).reshape(-1, heads * width))
    spread = spread.view(rows, steps, groups, heads // groups, width).permute(0, 2, 3, 1, 4).reshape(rows, groups, -1, width)
    out = torch.nn.functional.scaled_dot_product_attention(spread, key, value, attn_mask=attention_mask, scale=scaling)
    out = out.view(rows, groups, heads // groups, steps, width).permute(0, 3, 1, 2, 4).reshape(rows * steps, heads, width)
    return out.index_select(0, slots)[None], None


@contextmanager
def _packed_attention(model: Any) -> Iterator[None]:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register("packed", packed_attention)
    AttentionMaskInterface.register("packed", eager_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation("packed")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


class _Cache:
    """Keys and values of a batch whose rows are fed different numbers of tokens.

    Tokens of all rows go through the model as one pack, so none is padded but inside the attention. Each is kept at its own place in its
    row, in memory that is there already: joining tensors anew at each step, as transformers' cache does, took half of the time.
    """

    def __init__(self, model: Any, rows: int, least: int):
        from transformers import Cache

        self.model, self.rows, self.least = model, rows, least  # least: places of a row that will be filled for sure
        self.length = np.zeros(rows, dtype=np.int64)
        self.first = self.end = 0  # rows of the pack
        self.held = 0  # places that the longest of them fills now
        self.at: Tensor  # (N,) row and place of each token
        config = model.config.get_text_config()
        self.share = config.num_attention_heads // config.num_key_value_heads
        self.windows = windows(config)
        self.past = Cache(layers=[_layer(self) for _ in range(config.num_hidden_layers)])

    def feed(self, tokens: list[list[int]]) -> Tensor:
        """Logits, float32, after the last token of each row that has any, in their order."""
        counts = np.array([len(row) for row in tokens])
        logits, first = [], 0
        while first < self.rows:
            end = first + max(1, int((counts[first:].cumsum() <= PACK).sum()))
            if counts[first:end].any():
                logits.append(self._pack(tokens, counts, first, end))
            first = end
        return torch.cat(logits)

    def begin(self, tokens: list[int]) -> None:
        """Let every row begin with ``tokens``, which go through the model once."""
        self.feed([tokens, *[[]] * (self.rows - 1)])
        for layer in self.past.layers:
            for held in (layer.keys, layer.values):
                held[1:, : len(tokens)] = held[:1, : len(tokens)]
        self.length[:] = len(tokens)

    def _pack(self, tokens: list[list[int]], counts: np.ndarray, first: int, end: int) -> Tensor:
        own, device = counts[first:end], self.model.device
        row = np.repeat(np.arange(end - first), own)
        step = np.arange(len(row)) - np.repeat(own.cumsum() - own, own)
        places = self.length[first:end][row] + step
        self.length[first:end] += own
        self.first, self.end, self.held = first, end, int(self.length[first:end].max())
        self.at = torch.from_numpy(np.stack([row + first, places])).to(device)
        # A padded step of the attention sees what the row's last token sees; what comes out of it is not read.
        reach = np.minimum(np.arange(own.max())[None] + (self.length[first:end] - own)[:, None], self.length[first:end, None] - 1)
        unseen = torch.from_numpy(np.arange(self.held) > np.maximum(reach, 0)[:, :, None]).to(device)
        masks = {None: self._mask(unseen)}
        for window in {window for window in self.windows if window is not None and window < self.held}:
            masks[window] = self._mask(unseen | torch.from_numpy(np.arange(self.held) <= reach[:, :, None] - window).to(device))
        out = self.model(
            input_ids=torch.tensor([[token for each in tokens[first:end] for token in each]], device=device),
            attention_mask=masks[None],
            masks=[masks.get(window, masks[None]) for window in self.windows] if len(masks) > 1 else None,
            position_ids=torch.from_numpy(places)[None].to(device),
            past_key_values=self.past,
            use_cache=True,
            logits_to_keep=torch.from_numpy(own.cumsum()[own > 0] - 1).to(device),
            slots=torch.from_numpy(row * int(own.max()) + step).to(device),
        )
        return out.logits[0].float()

    def _mask(self, unseen: Tensor) -> Tensor:
        """The additive mask of (B, T, L) truth values, made once for all layers, which would each make it anew of a boolean one."""
        mask = torch.zeros(unseen.shape, dtype=self.model.dtype, device=unseen.device).masked_fill_(unseen, -torch.inf)
        return mask.repeat(1, self.share, 1)[:, None]


def _layer(cache: _Cache) -> Any:
    """Keys and values of one layer in `cache`: (B, room, G d_h) each, of which the pack's rows are shown as (b, G, L, d_h)."""
    from transformers.cache_utils import DynamicLayer

    class Layer(DynamicLayer):
        room = 0

        def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            _, groups, count, size = key_states.shape
            if cache.held > self.room:
                before, kept, self.room = (self.keys, self.values), self.room, max(cache.held, cache.least) + ROOM
                self.keys, self.values = (key_states.new_zeros(cache.rows, self.room, groups * size) for _ in range(2))
                if kept:
                    self.keys[:, :kept], self.values[:, :kept] = before
            at = cache.at[0] * self.room + cache.at[1]
            shown = []
            for held, fresh in ((self.keys, key_states), (self.values, value_states)):
                held.flatten(0, 1).index_copy_(0, at, fresh[0].transpose(0, 1).reshape(count, groups * size))
                own = held[cache.first : cache.end, : cache.held]
                shown.append(own.unflatten(2, (groups, size)).transpose(1, 2))
            return shown[0], shown[1]

    return Layer()
