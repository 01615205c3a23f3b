"""The pipeline as a Graphviz drawing: one box a stage, an arrow where one stage reads what another writes."""

from typing import Any

import streamlit as st

from app_lib import data, ui

# Fill and text of each kind of stage: light boxes that read well on a white and on a dark page.
_COLORS = {
    "asset": ("#f1f3f5", "#343a40"),
    "base model": ("#e5dbff", "#3b2a75"),
    "data": ("#d3f9d8", "#1b4d2b"),
    "training": ("#ffe8cc", "#6b3a00"),
    "measuring": ("#c5f6fa", "#0b4f5c"),
    "evaluation": ("#dbe4ff", "#1f2f7a"),
    "catalog": ("#495057", "#ffffff"),
}
KINDS = tuple(_COLORS)
_BOXES = [
    'node [shape=box, style="filled,rounded", penwidth=0, fontname="Helvetica,Arial,sans-serif", fontsize=12];',
    'node [margin="0.16,0.07", height=0.34];',
]


def kind(stage: str, system: str | None) -> str:
    """Return what a stage does, from its name: one of `KINDS`."""
    if stage.startswith("fetch@"):
        return "asset"
    if stage.startswith("model@"):
        return "base model"
    if stage == "catalog":
        return "catalog"
    if stage == system:
        return "evaluation"
    return {"data": "data", "measure": "measuring"}.get(stage.rpartition("_")[2], "training")


def edges(stages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return sorted (from, to) pairs of stages: an output of the first is, holds or lies in what the second reads.

    Args:
        stages: rows of the table `stages`, with `stage`, `deps` and `outs` (lists of paths).
    """
    owner = {out.rstrip("/"): row["stage"] for row in stages for out in row["outs"] or []}
    found = set()
    for row in stages:
        for path in row["deps"] or []:
            path = path.rstrip("/")
            parents = [path[:place] for place, letter in enumerate(path) if letter == "/"] + [path]
            makers = {owner[parent] for parent in parents if parent in owner}
            makers |= {maker for out, maker in owner.items() if out.startswith(path + "/")}
            found |= {(maker, row["stage"]) for maker in makers if maker != row["stage"]}
    return sorted(found)


def upstream(names: set[str], pairs: list[tuple[str, str]]) -> set[str]:
    """Return `names` with every stage they need, directly or not."""
    wanted, waiting = set(names), list(names)
    while waiting:
        here = waiting.pop()
        for source, target in pairs:
            if target == here and source not in wanted:
                wanted.add(source)
                waiting.append(source)
    return wanted


def dot(stages: list[dict[str, Any]], keep: set[str], pairs: list[tuple[str, str]]) -> str:
    """Return the DOT text of the stages in `keep`, drawn from left to right."""
    lines = [
        "digraph pipeline {",
        'rankdir=LR; bgcolor="transparent"; nodesep=0.16; ranksep=0.55;',
        *_BOXES,
        'edge [color="#8f98a8", penwidth=1.2, arrowsize=0.6];',
    ]
    for row in stages:
        if row["stage"] in keep:
            fill, text = _COLORS[kind(row["stage"], row["system"])]
            tooltip = _text(row["desc"] or row["stage"])
            lines.append(f'{_text(row["stage"])} [fillcolor="{fill}", fontcolor="{text}", tooltip={tooltip}];')
    lines += [f"{_text(source)} -> {_text(target)};" for source, target in pairs if source in keep and target in keep]
    return "\n".join([*lines, "}"])


def legend(kinds: set[str]) -> str:
    """Return the DOT text of one box a kind, in a row: drawn like the stages, so that the colours are theirs on any page."""
    boxes = [f'{_text(name)} [fillcolor="{_COLORS[name][0]}", fontcolor="{_COLORS[name][1]}"];' for name in KINDS if name in kinds]
    return "\n".join(["digraph kinds {", 'bgcolor="transparent"; nodesep=0.12; pad=0;', *_BOXES, *boxes, "}"])


def draw(stages: list[dict[str, Any]], keep: set[str], pairs: list[tuple[str, str]]) -> None:
    """Draw the stages in `keep`, and which colour is which kind of stage."""
    present = {kind(row["stage"], row["system"]) for row in stages if row["stage"] in keep}
    with st.container(border=True):
        st.graphviz_chart(legend(present), width="content", alt="The colour of each kind of stage")
        st.graphviz_chart(dot(stages, keep, pairs), width="content", alt="Stages and what they read from each other")


def stage_details(row: dict[str, Any]) -> None:
    """Draw one row of `stages`: its description, command, and its files with hashes."""
    files = data.table(
        "SELECT kind, path, md5, bytes FROM stage_files WHERE stage = $stage ORDER BY kind, path",
        {"stage": row["stage"]},
    )
    with st.container(border=True):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.markdown(f"**{ui.esc(row['stage'])}**")
            st.badge("in dvc.lock" if row["in_lock"] else "not run yet", color="green" if row["in_lock"] else "gray")
        if row["desc"]:
            st.markdown(ui.esc(row["desc"]))
        st.code(row["cmd"] or "", language="bash", wrap_lines=True)
        ui.frame(files, data.column_help("main", "stage_files"), key=f"files_{row['stage']}")


def _text(value: str) -> str:
    return '"' + " ".join(value.split()).replace("\\", "\\\\").replace('"', '\\"') + '"'
