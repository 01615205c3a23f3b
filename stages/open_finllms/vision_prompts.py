"""What is asked about a chart: LLaVA-1.5's prompt with an image, and the same question without it.

A prompt ends where the answer begins, and an answer has a space before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.open_finllms.vision_letters import menu

IMAGE = "<image>"  # stands for all tokens of an image
OPEN = "open"  # asked for a word; else the name of a prompt of `vision_letters`


def asked(question: Mapping[str, Any], form: str) -> str:
    """The text of a row of `questions.parquet`, asked openly or as multiple choice."""
    return question["question"] if form == OPEN else menu(question["question"], question["options"], form)


def prompt(text: str, image: bool = True) -> str:
    """With a place for the image, or without."""
    return f"USER: {IMAGE}\n{text}\nASSISTANT:" if image else f"USER: {text}\nASSISTANT:"


def answer(question: Mapping[str, Any], form: str) -> str:
    """What stands behind the prompt in training: the word, or the letter as the prompt wants it."""
    letter = question["letter"]
    said = {OPEN: question["answer"], "json": f'{{"answer": "{letter}"}}', "letter": letter, "steps": f"The answer is {letter}."}
    return f" {said[form]}"
