"""How the pages read and draw claims: the paper's number, ours and a named comparator's, the tests behind the verdict, and their rows."""

from typing import Any

import streamlit as st

from app_lib import data, glossary, sql_links, strips, ui

_CLAIMS = """
SELECT c.*, s.title, s.main_claim, s.sort_order, m.display_name, m.unit, m.min_value, m.max_value
FROM claims c JOIN systems s USING (system) LEFT JOIN metrics m ON m.metric = c.metric
ORDER BY s.sort_order, c.system, c.profile = 'full', c.profile, c.claimed_by, c.position
"""
_TRUST = {
    "paper": "number printed by the paper",
    "repository": "number from the authors’ code",
    "third-party": "number as others print it",
}
_RELATIONS = {"above": "more than", "below": "less than", "at_least": "at least", "at_most": "at most"}


def all_claims() -> list[dict[str, Any]]:
    """Return every claim at every profile, those of the papers first, with its system's title and its metric."""
    return data.records(_CLAIMS)


def tests(system: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the tests of a system's claims: (claim, profile) -> rows of `claim_tests` in order."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in data.records("SELECT * FROM claim_tests WHERE system = $s ORDER BY claim, profile, position", {"s": system}):
        found.setdefault((row["claim"], row["profile"]), []).append(row)
    return found


def figures(claim: dict[str, Any]) -> None:
    """Draw the numbers of a claim: a strip with three marks and their intervals, below it the numbers in the colours of the marks."""
    ours = None if claim["ours"] is None else (claim["ours"], claim["ours_low"], claim["ours_high"])
    against = None if claim["against"] is None else (claim["against"], claim["against_low"], claim["against_high"])
    words = []
    if claim["reported"] is not None:
        words.append(("orange", "paper", ui.number(claim["reported"])))
    if ours:
        words.append(("blue", "ours", ui.with_interval(*ours) + (f", n = {claim['n']:,}" if claim["n"] else "")))
    if against:
        words.append(("gray", claim["against_name"], ui.with_interval(*against)))
    if claim["verdict"] == "not measured":
        st.caption("A test lacks its numbers at this profile, so there is no verdict.")
    if not words:
        return
    alt = "; ".join(f"{name} {number}" for _, name, number in words)
    name = claim["display_name"] or claim["metric"]
    title = name + (f", {claim['unit']}" if claim["unit"] and not name.lower().endswith(claim["unit"]) else "")
    st.caption(ui.esc(title))
    st.html(strips.values(claim["reported"], ours, against, claim["min_value"], claim["max_value"], alt))
    # The number first: a badge that is wider than its card ends in dots.
    st.markdown(" ".join(f":{color}-badge[**{ui.esc(number)}** {ui.esc(name)}]" for color, name, number in words))


def test(row: dict[str, Any]) -> None:
    """Draw one test: what it says, its verdict, the effect with its interval and the bound."""
    st.markdown(f"{ui.verdict_icon(row['verdict'])} {ui.esc(row['says'])}")
    if row["value"] is None:
        return
    bounds = [bound for bound in (row["bound"], row["bound_high"]) if bound is not None]
    words = in_words(row)
    st.html(strips.effect((row["value"], row["low"], row["high"]), bounds, row["verdict"], words))
    st.caption(ui.esc(words))


def in_words(row: dict[str, Any]) -> str:
    """A test's numbers in a line: the effect, its interval, what it must be, n and the smallest effect it could see."""
    n = f" · n = {row['n']:,}" if row["n"] else ""
    if row["relation"] == "share":
        return f"true in {100 * row['value']:.0f} % of the resamples; holds from 95 %, fails up to 5 %{n}"
    if row["relation"] == "between":
        wanted = f"must lie between {ui.number(row['bound'])} and {ui.number(row['bound_high'])}"
    else:
        wanted = f"must be {_RELATIONS[row['relation']]} {ui.number(row['bound'])}"
    said = ui.number(row["value"]) + ", nothing is sampled" if row["exact"] else ui.with_interval(row["value"], row["low"], row["high"])
    smallest = "" if row["smallest_effect"] is None else f" · smallest effect it can see {ui.number(row['smallest_effect'])}"
    source = "" if row["bound_from"] is None else f" · bound: {row['bound_from']}"
    return f"{said}; {wanted}{n}{smallest}{source}"


def cards(rows: list[dict[str, Any]], own_tests: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    """Draw the claims two a row: the main one first, then the papers' others, then checks of ours."""
    for by, heading in (("paper", None), ("project", "Checks of ours")):
        part = sorted((row for row in rows if row["claimed_by"] == by), key=lambda row: row["claim"] != row["main_claim"])
        if part and heading:
            st.markdown(f"**{heading}** :gray[:small[– calibrations, costs and sanity checks, which no paper claims]]")
        for start in range(0, len(part), 2):
            for cell, row in zip(st.columns(2), part[start : start + 2], strict=False):
                with cell, st.container(border=True, height="stretch"):
                    _card(row, own_tests.get((row["claim"], row["profile"]), []))


def _card(row: dict[str, Any], own_tests: list[dict[str, Any]]) -> None:
    """Draw one claim."""
    with st.container(horizontal=True, gap="small"):
        ui.verdict_badge(row["verdict"])
        if row["claim"] == row["main_claim"]:
            st.badge("main claim", color="blue", icon=":material/star:")
    st.markdown(f"**{ui.esc(row['text'])}**", help=glossary.of(row["text"]))
    figures(row)
    for item in own_tests:
        test(item)
    st.space("stretch")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(ui.esc(" · ".join(text for text in (row["where_printed"], _TRUST.get(row["trust"])) if text)))
        st.space("stretch")
        if address := sql_links.query_params(row["sql_rows"] or ""):
            st.page_link("app_pages/sql.py", label="Open the rows", icon=":material/table_rows:", query_params=address)
        with st.popover("SQL", type="tertiary", icon=":material/code:"):
            for label, sql in [("Our number", row["sql_ours"]), ("Compared with", row["sql_against"])]:
                if sql:
                    st.caption(label)
                    st.code(sql, language="sql", wrap_lines=True)
            for item in own_tests:
                st.caption(ui.esc(item["says"]))
                st.code(item["sql"], language="sql", wrap_lines=True)
