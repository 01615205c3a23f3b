"""SQL as text: which tables a query reads, values put in for its parameters, names and texts quoted.

The tables are those that DuckDB's own parser finds (`json_serialize_sql`), so a name in a comment or a text is not taken for one.
"""

import atexit
import copy
import functools
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

# Table functions that make rows of their arguments alone; all others read files, settings or tables by another name.
_TABLE_FUNCTIONS = ("generate_series", "range", "unnest")
# What changes from run to run without being marked so among DuckDB's functions; the first five are written without brackets.
_CLOCKS = ("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp")
_MORE_VOLATILE = (*_CLOCKS, "current_localtime", "current_localtimestamp", "getenv", "query", "reservoir_quantile")

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
    """Names of the tables that a SELECT reads, as it writes them, sorted; those of its own `WITH` are left out where they are in scope.

    Args:
        where: what the SQL is, for messages.

    Raises:
        CatalogError: not one SELECT, a table function that reads anything but its arguments, or what gives other rows at each run.
    """
    tree = _parsed(sql, where)
    for node in _nodes(tree):
        _check_repeatable(node, where)
    return sorted(set(_read(tree, frozenset())))


def own_names(sql: str, where: str) -> list[str]:
    """Names that a SELECT gives to queries in a `WITH`, at any depth, in lower case: SQL does not tell cases apart."""
    return sorted({entry["key"].lower() for node in _nodes(_parsed(sql, where)) for entry in _with(node)})


def first_line(error: Exception) -> str:
    """The first line of DuckDB's message, which the excerpt of a query follows."""
    return str(error).splitlines()[0]


def whole_rows(sql: str, where: str) -> str | None:
    """The query with all columns in place of those it names; None where it computes anything of its rows.

    Raises:
        CatalogError: not one SELECT.
    """
    statement = copy.deepcopy(_parsed(sql, where)["statements"][0])
    node = statement["node"]
    plain = node["type"] == "SELECT_NODE" and all(item["class"] == "COLUMN_REF" for item in node["select_list"])
    if not plain or node["group_expressions"] or node["having"] or node["modifiers"]:
        return None
    node["select_list"] = _parsed("SELECT * FROM t", where)["statements"][0]["node"]["select_list"]
    with _connection().cursor() as con:
        tree = json.dumps({"error": False, "statements": [statement]})
        return con.execute("SELECT json_deserialize_sql(?::JSON)", [tree]).fetchone()[0]


def _parsed(sql: str, where: str) -> dict[str, Any]:
    """The tree of a statement as DuckDB's parser gives it; `CatalogError` if it is not one SELECT."""
    parsed = _serialized(sql)
    if parsed["error"]:
        raise CatalogError(f"{where} is wrong SQL, correct it: {' '.join(parsed['error_message'].split())}.")
    if len(parsed["statements"]) != 1:
        raise CatalogError(f"{where} must be one SELECT.")
    return parsed


@functools.cache
def _serialized(sql: str) -> dict[str, Any]:
    """What DuckDB's parser makes of a statement: its tree or its error."""
    with _connection().cursor() as con:
        return json.loads(con.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()[0])


@functools.cache
def _connection() -> duckdb.DuckDBPyConnection:
    """One connection for all parsing, closed at the end of the process: to open one for each query takes longer than all the rest."""
    con = duckdb.connect(config={"threads": 1})
    atexit.register(_connection.cache_clear)
    atexit.register(con.close)
    return con


@functools.cache
def _volatile() -> frozenset[str]:
    """Functions that may give another value at the next run, as DuckDB marks them, and those that it does not mark."""
    marked = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"
    with _connection().cursor() as con:
        return frozenset(found for (found,) in con.execute(marked).fetchall()) | set(_MORE_VOLATILE)


def _check_repeatable(node: Mapping[str, Any], where: str) -> None:
    """Raise `CatalogError` for a part of a query that reads past the tables or gives other rows at each run."""
    kind = node.get("type")
    if kind == "SHOW_REF":
        raise CatalogError(f"{where} uses SHOW, DESCRIBE or SUMMARIZE; write a SELECT from a table.")
    if kind == "TABLE_FUNCTION" and node["function"]["function_name"].lower() not in _TABLE_FUNCTIONS:
        allowed = ", ".join(_TABLE_FUNCTIONS)
        raise CatalogError(f"{where} reads {node['function']['function_name']}(); of table functions use {allowed} alone.")
    if node.get("sample"):
        raise CatalogError(f"{where} draws a sample, another one at each run; read all rows.")
    found = None
    if "function_name" in node:
        found = node["function_name"].lower()
        if found not in _volatile() and not (found == "age" and len(node["arguments"]) == 1):
            found = None
    elif kind == "COLUMN_REF" and len(node["column_names"]) == 1 and node["column_names"][0].lower() in _CLOCKS:
        found = node["column_names"][0].lower()
    if found:
        raise CatalogError(f"{where} uses {found}, which may give something else at each run; a claim is the same at each build.")


def _read(tree: Any, scope: frozenset[str]) -> Iterator[str]:
    """Names of tables below a part of a query. `scope`: names in lower case that stand for queries of a `WITH` there."""
    if isinstance(tree, list):
        for item in tree:
            yield from _read(item, scope)
    if not isinstance(tree, dict):
        return
    if tree.get("type") == "BASE_TABLE":
        path = [part for part in (tree.get("catalog_name"), tree["schema_name"], tree["table_name"]) if part]
        if len(path) > 1 or path[0].lower() not in scope:
            yield ".".join(path)
    for entry in _with(tree):  # each sees those before it, and itself where it is recursive
        key, query = entry["key"].lower(), entry["value"]
        recursive = query.get("query_node", {}).get("type") == "RECURSIVE_CTE_NODE"
        yield from _read(query, scope | {key} if recursive else scope)
        scope |= {key}
    for key, item in tree.items():
        if key != "cte_map":
            yield from _read(item, scope)


def _with(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The queries that a part of a statement names in its `WITH`."""
    return (node.get("cte_map") or {}).get("map", [])


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
