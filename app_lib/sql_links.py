"""Links to the SQL page with a statement in the address, its `$name` parameters filled in as SQL literals.

A claim's SQL has `$profile` and `$model`, which the database fills in while it is built. A reader who wants the rows
gets the same statement with the values written out, so that what is shown is what runs.
"""

import math
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote_plus

from catalog.errors import CatalogError

MAX_LINK = 4_000  # characters of a statement in an address; browsers and proxies take at least 8,000 bytes

# What is read as one piece, since a `$name` within it is none: texts, names in quotes, comments, and names such as a$b.
_PIECE = re.compile(
    r"""
      [eE]'(?:[^'\\]|''|\\.)*'?                           # a text with escapes
    | '(?:[^']|'')*'?                                    # a text
    | "(?:[^"]|"")*"?                                    # a name in quotes
    | (?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=tag)|\Z)     # $$ a text $$, $tag$ a text $tag$
    | --[^\n]*
    | (?P<block>/\*)
    | [^\W\d][\w$]*                                      # a name or a word of SQL
    | \$(?P<name>[^\W\d]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_END = re.compile(r"/\*|\*/")

Value = str | int | float | bool | None


def _pieces(sql: str) -> Iterator[tuple[str, str | None]]:
    """Split a statement into texts that stay and parameters: (text, None) or (text, name)."""
    place = 0
    while found := _PIECE.search(sql, place):
        yield sql[place : found.start()], None
        place = found.end()
        if found["block"]:  # DuckDB's block comments nest
            depth = 1
            while depth and (mark := _BLOCK_END.search(sql, place)):
                depth += 1 if mark[0] == "/*" else -1
                place = mark.end()
            place = len(sql) if depth else place
        yield sql[found.start() : place], found["name"]
    yield sql[place:], None


def parameters(sql: str) -> list[str]:
    """Return the names of the `$name` parameters of a statement, each once, in the order of their first place."""
    return list(dict.fromkeys(name for _, name in _pieces(sql) if name))


def literal(value: Value) -> str:
    """Return a value as an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value) if math.isfinite(value) else f"'{value}'::DOUBLE"
    return "'" + value.replace("'", "''") + "'"


def fill(sql: str, values: Mapping[str, Value]) -> str:
    """Return a statement with the parameters that `values` has written out; texts, names and comments stay.

    >>> fill("SELECT '$profile' FROM results WHERE profile = $profile", {"profile": "small"})
    "SELECT '$profile' FROM results WHERE profile = 'small'"
    """
    return "".join(literal(values[name]) if name in values else text for text, name in _pieces(sql))


def link(sql: str, **values: Value) -> str:
    """Return the address of the SQL page, relative to the app, with a statement filled in.

    Args:
        sql: one statement, which may have `$name` parameters.
        values: of all its parameters; values of others are not used.

    Raises:
        CatalogError: a parameter has no value, or the statement is too long for an address.
    """
    return f"sql?sql={quote_plus(query_params(sql, **values)['sql'])}"


def query_params(sql: str, **values: Value) -> dict[str, str]:
    """Like `link`, as what `st.page_link("app_pages/sql.py", query_params=...)` takes."""
    filled = fill(sql.strip(), values)
    missing = parameters(filled)
    if missing:
        raise CatalogError(f"The statement needs a value for ${missing[0]}: give it as {missing[0]}=...")
    if len(filled) > MAX_LINK:
        long = f"A statement of {len(filled):,} characters is too long for an address"
        raise CatalogError(f"{long}, which takes {MAX_LINK:,}: copy it into the page instead.")
    return {"sql": filled}
