"""The simplifier: one model, two tasks told by their prefixes, from triples (complex text x, simple text y, reading level r of y).

    "simplify: " + x -> y            L_simp
    "read classify: " + y -> r       L_read, on the gold y

and L = L_simp + lambda_r L_read + lambda_c L_coh, the first two means of -log p over the answers' tokens of their task in a batch.
Coherence is scored on text that was predicted, so L_coh has no gradient of its own; what is done about it is its mode:

* ``none``: it is left out.
* ``constant``: the literal reading. 1 - c of the predicted text is added to the loss, whose gradient stays that of ``none``.
* ``reinforce``: self-critical (Rennie et al. 2017, section 3): -(c(sample) - c(greedy)) sum_t log p(sample_t).
* ``rerank``: nothing in training; the best of several samples when a text is written (`stages.simdoc.measure`).

A model is decoder-only (prompt, then answer in one text) or an encoder-decoder (T5, as in the paper); both are trained by
`catalog.training.train` with `make_loss` and `collate`. A long document is cut into its paragraphs (`chunks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl
import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.models.inference import chat_ids
from catalog.training.losses import Batch, label_log_probs, label_logits, tensors_of
from catalog.training.packing import IGNORE, pack
from stages.simdoc.settings import Train
from stages.simdoc.text import paragraphs

PREFIXES = {"simplify": "simplify: ", "classify": "read classify: "}
CUES = {"simplify": "\n\nsimple text:", "classify": "\n\nreading level:"}  # behind the text, for a decoder; ours
MODES = ("none", "constant", "reinforce", "rerank")
PARTS = ("simplify", "classify", "source", "sample")  # of a training example; `source` is classify on the complex text
SIMPLIFY, READ, SAMPLE = 0, 1, 2
TASKS = dict(zip(PARTS, (SIMPLIFY, READ, READ, SAMPLE)))


@dataclass(frozen=True)
class Triple:
    """One training pair with its levels; `simple` is y and `level` its reading level r."""

    id: str
    complex: str
    simple: str
    complex_level: str
    level: str


# --- texts ------------------------------------------------------------------------------------------------------------------------------


def pieces(text: str, unit: str) -> list[str]:
    """The parts in which a document is read: its paragraphs, or itself.

    Raises:
        CatalogError: another unit, or a document without text.
    """
    if unit not in ("paragraph", "document"):
        raise CatalogError(f"A document cannot be read by the {unit!r}; use paragraph or document.")
    found = paragraphs(text) if unit == "paragraph" else [text.strip()]
    if not "".join(found):
        raise CatalogError("An empty document cannot be simplified; remove it.")
    return found


def chunks(source: str, target: str, unit: str) -> list[tuple[str, str]]:
    """Training pairs of one document: paragraph by paragraph where their numbers agree, else the whole documents."""
    before, after = pieces(source, unit), pieces(target, unit)
    return list(zip(before, after)) if len(before) == len(after) else [(source, target)]


def triples(pairs: pl.DataFrame, unit: str) -> list[Triple]:
    """One triple for each chunk of each pair, in their order."""
    columns = ("id", "source", "target", "source_level", "target_level")
    return [
        Triple(name, before, after, hard, easy)
        for name, source, target, hard, easy in pairs.select(columns).iter_rows()
        for before, after in chunks(source, target, unit)
    ]


def task_text(task: str, text: str, level: str | None = None) -> str:
    """The input of a task; ``level`` puts the target level into the prefix: "simplify to elementary: "."""
    prefix = PREFIXES[task]
    return (prefix if level is None else f"{prefix.removesuffix(': ')} to {level}: ") + text


def is_seq2seq(model: Any) -> bool:
    """Whether a model is an encoder-decoder."""
    return bool(model.config.is_encoder_decoder)


def prompt_ids(tokenizer: Any, task: str, text: str, seq2seq: bool, limit: int = 0, level: str | None = None) -> tuple[list[int], int]:
    """Token ids of the prompt of a task, and how many tokens of ``text`` were cut off at ``limit`` (0: none are).

    An encoder reads prefix, text and its own end token. A decoder finds a cue behind the text as well. It is asked to simplify by the
    message of a user (`messages_ids`), and to classify by a plain text that the level completes: where only upper layers are trained, a
    prefix that stands a paragraph away does not tell the tasks apart, and a model that answers both in a turn of its own answers both with
    a level.
    """
    text, cut = shortened(tokenizer, text, limit)
    asked = task_text(task, text, level)
    if seq2seq:
        return tokenizer(asked)["input_ids"], cut
    asked += CUES[task]
    return (messages_ids(tokenizer, [asked]) if task == "simplify" else tokenizer(asked)["input_ids"]), cut


def shortened(tokenizer: Any, text: str, limit: int) -> tuple[str, int]:
    """``text`` cut after ``limit`` tokens (0: not cut), and how many were cut off."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not limit or len(ids) <= limit:
        return text, 0
    return tokenizer.decode(ids[:limit], skip_special_tokens=True), len(ids) - limit


def messages_ids(tokenizer: Any, turns: Sequence[str]) -> list[int]:
    """Token ids of what user and assistant say by turns, up to where the assistant answers, in the model's own chat template if it has one.

    The system's message is empty where the template has one: SmolLM2's own would be a third of a paragraph's prompt.
    """
    if tokenizer.chat_template is None:
        return tokenizer("\n".join([*turns, ""]))["input_ids"]
    first = [{"role": "system", "content": ""}] if "system" in tokenizer.chat_template else []
    return chat_ids(tokenizer, [*first, *({"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns))])


# --- examples ---------------------------------------------------------------------------------------------------------------------------


def classified(found: Sequence[Triple], p: Train, seed: int | Sequence[int]) -> tuple[set[tuple[int, str]], dict[str, tuple[int, int]]]:
    """Which texts the readability objective learns to classify: every level equally often.

    A text that stands in several triples is taken in the first of them. Of each level as many texts are drawn at random as the rarest level
    has, divided by ``p.read_every`` and rounded up. Every so many-th text of a list would not do: simple and complex texts take turns in
    it, and so do the paragraphs of documents, so that one level may never be met.

    Returns:
        (number of the triple, ``classify`` or ``source``) of each; and by level, in order of appearance, the number of its texts and of
        those that are classified.
    """
    places: dict[str, list[tuple[int, str]]] = {}
    seen: set[tuple[str, str]] = set()
    for number, triple in enumerate(found):
        texts = {"classify": (triple.simple, triple.level), "source": (triple.complex, triple.complex_level)}
        for part, (text, level) in texts.items():
            if (part == "classify" or p.read_sources) and (text, level) not in seen:
                seen.add((text, level))
                places.setdefault(level, []).append((number, part))
    count = -(-min(map(len, places.values()), default=0) // p.read_every)
    chosen = set()
    for level, there in places.items():
        rng = np.random.default_rng([*np.atleast_1d(seed).tolist(), 13, crc32(level.encode())])
        chosen |= {there[i] for i in rng.permutation(len(there))[:count].tolist()}
    return chosen, {level: (len(there), count) for level, there in places.items()}


def encode(
    tokenizer: Any, found: Sequence[Triple], p: Train, seq2seq: bool, seed: int | Sequence[int] = 0
) -> tuple[list[dict[str, list[int]]], dict[str, int]]:
    """One example for each triple, with keys ``<part>_input_ids`` and ``<part>_labels`` for the parts simplify, classify and source.

    Decoder: the ids are prompt and answer, the labels -100 in the prompt. Encoder-decoder: the ids are the input, the labels the answer.
    Every answer ends with the end token. ``classify`` and ``source`` (where ``p.read_sources`` is on) are there for the texts of
    `classified`, which ``seed`` draws.

    Returns:
        The examples; and counts: triples, classified (texts), tokens, tokens_cut (of sources and targets beyond the limits), triples_cut.
    """
    chosen, _ = classified(found, p, seed)
    examples, counts = [], {"triples": len(found), "classified": len(chosen), "tokens": 0, "tokens_cut": 0, "triples_cut": 0}
    for number, triple in enumerate(found):
        level = triple.level if p.name_level else None
        asked = {
            "simplify": ("simplify", triple.complex, level, triple.simple),
            "classify": ("classify", triple.simple, None, triple.level),
            "source": ("classify", triple.complex, None, triple.complex_level),
        }
        example, lost = {}, 0
        for part, (task, text, named, answer) in asked.items():
            if part != "simplify" and (number, part) not in chosen:
                continue
            prompt, cut = prompt_ids(tokenizer, task, text, seq2seq, p.max_source, named)
            ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
            if p.max_target and len(ids) > p.max_target:
                lost += len(ids) - p.max_target
                ids = ids[: p.max_target]
            lost += cut if part == "simplify" else 0
            example |= answered(part, prompt, [*ids, tokenizer.eos_token_id], seq2seq)
        counts["tokens"] += sum(len(value) for key, value in example.items() if key.endswith("input_ids"))
        counts["tokens_cut"] += lost
        counts["triples_cut"] += lost > 0
        examples.append(example)
    return examples, counts


def answered(part: str, prompt: list[int], answer: list[int], seq2seq: bool) -> dict[str, list[int]]:
    """The two keys of one part of an example."""
    if seq2seq:
        return {f"{part}_input_ids": prompt, f"{part}_labels": answer}
    return {f"{part}_input_ids": [*prompt, *answer], f"{part}_labels": [*[IGNORE] * len(prompt), *answer]}


def without(examples: Sequence[Mapping[str, Any]], *parts: str) -> list[dict[str, Any]]:
    """The examples without some of their parts."""
    prefixes = tuple(f"{part}_" for part in parts)
    return [{key: value for key, value in example.items() if not (prefixes and key.startswith(prefixes))} for example in examples]


def collate(width: int, seq2seq: bool, pad: int = 0) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
    """A `collate` for `catalog.training.train`: every part of every example becomes an example of the batch.

    The batch has `task` (n,), and `advantage` (n,) where examples have one (`reinforce`), by the index that `example` gives to each token.
    """

    def put(examples: Sequence[Mapping[str, Any]]) -> Batch:
        flat, tasks, advantages = [], [], []
        for part in PARTS:
            for example in examples:
                if f"{part}_input_ids" in example:
                    names = ("input_ids", "labels", "hidden")
                    flat.append({name: example[f"{part}_{name}"] for name in names if f"{part}_{name}" in example})
                    tasks.append(TASKS[part])
                    advantages.append(float(example.get("advantage", 0.0)) if part == "sample" else 0.0)
        batch = _sides(flat, pad) if seq2seq else tensors_of(pack(flat, width))
        return batch | {"task": torch.tensor(tasks), "advantage": torch.tensor(advantages)}

    return put


def _sides(flat: Sequence[Mapping[str, Any]], pad: int) -> Batch:
    """Inputs and answers of an encoder-decoder, padded behind."""

    def rows(name: str, fill: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(item[name]) for item in flat], batch_first=True, padding_value=fill)

    ids = rows("input_ids", pad)
    lengths = torch.tensor([len(item["input_ids"]) for item in flat])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": rows("labels", IGNORE)}


# --- losses -----------------------------------------------------------------------------------------------------------------------------


def answer_logits(model: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """(N, V) logits, (N,) labels and (N,) indices of the examples of all answer tokens of a batch of `collate`."""
    if "example" in batch:
        return label_logits(model, batch)
    logits, found = _decoded(model, batch)
    return logits[found].float(), batch["labels"][found], found.nonzero()[:, 0]


def answer_log_probs(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """(N,) log-probabilities of all answer tokens and (N,) indices of the examples they belong to."""
    if "example" in batch:
        return label_log_probs(model, batch)
    logits, labels, example = answer_logits(model, batch)
    return logits.log_softmax(-1).gather(-1, labels[:, None])[:, 0], example


def _decoded(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).logits
    return logits, batch["labels"] != IGNORE


def task_losses(log_probs: Tensor, example: Tensor, task: Tensor) -> dict[int, Tensor]:
    """Mean of -log p over the answer tokens of each task that a batch has.

    Args:
        log_probs, example: (N,), of `answer_log_probs`.
        task: (n,) of each example.
    """
    each = task[example]
    return {kind: -log_probs[each == kind].mean() for kind in (SIMPLIFY, READ) if bool((each == kind).any())}


def reinforce_loss(log_probs: Tensor, example: Tensor, advantage: Tensor, sampled: Tensor) -> Tensor:
    """Self-critical loss: -A_i sum_t log p(sample_i,t), the mean over samples i, with A_i = c(sample_i) - c(greedy_i).

    Where sample and greedy text score the same the gradient is zero. Texts that are no sample do not count.

    Args:
        log_probs, example: (N,), of `answer_log_probs`.
        advantage: (n,) of each example; sampled: (n,) bool.
    """
    sums = log_probs.new_zeros(len(advantage)).index_add(0, example, log_probs)
    return -(advantage * sums)[sampled].sum() / sampled.sum().clamp(min=1)


def make_loss(
    lambda_r: float, lambda_c: float, mode: str, predicted: Callable[[list[list[int]]], Sequence[float]] | None = None
) -> Callable[[Any, Batch], Tensor]:
    """The `loss_fn` of a variant: L = L_simp + lambda_r L_read + lambda_c L_coh.

    Args:
        mode: of `MODES`; rerank trains as none does.
        predicted: mode constant: c of texts, each given by its token ids: the most probable token at each place of the gold answer.

    Raises:
        CatalogError: an unknown mode, or constant without `predicted`.
    """
    if mode not in MODES:
        raise CatalogError(f"There is no coherence mode {mode!r}; use {', '.join(MODES)}.")
    if mode == "constant" and predicted is None:
        raise CatalogError("Coherence mode constant needs a model that scores the predicted texts; give one.")

    def loss(model: Any, batch: Batch) -> Tensor:
        if mode == "constant":
            logits, labels, example = answer_logits(model, batch)
            log_probs = logits.log_softmax(-1).gather(-1, labels[:, None])[:, 0]
        else:
            log_probs, example = answer_log_probs(model, batch)
        found = task_losses(log_probs, example, batch["task"])
        total = found.get(SIMPLIFY, log_probs.new_zeros(())) + lambda_r * found.get(READ, log_probs.new_zeros(()))
        if mode == "reinforce":
            total = total + lambda_c * reinforce_loss(log_probs, example, batch["advantage"], batch["task"] == SAMPLE)
        if mode == "constant":
            best = logits.detach().argmax(-1)
            texts = [best[example == i].tolist() for i in (batch["task"] == SIMPLIFY).nonzero()[:, 0].tolist()]
            scores = predicted(texts) if texts else [1.0]
            total = total + lambda_c * (1.0 - sum(scores) / len(scores))
        return total

    return loss
