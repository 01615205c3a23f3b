"""Files of texts as users have them: their encoding, one form of every text, and JSON lines that can be written again."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

from catalog.base.errors import CatalogError

# Byte -> the characters it may have become when UTF-8 was read as Windows-1252 or as Latin-1.
_BYTES = {byte: {chr(byte), bytes([byte]).decode("cp1252", "ignore") or chr(byte)} for byte in range(0x80, 0x100)}
_BYTE_OF = {character: byte for byte, characters in _BYTES.items() for character in characters}
_TAIL = "[" + re.escape("".join(sorted({c for byte in range(0x80, 0xC0) for c in _BYTES[byte]}))) + "]"
# Accented letters (C2, C3) and the blocks of punctuation, currency and letter-like signs (E2 80 to E2 84): what English texts hold.
# A right double quote (E2 80 9D) often lost its last byte, which Windows-1252 does not know.
_MOJIBAKE = re.compile(f"[ÂÃ]{_TAIL}|â[€‚ƒ„\x80\x82\x83\x84]{_TAIL}|ï»¿|â€")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")


def read_text(path: str | Path, empty: bool = False) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, UTF-16 with one, else Windows-1252.

    A file that mixes the two is decoded line by line. Nothing but the byte order mark is removed: see `normalise`.

    Args:
        empty: whether a file without text is one, too.

    Raises:
        CatalogError: the file is absent, a folder, empty, binary, or in another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; give the path of a text file.") from None
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror}); give the path of a text file.") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            raise CatalogError(f"{path} begins like UTF-16 but is not; save it as UTF-8.") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip() and not empty:
        raise CatalogError(f"{path} is empty; give a file with text.")
    control = sum(data.count(byte) for byte in (*range(1, 9), *range(14, 32), 127))
    if b"\x00" in data or data.startswith(b"%PDF-") or control > len(data) / 100:
        raise CatalogError(f"{path} is a binary file; give plain text.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(_line(line, number, path) for number, line in enumerate(data.splitlines(keepends=True), 1))


def _line(line: bytes, number: int, path: str | Path) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            pass
    raise CatalogError(f"{path} is neither UTF-8 nor Windows-1252 in line {number}; save it as UTF-8.")


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
        CatalogError: a line that is no JSON, or that holds half of a surrogate pair.
    """
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError:
                raise CatalogError(f"Line {number} of {name} is no JSON; write one object a line.") from None
            try:
                json.dumps(value, ensure_ascii=False).encode("utf-8")
            except UnicodeEncodeError as error:
                half = f"\\u{ord(error.object[error.start]):04x}"
                raise CatalogError(
                    f"Line {number} of {name} has half of a character, {half}: the text was cut between the two parts of a sign such as an "
                    "emoji; write the whole sign or leave it out."
                ) from None
            found.append((number, value))
    return found


def is_json_value(content: str) -> bool:
    """Whether a file is one JSON value of several lines or objects in brackets, and so no JSON lines."""
    if content.lstrip()[:1] not in ("[", "{"):
        return False
    try:
        value = json.loads(content)
    except ValueError:
        return False
    return isinstance(value, list) or (isinstance(value, dict) and "\n" in content.strip())
