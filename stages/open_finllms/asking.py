"""Ask a model the questions of a task: prompts of its file, cut where they are too long, answered greedily in batches by length.

A prompt that is too long is cut in one of two ways: `context` shortens the text that the question is about from its end, so that the
instruction and the question stay; `left` drops the first tokens, as the published code does, and the instruction is the first thing to go.
Both are counted. Questions of a conversation are asked turn by turn, with the model's own earlier answers in the later prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from catalog.base.errors import CatalogError
from catalog.models.inference import generate
from stages.open_finllms.score_numbers import by_turn, fill_turn
from stages.open_finllms.tasks import Task, prompts

CUTS = ("context", "left")
Ids = Callable[[str], Sequence[int]]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """A prompt as it is asked."""

    task: str
    id: str
    cut: str  # how it was cut, or would have been
    ids: tuple[int, ...]
    tokens: int  # of the whole prompt
    digest: str  # of the whole prompt

    @property
    def truncated(self) -> bool:
        """Whether it was cut."""
        return len(self.ids) < self.tokens


def question(task: str, row: Row, prompt: str, ids: Ids, longest: int, cut: str) -> Question:
    """A prompt of at most `longest` tokens.

    Raises:
        CatalogError: an unknown way to cut, or a prompt that is too long even without its context.
    """
    if cut not in CUTS:
        raise CatalogError(f"A long prompt is cut by {' or '.join(CUTS)}, not by {cut!r}.")
    whole = tuple(ids(prompt))
    kept = whole if len(whole) <= longest else whole[-longest:] if cut == "left" else _without_end(task, row, prompt, ids, longest)
    return Question(task, str(row["id"]), cut, kept, len(whole), sha256(prompt.encode()).hexdigest()[:16])


def _without_end(task: str, row: Row, prompt: str, ids: Ids, longest: int) -> tuple[int, ...]:
    """The prompt with as much of its context as fits, by words."""
    before, context, after = parts(row, prompt)
    words = context.split(" ")
    low, high = 0, len(words)  # `low` words fit, if anything does
    if len(ids(before + after)) > longest:
        raise CatalogError(
            f"Question {row['id']} of {task} has {len(ids(before + after))} tokens without its context, and {longest} are allowed; "
            "raise answers.longest."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(ids(before + " ".join(words[:middle]) + after)) <= longest else (low, middle)
    return tuple(ids(before + " ".join(words[:low]) + after))


def parts(row: Row, prompt: str) -> tuple[str, str, str]:
    """What stands before the context, the context, and what stands after it.

    The context is the row's column context or text where that is in the prompt; otherwise all but the first and the last line, as the
    published prompts have the instruction in the first line and "Answer:" in the last one.
    """
    for name in ("context", "text"):
        text = row.get(name)
        if isinstance(text, str) and text and text in prompt:
            at = prompt.rindex(text)
            return prompt[:at], text, prompt[at + len(text) :]
    first, last = prompt.find("\n"), prompt.rfind("\n")
    if first == last:
        return "", prompt, ""
    return prompt[: first + 1], prompt[first + 1 : last], prompt[last:]


def ask(
    model: Any,
    tokenizer: Any,
    asked: Sequence[tuple[Task, Sequence[Row], Sequence[Row]]],
    ids: Ids,
    longest: int,
    batch_tokens: int | None = None,
    desc: str | None = None,
) -> list[tuple[Question, str]]:
    """Every question with its answer; a prompt that is too long is asked twice, once for each way to cut it.

    Args:
        asked: (task, its rows as `tasks.prepared` gives them, rows that examples are drawn from).
        ids: tokens of a prompt.
    """
    waiting: dict[tuple[int, tuple[str, ...]], list[Question]] = defaultdict(list)
    answered: list[tuple[Question, str]] = []
    for task, rows, examples in asked:
        limits = int(task.generation_kwargs["max_gen_toks"]), tuple(task.generation_kwargs.get("until") or ())
        texts = prompts(task, rows, examples)
        if task.scorer == "conversations":
            answered += _conversations(model, tokenizer, task, rows, texts, ids, longest, batch_tokens)
            continue
        for row, prompt in zip(rows, texts, strict=True):
            found = [question(task.task, row, prompt, ids, longest, "context")]
            if found[0].truncated:
                found.append(question(task.task, row, prompt, ids, longest, "left"))
            waiting[limits] += found
    for (new, stop), found in waiting.items():
        outputs = generate(model, tokenizer, [one.ids for one in found], new, stop=stop, max_tokens=batch_tokens, desc=desc)
        answered += zip(found, outputs, strict=True)
    return answered


def _conversations(model, tokenizer, task: Task, rows, texts, ids: Ids, longest: int, batch_tokens) -> list[tuple[Question, str]]:
    """Turn by turn; a conversation's answers go into its own later prompts only."""
    prompt_of = {str(row["id"]): text for row, text in zip(rows, texts, strict=True)}
    given: dict[str, list[str]] = defaultdict(list)
    answered = []
    new, stop = int(task.generation_kwargs["max_gen_toks"]), tuple(task.generation_kwargs.get("until") or ())
    for turn in by_turn(rows):
        found = [
            question(task.task, row, fill_turn(prompt_of[str(row["id"])], given[str(row["dialogue_id"])]), ids, longest, "context")
            for row in turn
        ]
        outputs = generate(model, tokenizer, [one.ids for one in found], new, stop=stop, max_tokens=batch_tokens)
        for row, output in zip(turn, outputs, strict=True):
            given[str(row["dialogue_id"])].append(output.strip())
        answered += zip(found, outputs, strict=True)
    return answered
