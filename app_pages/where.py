"""Where it looks: a picture, a question about it, the model's answer, and which parts of the picture speak for that answer."""

import base64
import io
from typing import Any

import numpy as np
import polars as pl
import streamlit as st
from PIL import Image

from app_lib import maps, overlay, patches, strips, ui

ALL = "all"
ANSWERED = {ALL: "all", "right": "right", "wrong": "wrong"}
FILTERS = {"split": "Split", "type": "Type of question", "answered": "Answer of the model"}
LEGEND = (
    "Orange patches raise the score of the answer, blue hatched ones lower it. "
    "The plain frame is around the patch with the highest value, the dashed one around what the question is about."
)
SCORES = {
    "hit": f"What is asked about covers more than {patches.COVERED:.0%} of the patch with the highest value.",
    "IoU": f"Overlap of the {patches.TOP} patches with the highest values and of all of which more than {patches.COVERED:.0%} are covered.",
    "seconds": "Time that the map took.",
    "forwards": "Forward passes of the model that the map took.",
}
VALUES = {
    "x0": "Box of the patch in pixels of the picture: left, upper, right and lower edge.",
    "value": "Score of the patch.",
    "covered": "Share of the patch that belongs to what is asked about.",
}


def forget() -> None:
    """Leave the choice of an image to the filters, which have changed."""
    for name in ("image", "question"):
        st.query_params.pop(name, None)
        st.session_state.pop(f"choose_{name}", None)


def filtered(rows: pl.DataFrame) -> pl.DataFrame:
    """Draw the filters; return the questions that they leave."""
    chosen = {}
    for cell, (name, label) in zip(st.columns(len(FILTERS)), FILTERS.items(), strict=True):
        options = list(ANSWERED) if name == "answered" else [ALL, *rows[name].unique().sort()]
        chosen[name] = cell.selectbox(label, options, key=f"where_{name}", on_change=forget)
    for name in ("split", "type"):
        if chosen[name] != ALL:
            rows = rows.filter(pl.col(name) == chosen[name])
    return rows if chosen["answered"] == ALL else rows.filter(pl.col("correct") == (chosen["answered"] == "right"))


def turn(images: list[str], image: str, by: int) -> None:
    """Go to another image."""
    forget()
    st.query_params["image"] = images[(images.index(image) + by) % len(images)]


def choose_question(rows: pl.DataFrame) -> dict[str, Any] | None:
    """Draw the choice of an image and of a question about it; return the row of the question."""
    images = rows["image"].unique().sort().to_list()
    left, right = st.columns([3, 4])
    with left:
        image = ui.choose_from_url("Image", images, "image", labelled=True)
    if image is None:
        return None
    own = {row["id"]: row for row in rows.filter(pl.col("image") == image).to_dicts()}
    with right:
        name = ui.choose_from_url("Question", list(own), "question", show=lambda name: own[name]["question"], labelled=True)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for label, by, icon in (("Previous image", -1, "arrow_back"), ("Next image", 1, "arrow_forward")):
            st.button(label, icon=f":material/{icon}:", on_click=turn, args=(images, image, by), disabled=len(images) < 2, type="tertiary")
        st.caption(f"{images.index(image) + 1} of {len(images)} images")
    return None if name is None else own[name]


def answer(row: dict[str, Any], target: str, probability: float | None) -> None:
    """Draw the question, what the model answered with its probability, and the right answer."""
    st.subheader(ui.esc(row["question"]), anchor=False)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        likely = "" if probability is None else f", probability {ui.number(probability)}"
        st.badge(ui.esc(f"the model answers: {row['said']}{likely}"), color="blue", icon=":material/neurology:")
        if row["gold"] is None:
            st.badge("no answer is right: what it asks about is not in the picture", color="gray", icon=":material/visibility_off:")
        else:
            color, icon = ("green", ":material/check_circle:") if row["correct"] else ("red", ":material/cancel:")
            st.badge(ui.esc(f"{'right' if row['correct'] else 'wrong'}: the answer is {row['gold']}"), color=color, icon=icon)
    if target and target != row["said"]:
        st.caption(f"The map is of “{ui.esc(target)}”.")


def embedded(picture: Image.Image, alt: str) -> None:
    """Draw a picture within the page: Streamlit forgets an address of its own at once when a reader moves on."""
    target = io.BytesIO()
    picture.save(target, "PNG")
    st.image(f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}", width="stretch", alt=alt)


def html_colour(rgb: tuple[int, int, int]) -> str:
    """A colour as `#rrggbb`."""
    return "#" + "".join(f"{part:02x}" for part in rgb)


def choose_method(rows: pl.DataFrame) -> dict[str, Any] | None:
    """Draw the choice of a method, and of one of its heads where it has several; return the row of the map."""
    named = maps.methods(rows["method"].to_list())
    left, right = st.columns([3, 4])
    with left:
        method = ui.choose_from_url("Method", list(named), "method", labelled=True)
    if method is None:
        return None
    name = named[method][0]
    if len(named[method]) > 1:
        with right:
            name = ui.choose_from_url("Head", named[method], "head", labelled=True)
    return None if name is None else rows.row(by_predicate=pl.col("method") == name, named=True)


def pictures(picture: Image.Image, name: str, method: str, grid: list[list[float]], boxes: list[patches.Box]) -> None:
    """Draw the picture beside the map of it, with the legend."""
    drawn = overlay.draw(picture, grid, framed=boxes)
    left, right = st.columns(2)
    with left:
        st.caption("Picture")
        embedded(picture.resize(drawn.size, Image.Resampling.BICUBIC), f"The picture {name}")
    with right:
        st.caption(ui.esc(f"Map: {method}"))
        embedded(drawn, f"The map of {method} over the picture {name}")
        least, most = min(map(min, grid)), max(map(max, grid))
        words = f"Colours from {strips.short(least)} to {strips.short(most)}"
        st.html(strips.signed(least, most, html_colour(overlay.AGAINST), html_colour(overlay.FOR), words))
        st.caption(LEGEND)


def scores(rows: pl.DataFrame, shown: str, covered: np.ndarray) -> None:
    """Draw how well each method's map of this question finds what is asked about, the one that is shown first."""
    table = [
        {
            "method": row["method"],
            "hit": patches.hit(row["values"], covered),
            "IoU": patches.overlap(row["values"], covered),
            "seconds": row["seconds"],
            "forwards": row["forwards"],
        }
        for row in sorted(rows.to_dicts(), key=lambda row: row["method"] != shown)
        if len(row["values"]) == len(covered)
    ]
    ui.frame(pl.DataFrame(table, infer_schema_length=None), SCORES, key="where_scores")


def values(grid: list[list[float]], boxes: list[patches.Box], covered: np.ndarray, name: str) -> None:
    """Draw the map's values, patch by patch."""
    table = pl.DataFrame(
        [
            dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)) | {"value": value, "covered": float(share)}
            for box, value, share in zip(boxes, [value for line in grid for value in line], covered, strict=True)
        ]
    )
    with st.expander("Values of the patches", icon=":material/grid_on:"):
        ui.frame(table.sort("value", descending=True), VALUES, key="where_values")
        ui.csv_button(table, name)


def page(system: str) -> None:
    """Draw the page of a system."""
    built = maps.built(system)
    if not built:
        st.info(
            f"The pictures and maps of {ui.esc(system)} are not built here: run `make repro SYSTEM={system}`, then reload this page.",
            icon=":material/inbox:",
        )
        return
    profile = ui.choose_profile(list(built), key=f"profile_{system}")
    files = built[profile]
    rows = filtered(maps.questions(files))
    if not rows.height:
        st.caption("No question fits these filters.")
        return
    row = choose_question(rows)
    if row is None:
        return
    of_question = maps.of_question(files, row["id"])
    found = choose_method(of_question)
    if found is None:
        return
    answer(row, (found["target"] or "").strip(), maps.probability(files, row["id"]))
    picture = maps.picture(files, row["image"])
    grid = maps.grid(found["values"])
    boxes, mask = maps.asked(files, row["image"], row["asked"] or [], picture.size)
    pictures(picture, row["image"], found["method"], grid, boxes)
    parts = patches.boxes(len(grid), len(grid[0]), (0, 0, *picture.size))
    covered = patches.cover(mask, parts)
    st.subheader("Does it find what is asked about?", anchor=False)
    if mask.any():
        scores(of_question, found["method"], covered)
    else:
        st.caption("The question is about nothing that is in the picture, so there is nothing to find.")
    values(grid, parts, covered, f"{row['id']}_{found['method']}".replace(" ", "_"))


st.title("Where it looks", anchor=False)
st.markdown("Which parts of a picture speak for the model’s answer, and which against it.")
known = maps.systems()
if not known:
    ui.nothing_measured("maps of where a model looks")
elif len(known) == 1:
    page(next(iter(known)))
else:
    name = ui.choose_from_url("System", list(known), "system", show=lambda system: known[system])
    if name is not None:
        page(name)
