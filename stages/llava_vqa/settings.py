"""The parameters of `llava_vqa`, a dataclass for each stage."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM, MODEL = "llava_vqa", "llava_small"
SPLITS = ("train", "valid", "seen", "unseen")


@dataclass(frozen=True)
class Data:
    """Composed images and questions about them."""

    images: dict[str, int]  # split -> images
    size: int  # pixels of a side
    objects: tuple[float, ...]  # probability of one object, of two, of three, of four
    sides: tuple[int, int]  # pixels of an object's longer side, least and most
    same_colour: float  # probability that an object takes the colour of an earlier one
    same_kind: float  # probability that it takes the kind of an earlier one
    questions: dict[str, float]  # type -> questions of it an image, at most 1; absent is not asked in train and valid
    coco: str  # folder in data/own/llava_vqa with instances.json and images/, whose photographs become the split coco; empty for none


@dataclass(frozen=True)
class Train:
    """The small LLaVA, or a published one."""

    model: str  # the language model; without a tower, the whole LLaVA
    tower: str  # asset of the image tower; empty for a LLaVA as it is published
    images: int  # training images at most
    standardised: int  # images over which the tower's features are standardised
    align_steps: int  # of the projector alone, before the language model is tuned; 0 for none
    align_batch: int  # places of a step
    align_rate: float
    align_nothing: float  # share of the empty places that are among them
    questions: int  # about an image, at least; where the data set has fewer, others about its objects are added
    steps: int  # of the LoRA and the projector; 0 leaves the model as it is
    batch_size: int  # images of a step
    micro_batch: int  # of a forward pass; 0 for all
    learning_rate: float  # of the LoRA
    projector_rate: float
    schedule: str
    warmup: float
    rank: int
    alpha: float
    targets: tuple[str, ...]
    shown: int  # image tokens of an image in the first part of the steps; 0 shows all
    shown_until: float  # share of the steps


@dataclass(frozen=True)
class Answers:
    """Answers to all questions, and controls."""

    lm: str  # the language model before training
    controls: int  # images of each split about which the controls are asked
    generated: int  # images of each split about which answers are also written freely


@dataclass(frozen=True)
class Mechanism:
    """Analyses of heads and projections."""

    lm: str  # the language model before training, which is told the scenes
    split: str  # of the scenes
    questions: int  # about a colour, one a scene
    heads: int  # the best ones of each question
    patches: int  # the strongest ones of each question
    covered: float  # a patch shows an object if its mask covers more than this share of it


@dataclass(frozen=True)
class Maps:
    """Where the model looks, by every method."""

    images: dict[str, int]  # split -> images with several objects whose questions are mapped
    costly: dict[str, int]  # split -> images of these that are also mapped by masking and by integrated gradients, and have curves
    valid: int  # images of the split valid by which one head for all questions is chosen; 0 leaves that method out
    heads: int  # of the method that adds up several
    steps: int  # of integrated gradients
    mean_images: int  # training images whose mean patch stands for a masked one
    covered: float  # a patch shows an object if its mask covers more than this share of it; for choosing the head
    curves: tuple[str, ...]  # methods whose maps are masked and shown step by step
    shares: tuple[float, ...]  # of the patches that are masked, or shown


@dataclass(frozen=True)
class Evaluate:
    """What the evaluation compares."""

    roles: dict[str, str]  # method of the maps -> what it is to the claims; map_tables.ROLES lists the roles
    covered: float  # a patch shows an object if its mask covers more than this share of it
    top: int  # highest patches of a map that IoU takes
    tops: tuple[int, ...]  # other numbers of them, for the table sensitivity


@dataclass(frozen=True)
class Params:
    """All groups, as in `params.yaml`."""

    seed: int
    data: Data
    train: Train
    answers: Answers
    mechanism: Mechanism
    maps: Maps
    evaluate: Evaluate


def trained(p: Train, profile: str) -> str:
    """Name of the model that the stage `llava_vqa_train` leaves, for `catalog.vision.build.load` in the project's folder: the folder that
    it wrote, or the published model that it does not change."""
    return f"models/{MODEL}/{profile}/model" if p.steps else p.model
