"""The pipeline: every stage, what it reads from others, and what it costs."""

import streamlit as st

from app_lib import charts, data, graph, ui

st.title("Pipeline", anchor=False)
st.markdown("One box is one DVC stage; `dvc repro` runs what changed, from left to right.")
stages = data.records("SELECT * FROM stages ORDER BY stage")
if not stages:
    ui.nothing_measured("stages")
    st.stop()
pairs = graph.edges(stages)
systems = data.records("SELECT system, title FROM systems WHERE system IN (SELECT system FROM stages) ORDER BY sort_order, system")
titles = {row["system"]: row["title"] for row in systems}
names = {row["stage"] for row in stages}
system = st.selectbox(
    "System",
    list(titles),
    index=None,
    format_func=lambda name: titles[name],
    placeholder="All systems",
    label_visibility="collapsed",
)
if system is None:
    keep = names
else:
    keep = graph.upstream({row["stage"] for row in stages if row["system"] == system}, pairs) | ({"catalog"} & names)
graph.draw(stages, keep, pairs)

runs = data.records("""
    SELECT r.system, r.profile, r.seconds, r.device, s.title FROM runs r JOIN systems s USING (system)
    WHERE r.seconds IS NOT NULL ORDER BY s.sort_order, r.system
""")
runs = [row for row in runs if system in (None, row["system"])]
if runs:
    st.subheader("Time of the evaluations", anchor=False)
    profile = ui.choose_profile([row["profile"] for row in runs], key="run_profile")
    st.vega_lite_chart(
        charts.durations(
            [
                {
                    "label": row["title"],
                    "seconds": row["seconds"],
                    "shown": ui.duration(row["seconds"]),
                    "device": row["device"],
                }
                for row in runs
                if row["profile"] == profile
            ]
        )
    )

st.subheader("Stages", anchor=False)
table = data.table('SELECT stage, system, "desc", in_lock, cmd FROM stages ORDER BY stage')
table = table.filter(table["stage"].is_in(sorted(keep)))
st.caption("Tick a stage to see its files.")
choice = ui.frame(table, data.column_help("main", "stages"), key="stage_table", on_select="rerun", selection_mode="single-row")
ui.csv_button(table, "stages")
for place in choice.selection.rows:
    row = next(row for row in stages if row["stage"] == table["stage"][place])
    graph.stage_details(row)
