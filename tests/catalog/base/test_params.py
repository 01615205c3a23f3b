"""Reading the parameters and building a system's dataclass from one profile of its file; how a stage starts."""

import ctypes
import errno
import os
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from catalog.base import errors, io
from catalog.base.errors import CatalogError, run
from catalog.base.params import ROOT, load, load_shared, profile_params

SHARED = "profile: small\nseed: 7\n"
DEMO = "stages/demo/params.yaml"
YAML = """
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
    io.write_text(SHARED, tmp_path / "params.yaml")
    io.write_text(YAML, tmp_path / DEMO)
    return tmp_path


def edit(root, old, new, file=DEMO):
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))


def test_profile_becomes_dataclass_with_top_level_seed(root):
    small = profile_params(Demo, "demo", "small", root)
    assert small == Demo(3, 0.0001, (0, 2), "a", "fast", None, Deep(2), {"k": (1,)}, seed=7)
    full = profile_params(Demo, "demo", "full", root)
    assert full.rate == 1.0 and type(full.rate) is float and full.stop == 5 and full.layers == ()


def test_a_systems_own_seed_goes_first(root):
    edit(root, "{steps: 3,", "{steps: 3, seed: 11,")
    assert profile_params(Demo, "demo", "small", root).seed == 11


def test_all_parameters_are_the_shared_keys_and_the_file_of_each_system(root):
    io.write_text("small: {n: 1}\n", root / "stages/another/params.yaml")
    io.write_text("small: {n: 2}\n", root / "stages/_template/params.yaml")  # no system
    io.write_text("no parameters\n", root / "stages/bare/README.md")
    found = load(root)
    assert list(found) == ["profile", "seed", "another", "demo"]
    assert found["another"] == {"small": {"n": 1}} and found["demo"]["full"]["steps"] == 30
    assert load_shared(root) == {"profile": "small", "seed": 7}


def test_a_stage_reads_no_other_systems_file(root):
    io.write_text("small: [", root / "stages/another/params.yaml")
    assert profile_params(Demo, "demo", "small", root).steps == 3
    with pytest.raises(CatalogError, match=r"^stages/another/params\.yaml cannot be read, correct it"):
        load(root)


def test_a_block_of_a_system_in_the_shared_file_says_where_it_belongs(root):
    edit(root, "seed: 7", "seed: 7\nassets: {small: {bytes: 1}}\ndemo: {small: {steps: 4}}", "params.yaml")
    said = r"^params\.yaml has the block of the system demo; move what is under it to stages/demo/params\.yaml\.$"
    for read in (load, load_shared, lambda root: profile_params(Demo, "demo", "small", root)):
        with pytest.raises(CatalogError, match=said):
            read(root)


def test_a_system_that_has_the_name_of_a_shared_key_is_refused(root):
    io.write_text("small: {n: 1}\n", root / "stages/seed/params.yaml")
    with pytest.raises(CatalogError, match="has a key 'seed', which is the name of a system"):
        load(root)


def test_a_seed_that_is_nowhere_is_named(root):
    edit(root, "seed: 7\n", "", "params.yaml")
    with pytest.raises(CatalogError, match=r"^params\.yaml has no key 'seed', which demo needs"):
        profile_params(Demo, "demo", "small", root)


def test_a_wrong_shared_seed_is_blamed_on_the_shared_file(root):
    edit(root, "seed: 7", "seed: zero", "params.yaml")
    with pytest.raises(CatalogError, match=r"^params\.yaml, seed is 'zero' but must be of type int\.$"):
        profile_params(Demo, "demo", "small", root)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps: 3", "step: 3", "small: unknown 'step' and missing 'steps'"),
        ("steps: 3, ", "", "small: missing 'steps'"),
        ("steps: 3", "steps: 3.5", "small.steps is 3.5 but must be of type int"),
        ("steps: 3", "steps: true", "small.steps is True but must be of type int"),
        ("rate: 1e-4", "rate: fast", "small.rate is 'fast' but must be of type float"),
        ("layers: [0, 2]", "layers: [0, x]", r"small.layers\[1\] is 'x' but must be of type int"),
        ("layers: [0, 2]", "layers: 2", "small.layers is 2 but must be of type tuple"),
        ("mode: fast", "mode: quick", "small.mode is 'quick' but must be of type Literal"),
        ("rank: 2", "rank: 2, r: 1", "small.deep: unknown 'r'"),
        ("stop: null", "stop: never", "small.stop is 'never' but must be of type int | None"),
    ],
)
def test_wrong_values_name_file_profile_and_key(root, old, new, said):
    edit(root, old, new)
    with pytest.raises(CatalogError, match=r"^stages/demo/params\.yaml, " + said.replace("|", r"\|")):
        profile_params(Demo, "demo", "small", root)


def test_unknown_system_and_profile_say_what_there_is(root):
    with pytest.raises(CatalogError, match=r"no stages/other/params\.yaml; write it with the keys small and full"):
        profile_params(Demo, "other", "small", root)
    with pytest.raises(CatalogError, match="no profile 'large'; choose one of small, full"):
        profile_params(Demo, "demo", "large", root)


def test_unreadable_files_are_one_sentence(tmp_path):
    with pytest.raises(CatalogError, match=r"no params\.yaml"):
        load(tmp_path)
    for text in ("a: [1", "a: 1\na: 2", "- 1"):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(CatalogError, match=r"^params\.yaml") as error:
            load(tmp_path)
        assert "\n" not in str(error.value)
    io.write_text(SHARED, tmp_path / "params.yaml")
    for text in ("small: [1", "small: {}\nsmall: {}", "- 1", ""):
        io.write_text(text, tmp_path / DEMO)
        for read in (load, lambda root: profile_params(Demo, "demo", "small", root)):
            with pytest.raises(CatalogError, match=r"^stages/demo/params\.yaml") as error:
                read(tmp_path)
            assert "\n" not in str(error.value)


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    (tmp_path / "params.yaml").write_text("a: 5e-5\nb: no\n")
    assert load(tmp_path) == {"a": 5e-05, "b": "no"}


def test_own_params_have_the_shared_keys():
    params = load_shared()
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


def test_run_says_in_one_sentence_what_the_system_denies(capsys):
    for number, remedy in (
        (errno.EROFS, "in a folder that can be written"),
        (errno.EACCES, "give yourself access"),
        (errno.ENOSPC, "free"),
    ):

        def fails(number=number):
            raise OSError(number, os.strerror(number), "reports/demo/x.json")

        with pytest.raises(SystemExit) as stop:
            run(lambda: fails(), [])
        said = capsys.readouterr().err
        assert stop.value.code == 1 and said.startswith(f"Error: reports/demo/x.json cannot be used ({os.strerror(number)}); ")
        assert remedy in said and said.count("\n") == 1
    with pytest.raises(FileNotFoundError):  # a bug keeps its traceback
        run(lambda: open("/no/such/file"), [])


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
