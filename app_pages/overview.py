"""Overview: every system at a glance. What it is, the verdict on its main claim here, and at which scales."""

from typing import Any

import streamlit as st

from app_lib import charts, claims, data, glossary, ui

COLUMNS = 3


def counts() -> None:
    """Draw the totals."""
    totals = data.records("""
        SELECT (SELECT count(*) FROM systems) AS systems, (SELECT count(*) FROM datasets) AS datasets,
               (SELECT count(*) FROM models) AS models, (SELECT count(*) FROM results) AS results,
               (SELECT count(*) FROM claims WHERE claimed_by = 'paper' AND verdict = 'holds') AS hold,
               (SELECT count(*) FROM claims WHERE claimed_by = 'paper' AND verdict = 'fails') AS fail,
               (SELECT count(*) FROM claims WHERE claimed_by = 'paper' AND verdict = 'undecided') AS undecided,
               (SELECT count(*) FROM claims WHERE claimed_by = 'paper' AND verdict <> 'not measured') AS tested
    """)[0]
    with st.container(horizontal=True, gap="medium"):
        st.metric("Systems", ui.number(totals["systems"]), width="content")
        st.metric("Data sets", ui.number(totals["datasets"]), width="content")
        st.metric("Models", ui.number(totals["models"]), width="content")
        st.metric("Measured results", ui.number(totals["results"]), width="content")
        st.metric(
            "Claims of the papers that hold",
            f"{totals['hold']} of {totals['tested']}",
            width="content",
            help="Of those measured, over all profiles. Checks of ours are not counted.",
        )
    st.markdown(f":gray[:small[{totals['fail']} of them fail here, and {totals['undecided']} are undecided: too few items to tell.]]")


def ledger(rows: list[dict[str, Any]]) -> None:
    """Draw the picture of all claims: one line a system and profile, one mark a claim, checks of ours after those of the paper."""
    order: dict[str, list[str]] = {}
    profiles: dict[str, set[str]] = {}
    for row in rows:
        profiles.setdefault(row["system"], set()).add(row["profile"])
        seen = order.setdefault(row["system"], [])
        if row["claim"] not in seen:
            seen.append(row["claim"])
    marks = [
        {
            "label": row["system"] + (f" · {row['profile']}" if len(profiles[row["system"]]) > 1 else ""),
            "position": order[row["system"]].index(row["claim"]) + 1,
            "verdict": row["verdict"],
            "by": row["claimed_by"],
            "system": row["title"],
            "claim": row["text"],
            "profile": row["profile"],
            "paper": ui.number(row["reported"]),
            "ours": ui.number(row["ours"]) if row["ours"] is None else ui.with_interval(row["ours"], row["ours_low"], row["ours_high"]),
            "compared": "–" if row["against"] is None else f"{ui.number(row['against'])} ({row['against_name']})",
        }
        for row in rows
    ]
    st.markdown("**Every claim**, one mark each; the small ones are checks of ours :gray[:small[– point at it to read it]]")
    st.vega_lite_chart(charts.ledger(marks), width="stretch", alt="The verdict on each claim of each paper at each profile")


def card(system: dict[str, Any], own: list[dict[str, Any]], measured: list[str]) -> None:
    """Draw one system: its paper, summary, main claim, and a badge for each profile it was run at."""
    main = [row for row in own if row["claim"] == system["main_claim"]]
    with st.container(border=True, height="stretch", gap="xsmall"):
        st.caption(ui.esc(" · ".join(text for text in (system["task"], system["venue"]) if text)))
        st.subheader(ui.esc(system["title"]), anchor=False)
        st.markdown(ui.esc(system["summary"]), help=glossary.of(system["summary"]))
        shown = next((row for row in main if row["verdict"] != "not measured"), main[0] if main else None)
        if shown is not None:
            st.markdown(f":gray[:small[{ui.esc(shown['text'])}]]", help=glossary.of(shown["text"], known=system["summary"]))
            claims.figures(shown)
        st.space("stretch")
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            for profile in ui.profiles_in_order([row["profile"] for row in main] or measured):
                ui.verdict_badge(next((row["verdict"] for row in main if row["profile"] == profile), None), prefix=f"{profile}:")
            if not measured:
                st.badge("not run yet", color="gray", icon=":material/schedule:")
            st.space("stretch")
            st.page_link(
                "app_pages/system.py",
                label="Open",
                icon=":material/arrow_forward:",
                icon_position="right",
                query_params={"system": system["system"]},
            )


systems = data.records("SELECT * EXCLUDE (card) FROM systems ORDER BY sort_order, system")
rows = claims.all_claims()
measured = data.records("SELECT DISTINCT system, profile FROM results")
left, right = st.columns([4, 5], gap="large") if rows else (st.container(), None)
with left:
    st.title("Paper catalog", anchor=False)
    st.markdown("What each paper reported, what was measured here, and what a named comparator scores, side by side.")
    if not systems:
        ui.nothing_measured("systems")
        st.stop()
    counts()
if right is not None:
    with right:
        ledger(rows)
for start in range(0, len(systems), COLUMNS):
    for cell, system in zip(st.columns(COLUMNS), systems[start : start + COLUMNS], strict=False):
        with cell:
            card(
                system,
                [row for row in rows if row["system"] == system["system"]],
                [row["profile"] for row in measured if row["system"] == system["system"]],
            )
