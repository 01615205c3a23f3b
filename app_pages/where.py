"""Where it looks: a picture, a question about it, the model's answer, and which parts of the picture speak for that answer."""

import base64
import io
from typing import Any

import polars as pl
import streamlit as st
from PIL import Image

from app_lib import maps, overlay, strips, ui

ALL = "all"
FILTERS = {"split": "Split", "type": "Type of question", "answered": "Answer of the model"}
SIGNED = "Orange patches speak for the answer, blue hatched ones against it."
UNSIGNED = "The stronger the orange of a patch, the higher its value."
FRAMES = "The plain frame is around the patch with the highest value, the dashed one around what the question is about."
METHODS = {
    "best head": "What each patch adds to the answer’s log-probability through the one head that adds most.",
    "top heads": "What each patch adds to the answer’s log-probability through the few heads that add most.",
    "all heads": "What the answer’s log-probability loses without that which each patch adds through all heads and layers.",
    "direct": "What the answer’s log-probability loses without that which each patch adds through all heads and layers.",
    "each head": "What each patch adds to the answer’s log-probability through this head.",
    "one head": "What each patch adds to the answer’s log-probability through one head, the same for every question.",
    "attention": "How much the last position attends to each patch, averaged over all heads. It has no sign.",
    "rollout": "Attention followed through all layers. It has no sign.",
    "causal": "What the answer’s log-probability loses if this patch alone is masked: a forward pass for each patch.",
    "input x gradient": "Each patch’s input times its gradient.",
    "integrated gradients": "Gradients averaged on the way from an empty picture to this one, times the difference.",
    "grad-cam": "Gradients of the picture’s features, averaged and weighted by the features.",
    "centre": "The same for every picture: the nearer to the centre, the higher.",
    "random": "Random numbers.",
}
SCORES = {
    "hit": "Whether the patch with the highest value shows what is asked about; a share where several are equally high.",
    "iou": "Overlap of the patches with the highest values and of those that show what is asked about.",
    "forwards": "Forward passes of the model that the map took.",
}
VALUES = {
    name: f"{edge} edge of the patch, in pixels of the picture."
    for name, edge in zip(("x0", "y0", "x1", "y1"), ("Left", "Upper", "Right", "Lower"))
}


def forget() -> None:
    """Leave the choice of image and question to the filters, which have changed."""
    for name in ("image", "question"):
        st.query_params.pop(name, None)
        st.session_state.pop(f"choose_{name}", None)


def filtered(rows: pl.DataFrame) -> pl.DataFrame:
    """Draw the filters; return the questions that they leave."""
    chosen = {}
    for name, label in FILTERS.items():
        options = ["right", "wrong"] if name == "answered" else rows[name].unique().sort().to_list()
        chosen[name] = st.selectbox(label, [ALL, *options], key=f"where_{name}", on_change=forget)
    for name in ("split", "type"):
        if chosen[name] != ALL:
            rows = rows.filter(pl.col(name) == chosen[name])
    return rows if chosen["answered"] == ALL else rows.filter(pl.col("correct") == (chosen["answered"] == "right"))


def turn(images: list[str], image: str, by: int) -> None:
    """Go to another image."""
    forget()
    st.query_params["image"] = images[(images.index(image) + by) % len(images)]


def choose_question(rows: pl.DataFrame) -> dict[str, Any] | None:
    """Draw the filters, and the choice of an image and of a question about it; return the row of the question."""
    total = rows.height
    bar = st.container(horizontal=True, gap="small", vertical_alignment="center")
    with bar.popover("Filter", icon=":material/filter_list:"):
        rows = filtered(rows)
    if not rows.height:
        st.caption("No question fits these filters.")
        return None
    images = rows["image"].unique().sort().to_list()
    left, right = st.columns([3, 5])
    with left:
        image = ui.choose_from_url("Image", images, "image", labelled=True)
    if image is None:
        return None
    with bar:
        for label, by, icon in (("Previous image", -1, "arrow_back"), ("Next image", 1, "arrow_forward")):
            st.button(label, icon=f":material/{icon}:", on_click=turn, args=(images, image, by), disabled=len(images) < 2, type="tertiary")
        st.caption(f"{images.index(image) + 1} of {len(images)}")
    own = {row["id"]: row for row in rows.filter(pl.col("image") == image).to_dicts()}
    with right:
        name = ui.choose_from_url("Question", list(own), "question", show=lambda name: own[name]["question"], labelled=True)
    if name is None:
        return None
    if rows.height < total:  # the first image of those that a filter leaves: an address without its name would show another one
        st.query_params.update(image=image, question=name)
    return own[name]


def choose_method(rows: pl.DataFrame) -> dict[str, Any] | None:
    """Draw the choice of a method, and of one of its heads where it has several; return the row of the map."""
    named = maps.methods(rows["method"].to_list())
    order = {name: place for place, name in enumerate(METHODS)}
    known = sorted(named, key=lambda name: order.get(name, len(order)))  # the paper's map first, the simplest ones last
    method = ui.choose_from_url("Method", known, "method", labelled=True)
    if method is None:
        return None
    name = named[method][0]
    if len(named[method]) > 1:
        name = ui.choose_from_url("Head", named[method], "head", labelled=True)
    if method in METHODS:
        st.caption(METHODS[method])
    if name is None:
        return None
    found = rows.row(by_predicate=pl.col("method") == name, named=True)
    if found.get("head"):
        st.caption(ui.esc(f"Layer and head: {found['head']}"))
    return found


def answer(row: dict[str, Any], target: str, probability: float | None) -> None:
    """Draw the question, what the model answered with its probability, and the right answer."""
    st.subheader(ui.esc(row["question"]), anchor=False)
    likely = "" if probability is None else f", probability {ui.number(probability)}"
    st.badge(ui.esc(f"The model answers: {row['said']}{likely}"), color="blue", icon=":material/neurology:")
    if row["gold"] is None:
        st.badge("No answer is right: it is not in the picture", color="gray", icon=":material/visibility_off:")
    else:
        color, icon = ("green", ":material/check_circle:") if row["correct"] else ("red", ":material/cancel:")
        st.badge(ui.esc(f"{'Right' if row['correct'] else 'Wrong'}: the answer is {row['gold']}"), color=color, icon=icon)
    if target and target != row["said"]:
        st.caption(f"The map is of the token “{ui.esc(target)}”.")


def embedded(picture: Image.Image, alt: str) -> None:
    """Draw a picture within the page: Streamlit forgets an address of its own at once when a reader moves on."""
    target = io.BytesIO()
    picture.save(target, "PNG")
    st.image(f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}", width="stretch", alt=alt)


def legend(grid: list[list[float]]) -> None:
    """Draw the colours with the values they stand for, and what the frames are."""
    least, most = min(map(min, grid)), max(map(max, grid))
    against, towards = ("#" + "".join(f"{part:02x}" for part in colour) for colour in (overlay.AGAINST, overlay.FOR))
    st.html(strips.signed(least, most, against, towards, f"Values from {strips.short(least)} to {strips.short(most)}"))
    st.caption(f"{SIGNED if least < 0 else UNSIGNED} {FRAMES}")


def scores(rows: pl.DataFrame, shown: str, scored: pl.DataFrame | None) -> None:
    """Draw how well the methods' maps find what is asked about, that of the map that is shown first."""
    if scored is None:
        st.caption("No scores of this question are in the catalog; they are made for objects that are in the picture.")
        return
    table = rows.select("method", "forwards").join(scored, on="method", how="left", maintain_order="left")
    table = table.sort(pl.col("method") != shown, maintain_order=True)
    ui.frame(table.select("method", "hit", "iou", "forwards"), SCORES, {"iou": "IoU"}, key="where_scores")


def values(grid: list[list[float]], boxes: list[overlay.Box], name: str) -> None:
    """Draw the map's values, patch by patch."""
    table = pl.DataFrame(boxes, schema=["x0", "y0", "x1", "y1"], orient="row").with_columns(
        value=pl.Series([v for line in grid for v in line])
    )
    with st.expander("Values of the patches", icon=":material/grid_on:"):
        ui.frame(table.sort("value", descending=True, maintain_order=True), VALUES, key="where_values")
        ui.csv_button(table, name)


def page(system: str, title: str) -> None:
    """Draw the page of a system."""
    st.page_link("app_pages/system.py", label=ui.esc(title), icon=":material/description:", query_params={"system": system})
    built = maps.built(system)
    if not built:
        st.info(
            f"The pictures and maps of {ui.esc(system)} are not built here: run `make repro SYSTEM={system}`, then reload this page.",
            icon=":material/inbox:",
        )
        return
    profile = ui.choose_profile(list(built), key=f"profile_{system}")
    files = built[profile]
    row = choose_question(maps.questions(files))
    if row is None:
        return
    rows = maps.of_question(files, row["id"])
    picture = maps.picture(files, row["image"])
    left, middle, right = st.columns([3, 4, 4], gap="medium")
    with left:
        found = choose_method(rows)
    if found is None:
        return
    with left:
        answer(row, (found["target"] or "").strip(), maps.probability(files, row["id"]))
    grid = maps.grid(found["values"])
    region = maps.region(found, picture.size)
    drawn = overlay.draw(picture, grid, region, maps.boxes(files, row["image"], row["asked"] or []))
    with middle:
        embedded(picture.resize(drawn.size, Image.Resampling.BICUBIC), f"The picture {row['image']}")
    with right:
        embedded(drawn, f"The map of {found['method']} over the picture {row['image']}")
        legend(grid)
    st.subheader("Does the map find what is asked about?", anchor=False)
    scores(rows, found["method"], maps.scores(system, profile, row["id"]))
    values(grid, overlay.patches(len(grid), len(grid[0]), region), f"{row['id']}_{found['method']}".replace(" ", "_"))


st.title("Where it looks", anchor=False)
st.markdown("Which parts of a picture speak for the model’s answer, and which against it.")
known = maps.systems()
if not known:
    ui.nothing_measured("maps of where a model looks")
elif len(known) == 1:
    page(*next(iter(known.items())))
else:
    name = ui.choose_from_url("System", list(known), "system", show=lambda system: known[system])
    if name is not None:
        page(name, known[name])
