"""Compare methods and models on one metric: filters, a picture of the ranking, and the rows as CSV."""

from typing import Any

import polars as pl
import streamlit as st

from app_lib import charts, data, ui

MOST_PANELS = 12
MOST_BARS = 15

# rank 1 is the best of its benchmark: the same system, profile, experiment, data set and split
_RANKED = """
SELECT r.*, s.title, CASE WHEN m.lower_is_better IS NOT NULL THEN
       rank() OVER (PARTITION BY r.system, r.profile, r.experiment, r.dataset, r.split
                    ORDER BY CASE WHEN m.lower_is_better THEN r.value ELSE -r.value END) END AS rank
FROM results r JOIN systems s USING (system) JOIN metrics m USING (metric)
WHERE r.metric = $metric
ORDER BY s.sort_order, r.system, r.profile = 'full', r.profile, r.experiment, r.dataset, r.split, rank,
         r.model, r.method, r.seed
"""
BENCHMARK = ("system", "profile", "experiment", "dataset", "split")


def choose_metric() -> dict[str, Any] | None:
    """Draw the choice of a metric that has results, those with a better direction first, then by use; return its row of `metrics`."""
    rows = data.records("""
        SELECT r.metric, m.display_name, m.description, m.unit, m.lower_is_better, count(*) AS n
        FROM results r JOIN metrics m USING (metric) GROUP BY ALL ORDER BY any_value(m.lower_is_better) IS NULL, n DESC, r.metric
    """)
    if not rows:
        return None
    by_name = {row["metric"]: row for row in rows}
    return by_name[
        st.selectbox(
            "Metric",
            list(by_name),
            format_func=lambda name: f"{by_name[name]['display_name']} ({by_name[name]['n']})",
            key="metric",
        )
    ]


def choose(label: str, rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Draw a multiple choice over the values of a column; return the rows it keeps, all where nothing is chosen."""
    chosen = st.multiselect(label, rows[column].unique().sort().to_list(), key=f"compare_{column}", placeholder="All")
    return rows.filter(pl.col(column).is_in(chosen)) if chosen else rows


def pictures(rows: pl.DataFrame, metric: dict[str, Any]) -> None:
    """Draw one ranking a benchmark, two side by side, on one scale."""
    panels = rows.partition_by(BENCHMARK, maintain_order=True)
    low, high = min(rows["value"].min(), 0.0), max(rows["value"].max(), 0.0)
    high = max(high, rows["ci_high"].max() or high)
    low = min(low, rows["ci_low"].min() or low)
    title = metric["display_name"] + (f", {metric['unit']}" if metric["unit"] else "")
    for start in range(0, min(len(panels), MOST_PANELS), 2):
        for cell, panel in zip(st.columns(2), panels[start : start + 2], strict=False):
            with cell, st.container(border=True, height="stretch", gap="xsmall"):
                first = panel.row(0, named=True)
                st.markdown(f"**{ui.esc(first['title'])}**")
                split = f" ({first['split']})" if rows["split"].n_unique() > 1 else ""
                st.caption(ui.esc(f"{first['experiment']} on {first['dataset']}{split}, {first['profile']}"))
                many = {name: panel[name].n_unique() > 1 for name in ("model", "seed")}
                bars = [
                    row
                    | {
                        "label": row["method"]
                        + (f" · {row['model']}" if many["model"] else "")
                        + (f" · seed {row['seed']}" if many["seed"] else "")
                    }
                    for row in panel.head(MOST_BARS).to_dicts()
                ]
                st.vega_lite_chart(charts.ranking(bars, title, bool(metric["lower_is_better"]), (low, high if high > low else low + 1)))
                if panel.height > MOST_BARS:
                    st.caption(f"{MOST_BARS} of {panel.height} rows; the others are in the table.")
    if len(panels) > MOST_PANELS:
        st.caption(f"{MOST_PANELS} of {len(panels)} benchmarks are drawn; filter to see the others.")


st.title("Compare", anchor=False)
st.markdown("Rank methods and models on one metric, over all systems.")
metric = choose_metric()
if metric is None:
    ui.nothing_measured()
    st.stop()
better = {True: "Lower is better.", False: "Higher is better.", None: ""}[metric["lower_is_better"]]
st.caption(ui.esc(f"{metric['description']} {better} Lines are 95 % intervals; the best of each benchmark is solid."))
rows = data.table(_RANKED, {"metric": metric["metric"]})
for cell, label, column in zip(
    st.columns(4), ("System", "Profile", "Data set", "Model"), ("system", "profile", "dataset", "model"), strict=True
):
    with cell:
        rows = choose(label, rows, column)
ranking, table, best = st.tabs(["Rankings", "All rows", "Best of each benchmark"])
shown = rows.select("rank", *BENCHMARK, "model", "method", "seed", "value", "ci_low", "ci_high", "n")
help_texts = data.column_help("main", "results") | {"rank": "1 is the best of its benchmark; empty where neither direction is better."}
with ranking:
    pictures(rows, metric)
with table:
    ui.frame(shown, help_texts, key="compare_rows")
    ui.csv_button(shown, f"compare_{metric['metric']}")
with best:
    leaders = shown.filter(pl.col("rank") == 1)
    ui.frame(leaders, help_texts, key="leaders")
    ui.csv_button(leaders, f"best_{metric['metric']}")
