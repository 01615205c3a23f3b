"""Corpora of documents at several reading levels, in the layouts they are published in, cleaned alike and in one form.

A simplifier and a readability model learn from triples (complex text x, simple text y, level of y); these loaders read what triples are
made of. `graded` reads the project's own documents, `jsonl` pairs of a user; the others read a corpus as its authors lay it out.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from catalog.base.text import json_rows, read_bytes, read_text
from stages.simdoc.cleaning import clean, join_ligatures, latin, unglue
from stages.simdoc.corpus import Corpus, gathered, need, parallel
from stages.simdoc.files import normalise
from stages.simdoc.settings import GRADED
from stages.simdoc.text import require_latin, words

LEVELS = ("advanced", "intermediate", "elementary")
SOURCES = {  # where a folder that is missing comes from
    "graded": "it is part of the project",
    "onestop": "clone github.com/nishkalavallabhi/OneStopEnglishCorpus",
    "dwikipedia": "take it from github.com/RLSNLP/Document-level-text-simplification",
    "cochrane": "take it from github.com/AshOlogn/Paragraph-level-Simplification-of-Medical-Texts",
    "newsela": "its publisher gives it out on request (newsela.com/data)",
    "jsonl": "write one with a pair a line",
}
# OneStopEnglish: elementary texts that belong to another article, so that the whole text id is left out.
WRONG = {
    "Royal Baby": "the elementary text is that of Skydiver",
    "WNL Arctic Ramadan": "the elementary text is that of Arctic mapping",
    "WNL The millenials": "the elementary text is nearly that of WNL Tributes",
}
DISTANT = 0.2  # Jaccard index of the words of two levels below which they may be different articles; the wrong ones have 0.09 to 0.12


def load(name: str, path: str | Path | None, files: Sequence[str] = ()) -> Corpus:
    """The corpus ``name`` of `LOADERS` at ``path`` (from the project's root; None: the project's own documents, for graded only).

    Args:
        files: under ``path``: source and target of dwikipedia, the file of jsonl (or none if path is it).

    Raises:
        CatalogError: an unknown name, a missing path, another number of files, or what the loader raises.
    """
    if name not in LOADERS:
        raise CatalogError(f"The corpus {name!r} is unknown; choose one of {', '.join(LOADERS)}.")
    if path is None and name != "graded":
        raise CatalogError(f"The corpus {name} needs a path; set data.path in stages/simdoc/params.yaml.")
    base = ROOT / (GRADED if path is None else path)
    require_dep(base, own="simdoc")
    if not base.exists():
        raise CatalogError(f"There is no {path or GRADED} with the corpus {name}: {SOURCES[name]}, or choose another corpus.")
    wanted = {"dwikipedia": (2,), "jsonl": (0, 1)}.get(name, (0,))
    if len(files) not in wanted:
        raise CatalogError(f"The corpus {name} is read from {' or '.join(map(str, wanted))} files under its path, not {len(files)}.")
    return LOADERS[name](*([base / file for file in files] or [base]))


# --- loaders ------------------------------------------------------------------------------------------------------------------------------


def graded(folder: str | Path) -> Corpus:
    """The project's documents: JSON lines with id, topic, title and one text for each of `LEVELS`.

    Raises:
        CatalogError: no file, a line without these keys, or a text in other than Latin letters.
    """
    files = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() == ".jsonl")
    if not files:
        raise CatalogError(f"{folder} has no .jsonl files; give the folder of the graded documents.")
    rows = []
    for path in files:
        for number, found in json_rows(read_text(path), path.name):
            need(found, ("id", "topic", *LEVELS), f"{path.name}, line {number}")
            for level in LEVELS:
                require_latin(found[level], f"{path.name}, line {number}: {level}")
            rows += [(found["id"], level, found["topic"], clean(found[level])) for level in LEVELS]
    return gathered(rows, [], LEVELS)


def onestop(folder: str | Path) -> Corpus:
    """OneStopEnglish (Vajjala and Lucic 2018): a text in three files, one a level, cleaned of all that gives the level away.

    The intermediate files are those of `Int-Txt/Int-Txt`: the outer ones begin with the line "Intermediate" and have lost every
    character that is not ASCII. Letters outside Latin-1, which the inner ones lack too, become base letters on all levels. The texts of
    `WRONG` are left out; others whose levels share few words are noted and kept.

    Raises:
        CatalogError: a folder is missing or has no text.
    """
    base = Path(folder)
    base = base / "Texts-SeparatedByReadingLevel" if (base / "Texts-SeparatedByReadingLevel").is_dir() else base
    places = {"advanced": "Adv-Txt", "intermediate": "Int-Txt/Int-Txt", "elementary": "Ele-Txt"}
    texts, notes, broken, known, curly = {}, [], [], set(), 0
    for level, place in places.items():
        suffix = f"-{level[:3]}.txt"
        files = sorted((base / place).glob(f"*{suffix}"))
        if not files:
            raise CatalogError(f"{folder} has no {place}/*{suffix}; give the whole folder of OneStopEnglish, the inner Int-Txt included.")
        for path in files:
            name = path.name.removesuffix(suffix).strip()
            raw, done = _onestop_file(path, name, level)
            texts[name, level] = clean(latin(raw))
            notes += done
            curly += bool(re.search("[“”‘’–—…ﬁﬂ]", raw))
            if re.search(r"[ﬁﬂ]|(?<!-)\bf[il]\b", raw):
                broken.append((name, level))
            else:
                known |= _vocabulary(texts[name, level])
    notes.append(("quotes, dashes, ligatures", None, f"made plain in {curly} documents"))
    if outer := len(list((base / "Int-Txt").glob("*-int.txt"))):
        notes.append(("not read", None, f"{outer} outer intermediate files"))
    for name, level in broken:
        texts[name, level], count = join_ligatures(texts[name, level], known)
        if count:
            notes.append(("broken ligatures", name, f"{count} words joined in {level}"))
    names = sorted({name for name, _ in texts})
    notes += [("excluded", name, WRONG[name]) for name in names if name in WRONG]
    for name in names:
        hard, simple = (_vocabulary(texts.get((name, level), "")) for level in (LEVELS[0], LEVELS[-1]))
        if name not in WRONG and hard and simple and len(hard & simple) / len(hard | simple) < DISTANT:
            notes.append(("suspect", name, "advanced and elementary share few words; see whether they are one article"))
    return gathered([(name, level, None, text) for (name, level), text in texts.items() if name not in WRONG], notes, LEVELS)


def _onestop_file(path: Path, name: str, level: str) -> tuple[str, list[tuple]]:
    """Text of one file without its header line, and notes of what was done."""
    notes, data = [], read_bytes(path)
    if data.startswith(codecs.BOM_UTF8):
        notes.append(("byte order mark", name, f"removed from {level}"))
    raw = _windows(data)
    if raw is None:
        raw = read_text(path)
    else:
        notes.append(("encoding", name, f"{level} is not UTF-8: read as Windows-1252"))
    text, headers = re.subn(rf"\A(?:{'|'.join(LEVELS)}) *(?:\n+|\Z)", "", normalise(raw), flags=re.IGNORECASE)
    if headers:
        notes.append(("header line", name, f"removed from {level}"))
    if latin(text) != text:
        notes.append(("letters outside Latin-1", name, f"base letters in {level}"))
    return text, notes


def _windows(data: bytes) -> str | None:
    """A text in Windows-1252, as one of the published files is; None for all else, which `read_text` reads or refuses.

    In English two accented letters do not stand side by side, nor four characters outside ASCII; where they do, or where the last is cut
    off, the encoding is another one.
    """
    try:
        data.decode("utf-8")
        return None
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" or re.search(rb"[\xc0-\xff]{2}|[\x80-\xff]{4}", data):
            return None
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return None


def _vocabulary(text: str) -> set[str]:
    return {word.lower() for word in words(text)}


def dwikipedia(source: str | Path, target: str | Path) -> Corpus:
    """D-Wikipedia (Sun et al. 2021): two files with a document a line, lower case and tokenised; glued sentences are parted.

    Raises:
        CatalogError: a missing file, files of different lengths, an empty line.
    """
    rows, glued = [], {}
    for level, lines in zip(("complex", "simple"), parallel(Path(source), Path(target))):
        for number, line in enumerate(lines, 1):
            text, count = unglue(clean(line))
            rows.append((f"dwiki-{number:06d}", level, None, text))
            glued[level] = glued.get(level, 0) + count
    notes = [("glued sentences", None, f"{count} full stops parted in {level}") for level, count in glued.items()]
    return gathered(rows, notes, ("complex", "simple"))


def cochrane(folder: str | Path) -> Corpus:
    """Cochrane abstracts and plain-language summaries (Devaraj et al. 2021): train, val and test .source, .target and perhaps .doi.

    The published splits are kept where all three are there. The id is the DOI, else split and line.

    Raises:
        CatalogError: no such files, a source without its target, files of different lengths, an empty line.
    """
    folder, rows, notes, splits = Path(folder), [], [], {}
    for split in ("test", "val", "train"):  # of equal documents the first is kept, so that the test split stays whole
        if not (folder / f"{split}.source").exists() and not (folder / f"{split}.target").exists():
            continue
        sources, targets = parallel(folder / f"{split}.source", folder / f"{split}.target")
        names = [f"{split}-{number:05d}" for number in range(1, len(sources) + 1)]
        if (folder / f"{split}.doi").exists():
            names, _ = parallel(folder / f"{split}.doi", folder / f"{split}.source")
        for name, complex_text, simple_text in zip((name.strip() for name in names), sources, targets):
            if name in splits:
                notes.append(("duplicate", name, f"second document of that id, in {split}, left out"))
                continue
            splits[name] = {"val": "validation"}.get(split, split)
            rows += [(name, "complex", None, clean(complex_text)), (name, "simple", None, clean(simple_text))]
    if not rows:
        raise CatalogError(f"{folder} has no train, val or test .source and .target; give the folder data-1024 of the Cochrane corpus.")
    if set(splits.values()) != {"train", "validation", "test"}:
        notes.append(("splits", None, f"only {', '.join(sorted(set(splits.values())))} are there, so splits are drawn anew"))
        splits = {}
    return gathered(rows, notes, ("complex", "simple"), splits)


def newsela(folder: str | Path) -> Corpus:
    """Newsela's article corpus (Xu et al. 2015): `articles_metadata.csv` and `articles/slug.lang.version.txt`; English articles only.

    The level of version n is v<n>: v0 is the original, v4 and v5 the simplest.

    Raises:
        CatalogError: no table, one that is no CSV, a column or a file that it lacks, a version that is no number.
    """
    folder = Path(folder)
    tables = sorted(folder.rglob("*metadata*.csv"))
    if not tables:
        raise CatalogError(f"{folder} has no articles_metadata.csv; give the folder of Newsela's article corpus.")
    files = {path.name: path for path in sorted(folder.rglob("*.txt"))}
    rows, left = [], 0
    for where, row in _table(tables[0]):
        need(row, ("slug", "language", "version", "filename"), where)
        if row["language"] != "en":
            left += 1
            continue
        if not re.fullmatch("[0-9]{1,3}", row["version"].strip()):
            raise CatalogError(f"{where}: version is {row['version'][:40]!r} but must be a whole number of 0 to 999.")
        if row["filename"] not in files:
            raise CatalogError(f"{tables[0].name} names {row['filename']}, which is not under {folder}; unpack the corpus again.")
        text = re.sub(r"(?m)^#+ *", "", clean(read_text(files[row["filename"]])))  # the marks of headings
        rows.append((row["slug"], f"v{int(row['version'])}", None, text))
    notes = [("language", None, f"{left} articles that are not English left out")] if left else []
    return gathered(rows, notes, sorted({row[1] for row in rows}, key=lambda level: int(level[1:])))


def _table(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(file and line for messages, row) of a CSV file with a header."""
    content = read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))  # the module's own limit is 131,072 characters
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        for row in reader:
            where = f"{path.name}, line {reader.line_num}"
            if None in row:
                raise CatalogError(f"{where} has more fields than the header; put fields with commas into double quotes.")
            yield where, row
    except csv.Error as error:
        raise CatalogError(f"{path.name}, line {reader.line_num} is no CSV ({error}); correct it or take the published file.") from None


def jsonl(path: str | Path) -> Corpus:
    """Pairs of your own, one a line: {id, source, target, source_level, target_level} and perhaps topic; an id has one text a level.

    Raises:
        CatalogError: a missing file, a line without these keys or with equal levels, a text in other than Latin letters, a topic that is no
            text, two different texts of one id and level, two topics of one id.
    """
    texts, pairs, topics = {}, {}, {}
    for number, found in json_rows(read_text(path), Path(path).name):
        where = f"{Path(path).name}, line {number}"
        need(found, ("id", "source", "target", "source_level", "target_level"), where)
        name, levels = found["id"], (found["source_level"], found["target_level"])
        if levels[0] == levels[1]:
            raise CatalogError(f"{where}: source and target have the level {levels[0]!r}; a pair needs two levels.")
        for side, level in zip(("source", "target"), levels):
            require_latin(found[side], f"{where}: {side}")
            key, text = (name, level), clean(found[side])
            if texts.setdefault(key, text) != text:
                raise CatalogError(f"{where}: {name!r} has another text of the level {level!r} before; give it another id.")
        if (topic := found.get("topic")) is not None:
            need(found, ("topic",), where)
            if topics.setdefault(name, topic) != topic:
                raise CatalogError(f"{where}: {name!r} has the topic {topics[name]!r} before; give an id one topic.")
        pairs[(name, *levels)] = (*levels, texts[name, levels[0]], texts[name, levels[1]])
    rows = [(name, level, topics.get(name), text) for (name, level), text in texts.items()]
    return gathered(rows, [], sorted({row[1] for row in rows}), pairs=[(key[0], *pair) for key, pair in pairs.items()])


LOADERS: dict[str, Callable[..., Corpus]] = {
    "graded": graded,
    "onestop": onestop,
    "dwikipedia": dwikipedia,
    "cochrane": cochrane,
    "newsela": newsela,
    "jsonl": jsonl,
}
