"""A language model as the one who decides: the functions that `agent.play` is given.

Two readings of the same model. `by_text` is what the paper does: the answer is generated, and `actions.parse` reads it; a small model often
names no action, which is counted. `by_likelihood` asks which of the three words buy, hold and sell is the likeliest answer, so that every
model has an opinion. A model may like one word whatever it reads: `plain` takes off what each word gets from the question alone (Zhao et
al. 2021, contextual calibration), so that what is left comes from the notes.

An instruction that all prompts share (``system``) goes in front of them, as the system message of a chat model. Where each action is one
token of the model, as it is in most vocabularies, its likelihood is one number of the last position, and the instruction is read once
(`prefix.py`).

Equal prompts are answered once. Seeds differ only in the importance of memories, so many of their prompts are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from catalog.models.answers import inner_ids
from catalog.models.inference import chat_ids, generate, log_likelihood
from stages.open_finllms.actions import ACTIONS
from stages.open_finllms.prefix import Reader, common
from stages.open_finllms.prompt import QUESTION
from stages.open_finllms.trader import Answer

Decide = Callable[[list[str]], list[Answer]]


def prompt_ids(tokenizer: Any, prompt: str, system: str | None = None) -> list[int]:
    """Token ids of a prompt up to where the answer begins: in the model's chat template, or as plain text for a model without one."""
    if tokenizer.chat_template is not None:
        said = [{"role": "user", "content": prompt}]
        return chat_ids(tokenizer, said if system is None else [{"role": "system", "content": system}, *said])
    front = "" if system is None else f"{system}\n\n"
    return tokenizer(f"{front}{prompt}\nAnswer:")["input_ids"]


def counter(tokenizer: Any, system: str | None = None) -> Callable[[str], int]:
    """Tokens of a prompt as the model reads it; the chat template is laid around one prompt only, to see what it adds."""
    around = len(prompt_ids(tokenizer, "Buy", system)) - len(tokenizer("Buy", add_special_tokens=False)["input_ids"])
    return lambda prompt: around + len(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def by_text(model: Any, tokenizer: Any, new_tokens: int = 6, temperature: float = 0.0, seed: int = 0, system: str | None = None) -> Decide:
    """Decide by the first line of the generated answer."""

    def answer(prompts: list[str]) -> list[Answer]:
        ids = [prompt_ids(tokenizer, prompt, system) for prompt in prompts]
        texts = generate(model, tokenizer, ids, new_tokens, temperature=temperature, seed=seed)
        return [Answer(next(iter(text.strip().splitlines()), "")) for text in texts]

    return once_each(answer)


def by_likelihood(model: Any, tokenizer: Any, plain: str | None = QUESTION, system: str | None = None) -> Decide:
    """Decide for the word with the highest log-probability, less the one that it has after ``plain``, unless that is None.

    A word counts as it is written in the question or with a capital. The answer's text is the word, and its scores are those of
    `actions.ACTIONS` that were compared.
    """
    lead = "" if tokenizer.chat_template is not None else " "
    words = [f"{lead}{form}" for word in ACTIONS for form in (word, word.capitalize())]
    tokens = inner_ids(tokenizer, words)
    single = all(len(ids) == 1 for ids in tokens)
    if single:
        columns = [ids[0] for ids in tokens]
        reader = Reader(model, common([prompt_ids(tokenizer, text, system) for text in ("Today: 1", "A note")]))

    def scores(prompts: list[str]) -> list[list[float]]:
        read = [prompt_ids(tokenizer, prompt, system) for prompt in prompts]
        if single:
            found = reader.next_token(read)[:, columns]
        else:
            found = log_likelihood(model, tokenizer, [(ids, word) for ids in read for word in words]).total
        return found.view(-1, len(ACTIONS), 2).logsumexp(-1).tolist()

    bias = [0.0] * len(ACTIONS) if plain is None else scores([plain])[0]

    def answer(prompts: list[str]) -> list[Answer]:
        found = []
        for values in scores(prompts):
            less = [value - own for value, own in zip(values, bias)]
            found.append(Answer(ACTIONS[less.index(max(less))], tuple(less)))
        return found

    return once_each(answer)


def once_each(answer: Decide) -> Decide:
    """Answer each different prompt once."""

    def decide(prompts: Sequence[str]) -> list[Answer]:
        different = list(dict.fromkeys(prompts))
        known = dict(zip(different, answer(different), strict=True)) if different else {}
        return [known[prompt] for prompt in prompts]

    return decide
