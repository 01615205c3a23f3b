"""The data set `chart_questions` as the stages read it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError
from catalog.base.params import ROOT

SYSTEM, DATASET = "open_finllms", "chart_questions"
TABLES = ("images", "marks", "questions")


def read(profile: str, root: Path = ROOT) -> dict[str, pl.DataFrame]:
    """images, marks and questions.

    Raises:
        CatalogError: they are not built.
    """
    folder = Path(root) / "data" / DATASET / profile
    require_dep(folder, root)
    if not folder.is_dir():
        raise CatalogError(f"{folder.relative_to(root)} is not there; run `dvc repro {SYSTEM}_vision_data` to make it.")
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}


def picture(png: bytes) -> Image.Image:
    """A picture of `images.parquet`."""
    return Image.open(io.BytesIO(png)).convert("RGB")


def pixels(png: bytes) -> np.ndarray:
    """(height, width, 3) of 0 to 255."""
    return np.asarray(picture(png))
