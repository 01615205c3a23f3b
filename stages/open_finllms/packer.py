"""Pack documents into chunks of a fixed number of tokens, in memory that does not grow with the corpus.

Each document is tokenised, an end-of-text token is put behind it, documents of one source are laid end to end, and the row is cut every
`length` tokens (§3, "concatenate; chunk to 8,192 tokens"). A chunk holds documents of one source alone, so that perplexity can be told by
source. Nothing is padded: the last chunk of a source in a slice is shorter than the others and is kept (or dropped, and counted). A batch
of documents and less than a chunk of every source are all that is in memory.

The slices of the input (`documents.py`) are packed each for itself into a Parquet file of its own, with the columns `input_ids` and
`source`, which `datasets` reads: `load_dataset("parquet", data_files="OUT/*.parquet")`. Which process packs which slice makes no
difference, so any number of processes and machines writes the same files.

The markers that a tokenizer reserves are plain characters where a text spells them: a document cannot contain an end of document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json, replacing
from stages.open_finllms.documents import Document

SCHEMA = pa.schema({"input_ids": pa.list_(pa.int32()), "source": pa.string()})
CHARACTERS = 1 << 20  # of a batch to tokenise
CHUNKS = 256  # of a row group
SOURCES = 256  # at most: each keeps an unfinished chunk
IGNORE = -100

Encode = Callable[[Sequence[str]], list[list[int]]]


@dataclass
class Packed:
    """What a slice held and what became of it, by source."""

    documents: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)  # with the end-of-text tokens
    characters: dict[str, int] = field(default_factory=dict)
    chunks: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)  # tokens of last chunks that were not kept
    empty: dict[str, int] = field(default_factory=dict)  # documents without a token, left out


def load_tokenizer(folder: Path) -> tuple[Encode, int]:
    """(texts -> token ids without special tokens, id of the end-of-text token) of a folder as `save_pretrained` writes it.

    Raises:
        CatalogError: no tokenizer there, or one that names no end-of-text token.
    """
    path, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if not path.is_file() or not settings.is_file():
        raise CatalogError(f"{folder} has no tokenizer.json and tokenizer_config.json; name the folder of a fast tokenizer.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower kind
        raise CatalogError(f"{path} is no tokenizer ({str(error).splitlines()[0]}); name the folder of a fast tokenizer.") from None
    tokenizer.encode_special_tokens = True  # a text that spells a marker is text
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        named = parse_json(settings.read_text(encoding="utf-8"))["eos_token"]
        named = named["content"] if isinstance(named, dict) else named
    except KeyError:
        named = None
    except (CatalogError, UnicodeDecodeError, TypeError) as error:
        raise CatalogError(f"{settings} is no JSON object of settings ({error}); name the folder of a fast tokenizer.") from None
    end = tokenizer.token_to_id(named) if isinstance(named, str) else None
    if end is None:
        raise CatalogError(f"The tokenizer of {folder} names no end-of-text token; add eos_token to its tokenizer_config.json.")

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return encode, end


def batches(documents: Iterable[Document], characters: int = CHARACTERS) -> Iterator[list[Document]]:
    """Consecutive documents, together of about `characters` characters."""
    held: list[Document] = []
    size = 0
    for document in documents:
        held.append(document)
        size += len(document.text)
        if size >= characters:
            yield held
            held, size = [], 0
    if held:
        yield held


def chunks(
    documents: Iterable[Document], encode: Encode, end: int, length: int, keep_last: bool, found: Packed
) -> Iterator[tuple[str, np.ndarray]]:
    """(source, token ids) of each chunk. All have `length` tokens but the last of a source, which is kept if `keep_last`.

    Args:
        documents: in the order in which they are to be laid end to end.
        end: id of the end-of-text token.
        found: counted into as the chunks are made.

    Raises:
        CatalogError: more sources than can each keep an unfinished chunk.
    """
    left: dict[str, list[int]] = {}
    for batch in batches(documents):
        for document, ids in zip(batch, _encoded(batch, encode), strict=True):
            source = document.source
            if source not in left:
                if len(left) == SOURCES:
                    raise CatalogError(f"The documents have more than {SOURCES} sources; name a coarser field as the source.")
                left[source] = []
            if not ids:  # two ends of text in a row would teach that a document may be nothing
                _add(found.empty, source, 1)
                continue
            _add(found.documents, source, 1)
            _add(found.characters, source, len(document.text))
            _add(found.tokens, source, len(ids) + 1)
            row = left[source]
            row += ids
            row.append(end)
            whole = len(row) // length * length
            for start in range(0, whole, length):
                _add(found.chunks, source, 1)
                yield source, np.asarray(row[start : start + length], np.int32)
            del row[:whole]
    for source, row in left.items():
        if row and keep_last:
            _add(found.chunks, source, 1)
            yield source, np.asarray(row, np.int32)
        elif row:
            _add(found.dropped, source, len(row))


def _encoded(batch: list[Document], encode: Encode) -> list[list[int]]:
    try:
        return encode([document.text for document in batch])
    except (UnicodeEncodeError, TypeError):
        for document in batch:
            if any("\ud800" <= character <= "\udfff" for character in document.text):
                raise CatalogError(f"The document {document.id} has half of a surrogate pair; clean the texts first.") from None
        raise


def _add(counts: dict[str, int], source: str, n: int) -> None:
    counts[source] = counts.get(source, 0) + n


def write(rows: Iterable[tuple[str, np.ndarray]], path: Path) -> None:
    """Write chunks to a Parquet file as they come, a row group at a time."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        held: list[tuple[str, np.ndarray]] = []
        for row in rows:
            held.append(row)
            if len(held) == CHUNKS:
                writer.write_batch(_batch(held))
                held = []
        if held:
            writer.write_batch(_batch(held))


def _batch(rows: list[tuple[str, np.ndarray]]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *(len(ids) for _, ids in rows)], dtype=np.int32)
    ids = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate([ids for _, ids in rows])))
    return pa.record_batch([ids, pa.array([source for source, _ in rows])], schema=SCHEMA)


def pack(documents: Iterable[Document], path: Path, encode: Encode, end: int, length: int, keep_last: bool = True) -> Packed:
    """Pack `documents` into the Parquet file `path`.

    Raises:
        CatalogError: a length that no document and its end fit into.
    """
    if length < 2:
        raise CatalogError(f"A chunk has {length} tokens; give at least 2.")
    found = Packed()
    write(chunks(documents, encode, end, length, keep_last, found), path)
    return found


def collate(rows: Sequence[Sequence[int]], pad: int) -> dict[str, np.ndarray]:
    """Chunks as a batch for next-token training: `input_ids`, `attention_mask` and `labels`, each ``(rows, longest)``.

    What is padding is told from the lengths, never from the id: where the padding token is the end-of-text token too, as it often is,
    a mask by id would hide the ends of all documents from the loss, and the model would never learn to stop.
    """
    shape = (len(rows), max(map(len, rows), default=0))
    ids, mask, labels = np.full(shape, pad), np.zeros(shape, np.int64), np.full(shape, IGNORE)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = labels[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
