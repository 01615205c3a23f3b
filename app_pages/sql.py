"""Ask the catalog in SQL: named queries, free SQL on a read-only connection, and what every table and column means."""

import streamlit as st

from app_lib import data, limited_sql, sql_links, ui
from catalog.base.errors import CatalogError
from catalog.database import sql_text

START = (
    "SELECT system, profile, claim, verdict, reported, ours, ours_low, ours_high, against_name, against\n"
    "FROM claims\nORDER BY system, profile, claim"
)
FIRST_TABLE = "claims"  # of which the dictionary tells first; START reads it


def take_query() -> None:
    """Put the chosen named query into the editor."""
    chosen = st.session_state.named_query
    if chosen is not None:
        st.session_state.sql = queries[chosen]["sql"].strip()


def asked_for() -> str | None:
    """Return the statement that the address names: `?query=` a named one, `?sql=` any, with values for its `$name`s."""
    asked = st.query_params.to_dict()
    if "sql" in asked:
        sql = sql_text.fill(asked["sql"].strip(), asked)
        if len(sql) <= sql_links.MAX_LINK:
            return sql
        st.warning(f"The statement in the address is too long: it may have {sql_links.MAX_LINK:,} characters.")
    elif "query" in asked:
        if asked["query"] in queries:
            return queries[asked["query"]]["sql"].strip()
        st.warning(f"The catalog has no query called “{ui.esc(asked['query'])}”. Choose one of those below.")
    return None


def show_answer(sql: str) -> None:
    """Run the statement and draw its rows, or say in one sentence why not."""
    try:
        answer = limited_sql.ask(sql)
    except CatalogError as error:
        st.error(ui.message(error), icon=":material/error:")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        cut = "the first " if answer.capped else ""
        st.caption(f"{cut}{ui.counted(answer.frame.height)}, {answer.seconds:.2f} s")
        if answer.cut:
            st.caption(f"Texts of more than {limited_sql.MAX_CELL:,} characters are cut, here and in the CSV.")
        st.space("stretch")
        ui.csv_button(answer.frame, "query")
    ui.frame(answer.frame, labels={name: name for name in answer.frame.columns}, key="answer")


@st.fragment  # so that looking up a table does not run the statement again
def dictionary() -> None:
    """Draw tables and columns with their comments, one table at a time."""
    tables = data.records("""
        SELECT schema_name AS schema, table_name AS name, comment FROM duckdb_tables() WHERE NOT internal
        UNION ALL SELECT schema_name, view_name, comment FROM duckdb_views() WHERE NOT internal
        ORDER BY schema <> 'main', schema, name
    """)
    if not tables:
        return
    labels = [row["name"] if row["schema"] == "main" else f"{row['schema']}.{row['name']}" for row in tables]
    first = labels.index(FIRST_TABLE) if FIRST_TABLE in labels else 0
    place = st.selectbox("Tables and columns", range(len(tables)), index=first, format_func=lambda i: labels[i], key="dictionary")
    row = tables[place]
    st.caption(ui.esc(row["comment"] or "No description."))
    columns = data.table(
        'SELECT column_name AS "column", lower(data_type) AS type, comment AS meaning FROM duckdb_columns() '
        "WHERE schema_name = $s AND table_name = $t ORDER BY column_index",
        {"s": row["schema"], "t": row["name"]},
    )
    ui.frame(
        columns,
        key="dictionary_rows",
        height="content",
        column_config={
            "column": st.column_config.Column(width="small"),
            "type": st.column_config.Column(width="small"),
        },
    )


st.title("SQL", anchor=False)
st.markdown(
    f"Read-only DuckDB: one statement, up to {limited_sql.MAX_ROWS:,} rows, {limited_sql.MAX_SECONDS:g} seconds and "
    f"{ui.size(limited_sql.MEMORY)} of memory. "
    "The same file opens in a terminal with `duckdb -readonly catalog.duckdb`."
)
queries = {row["name"]: row for row in data.records("SELECT * FROM queries ORDER BY rowid")}
address = st.query_params.to_dict()
if "sql" not in st.session_state or (address and address != st.session_state.get("sql_address")):
    st.session_state.sql = asked_for() or START
st.session_state.sql_address = address  # so that a second link is followed, and what is typed after it stays
main, side = st.columns([3, 2], gap="large")
with main:
    chosen = st.selectbox(
        "Named query",
        list(queries),
        index=None,
        format_func=lambda name: queries[name]["title"] or name,
        key="named_query",
        on_change=take_query,
        placeholder="Choose a question, or write your own below",
    )
    if chosen is not None and queries[chosen]["description"]:
        st.caption(ui.esc(queries[chosen]["description"]))
    st.text_area("Statement", key="sql", height=190, label_visibility="collapsed")
    st.button("Run", type="primary", icon=":material/play_arrow:", shortcut="ctrl+enter")
    show_answer(st.session_state.sql)
with side:
    dictionary()
