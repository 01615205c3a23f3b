"""Multiple choice as ChartBench and TableBench of the paper have it: three prompts, and a reader of the letter in an answer.

The paper lets GPT-4o-mini read the answers: A to D, or E if it finds none, which is wrong. Here rules read them, strictly: a letter that is
one of the question's own options, and only one. Where the paper prints the best of three prompts, `vision_scores` prints each, the mean and
the best.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

LETTERS, NONE = "ABCD", "E"
PROMPTS = {  # the paper's own with JSON, MMBench's for a letter alone, and FinTral's step by step; in words of ours
    "json": 'Choose the right option. Reply in JSON: {"answer": "letter"}.',
    "letter": "Answer with the option's letter from the given choices directly.",
    "steps": "Think step by step, then end with: The answer is (letter).",
}
_JSON = re.compile(r"\{[^{}]*\}")
_STATED = re.compile(
    r"(?:\b(?i:answer|option|choice|choose|select)(?i:s? is)?|答案|選擇?|选择?|答)\s*(?:[:：=]|是|為|为)?\s*"
    r"[\"'*(（【\[]*([A-Z])(?![A-Za-z'])"
    r"((?:\s*(?:[,、，/&]|and|or|和|或)\s*[(（]?[A-Z](?![A-Za-z]))*)"
)
_DENIED = re.compile(
    r"(?:\b(?i:not|never|neither|nor|isn't|rather than|instead of)(?: (?i:option|answer))?|不選|不选|不是|非)\s*[(（]?[A-Z](?![A-Za-z])"
)
_ALONE = re.compile(r"(?<![A-Za-z0-9$])[(（【\[*\"']*([A-Z])(?![A-Za-z0-9'])")
_ARTICLE = re.compile(r"(?<![A-Za-z(（])A(?= (?!(?:and|or|is|as|because|since|but)\b)[a-z])")
_FIRST = re.compile(r"^\s*[(（【\[*\"']*([A-Z])\s*(?:[).:：）】\]*\"']|$)")


def menu(question: str, options: Sequence[str], prompt: str) -> str:
    """A question with its options and what is asked for."""
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options))
    return f"{question}\n{listed}\n{PROMPTS[prompt]}"


def letter(text: str, options: int) -> str:
    """The one option that an answer names, or E.

    In this order: the value of "answer" in JSON; what follows words such as "answer is"; a letter that begins the text as "B." or "(B)" or
    is all of it; a letter that stands alone anywhere. Letters of words, the article "A", letters that are denied ("not A") and letters
    beyond the options do not count. Two different letters in the place where it is looked for are no answer.

    Args:
        options: how many the question has.
    """
    own = LETTERS[:options]
    for found in _JSON.findall(text):
        try:
            said = json.loads(found)
        except ValueError:
            continue
        if isinstance(said, dict) and (value := {key.lower(): said[key] for key in said}.get("answer")) is not None:
            return letter(value, options) if isinstance(value, str) else NONE
    text = _DENIED.sub(" ", text)
    bare = text.strip().strip(".()*\"'")
    if len(bare) == 1:
        return bare.upper() if bare.upper() in own else NONE
    text = _ARTICLE.sub(" ", text)
    stated = [name for first, more in _STATED.findall(text) for name in (first, *re.findall("[A-Z]", re.sub("and|or", "", more)))]
    places = (stated, _FIRST.findall(text), _ALONE.findall(text))
    for names in places:
        if kept := {name for name in names if name in own}:
            return kept.pop() if len(kept) == 1 else NONE
    return NONE
