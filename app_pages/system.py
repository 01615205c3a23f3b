"""One system: its numbers against the paper's, its pictures and tables, its card, parameters and pipeline."""

import json
import re
from typing import Any

import streamlit as st

from app_lib import browse, claims, data, glossary, graph, maps, plots, ui

SENSITIVE = "Tables of model outputs, some of which may offend. Open to see them."
USED = {
    "dataset": ("app_pages/datasets.py", ":material/database:"),
    "model": ("app_pages/models.py", ":material/neurology:"),
}


def head(system: dict[str, Any]) -> None:
    """Draw title, summary, the links to the paper, and what the system uses."""
    st.title(ui.esc(system["title"]), anchor=False)
    st.markdown(ui.esc(system["summary"]), help=glossary.of(system["summary"]))
    st.markdown(f"*{ui.esc(system['paper_title'])}*")
    name = system["system"]
    uses = data.records("SELECT DISTINCT kind, name FROM uses WHERE system = $s ORDER BY kind, name", {"s": name})
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(ui.esc(system["task"]), color="violet")
        if system["venue"]:
            st.badge(ui.esc(system["venue"]), color="gray")
        if re.fullmatch(r"\d{4}\.\d{4,5}", system["arxiv"] or ""):
            address = f"https://arxiv.org/abs/{system['arxiv']}"
            st.link_button(f"arXiv {system['arxiv']}", address, icon=":material/article:", type="tertiary")
        if address := repository_address(system["repository"] or ""):
            st.link_button("authors’ code", address, icon=":material/code:", type="tertiary")
        for row in uses:
            page, icon = USED[row["kind"]]
            st.page_link(page, label=ui.esc(row["name"]), icon=icon, query_params={row["kind"]: row["name"]})
        if name in maps.systems():
            st.page_link("app_pages/where.py", label="Where it looks", icon=":material/center_focus_strong:", query_params={"system": name})


def repository_address(repository: str) -> str | None:
    """Return the address of a repository that the card gives as owner/name on GitHub or as an https address."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        return f"https://github.com/{repository}"
    return repository if re.fullmatch(r"https://[\w./~-]+", repository) else None


def run_line(system: str, profile: str | None) -> None:
    """Draw when, how long and on what the results were measured."""
    runs = data.records("SELECT * FROM runs WHERE system = $s AND profile = $p", {"s": system, "p": profile})
    if not runs:
        return
    run = runs[0]
    parts = [
        f"Measured {run['started']:%Y-%m-%d}" if run["started"] else "Measured",
        f"in {ui.duration(run['seconds'])}" if run["seconds"] else "",
        f"on {run['device']}" if run["device"] else "",
        f"in {run['dtype']}" if run["dtype"] else "",
        f"with {ui.size(run['peak_memory_mb'] * 1e6)} of memory" if run["peak_memory_mb"] else "",
        f"at {ui.number(run['tokens_per_second'])} tokens/s" if run["tokens_per_second"] else "",
    ]
    st.caption(ui.esc(" ".join(part for part in parts if part)) + ".")
    with st.popover("Versions", icon=":material/deployed_code:", type="tertiary"):
        st.code(json.dumps(json.loads(run["versions"] or "{}"), indent=1), language="json")


def results_tab(system: str, profile: str | None) -> None:
    """Draw claims, the stages' pictures, and the comparison with the paper."""
    rows = [row for row in claims.all_claims() if row["system"] == system and row["profile"] == profile]
    if rows:
        st.subheader("What the paper claims, and the verdict here", anchor=False)
        claims.cards(rows, claims.tests(system))
    pictures = data.records("SELECT * FROM plots WHERE system = $s AND profile = $p ORDER BY name", {"s": system, "p": profile})
    if pictures:
        st.subheader("Pictures", anchor=False)
        plots.scroll_in_cards()
        for start in range(0, len(pictures), 2):
            pair = pictures[start : start + 2]
            for cell, picture in zip(st.columns(2) if len(pair) == 2 else [st.container()], pair, strict=True):
                with cell:
                    plots.draw(picture)
    comparison = data.table("SELECT * FROM comparison WHERE system = $s AND profile = $p", {"s": system, "p": profile})
    if comparison.height:
        st.subheader("Paper, ours and what ours is compared with", anchor=False)
        ui.frame(comparison.drop("system", "profile"), data.column_help("main", "comparison"), key="comparison")
        ui.csv_button(comparison, f"{system}_{profile}_comparison")
    if not (rows or pictures or comparison.height):
        ui.nothing_measured(f"results of {ui.esc(system)}")


def tables_tab(system: str, profile: str | None, sensitive: bool) -> None:
    """Draw every measured number, the numbers the paper printed, and the system's own tables."""
    st.subheader("Measured results", anchor=False)
    browse.browse("main", "results", {"system": system, "profile": profile})
    st.subheader("Numbers printed by the paper", anchor=False)
    browse.browse("main", "reported", {"system": system})
    texts = browse.system_tables(system)
    if texts:
        st.subheader("The system’s own tables", anchor=False)
        if not sensitive:
            own_table(system, profile, texts)
            return
        fold = st.expander(SENSITIVE, icon=":material/visibility_off:", on_change="rerun", key=f"sensitive_{system}")
        if fold.open:
            with fold:
                own_table(system, profile, texts)


def own_table(system: str, profile: str | None, texts: dict[str, str]) -> None:
    """Draw one of the system's own tables, which are given as name -> description."""
    names = list(texts)
    name = st.pills("Table", names, default=names[0], key=f"table_{system}", label_visibility="collapsed", required=True)
    st.caption(ui.esc(texts[name]))
    browse.browse(system, name, {"profile": profile})


def pipeline_tab(system: str) -> None:
    """Draw the system's stages with all they need, and how to run them."""
    stages = data.records("SELECT * FROM stages ORDER BY stage")
    pairs = graph.edges(stages)
    own = {row["stage"] for row in stages if row["system"] == system}
    keep = graph.upstream(own, pairs) | ({"catalog"} & {row["stage"] for row in stages})
    if own:
        graph.draw(stages, keep, pairs)
    st.subheader("How to run it", anchor=False)
    again = " ".join(row["stage"] for row in stages if row["system"] == system)
    st.code(
        f"make repro SYSTEM={system}                        # the profile named in params.yaml; what is finished is kept\n"
        f"dvc repro {system} && dvc repro -s catalog        # the same, with the environment switched on\n"
        f"dvc exp run -S profile=full {system}              # the paper's models and sizes\n"
        f"dvc repro --force -s {again}   # again; the reports come out the same",
        language="bash",
    )
    st.subheader("Stages", anchor=False)
    for row in stages:
        if row["stage"] in own:
            graph.stage_details(row)


def parameters_tab(system: str) -> None:
    """Draw the parameters, one column a profile."""
    rows = data.table("SELECT profile, key, value FROM params WHERE system = $s ORDER BY key", {"s": system})
    if not rows.height:
        st.caption("This system has no parameters.")
        return
    wide = rows.pivot(on="profile", index="key", values="value", maintain_order=True)
    order = ui.profiles_in_order([name for name in wide.columns if name != "key"])
    help_texts = {"key": f"Key in stages/{system}/params.yaml, under the profile."}
    ui.frame(wide.select("key", *order), help_texts, height="content" if wide.height < 40 else 700)
    ui.csv_button(wide, f"{system}_parameters")


listed = data.records("SELECT system, title FROM systems ORDER BY sort_order, system")
titles = {row["system"]: row["title"] for row in listed}
if not titles:
    st.title("System", anchor=False)
    ui.nothing_measured("systems")
    st.stop()
left, right = st.columns([7, 3], gap="large")
with right:
    name = ui.choose_from_url("System", list(titles), "system", show=lambda system: titles[system])
if name is None:
    st.stop()
system = data.records("SELECT * FROM systems WHERE system = $s", {"s": name})[0]
meta = ui.front_matter(system["card"])
with left:
    head(system)
with right:
    measured = data.records("SELECT DISTINCT profile FROM results WHERE system = $s", {"s": name})
    profile = ui.choose_profile([row["profile"] for row in measured], key=f"profile_{name}")
    run_line(name, profile)
results, tables, card, parameters, pipeline = st.tabs(
    ["Results", "Tables", "Card", "Parameters", "Pipeline"], on_change="rerun", key="part", bind="query-params"
)
if results.open:
    with results:
        results_tab(name, profile)
if tables.open:
    with tables:
        tables_tab(name, profile, meta.get("sensitive") is True)
if card.open:
    with card:
        ui.card_body(system["card"])
if parameters.open:
    with parameters:
        parameters_tab(name)
if pipeline.open:
    with pipeline:
        pipeline_tab(name)
