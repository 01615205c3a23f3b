"""How the pages read and draw claims: the paper's figure, ours, the trivial baseline's, and whether the claim holds."""

from typing import Any

import streamlit as st

from app_lib import charts, data, ui

_CLAIMS = """
SELECT c.*, s.title, s.main_claim, s.sort_order, m.display_name, m.unit, m.min_value, m.max_value
FROM claims c JOIN systems s USING (system) LEFT JOIN metrics m ON m.metric = c.metric
ORDER BY s.sort_order, c.system, c.profile = 'full', c.profile, c.position
"""
_QUERIES = (
    ("Our figure", "sql_ours"),
    ("The baseline’s", "sql_baseline"),
    ("The claim holds when this is true", "sql_holds"),
)


def all_claims() -> list[dict[str, Any]]:
    """Return every claim at every profile in the order of the cards, with its system's title and its metric."""
    return data.records(_CLAIMS)


def figures(claim: dict[str, Any]) -> None:
    """Draw the three figures of a claim: a strip with three marks, below it the numbers in the colours of the marks."""
    values = [
        ("paper", "orange", claim["reported"]),
        ("ours", "blue", claim["ours"]),
        ("baseline", "gray", claim["baseline"]),
    ]
    if all(value is None for _, _, value in values):
        return
    words = [f":{color}-badge[{name} **{ui.esc(ui.number(value))}**]" for name, color, value in values if value is not None]
    title = (claim["display_name"] or claim["metric"]) + (f", {claim['unit']}" if claim["unit"] else "")
    st.vega_lite_chart(
        charts.three_values(claim["reported"], claim["ours"], claim["baseline"], claim["min_value"], claim["max_value"], title),
        alt=", ".join(f"{name} {ui.number(value)}" for name, _, value in values),
    )
    st.markdown(" ".join(words))


def cards(rows: list[dict[str, Any]]) -> None:
    """Draw the claims two a row, the main one first."""
    rows = sorted(rows, key=lambda row: row["claim"] != row["main_claim"])
    for start in range(0, len(rows), 2):
        for cell, row in zip(st.columns(2), rows[start : start + 2], strict=False):
            with cell, st.container(border=True, height="stretch"):
                with st.container(horizontal=True, gap="small"):
                    ui.holds_badge(row["holds"])
                    if row["claim"] == row["main_claim"]:
                        st.badge("main claim", color="blue", icon=":material/star:")
                st.markdown(ui.esc(row["text"]))
                figures(row)
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.caption(ui.esc(" · ".join(text for text in (row["where_printed"], row["trust"]) if text)))
                    st.space("stretch")
                    with st.popover("How it is tested", type="tertiary", icon=":material/code:"):
                        for label, sql in _QUERIES:
                            if row[sql]:
                                st.caption(label)
                                st.code(row[sql], language="sql", wrap_lines=True)
