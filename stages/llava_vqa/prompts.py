"""What the models are asked: LLaVA-1.5's prompt with an image, and the same question about a text.

A prompt ends where the answer begins. The answer has a space before it, so that its first token is a word's own.
"""

from __future__ import annotations

from catalog.base.errors import CatalogError

IMAGE = "<image>"  # stands for all tokens of an image


def with_image(question: str) -> str:
    """A question about an image."""
    return f"USER: {IMAGE}\n{_clean(question)}\nASSISTANT:"


def with_text(text: str, question: str) -> str:
    """The same question about a text that says what is in the image."""
    return f"USER: {_clean(text)}\n{_clean(question)}\nASSISTANT:"


def without(question: str) -> str:
    """The question alone, with nothing to look at."""
    return f"USER: {_clean(question)}\nASSISTANT:"


def answer(word: str) -> str:
    """What stands behind the prompt."""
    return f" {word}"


def _clean(text: str) -> str:
    if IMAGE in text:
        raise CatalogError(f"A question or text must not hold {IMAGE}, which stands for the image; remove it.")
    return text.strip()
