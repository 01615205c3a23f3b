"""Labels by likelihood: which label is the likeliest at its place in the answer, behind a reason that the model has written itself.

Where the form of the answer puts a reason first, the model writes it (greedy decoding, to the end of the line), the words up to the label
are put behind it, and the probabilities of the labels are read there. So no answer is without a label, and all have probabilities. What
prompts begin with is computed once: the system's message and any solved items for all, a whole context for all claims on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from catalog.models.inference import batches_by_length
from stages.fmdllama.method import common
from stages.fmdllama.prompts import LABELS, Item, target

AT_ONCE = 4096  # tokens of the prompts of a batch, of each the part that is its own


class Scored(NamedTuple):
    """Of each item the log-probabilities (nats) of the labels' first tokens, (items, labels), and the reason that was written."""

    scores: np.ndarray
    reasons: list[str]


class _State:
    """Rows of a batch that are read on, token by token: cache, which of its places are no padding, and last logits."""

    def __init__(self, model: Any, beginning: Sequence[int]) -> None:
        self.model, self.cache = model, DynamicCache()
        self.real = torch.zeros(1, 0, dtype=torch.long, device=model.device)
        self.read([beginning])

    def read(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Read some tokens in each row, none in some of them; the logits (rows, V) behind the last place."""
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=self.model.device)
        new = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.model.device)
        self.real = torch.cat([self.real, new], 1)
        places = (self.real.cumsum(1) - 1).clamp(min=0)[:, -width:]
        out = self.model(
            input_ids=ids,
            attention_mask=self.real,
            position_ids=places,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, which may be named more than once."""
        which = torch.tensor(rows, dtype=torch.long, device=self.model.device)
        self.cache.batch_select_indices(which)
        self.real = self.real[which]


def first_tokens(tokenizer: Any, task: str) -> list[int]:
    """Of each label of a task its first token.

    Raises:
        CatalogError: two begin with the same one, so that its probability cannot tell them apart.
    """
    labels = LABELS[task]
    firsts = [tokenizer(f" {label}", add_special_tokens=False)["input_ids"][0] for label in labels]
    if len(set(firsts)) < len(labels):
        raise CatalogError(f"The tokenizer begins two of the labels {', '.join(labels)} with one token; use another model or other labels.")
    return firsts


@contextmanager
def contiguous_output(model: Any) -> Iterator[None]:
    """Hand the output layer whole tensors: its product with a slice, of the last places, copies its weight for each row of the batch."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


@torch.inference_mode()
def label_scores(
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    form: str,
    prompts: Sequence[Sequence[int]],
    members: Sequence[Sequence[int]],
    reason_tokens: int,
    desc: str = "labels",
) -> Scored:
    """Log-probabilities of the labels of items of one task.

    Args:
        prompts: tokens of each item. members: positions of items whose prompts begin alike, each item once: one list for each context.
        reason_tokens: of a reason, at most; what is longer is cut.
    """
    firsts = first_tokens(tokenizer, items[0]["task"])
    parts = target({**items[0], "reason": "?"}, form)
    opening, before = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (parts.opening, parts.before))
    asked = [[*prompt, *opening] for prompt in prompts]
    start = common(asked)
    shared = {id(group): max(start, common([asked[i] for i in group])) if len(group) > 1 else start for group in members}
    own = [sum(len(asked[i]) - start for i in group) for group in members]
    scores, reasons = np.zeros((len(items), len(firsts))), [""] * len(items)
    with contiguous_output(model), progress(len(items), desc, "item") as advance:
        for batch in batches_by_length(own, AT_ONCE):
            part = [members[i] for i in batch]
            order = [i for group in part for i in group]
            state = _State(model, asked[0][:start])
            state.select([0] * len(part))
            if any(shared[id(group)] > start for group in part):
                state.read([asked[group[0]][start : shared[id(group)]] for group in part])
            state.select([number for number, group in enumerate(part) for _ in group])
            rest = [asked[i][shared[id(group)] :] for group in part for i in group]
            if parts.opening:
                found, written = write_lines(state, tokenizer, state.read(rest), before, reason_tokens)
            else:
                found, written = state.read([[*tokens, *before] for tokens in rest]), [[]] * len(order)
            found = found.float().log_softmax(-1)[:, firsts].cpu().numpy()
            for place, i in enumerate(order):
                scores[i], reasons[i] = found[place], tokenizer.decode(written[place]).strip()
            advance(len(order))
    return Scored(scores, reasons)


def write_lines(state: _State, tokenizer: Any, logits: Tensor, before: Sequence[int], most: int) -> tuple[Tensor, list[list[int]]]:
    """Let every row write its line, put ``before`` behind it, and read on to the end of that.

    A row goes on with its likeliest token until that ends the line or the turn, or until it has written ``most`` tokens. Rows that are
    through leave the batch.

    Returns:
        Logits (rows, V) behind ``before``; the tokens that each row wrote.
    """
    written: list[list[int]] = [[] for _ in range(len(logits))]
    waiting: list[list[int] | None] = [None] * len(logits)  # of a row that ended its line: what it must still read
    ends: dict[int, bool] = {}
    found = torch.zeros_like(logits)
    rows = list(range(len(logits)))
    while rows:
        for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
            if waiting[row] is None:
                if token not in ends:
                    ends[token] = token == tokenizer.eos_token_id or "\n" in tokenizer.decode([token])
                if ends[token] or len(written[row]) == most:
                    waiting[row] = list(before)
                else:
                    written[row].append(token)
        logits = state.read([[waiting[row].pop(0)] if waiting[row] is not None else [written[row][-1]] for row in rows])
        through = [waiting[row] == [] for row in rows]
        for place, row in enumerate(rows):
            if through[place]:
                found[row] = logits[place]
        if any(through):
            kept = [place for place, over in enumerate(through) if not over]
            rows = [rows[place] for place in kept]
            state.select(kept)
            logits = logits[kept]
    return found, written
