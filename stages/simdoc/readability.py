"""Readability formulas from counts of sentences, words, syllables and letters, of a document or over a corpus.

With W words, S sentences, Y syllables, L letters and digits, and P words of three and more syllables:

    FKGL            0.39 W/S + 11.8 Y/W - 15.59                 Kincaid et al. 1975, a school grade
    reading ease    206.835 - 1.015 W/S - 84.6 Y/W              Flesch 1948, higher is easier
    Gunning fog     0.4 (W/S + 100 C/W)                         Gunning 1952; C: P without names and without -ed, -es, -ing
    SMOG            1.0430 sqrt(30 P/S) + 3.1291                McLaughlin 1969, meant for 30 sentences and more
    Coleman-Liau    5.88 L/W - 29.6 S/W - 15.8                  Coleman and Liau 1975
    ARI             4.71 L/W + 0.5 W/S - 21.43                  Senter and Smith 1967
    Dale-Chall      0.1579 D + 0.0496 W/S (+ 3.6365 if D > 5)   Dale and Chall 1948; D: per cent of words off the list of easy words

Over a corpus the counts are summed first, so long documents weigh more. Cutting a document short lowers none of them; splitting its
sentences does. A value without any sentence or word is None.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from catalog.base.errors import CatalogError
from stages.simdoc.text import is_latin, sentences, syllables, words

METRICS = ("fkgl", "fkgl_clamped", "reading_ease", "gunning_fog", "smog", "coleman_liau", "ari", "sentence_length", "type_token_ratio")
Cut = Callable[[str], list[str]]


@dataclass(frozen=True)
class Counts:
    """What the formulas need of a text; counts of several texts can be added."""

    sentences: int
    words: int
    syllables: int = 0
    characters: int = 0  # letters and digits
    polysyllables: int = 0  # words of three and more syllables
    complex_words: int = 0  # of these, no names, and three syllables without -ed, -es and -ing

    def __add__(self, other: Counts) -> Counts:
        mine, theirs = asdict(self), asdict(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})


def counts(text: str, split: Cut = sentences, tokenise: Cut = words) -> Counts:
    """`Counts` of a text; a sentence or a token without a letter or digit does not count.

    A text most of whose letters are not Latin has no counts, so that it gets no grade: the rules of words and syllables are for English.
    (They cannot tell English from other languages in Latin letters.)
    """
    if not is_latin(text):
        return Counts(0, 0)
    cut = ([word for word in tokenise(part) if any(map(str.isalnum, word))] for part in split(text))
    parts = [found for found in cut if found]
    every = [word for found in parts for word in found]
    long = [(word, place) for found in parts for place, word in enumerate(found) if syllables(word) > 2]
    return Counts(
        sentences=len(parts),
        words=len(every),
        syllables=sum(map(syllables, every)),
        characters=sum(map(str.isalnum, "".join(every))),
        polysyllables=len(long),
        complex_words=sum(_is_complex(word, place) for word, place in long),
    )


def _is_complex(word: str, place: int) -> bool:
    if place and word[0].isupper():
        return False
    ending = next((ending for ending in ("ing", "ed", "es") if word.lower().endswith(ending)), "")
    return not ending or syllables(word[: -len(ending)]) > 2


# --- formulas ---------------------------------------------------------------------------------------------------------------------------


def fkgl(c: Counts, clamped: bool = False) -> float | None:
    """Flesch-Kincaid grade level; ``clamped``: at least 0.

    EASSE clamps at 0 as well, but its grade is another one: it counts the marks of punctuation, which its tokeniser parts, as words.
    """
    if not c.words:
        return None
    grade = 0.39 * c.words / c.sentences + 11.8 * c.syllables / c.words - 15.59
    return max(0.0, grade) if clamped else grade


def reading_ease(c: Counts) -> float | None:
    """Flesch reading ease."""
    return 206.835 - 1.015 * c.words / c.sentences - 84.6 * c.syllables / c.words if c.words else None


def gunning_fog(c: Counts) -> float | None:
    """Gunning fog index."""
    return 0.4 * (c.words / c.sentences + 100 * c.complex_words / c.words) if c.words else None


def smog(c: Counts) -> float | None:
    """SMOG grade."""
    return 1.0430 * (30 * c.polysyllables / c.sentences) ** 0.5 + 3.1291 if c.words else None


def coleman_liau(c: Counts) -> float | None:
    """Coleman-Liau index."""
    return 5.88 * c.characters / c.words - 29.6 * c.sentences / c.words - 15.8 if c.words else None


def ari(c: Counts) -> float | None:
    """Automated readability index."""
    return 4.71 * c.characters / c.words + 0.5 * c.words / c.sentences - 21.43 if c.words else None


def dale_chall(text: str, easy: Collection[str], split: Cut = sentences) -> float | None:
    """Dale-Chall score. Words of ``easy`` with a regular ending are easy too, as are numbers and capitalised words within a sentence."""
    parts = [found for sentence in split(text) if (found := words(sentence))]
    total = sum(map(len, parts))
    if not total:
        return None
    hard = sum(not _is_easy(word, place, easy) for part in parts for place, word in enumerate(part))
    share = 100 * hard / total
    return 0.1579 * share + 0.0496 * total / len(parts) + (3.6365 if share > 5 else 0.0)


def _is_easy(word: str, place: int, easy: Collection[str]) -> bool:
    if word[:1].isdigit() or place and word[:1].isupper():
        return True
    word = word.lower().replace("’", "'").removesuffix("'s")
    if "-" in word:
        return all(_is_easy(part, 0, easy) for part in word.split("-"))
    forms = {word}
    for ending in ("s", "es", "d", "ed", "ing", "er", "est", "ly"):
        stem = word.removesuffix(ending)
        if stem != word:
            doubled = stem[:-1] if stem[-1:] == stem[-2:-1] else stem
            forms |= {stem, doubled, stem + "e", stem[:-1] + "y" if stem.endswith("i") else stem}
    return any(form in easy for form in forms)


def easy_words() -> frozenset[str]:
    """The 2,900 easy words of Dale and Chall out of an installed textstat, which is not imported: nothing is downloaded.

    Raises:
        CatalogError: textstat is not installed.
    """
    spec = importlib.util.find_spec("textstat")
    path = Path(spec.origin).parent / "resources" / "en" / "easy_words.txt" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise CatalogError("The list of easy words comes with textstat; run `pip install textstat==0.7.13`.")
    return frozenset(path.read_text(encoding="utf-8").lower().split())


# --- all of them ------------------------------------------------------------------------------------------------------------------------


def type_token_ratio(text: str) -> float | None:
    """Different words over words, in lower case. It falls with the length of a text: compare texts of one length."""
    found = [word.lower() for word in words(text)]
    return len(set(found)) / len(found) if found else None


def readability(
    texts: Sequence[str], split: Cut = sentences, tokenise: Cut = words
) -> tuple[dict[str, float | None], list[dict[str, float | None]]]:
    """All of `METRICS` over a corpus, and of each document.

    Over the corpus the formulas take the summed counts; the type-token ratio is the mean over the documents.
    """
    each = [counts(text, split, tokenise) for text in texts]
    ratios = [type_token_ratio(text) for text in texts]
    defined = [ratio for ratio in ratios if ratio is not None]
    whole = _all(sum(each, start=Counts(0, 0)), sum(defined) / len(defined) if defined else None)
    return whole, [_all(c, ratio) for c, ratio in zip(each, ratios)]


def _all(c: Counts, ratio: float | None) -> dict[str, float | None]:
    length = c.words / c.sentences if c.sentences else None
    values = (fkgl(c), fkgl(c, clamped=True), reading_ease(c), gunning_fog(c), smog(c), coleman_liau(c), ari(c), length, ratio)
    return dict(zip(METRICS, values, strict=True))
