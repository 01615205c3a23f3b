"""A tiny complete project with two invented systems, for tests of the database and of the app.

It is what a fresh clone looks like: cards, parameters, pipeline, lock and reports are there, built data and weights
are not.
"""

import json
import struct
import zlib
from pathlib import Path

import demo_texts
import polars as pl

from catalog.base import io
from catalog.report import results


def make(root: Path) -> Path:
    """Write the demo project into the empty folder `root` and return it."""
    for name, card in (("demo_heads", demo_texts.HEADS_CARD), ("demo_text", demo_texts.TEXT_CARD)):
        io.write_text(card, root / "stages" / name / "README.md")
    beside = {
        "demo_heads/claims.yaml": demo_texts.HEADS_CLAIMS,
        "demo_heads/tables.yaml": demo_texts.HEADS_TABLES,
        "demo_heads/metrics.yaml": demo_texts.HEADS_METRICS,
        "demo_text/claims.yaml": demo_texts.TEXT_CLAIMS,
        "demo_text/tables.yaml": demo_texts.TEXT_TABLES,
        "demo_text/metrics.yaml": demo_texts.TEXT_METRICS,
    }
    for name, text in beside.items():
        io.write_text(text, root / "stages" / name)
    io.write_text("not a card", root / "stages/_template/README.md")
    io.write_text(demo_texts.HEADS_QUERIES, root / "stages/demo_heads/queries.sql")
    for folder, cards in (("data", demo_texts.DATA_CARDS), ("models", demo_texts.MODEL_CARDS)):
        for name, card in cards.items():
            io.write_text(card, root / folder / name / "README.md")
    for name, text in (("params.yaml", demo_texts.PARAMS), ("dvc.yaml", demo_texts.DVC), ("dvc.lock", demo_texts.LOCK)):
        io.write_text(text, root / name)
    for name, text in (("demo_heads", demo_texts.HEADS_PARAMS), ("demo_text", demo_texts.TEXT_PARAMS)):
        io.write_text(text, root / "stages" / name / "params.yaml")
    _heads(root, "small", 0.9, 0.45)
    _heads(root, "full", 0.8, 0.1)
    _text(root)
    return root


def change(root: Path, path: str, old: str, new: str) -> None:
    """Replace a text in one of the project's files; the text must be there."""
    text = (root / path).read_text(encoding="utf-8")
    assert old in text, f"{path} does not hold {old!r}"
    io.write_text(text.replace(old, new), root / path)


def _heads(root: Path, profile: str, accuracy: float, drop: float) -> None:
    """Reports of demo_heads: the main claim holds at profile small and fails at full."""
    place = (profile, "head_ablation", "demo_sums", "demo_base")
    rows = [
        results.row("demo_heads", *place, "none", "accuracy", accuracy, ci=results.wilson(round(accuracy * 20), 20), n=20),
        results.row("demo_heads", *place, "top heads", "accuracy_drop_rel", drop, ci=(drop - 0.05, drop + 0.05), n=20),
        results.row("demo_heads", *place, "random heads", "accuracy_drop_rel", 0.02, ci=(0.0, 0.04), n=20),
    ]
    results.write_results(rows, "demo_heads", profile, root=root)
    heads = pl.DataFrame(
        [{"layer": layer, "head": head, "drop": drop if (layer, head) == (1, 2) else 0.01} for layer in range(3) for head in range(4)]
    )
    results.write_tables({"heads": heads}, "demo_heads", profile, root=root)
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": "Accuracy lost without a head",
        "data": {"values": heads.to_dicts()},
        "mark": "rect",
        "encoding": {
            "x": {"field": "head", "type": "ordinal"},
            "y": {"field": "layer", "type": "ordinal"},
            "color": {"field": "drop", "type": "quantitative"},
        },
    }
    plots = results.folder("demo_heads", profile, root) / "plots"
    io.write_json(spec, plots / "head_drops.json")
    io.write_bytes(png(), plots / "square.png")
    sums = root / "data/demo_sums" / profile / "sums.parquet"
    io.write_parquet(pl.DataFrame({"prompt": [f"{i}+1=" for i in range(9)], "answer": list(range(1, 10))}), sums)
    weights = root / "models/demo_base/base"
    io.write_bytes(safetensors({"embed": [6, 4]}), weights / "model.safetensors")
    results.write_descriptions(
        "demo_heads",
        profile,
        [results.describe_dataset(sums, "demo_sums", profile, root=root)],
        [results.describe_model(weights, "demo_base", "base", root=root)],
        root=root,
    )
    sums.unlink()
    (weights / "model.safetensors").unlink()
    run = {
        "started": "2026-01-02T03:04:05",
        "seconds": 12.5,
        "dtype": "float32",
        "peak_memory_mb": 321.0,
        "versions": {"python": "3.11.0"},
    }
    results.write_run("demo_heads", profile, run | {"note": "a demo"}, root=root)


def _text(root: Path) -> None:
    """Reports of demo_text, profile small only: two seeds, and generations that try to be markup and SQL."""
    place = ("demo_text", "small", "tuning", "demo_letters")
    rows = [
        results.row(*place, "demo_base", "none", "loss", 3.0),
        results.row(*place, "demo_tuned", "tuned", "loss", 2.0, seed=0),
        results.row(*place, "demo_tuned", "tuned", "loss", 2.5, seed=1),
    ]
    results.write_results(rows, "demo_text", "small", root=root)
    outputs = pl.DataFrame(
        {
            "prompt": ["Write a letter", "Write another"],
            "generation": ["<script>alert(1)</script>", "'; DROP TABLE results; --"],
        }
    )
    results.write_tables({"outputs": outputs}, "demo_text", "small", root=root)


def png(size: int = 8) -> bytes:
    """A blue square as PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x30\x60\xc0" * size for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def safetensors(shapes: dict[str, list[int]]) -> bytes:
    """A safetensors file of float32 zeros."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)
