"""Models: base weights, adapters, edited and trained ones; licence, size, files, and which systems use them."""

import streamlit as st

from app_lib import assets, data, ui

KINDS = {"base": "blue", "lora": "violet", "edited": "orange", "trained": "green"}


def index() -> None:
    """Draw one card a model."""
    st.title("Models", anchor=False)
    st.markdown("Pretrained weights that the systems start from, and what they trained or edited.")
    rows = data.records("""
        SELECT m.model AS name, m.model AS title, m.summary, m.license, m.base_model, m.kind, m.parameters, f.bytes
        FROM models m LEFT JOIN (
            SELECT DISTINCT ON (model) * FROM (
                SELECT model, profile, sum(bytes) AS bytes FROM model_files GROUP BY model, profile
            ) ORDER BY model, profile = 'full', profile
        ) f ON f.model = m.model ORDER BY m.kind <> 'base', m.model
    """)
    if not rows:
        ui.nothing_measured("models")
        return
    for row in rows:
        row["badges"] = [(row["kind"], KINDS.get(row["kind"], "gray")), (row["license"], "gray")]
        row["facts"] = [
            f"{ui.short_count(row['parameters'])} parameters" if row["parameters"] else "",
            ui.size(row["bytes"]) if row["bytes"] else "",
            f"from {row['base_model']}" if row["base_model"] else "",
        ]
    assets.grid(rows, "models", "model")


def detail(name: str) -> None:
    """Draw one model."""
    row = data.records("SELECT * FROM models WHERE model = $n", {"n": name})[0]
    assets.back("models", "All models")
    st.title(ui.esc(name), anchor=False)
    st.markdown(ui.esc(row["summary"] or ""))
    parameters = ui.short_count(row["parameters"]) if row["parameters"] else None
    assets.facts(
        [
            ("Licence", row["license"]),
            ("Kind", row["kind"]),
            ("Parameters", parameters),
            ("Base model", row["base_model"]),
        ]
    )
    assets.used_by("model", name)
    files = data.records("SELECT * FROM model_files WHERE model = $n ORDER BY profile = 'full', profile, path", {"n": name})
    content, measured, card = st.tabs(["Files", "Results", "Card"])
    with content:
        assets.file_table(
            [{key: file[key] for key in ("profile", "path", "parameters", "bytes", "md5")} for file in files],
            "model_files",
            name,
        )
    with measured:
        results = data.table("SELECT * FROM results WHERE model = $n ORDER BY ALL", {"n": name})
        if results.height:
            ui.frame(results.drop("model"), data.column_help("main", "results"), key=f"results_{name}")
            ui.csv_button(results, f"{name}_results")
        else:
            ui.nothing_measured("results of this model")
    with card:
        ui.card_body(row["card"])


known = [row["model"] for row in data.records("SELECT model FROM models ORDER BY model")]
asked = assets.asked_for("model", known)
if asked is None:
    index()
else:
    detail(asked)
