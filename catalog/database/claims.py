"""Test each claim of each system on the built tables: an effect with its interval against a bound, and one of four verdicts.

An effect is one row, value, low, high (95 %) and n. With the bound *b* of `above` the test **holds** where low > b, **fails** where
high <= b, and is **undecided** where the interval holds b: this experiment cannot tell. A claim fails if one of its tests fails, else it is
undecided if one is, else it holds. No row, or NULL, is **not measured**. A statement about identity or order ("the same head") is tested by
the share of resamples in which it is true: it holds from .95 on and fails up to .05.

The SQL of a claim sees the rows of its own system at one profile, by bare names: `results`, the system's own tables, and its `views`.
"""

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from catalog.base.errors import CatalogError
from catalog.database import sql_text

Row = dict[str, Any]

SHARE_HOLDS, SHARE_FAILS = 0.95, 0.05
LONGEST = 60.0  # seconds that a query of a claim may take


def evaluate(con: duckdb.DuckDBPyConnection, systems: list[Row], files: list[Row]) -> dict[str, list[Row]]:
    """Rows of the tables `claims`, `claim_tests` and `claim_evidence`, in the order of systems, claims and profiles.

    Args:
        con: the database with all tables but these three.
        systems: cards of systems, as `cards.systems` returns them.
        files: rows of `stage_files`, for the hash of what the evidence was read from.

    Raises:
        CatalogError: wrong SQL (also of a view that no claim reads), a table that is not the system's, an effect that is not one row of
            the right form, a number that is infinite or NaN, or a query that takes longer than `LONGEST`.
    """
    found: dict[str, list[Row]] = {"claims": [], "claim_tests": [], "claim_evidence": []}
    for card in systems:
        profiles = con.execute("SELECT DISTINCT profile FROM results WHERE system = ? ORDER BY profile", [card["name"]]).fetchall()
        reported = {entry["id"]: entry for entry in card["ledger"]["reported"]}
        for (profile,) in profiles:
            _check_views(Scope(con, card, profile))
        for position, claim in enumerate(card["ledger"]["claims"], start=1):
            for (profile,) in profiles:
                scope = Scope(con, card, profile)
                row, tests = _claim(scope, claim, reported.get(claim["reported"], {}))
                key = {"system": card["name"], "profile": profile, "claim": claim["id"]}
                found["claims"].append(key | {"position": position} | row)
                found["claim_tests"] += [key | test for test in tests]
                found["claim_evidence"] += [key | entry for entry in scope.evidence(files)]
    return found


class Scope:
    """What the SQL of one system's claims sees at one profile; remembers which tables were read."""

    def __init__(self, con: duckdb.DuckDBPyConnection, card: Row, profile: str) -> None:
        ledger = card["ledger"]
        self.con, self.system, self.profile, self.path = con, card["name"], profile, ledger["path"]
        self.values = {name: by_profile[profile] for name, by_profile in ledger["parameters"].items()} | {"profile": profile}
        self.views, self.own = ledger["views"], set(card["tables"])
        self.read: set[str] = set()

    def whole(self, sql: str, where: str) -> str:
        """The query with its views and tables in front and its parameters filled in: it runs as it stands on the database."""
        parts = self._needed(sql, where, {})
        if not parts:
            return self._filled(sql, where)
        listed = ",\n".join(f"{sql_text.name(name)} AS ({body})" for name, body in parts.items())
        return f"WITH {listed}\nFROM (\n{self._filled(sql, where)}\n)"

    def _filled(self, sql: str, where: str) -> str:
        """The query with its parameters filled in, or an error that names one without a value."""
        unknown = [name for name in sql_text.parameters(sql) if name not in self.values]
        if unknown:
            raise CatalogError(f"{where} uses ${unknown[0]}, which has no value; the parameters are {', '.join(sorted(self.values))}.")
        return sql_text.fill(sql.strip(), self.values)

    def rows_behind(self, sql: str, where: str) -> str | None:
        """A query for the rows behind an effect: those it takes its columns from, or else all of its first view or table."""
        same = sql_text.whole_rows(self._filled(sql, where), where)
        if same is not None:
            return self.whole(same, where)
        named = [name for name in sql_text.tables(sql, where) if name in self.views or name in self.own or name == "results"]
        first = next((name for name in named if name in self.views), named[0] if named else None)
        return None if first is None else self.whole(f"SELECT * FROM {sql_text.name(first)}", where)

    def evidence(self, files: list[Row]) -> list[Row]:
        """A row for each table that was read: its file, the stage that wrote it, and the hash that `dvc.lock` records."""
        found = []
        folder = f"reports/{self.system}/{self.profile}"
        for table in sorted(self.read):
            path = f"{folder}/results.parquet" if table == "results" else f"{folder}/tables/{table}.parquet"
            outs = [file for file in files if file["kind"] == "out" and (path == file["path"] or path.startswith(file["path"] + "/"))]
            written = outs[0] if outs else {"stage": None, "md5": None}
            found.append({"table_name": table, "path": path, "stage": written["stage"], "md5": written["md5"]})
        return found

    def _needed(self, sql: str, where: str, found: dict[str, str], within: tuple[str, ...] = ()) -> dict[str, str]:
        """Name -> body of what the query reads, what is read first in front. `within`: the views that it is part of."""
        taken = {"results", "metrics", *self.own, *self.views}
        for name in sql_text.own_names(sql, where):
            if name in taken:
                raise CatalogError(f"{where} names a query of its WITH {name}, which is a table or view already; give it another name.")
        for name in sql_text.tables(sql, where):
            if name in within:
                raise CatalogError(f"{self.path}: views.{name} reads itself, by way of {' and '.join(within)}; break the circle.")
            if name in found or name == "metrics":
                continue
            if name in self.views:
                body = self.views[name]
                self._needed(body, f"{self.path}: views.{name}", found, (*within, name))
                found[name] = self._filled(body, f"{self.path}: views.{name}")
            elif name == "results":
                found[name] = f"FROM main.results WHERE system = {sql_text.text(self.system)} AND profile = {sql_text.text(self.profile)}"
                self.read.add(name)
            elif name in self.own:
                found[name] = f"FROM {sql_text.name(self.system)}.{sql_text.name(name)} WHERE profile = {sql_text.text(self.profile)}"
                self.read.add(name)
            else:
                allowed = ", ".join(["results", *self.views, *sorted(self.own)])
                raise CatalogError(f"{where} reads {name}; a claim reads its own system's tables, by bare name: {allowed}.")
        return found


def _check_views(scope: Scope) -> None:
    """Bind every view, also one that no claim reads, without reading a row."""
    for name in scope.views:
        query = scope.whole(f"SELECT * FROM {sql_text.name(name)}", scope.path)
        with _guarded(scope.con, f"{scope.path}: views.{name}"):
            scope.con.execute(f"{query} LIMIT 0")


@contextlib.contextmanager
def _guarded(con: duckdb.DuckDBPyConnection, where: str) -> Iterator[None]:
    """Run a query for `LONGEST` seconds at most; DuckDB's errors become one sentence about `where`."""
    timer = threading.Timer(LONGEST, con.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except duckdb.InterruptException:
        raise CatalogError(f"{where} takes longer than {LONGEST:g} seconds and was stopped; give it an end, or less to read.") from None
    except duckdb.OutOfMemoryException:
        raise CatalogError(f"{where} needs more memory than there is; give it an end, or less to read.") from None
    except duckdb.Error as error:
        raise CatalogError(f"{where} is wrong SQL: {sql_text.first_line(error)}") from None
    finally:
        timer.cancel()


def _claim(scope: Scope, claim: Row, printed: Mapping[str, Any]) -> tuple[Row, list[Row]]:
    """The row of a claim at one profile, and those of its tests."""
    where = f"{scope.path}: claims.{claim['id']} ({scope.profile})"
    ours, sql = effect(scope, claim["ours"], f"{where}: ours", exact=claim["exact"])
    other, sql_other = None, None
    if claim["against"]:
        other, sql_other = effect(scope, claim["against"]["value"], f"{where}: against", exact=claim["exact"])
    tests = []
    for number, test in enumerate(claim["tests"], start=1):
        place = f"{where}: tests[{number}]"
        mine, share = test["sql"].strip() == "ours", test["relation"] == "share"
        exact = test["exact"] or (mine and claim["exact"])
        if mine and not share and exact == claim["exact"]:
            measured, query = ours, sql
        else:
            measured, query = effect(scope, claim["ours"] if mine else test["sql"], place, exact=exact, share=share)
        result = verdict(measured, test["relation"], test["bound"], test["bound_high"])
        kept = {key: test[key] for key in ("says", "relation", "bound", "bound_high", "bound_from", "exact")}
        sampled = measured is not None and not test["exact"] and not share
        kept["smallest_effect"] = (measured[2] - measured[1]) / 2 if sampled else None
        tests.append({"position": number, "verdict": result, "sql": query} | kept | _columns(measured, ("value", "low", "high", "n")))
    against = claim["against"] or {"name": None, "kind": None}
    seen = [test["smallest_effect"] for test in tests if test["smallest_effect"] is not None]
    row = {
        "claimed_by": claim["by"],
        "text": claim["text"],
        "rule": "; ".join(claim_test["says"] for claim_test in claim["tests"]),
        "verdict": overall(test["verdict"] for test in tests),
        "metric": claim["metric"],
        "where_printed": claim["where"],
        "trust": printed.get("trust"),
        "reported": printed.get("value"),
        "reported_id": claim["reported"],
        "against_name": against["name"],
        "against_kind": against["kind"],
        "smallest_effect": seen[0] if seen else None,
        "sql_ours": sql,
        "sql_against": sql_other,
        "sql_rows": scope.rows_behind(claim["ours"], where),
    }
    row |= _columns(ours, ("ours", "ours_low", "ours_high", "n"))
    row |= _columns(other, ("against", "against_low", "against_high", "against_n"))
    if claim["exact"]:  # its own interval only where it is tested; to a reader it has none
        row |= dict.fromkeys(("ours_low", "ours_high", "against_low", "against_high"))
    return row, tests


def effect(
    scope: Scope, sql: str, where: str, *, exact: bool = False, share: bool = False
) -> tuple[tuple[float, float, float, int | None] | None, str]:
    """Run the query of an effect: (value, low, high, n), or None where it was not measured; and the SQL as it was run.

    An exact effect is its own interval. Of a share of resamples, low and high are the share itself.
    """
    query = scope.whole(sql, where)
    with _guarded(scope.con, where):
        rows = scope.con.execute(query).fetchmany(2)
    if len(rows) > 1:
        raise CatalogError(f"{where} must give one row; it gives several.")
    width = 1 if exact else 2 if share else 4
    if rows and len(rows[0]) != width:
        what = {1: "one column, the value", 2: "two columns, share and n", 4: "four columns, value, low, high and n"}[width]
        raise CatalogError(f"{where} must give {what}; it gives {len(rows[0])}.")
    if not rows or rows[0][0] is None:
        return None, query
    numbers = [None if value is None else _finite(value, where) for value in rows[0]]
    if width < 4:
        value, n = numbers[0], numbers[1] if share else None
        if share and not 0 <= value <= 1:
            raise CatalogError(f"{where} gives the share {value:g}; it must lie between 0 and 1.")
        return (value, value, value, None if n is None else int(n)), query
    value, low, high, n = numbers
    if low is None or high is None or n is None:
        raise CatalogError(f"{where} gives {value:g} without its interval or n; add them, or say `exact: true` where nothing is sampled.")
    if not low <= value <= high or n < 1:
        raise CatalogError(f"{where} gives {value:g} with the interval {low:g} to {high:g} and n = {n:g}, which do not fit together.")
    return (value, low, high, int(n)), query


def verdict(measured: tuple[float, float, float, Any] | None, relation: str, bound: float, bound_high: float | None = None) -> str:
    """`holds` with the whole interval on the right side of the bound, `fails` with it on the wrong side, else `undecided`."""
    if measured is None:
        return "not measured"
    _, low, high, _ = measured
    if relation == "between" and bound_high is None:
        raise CatalogError("A test of the relation between needs both bounds.")
    if relation == "share":
        return "holds" if low >= SHARE_HOLDS else "fails" if high <= SHARE_FAILS else "undecided"
    sides = {
        "above": (low > bound, high <= bound),
        "at_least": (low >= bound, high < bound),
        "below": (high < bound, low >= bound),
        "at_most": (high <= bound, low > bound),
    }
    if relation == "between":
        sides["between"] = (bound <= low and high <= bound_high, high < bound or low > bound_high)
    right, wrong = sides[relation]
    return "holds" if right else "fails" if wrong else "undecided"


def overall(verdicts: Any) -> str:
    """The verdict of a claim from those of its tests."""
    given = set(verdicts)
    return next(word for word in ("not measured", "fails", "undecided", "holds") if word in given)


def _columns(measured: tuple | None, names: tuple[str, ...]) -> Row:
    return dict(zip(names, measured or (None,) * len(names)))


def _finite(value: Any, where: str) -> float:
    """The value as a number, or an error where it is none."""
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise CatalogError(f"{where} must give finite numbers; it gives {value!r}.")
    return number
