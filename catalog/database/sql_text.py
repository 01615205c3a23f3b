"""SQL as text: which tables a query reads, values put in for its parameters, names and texts quoted.

The tables are those that DuckDB's own parser finds (`json_serialize_sql`), so a name in a comment or a text is not taken for one.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from catalog.base.errors import CatalogError

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


def tables(sql: str, where: str) -> list[str]:
    """Names of the tables that a SELECT reads, as it writes them, sorted; those of its own `WITH` are left out.

    Args:
        where: what the SQL is, for messages.

    Raises:
        CatalogError: not one SELECT.
    """
    with duckdb.connect() as con:
        parsed = json.loads(con.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()[0])
    if parsed["error"]:
        raise CatalogError(f"{where} is wrong SQL, correct it: {' '.join(parsed['error_message'].split())}.")
    if len(parsed["statements"]) != 1:
        raise CatalogError(f"{where} must be one SELECT.")
    own, read = set(), set()
    for node in _nodes(parsed):
        if node.get("type") == "BASE_TABLE":
            read.add(".".join(filter(None, (node["schema_name"], node["table_name"]))))
        own |= {entry["key"] for entry in node.get("cte_map", {}).get("map", [])}
    return sorted(read - own)


def text(value: str) -> str:
    """An SQL text."""
    return "'" + value.replace("'", "''") + "'"


def name(value: str) -> str:
    """An SQL identifier."""
    return '"' + value.replace('"', '""') + '"'


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a parsed statement."""
    if isinstance(tree, dict):
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(item)
