"""Test each claim of each paper: run the SQL of its card on the database, at each profile the system has results for.

`ours` and `baseline` give a number, `holds` a truth value. No row, or NULL, means that it was not measured at this
profile. A claim that does not hold is a result like any other.
"""

import math
from typing import Any

import duckdb

from catalog.base.errors import CatalogError


def evaluate(con: duckdb.DuckDBPyConnection, cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the table `claims`, in the order of the cards, then of their claims, then of profiles.

    Args:
        con: the database with all tables but `claims`.
        cards: what `cards.systems` returned.

    Raises:
        CatalogError: SQL that is wrong, is not one SELECT, or gives anything but one value of the right type.
    """
    rows = []
    for card in cards:
        reported = {entry["id"]: entry for entry in card["reported"]}
        found = con.execute("SELECT DISTINCT profile FROM results WHERE system = ? ORDER BY profile", [card["name"]])
        profiles = [profile for (profile,) in found.fetchall()]
        for position, claim in enumerate(card["claims"], start=1):
            printed = reported.get(claim["reported"], {})
            for profile in profiles:
                measured = {
                    key: _value(con, claim[key], profile, f"{card['path']}: {key} of claim {claim['id']} ({profile})", truth)
                    for key, truth in (("ours", False), ("baseline", False), ("holds", True))
                }
                rows.append(
                    measured
                    | {
                        "system": card["name"],
                        "profile": profile,
                        "claim": claim["id"],
                        "text": claim["text"],
                        "where_printed": claim["where"],
                        "trust": printed.get("trust"),
                        "reported": printed.get("value"),
                        "metric": claim["metric"],
                        "sql_ours": claim["ours"],
                        "sql_holds": claim["holds"],
                        "sql_baseline": claim["baseline"],
                        "reported_id": claim["reported"],
                        "position": position,
                    }
                )
    return rows


def _value(con: duckdb.DuckDBPyConnection, sql: str | None, profile: str, where: str, truth: bool) -> float | bool | None:
    """The one value of a query: a truth value or a finite number, or None."""
    if sql is None:
        return None
    try:
        statements = con.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise CatalogError(f"{where} must be one SELECT.")
        # DuckDB refuses a parameter that the query does not use.
        given = {"profile": profile} if "profile" in statements[0].named_parameters else None
        rows = con.execute(statements[0], given).fetchmany(2)
    except duckdb.Error as error:
        raise CatalogError(f"{where} is wrong SQL: {str(error).splitlines()[0]}") from None
    if len(rows) > 1 or (rows and len(rows[0]) != 1):
        raise CatalogError(f"{where} must give one value; it gives {'several rows' if len(rows) > 1 else f'{len(rows[0])} columns'}.")
    value = rows[0][0] if rows else None
    if value is None:
        return None
    if truth:
        if not isinstance(value, bool):
            raise CatalogError(f"{where} must give true, false or NULL; it gives {value!r}.")
        return value
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise CatalogError(f"{where} must give a finite number; it gives {value!r}.")
    return number
