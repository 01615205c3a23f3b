"""Documents as text: cut into paragraphs, sentences and tokens by fixed rules that need no download.

Every score of a simplified document depends on these rules by a point or two, so each has a name to be published beside the score:

- `sentences`: the rules of this module: abbreviations, initials, decimals, quotes, wrapped lines.
- `simple_sentences`: a break after . ! or ? and white space, and at line ends. What most published scripts do.
- `tokens_13a`: lower case and the 13a tokeniser of sacreBLEU, as EASSE scores SARI. `tokens_space`: lower case, cut at white space;
  `tokens_single_spaces`: cut at every single space, as the released script of D-SARI does.
- `words`: for readability, without punctuation. `syllables`: groups of vowels.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from catalog.base.errors import CatalogError

# --- paragraphs and sentences -----------------------------------------------------------------------------------------------------------

_WRAPPED = 120  # characters; no one wraps text by hand at more
_TITLES = "adm brig capt col cpl dr drs fr gen gov hon lt maj messrs mr mrs ms mx mt pres prof rep rev revd sen sgt supt"
_NEVER = frozenset(f"{_TITLES} al approx ca cf e.g eg i.e ie viz vs v".split())
_BEFORE_NUMBER = frozenset("art ch eq fig figs no nos p pp para sec vol".split())
_MAYBE = frozenset(
    "a.m p.m b.c a.d b.sc m.sc ph.d u.s u.k u.n d.c co corp inc ltd plc bros jr sr st etc est dept ave blvd rd ft "
    "jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
# After an abbreviation that may end a sentence, a sentence begins only with one of these: names begin with a capital as well.
_STARTERS = frozenset(
    "a after all although an and another any are as at because before both but by can could did do does during each even every few for "
    "from had has have he her here his how however i if in is it its just later many most my new no not now of on once one only or other "
    "our over people researchers scientists several she should since so some such than that the their then there these they this those "
    "though to today under until was we were what when where whether which while who why with would yes yet you your".split()
)
# Before white space; or, where it was forgotten, between a small letter and a capital ("ended.The").
_END = re.compile(r"(?P<mark>[.!?…]+)(?P<close>[\"'”’»)\]]*)(?=\s|(?<=[a-z][a-z][.!?])[A-Z](?:[a-z]|\s))")
_ENDINGS = frozenset("com org net edu gov io js ai tv".split())  # of addresses and names of software
_OPENERS = "\"'“‘«([{¿¡-–—*•` "


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a document: its lines, since most files hold one paragraph a line; lines wrapped at a width are joined.

    Three or more lines count as wrapped if none had room for the first word of the next and at least half of them begin with a small
    letter: the items of a list begin with capitals, figures or bullets, and their lengths say nothing. A line also goes on where it ends
    without a closing mark and the next begins with a small letter, or ends in a comma.
    """
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [" ".join(line.split()) for line in block.splitlines() if line.strip()]
        if not lines:
            continue
        width = max(map(len, lines))
        full = all(len(line) + 1 + len(after.split()[0]) > width for line, after in zip(lines, lines[1:]))
        goes_on = 2 * sum(line[0].islower() for line in lines[1:]) >= len(lines) - 1
        if len(lines) > 2 and width <= _WRAPPED and full and goes_on:
            found.append(" ".join(lines))
            continue
        found.append(lines[0])
        for line in lines[1:]:
            if found[-1].endswith(",") or (line[0].islower() and found[-1][-1].isalnum() and not text.islower()):
                found[-1] += " " + line
            else:
                found.append(line)
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a document by rule, none of which crosses a paragraph.

    A sentence ends at . ! ? or … and closing quotes or brackets, before white space and a capital, a digit or a quote; the white space may
    be missing between a small letter and a capital, except in addresses. It does not end after titles, initials, "e.g." and the like, nor
    after "No." before a number; after abbreviations such as "U.S." or "Inc." it ends only before a usual first word ("The", "He"). In a
    text without capitals a small letter begins a sentence as well.
    """
    cased = any(character.isupper() for character in text)
    found: list[str] = []
    for paragraph in paragraphs(text):
        first, start = len(found), 0
        for match in [*_END.finditer(paragraph), None]:
            if match is not None and not _is_end(paragraph, match, start, cased):
                continue
            end = len(paragraph) if match is None else match.end()
            part, start = paragraph[start:end].strip(), end
            if len(found) > first and not any(character.isalnum() for character in part):
                found[-1] = f"{found[-1]} {part}".strip()  # closing marks of a tokenised text stand alone
            elif part:
                found.append(part)
    return found


def _is_end(text: str, match: re.Match, start: int, cased: bool) -> bool:
    after = text[match.end() :].lstrip(_OPENERS)
    if not after or not after[0].isalnum():
        return True
    if not text[match.end()].isspace() and _is_address(text, match):
        return False
    if cased and after[0].islower() and not after[1:2].isupper():  # the second letter is for names such as iPhone
        return False
    before = re.search(r"[\w.'’&-]*$", text[start : match.start()])[0]  # empty where white space precedes the mark
    if match["mark"] != "." or match["close"].strip(")]") or not before:
        return True
    last, next_word = before.lower(), re.match(r"[\w'’]+", after)[0].lower()
    if before.isdigit() and not text[start : match.start()].strip(_OPENERS + before):
        return False  # the number of an item: "1. Wash your hands"
    if last in _NEVER:
        return False
    if last in _BEFORE_NUMBER and after[0].isdigit():
        return False
    initial = len(before) == 1 and before.isupper() and before != "I"
    if initial or last in _MAYBE or re.fullmatch(r"(?:[a-z]\.)+[a-z]", last):
        return next_word in _STARTERS
    return True


def _is_address(text: str, match: re.Match) -> bool:
    """Whether a mark without white space behind it stands within an address, a file name or the name of a program."""
    before, after = re.search(r"\S*$", text[: match.start()])[0], re.match(r"\S*", text[match.end() :])[0]
    return bool(re.search(r"[./@\\:_]\w", f"{before} {after}")) or re.match(r"\w*", after)[0].lower() in _ENDINGS


def is_latin(text: str) -> bool:
    """Whether at least half of the letters are Latin, so that the rules for words and syllables can hold; true without letters."""
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(character.isascii() or unicodedata.name(character, "").startswith("LATIN") for character in letters) >= len(letters)


def require_latin(text: str, what: str) -> None:
    """Check that a text is in Latin letters (`is_latin`); ``what`` says which text, for the message."""
    if not is_latin(text):
        raise CatalogError(f"{what} is not in Latin letters; words, sentences and syllables are found here by the rules of English alone.")


def simple_sentences(text: str) -> list[str]:
    """Parts of ``text`` between line ends, and between . ! or ? and the white space after it."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


# --- tokens -----------------------------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|\d+(?:[.,]\d+)+\w*|[^\W_]+(?:['’‑-][^\W_]+)*")
_FUNCTION_WORDS = frozenset(
    "a about above across after again against all almost along already also although always am among an and another any anyone anything "
    "are around as at away back be became because become becomes been before behind being below between both but by can cannot could did "
    "do does doing done down during each either else enough even ever every everyone everything few for from further get gets getting go "
    "goes going gone got had has have having he her here hers herself him himself his how however i if in instead into is it its itself "
    "just least less like made make makes making many may maybe me might mine more most much must my myself neither never no nobody none "
    "nor not nothing now of off often on once one only onto or other others our ours ourselves out over own per perhaps quite rather "
    "really same shall she should since so some someone something sometimes soon still such than that the their theirs them themselves "
    "then there therefore these they this those though through thus to together too toward towards under until up upon us very was we "
    "were what whatever when where whether which while who whole whom whose why will with within without would yet you your yours "
    "yourself yourselves".split()
)
_CONTRACTION = re.compile("n't$|^(?:i|you|he|she|it|we|they|that|there|who|what)'")


def words(text: str) -> list[str]:
    """The words of ``text`` as they are written, without punctuation: "isn't", "well-known", "U.S." and "1,000" are one word each."""
    return _WORD.findall(text)


def tokens_space(text: str) -> list[str]:
    """Lower case, cut at white space: punctuation stays at its word unless the text is tokenised."""
    return text.lower().split()


def tokens_single_spaces(text: str) -> list[str]:
    """Lower case, cut at every single space, line ends taken for spaces: two spaces in a row have an empty token between them."""
    return re.sub(r"[\r\n]+", " ", text.lower()).split(" ")


def tokens_13a(text: str) -> list[str]:
    """Lower case, white space as one space, and sacreBLEU's 13a tokeniser (that of mteval-v13a)."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()(" ".join(text.lower().split())).split()


def ngrams(tokens: Sequence[str], n: int) -> Counter:
    """How often each n-gram, a tuple, stands in ``tokens``; empty if there are fewer than n tokens."""
    return Counter(zip(*(tokens[start:] for start in range(n))))


def content_words(text: str) -> list[str]:
    """Lower-case words that are no function words, no numbers and no possessive endings, in order. Inflected forms stay apart."""
    found = [word.lower().replace("’", "'").removesuffix("'s") for word in words(text)]
    return [word for word in found if word not in _FUNCTION_WORDS and word[0].isalpha() and not ("'" in word and _CONTRACTION.search(word))]


@lru_cache(maxsize=2**16)
def syllables(word: str) -> int:
    """Syllables of a word by rule: groups of the letters a e i o u y, less one for a last e that is silent, at least 1.

    A last e is not silent after a consonant and l ("table"); after a vowel ("tree") it has no group of its own. Accents do not matter,
    except that é is never silent. Held against the CMU pronouncing dictionary, 93 of 100 running words of news texts come out right and the
    mean is half a per cent too high.
    """
    word = re.sub(r"[^\w]|[\d_]", "", unicodedata.normalize("NFC", word.lower()))
    plain = "".join(character for character in unicodedata.normalize("NFD", word) if not unicodedata.combining(character))
    groups = len(re.findall("[aeiouy]+", plain))
    silent = word.endswith("e") and re.search("(?:[^aeiouyl]|[aeiouy]l)e$", plain)
    return max(1, groups - bool(silent))


# --- numbers ----------------------------------------------------------------------------------------------------------------------------

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_SPELLED = {word: value for value, word in enumerate(_UNITS.split())}
_TENS = {word: 10 * value for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT = {"k": 10**3, "m": 10**6, "bn": 10**9}
_NUMBER = re.compile(
    r"(?P<money>[$£€¥]\s?)?(?<![^\W_])(?<!\d\.)(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?)(?P<short>bn\b|[mk]\b)?"
    r"|(?P<word>[a-z]+)",
    re.IGNORECASE,
)


def numbers(text: str, spelled: bool = True) -> list[str]:
    """The numbers of ``text`` in order, each in one form: "1,000", "1000.0" and "a thousand" are "1000", "$2.5m" is "2500000".

    Digits after a letter ("B2B", "G20") belong to a name; "1990s" and "21st" are 1990 and 21.

    Args:
        spelled: also read numbers in words ("twenty-one", "two hundred and five", "3.5 million"). A single "one" is a pronoun as often as
            a number and is left out, as are fractions and ordinals.
    """
    found: list[str] = []
    group: list[tuple[str, Decimal]] = []  # (kind, value) of neighbouring parts of one number
    end = 0

    def close() -> None:
        if group and group != [("unit", 1)]:
            found.append(_value(group))
        group.clear()

    for match in _NUMBER.finditer(text):
        word = (match["word"] or "").lower()
        if group and text[end : match.start()] not in ("", " ", "\n", "-", "‑"):
            close()
        end = match.end()
        if match["digits"]:
            close()
            scale = _SHORT.get((match["short"] or "").lower(), 1)
            if scale != 1 and not match["money"] and scale != 10**9:
                scale = 1  # 5m and 5k are metres and kilometres as well
            group.append(("digits", Decimal(match["digits"].replace(",", "")) * scale))
        elif spelled and word in _SCALES:
            group.append(("scale", Decimal(_SCALES[word])))
        elif spelled and (word in _SPELLED or word in _TENS):
            kind = "unit" if word in _SPELLED else "ten"
            tens_before = group and group[-1][0] == "ten" and 0 < _SPELLED.get(word, 0) < 10
            if group and group[-1][0] != "scale" and not tens_before:
                close()
            group.append((kind, Decimal(_SPELLED.get(word, _TENS.get(word, 0)))))
        elif not (word == "and" and group and group[-1][0] == "scale"):
            close()
    close()
    return found


def _value(group: list[tuple[str, Decimal]]) -> str:
    """One number of neighbouring parts: ("two", "hundred", "five") is 205."""
    total = part = Decimal(0)
    for kind, value in group:
        if kind != "scale":
            part += value
        elif value == 100:
            part = (part or 1) * value
        else:
            total, part = total + (part or 1) * value, Decimal(0)
    plain = f"{total + part:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
