"""Browse one table of the catalog: search its text, pick values of a column, take the rows as CSV."""

from typing import Any

import streamlit as st

from app_lib import data, ui

SHOWN_ROWS = 1_000
MOST_CHOICES = 60


def system_tables(system: str) -> dict[str, str]:
    """Return a system's own tables by name: name -> description."""
    rows = data.records(
        "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = $system ORDER BY table_name",
        {"system": system},
    )
    return {row["table_name"]: row["comment"] or "" for row in rows}


def browse(schema: str, name: str, fixed: dict[str, str | None]) -> None:
    """Draw the rows of a table or view with its filters; the CSV has all rows that the filters leave.

    Args:
        fixed: columns that the page has already chosen -> their value; they are not drawn.
    """
    source = f"{data.quote(schema)}.{data.quote(name)}"
    conditions = [f"{data.quote(column)} = $fixed_{place}" for place, column in enumerate(fixed)]
    params: dict[str, Any] = {f"fixed_{place}": value for place, value in enumerate(fixed.values())}
    _filter(schema, name, f"FROM {source} WHERE {' AND '.join(conditions)}", conditions, params)
    kept = f"FROM {source} WHERE {' AND '.join(conditions)}"
    total = data.one(f"SELECT count(*) {kept}", params)
    rows = data.table(f"SELECT * {kept} LIMIT {SHOWN_ROWS}", params)
    file = name if schema == "main" else f"{schema}_{name}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"the first {SHOWN_ROWS:,} of {total:,} rows" if total > SHOWN_ROWS else ui.counted(total))
        st.space("stretch")
        ui.csv_button(lambda: data.table(f"SELECT * {kept}", params), file)
    ui.frame(rows.drop(list(fixed)), data.column_help(schema, name), key=f"rows_{file}")


def _filter(schema: str, name: str, kept: str, conditions: list[str], params: dict[str, Any]) -> None:
    """Draw the filters; add what they ask to `conditions` and `params`."""
    texts = [
        row["column_name"]
        for row in data.records(
            "SELECT column_name FROM duckdb_columns() "
            "WHERE schema_name = $s AND table_name = $t AND data_type = 'VARCHAR' ORDER BY column_index",
            {"s": schema, "t": name},
        )
    ]
    key = f"{schema}_{name}"
    quiet = {"label_visibility": "collapsed"}
    left, middle, right = st.columns([2, 2, 3])
    with left:
        hint = "Search in all text columns"
        needle = st.text_input("Search", key=f"search_{key}", placeholder=hint, icon=":material/search:", **quiet)
    with middle:
        column = st.selectbox("Column", texts, None, key=f"column_{key}", placeholder="Filter by a column", **quiet)
    if column is not None:
        named = data.quote(column)
        found = data.table(
            f"SELECT {named}, count(*) {kept} AND {named} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MOST_CHOICES}",
            params,
        )
        choices = found.to_series(0).to_list()
        with right:
            chosen = st.multiselect("Values", choices, key=f"values_{key}_{column}", placeholder="All values", **quiet)
        if chosen:
            conditions.append(f"list_contains($chosen, {named})")
            params["chosen"] = chosen
    if needle and texts:
        tests = " OR ".join(f"contains(lower({data.quote(text)}), lower($needle))" for text in texts)
        conditions.append(f"({tests})")
        params["needle"] = needle
