"""Data sets: what is in each, under which licence, its columns and first rows, and which systems use it."""

import json
from typing import Any

import polars as pl
import streamlit as st

from app_lib import assets, data, ui

SENSITIVE = "First rows. Some of the texts may offend; open to see them."


def index() -> None:
    """Draw one card a data set."""
    st.title("Data sets", anchor=False)
    st.markdown("Everything the systems read: real tables taken by hash, and tables that the pipeline makes.")
    rows = data.records("""
        SELECT d.dataset AS name, d.pretty_name AS title, d.summary, d.license, d.language, d.source, f.rows, f.bytes
        FROM datasets d LEFT JOIN (
            SELECT DISTINCT ON (dataset) * FROM (
                SELECT dataset, profile, sum(rows) AS rows, sum(bytes) AS bytes
                FROM dataset_files GROUP BY dataset, profile
            ) ORDER BY dataset, profile <> 'small', profile
        ) f ON f.dataset = d.dataset ORDER BY d.dataset
    """)
    if not rows:
        ui.nothing_measured("data sets")
        return
    for row in rows:
        row["badges"] = [(row["license"], "gray"), (row["language"], "gray")]
        row["facts"] = [
            f"{ui.short_count(row['rows'])} rows" if row["rows"] is not None else "",
            ui.size(row["bytes"]) if row["bytes"] else "",
        ]
    assets.grid(rows, "datasets", "dataset")


def detail(name: str) -> None:
    """Draw one data set."""
    row = data.records("SELECT * FROM datasets WHERE dataset = $n", {"n": name})[0]
    assets.back("datasets", "All data sets")
    st.title(ui.esc(row["pretty_name"]), anchor=False)
    st.markdown(ui.esc(row["summary"] or ""))
    assets.facts(
        [
            ("Licence", row["license"]),
            ("Language", row["language"]),
            ("Source", row["source"]),
            ("Made by", row["made_by"]),
        ]
    )
    systems = assets.used_by("dataset", name)
    files = data.records("SELECT * FROM dataset_files WHERE dataset = $n ORDER BY profile = 'full', profile, path", {"n": name})
    content, card = st.tabs(["Files and columns", "Card"])
    with content:
        assets.file_table(
            [{key: file[key] for key in ("profile", "path", "rows", "bytes", "md5")} for file in files],
            "dataset_files",
            name,
        )
        if files:
            file = files[0]
            if len(files) > 1:
                file = files[st.selectbox("File", range(len(files)), format_func=lambda place: files[place]["path"])]
            columns(file, ui.front_matter(row["card"]).get("columns") or {})
            first_rows(file, assets.sensitive(row["card"], systems))
    with card:
        ui.card_body(row["card"])


def columns(file: dict[str, Any], meanings: dict[str, str]) -> None:
    """Draw the schema of one file, with what the card says of its columns."""
    schema = [column | {"meaning": meanings.get(column["name"])} for column in file["columns"] or []]
    if schema:
        st.subheader("Columns", anchor=False)
        ui.frame(
            pl.DataFrame(schema, infer_schema_length=None),
            key=f"columns_{file['path']}",
            height="content" if len(schema) < 25 else 500,
        )


def first_rows(file: dict[str, Any], sensitive: bool) -> None:
    """Draw the first rows of one file, folded where its texts may offend."""
    rows = json.loads(file["head"] or "[]")
    if not rows:
        return
    texts = [
        {name: value if not isinstance(value, list | dict) else json.dumps(value, ensure_ascii=False) for name, value in row.items()}
        for row in rows
    ]
    shown = pl.DataFrame(texts, infer_schema_length=None, strict=False)
    if sensitive:
        fold = st.expander(SENSITIVE, icon=":material/visibility_off:", on_change="rerun", key=f"fold_{file['path']}")
        if fold.open:
            with fold:
                ui.frame(shown, key=f"head_{file['path']}")
    else:
        st.subheader("First rows", anchor=False)
        ui.frame(shown, key=f"head_{file['path']}")


known = [row["dataset"] for row in data.records("SELECT dataset FROM datasets ORDER BY dataset")]
asked = assets.asked_for("dataset", known)
if asked is None:
    index()
else:
    detail(asked)
