"""The language models of this system by name, and the form in which an instruction is put to them, for every stage that asks them.

A prompt has the same tokens in training and in evaluation: both call `prompt_ids`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, profile_params
from catalog.models.inference import chat_ids
from catalog.models.lm import load_lm
from catalog.training.adapters import saved_lora
from stages.open_finllms.settings import Params

SYSTEM = "open_finllms"
FINLLAMA, INSTRUCT = "finllama", "finllama_instruct"


def names(profile: str) -> tuple[str, str, str]:
    """Names that `load` takes: the model before any training, FinLLaMA, FinLLaMA-Instruct."""
    return (profile_params(Params, SYSTEM, profile).pretrain.model, FINLLAMA, INSTRUCT)


def folder(name: str, profile: str, root: Path = ROOT) -> Path:
    """Where FinLLaMA (the arm that the instructions start from) or the adapter of FinLLaMA-Instruct is saved.

    Raises:
        CatalogError: it is not built, or is none of the deps of the stage that DVC runs.
    """
    start = profile_params(Params, SYSTEM, profile, root).instruct.start
    place = Path(root) / "models" / name / profile / (start if name == FINLLAMA else "adapter")
    require_dep(place, root)
    if not place.is_dir():
        stage = f"{SYSTEM}_{'pretrain' if name == FINLLAMA else 'instruct'}"
        raise CatalogError(f"{place.relative_to(root)} is not there; run `dvc repro {stage}` to make it.")
    return place


def load(name: str, profile: str, root: Path = ROOT, **options: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of one of `names`, ready to be asked; an adapter is added to the weights.

    Args:
        options: of `catalog.models.lm.load_lm`.

    Raises:
        CatalogError: another name, or a model that is not built.
    """
    p = profile_params(Params, SYSTEM, profile, root)
    if name == p.pretrain.model:
        return load_lm(name, root=root, **options)
    if name == FINLLAMA:
        return load_lm(folder(name, profile, root), root=root, **options)
    if name != INSTRUCT:
        raise CatalogError(f"There is no model {name!r} here; use {p.pretrain.model}, {FINLLAMA} or {INSTRUCT}.")
    adapter = folder(name, profile, root)
    model, tokenizer = load(FINLLAMA, profile, root, **options)
    with saved_lora(model, adapter) as adapted:
        adapted.merge_adapter()  # stays in the weights when the adapter is taken off, as in `fold_in`
    return model, tokenizer


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of an instruction up to where its answer begins: in the chat template, or as plain text for a model that has none.

    The plain form ends in a line break, so that a prompt that ends in "Answer:" has its answer on the next line.
    """
    if tokenizer.chat_template is None:
        return tokenizer(f"{prompt}\n")["input_ids"]
    return chat_ids(tokenizer, prompt)
