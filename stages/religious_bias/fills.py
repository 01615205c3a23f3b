"""Score word forms at a mask: by a masked LM, also forms of several tokens, and by a causal LM.

With x a prompt that has one ``[MASK]``, a form of k tokens w_1 … w_k has k masks in its place, and its score under a masked LM is a
pseudo-log-likelihood,

    left_to_right:  sum_i log p(w_i | x, w_1 … w_(i-1), masks at i … k)       (1)
    pll:            sum_i log p(w_i | x, all other tokens of the form)        (2)

For k = 1 both are log p(w | x). (1) is the chain rule, so it is a probability over the fillings of k masks, and is what forms of
different lengths are compared by. In (2) a form's own tokens give each other away ("##s" after "buddhist"), which favours long forms;
use it for whole sentences. Neither says how probable k masks are: compare the same form in two prompts where that matters.

A causal LM sees nothing behind a gap, so it scores the whole sentence with each form in it; over a closed vocabulary the softmax of these
scores is its distribution at the mask.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.models.inference import log_likelihood
from stages.religious_bias.mlm import place_logprobs, split_at_mask

CONVENTIONS = ("left_to_right", "pll")


def form_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    forms: Sequence[str] | Sequence[Sequence[str]],
    *,
    convention: str = "left_to_right",
    max_tokens: int | None = None,
    desc: str | None = None,
) -> Tensor:
    """Log-probability (nats) of each word form at the mask of each prompt.

    A form's tokens are those it has inside the filled sentence, so spaces and capitals are as the tokenizer wants them. Equal inputs, such
    as those of all forms of one token, are run once.

    Args:
        texts: prompts with ``[MASK]`` once each.
        forms: the same for every prompt, or a list of them for each prompt, all of the same length. A form that begins a sentence gets a
            capital letter.
        convention: for forms of several tokens, ``left_to_right`` (1) or ``pll`` (2); see the top of this module.
        max_tokens, desc: as for `stages.religious_bias.mlm.mask_logprobs`.

    Returns:
        ``(N, F)``, float32 on the CPU.

    Raises:
        CatalogError: as `stages.religious_bias.mlm.mask_id_prompt`, or a form the tokenizer has no tokens for or joins with the text
        around it.
    """
    if convention not in CONVENTIONS:
        raise CatalogError(f"Unknown convention {convention!r}; choose {' or '.join(CONVENTIONS)}.")
    if tokenizer.mask_token is None:
        raise CatalogError("This tokenizer has no mask token; score the prompts with causal_mask_logprobs.")
    own = _own_forms(texts, forms)
    result = torch.zeros(len(texts), len(own[0]) if own else 0)
    wanted: dict[tuple[int, ...], list[tuple[int, int, int, int]]] = {}  # input -> (prompt, form, position, token) to be read
    for n, (text, words) in enumerate(zip(texts, own, strict=True)):
        for f, (ids, span) in enumerate(_with_spans(tokenizer, text, words)):
            for i in span:
                hidden = range(i, span.stop) if convention == "left_to_right" else (i,)
                row = tuple(tokenizer.mask_token_id if t in hidden else token for t, token in enumerate(ids))
                wanted.setdefault(row, []).append((n, f, i, ids[i]))
    rows = list(wanted)
    places = [sorted({i for _, _, i, _ in wanted[row]}) for row in rows]
    for index, logprobs in place_logprobs(model, tokenizer, rows, places, max_tokens, desc):
        reads = wanted[rows[index]]
        at = [places[index].index(i) for _, _, i, _ in reads]
        values = logprobs[at, [token for *_, token in reads]].cpu()
        result[[n for n, *_ in reads], [f for _, f, *_ in reads]] += values  # an input is read once for each form
    return result


def causal_mask_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    forms: Sequence[str] | Sequence[Sequence[str]],
    *,
    max_tokens: int | None = None,
    desc: str | None = None,
) -> Tensor:
    """Log-likelihood (nats) of each prompt as a whole sentence with each form at its mask, under a causal LM.

    What all forms of a prompt share at its beginning is run once. A score holds the whole sentence, so only differences between the forms
    of one prompt say something about the forms; make them shares before two prompts are compared.

    Args:
        model, tokenizer: of `catalog.models.lm.load_lm`.
        texts, forms, max_tokens, desc: as for `form_logprobs`.

    Returns:
        ``(N, F)``, float32 on the CPU.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    own = _own_forms(texts, forms)
    filled = [fill(text, form)[0] for text, words in zip(texts, own, strict=True) for form in words]
    sentences = tokenizer(filled)["input_ids"] if filled else []
    sentences = [list(ids) if ids[:1] == [start] else [start, *ids] for ids in sentences]
    width = len(own[0]) if own else 0
    pairs, prefixes = [], []
    for n in range(len(texts)):
        group = sentences[n * width : (n + 1) * width]
        shared = _shared(group)
        prefixes.append(tuple(group[0][:shared]))
        pairs += [(ids[:shared], ids[shared:]) for ids in group]
    known = [prefix for prefix in dict.fromkeys(prefixes) if len(prefix) > 1]  # of the start alone there is nothing to score
    pairs += [(prefix[:1], prefix[1:]) for prefix in known]
    total = log_likelihood(model, tokenizer, pairs, max_tokens=max_tokens, desc=desc).total
    common = dict(zip(known, total[len(sentences) :].tolist(), strict=True))
    return total[: len(sentences)].view(len(texts), width) + torch.tensor([common.get(prefix, 0.0) for prefix in prefixes])[:, None]


def fill(text: str, form: str) -> tuple[str, int, int]:
    """A prompt with `form` for its mask, and where the form begins and ends; at the beginning of a sentence it gets a capital letter."""
    before, after = split_at_mask(text)
    if not form.strip():
        raise CatalogError(f"An empty form cannot fill the mask of {text!r}; give it at least one letter.")
    if before.rstrip(" \n\"'([“‘")[-1:] in ("", ".", "!", "?"):
        form = form[:1].upper() + form[1:]
    return before + form + after, len(before), len(before) + len(form)


def _own_forms(texts: Sequence[str], forms: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    """The forms of each prompt."""
    if all(isinstance(form, str) for form in forms):
        return [list(forms)] * len(texts)
    if len(forms) != len(texts) or len({len(words) for words in forms}) != 1:
        raise CatalogError(f"Give one list of forms, or as many forms for each of the {len(texts)} prompts.")
    return [list(words) for words in forms]


def _with_spans(tokenizer: Any, text: str, forms: list[str]) -> Iterator[tuple[list[int], range]]:
    """Token ids of the filled sentence of each form, and the positions of the form's tokens in it."""
    filled = [fill(text, form) for form in forms]
    encoded = tokenizer([sentence for sentence, _, _ in filled], return_offsets_mapping=True)
    for form, (sentence, start, end), ids, spans in zip(forms, filled, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        at = [t for t, (a, b) in enumerate(spans) if a < end and b > start]
        if not at or tokenizer.unk_token_id in [ids[t] for t in at]:
            raise CatalogError(f"The tokenizer has no tokens for {form!r}; leave the form out.")
        first, last = spans[at[0]][0], spans[at[-1]][1]  # some tokenizers count the space before a word as part of it
        if sentence[first:last].strip() != sentence[start:end].strip():
            raise CatalogError(f"The tokenizer joins {form!r} with the text around it in {sentence!r}; put a space around the mask.")
        yield list(ids), range(at[0], at[-1] + 1)


def _shared(group: list[list[int]]) -> int:
    """Length of the longest common beginning of some token sequences that leaves each at least one token."""
    limit = min(len(ids) for ids in group) - 1
    return next((t for t in range(limit) if len({ids[t] for ids in group}) > 1), limit)
