"""Vega-Lite specifications that hold their own data: what the systems' pictures are made of.

Numbers are rounded to six decimals, so that a picture of the same results is the same file.
"""

from __future__ import annotations

from typing import Any

import polars as pl

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
OWN, OTHER, RULE = "#2f6f9f", "#c9c4bb", "#b4483a"  # what a picture is about; what it is compared with; what should not be missed


def spec(title: str, description: str, data: pl.DataFrame | None = None, **rest: Any) -> dict[str, Any]:
    """A specification with ``data``, a mark and an encoding (or layers) in ``rest``."""
    out = {"$schema": SCHEMA, "title": title, "description": description, **rest}
    if data is not None:
        out["data"] = {"values": plain(data)}
    return out


def plain(data: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values."""
    return [{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in data.iter_rows(named=True)]


def field(name: str, kind: str, title: str | None = None, **rest: Any) -> dict[str, Any]:
    """An encoding of one column; kind: quantitative, nominal or ordinal."""
    return {"field": name, "type": kind, "title": title, **rest}
