"""What simplification did to a document: operations on its sentences, copying, length, and facts kept, lost and made up.

All of it compares the words of source and output, without references and without a model. Meaning preservation shows in `faithfulness`
(numbers, names, content words), the amount of change in `operations` and `copying`; the two pull against each other and are separate axes
(Cripwell et al. 2024). A word counts in the form in which it stands: an inflected or replaced word is an added one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from stages.simdoc.text import content_words, ngrams, numbers, sentences, words

ALIGNED = 0.5  # share of the content words of the shorter of two sentences that the other must hold
OPERATIONS = ("deleted", "copied", "split", "merged", "rewritten")
TOTALS = ("words_source", "words_output", "sentences_source", "sentences_output")


def document(source: str, output: str) -> dict[str, int | float | None]:
    """Everything this module measures of one document, flat; undefined shares are None."""
    return {**operations(source, output), **copying(source, output), **faithfulness(source, output)}


def corpus(rows: Sequence[dict[str, int | float | None]]) -> dict[str, float | None]:
    """Means of the fields over documents (None left out); the compression ratio is that of all words."""
    means = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows if row[name] is not None]
        means[name] = float(np.mean(values)) if values else None
    before = sum(row["words_source"] for row in rows)
    return means | ({"compression": sum(row["words_output"] for row in rows) / before} if before else {})


# --- sentences --------------------------------------------------------------------------------------------------------------------------


def align(source: Sequence[str], output: Sequence[str]) -> np.ndarray:
    """Which sentences of the output come from which of the source: (n, m) bool.

    Two sentences can belong together if one holds at least `ALIGNED` of the content words of the other (of all words, where one has no
    content words). Each sentence of either side is linked to its best partner: most shared content words, then the larger share of the
    union, then the nearest relative place. A split has several links in its row, a merge several in its column.
    """
    return _links(_merit(source, output))


def _merit(source: Sequence[str], output: Sequence[str]) -> np.ndarray:
    """How well each two sentences go together (n, m); -1 if they cannot."""
    n, m = len(source), len(output)
    if not n or not m:
        return np.zeros((n, m))
    texts = (*source, *output)
    shared, sizes = _shared([set(content_words(text)) for text in texts], n)
    shared_all, sizes_all = _shared([{word.lower() for word in words(text)} for text in texts], n)
    bare = np.minimum(sizes[:n, None], sizes[n:]) == 0
    shared = np.where(bare, shared_all, shared)
    left, right = np.where(bare, sizes_all[:n, None], sizes[:n, None]), np.where(bare, sizes_all[n:], sizes[n:])
    smaller = np.minimum(left, right)
    fits = (smaller > 0) & (shared >= ALIGNED * smaller)
    union = np.maximum(left + right - shared, 1)
    distance = np.abs((np.arange(n)[:, None] + 0.5) / n - (np.arange(m) + 0.5) / m)
    # Each term is below the least difference of the one before, so it decides between equals alone.
    return np.where(fits, np.where(bare, 0, shared) + 0.9 * shared / union - 1e-6 * distance, -1.0)


def _links(merit: np.ndarray) -> np.ndarray:
    n, m = merit.shape
    links = np.zeros((n, m), dtype=bool)
    if n and m:
        links[np.arange(n), merit.argmax(axis=1)] = True
        links[merit.argmax(axis=0), np.arange(m)] = True
    return links & (merit > 0)


def operations(source: str, output: str) -> dict[str, int | float | None]:
    """Numbers of sentences and what became of those of the source, as shares that add up to 1.

    ``copied``: the same words stand as a sentence of the output; the others are aligned with what is not copied. ``deleted``: without a
    partner. ``merged``: its partner has another partner. ``split``: it has several partners. ``rewritten``: one partner and no other.
    ``new`` is the share of the output's sentences that have no partner in the whole source.
    """
    before, after = sentences(source), sentences(output)
    copied_before, copied_after = _copied(before, after)
    merit = _merit(before, after)
    links = _links(merit[np.ix_(~copied_before, ~copied_after)])
    partners, rivals = links.sum(axis=1), (links & (links.sum(axis=0) > 1)).any(axis=1)
    counts = (
        int((partners == 0).sum()),
        int(copied_before.sum()),
        int(((partners > 1) & ~rivals).sum()),
        int(((partners > 0) & rivals).sum()),
        int(((partners == 1) & ~rivals).sum()),
    )
    new = int((~_links(merit).any(axis=0) & ~copied_after).sum())
    return {
        "sentences_source": len(before),
        "sentences_output": len(after),
        **{name: _share(count, len(before)) for name, count in zip(OPERATIONS, counts, strict=True)},
        "new": _share(new, len(after)),
    }


def _shared(sets: list[set[str]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Words that each of the first n sets shares with each of the others, (n, m), and the sizes of all."""
    place = {word: i for i, word in enumerate(sorted(set().union(*sets)))}
    held = np.zeros((len(sets), len(place)), dtype=np.float32)
    for row, found in enumerate(sets):
        held[row, [place[word] for word in found]] = 1
    return (held[:n] @ held[n:].T).astype(np.float64), held.sum(axis=1, dtype=np.float64)


def _copied(before: list[str], after: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which sentences of either side stand on the other with the same words, each paired once and in order: (n,) and (m,) bool."""
    keys = [[tuple(word.lower() for word in words(text)) or (text,) for text in side] for side in (before, after)]
    common = Counter(keys[0]) & Counter(keys[1])
    found = []
    for side in keys:
        left = Counter(common)
        marks = np.zeros(len(side), dtype=bool)
        for place, key in enumerate(side):
            marks[place] = left[key] > 0
            left[key] -= 1
        found.append(marks)
    return found[0], found[1]


# --- words ------------------------------------------------------------------------------------------------------------------------------


def copying(source: str, output: str) -> dict[str, int | float | None]:
    """Length and copying, in lower-case words.

    ``compression``: words of the output over those of the source. ``copy_rate``: share of the output's words that the source has as well,
    each as often as there. ``novel_1`` to ``novel_4``: share of the different n-grams of the output that the source does not have.
    ``repetition``: share of the output's 4-grams that are repeats of an earlier one.
    """
    before, after = ([word.lower() for word in words(text)] for text in (source, output))
    shared = (Counter(before) & Counter(after)).total()
    grams = {n: ngrams(after, n) for n in range(1, 5)}
    return {
        "words_source": len(before),
        "words_output": len(after),
        "compression": _share(len(after), len(before)),
        "copy_rate": _share(shared, len(after)),
        **{f"novel_{n}": _share(len(grams[n].keys() - ngrams(before, n).keys()), len(grams[n])) for n in grams},
        "repetition": _share(grams[4].total() - len(grams[4]), grams[4].total()),
    }


def faithfulness(source: str, output: str) -> dict[str, int | float | None]:
    """Facts by their surface: different numbers, content words and names, each counted once.

    ``numbers_kept`` and ``numbers_lost`` count the source's numbers, ``numbers_new`` those that the output made up (`new_numbers`), and
    ``names_new`` its `new_names`. ``content_kept`` is the share of the source's content words in the output, ``content_new`` of the
    output's that the source lacks.
    """
    before, after = set(numbers(source)), set(numbers(output))
    ours, theirs = set(content_words(source)), set(content_words(output))
    return {
        "numbers_source": len(before),
        "numbers_kept": len(before & after),
        "numbers_lost": len(before - after),
        "numbers_new": len(after - before),
        "content_kept": _share(len(ours & theirs), len(ours)),
        "content_new": _share(len(theirs - ours), len(theirs)),
        "names_new": len(new_names(source, output)),
    }


def new_numbers(source: str, output: str) -> list[str]:
    """Numbers of the output, in digits or words, that stand nowhere in the source: hallucinated or wrong ones, in order of appearance."""
    known = set(numbers(source))
    return [number for number in dict.fromkeys(numbers(output)) if number not in known]


def new_names(source: str, output: str) -> list[str]:
    """Words of the output that look like parts of names and that the source does not have in any case, in order of appearance.

    A word looks like a name if it begins with a capital within a sentence, or has a second capital. The pronoun I does not, nor does a
    first word: a name that stands only there is missed.
    """
    known = {_bare(word).lower() for word in words(source)}
    found = []
    for sentence in sentences(output):
        # A quote within a sentence begins with a capital as well.
        starts = {match.start(1) for match in re.finditer(r"(?:^|[\"“‘(:])\W*(\w)", sentence)}
        for match in re.finditer(r"\w[\w.'’‑-]*", sentence):
            for word in words(match[0]):
                name = _bare(word)
                capital = name[:1].isupper() and match.start() not in starts or sum(map(str.isupper, name)) > 1
                if capital and name != "I" and name.lower() not in known:
                    found.append(name)
    return list(dict.fromkeys(found))


def _bare(word: str) -> str:
    """A word without a possessive or contracted ending."""
    return re.sub(r"['’]\w{0,2}$", "", word)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
