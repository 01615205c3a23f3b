"""The claims of a system judged on reports in a folder of a test, as the catalog judges them."""

import duckdb

from catalog.base.params import ROOT
from catalog.database import claims, ledger, queries
from catalog.report import tables as declarations


def verdicts(system, root, prefix):
    """Claim -> verdict, by the reports of profile small under ``root``; named queries that begin with ``prefix`` must find rows."""
    folder = root / "reports" / system / "small"
    con = duckdb.connect()
    con.execute(f"CREATE SCHEMA {system}")
    for path in folder.glob("tables/*.parquet"):
        con.execute(f"CREATE TABLE {system}.{path.stem} AS SELECT 'small' AS profile, * FROM '{path}'")
    con.execute(f"CREATE TABLE results AS SELECT * FROM '{folder / 'results.parquet'}'")
    con.execute("CREATE TABLE metrics (name TEXT)")
    card = {"name": system, "ledger": ledger.read(system), "tables": declarations.declared(system)}
    found = claims.evaluate(con, [card], [])
    for query in queries.read(ROOT, [system]):
        assert not query["name"].startswith(prefix) or con.execute(query["sql"]).fetchall(), query["name"]
    return {row["claim"]: row["verdict"] for row in found["claims"]}
