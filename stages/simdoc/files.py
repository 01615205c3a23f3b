"""Files of texts as users have them: their encoding, one form of every text, and JSON lines that can be written again."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from pathlib import Path

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json

# Byte -> the characters it may have become when UTF-8 was read as Windows-1252 or as Latin-1.
_BYTES = {byte: {chr(byte), bytes([byte]).decode("cp1252", "ignore") or chr(byte)} for byte in range(0x80, 0x100)}
_BYTE_OF = {character: byte for byte, characters in _BYTES.items() for character in characters}
_TAIL = "[" + re.escape("".join(sorted({c for byte in range(0x80, 0xC0) for c in _BYTES[byte]}))) + "]"
# Accented letters (C2, C3) and the blocks of punctuation, currency and letter-like signs (E2 80 to E2 84): what English texts hold.
# A right double quote (E2 80 9D) often lost its last byte, which Windows-1252 does not know.
_MOJIBAKE = re.compile(f"[ÂÃ]{_TAIL}|â[€‚ƒ„\x80\x82\x83\x84]{_TAIL}|ï»¿|â€")
_NO_TEXT = {  # first bytes -> what a file is that begins with them, and what to do
    b"\x1f\x8b": "packed by gzip; unpack it with gunzip first",
    b"PK\x03\x04": "a ZIP archive, perhaps a document or table of an office program, and binary; save it as plain text in UTF-8",
    b"PAR1\x15": "a Parquet table, which is binary; write its texts as JSON lines",
    b"%PDF-": "a PDF file, which is binary; give plain text",
}
_BINARY = (
    "holds zero bytes or many control characters, as binary files do, and UTF-16 or UTF-32 without the mark of UTF-16; save it as UTF-8."
)
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")


def read_text(path: str | Path, empty: bool = False) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    No other encoding is guessed: nearly any bytes can be read as Windows-1252, those of Cyrillic and Japanese texts and of a file that was
    cut within a character, too. Nothing but the byte order mark is removed: see `normalise`.

    Args:
        empty: whether a file without text is one, too.

    Raises:
        CatalogError: the file is absent, a folder, empty, packed, a table, binary, or in another encoding.
    """
    data = read_bytes(path)
    if known := next((what for start, what in _NO_TEXT.items() if data.startswith(start)), None):
        raise CatalogError(f"{path} is {known}.")
    try:
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(_wrong_byte(path, data, error)) from None
    if _is_binary(text):
        raise CatalogError(f"{path} {_BINARY}")
    if not text.strip() and not empty:
        raise CatalogError(f"{path} is empty; give a file with text.")
    return text


def read_bytes(path: str | Path) -> bytes:
    """The content of a file.

    Raises:
        CatalogError: the file is absent, a folder or not readable.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; give the path of a text file.") from None
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror}); give the path of a text file.") from None


def _is_binary(text: str) -> bool:
    controls = sum(text.count(chr(code)) for code in (*range(1, 9), *range(14, 32), 127))
    return "\x00" in text or controls > len(text) / 100


def _wrong_byte(path: str | Path, data: bytes, error: UnicodeDecodeError) -> str:
    """What is wrong with a file that is not in its encoding, and what to do."""
    start = error.start + len(data) - len(error.object)  # the decoder takes a byte order mark off first
    at, line = f"{start + 1:,}", data.count(b"\n", 0, start) + 1
    if error.encoding.startswith("utf-16"):
        return f"{path} begins like UTF-16 but is not from byte {at} on; save it as UTF-8."
    if _is_binary(data.decode("latin-1")):
        return f"{path} {_BINARY}"
    where = f"byte {at} (0x{data[start]:02x}, in line {line:,})"
    if error.reason == "unexpected end of data":
        return f"{path} ends within a character of UTF-8, which begins at {where}; take the whole file, or save it as UTF-8."
    return f"{path} is not UTF-8 at {where}; convert it from the encoding it has: iconv -f ENCODING -t UTF-8 {Path(path).name} > NEW."


def normalise(text: str) -> str:
    """``text`` in one form: composed characters, UTF-8 read as another encoding repaired, line ends ``\\n``, plain single spaces.

    Byte order marks, soft hyphens and invisible characters go; spaces at the ends of lines too; two and more empty lines become one. Curly
    quotes and dashes stay, since tokenisers tell them apart.
    """
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    before = None
    while before != text:  # text may have gone wrong more than once
        before, text = text, _MOJIBAKE.sub(_repair, text)
        # What is left of U+0080 to U+009F was Windows-1252 read as Latin-1: there are no such characters in prose.
        text = re.sub("[\x80-\x9f]", lambda found: bytes([ord(found[0])]).decode("cp1252", "ignore"), text)
    text = re.sub("[\x0b\x0c\u2028]", "\n", text).replace("\u2029", "\n\n").replace("\u00ad", "").replace("\ufeff", "")
    text = re.sub(r"[^\S\n]+", " ", unicodedata.normalize("NFC", text))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" *\n *", "\n", text)).strip()


def _repair(found: re.Match) -> str:
    return "”" if found[0] == "â€" else bytes(_BYTE_OF[character] for character in found[0]).decode("utf-8")


# --- JSON lines -------------------------------------------------------------------------------------------------------------------------


def json_rows(content: str, name: str) -> list[tuple[int, object]]:
    """Number and value of each line of ``content`` that is not blank; ``name`` is the file's, for messages.

    Only line feeds part lines, since strings of JSON may hold other line separators.

    Raises:
        CatalogError: a line that `parse_json` refuses: it is no JSON, has a key twice, half of a character, or thousands of brackets.
    """
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                found.append((number, parse_json(line)))
            except CatalogError as error:
                raise CatalogError(f"Line {number} of {name} cannot be read as JSON: {error}; write one whole object a line.") from None
    return found


def json_object(line: str) -> bool:
    """Whether a line looks like an object of JSON, sound or not: `json_rows` says what is wrong with it."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
    except RecursionError:  # so much nesting is no prose
        return line.lstrip().startswith("{")


def is_json_value(content: str) -> bool:
    """Whether a file is one JSON value of several lines or objects in brackets, and so no JSON lines."""
    if content.lstrip()[:1] not in ("[", "{"):
        return False
    try:
        value = json.loads(content)
    except ValueError:
        return False
    except RecursionError:
        return content.lstrip().startswith("[")
    return isinstance(value, list) or (isinstance(value, dict) and "\n" in content.strip())


def id_text(value: object, where: str) -> str:
    """An id as a text: texts and whole numbers can be ids.

    Raises:
        CatalogError: an empty text, or a value of another kind.
    """
    if isinstance(value, str) and value.strip() or isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise CatalogError(
        f"{where} has the id {json.dumps(value, ensure_ascii=False)[:60]}; an id must be a text that is not empty or a whole number."
    )
