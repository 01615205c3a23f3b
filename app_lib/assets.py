"""What the pages of data sets and models share: the grid of cards, facts, files, and links to their users."""

from typing import Any

import polars as pl
import streamlit as st

from app_lib import data, ui

COLUMNS = 3


def asked_for(parameter: str, known: list[str]) -> str | None:
    """Return the name that `?<parameter>=` asks for, or None; a name that the catalog does not have is said so."""
    asked = st.query_params.get(parameter)
    if asked is not None and asked not in known:
        st.warning(f"The catalog has no {ui.esc(parameter)} called “{ui.esc(asked)}”; here are all that it has.")
        return None
    return asked


def grid(rows: list[dict[str, Any]], page: str, parameter: str) -> None:
    """Draw one card a row.

    Args:
        rows: name, title, summary, badges ((text, colour) pairs), facts (texts).
        page: file of the page in `app_pages`, without `.py`; `parameter` is its query parameter.
    """
    for start in range(0, len(rows), COLUMNS):
        for cell, row in zip(st.columns(COLUMNS), rows[start : start + COLUMNS], strict=False):
            with cell, st.container(border=True, height="stretch", gap="xsmall"):
                st.caption(ui.esc(" · ".join(text for text in row["facts"] if text)))
                st.subheader(ui.esc(row["title"]), anchor=False)
                st.markdown(ui.esc(row["summary"]))
                st.space("stretch")
                with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                    for text, color in row["badges"]:
                        st.badge(ui.esc(text), color=color)
                    st.space("stretch")
                    link = {"icon": ":material/arrow_forward:", "icon_position": "right"}
                    st.page_link(f"app_pages/{page}.py", label="Open", query_params={parameter: row["name"]}, **link)


def back(page: str, label: str) -> None:
    """Draw the link from one card to the grid of all."""
    st.page_link(f"app_pages/{page}.py", label=label, icon=":material/arrow_back:")


def facts(pairs: list[tuple[str, Any]]) -> None:
    """Draw short facts side by side."""
    known = [(label, value) for label, value in pairs if value]
    for cell, (label, value) in zip(st.columns(max(len(known), 1)), known, strict=False):
        cell.caption(label)
        cell.markdown(f"**{ui.esc(value)}**")


def used_by(kind: str, name: str) -> list[str]:
    """Draw links to the systems that use a data set or model; return their names."""
    rows = data.records(
        "SELECT DISTINCT u.system, coalesce(s.title, u.system) AS title FROM uses u LEFT JOIN systems s USING (system) "
        "WHERE u.kind = $k AND u.name = $n ORDER BY u.system",
        {"k": kind, "n": name},
    )
    if rows:
        st.caption("Used by")
        with st.container(horizontal=True, gap="medium"):
            for row in rows:
                st.page_link(
                    "app_pages/system.py",
                    label=ui.esc(row["title"]),
                    icon=":material/description:",
                    query_params={"system": row["system"]},
                )
    return [row["system"] for row in rows]


def file_table(rows: list[dict[str, Any]], table: str, name: str) -> None:
    """Draw the files of a data set or model."""
    if not rows:
        st.caption("No file of it was built yet.")
        return
    st.subheader("Files", anchor=False)
    shown = pl.DataFrame(rows, infer_schema_length=None)
    ui.frame(
        shown,
        data.column_help("main", table),
        key=f"files_{name}",
        column_config={"bytes": st.column_config.NumberColumn("size", format="bytes")},
    )


def sensitive(card: str, systems: list[str]) -> bool:
    """Return whether a card, or the card of one of the systems, has the flag `sensitive: true`."""
    cards = [card] + [
        row["card"] for row in data.records("SELECT card FROM systems WHERE list_contains($names, system)", {"names": systems})
    ]
    return any(ui.front_matter(text).get("sensitive") is True for text in cards)
