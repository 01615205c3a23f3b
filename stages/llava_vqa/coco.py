"""Photographs with annotations in COCO's layout, as the same tables of images and objects that the composed scenes have.

`instances.json` names images, categories and annotations. The outline of an object is a list of polygons, whose union it is, or a
run-length code, as a list of numbers or compressed to a text. What does not fit together is refused, above all a size: outlines count in
the pixels of one frame, and a photograph that its EXIF tag turns has two.
"""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageOps, UnidentifiedImageError

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json
from catalog.base.text import read_text
from stages.llava_vqa import masks
from stages.llava_vqa.pictures import Picture
from stages.llava_vqa.questions import candidates
from stages.llava_vqa.scenes import IMAGES, OBJECTS, PLACES, Thing, png

SPLIT = "coco"
LIMIT = 50_000_000  # pixels of one photograph; beyond it the masks would fill the memory
IN_PLACE = 0.8  # share of an object that lies in one quadrant, if it is said to be there
ORIENTATION = 0x0112  # EXIF tag


def read(instances: Path, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables of images and objects.

    Args:
        instances: JSON file of annotations.
        folder: where the files that it names lie.

    Returns:
        images, with `split` coco and no `background`; objects, with `picture` the annotation's id, `source` coco, or "coco crowd" for an
        outline around many (iscrowd), `place` the quadrant that it lies in, null if it reaches far into others, and `colour` from the
        annotation's attributes (`attributes: {color: red}`), null where it has none.

    Raises:
        CatalogError: a file that is missing or no image, an annotation without an outline, a size or an id that does not fit.
    """
    data = _parts(parse_json(read_text(instances)), instances.name)
    names = {key: _text(entry, "name", f"category {key}") for key, entry in _by_id(data["categories"], "category").items()}
    photographs = _by_id(data["images"], "image")
    outlines: dict[Any, list[dict]] = {key: [] for key in photographs}
    for key, entry in _by_id(data["annotations"], "annotation").items():
        if entry.get("image_id") not in outlines or entry.get("category_id") not in names:
            raise CatalogError(
                f"Annotation {key} of {instances.name} names an image or a category that the file does not list; correct it."
            )
        outlines[entry["image_id"]].append(entry)
    images, objects = [], []
    for key, entry in photographs.items():
        picture, image = photograph(entry, folder), f"{SPLIT}-{key}"
        width, height = picture.size
        images.append({"image": image, "split": SPLIT, "width": width, "height": height, "background": None, "png": png(picture)})
        for number, annotation in enumerate(outlines[key]):
            objects.append({"image": image, "object": number} | _object(annotation, names, width, height))
    return pl.DataFrame(images, schema=IMAGES), pl.DataFrame(objects, schema=OBJECTS)


def scenes_of(images: pl.DataFrame, objects: pl.DataFrame) -> dict[str, list[Thing]]:
    """Image -> its objects, to ask questions about. Images with an outline around many are left out: they do not say what is there once."""
    crowded = set(objects.filter(pl.col("source") != SPLIT)["image"])
    scenes: dict[str, list[Thing]] = {image: [] for image in images["image"] if image not in crowded}
    for image, kind, colour, place, picture in objects.select("image", "kind", "colour", "place", "picture").iter_rows():
        if image in scenes:
            scenes[image].append(Thing(Picture(kind, picture, SPLIT), colour, place))
    return scenes


def answers(objects: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Type of question -> answers that are possible: every kind and colour that an annotation has.

    Nobody is asked how many objects a photograph shows: what was not annotated is there, too.
    """
    return candidates(tuple(objects["kind"].unique().sort()), tuple(objects["colour"].drop_nulls().unique().sort())) | {"count": ()}


def photograph(entry: dict, folder: Path) -> Image.Image:
    """The photograph in the frame in which its outlines count.

    A camera that was held upright may store the picture lying, with a tag that says how to turn it. It is turned if the sizes in the
    annotations say that they were made on the turned picture, and left lying if they say that; the tag is gone in both cases.
    """
    name, wanted = _text(entry, "file_name", f"image {entry['id']}"), (entry.get("width"), entry.get("height"))
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise CatalogError(f"The file name {name} leads out of the folder of photographs; name files inside it.")
    path = folder / name
    try:
        with Image.open(path) as file:
            if file.width * file.height > LIMIT:
                raise CatalogError(f"{path} has {file.width} x {file.height} pixels, more than {LIMIT:,}; make it smaller.")
            if file.mode.startswith(("I", "F")):
                raise CatalogError(f"{path} has more than eight bits a pixel's shade, which would be cut; save it with eight.")
            turned = file.getexif().get(ORIENTATION, 1) not in (0, 1)
            stored, upright = file.convert("RGB"), ImageOps.exif_transpose(file).convert("RGB")
    except FileNotFoundError:
        raise CatalogError(f"There is no photograph {path}, which the annotations name; add it or its entry must go.") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read as an image ({' '.join(str(error).split())}); replace it.") from None
    if not turned and stored.size == wanted:
        return _bare(stored)
    fits = [picture for picture in (upright, stored) if picture.size == wanted]
    if turned and len(fits) == 1:
        return _bare(fits[0])
    if turned and fits:
        raise CatalogError(
            f"{path} has an EXIF tag that turns it to the same size, so its outlines fit it both ways; turn it and drop the tag."
        )
    sizes = " or, turned by its tag, ".join(f"{side.width} x {side.height}" for side in ([stored, upright] if turned else [stored]))
    raise CatalogError(
        f"{path} has {sizes} pixels, but its annotations count in {wanted[0]} x {wanted[1]}; use the file they were made on."
    )


def _bare(picture: Image.Image) -> Image.Image:
    """The pixels alone, without tags."""
    return Image.fromarray(np.array(picture))


def _object(annotation: dict, names: dict, width: int, height: int) -> dict:
    """The columns of one object that its annotation gives."""
    where = f"annotation {annotation['id']}"
    mask = outline(annotation.get("segmentation"), width, height, where)
    if not mask.any():
        raise CatalogError(f"The outline of {where} covers no pixel; draw it again or take it out.")
    x0, y0, x1, y1 = masks.box(mask)
    attributes = annotation.get("attributes") if isinstance(annotation.get("attributes"), dict) else {}
    below, right = bool(y0 + y1 > height), bool(x0 + x1 > width)
    quadrant = np.s_[height // 2 :] if below else np.s_[: height // 2], np.s_[width // 2 :] if right else np.s_[: width // 2]
    inside = mask[quadrant].sum() >= IN_PLACE * mask.sum()
    return {
        "kind": names[annotation["category_id"]],
        "colour": attributes.get("colour", attributes.get("color")),
        "place": PLACES[2 * below + right] if inside else None,
        "picture": str(annotation["id"]),
        "source": f"{SPLIT} crowd" if annotation.get("iscrowd") else SPLIT,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "mask": masks.encode(mask),
        "area": int(mask.sum()),
    }


def outline(segmentation: Any, width: int, height: int, where: str) -> np.ndarray:
    """The pixels that a COCO segmentation covers: rows x columns.

    Several polygons are united: COCO makes holes by run lengths alone, so a polygon inside another one takes nothing away.
    """
    if isinstance(segmentation, dict):
        return run_lengths(segmentation, width, height, where)
    if not isinstance(segmentation, list) or not segmentation:
        raise CatalogError(f"There is no outline in {where}: give polygons or run lengths as its segmentation; a box is none.")
    mask = np.zeros((height, width), bool)
    for ring in segmentation:
        if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2 or not all(_finite(number) for number in ring):
            raise CatalogError(f"A polygon of {where} is no list of at least three points x, y, x, y, ...; correct it.")
        points = np.array(ring, float).reshape(-1, 2)
        if (points < -1).any() or (points > (width + 1, height + 1)).any():
            raise CatalogError(f"A polygon of {where} reaches beyond its image of {width} x {height} pixels; was it drawn on another size?")
        mask |= masks.polygon(points, height, width)
    return mask


def run_lengths(segmentation: dict, width: int, height: int, where: str) -> np.ndarray:
    """The mask of a run-length code, whose counts are a list or a compressed text."""
    if segmentation.get("size") != [height, width]:
        raise CatalogError(
            f"The run lengths of {where} are for {segmentation.get('size')} rows and columns, its image has {[height, width]}."
        )
    counts = segmentation.get("counts")
    if isinstance(counts, str) and not all("0" <= character <= "o" for character in counts):
        raise CatalogError(f"The compressed run lengths of {where} hold characters that none has; write the file again.")
    runs = masks.decompress(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and not isinstance(run, bool) and run >= 0 for run in runs)
    if not whole or sum(runs) != width * height:
        raise CatalogError(
            f"The run lengths of {where} are no whole numbers that sum to the {width * height} pixels of its image; correct them."
        )
    return masks.decode(runs, height, width)


def _finite(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)


def _parts(data: Any, name: str) -> dict[str, list]:
    """The lists of the file, checked to be there."""
    keys = ("images", "annotations", "categories")
    if not isinstance(data, dict) or any(not isinstance(data.get(key), list) for key in keys):
        raise CatalogError(f"{name} is not in COCO's layout: it must be a mapping with the lists {', '.join(keys)}.")
    return data


def _by_id(entries: list, what: str) -> dict[Any, dict]:
    """Entries by their id, which each must have for itself."""
    found: dict[Any, dict] = {}
    for entry in entries:
        key = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(key, (int, str)) or isinstance(key, bool) or key in found:
            raise CatalogError(f"The id {key!r} of an entry ({what}) is no number or there twice; give each its own.")
        found[key] = entry
    return found


def _text(entry: dict, key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise CatalogError(f"There is no {key} in {where}; add it.")
    return value
