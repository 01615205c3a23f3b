"""Outputs of systems that learn nothing: what a trained simplifier has to beat.

`identity` and `reference` are the ends of the scale, `first_share` and `first_sentence` shorten without rewriting, `split_long` lowers
the Flesch-Kincaid grade without replacing a word, `compress` drops what a sentence can stand without, and `at_level` gives a person's
simplification to a level between. The rules of `compress` and `split_long` look at punctuation and single words, know no grammar, and
make mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import floor

import polars as pl

from catalog.base.errors import CatalogError
from stages.simdoc.text import paragraphs, sentences, words

MIN_WORDS = 4  # on both sides of a split, of what a shortened sentence keeps

_PARENTHESES = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\])")
_INSIDE = r"(?:[^,;:()]|,(?=\d))"  # a clause without commas but those of numbers
# Not before "and", "or", "but": then the comma belongs to a list.
_CLOSED = r"(?:\s*,(?=\s)(?!\s*(?:and|or|but)\b)|(?=\s*[.!?][\"')\]]*$))"
_RELATIVE = re.compile(rf"\s*,\s+(?:which|who|whom|whose|where)\b{_INSIDE}*?{_CLOSED}")
_APPOSITIVE = re.compile(r"\s*,\s+(?:an?|the)(?:\s+[^\s,;:.()]+){1,7}\s*,(?!\s*(?:and|or|but|an?|the)\b)")
_WHEN = "when|whenever|while|although|though|because|since|if|unless|until|once|after|before|as|whereas"
_LEADING = re.compile(rf"^(?:{_WHEN})\b{_INSIDE}*?,\s+(?!and\b|or\b)(.+)$", re.IGNORECASE | re.DOTALL)
_ADVERB = re.compile(r"^[A-Za-z]+ly\s*,\s+|\s*,\s+[a-z]+ly\s*,(?=\s)|\s[a-z]+ly(?=[\s.,;:!?])")
_NO_ADVERBS = frozenset(
    "ally anomaly apply assembly belly bodily bully butterfly chilly comply costly curly daily deadly early elderly family fly "
    "friendly ghostly goodly grizzly heavenly hilly holy homely hourly imply jelly jolly kindly leisurely likely lily lively lonely lovely "
    "lowly manly melancholy monopoly monthly multiply nightly only orderly quarterly rally rely reply scholarly sickly silly sly supply "
    "surly timely ugly unlikely unruly weekly worldly yearly".split()
)
_KEEPS = frozenset("and as best how least less more most not or so than too very".split())  # beside these an adverb stays
_BREAK = re.compile(r"\s*(?:,\s+(and|but|which)\s+|;\s+)")
_PLURAL = re.compile(r"(?:are|were|have|do)\b")  # after "which": it stands for several


def identity(text: str) -> str:
    """The source as it is."""
    return text


def first_share(text: str, share: float = 0.65) -> str:
    """The first ``share`` of the sentences, rounded down and at least one, in their paragraphs.

    Raises:
        CatalogError: a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise CatalogError(f"The share of sentences must be above 0 and at most 1, not {share}.")
    parts = [sentences(paragraph) for paragraph in paragraphs(text)]
    left = max(1, floor(share * sum(map(len, parts)) + 1e-9))
    kept = []
    for paragraph in parts:
        kept.append(" ".join(paragraph[:left]))
        left -= min(left, len(paragraph))
    return "\n\n".join(part for part in kept if part)


def first_sentence(text: str) -> str:
    """The first sentence alone: what scores are worth that a text gets for leaving nearly everything out."""
    return next(iter(sentences(text)), "")


def compress(text: str) -> str:
    """Each sentence without what it can stand without, by four rules in this order.

    1. Text in round or square brackets.
    2. Between commas, or from a comma to the end: a clause that begins with which, who, whom, whose or where; between commas, an apposition
       of at most eight words that begins with a, an or the.
    3. A clause at the beginning, up to its comma, after when, while, although, because, if and the like.
    4. Adverbs in -ly, unless they stand beside a word such as more, not or and.

    A rule that would leave fewer than `MIN_WORDS` words is not applied.
    """
    return _by_sentence(text, _compressed)


def split_long(text: str) -> str:
    """Each sentence cut at a semicolon and at ", and", ", but" and ", which" where both sides have at least `MIN_WORDS` words.

    "and" is dropped, "but" stays, "which" becomes "this" or, before are, were, have and do, "these". A list may be cut as well.
    """
    return _by_sentence(text, _split)


def at_level(pairs: pl.DataFrame, documents: pl.DataFrame, level: str) -> list[str | None]:
    """For each pair the text of its id at ``level``; null where there is none, or where it is the pair's source or target."""
    texts = {name: text for name, other, text in documents.select("id", "level", "text").iter_rows() if other == level}
    rows = pairs.select("id", "source_level", "target_level").iter_rows()
    return [None if level in (source, target) else texts.get(name) for name, source, target in rows]


def reference(pairs: pl.DataFrame) -> list[str]:
    """The target of each pair: the best output there is, and the ceiling of a score that gives it less than 100."""
    return pairs["target"].to_list()


RULES: dict[str, Callable[[str], str]] = {
    "identity": identity,
    "first 65 %": first_share,
    "first sentence": first_sentence,
    "compression": compress,
    "sentence splitting": split_long,
}


def outputs(pairs: pl.DataFrame, documents: pl.DataFrame, between: str | None = None) -> pl.DataFrame:
    """Outputs of every trivial system for every pair: system, id, source_level, target_level, output; systems in order, pairs in theirs.

    Args:
        between: level whose texts are the system of that name (see `at_level`); None leaves it out.
    """
    keys = pairs.select("id", "source_level", "target_level")
    made = {name: [rule(text) for text in pairs["source"]] for name, rule in RULES.items()}
    if between is not None:
        made[between] = at_level(pairs, documents, between)
    made["reference"] = reference(pairs)
    frames = [keys.select(pl.lit(name).alias("system"), pl.all(), pl.Series("output", texts, pl.String)) for name, texts in made.items()]
    return pl.concat(frames).drop_nulls("output")


# --- rules of a sentence ----------------------------------------------------------------------------------------------------------------


def _by_sentence(text: str, rule: Callable[[str], str]) -> str:
    made = (" ".join(rule(sentence) for sentence in sentences(paragraph)) for paragraph in paragraphs(text))
    return "\n\n".join(made)


def _compressed(sentence: str) -> str:
    upper = sentence[:1].isupper()
    for rule in (
        lambda part: _PARENTHESES.sub("", part),
        lambda part: _APPOSITIVE.sub("", _RELATIVE.sub("", part)),
        lambda part: _LEADING.sub(r"\1", part),
        lambda part: _ADVERB.sub(_drop_adverb, part),
    ):
        shorter = rule(sentence).strip()
        if shorter != sentence and len(words(shorter)) >= MIN_WORDS:
            sentence = shorter
    return _capital(sentence) if upper else sentence


def _drop_adverb(match: re.Match) -> str:
    adverb = match[0].strip(" ,").lower()
    before = re.search(r"([A-Za-z]*)\W*$", match.string[: match.start()])[1].lower()
    after = re.match(r"\W*([A-Za-z]*)", match.string[match.end() :])[1].lower()
    return match[0] if adverb in _NO_ADVERBS or {before, after} & _KEEPS else ""


def _split(sentence: str) -> str:
    tokenised = sentence.endswith(" .")
    upper = sentence[:1].isupper()
    parts, start, word = [], 0, None
    for match in _BREAK.finditer(sentence):
        left, right = sentence[start : match.start()], sentence[match.end() :]
        if min(len(words(left)), len(words(right))) >= MIN_WORDS:
            parts.append(_start(word, left) + left)
            start, word = match.end(), match[1]
    parts.append(_start(word, sentence[start:]) + sentence[start:])
    return (" . " if tokenised else ". ").join(_capital(part) if upper else part for part in parts)


def _start(word: str | None, rest: str) -> str:
    """What stands before the second part of a split sentence instead of the word it was split at."""
    if word == "which":
        return "these " if _PLURAL.match(rest) else "this "
    return "but " if word == "but" else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
