"""Run a causal language model in batches: log-likelihood, last logits, generation.

All batching is by length, so that little is padded, and results come back in the order of the input. Log-likelihoods
and last logits pad on the right under causal attention, where no token sees the padding after it, so a result does not
depend on its batch beyond floating-point rounding. Logits are computed only at the positions that are read: with a
vocabulary of 150,000 the output layer otherwise takes more memory than the whole model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from catalog.models.answers import inner_ids
from catalog.models.devices import tokens_at_once
from catalog.models.logits import normalised
from catalog.models.windows import FULL, layer_kinds


class LogLikelihood(NamedTuple):
    """Log-probabilities (natural logarithm) of N continuations, float32 on the CPU.

    total: ``(N,)``, summed over the continuation's tokens.
    tokens: N tensors ``(tokens of the continuation,)``.
    greedy: ``(N,)`` bool, whether no token is more probable than each token of the continuation.
    """

    total: Tensor
    tokens: list[Tensor]
    greedy: Tensor


def chat_ids(tokenizer: Any, messages: str | Sequence[dict[str, str]]) -> list[int]:
    """Token ids of a conversation in the model's own chat template, up to where its answer begins.

    Args:
        messages: one user message, or ``[{"role": "system" | "user" | "assistant", "content": …}, …]``.

    Raises:
        CatalogError: the tokenizer has no chat template (a base model), or one that refuses the messages (such as a system message).
    """
    if tokenizer.chat_template is None:
        raise CatalogError("This model has no chat template; prompt it with plain text or choose an instruct model.")
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    try:
        return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
    except TemplateError as error:
        roles = ", ".join(str(message.get("role")) for message in messages)
        remedy = "leave the system message out, or put it into the user's" if "system" in roles else "give them in the order it asks for"
        raise CatalogError(f"This model's chat template refuses messages of {roles} ({error}); {remedy}.") from None


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group items of like length, longest first, so that each group padded to its longest has at most `max_tokens`.

    Args:
        lengths: tokens of each item.
        max_tokens: of one group, padding included; a longer item is a group of its own.

    Returns:
        Lists of indices into `lengths`, each index once.
    """
    batches: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * widest > max_tokens:
            batches.append([])
            widest = lengths[index]
        batches[-1].append(index)
    return batches


@torch.no_grad()  # not inference_mode, whose tensors a caller could not change or train with
def log_likelihood(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str | Sequence[int], str | Sequence[int]]],
    *,
    max_tokens: int | None = None,
    desc: str | None = None,
) -> LogLikelihood:
    """Log-probability of each continuation after its context.

    Context and continuation are tokenised apart, so their border is a token border; put the space that the tokenizer
    expects at the start of the continuation (`" Paris"`). A context used by several pairs, as in multiple choice, is
    run through the model once: its continuations follow it in one row, under a mask that hides them from each other.

    Args:
        pairs: (context, continuation), each text or token ids; an empty context becomes the begin (or end) token, and the continuation
            is then tokenised as a text of its own.
        max_tokens: of one forward pass, padding included; 1,024 on a CPU and 16,384 on a GPU by default.
        desc: shows progress under this name.

    Raises:
        CatalogError: an empty continuation, or a pair longer than a model with learnt positions can read.
    """
    max_tokens = max_tokens or _default_tokens(model)
    rows = _shared_rows(model, tokenizer, pairs, max_tokens)
    result: list[Tensor] = [torch.empty(0)] * len(pairs)
    greedy = torch.zeros(len(pairs), dtype=torch.bool)
    with progress(len(pairs), desc or "", "pair", enabled=desc is not None) as advance:
        for batch in batches_by_length([len(row.ids) for row in rows], max_tokens):
            chunk = [rows[i] for i in batch]
            inputs = _shared_inputs(model, chunk)
            # keep[b, t]: something is predicted from position t. The model returns those positions in one list, in
            # which `place` gives the number of each.
            keep = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
            for b, row in enumerate(chunk):
                keep[b, sorted({source for part in row.parts for source in part.sources})] = True
            logits = model(**inputs, logits_to_keep=keep, use_cache=False).logits
            logits = logits.view(-1, logits.shape[-1])
            normaliser, best = normalised(logits)
            place = (keep.flatten().cumsum(0) - 1).view_as(keep).cpu()
            for b, row in enumerate(chunk):
                for part in row.parts:
                    at = place[b, part.sources].to(logits.device)
                    own = logits[at, torch.tensor(part.tokens, device=logits.device)].float()
                    result[part.pair] = (own - normaliser[at]).cpu()
                    greedy[part.pair] = bool((best[at] == own).all())
                advance(len(row.parts))
    total = torch.stack([values.sum() for values in result]) if result else torch.empty(0)
    return LogLikelihood(total, result, greedy)


@torch.no_grad()
def last_logits(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | Sequence[int]],
    *,
    columns: Sequence[int] | None = None,
    max_tokens: int | None = None,
    desc: str | None = None,
) -> Tensor:
    """Logits of the token that follows each prompt.

    Args:
        prompts: texts or token ids, not empty.
        columns: keep these token ids only, in this order (all of 1,600 x 150,000 logits take a gigabyte).
        max_tokens, desc: as for `log_likelihood`.

    Returns:
        ``(N, V)``, or ``(N, len(columns))``, float32 on the CPU.
    """
    ids = [_ids(tokenizer, prompt) for prompt in prompts]
    if not all(ids):
        raise CatalogError(f"Prompt {ids.index([])} is empty; give it at least one token.")
    width = model.config.get_text_config().vocab_size if columns is None else len(columns)
    result = torch.empty(len(ids), width)
    with progress(len(ids), desc or "", "prompt", enabled=desc is not None) as advance:
        for batch in batches_by_length([len(item) for item in ids], max_tokens or _default_tokens(model)):
            chunk = [ids[i] for i in batch]
            last = torch.tensor([[len(item) - 1] for item in chunk], device=model.device)
            padded = _pad_right(chunk).to(model.device)
            logits = model(input_ids=padded, logits_to_keep=last, use_cache=False).logits[:, 0]
            result[batch] = (logits if columns is None else logits[:, list(columns)]).float().cpu()
            advance(len(batch))
    return result


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    max_tokens: int | None = None,
    desc: str | None = None,
) -> list[str]:
    """Continue each prompt; the model's own sampling defaults (penalties, top-k) are not applied.

    Args:
        prompts: texts or token ids (see `chat_ids`), not empty.
        max_new_tokens: at most so many tokens.
        temperature: 0 takes the most probable token, more samples.
        top_p: when sampling, from the smallest set of tokens that has this probability.
        seed: of the sampling. The same call gives the same texts; another set of prompts may draw others.
        stop: ends a text before the first of these strings, `("\\n",)` for one line.
        max_tokens: prompt and new tokens of one batch; 4 times the default of `log_likelihood`.
        desc: shows progress under this name.

    Returns:
        The new texts without special tokens, in the order of `prompts`.
    """
    from transformers import GenerationConfig

    ids = [_ids(tokenizer, prompt) for prompt in prompts]
    if not all(ids):
        raise CatalogError(f"Prompt {ids.index([])} is empty; give it at least one token.")
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0} if temperature > 0 else {}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        **{"do_sample": False, **sampling},
    )
    texts = [""] * len(ids)
    lengths = [len(item) + max_new_tokens for item in ids]
    batches = batches_by_length(lengths, max_tokens or 4 * _default_tokens(model))
    with (
        progress(len(ids), desc or "", "prompt", enabled=desc is not None) as advance,
        torch.random.fork_rng(),
        _own_generation_config(model, config),
        _contiguous_output(model),
    ):
        torch.manual_seed(seed)
        for batch in batches:
            inputs = tokenizer.pad({"input_ids": [ids[i] for i in batch]}, padding_side="left", return_tensors="pt")
            width = inputs["input_ids"].shape[1]
            criteria = [_stop_at(tokenizer, stop, width)] if stop else []
            new = model.generate(
                input_ids=inputs["input_ids"].to(model.device),
                attention_mask=inputs["attention_mask"].to(model.device),
                stopping_criteria=criteria,
            )[:, width:]
            for i, text in zip(batch, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                ends = [text.index(string) for string in stop if string in text]
                texts[i] = text[: min(ends)] if ends else text
            advance(len(batch))
    return texts


@contextmanager
def _contiguous_output(model: Any) -> Iterator[None]:
    """`generate` of transformers hands a slice of the hidden states to the output layer, and the product of a slice with the layer's weight
    copies that weight for each row of the batch."""
    layer = model.get_output_embeddings()
    hook = layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


class _Part(NamedTuple):
    """One continuation inside a row: token t is `tokens[t]`, predicted from position `sources[t]` of the row."""

    pair: int
    tokens: list[int]
    sources: list[int]


class _Row(NamedTuple):
    """A context followed by one or more continuations, each of which starts at the position after the context."""

    ids: list[int]
    context: int
    parts: list[_Part]


def _shared_rows(model: Any, tokenizer: Any, pairs: Sequence[tuple], max_tokens: int) -> list[_Row]:
    """Put continuations of the same context into one row while it has at most `max_tokens`."""
    config = model.config.get_text_config()
    # A sliding window counts places in the row, which are not positions when a context is shared.
    shareable = set(layer_kinds(config)) == {FULL}
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    rows: list[_Row] = []
    longest = getattr(config, "n_positions", None)  # of models that learn a vector for each position
    open_row: dict[tuple[int, ...], _Row] = {}
    for pair, (context, continuation) in enumerate(pairs):
        prefix = _ids(tokenizer, context) or [start]
        inner = isinstance(continuation, str) and len(context) > 0  # with nothing before it, a text begins as any text does
        tokens = inner_ids(tokenizer, [continuation])[0] if inner else _ids(tokenizer, continuation, special=False)
        if not tokens:
            raise CatalogError(f"Continuation {pair} is empty; give it at least one token to be scored.")
        if longest is not None and len(prefix) + len(tokens) > longest:
            raise CatalogError(
                f"Pair {pair} has {len(prefix) + len(tokens)} tokens and the model reads {longest} at most; shorten its context."
            )
        # A context of one token costs less than the attention that each continuation would pay to the others of its row.
        row = open_row.get(tuple(prefix)) if shareable and len(prefix) > 1 else None
        if row is None or len(row.ids) + len(tokens) > max_tokens:
            row = _Row(list(prefix), len(prefix), [])
            open_row[tuple(prefix)] = row
            rows.append(row)
        first = len(row.ids)
        row.parts.append(_Part(pair, tokens, [row.context - 1, *range(first, first + len(tokens) - 1)]))
        row.ids.extend(tokens)
    return rows


def _shared_inputs(model: Any, rows: list[_Row]) -> dict[str, Tensor]:
    """Padded inputs of `rows`; with several continuations in a row also their positions and a 4-D mask between them."""
    ids = _pad_right([row.ids for row in rows])
    inputs = {"input_ids": ids.to(model.device)}
    if all(len(row.parts) == 1 for row in rows):
        return inputs  # causal attention alone is right
    width = ids.shape[1]
    # Padding needs no position of its own, and a model may have fewer than a row has places.
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    segment = torch.zeros(len(rows), width, dtype=torch.long)  # 0: context (and padding), 1, 2, …: continuations
    for b, row in enumerate(rows):
        first = row.context
        positions[b, :first] = torch.arange(first)
        for number, part in enumerate(row.parts, start=1):
            end = first + len(part.tokens)
            segment[b, first:end] = number
            positions[b, first:end] = torch.arange(row.context, row.context + len(part.tokens))
            first = end
    same = (segment[:, None, :] == segment[:, :, None]) | (segment[:, None, :] == 0)
    seen = same & torch.ones(width, width, dtype=torch.bool).tril()
    # Additive, since eager attention adds the mask; every place sees itself, so that no softmax is empty.
    mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill_(~seen, torch.finfo(model.dtype).min)
    return inputs | {"position_ids": positions.to(model.device), "attention_mask": mask[:, None].to(model.device)}


def _ids(tokenizer: Any, text: str | Sequence[int], special: bool = True) -> list[int]:
    """Token ids of a text, or the ids given. `special`: with the tokens the tokenizer puts around a text."""
    return tokenizer(text, add_special_tokens=special)["input_ids"] if isinstance(text, str) else list(text)


def _pad_right(rows: Sequence[Sequence[int]]) -> Tensor:
    """``(rows, longest)`` ids; what stands in the padding is never read."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


def _default_tokens(model: Any) -> int:
    """Tokens of one forward pass that keep the device busy without filling its memory."""
    return tokens_at_once(model.device, cpu=1_024)


def _stop_at(tokenizer: Any, stop: Sequence[str], width: int) -> Callable[..., Tensor]:
    """A stopping criterion: a row is done when its newest text has one of the strings `stop`."""
    window = max(len(string) for string in stop) + 4  # a token is seldom less than a character

    def done(input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        recent = tokenizer.batch_decode(input_ids[:, max(width, input_ids.shape[1] - window) :])
        found = [any(string in text for string in stop) for text in recent]
        return torch.tensor(found, device=input_ids.device)

    return done


@contextmanager
def _own_generation_config(model: Any, config: Any) -> Iterator[None]:
    """Replace the model's generation defaults, which `generate` would otherwise merge into any configuration."""
    saved = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = saved
