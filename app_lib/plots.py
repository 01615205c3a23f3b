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
DEFAULTS = {
    "text": {"color": NEUTRAL},
    "rule": {"color": NEUTRAL},
    "tick": {"color": NEUTRAL},
    "errorbar": {"rule": {"color": NEUTRAL}, "ticks": {"color": NEUTRAL}},
    "legend": {"symbolBaseFillColor": NEUTRAL, "symbolBaseStrokeColor": NEUTRAL},
}


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
            spec = read_vega(path)
            spec.pop("title", None)
            described = spec.pop("description", None)  # Streamlit warns, with a traceback, where a picture has it beside `alt`
            own = spec.get("config", {})
            spec["config"] = own | {mark: defaults | own.get(mark, {}) for mark, defaults in DEFAULTS.items()}
            st.vega_lite_chart(spec, width="stretch" if _stretches(spec) else "content", alt=plot["title"] or described)
        except CatalogError as error:
            st.warning(ui.message(error))


def _stretches(spec: dict[str, Any]) -> bool:
    """Single and layered views without a width of their own may fill the column; joined views keep their own width."""
    return not {"width", "facet", "repeat", "concat", "hconcat", "vconcat", "spec"} & set(spec) and not _has_facet_channel(spec)


def _has_facet_channel(spec: dict[str, Any]) -> bool:
    return bool({"row", "column", "facet"} & set(spec.get("encoding", {})))


def _has_url(node: Any) -> bool:
    if isinstance(node, dict):
        return "url" in node or any(_has_url(value) for value in node.values())
    return isinstance(node, list) and any(_has_url(value) for value in node)
