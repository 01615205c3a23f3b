"""How long a run takes here: recorded seconds, scaled only where both machines' speeds are known."""

import time

import demo_project
import pytest

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import estimate
from catalog.report import machine, results

SPEEDS = {"float32": 60.0, "bfloat16": 10.0}  # a processor that does not compute in bfloat16
FAST = {"float32": 100.0, "bfloat16": 300.0}


@pytest.mark.parametrize(
    ("dtype", "asked", "ratio"),
    [
        ("float32", "auto", 100 / 60),
        (None, "auto", 100 / 60),
        ("bfloat16 autocast", "auto", 300 / 60),  # the faster type here is float32
        ("bfloat16 autocast", "bfloat16", 300 / 10),
        ("bfloat16 autocast", "float32", 300 / 60),
    ],
)
def test_seconds_are_scaled_by_the_type_that_each_machine_computes_in(dtype, asked, ratio):
    record = {"device": "cpu", "dtype": dtype, "gflops": FAST}
    assert estimate.scale(record, SPEEDS, asked) == pytest.approx(ratio)


def test_no_ratio_is_guessed():
    assert estimate.scale({"device": "cpu", "dtype": "float32"}, SPEEDS) is None
    assert estimate.scale({"device": "NVIDIA H200", "dtype": "float32", "gflops": FAST}, SPEEDS) is None


def test_the_table_adds_up_and_says_what_is_not_known():
    records = {
        "a": {"device": "cpu", "cpu": "Some CPU", "threads": 2, "cpu_features": ["avx512_bf16"], "gflops": FAST, "seconds": 540.0},
        "b": {"device": "cpu", "cpu": "Some CPU", "cpu_count": 4, "seconds": 3600.0, "dtype": "float32"},
    }
    records["a"] |= {"dtype": "bfloat16 autocast", "evaluation_seconds": 60.0}
    assert estimate.table(records, ["a"], SPEEDS, "auto") == [
        ("a", "10 min", "Some CPU x 2, avx512_bf16", "50 min"),
        ("all", "10 min", "", "50 min"),
    ]
    assert estimate.table(records, ["a", "b", "c"], SPEEDS, "auto")[1:] == [
        ("b", "1 h 00 min", "Some CPU x 4", "–"),
        ("c", "–", "–", "–"),
        ("all", "1 h 10 min", "", "–"),
    ]


def test_a_system_takes_those_before_it_along():
    systems = ["arithmetic", "gender_bias", "harmonic", "religious_bias", "sepo", "simdoc"]
    assert estimate.needed("harmonic", params.ROOT, systems) == ["harmonic"]
    with pytest.raises(CatalogError, match="no stage nobody"):
        estimate.needed("nobody", params.ROOT, systems)
    assert estimate.needed("gender_bias", params.ROOT, systems) == ["arithmetic", "gender_bias"]


def test_what_a_run_records_is_what_the_estimate_reads(demo_root, monkeypatch, capsys):
    monkeypatch.setattr(machine, "describe", lambda: {"cpu": "Some CPU", "cpu_count": 2, "threads": 2, "gflops": FAST})
    monkeypatch.setattr(machine, "speeds", lambda: SPEEDS)
    monkeypatch.setattr(params, "ROOT", demo_root)
    monkeypatch.setattr(results, "_STARTED", time.time())
    demo_project.change(demo_root, "reports/demo_heads/small/run.json", '"fingerprint": "', '"fingerprint": "other')
    results.write_run("demo_heads", "small", {"seconds": 600.0, "dtype": "float32"}, root=demo_root)
    record = io.read_json(demo_root / "reports/demo_heads/small/run.json")
    assert record["gflops"] == FAST and record["evaluation_seconds"] >= 0
    estimate.main("demo_heads")
    said = capsys.readouterr().out
    assert "17 min" in said and "make repro SYSTEM=<system>" in said  # 600 s * 100 / 60
    with pytest.raises(CatalogError, match="no system 'other'; choose one of demo_heads, demo_text"):
        estimate.main("other")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "must be a mapping of keys to values"),
        ("null", "must be a mapping of keys to values"),
        ('{"seconds": "x"}', "seconds is 'x' but must be a number"),
        ('{"seconds": -1}', "seconds is -1 but must be a number"),
        ('{"gflops": 5}', "gflops.float32 is 'absent' but must be a number"),
        ('{"gflops": {"float32": 1.0}}', "gflops.bfloat16 is 'absent' but must be a number"),
    ],
)
def test_a_record_of_another_form_is_one_sentence(demo_root, content, said):
    io.write_text(content, demo_root / "reports/demo_heads/small/run.json")
    with pytest.raises(CatalogError, match=f"^reports/demo_heads/small/run.json.* {said}.*`dvc repro -f demo_heads`") as error:
        estimate.recorded(demo_root, "small")
    assert "\n" not in str(error.value)


def test_a_record_with_a_number_that_is_none_is_no_json(demo_root):
    io.write_text('{"seconds": NaN}', demo_root / "reports/demo_heads/small/run.json")
    with pytest.raises(
        CatalogError, match=r"small/run\.json is not valid JSON \(NaN is no number of JSON\); delete it and run `dvc repro`"
    ):
        estimate.recorded(demo_root, "small")


def test_an_unknown_profile_is_told_from_one_without_a_run(demo_root, monkeypatch):
    monkeypatch.setattr(params, "ROOT", demo_root)
    demo_project.change(demo_root, "params.yaml", "profile: small", "profile: medium")
    with pytest.raises(CatalogError, match="profile is 'medium' but must be one of small, full"):
        estimate.main("")


def test_the_measure_of_this_machine_is_a_speed(monkeypatch):
    found = machine.speeds(0.05)
    assert found.keys() == {"float32", "bfloat16"} and all(0.1 < speed < 1e6 for speed in found.values())


def test_the_processor_is_read_from_what_linux_says():
    x86 = ["processor\t: 0", "model name\t: Some CPU", "flags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16"]
    assert machine.cpu(x86) == "Some CPU" and machine.features(x86) == ["avx2", "avx512f", "avx512_bf16", "amx_bf16"]
    assert machine.features(["Features\t: fp asimd bf16"]) == ["asimd", "bf16"]
    assert machine.features([]) == [] and machine.cpu([])
