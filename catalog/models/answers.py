"""Token ids of an answer as it stands behind its prompt.

An answer tokenised by itself may begin with another token than the model has to predict: Llama's tokenizer puts a space before every text,
so that "7" and "8" both begin with "▁". And where prompt and answer merge into one token (" " and "man" into " man"), a model that is
given the prompt is never asked for the answer's first token at all. In `answer_ids` both are tokenised together, and what follows the
prompt's own tokens is the answer. Where the border between the two is a token border by definition, as in training and in the scoring of
given pairs, `inner_ids` is enough: the tokens of a text behind any other one.
"""

from collections.abc import Sequence
from typing import Any

from catalog.base.errors import CatalogError

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # a space in the tokens of SentencePiece
_LINE = "\n"  # merges with no text behind it


def answer_ids(tokenizer: Any, prompt: str, answer: str, *, apart: bool = False) -> list[int]:
    """Ids of the tokens that follow `prompt` when `answer` stands behind it.

    Args:
        prompt: text up to where the answer begins, with the space between the two if the answer has none.
        apart: where prompt and answer merge into one token, take the answer's tokens as they are at the start of a line instead of
            refusing. Right only for a model that was trained with that border ("12-37=" and "-25", though "=-" is one token).

    Raises:
        CatalogError: the answer is empty, or it merges with the prompt and not `apart`.
    """
    before, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, prompt + answer))
    if both[: len(before)] == before:
        if len(both) == len(before):
            raise CatalogError(f"The answer behind {prompt!r} is empty; give it at least one character.")
        return both[len(before) :]
    if not apart:
        raise CatalogError(
            f"The tokenizer merges the end of {prompt!r} with the answer {answer!r}; move the space between them from one to the other."
        )
    return inner_ids(tokenizer, [answer])[0]


def inner_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text as it stands behind another one.

    A tokenizer such as Llama's puts a space before every text, which here would be a token too many or a space that is not there; with any
    other one these are the text's own ids.
    """
    own = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    spaced = [i for i, ids in enumerate(own) if ids and str(tokenizer.convert_ids_to_tokens(ids[0])).startswith(SPACE)]
    if spaced:
        line, *behind = tokenizer([_LINE, *(_LINE + texts[i] for i in spaced)], add_special_tokens=False)["input_ids"]
        for i, ids in zip(spaced, behind, strict=True):
            own[i] = ids[len(line) :] if ids[: len(line)] == line else own[i]
    return own


def next_token(tokenizer: Any, prompt: str, answer: str, *, apart: bool = False) -> int:
    """Id of the first token of `answer` behind `prompt`: what a model that is given the prompt has to predict. See `answer_ids`."""
    return answer_ids(tokenizer, prompt, answer, apart=apart)[0]
