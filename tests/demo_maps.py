"""Invented maps of where a model looks, for the tests of the app: two pictures, three questions, four kinds of map."""

import io as streams
from pathlib import Path

import duckdb
import polars as pl
from PIL import Image, ImageDraw

from catalog.base import io

SIDE, GRID = 112, 7  # patches of 16 x 16 pixels
HOSTILE = "<b>What</b> is ![it](https://example.org/y.png)?"
STAGES = """
    INSERT INTO stages VALUES
    ('demo_heads_maps', 'demo_heads', 'Maps', 'python', ['stages/demo.py', 'data/assets/a', 'data/demo_scenes/small'],
     ['models/demo_maps/small.run.json', 'models/demo_maps/small'], [], true),
    ('demo_heads_answers', 'demo_heads', 'Answers', 'python', ['data/demo_scenes/small'], ['models/demo_answers/small'], [], true);
    CREATE TABLE demo_heads.map_scores (profile VARCHAR, question VARCHAR, method VARCHAR, hit DOUBLE, iou DOUBLE);
    INSERT INTO demo_heads.map_scores VALUES
    ('small', 'seen-1-colour', 'all heads', 1, 0.25), ('small', 'seen-1-colour', 'attention', 0, 0.2),
    ('full', 'seen-1-colour', 'attention', 1, 1), ('small', 'unseen-1-kind', 'attention', 1, 0.3);
"""


def add(catalog: Path) -> None:
    """Write the files beside a catalog of the demo project, and into it the stages that would have made them."""
    with duckdb.connect(str(catalog)) as con:
        con.execute(STAGES)
    write(catalog.parent)


def write(root: Path) -> None:
    """Write the files into a project's folder."""
    for name, rows in tables().items():
        io.write_parquet(rows, root / name)


def tables() -> dict[str, pl.DataFrame]:
    """The tables, by their paths."""
    scenes = "data/demo_scenes/small"
    images = [{"image": name, "split": split, "width": SIDE, "height": SIDE, "png": png()} for name, split in IMAGES.items()]
    return {
        f"{scenes}/images.parquet": pl.DataFrame(images),
        f"{scenes}/objects.parquet": pl.DataFrame([{"image": name} | thing for name in IMAGES for thing in OBJECTS]),
        f"{scenes}/questions.parquet": pl.DataFrame(QUESTIONS),
        "models/demo_maps/small/maps.parquet": pl.DataFrame([row for question in QUESTIONS[:3] for row in maps(question["id"])]),
        "models/demo_answers/small/answers.parquet": pl.DataFrame(ANSWERS),
    }


def png() -> bytes:
    """A picture with the objects below."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(picture)
    for thing, colour in zip(OBJECTS, ("red", "blue"), strict=True):
        pen.rectangle((thing["x0"], thing["y0"], thing["x1"] - 1, thing["y1"] - 1), fill=colour)
    target = streams.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def thing(number: int, x0: int, y0: int, x1: int, y1: int) -> dict:
    """A row of an object that fills its box."""
    return {"object": number, "x0": float(x0), "y0": float(y0), "x1": float(x1), "y1": float(y1)}


IMAGES = {"seen-1": "seen", "unseen-1": "unseen"}
OBJECTS = [thing(0, 16, 16, 48, 48), thing(1, 64, 80, 80, 112)]
_COLUMNS = ("id", "image", "split", "type", "question", "answer", "candidates", "asked")
QUESTIONS = [
    dict(zip(_COLUMNS, row, strict=True))
    for row in (
        ("seen-1-colour", "seen-1", "seen", "colour", "What colour is the box?", "red", ["red", "blue"], [0]),
        ("seen-1-absent", "seen-1", "seen", "absent", "What colour is the cat?", None, ["red", "blue"], []),
        ("unseen-1-kind", "unseen-1", "unseen", "kind", HOSTILE, "box", ["box", "cat"], [1]),
        ("unseen-1-count", "unseen-1", "unseen", "count", "How many?", "two", ["one", "two"], []),  # has no map
    )
]
ANSWERS = [
    {"model": "demo", "condition": condition, "question": question, "answer": said, "logprob": logprob}
    for condition, question, said, logprob in (
        ("image", "seen-1-colour", "red", [-0.1, -3.0]),
        ("swapped", "seen-1-colour", "blue", [-2.0, -0.2]),
        ("image", "seen-1-absent", "blue", [-2.0, -0.5]),
        ("image", "unseen-1-kind", "cat", [-1.0, -0.7]),
    )
]


def maps(question: str) -> list[dict]:
    """Rows of the maps of a question: `all heads` is highest on patch 8 and lowest on patch 16; `attention` has no negative value."""
    places = range(GRID * GRID)
    signed = [{8: 2.0, 9: 1.5, 15: 1.0, 16: -2.0}.get(place, -place / 100) for place in places]
    by_method = {
        "all heads": signed,
        "attention": [1 / (1 + place) for place in places],
        "head 3.1": [float(place == 39) for place in places],
        "head 5.0": [0.0 for _ in places],
    }
    return [
        {
            "question": question,
            "method": method,
            "values": values,
            "forwards": 1,
            "head": "5_2" if method == "attention" else None,
            "target": " red",
            "logprob": -0.1,
        }
        for method, values in by_method.items()
    ]
