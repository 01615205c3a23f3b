"""One form of every text, and JSON lines that can be written again."""

from __future__ import annotations

import json
import re
import unicodedata

from catalog.base.errors import CatalogError

# Byte -> the characters it may have become when UTF-8 was read as Windows-1252 or as Latin-1.
_BYTES = {byte: {chr(byte), bytes([byte]).decode("cp1252", "ignore") or chr(byte)} for byte in range(0x80, 0x100)}
_BYTE_OF = {character: byte for byte, characters in _BYTES.items() for character in characters}
_TAIL = "[" + re.escape("".join(sorted({c for byte in range(0x80, 0xC0) for c in _BYTES[byte]}))) + "]"
# Accented letters (C2, C3) and the blocks of punctuation, currency and letter-like signs (E2 80 to E2 84): what English texts hold.
# A right double quote (E2 80 9D) often lost its last byte, which Windows-1252 does not know.
_MOJIBAKE = re.compile(f"[ÂÃ]{_TAIL}|â[€‚ƒ„\x80\x82\x83\x84]{_TAIL}|ï»¿|â€")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")


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
