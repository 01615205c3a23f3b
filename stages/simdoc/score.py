"""`python -m stages.simdoc.score`: the metrics of simplified documents, beside what trivial systems reach on the same documents.

    python -m stages.simdoc.score --source source.jsonl --output output.jsonl --reference reference.jsonl

A file holds one document (``text``), one document a line (``lines``), or JSON lines with ``text`` and, best, ``id`` (``jsonl``); ``auto``
tells by the content and by the ending, where .txt is one document. Documents with ids are matched by them, others by their place.

A score says little by itself: copying the source and cutting it short both score well on some metrics, and the reference itself does not
reach 100 on others. So the table has four columns: the output, the source unchanged, its first 65 % of sentences, and the first reference
scored against all. `measure` gives the same numbers to a stage.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import write_parquet, write_text
from catalog.base.text import json_rows, print_out, read_text
from stages.simdoc import analysis
from stages.simdoc.baselines import first_share
from stages.simdoc.dsari import dsari
from stages.simdoc.files import id_text, is_json_value, json_object, normalise
from stages.simdoc.readability import readability
from stages.simdoc.sari import check, sari
from stages.simdoc.similarity import bleu, document_bleu, rouge_l
from stages.simdoc.text import require_latin

FORMS = ("auto", "jsonl", "lines", "text")
TABLES = (".csv", ".tsv", ".tab", ".xlsx", ".parquet")
REFERENCE_SETTINGS = {
    "SARI": "corpus form, n = 1..4, lower case, 13a tokens, F1 of adding and keeping; with F1 of deletion it is EASSE's, with precision of "
    "deletion it is neither EASSE's paper version nor that of Hugging Face's evaluate",
    "D-SARI released": "formula of the released script, mean over documents, lower case, tokens at white space (the script: at every "
    "single space), sentences after .!? and at line ends (the script: a splitter that is downloaded)",
    "D-SARI robust": "the project's own form: deletion counted once, empty orders left out, sentences by rule; a perfect output has 100",
    "ROUGE-L": "mean over documents, F1 with the closest reference, tokens of a-z and 0-9, no stemmer",
    "reference": "the first reference, scored against all",
}
SETTINGS = {
    "readability": "over the corpus; words without punctuation (EASSE counts punctuation as words), sentences by rule, syllables by groups "
    "of vowels; none for a text whose letters are not Latin",
    "operations and facts": "means over documents; sentences aligned by shared content words",
    "first 65 %": "sentences by rule, rounded down, at least one, in their paragraphs",
}
TABLE = {
    "Against the references": (
        ("SARI, F1 of deletion", "sari_f1"),
        ("SARI, precision of deletion", "sari_p"),
        ("  add", "sari_add"),
        ("  keep", "sari_keep"),
        ("  delete, F1", "sari_delete_f1"),
        ("  delete, precision", "sari_delete_p"),
        ("D-SARI released", "dsari"),
        ("  keep", "dsari_keep"),
        ("  delete", "dsari_delete"),
        ("  add", "dsari_add"),
        ("D-SARI robust", "dsari_robust"),
        ("  keep", "dsari_robust_keep"),
        ("  delete", "dsari_robust_delete"),
        ("  add", "dsari_robust_add"),
        ("BLEU", "bleu"),
        ("ROUGE-L", "rouge_l"),
    ),
    "Simplicity": (
        ("FKGL", "fkgl"),
        ("Flesch reading ease", "reading_ease"),
        ("Gunning fog", "gunning_fog"),
        ("SMOG", "smog"),
        ("Coleman-Liau", "coleman_liau"),
        ("ARI", "ari"),
        ("words, a sentence", "sentence_length"),
        ("type-token ratio", "type_token_ratio"),
    ),
    "Meaning": (
        ("content words kept", "content_kept"),
        ("content words new", "content_new"),
        ("numbers kept, a document", "numbers_kept"),
        ("numbers lost, a document", "numbers_lost"),
        ("numbers new, a document", "numbers_new"),
        ("names new, a document", "names_new"),
    ),
    "What was done": (
        ("compression", "compression"),
        ("copy rate", "copy_rate"),
        ("novel 2-grams", "novel_2"),
        ("repetition", "repetition"),
        *((f"sentences {name}", name) for name in analysis.OPERATIONS),
        ("sentences new", "new"),
    ),
}


@dataclass(frozen=True)
class Documents:
    """The documents of one file."""

    path: str
    form: str
    ids: tuple[str, ...] | None  # None where the file gives none
    texts: tuple[str, ...]


# --- reading ----------------------------------------------------------------------------------------------------------------------------


def load(path: str, form: str = "auto", written: bool = False) -> Documents:
    """The documents of a file, each through `normalise`.

    Args:
        written: whether a system wrote them: then one may be empty, and in other letters.

    Raises:
        CatalogError: an unreadable file (`read_text`), a table or a JSON array in place of texts, a line that is no JSON object with a
            text, ids that are no ids (`id_text`), repeat or are given to some documents alone, an empty document, or one whose letters are
            not Latin.
    """
    content = read_text(path, empty=written).replace("\r\n", "\n").replace("\r", "\n")
    if form == "auto":
        form = _form(path, content)
    # Not splitlines: texts may hold other line separators. Outputs keep their last lines, of which each may be an empty document.
    lines = (content.removesuffix("\n") if written else content.rstrip()).split("\n")
    ids = None
    if form == "text":
        texts = [content]
    elif form == "lines":
        texts = lines
    else:
        rows = [(number, _row(value, number, path)) for number, value in json_rows(content, path)]
        texts = [row["text"] for _, row in rows]
        named = [number for number, row in rows if row.get("id") is not None]
        if named and len(named) < len(rows):
            raise CatalogError(f"Line {named[0]} of {path} has an id and others have none; give all documents an id or none.")
        if named:
            ids = tuple(id_text(row["id"], f"Line {number} of {path}") for number, row in rows)
            if twice := [name for name, count in Counter(ids).items() if count > 1]:
                raise CatalogError(f"The id {twice[0]!r} stands twice in {path}; give each document its own.")
    texts = tuple(normalise(text) for text in texts)
    _check_texts(texts, path, written)
    return Documents(str(path), form, ids, texts)


def _check_texts(texts: Sequence[str], path: str, written: bool) -> None:
    if not texts:
        raise CatalogError(f"{path} has no document; write one a line.")
    if not written and (empty := [place for place, text in enumerate(texts, 1) if not any(character.isalnum() for character in text)]):
        raise CatalogError(f"Document {empty[0]} of {path} is empty; remove it from all files or give it a text.")
    for place, text in enumerate(() if written else texts, 1):
        require_latin(text, f"Document {place} of {path}")


def _form(path: str, content: str) -> str:
    if Path(path).suffix.lower() in TABLES:
        raise CatalogError(f"{path} is a table; write its texts as JSON lines, or say --form lines if each of its lines is one document.")
    if is_json_value(content):
        raise CatalogError(f'{path} is one JSON value; write JSON lines, {{"id": ..., "text": ...}} on each line.')
    if json_object(content.lstrip().split("\n", 1)[0]) or Path(path).suffix.lower() in (".jsonl", ".ndjson"):
        return "jsonl"
    return "text" if Path(path).suffix.lower() in (".txt", ".md") else "lines"


def _row(row: object, number: int, path: str) -> dict:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise CatalogError(f'Line {number} of {path} is no JSON object with a text; write {{"id": ..., "text": ...}} on each line.')
    return row


def matched(source: Documents, other: Documents) -> list[str]:
    """The texts of ``other`` in the order of ``source``.

    Raises:
        CatalogError: different numbers of documents, or different ids.
    """
    if len(source.texts) != len(other.texts):
        counts = f"{source.path} has {len(source.texts)} ({source.form}) and {other.path} {len(other.texts)} ({other.form})"
        raise CatalogError(f"The files do not hold the same documents: {counts}; see --form.")
    if source.ids is None or other.ids is None:
        return list(other.texts)
    found = dict(zip(other.ids, other.texts))
    if absent := [name for name in source.ids if name not in found]:
        raise CatalogError(f"{other.path} lacks the document {absent[0]!r} of {source.path}; give both files the same ids.")
    return [found[name] for name in source.ids]


# --- scoring ----------------------------------------------------------------------------------------------------------------------------


def measure(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[Sequence[str]] | None = None
) -> tuple[dict[str, float | None], list[dict[str, int | float | None]]]:
    """All metrics of one system: over the corpus, and of each document; undefined ones are None.

    Args:
        sources, outputs: one text a document; an output may be empty.
        references: the references of each document; None leaves out what needs them.

    Raises:
        CatalogError: as `stages.simdoc.sari.sari`.
    """
    check(sources, outputs, [[text] for text in sources] if references is None else references)
    rows: list[dict] = [{} for _ in sources]
    total: dict = {}
    if references is not None:
        whole, parts = sari(sources, outputs, references)
        total |= _sari_fields(whole)
        for row, part in zip(rows, parts):
            row |= _sari_fields(part)
        for form, prefix in (("released", "dsari"), ("robust", "dsari_robust")):
            means, parts = dsari(sources, outputs, references, form)
            total |= _dsari_fields(means, prefix)
            for row, part in zip(rows, parts):
                row |= _dsari_fields(asdict(part), prefix)
        for row, score, output, texts in zip(rows, document_bleu(outputs, references), outputs, references):
            row |= {"bleu": score, "rouge_l": rouge_l(output, texts)}
        total |= {"bleu": bleu(outputs, references).score, "rouge_l": sum(row["rouge_l"] for row in rows) / len(rows)}
    found = [analysis.document(source, output) for source, output in zip(sources, outputs)]
    grades, parts = readability(outputs)
    for row, grade, part in zip(rows, parts, found):
        row |= grade | part
    return total | grades | analysis.corpus(found), rows


def trivial(sources: Sequence[str], references: Sequence[Sequence[str]] | None = None) -> dict[str, list[str]]:
    """Outputs of the systems that every other is held against: identity, the first 65 % of sentences, and the first reference."""
    found = {"identity": list(sources), "first 65 %": [first_share(text) for text in sources]}
    return found | ({} if references is None else {"reference": [texts[0] for texts in references]})


def _sari_fields(part) -> dict[str, float]:
    return {"sari_f1": part.f1, "sari_p": part.p} | {f"sari_{name}": value for name, value in asdict(part).items()}


def _dsari_fields(part: dict, prefix: str) -> dict[str, float | None]:
    return {prefix: part["score"]} | {f"{prefix}_{name}": value for name, value in part.items() if name != "score"}


# --- command ----------------------------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    """Read the files named on the command line, score, and print."""
    options = _parser().parse_args(argv)
    rows_path = options.documents
    if rows_path and Path(rows_path).suffix not in (".parquet", ".jsonl"):
        raise CatalogError(f"{rows_path} cannot be written; end its name in .parquet or .jsonl.")
    read = [Path(path).resolve() for path in (options.source, options.output, *options.reference)]
    if rows_path and Path(rows_path).resolve() in read:
        raise CatalogError(f"{rows_path} is one of the files to score; give --documents another name, since it would be overwritten.")
    source, output = load(options.source, options.form), load(options.output, options.form, written=True)
    references = [matched(source, load(path, options.form)) for path in options.reference]
    lists = [list(texts) for texts in zip(*references)] if references else None
    systems = {"output": matched(source, output)} | trivial(source.texts, lists)
    scored = {name: measure(source.texts, texts, lists) for name, texts in systems.items()}
    if rows_path:
        names = source.ids or tuple(map(str, range(1, len(source.texts) + 1)))
        _write([{"id": name, "system": system} | row for system, (_, rows) in scored.items() for name, row in zip(names, rows)], rows_path)
    settings = SETTINGS | (REFERENCE_SETTINGS | {"BLEU": bleu(systems["output"], lists).signature} if lists else {})
    result = {
        "documents": len(source.texts),
        "form": source.form,
        "references": len(references),
        "settings": settings,
        "systems": {name: total for name, (total, _) in scored.items()},
    }
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) if options.json else table(result)
    print_out(text)


def table(result: dict) -> str:
    """The result of `main` as text: a line a metric, a column a system, and the settings below."""
    systems = result["systems"]
    many = "document" if result["documents"] == 1 else "documents"
    lines = [f"{result['documents']} {many} ({result['form']}), references: {result['references']}"]
    for title, metrics in TABLE.items():
        present = [(label, key) for label, key in metrics if key in systems["output"]]
        if present:
            lines += ["", f"{title:<30}" + "".join(f"{name:>12}" for name in systems)]
            lines += [f"  {label:<28}" + "".join(f"{_cell(total[key]):>12}" for total in systems.values()) for label, key in present]
    return "\n".join([*lines, "", *(f"{name}: {text}" for name, text in result["settings"].items())])


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _write(rows: list[dict], path: str) -> None:
    try:
        if path.endswith(".jsonl"):
            write_text("".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows), path)
        else:
            write_parquet(pl.DataFrame(rows, infer_schema_length=None), path)
    except OSError as error:
        raise CatalogError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stages.simdoc.score", description="Score simplified documents beside trivial systems.")
    parser.add_argument("--source", required=True, metavar="FILE", help="the documents before simplification")
    parser.add_argument("--output", required=True, metavar="FILE", help="the simplified documents")
    parser.add_argument("--reference", nargs="+", default=[], action="extend", metavar="FILE", help="simplifications to compare with")
    parser.add_argument("--form", choices=FORMS, default="auto", help="a file is JSON lines, a document a line, or one document (.txt)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--documents", metavar="FILE", help="also write the metrics of each document, to .parquet or .jsonl")
    return parser


if __name__ == "__main__":
    run(lambda: main(), [])
