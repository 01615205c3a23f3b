"""Invented signals of llava_vqa: scenes as they are composed, with square objects; answers, maps and heads as good as a test wants."""

import dataclasses

import numpy as np
import polars as pl

from catalog.base.params import profile_params
from stages.llava_vqa import dataset, masks
from stages.llava_vqa.settings import Params

IMAGES = {"train": 150, "valid": 4, "seen": 120, "unseen": 120}
CORNERS = {"top left": (32, 32), "top right": (128, 32), "bottom left": (32, 128), "bottom right": (128, 128)}  # x, y; squares of 64 px
SHARES = (0.0, 0.25, 0.5, 1.0)
PARAMS = profile_params(Params, "llava_vqa", "small")


def scenes():
    """The three tables of the data set, with squares of 2 x 2 patches for objects and no pixels."""
    p = dataclasses.replace(PARAMS.data, images=IMAGES)
    images, objects, asked = [], [], []
    for split, composed in dataset._compose(p, 0).items():
        names = {f"{split}-{number:05d}": things for number, things in enumerate(composed)}
        for name, things in names.items():
            images.append({"image": name, "split": split, "width": 224, "height": 224})
            for number, thing in enumerate(things):
                x, y = CORNERS[thing.place]
                mask = np.zeros((224, 224), bool)
                mask[y : y + 64, x : x + 64] = True
                objects.append({"image": name, "object": number, "place": thing.place, "mask": masks.encode(mask)})
        asked += dataset._questions(p, split, names, 0)
    return {
        "scenes.images": pl.DataFrame(images),
        "scenes.objects": pl.DataFrame(objects, schema_overrides={"mask": pl.List(pl.Int32)}),
        "scenes.questions": pl.DataFrame(asked, schema=dataset.QUESTIONS),
    }


def answers(raw, right, rng):
    """Answers of the small LLaVA.

    Args:
        right: condition -> probability of a right answer.
    """
    rows = []
    for item in raw["scenes.questions"].filter(pl.col("split").is_in(["seen", "unseen"])).iter_rows(named=True):
        for condition, skill in right.items():
            wrong = [name for name in item["candidates"] if name != item["answer"]]
            said = item["answer"] if item["answer"] is not None and rng.random() < skill else wrong[rng.integers(len(wrong))]
            logprobs = [-0.1 if name == said else -4.0 for name in item["candidates"]]
            correct = None if item["answer"] is None else said == item["answer"]
            key = {"model": "llava_small", "condition": condition, "question": item["id"]}
            rows.append(key | {"answer": said, "logprob": logprobs, "correct": correct})
    return pl.DataFrame(rows)


def patch_values(places, rng):
    """A map with the evidence on the squares at these places, and a little noise."""
    values = rng.uniform(0, 0.01, (7, 7))
    for place in places:
        x, y = CORNERS[place]
        values[y // 32 : y // 32 + 2, x // 32 : x // 32 + 2] += rng.uniform(0.5, 1, (2, 2))
    return values


def maps(raw, points, spread_when_absent, rng):
    """Maps of the questions about one object and about absent ones, and their curves.

    Args:
        points: method -> probability that a map points at the object that was asked about; else it points at a random patch.
        spread_when_absent: whether a map of what is not there is spread over the image; else it is on one place.
    """
    place = {(image, number): name for image, number, name in raw["scenes.objects"].select("image", "object", "place").iter_rows()}
    found, curves = [], []
    asked = raw["scenes.questions"].filter(
        pl.col("split").is_in(["seen", "unseen"]), pl.col("type").is_in(["colour", "kind", "place", "absent"])
    )
    for item in asked.iter_rows(named=True):
        for method, share in points.items():
            good = False
            if item["type"] == "absent":
                values = rng.uniform(0.5, 1, (7, 7)) if spread_when_absent else patch_values(["top left"], rng)
            elif rng.random() < share:
                values = patch_values([place[item["image"], item["asked"][0]]], rng)
                good = True
            else:
                values = rng.uniform(0, 1, (7, 7))
            key = {"question": item["id"], "method": method}
            forwards = 50 if method == "causal" else 1
            rest = {"forwards": forwards, "target": "red", "logprob": -0.2, "head": "3_1" if method == "best head" else None}
            found.append(key | {"values": values.ravel().tolist()} | rest)
            if item["type"] != "absent":
                for at in SHARES:
                    falls = 1 - at ** (0.3 if good else 1.5)
                    curves.append(key | {"kind": "deletion", "share": at, "probability": falls})
                    curves.append(key | {"kind": "insertion", "share": at, "probability": 1 - (1 - at) ** (3 if good else 0.7)})
    return pl.DataFrame(found, schema_overrides={"values": pl.List(pl.Float32)}), pl.DataFrame(curves)


CURVES = pl.DataFrame({"phase": ["align", "tune", "tune"], "step": [1, 1, 2], "loss": [2.0, 3.0, 1.0]})
GAINS = {  # quantity of the mechanism -> value where it is as the paper says, value where it is not, value of the control
    "logit difference": (4.0, -0.5, 0.0),
    "attention of the best heads": (0.7, 0.2, 0.4),
    "attention of the best heads against random heads": (0.7, 0.2, 0.4),
    "colour in what the best heads write": (0.8, 0.1, 0.2),
    "log-probability lost without the best heads": (2.0, -0.2, 0.1),
    "colour at the strongest patches, read from the embedding": (0.6, 0.0, 0.1),
    "kind at the strongest patches, read from the embedding": (0.5, 0.0, 0.1),
    "colour at the strongest patches, read from the head": (0.6, 0.0, 0.1),
    "kind at the strongest patches, read from the head": (0.5, 0.0, 0.1),
    "best heads shared with the language model told": (0.8, 0.1, 0.2),
    "best heads shared with the LLaVA told": (0.8, 0.1, 0.2),
}


def mechanism(raw, good, rng):
    """Heads, the quantities of the paper, and what patches are read as.

    Args:
        good: whether the quantities are as the paper says.
    """
    conditions = ("lm-tqa", "llava-tqa", "llava-vqa")
    heads = [
        {"condition": condition, "layer": layer, "head": head, "imp": float(rng.normal()), "rank": layer * 3 + head + 1}
        for condition in conditions
        for layer in range(4)
        for head in range(3)
    ]
    asked = raw["scenes.questions"].filter(split="seen", type="colour")["id"].to_list()[:50]
    rows = []
    for quantity, (yes, no, control) in GAINS.items():
        for condition in conditions:
            less = (0.1 if good else -0.1) if condition == "llava-tqa" else 0.0  # told, the colour is less clear, as the paper says
            for question in asked:
                value = (yes if good else no) - less + rng.normal() * 0.05
                pair = {"value": value, "control": control + rng.normal() * 0.05}
                if "log" not in quantity:  # the others are shares
                    pair = {name: min(max(number, 0.0), 1.0) for name, number in pair.items()}
                rows.append({"quantity": quantity, "condition": condition, "question": question} | pair)
    top = {"colour_rank": 1, "kind_rank": 3, "top": ["red", "cup"]}
    views = [{"question": asked[0], "view": view, "patch": 3, "on_object": True, "imp": 0.2} | top for view in ("embedding", "head")]
    names = {"heads": pl.DataFrame(heads), "mechanism": pl.DataFrame(rows), "projections": pl.DataFrame(views)}
    return {f"llava_mechanism.{name}": frame for name, frame in names.items()}
