"""Result rows, intervals, descriptions and run.json against values worked out by hand."""

import json
import math
from datetime import date

import demo_project
import numpy as np
import polars as pl
import pytest

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.report import results
from catalog.report.intervals import clustered_share

PLACE = ("demo", "small", "probe", "demo_sums", "demo_base")

CUT = demo_project.safetensors({"a": [2, 3]})[:-1]


def accuracy(value, method="none", **more):
    return results.row(*PLACE, method, "accuracy", value, **more)


def test_wilson_of_eight_in_ten():
    # z = 1.959964, z² = 3.841459: (0.8 + 0.192073 ± 1.959964·sqrt(0.016 + 0.009604)) / 1.384146
    low, high = results.wilson(8, 10)
    assert low == pytest.approx((0.992073 - 1.959964 * math.sqrt(0.0256036)) / 1.3841459, abs=1e-6)
    assert (low, high) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_wilson_at_the_ends_is_exact_and_one_sided():
    # At k = 0 the upper bound is z²/(n + z²) = 3.841459 / 13.841459.
    assert results.wilson(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-6)
    assert results.wilson(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-6)
    assert results.wilson(0, 7)[0] == 0.0 and results.wilson(7, 7)[1] == 1.0


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(CatalogError, match="0 <= k <= n"):
        results.wilson(k, n)


def test_bootstrap_of_two_items_spans_their_resamples():
    # Means of resamples of {0, 1} are 0, ½, 1 with probabilities ¼, ½, ¼: both tails hold more than 2.5 %.
    assert results.bootstrap([0, 1]) == (0.0, 1.0)
    # At a level of 40 % the bounds are the 30 % and 70 % quantiles, which both lie in the middle half.
    assert results.bootstrap([0, 1], level=0.4) == (0.5, 0.5)


def test_bootstrap_is_close_to_the_normal_interval_of_a_mean():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    half = 1.96 * values.std() / math.sqrt(400)
    assert results.bootstrap(values, n_boot=4000) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_bootstrap_keeps_paired_numbers_together():
    pairs = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 10.0]])

    def ratio(resamples, axis):
        assert resamples.shape[1:] == (3, 2)
        sums = resamples.sum(axis=axis)
        return sums[:, 0] / sums[:, 1]

    assert results.bootstrap(pairs, ratio) == (0.5, 0.5)


def test_bootstrap_repeats_itself_also_in_chunks(monkeypatch):
    values = np.arange(50.0)
    whole = results.bootstrap(values, seed=3)
    assert results.bootstrap(values, seed=3) == whole != results.bootstrap(values, seed=4)
    monkeypatch.setattr("catalog.report.intervals._CELLS", 50 * 7)
    assert results.bootstrap(values, seed=3) == whole


def test_bootstrap_refuses_what_it_cannot_resample():
    with pytest.raises(CatalogError, match="non-empty"):
        results.bootstrap([])
    with pytest.raises(CatalogError, match="one finite number"):
        results.bootstrap([1.0, math.nan])
    with pytest.raises(CatalogError, match="one finite number"):
        results.bootstrap([[1.0, 2.0]], np.mean)


def test_a_share_of_clustered_items_has_a_wider_interval():
    """Two models of ten words, 9 and 5 right: p = .7, variance between 2 (2² + 2²) / 20² = .04, of independent words .21 / 20 = .0105, so
    the design effect is 80 / 21. Student's quantiles are 2.093 (19) and 12.706 (1), so 5.25 words become 5.25 (2.093 / 12.706)² = .1425."""
    assert clustered_share([9, 5], [10, 10]) == pytest.approx(results.wilson(0.7 * 0.14247, 0.14247), abs=1e-3)
    # Of many clusters that agree the quantiles are alike and no item is lost; of three that agree it is Wilson's of 36 (2.030 / 4.303)².
    assert clustered_share([1] * 500, [2] * 500) == pytest.approx(results.wilson(500, 1000), abs=1e-3)
    assert clustered_share([0, 0, 0], [12, 12, 12]) == pytest.approx(results.wilson(0, 36 * (2.0301 / 4.3027) ** 2), abs=1e-3)
    assert clustered_share([3], [4]) == (0, 1)


def test_the_interval_of_clustered_items_covers_where_wilsons_does_not():
    rng = np.random.default_rng(0)
    held, plain = [], []
    for _ in range(400):
        shares = rng.beta(4, 2, size=4)  # of each model; their mean is two thirds
        hits = rng.binomial(25, shares)
        for kept, (low, high) in ((held, clustered_share(hits, [25] * 4)), (plain, results.wilson(hits.sum(), 100))):
            kept.append(low <= 2 / 3 <= high)
    assert np.mean(held) >= 0.93 > 0.75 > np.mean(plain)


def test_results_are_sorted_typed_and_the_same_bytes(tmp_path):
    rows = [accuracy(0.5, "b", ci=(0.4, 0.6), n=10), accuracy(0.25, "a", seed=1), accuracy(0.75, "a")]
    results.write_results(rows, "demo", "small", root=tmp_path)
    folder = tmp_path / "reports/demo/small"
    first = (folder / "results.parquet").read_bytes()
    df = pl.read_parquet(folder / "results.parquet")
    assert df.schema == results.SCHEMA
    assert df.select("method", "seed", "value", "ci_low", "n").rows() == [
        ("a", 0, 0.75, None, None),
        ("a", 1, 0.25, None, None),
        ("b", 0, 0.5, 0.4, 10),
    ]
    results.write_results(reversed(rows), "demo", "small", root=tmp_path)
    assert (folder / "results.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no result rows"),
        ([accuracy(math.nan)], "leave out what could not be measured"),
        ([accuracy(math.inf)], "leave out what could not be measured"),
        ([accuracy(0.5, ci=(math.nan, 0.6))], "leave out what could not be measured"),
        ([accuracy(0.5, ci=(0.6, 0.7))], "outside its interval"),
        ([accuracy(0.5, ci=(0.3, 0.4))], "outside its interval"),
        ([accuracy(0.5, ci=(0.3, None))], "both bounds"),
        ([accuracy(1.01)], "outside the range"),
        ([accuracy(-0.01)], "outside the range"),
        ([accuracy(0.5), accuracy(0.6)], "Two results have the key demo / small / probe"),
        ([results.row(*PLACE, "none", "acuracy", 0.5)], "'acuracy' is not declared"),
        ([results.row("other", *PLACE[1:], "none", "accuracy", 0.5)], "does not belong to demo"),
        ([results.row(*PLACE, "", "accuracy", 0.5)], "non-empty text for method"),
        ([accuracy(0.5) | {"note": "x"}], "make it with catalog.report.results.row"),
        ([accuracy(0.5) | {5: "x"}], "make it with catalog.report.results.row"),
        ([("demo", 0.5)], "make it with catalog.report.results.row"),
        ([accuracy(0.5, n=0)], "has n 0; give the number of items"),
        ([accuracy(0.5, n=-3)], "has n -3; give the number of items"),
        ([accuracy(0.5) | {"value": None}], "has the value None, which is not a number"),
        ([accuracy(0.5) | {"value": "abc"}], "has the value 'abc', which is not a number"),
        ([accuracy(0.5) | {"n": 19.6}], "has n 19.6; give a whole number"),
        ([accuracy(0.5) | {"seed": 2**63}], "give a whole number that 64 bits hold"),
        ([accuracy(0.5) | {"dataset": 5}], "non-empty text for dataset"),
        ([accuracy(0.5) | {"model": "m/validation"}], "has the model 'm/validation'; use a name without /"),
        ([accuracy(0.5) | {"dataset": "a/b"}], "has the dataset 'a/b'; use a name without /"),
        ([accuracy(0.5) | {"model": "-"}], "has the model '-'; use a name without / that is not a dash"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_written(tmp_path, rows, said):
    with pytest.raises(CatalogError, match=said):
        results.write_results(rows, "demo", "small", root=tmp_path)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 19.6}, "has n 19.6; give a whole number"),
        ({"n": 2**63}, "has n 9223372036854775808; give a whole number that 64 bits hold"),
        ({"n": "19"}, "has n '19'; give a whole number"),
        ({"n": math.nan}, "has n nan; give a whole number"),
        ({"n": True}, "has n True; give a whole number"),
        ({"seed": 1.7}, "has seed 1.7; give a whole number"),
        ({"seed": None}, "has seed None; give a whole number"),
        ({"seed": 2**63}, "give a whole number that 64 bits hold"),
        ({"seed": math.inf}, "has seed inf; give a whole number"),
        ({"value": None}, "has the value None, which is not a number"),
        ({"value": "abc"}, "has the value 'abc', which is not a number"),
        ({"value": "0.5"}, "has the value '0.5', which is not a number"),
        ({"value": 10**400}, "which is not a number"),
        ({"ci": ("a", 1)}, "has the lower bound 'a', which is not a number"),
        ({"ci": (0, [1])}, "has the upper bound .*, which is not a number"),
        ({"ci": 0.5}, "has the interval 0.5; give its two bounds"),
        ({"ci": (0.1,)}, "give its two bounds"),
    ],
)
def test_what_is_no_number_makes_no_row(given, said):
    with pytest.raises(CatalogError, match=said) as error:
        accuracy(**({"value": 0.5} | given))
    assert str(error.value).startswith("The result demo / small / probe")


def test_numbers_of_numpy_make_the_same_row():
    plain = accuracy(0.5, seed=3, n=19, ci=(0.25, 0.75))
    other = accuracy(np.float32(0.5), seed=np.int64(3), n=19.0, ci=np.array([0.25, 0.75]))
    assert other == plain and [type(value) for value in other.values()] == [type(value) for value in plain.values()]


METRIC = "gap: {display_name: Gap, description: A gap., unit: '', lower_is_better: null, range: [0, 1]}\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (METRIC, "- gap\n", "must map names"),
        (METRIC, "gap\n", "must map names"),
        (METRIC, "[]\n", "must map names"),
        (METRIC, "gap: 2020-99-99\n", "cannot be read"),
        ("gap:", "5:", "5 cannot name a metric"),
        ("gap:", "null:", "None cannot name a metric"),
        ("gap:", "My gap:", "'My gap' cannot name a metric"),
        ("range: [0, 1]", "extra: 5", "must have exactly the keys"),
        *(
            ("[0, 1]", other, "it must be .lowest, highest., two rising numbers")
            for other in (
                "5",
                "null",
                "[1]",
                "{a: 1}",
                "[0, 1, 2]",
                "[1, -1]",
                "[1, 1]",
                "[true, false]",
                "[false, true]",
                "[.nan, .inf]",
                "'01'",
                "[a, b]",
            )
        ),
        ("[0, 1]", "[0, 1" + "0" * 400 + "]", "two rising numbers"),
        ("display_name: Gap", "display_name: [a]", "has the display_name .'a'."),
        ("display_name: Gap", "display_name: ''", "has the display_name ''"),
        ("description: A gap.", "description: null", "has the description None"),
        ("unit: ''", "unit: 5", "has the unit 5"),
        ("lower_is_better: null", "lower_is_better: 'yes'", "has lower_is_better 'yes'; it must be true, false or null"),
        ("lower_is_better: null", "lower_is_better: 1", "has lower_is_better 1; it must be true, false or null"),
    ],
)
def test_a_wrong_metric_is_named(tmp_path, old, new, said):
    path = tmp_path / "stages/demo/metrics.yaml"
    assert old in METRIC
    io.write_text(METRIC.replace(old, new), path)
    with pytest.raises(CatalogError, match=said) as error:
        results.metrics("demo", tmp_path)
    assert str(error.value).startswith("stages/demo/metrics.yaml")


@pytest.mark.parametrize("bounds", ["[0, 1]", "[null, null]", "[null, 0.5]", "[-1.5, null]"])
def test_a_range_may_be_open(tmp_path, bounds):
    io.write_text(METRIC.replace("[0, 1]", bounds), tmp_path / "stages/demo/metrics.yaml")
    assert results.metrics("demo", tmp_path)["gap"]["range"] == json.loads(bounds)


def test_every_metric_is_declared_in_full():
    systems = [path.parent.name for path in params.ROOT.glob("stages/*/metrics.yaml")]
    assert systems
    for name, entry in {name: entry for system in systems for name, entry in results.metrics(system).items()}.items():
        assert results.NAME.match(name)
        assert set(entry) == {"display_name", "description", "unit", "lower_is_better", "range"}, name
        assert entry["lower_is_better"] in (True, False, None)
        low, high = entry["range"]
        assert low is None or high is None or low < high


def test_reports_stay_in_their_folder(tmp_path):
    with pytest.raises(CatalogError, match="cannot be a folder"):
        results.write_results([accuracy(0.5) | {"system": "../demo"}], "../demo", "small", root=tmp_path)


def test_root_is_the_projects_unless_given(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    results.write_results([accuracy(0.5)], "demo", "small")
    assert (tmp_path / "reports/demo/small/results.parquet").is_file()


def test_a_recorded_run_stays_until_the_results_change(tmp_path):
    path = tmp_path / "reports/demo/small/run.json"
    with pytest.raises(CatalogError, match="call write_results before"):
        results.write_run("demo", "small", {}, root=tmp_path)
    results.write_results([accuracy(0.5)], "demo", "small", root=tmp_path)
    io.write_text("own: {description: Own., key: [a], columns: {a: {int: A.}}}\n", tmp_path / "stages/demo/tables.yaml")
    results.write_tables({"own": pl.DataFrame({"a": [1]})}, "demo", "small", root=tmp_path)
    results.write_run("demo", "small", {"seconds": 1.5, "tokens_per_second": 10}, root=tmp_path)
    run = io.read_json(path)
    assert (run["seconds"], run["tokens_per_second"], run["device"]) == (1.5, 10, "cpu")
    assert run["versions"]["polars"] == pl.__version__ and run["cpu"] and len(run["started"]) == 19
    results.write_run("demo", "small", {"seconds": 99}, root=tmp_path)
    assert io.read_json(path)["seconds"] == 1.5
    results.write_tables({"own": pl.DataFrame({"a": [2]})}, "demo", "small", root=tmp_path)
    results.write_run("demo", "small", {"seconds": 99}, root=tmp_path)
    assert io.read_json(path)["seconds"] == 99
    results.write_results([accuracy(0.25)], "demo", "small", root=tmp_path)
    results.write_run("demo", "small", {"seconds": 98}, root=tmp_path)
    assert io.read_json(path)["seconds"] == 98


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[]", "is not the record of a run"), (b"{", "not valid JSON"), (b"\xff", "not valid JSON"), (None, "cannot be read")],
)
def test_a_broken_record_is_not_written_over(tmp_path, content, said):
    path = tmp_path / "reports/demo/small/run.json"
    results.write_results([accuracy(0.5)], "demo", "small", root=tmp_path)
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(CatalogError, match=said) as error:
        results.write_run("demo", "small", {}, root=tmp_path)
    assert str(error.value).startswith(str(path)) and "delete it" in str(error.value)
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_folder_or_a_broken_table_is_not_described(tmp_path, name):
    io.write_bytes(b"\xff\xfe", tmp_path / "folder" / name / "part")
    with pytest.raises(CatalogError, match="is a folder, but a data set's table is one file"):
        results.describe_dataset(tmp_path / "folder" / name, "demo", "small", root=tmp_path)
    io.write_bytes(b"" if name == "t.csv" else b"\xff\xfe{", tmp_path / name)
    with pytest.raises(CatalogError, match="cannot be read .*; run the stage that makes it again"):
        results.describe_dataset(tmp_path / name, "demo", "small", root=tmp_path)


def test_a_table_is_described_without_its_project(tmp_path):
    df = pl.DataFrame({"text": ["a" * 400, "b"] * 4, "day": [date(2024, 1, 2)] * 8, "score": [math.nan, 1.5] * 4})
    path = tmp_path / "data/demo/small/t.parquet"
    io.write_parquet(df, path)
    entry = results.describe_dataset(path, "demo", "small", root=tmp_path)
    assert (entry["path"], entry["rows"], entry["bytes"]) == ("data/demo/small/t.parquet", 8, path.stat().st_size)
    assert entry["md5"] == io.md5(path)
    assert entry["columns"] == [
        {"name": "text", "type": "String"},
        {"name": "day", "type": "Date"},
        {"name": "score", "type": "Float64"},
    ]
    assert len(entry["head"]) == 5
    assert entry["head"][:2] == [
        {"text": "a" * 299 + "…", "day": "2024-01-02", "score": None},
        {"text": "b", "day": "2024-01-02", "score": 1.5},
    ]


@pytest.mark.parametrize(("name", "text"), [("t.csv", "a,b\n1,x\n2,y\n"), ("t.jsonl", '{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n')])
def test_other_tables_are_described_too(tmp_path, name, text):
    io.write_text(text, tmp_path / name)
    entry = results.describe_dataset(tmp_path / name, "demo", "small", root=tmp_path)
    assert (entry["rows"], entry["head"]) == (2, [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])


def test_a_cached_file_is_described_by_its_own_path(tmp_path):
    io.write_text("a\n1\n", tmp_path / "elsewhere/cache/0123.csv")
    (tmp_path / "project").mkdir()
    link = tmp_path / "project/t.csv"
    link.symlink_to(tmp_path / "elsewhere/cache/0123.csv")
    assert results.describe_dataset(link, "demo", "small", root=tmp_path / "project")["path"] == "t.csv"


def test_what_cannot_be_described_is_refused(tmp_path):
    io.write_text("x", tmp_path / "t.txt")
    io.write_text("a\n", tmp_path / "t.csv")
    for path, said in (("t.txt", "cannot be described"), ("no.csv", "does not exist")):
        with pytest.raises(CatalogError, match=said):
            results.describe_dataset(tmp_path / path, "demo", "small", root=tmp_path)
    with pytest.raises(CatalogError, match="outside"):
        results.describe_dataset(tmp_path / "t.csv", "demo", "small", root=tmp_path / "project")


def test_a_model_is_described_from_its_headers(tmp_path):
    weights = tmp_path / "w"
    io.write_bytes(demo_project.safetensors({"a": [2, 3], "b": [5]}), weights / "model.safetensors")
    io.write_text("{}\n", weights / "config.json")
    io.write_text("x", weights / "sub/z.txt")
    io.write_text("x", weights / "sub-a.txt")
    # The hash is the one that `dvc add` records for this folder.
    assert results.describe_model(weights, "m", "small", root=tmp_path) == {
        "model": "m",
        "profile": "small",
        "path": "w",
        "parameters": 2 * 3 + 5,
        "bytes": 219,
        "md5": "547a5429a38788a196c5737f998c74e5.dir",
    }


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{", b"\xff" * 8 + b"{}", b"\x02\0\0\0\0\0\0\0[]", CUT])
def test_broken_weights_are_refused(tmp_path, content):
    io.write_bytes(content, tmp_path / "w/model.safetensors")
    with pytest.raises(CatalogError, match="not a whole safetensors file"):
        results.describe_model(tmp_path / "w", "m", "small", root=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="holds no .safetensors"):
        results.describe_model(tmp_path / "empty", "m", "small", root=tmp_path)


def test_descriptions_are_written_in_order(tmp_path):
    entries = [{"model": name, "profile": "small", "path": name} for name in ("b", "a")]
    results.write_descriptions("demo", "small", [], entries, root=tmp_path)
    assert [entry["model"] for entry in io.read_json(tmp_path / "reports/demo/small/models.json")] == ["a", "b"]
    assert io.read_json(tmp_path / "reports/demo/small/datasets.json") == []
