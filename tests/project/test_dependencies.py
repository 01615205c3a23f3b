"""What the settings of a stage name, at either profile, the stage depends on."""

import re

import pytest
from declarations import ROOT, code_files, project_file, stage_module

from catalog.base import params
from catalog.database import pipeline

# What a stage's settings name though another stage reads it: that stage's output is the dep.
READ_BEFORE = {
    "harmonic_train": {"assets"},  # through data/harmonic_tables
    "harmonic_measure": {"assets"},
    "fmdllama_data": {"assets"},  # through data/prices
    "open_finllms_trade": {"assets"},  # likewise
    "open_finllms_instruct": {"models", "hub_models"},  # through models/finllama
    "sepo": {"assets", "hub_models"},  # through data/preference_pairs; the models through data/token_scores and models/sepo_policies
    "religious_bias_measure": {"assets"},  # through models/religion_mlm
}


def named(value, key=()):
    """Every text below a value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from named(item, (*key, name))
    elif isinstance(value, list):
        for item in value:
            yield from named(item, key)
    elif isinstance(value, str):
        yield value


def settings(stage, system, profile, declared):
    """The blocks of the system's own parameters that the stage depends on, as they are at `profile`."""
    for key in stage["params"]:
        file, _, dotted = key.rpartition(":")
        if file == params.system_file(system):
            value = declared[system]
            for part in (profile, *dotted.split(".")[1:]):
                value = value[part]
            yield value


def lacking(stage, system, profile, declared):
    """Deps and params that the stage should have and has not."""
    before = READ_BEFORE.get(stage["stage"], set())
    kinds = {
        "assets": ({**declared["assets"], **declared["optional_assets"]}, "data/assets/{}"),
        "models": ({**declared["models"], **declared["optional_models"]}, "models/{}/base"),
        "hub_models": (declared["hub_models"], "hub_models.{}"),
    }
    texts = {text for value in settings(stage, system, profile, declared) for text in named(value)}
    for kind, (names, form) in kinds.items():
        if kind not in before:
            needed = {form.format(name) for name in texts & names.keys()}
            yield from sorted(needed - {*stage["deps"], *stage["params"]})


def readers():
    """(stage, system) of each stage that reads assets or runs models; evaluations read what those wrote."""
    declared = params.load()
    systems = [name for name, block in declared.items() if isinstance(block, dict) and "small" in block]
    for stage in pipeline.stages(ROOT):
        system = pipeline.owner(stage["stage"], systems)
        if system and (stage["stage"] == f"{system}_data" or "catalog/models" in stage["deps"]):
            yield stage, system, declared


@pytest.mark.parametrize("profile", params.PROFILES)
def test_assets_and_models_of_the_settings_are_dependencies(profile):
    problems = [f"{s['stage']} at {profile} lacks {what}" for s, system, all_ in readers() for what in lacking(s, system, profile, all_)]
    assert not problems, "\n".join(problems)


def test_a_missing_dependency_is_seen():
    found = {stage["stage"]: (stage, system, declared) for stage, system, declared in readers()}
    stage, system, declared = found["harmonic_data"]
    assert list(lacking({**stage, "deps": []}, system, "full", declared)) == [
        "data/assets/adult",
        "data/assets/german_credit",
        "data/assets/pima",
    ]
    stage, system, declared = found["simdoc_train"]
    bare = {**stage, "params": [key for key in stage["params"] if ":" in key]}
    assert list(lacking(bare, system, "full", declared)) == ["hub_models.t5_base"]


def test_files_of_the_users_own_lie_where_a_stage_depends_on_them():
    """A stage whose code asks `require_dep(…, own=…)` depends on that folder, which a fresh clone has and no commit fills."""
    found = set()
    for stage in pipeline.stages(ROOT):
        module = stage_module(stage["cmd"])
        if "." not in module or project_file(ROOT, module) is None or not stage["stage"].endswith("_data"):
            continue
        code = "".join((ROOT / path).read_text(encoding="utf-8") for path in code_files(ROOT, module) if path.startswith("stages/"))
        if re.search(r"require_dep\([^\n]*own=", code):
            found.add(stage["stage"])
            folder = f"data/own/{stage['stage'].removesuffix('_data')}"
            assert folder in stage["deps"], stage["stage"]
            assert (ROOT / folder / ".gitignore").read_text(encoding="utf-8").endswith("\n*\n!.gitignore\n")
    assert found == {"harmonic_data", "llava_vqa_data", "sepo_data", "simdoc_data"}
