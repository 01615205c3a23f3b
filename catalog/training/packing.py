"""Training examples for a causal LM: loss on the answer only, and several examples in one row.

An example is a dict of lists of equal length: `input_ids`, `labels` (the id to be predicted at each place, -100 where
there is no loss) and any further numbers per token. `pack` puts the examples of one batch one after another into rows.
Position ids start again at 0 with each example; from them transformers makes a block-diagonal attention mask, so that
no example sees another: loss and gradient are those of the same batch unpacked, without its padding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from catalog.base.errors import CatalogError
from catalog.models.answers import inner_ids

IGNORE = -100

Example = Mapping[str, Sequence[float]]


def encode(
    tokenizer: Any,
    pairs: Sequence[tuple[str | Sequence[int], str | Sequence[int]]],
    *,
    end: bool = True,
    max_length: int = 0,
) -> list[dict[str, list[int]]]:
    """Tokenise (prompt, answer) pairs; only the answer's tokens have labels.

    Prompt and answer are tokenised apart, the answer as it stands behind another text, as in `catalog.models.lm.log_likelihood`: training
    and scoring see the same tokens.

    Args:
        pairs: texts, or token ids (a prompt from `catalog.models.lm.chat_ids`). With an empty prompt all tokens but the first
            are learnt, and the answer is tokenised as a text of its own.
        end: put the end-of-text token behind the answer and learn it too.
        max_length: cut examples after so many tokens; 0 does not cut.

    Raises:
        CatalogError: an example without a single token to learn.
    """
    plain, inner = lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"], lambda texts: inner_ids(tokenizer, texts)
    prompts = _each(plain, [prompt for prompt, _ in pairs])
    first = iter(_each(plain, [answer for prompt, answer in pairs if not len(prompt)]))
    behind = iter(_each(inner, [answer for prompt, answer in pairs if len(prompt)]))
    bos = tokenizer("")["input_ids"][:1]  # what the tokenizer itself puts before a text, if anything
    examples = []
    for number, (prompt, _) in enumerate(pairs):
        prompt_ids = [*(bos if isinstance(prompt, str) else []), *prompts[number]]
        answer_ids = [*next(behind if len(prompt) else first), *([tokenizer.eos_token_id] if end else [])]
        ids = [*prompt_ids, *answer_ids]
        labels = [*[IGNORE] * len(prompt_ids), *answer_ids]
        labels[:1] = [IGNORE]  # nothing stands before the first token to predict it from
        if max_length:
            ids, labels = ids[:max_length], labels[:max_length]
        if all(label == IGNORE for label in labels):
            raise CatalogError(f"Training example {number} has no token to learn; give it an answer or a max_length above its prompt.")
        examples.append({"input_ids": ids, "labels": labels})
    return examples


def pack(examples: Sequence[Example], width: int) -> dict[str, np.ndarray]:
    """Put examples into rows of at most `width` tokens by first-fit-decreasing; a longer one has a row of its own.

    Args:
        examples: with the same keys; the first label of each is ignored whatever it is.
        width: tokens of a row; 0 gives each example a row of its own.

    Returns:
        Arrays ``(rows, longest row)``: every key of the examples (padding is 0, in `labels` -100), `position_ids`, and
        `example`, the index into `examples` that a token belongs to (-1 in the padding). Whole numbers are int64,
        others float32. A key with a vector for each token, ``(T, d)``, gives ``(rows, longest row, d)``.
    """
    rows: list[list[int]] = []
    used: list[int] = []
    lengths = [len(example["input_ids"]) for example in examples]
    for index in sorted(range(len(examples)), key=lambda i: (-lengths[i], i)):
        fit = next((row for row, tokens in enumerate(used) if tokens + lengths[index] <= width), None)
        if fit is None:
            rows.append([])
            used.append(0)
            fit = -1
        rows[fit].append(index)
        used[fit] += lengths[index]
    shape = (len(rows), max(used, default=0))
    packed = {
        key: np.full((*shape, *np.shape(examples[0][key])[1:]), IGNORE if key == "labels" else 0, dtype=_dtype(examples, key))
        for key in (examples[0] if examples else ())
    }
    # The padding counts on from 0 like one more example, which keeps it apart from the last one. Where every row holds one example it
    # counts on from that, which nothing sees either: attention is then causal without a mask, at half the price.
    alone = all(len(members) == 1 for members in rows)
    positions, owner = np.zeros(shape, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    for row, members in enumerate(rows):
        start = 0
        for index in members:
            span = slice(start, start + lengths[index])
            for key, array in packed.items():
                array[row, span] = examples[index][key]
            packed["labels"][row, start] = IGNORE
            positions[row, span] = np.arange(lengths[index])
            owner[row, span] = index
            start = span.stop
        positions[row, start:] = np.arange(shape[1] - start) + (start if alone else 0)
    return {**packed, "position_ids": positions, "example": owner}


def order(examples: int, wanted: int, seed: int) -> np.ndarray:
    """Indices of `wanted` examples: epoch after epoch, each in an order of its own drawn from `seed`."""
    rng = np.random.default_rng(seed)
    epochs = [rng.permutation(examples) for _ in range(-(-wanted // examples))]
    return np.concatenate(epochs)[:wanted] if epochs else np.zeros(0, dtype=np.int64)


def grouped(indices: np.ndarray, lengths: Sequence[int], batch: int, seed: int, window: int = 16) -> np.ndarray:
    """The same indices with examples of like length in one batch, which leaves less padding.

    Each window of `window` batches is sorted by length and its batches are put into an order drawn from `seed`, so that an epoch still
    meets each example once and long batches come at any time. A last batch that is not whole stays last.

    Args:
        indices: of `order`, ``(n,)``.
        lengths: tokens of each example, by index.
        batch: examples of a batch.
    """
    rng = np.random.default_rng([seed, 1])
    tokens = np.asarray(lengths)[indices]
    out = []
    for start in range(0, len(indices), batch * window):
        part = indices[start : start + batch * window]
        part = part[np.argsort(-tokens[start : start + batch * window], kind="stable")]
        whole = len(part) // batch
        out += [part[: whole * batch].reshape(whole, batch)[rng.permutation(whole)].ravel(), part[whole * batch :]]
    return np.concatenate(out) if out else indices


def _each(tokenise: Callable[[list[str]], list[list[int]]], parts: Sequence[str | Sequence[int]]) -> list[list[int]]:
    """Token ids of each part: of the texts among them, all at once, those that `tokenise` gives; of ids themselves."""
    texts = [part for part in parts if isinstance(part, str)]
    found = iter(tokenise(texts) if texts else [])
    return [next(found) if isinstance(part, str) else list(part) for part in parts]


def _dtype(examples: Sequence[Example], key: str) -> type:
    """int64 when all values of `key` are whole numbers, else float32."""
    if isinstance(examples[0][key], np.ndarray):
        return np.int64 if np.issubdtype(examples[0][key].dtype, np.integer) else np.float32
    whole = all(isinstance(value, (int, np.integer)) for example in examples for value in example[key])
    return np.int64 if whole else np.float32
