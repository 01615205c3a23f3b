"""SQL as text: which tables a query reads, values put in for its parameters, names and texts quoted.

The tables are those that DuckDB's own parser finds (`json_serialize_sql`), so a name in a comment or a text is not taken for one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from catalog.base.errors import CatalogError

_PARAMETER = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$(\w+)", re.DOTALL)


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


def fill(sql: str, values: Mapping[str, Any], where: str) -> str:
    """The query with each `$name` outside texts and comments replaced by its value as a literal.

    Raises:
        CatalogError: a parameter that has no value.
    """

    def put(match: re.Match) -> str:
        if match[1] is None:
            return match[0]
        if match[1] not in values:
            raise CatalogError(f"{where} uses ${match[1]}, which has no value; the parameters are {', '.join(sorted(values))}.")
        return literal(values[match[1]])

    return _PARAMETER.sub(put, sql)


def literal(value: str | float | bool | None) -> str:
    """A value as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    return text(value) if isinstance(value, str) else repr(value)


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
