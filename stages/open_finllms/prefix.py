"""Log-probabilities of the next token after prompts that begin alike: their common beginning is read once.

Thousands of prompts of a trading agent have the same instruction in front, a quarter of what the model would read. Under causal attention
what it computes for the instruction does not depend on what follows, so its keys and values are kept, and only the rest of each prompt is
read after them. Results agree with those of whole prompts but for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from catalog.models.inference import batches_by_length


def common(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The longest beginning that all prompts share and that leaves each at least one token."""
    shared = os.path.commonprefix([list(prompt) for prompt in prompts])
    return list(shared[: min(len(prompt) for prompt in prompts) - 1])


class Reader:
    """Reads prompts after a beginning that is read when the reader is made.

    Args:
        beginning: token ids that every prompt has in front; may be empty.
        max_tokens: of the rests that are read together.
    """

    def __init__(self, model: Any, beginning: Sequence[int], max_tokens: int = 2048) -> None:
        self.model, self.beginning, self.max_tokens = model, list(beginning), max_tokens
        self.kept: list[tuple[Tensor, Tensor]] = []  # keys and values of each layer, (1, heads, beginning, d)
        if self.beginning:
            with torch.no_grad():
                cache = model(
                    input_ids=torch.tensor([self.beginning], device=model.device), use_cache=True, logits_to_keep=1
                ).past_key_values
            self.kept = [(layer.keys, layer.values) for layer in cache.layers]

    @torch.no_grad()
    def next_token(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities of the token after each prompt, (N, V), float32 on the CPU."""
        start = len(self.beginning)
        rests = [list(prompt[start:]) for prompt in prompts]
        if any(list(prompt[:start]) != self.beginning for prompt in prompts) or not all(rests):
            raise ValueError("a prompt does not begin as the reader's, or ends there")
        found: list[Tensor] = [torch.empty(0)] * len(rests)
        for batch in batches_by_length([len(rest) for rest in rests], self.max_tokens):
            chunk = [rests[i] for i in batch]
            width = max(map(len, chunk))
            padded = torch.tensor([[*rest, *[0] * (width - len(rest))] for rest in chunk], device=self.model.device)
            last = torch.tensor([[len(rest) - 1] for rest in chunk], device=self.model.device)
            # What is padded on the right is seen by no token before it.
            out = self.model(input_ids=padded, past_key_values=self._cache(len(chunk)), logits_to_keep=last, use_cache=bool(self.kept))
            for i, logits in zip(batch, out.logits[:, 0].float().log_softmax(-1).cpu()):
                found[i] = logits
        return torch.stack(found) if found else torch.empty(0, self.model.config.get_text_config().vocab_size)

    def _cache(self, rows: int) -> Any:
        if not self.kept:
            return None
        from transformers import DynamicCache

        cache = DynamicCache()
        for number, (keys, values) in enumerate(self.kept):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
        return cache
