"""Pictures that the stages wrote under `reports/<system>/<profile>/plots`: Vega-Lite JSON and PNG."""

import base64
from pathlib import Path
from typing import Any

import streamlit as st

from app_lib import data, ui
from catalog.base.errors import CatalogError
from catalog.base.io import parse_json

# Vega draws texts, rules and the symbols of a legend in black where a specification gives no colour; this grey reads on both pages.
NEUTRAL = "#868e96"
LEGEND_WIDTH = 300  # pixels; a card on a phone is 330 wide inside
LETTER, SYMBOL = 7.0, 34  # widest that a letter of a legend and the symbol with its gaps usually are
DEFAULTS = {
    "text": {"color": NEUTRAL},
    "rule": {"color": NEUTRAL},
    "tick": {"color": NEUTRAL},
    "errorbar": {"rule": {"color": NEUTRAL}, "ticks": {"color": NEUTRAL}},
    "axisY": {"labelLimit": 140},  # Streamlit's 100 cuts the names of methods
    # Legends stand below the picture, one under another, as they would take half of a phone's width beside it.
    "legend": {
        "symbolBaseFillColor": NEUTRAL,
        "symbolBaseStrokeColor": NEUTRAL,
        "orient": "bottom",
        "labelLimit": LEGEND_WIDTH - SYMBOL,
        "titleLimit": LEGEND_WIDTH,
        "gradientLength": 200,
        "layout": {"bottom": {"direction": "vertical", "anchor": "start"}},
    },
}
LEGENDS = ("color", "fill", "stroke", "shape", "strokeDash")
JOINED = ("concat", "hconcat", "vconcat")
SCROLL = "<style>[data-testid='stVegaLiteChart'] {max-width: 100%; overflow-x: auto; overflow-y: hidden}</style>"


def find(path: str) -> Path:
    """Return the file of a row of the table `plots`.

    Raises:
        CatalogError: the file is absent, or lies outside `reports/`.
    """
    reports = (data.root() / "reports").resolve()
    found = (data.root() / path).resolve()
    if not found.is_relative_to(reports) or not found.is_file():
        raise CatalogError(f"The picture {path} is not there: `dvc repro` of its system draws it again.")
    return found


def read_vega(path: Path) -> dict[str, Any]:
    """Return a Vega-Lite specification.

    Raises:
        CatalogError: not a JSON object, or one that makes the browser fetch its data from elsewhere.
    """
    try:
        spec = parse_json(path.read_text(encoding="utf-8"))
    except (CatalogError, UnicodeDecodeError):
        raise CatalogError(f"The picture {path.name} is not JSON: write it again with `dvc repro` of its system.") from None
    if not isinstance(spec, dict) or _has_url(spec):
        raise CatalogError(f"The picture {path.name} must be one Vega-Lite object that holds its own data.")
    return spec


def scroll_in_cards() -> None:
    """Let joined pictures, which have a width of their own, scroll within a card that is narrower, so that the page does not."""
    st.html(SCROLL)


def draw(plot: dict[str, Any]) -> None:
    """Draw one row of the table `plots` with its title; a picture that cannot be drawn becomes one sentence."""
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{ui.esc(plot['title'] or plot['name'])}**")
        try:
            path = find(plot["path"])
            if plot["kind"] == "png":
                # Inside the page: Streamlit forgets its own address of a picture at once when a reader moves on, and the browser then
                # reports an error.
                picture = base64.b64encode(path.read_bytes()).decode()
                st.image(f"data:image/png;base64,{picture}", width="stretch", alt=plot["title"])
                return
            described, parts = _dressed(read_vega(path))
            for part in parts:
                st.vega_lite_chart(part, width="stretch" if _stretches(part) else "content", alt=plot["title"] or described)
        except CatalogError as error:
            st.warning(ui.message(error))


def _dressed(spec: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """Its description, and the specification in parts that fit a card, with the defaults of this app where it says nothing else.

    The title goes, since the card shows it, and the description: Streamlit warns, with a traceback, where a picture has it beside `alt`.
    """
    spec.pop("title", None)
    described = spec.pop("description", None)
    own = spec.get("config", {})
    spec["config"] = own | {mark: defaults | own.get(mark, {}) for mark, defaults in DEFAULTS.items()}
    _arrange_legends(spec, [])
    return described, _parts(spec)


def _parts(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """A picture whose joined views have no width of their own as single views, each as wide as its card; any other as it is.

    Vega-Lite fits no joined view to a width. Each part gets what is said once for all: configuration and data.
    """
    views = [view for kind in JOINED for view in spec.get(kind, [])]
    if views and all(_stretches(view) for view in views):
        shared = {key: value for key, value in spec.items() if key not in (*JOINED, "columns", "resolve", "spacing")}
        return [_fitted(shared | view) for view in views]
    return [_fitted(spec) if _stretches(spec) else spec]


def _fitted(spec: dict[str, Any]) -> dict[str, Any]:
    """A single view that gives up width for its axes, but no height: the legends below would leave it none."""
    return {"autosize": {"type": "fit-x", "contains": "padding"}} | spec


def _arrange_legends(view: Any, rows: list[Any]) -> None:
    """Give each legend of categories in ``view`` and the views within it as many columns as fit below each other on a phone."""
    if not isinstance(view, dict):
        return
    found = view.get("data")
    rows = found.get("values", rows) if isinstance(found, dict) else rows
    encoding = view.get("encoding")
    for name, channel in encoding.items() if isinstance(encoding, dict) else ():
        categories = isinstance(channel, dict) and channel.get("type") in ("nominal", "ordinal") and "field" in channel
        if name in LEGENDS and categories and channel.get("legend", {}) is not None:
            named = {str(row.get(channel["field"])) for row in rows if isinstance(row, dict)}
            width = SYMBOL + LETTER * max(map(len, named), default=0)
            channel["legend"] = {"columns": max(1, int(LEGEND_WIDTH // width))} | channel.get("legend", {})
    for kind in ("layer", *JOINED):
        for inner in view.get(kind, []) if isinstance(view.get(kind), list) else ():
            _arrange_legends(inner, rows)
    _arrange_legends(view.get("spec"), rows)


def _stretches(spec: dict[str, Any]) -> bool:
    """Single and layered views without a width of their own may fill the column; joined views keep their own width."""
    return not {"width", "facet", "repeat", *JOINED, "spec"} & set(spec) and not _has_facet_channel(spec)


def _has_facet_channel(spec: dict[str, Any]) -> bool:
    return bool({"row", "column", "facet"} & set(spec.get("encoding", {})))


def _has_url(node: Any) -> bool:
    if isinstance(node, dict):
        return "url" in node or any(_has_url(value) for value in node.values())
    return isinstance(node, list) and any(_has_url(value) for value in node)
