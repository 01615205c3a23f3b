"""Reading params.yaml and building a system's dataclass from one profile of it; how a stage starts."""

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from catalog import errors
from catalog.errors import CatalogError, run
from catalog.params import ROOT, load, profile_params

YAML = """
profile: small
seed: 7
demo:
  small: {steps: 3, rate: 1e-4, layers: [0, 2], name: a, mode: fast, stop: null, deep: {rank: 2}, extra: {k: [1]}}
  full: {steps: 30, rate: 1, layers: [], name: b, mode: slow, stop: 5, deep: {rank: 8}, extra: {}}
"""


@dataclass(frozen=True)
class Deep:
    rank: int


@dataclass(frozen=True)
class Demo:
    steps: int
    rate: float
    layers: tuple[int, ...]
    name: str
    mode: Literal["fast", "slow"]
    stop: int | None
    deep: Deep
    extra: dict[str, Any]
    seed: int = 0


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text(YAML)
    return tmp_path


def edit(root, old, new):
    text = (root / "params.yaml").read_text()
    assert old in text
    (root / "params.yaml").write_text(text.replace(old, new, 1))


def test_profile_becomes_dataclass_with_top_level_seed(root):
    small = profile_params(Demo, "demo", "small", root)
    assert small == Demo(3, 0.0001, (0, 2), "a", "fast", None, Deep(2), {"k": (1,)}, seed=7)
    full = profile_params(Demo, "demo", "full", root)
    assert full.rate == 1.0 and type(full.rate) is float and full.stop == 5 and full.layers == ()


def test_a_systems_own_seed_goes_first(root):
    edit(root, "{steps: 3,", "{steps: 3, seed: 11,")
    assert profile_params(Demo, "demo", "small", root).seed == 11


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps: 3", "step: 3", "demo.small: unknown 'step' and missing 'steps'"),
        ("steps: 3, ", "", "demo.small: missing 'steps'"),
        ("steps: 3", "steps: 3.5", "demo.small.steps is 3.5 but must be of type int"),
        ("steps: 3", "steps: true", "demo.small.steps is True but must be of type int"),
        ("rate: 1e-4", "rate: fast", "demo.small.rate is 'fast' but must be of type float"),
        ("layers: [0, 2]", "layers: [0, x]", r"demo.small.layers\[1\] is 'x' but must be of type int"),
        ("layers: [0, 2]", "layers: 2", "demo.small.layers is 2 but must be of type tuple"),
        ("mode: fast", "mode: quick", "demo.small.mode is 'quick' but must be of type Literal"),
        ("rank: 2", "rank: 2, r: 1", "demo.small.deep: unknown 'r'"),
        ("stop: null", "stop: never", "demo.small.stop is 'never' but must be of type int | None"),
    ],
)
def test_wrong_values_name_key_system_and_profile(root, old, new, said):
    edit(root, old, new)
    with pytest.raises(CatalogError, match=said.replace("|", r"\|")):
        profile_params(Demo, "demo", "small", root)


def test_unknown_system_and_profile_say_what_there_is(root):
    with pytest.raises(CatalogError, match="no block 'other'"):
        profile_params(Demo, "other", "small", root)
    with pytest.raises(CatalogError, match="no profile 'large' for demo; choose one of small, full"):
        profile_params(Demo, "demo", "large", root)


def test_unreadable_files_are_one_sentence(tmp_path):
    with pytest.raises(CatalogError, match=r"no params\.yaml"):
        load(tmp_path)
    for text in ("a: [1", "a: 1\na: 2", "- 1"):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(CatalogError, match=r"params\.yaml") as error:
            load(tmp_path)
        assert "\n" not in str(error.value)


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    (tmp_path / "params.yaml").write_text("a: 5e-5\nb: no\n")
    assert load(tmp_path) == {"a": 5e-05, "b": "no"}


def test_own_params_have_the_shared_keys():
    params = load()
    assert (ROOT / "params.yaml").exists()
    assert {"profile", "launch", "seed", "device", "dtype", "assets", "models", "hub_models"} <= params.keys()
    assert params["profile"] == "small"


def test_run_passes_arguments_and_reports_errors(capsys):
    seen = []
    run(lambda profile: seen.append(profile), ["small"])
    assert seen == ["small"]

    def fails(profile):
        raise CatalogError("Give it a name.")

    with pytest.raises(SystemExit) as stop:
        run(fails, ["small"])
    assert stop.value.code == 1 and capsys.readouterr().err == "Error: Give it a name.\n"
    with pytest.raises(SystemExit) as stop:
        run(fails, [])
    assert stop.value.code == 2 and "<profile>" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        run(lambda profile: 1 / 0, ["small"])


def test_a_stage_keeps_freed_memory_where_the_c_library_can(monkeypatch):
    calls = []

    class Library:
        @staticmethod
        def mallopt(name, value):
            calls.append((name, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    run(lambda: None, [])
    assert {name for name, _ in calls} == {-1, -2, -4} and os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # a C library without it
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    errors.keep_freed_memory()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"  # the user's choice stays
