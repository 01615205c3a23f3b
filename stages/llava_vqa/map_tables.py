"""The tables of maps: each map against the object that was asked about, other numbers of patches, curves, and absent objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.llava_vqa import clusters, pointing
from stages.llava_vqa.settings import Evaluate
from stages.llava_vqa.tables import codes

RANDOM, ANY = "random patch", "random patch of any object"  # computed here; every other method has maps
ROLES = ("paper", "direct", "attention", "rival", "causal", "prior", "random", "variant")
SCORES = ("hit", "iou", "iou_same_size", "inside", "correlation", "deletion", "insertion")
ALONE = ("concentration", "total", "peak")  # numbers of a map that need no object
OWN = "own probability"  # the answer's log-probability as a detector
ABSENT = {
    **dict.fromkeys(("split", "method", "score"), pl.String),
    **dict.fromkeys(("auroc", "low", "high", "gain", "gain_low", "gain_high"), pl.Float64),
    **dict.fromkeys(("n", "absent", "images"), pl.Int64),
}


def roles(maps: pl.DataFrame, p: Evaluate) -> dict[str, str]:
    """Method -> role, also of the two that are computed here.

    Raises:
        CatalogError: a method without a role, a role that there is not, a role without a method, or two of a role that one method has.
    """
    found = maps["method"].unique(maintain_order=True).to_list()
    if unknown := sorted(set(p.roles.values()) - set(ROLES)):
        raise CatalogError(f"evaluate.roles of llava_vqa has the role {unknown[0]}; roles are {', '.join(ROLES)}.")
    if without := [name for name in found if name not in p.roles]:
        raise CatalogError(f"evaluate.roles of llava_vqa says nothing of the maps by {without[0]}; give the method a role.")
    for role in ("paper", "direct", "attention", "causal"):
        if sum(p.roles[name] == role for name in found) != 1:
            raise CatalogError(f"evaluate.roles of llava_vqa must give the role {role} to exactly one method that there are maps of.")
    return {name: p.roles[name] for name in found} | {RANDOM: "random", ANY: "any object"}


def grid_of(patches: int) -> tuple[int, int]:
    """Rows and columns of a map's square grid."""
    side = isqrt(patches)
    if side * side != patches:
        raise CatalogError(f"A map has {patches} patches, which is no square grid; run stage llava_vqa_maps again.")
    return side, side


class Truth:
    """What is shown where: the patches of the asked objects and of all objects of a scene."""

    def __init__(self, test: pl.DataFrame, images: pl.DataFrame, objects: pl.DataFrame, covered: float) -> None:
        self.sizes = {name: (height, width) for name, height, width in images.select("image", "height", "width").iter_rows()}
        self.masks: dict[str, dict[int, list[int]]] = {}
        for image, number, runs in objects.select("image", "object", "mask").iter_rows():
            self.masks.setdefault(image, {})[number] = runs
        self.asked = {name: (image, numbers) for name, image, numbers in test.select("id", "image", "asked").iter_rows()}
        self.covered = covered

    def of(self, question: str, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Patches of the asked objects, and of any object: (rows * columns,) bool each."""
        image, numbers = self.asked[question]
        own = self.masks.get(image, {})
        parts = ([own[number] for number in numbers or []], list(own.values()))
        asked, every = (pointing.truth(part, *self.sizes[image], grid, self.covered) for part in parts)
        return asked, every


def score_table(maps: pl.DataFrame, areas: pl.DataFrame, truth: Truth, p: Evaluate, role: Mapping[str, str]) -> pl.DataFrame:
    """One row for each map, and for the two random patches; a score is null where it is not defined.

    Args:
        maps: question, method, values, forwards, head. areas: question, method, deletion, insertion.
    """
    causal = next(name for name, own in role.items() if own == "causal")
    reference = {q: np.asarray(v, float) for q, v in maps.filter(method=causal).select("question", "values").iter_rows()}
    rows = []
    for question, method, values, forwards, head in maps.select("question", "method", "values", "forwards", "head").iter_rows():
        own = np.asarray(values, float)
        row = {"question": question, "method": method, "forwards": forwards, "head": head}
        row |= {name: getattr(pointing, name)(own) for name in ("concentration",)} | {"total": float(own.sum()), "peak": float(own.max())}
        shown, _ = truth.of(question, grid_of(len(own)))
        if shown.any():
            row |= {"hit": pointing.hit(own, shown), "iou": pointing.iou(own, shown, p.top), "inside": pointing.inside(own, shown)}
            row["iou_same_size"] = pointing.iou(own, shown, int(shown.sum()))
        if method != causal and question in reference:
            row["correlation"] = pointing.correlation(own, reference[question])
        rows.append(row)
    for question, values in maps.unique("question", keep="first", maintain_order=True).select("question", "values").iter_rows():
        shown, every = truth.of(question, grid_of(len(values)))
        if shown.any():
            rows.append({"question": question, "method": RANDOM, "hit": float(shown.mean())})
            rows.append({"question": question, "method": ANY, "hit": float(shown[every].mean())})
    numbers = [*(name for name in SCORES if name not in ("deletion", "insertion")), *ALONE]
    schema = {"question": pl.String, "method": pl.String, "forwards": pl.Int64, "head": pl.String} | dict.fromkeys(numbers, pl.Float64)
    found = pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema).with_columns(pl.col(numbers).fill_nan(None))
    roled = found.with_columns(role=pl.col("method").replace_strict(dict(role), return_dtype=pl.String))
    return roled.join(areas, on=["question", "method"], how="left", maintain_order="left")


def areas(curves: pl.DataFrame) -> pl.DataFrame:
    """Area under each map's curves: columns question, method, deletion, insertion."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for (question, method, kind), part in curves.group_by("question", "method", "kind", maintain_order=True):
        rows.setdefault((question, method), {})[kind] = pointing.area(part["share"].to_numpy(), part["probability"].to_numpy())
    schema = {"question": pl.String, "method": pl.String, "deletion": pl.Float64, "insertion": pl.Float64}
    return pl.DataFrame([(*key, own.get("deletion"), own.get("insertion")) for key, own in rows.items()], schema=schema, orient="row")


def sensitivity(maps: pl.DataFrame, truth: Truth, p: Evaluate, group: pl.DataFrame) -> pl.DataFrame:
    """Intersection over union at other numbers of highest patches: rows of method, split, k.

    Args:
        group: question, image, split of the questions it is taken over.
    """
    kept = maps.join(group, on="question", how="inner", maintain_order="left")
    rows = []
    for (method, split), part in kept.group_by("method", "split", maintain_order=True):
        image = codes(part["image"])
        own = [(np.asarray(v, float), truth.of(q, grid_of(len(v)))[0]) for q, v in part.select("question", "values").iter_rows()]
        for k in p.tops:
            found = clusters.mean(image, np.array([pointing.iou(values, shown, k) for values, shown in own]))
            if found is not None:
                rows.append((method, split, k, *found, len(own), len(np.unique(image))))
    schema = {"method": pl.String, "split": pl.String, "k": pl.Int64} | dict.fromkeys(("iou", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema=schema | {"n": pl.Int64, "images": pl.Int64}, orient="row")


def curve_table(curves: pl.DataFrame, group: pl.DataFrame) -> pl.DataFrame:
    """Mean of each method's curves with intervals: rows of method, split, kind, share."""
    kept = curves.join(group, on="question", how="inner", maintain_order="left")
    rows = []
    for key, part in kept.group_by("method", "split", "kind", "share", maintain_order=True):
        found = clusters.mean(codes(part["image"]), part["probability"].to_numpy())
        if found is not None:
            rows.append((*key, *found, len(part)))
    schema = dict.fromkeys(("method", "split", "kind"), pl.String) | dict.fromkeys(("share", "value", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema=schema | {"n": pl.Int64}, orient="row")


def absent_table(scores: pl.DataFrame, test: pl.DataFrame, sure: pl.DataFrame) -> pl.DataFrame:
    """How well a number of the map tells questions about what is there from those about what is not, and the answer's own probability.

    Both ask for the colour of a kind. ``gain`` is a map's AUROC less that of the answer's own probability, on the same questions.

    Args:
        scores: `score_table`. sure: question, logprob of the model's answer.
    """
    both = test.filter(pl.col("type").is_in(["colour", "absent"])).join(
        sure, left_on="id", right_on="question", how="left", maintain_order="left"
    )
    rows = []
    for (split,), part in both.group_by("split", maintain_order=True):
        image, there = codes(part["image"]), (part["type"] == "colour").to_numpy()
        own = part["logprob"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        mapped = set(part["id"]) & set(scores["question"])
        seen = part["id"].is_in(list(mapped)).to_numpy()
        own = np.where(seen, own, np.nan)
        rows += _detector(split, OWN, "logprob", image, there, own, None)
        for (method,), some in scores.filter(pl.col("concentration").is_not_null()).group_by("method", maintain_order=True):
            for name in ALONE:
                values = dict(some.select("question", name).iter_rows())
                number = np.array([values.get(question, np.nan) for question in part["id"]], float)
                rows += _detector(split, method, name, image, there, number, own)
    return pl.DataFrame(rows, schema=ABSENT, orient="row")


def _detector(split: str, method: str, name: str, image: np.ndarray, there: np.ndarray, number: np.ndarray, own: np.ndarray | None) -> list:
    """A row of `absent_table`; none where one of the two kinds of questions has no number."""
    found = clusters.auroc(image, there, number)
    if found is None:
        return []
    gain = None if own is None else clusters.auroc_difference(image, there, number, own)
    known = np.isfinite(number)
    return [
        (split, method, name, *found, *(gain or (None,) * 3), int(known.sum()), int((known & ~there).sum()), len(np.unique(image[known])))
    ]


def patches(maps: pl.DataFrame, test: pl.DataFrame, images: pl.DataFrame, shown: Mapping[str, str]) -> pl.DataFrame:
    """A row for each patch of each mapped image: where it is in pixels and what each of the maps in ``shown`` gives it.

    Args:
        shown: column -> method.
    """
    sizes = {name: (height, width) for name, height, width in images.select("image", "height", "width").iter_rows()}
    facts = {name: rest for name, *rest in test.select("id", "image", "split", "type").iter_rows()}
    by_method: dict[str, dict[str, Sequence[float]]] = {}
    for question, method, values in maps.select("question", "method", "values").iter_rows():
        by_method.setdefault(method, {})[question] = values
    rows = []
    for question, target in maps.unique("question", keep="first", maintain_order=True).select("question", "target").iter_rows():
        values = {column: by_method[method].get(question) for column, method in shown.items()}
        rows_, columns = grid_of(len(next(v for v in values.values() if v is not None)))
        height, width = sizes[facts[question][0]]
        for patch in range(rows_ * columns):
            row, column = divmod(patch, columns)
            box = (column * width / columns, row * height / rows_, (column + 1) * width / columns, (row + 1) * height / rows_)
            given = (None if v is None else float(v[patch]) for v in values.values())
            rows.append((question, row, column, *facts[question], target, *box, *given))
    schema = {"question": pl.String, "patch_row": pl.Int64, "patch_column": pl.Int64} | dict.fromkeys(
        ("image", "split", "type", "target"), pl.String
    )
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(("x0", "y0", "x1", "y1", *shown), pl.Float64), orient="row")
