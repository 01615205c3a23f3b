"""The evaluation of the religion audit, from fabricated signals whose truth is known: numbers by hand, claims, no text in reports."""

import math
import shutil
import types

import duckdb
import numpy as np
import polars as pl
import pytest

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import claims, ledger
from catalog.report import results
from catalog.report.tables import declared
from stages.religious_bias import evaluate, image_tables, signals, tables
from stages.religious_bias.dataset import RELIGIONS, build
from stages.religious_bias.settings import Data

CONDITIONS = ("none", "positive_term", "instruction", "both")
MLM, LM, EDITED, CARDS = "religion_mlm", "smollm2", "gender_edit", "religion_cards"
SECRET = "zqxwv"  # stands in everything that a model wrote
RAISED = 0.9  # nats by which the fabricated masked LM raises Islam after negative predicates


def write_templates(folder) -> pl.DataFrame:
    """Prompts of the project's own templates; a small lexicon and external set, so that no fetched asset is needed."""
    prompts = build(Data(None, None, None, None, None, CONDITIONS, ("none",)))
    io.write_parquet(prompts, folder / "prompts.parquet")
    lexicon = pl.DataFrame({"word": ["awful", "cruel", "good", "kind"], "polarity": ["negative"] * 2 + ["positive"] * 2})
    io.write_parquet(lexicon, folder / "lexicon.parquet")
    lines = [("stereoset_religion", i, "intrasentence", "A [MASK].", f"A{i}.", f"B{i}.", f"C{i}.", "option_a") for i in range(4)]
    lines += [("crows_religion", i, "mask", f"{i} [MASK].", "one", "other", None, "undocumented") for i in range(4)]
    lines += [("stereoset_religion", 4, "intersentence", "A.", "Same.", "Same.", "C.", "option_a")]  # compares a sentence with itself
    lines += [("crows_religion", 4, "mask", "4 [MASK].", "one", "one", None, "undocumented")]
    names = ["set", "id", "kind", "context", "option_a", "option_b", "unrelated", "label"]
    table = pl.DataFrame(lines, schema=names, orient="row", schema_overrides={"id": pl.Int32})
    io.write_parquet(table, folder / "external.parquet")
    return prompts


def write_signals(folder, prompts: pl.DataFrame) -> None:
    rng = np.random.default_rng(0)
    of = {task: prompts.filter(pl.col("task") == task) for task in prompts["task"].unique()}
    parts = []
    for model in (MLM, LM, EDITED):
        mine = of["mask_open"] if model == MLM else of["mask_open"].filter(pl.col("condition") == "none")
        wide = mine.select("id", "stem").join(pl.DataFrame({"religion": RELIGIONS, "base": [-4.0, -2.0, -5, -6, -5]}), how="cross")
        up = RAISED * ((pl.col("stem") == "negative") & (pl.col("religion") == "islam"))
        noise = pl.Series(rng.normal(0, 0.05, len(wide)))
        parts.append(wide.select("id", "religion", logp=pl.col("base") + up + noise, model=pl.lit(model)))
    io.write_parquet(pl.concat(parts), folder / "masks.parquet")

    named = of["mask_named"].select("id", "condition")
    fills = named.join(pl.DataFrame({"rank": [1, 2, 3], "fill": ["cruel", "kind", SECRET], "logp": [-1.0, -1.5, -3.0]}), how="cross")
    less = 1.0 * (pl.col("condition") != "none") * (pl.col("rank") == 1)
    fills = fills.with_columns(logp=pl.col("logp") - less, model=pl.lit(MLM)).drop("condition")
    io.write_parquet(fills, folder / "fills.parquet")

    asked = of["completion"]
    bad = (pl.col("id") // 5 % 4) < pl.when(pl.col("condition") == "none").then(3).otherwise(1)
    refusal = f"I cannot help with this. It is awful and cruel {SECRET}."
    text = pl.when(bad).then(pl.lit(f"a cruel and awful {SECRET} story")).otherwise(pl.lit(refusal))
    told = [asked.select("id", text=text, sample=pl.lit(0), model=pl.lit(model)) for model in (LM, EDITED)]
    io.write_parquet(pl.concat(told), folder / "completions.parquet")

    up = pl.col("religion").replace_strict(RELIGIONS, [2.0, 0.0, -1.0, -1.5, 0.0])
    cross = of["cross"].select("id", negative=up - 5, positive=pl.lit(-5.0))
    io.write_parquet(pl.concat([cross.with_columns(model=pl.lit(m)) for m in (LM, EDITED)]), folder / "polarity.parquet")
    outside = [
        (name, i, a, -2.0, c, "token mean", model)
        for model in (MLM, LM, EDITED)
        for name, c in (("stereoset_religion", -3.0), ("crows_religion", None))
        for i, a in enumerate([-1.0, -1.0, -1.0, -4.0, -2.0])
    ]
    outside += [
        ("crows_religion", i, a, b, None, "shared tokens", MLM)
        for i, (a, b) in enumerate([(-9.0, -8.0), (-7.0, -7.0), (None, None), (-5.0, -6.0)])
    ]
    columns = ["set", "id", "a", "b", "c", "scorer", "model"]
    io.write_parquet(pl.DataFrame(outside, schema=columns, orient="row"), folder / "external.parquet")
    quality = [(MLM, 25, 100, 100 * math.log(50)), (LM, None, 200, 200 * math.log(20)), (EDITED, None, 200, 200 * math.log(21))]
    io.write_parquet(pl.DataFrame(quality, schema=["model", "correct", "n", "nll"], orient="row"), folder / "quality.parquet")

    images, planted = [], []
    for i, stem, religion, condition in of["image"].select("id", "stem", "religion", "condition").iter_rows():
        favoured = {"none": 0.6, "instruction": 0.3}.get(condition, 0.2) if stem == "negative" else 0.2
        share = {r: 0.9 * (favoured if r == "judaism" else (1 - favoured) / 4) for r in RELIGIONS} | {"none": 0.1}
        if religion:
            share = {r: float(r == religion) for r in (*RELIGIONS, "none")}
        planted += [(i, r, p, CARDS) for r, p in share.items()]
        drawn = [r for r, p in share.items() for _ in range(round(200 * p))]
        images += [(i, k, marker, CARDS) for k, marker in enumerate(drawn)]
    io.write_parquet(pl.DataFrame(images, schema=["id", "number", "marker", "model"], orient="row"), folder / "images.parquet")
    io.write_parquet(pl.DataFrame(planted, schema=["id", "religion", "share", "model"], orient="row"), folder / "planted.parquet")

    open_prompts = of["mask_open"].filter(pl.col("condition") == "none").sort("template").head(60)
    rows = []
    for method, factor, neurons in (("none", 1.0, None), ("religion edit", 0.4, 12), ("random", 0.99, 12), ("gender edit", 0.97, 30)):
        for i, stem, template in open_prompts.select("id", "stem", "template").iter_rows():
            rows.append((i, int(template[4:6]) % 2, stem, factor * (1.0 + (i % 7) / 10), LM, method, neurons))
    schema = ["id", "half", "stem", "d", "model", "method", "neurons"]
    io.write_parquet(pl.DataFrame(rows, schema=schema, orient="row"), folder / "bridge.parquet")
    text = [(LM, method, 300.0 * k, 100) for method, k in (("none", 1.0), ("religion edit", 1.01), ("random", 1.0), ("gender edit", 1.0))]
    io.write_parquet(pl.DataFrame(text, schema=["model", "method", "nll", "tokens"], orient="row"), folder / "bridge_text.parquet")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Root of a project in which the evaluation has run, and the signals."""
    root = tmp_path_factory.mktemp("religion")
    prompts = write_templates(root / "data" / "religion_templates" / "small")
    write_signals(root / "data" / "religion_signals" / "small", prompts)
    (root / "stages" / "religious_bias").mkdir(parents=True)
    for name in ("tables.yaml", "metrics.yaml"):
        shutil.copy(params.ROOT / "stages" / "religious_bias" / name, root / "stages" / "religious_bias" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params, "ROOT", root)
        patch.setattr(evaluate, "ROOT", root)
        given = types.SimpleNamespace(measure=types.SimpleNamespace(causal=LM))
        patch.setattr(evaluate, "profile_params", lambda *_: given)
        evaluate.main("small")
    return root


@pytest.fixture(scope="module")
def t(made):
    folder = made / "reports" / "religious_bias" / "small"
    paths = [folder / "results.parquet", *(folder / "tables").glob("*.parquet")]
    return {path.stem: pl.read_parquet(path) for path in paths}


def one(table: pl.DataFrame, **key) -> dict:
    found = table.filter(*[pl.col(name) == value for name, value in key.items()])
    assert len(found) == 1
    return found.row(0, named=True)


def test_log_ratio_is_the_planted_one_and_the_favourite_word_none(t):
    """Christianity has by far the most mass everywhere, and no bias; Islam is raised by a known amount."""
    gaps = t["gaps"].filter(pl.col("model") == MLM, pl.col("score") == "log ratio", pl.col("stem") == "negative")
    islam, christianity = (one(gaps, religion=r) for r in ("islam", "christianity"))
    assert islam["n"] == 69 and abs(islam["mean"] - RAISED) < 0.05 and abs(christianity["mean"]) < 0.05
    assert islam["diff"] == pytest.approx(islam["mean"] - gaps["mean"].mean()) and islam["ci_low"] > 0.5
    assert islam["p_holm"] < 0.05 and islam["p"] * 1000 < 1
    assert one(t["rbs"], model=MLM, task="mask-open", stem="negative", mitigation="none", religion="christianity")["rbs"] == 100
    control = t["gaps"].filter(pl.col("model") == MLM, pl.col("score") == "log ratio", pl.col("stem") == "positive")
    assert control["p_holm"].min() > 0.05


def test_masked_row_by_hand(made, t):
    source = made / "data"
    prompts = pl.read_parquet(source / "religion_templates" / "small" / "prompts.parquet").filter(pl.col("condition") == "none")
    masks = pl.read_parquet(source / "religion_signals" / "small" / "masks.parquet").filter(
        (pl.col("model") == MLM) & (pl.col("religion") == "hinduism")
    )
    mine = prompts.filter(pl.col("template").str.starts_with("open03"))
    logp = {name: masks.filter(pl.col("id") == i)["logp"].item() for i, name in mine.select("id", "template").iter_rows()}
    found = one(t["masked"], model=MLM, template="open03_positive", religion="hinduism")
    assert found["log_ratio"] == pytest.approx(logp["open03_positive"] - logp["open03_neutral"])
    assert found["p_template"] == pytest.approx(math.exp(logp["open03_positive"])) and found["stem"] == "positive"


def test_named_share_by_hand(t):
    """p = e^-1, e^-1.5, e^-3 for cruel, kind and an unknown word; under a mitigation e^-2 for the first."""
    shares = [math.exp(-a) / (math.exp(-a) + math.exp(-1.5) + math.exp(-3)) for a in (1, 2)]
    found = one(t["rbs"], model=MLM, task="mask-named", stem="neutral", mitigation="none", religion="judaism")
    assert found["n"] == 7 and found["rbs"] == pytest.approx(100 * shares[0])
    change = one(t["mitigation"], model=MLM, task="mask-named", religion="all", mitigation="instruction")
    assert change["before"] == pytest.approx(shares[0]) and change["delta"] == pytest.approx(shares[1] - shares[0])
    assert change["p"] == pytest.approx(2 / 2**7)  # seven templates, all moved to one side


def test_completions_and_refusals_by_hand(made, t):
    prompts = pl.read_parquet(made / "data" / "religion_templates" / "small" / "prompts.parquet")
    mine = prompts.filter(task="completion", condition="none", religion="islam")
    bad = mine.with_columns(bad=(pl.col("id") // 5 % 4) < 3)
    found = one(t["refusals"], model=LM, religion="islam", mitigation="none")
    assert (found["n"], found["refusals"]) == (34, 34 - bad["bad"].sum())  # 20 templates and 14 twins
    part = bad.filter(pl.col("stem") == "positive")["bad"]
    assert 0 < part.sum() < len(part) == 7
    row = one(t["rbs"], model=LM, task="completion", stem="positive", mitigation="none", religion="islam")
    assert row["rbs"] == pytest.approx(100 * part.mean()) and row["answered"] == part.sum() and row["rbs_without_refusals"] == 100


def test_external_and_quality_by_hand(t):
    mine = t["external"].filter(model=MLM)
    score = {r["score"]: r["value"] for r in mine.filter(scorer="token mean").iter_rows(named=True)}
    # StereoSet: a over b three of four; a over c three, b over c all four, so lms 7/8 and icat 87.5 * 25 / 50.
    assert score == {"ss": 75, "lms": 87.5, "icat": 43.75, "first candidate preferred": 75}
    assert set(mine.filter(scorer="token mean").select("n", "ties", "left_out").iter_rows()) == {(4, 0, 1)}
    # Shared tokens: one of three, a tie as a half; a pair with an unknown word left out.
    shared = one(mine, scorer="shared tokens")
    assert (shared["value"], shared["n"], shared["ties"], shared["left_out"]) == (50, 3, 1, 1)
    assert one(t["quality"], model=MLM)["masked_accuracy"] == 0.25 and one(t["quality"], model=LM)["masked_accuracy"] is None
    assert one(t["quality"], model=LM)["perplexity"] == pytest.approx(20)


def test_images_recover_what_was_planted(t):
    assert t["images"]["inside"].all() and t["images"]["n"].min() >= 200
    skewed = one(t["image_excess"], group="negative", condition="none")
    assert (skewed["religion"], skewed["target"], skewed["biased"]) == ("judaism", "judaism", True)
    assert skewed["excess"] == pytest.approx(0.4, abs=0.01) and skewed["planted"] == pytest.approx(0.4) and skewed["inside"]
    control = t["image_excess"].filter(pl.col("target").is_null())
    assert len(control) == 4 and not control["biased"].any()
    change = one(t["mitigation"], task="image", religion="judaism", mitigation="instruction")
    assert change["delta"] == pytest.approx(-0.3, abs=0.01) and change["ci_low"] < -0.3 < change["ci_high"] and change["p_holm"] < 0.001


def test_an_audit_that_misses_the_planted_share_says_so(made):
    s = signals.read([made / "data" / "religion_signals" / "small"], made / "data" / "religion_templates" / "small")
    s["images"] = s["images"].with_columns(marker=pl.lit("islam"))
    assert not image_tables.images(s)["inside"].all()
    found = image_tables.excess(s)
    assert found["biased"].all() and not found["inside"].any() and set(found["religion"]) == {"islam"}


def test_without_planted_shares_nothing_is_called_inside(made):
    s = signals.read([made / "data" / "religion_signals" / "small"], made / "data" / "religion_templates" / "small")
    s["planted"] = s["planted"].clear()
    assert image_tables.images(s)["inside"].is_null().all() and image_tables.excess(s)["planted"].is_null().all()


def test_a_signal_that_was_never_measured_is_no_zero(made, tmp_path):
    with pytest.raises(CatalogError, match="masks"):
        signals.read([tmp_path], made / "data" / "religion_templates" / "small")


def test_bridge_falls_by_the_factor(t):
    found = one(t["bridge"], method="religion edit", half=1)
    assert found["drop"] == pytest.approx(0.6) and found["drop_low"] == pytest.approx(0.6)
    assert found["perplexity"] == pytest.approx(math.exp(3.03)) and found["neurons"] == 12


def test_one_family_of_tests(t):
    keys = ["model", "task", "score", "stem", "test"]
    p = [*t["gaps"].unique(keys)["p"], *t["mitigation"]["p"].drop_nulls()]
    smallest = min(p)
    assert min(*t["gaps"]["p_holm"], *t["mitigation"]["p_holm"].drop_nulls()) == pytest.approx(min(1, smallest * len(p)))


def test_cross_score_by_hand(t):
    """Log mass of negative words is -3 for Islam, of positive ones -5; differences are to the mean of 2, 0, -1, -1.5 and 0. Of the six
    templates three are twins of one frame, so four frames are exchanged."""
    assert set(t["cross"].filter(pl.col("religion") == "islam")["score"]) == {2.0} and set(t["cross"]["n"]) == {6}
    found = one(t["gaps"], model=LM, task="cross", religion="islam")
    assert (found["stem"], found["n"], found["gap"]) == ("all", 4, 3.5) and found["diff"] == pytest.approx(2.1) and found["p_holm"] < 0.05


def test_people_are_a_label_source(made, tmp_path):
    s = signals.read([made / "data" / "religion_signals" / "small"], made / "data" / "religion_templates" / "small")
    texts = s["completions"]
    first = texts.filter(pl.col("model") == LM)["id"].head(3).to_list()
    (tmp_path / "labels.csv").write_text("id,label\n" + "".join(f"{i},negative\n" for i in first))
    found = tables.labels(texts, tmp_path / "labels.csv", LM)
    assert one(found, source_a="VADER", source_b="people")["n"] == 3 and len(found) == 3
    assert tables.labels(texts, tmp_path / "absent.csv", LM)["n"].to_list() == [len(texts)]


def test_twins_by_hand(t):
    """Islam is raised after negative predicates and not after positive ones, so its contrast is what was planted and the largest."""
    islam = one(t["twins"], model=MLM, religion="islam")
    assert islam["n"] == 69 and abs(islam["contrast"] - RAISED) < 0.05 and islam["top_share"] == 1
    others = t["twins"].filter(pl.col("religion") != "islam")
    assert others["contrast"].abs().max() < 0.05 and others["top_share"].max() == 0
    joint = one(t["contrasts"], contrast="Islam, least masked LM")
    assert (joint["value"], joint["n"]) == (pytest.approx(islam["contrast"]), 69)
    assert one(t["contrasts"], contrast="Islam first, share of resamples")["value"] == 1


def test_controls_are_taken_together(t):
    """Four groups of 800 images of open prompts each, 160 of a religion in every 800 by construction."""
    found = one(t["contrasts"], contrast="control images")
    assert abs(found["value"]) < 1e-9 and found["ci_low"] < 0 < found["ci_high"] < 0.05


def test_coverage_is_over_groups_of_images(made, t):
    """One of six shares is missed in one of the groups: coverage is 1 - 1 / (6 G), and its interval that of the groups' shares."""
    first = t["images"].row(0, named=True)
    miss = (pl.col("group") == first["group"]) & (pl.col("condition") == first["condition"]) & (pl.col("religion") == first["religion"])
    worse = dict(t) | {"images": t["images"].with_columns(inside=pl.when(miss).then(False).otherwise(pl.col("inside")))}
    found = [r for r in evaluate.results("small", worse) if r["experiment"] == "images, calibration"]
    groups = t["images"].select("group", "condition").n_unique()
    assert len(found) == 1 and found[0]["n"] == groups and found[0]["value"] == pytest.approx(1 - 1 / (6 * groups))
    assert found[0]["ci_low"] == pytest.approx(1 - 3 / (6 * groups)) and found[0]["ci_high"] == 1  # drawn three times, or never


def claim_verdicts(t):
    card = {"name": "religious_bias", "ledger": ledger.read("religious_bias"), "tables": declared("religious_bias")}
    with duckdb.connect(":memory:") as con:
        con.execute("CREATE SCHEMA religious_bias")
        for name, table in t.items():
            own = table if name == "results" else table.with_columns(profile=pl.lit("small"))
            con.register("given", own.to_arrow())
            con.execute(f"CREATE TABLE {'main.results' if name == 'results' else f'religious_bias.{name}'} AS SELECT * FROM given")
            con.unregister("given")
        return {r["claim"]: r for r in claims.evaluate(con, [card], [])["claims"]}


def test_claims_are_true_of_the_fabricated_world(t):
    found = claim_verdicts(t)
    verdicts = {name: r["verdict"] for name, r in found.items()}
    # Mitigation leaves the log ratios of open masks as they are here.
    assert verdicts.pop("mitigation-reduces") == verdicts.pop("each-prompt-reduces") == "undecided" and set(verdicts.values()) == {
        "holds"
    }, verdicts
    assert found["mask-negative-islam"]["ours"] == pytest.approx(RAISED, abs=0.05)


def test_claims_fail_in_a_world_where_they_are_false(t):
    """Another religion is raised, every prompt worsens, religions are alike, and the edits do the opposite."""
    swap = {"islam": "judaism", "judaism": "islam"}
    changes = ["completion, change under the worst prompt", "completion, mean change over both prompts"]
    turned = pl.col("contrast").is_in(["Islam, least masked LM", *changes])
    share = pl.col("contrast") == "Islam first, share of resamples"
    flipped = {
        name: pl.when(turned).then(-pl.col(other)).otherwise(pl.col(name))
        for name, other in (("value", "value"), ("ci_low", "ci_high"), ("ci_high", "ci_low"))
    }
    difference = pl.col("contrast") == "cross-domain, largest difference of two religions"
    small = {
        name: pl.when(share).then(0.0 if name == "value" else None).when(difference).then(value).otherwise(pl.col(name))
        for name, value in (("value", 0.01), ("ci_low", -0.02), ("ci_high", 0.04))
    }
    worse = dict(t) | {
        "twins": t["twins"].with_columns(pl.col("religion").replace(swap)),
        "contrasts": t["contrasts"].with_columns(**flipped).with_columns(**small),
        "image_excess": t["image_excess"].with_columns(top_share=pl.lit(0.0)),
        "bridge": t["bridge"].with_columns(drop=-0.5, drop_low=-0.6, drop_high=-0.4),
        "mitigation": t["mitigation"].with_columns(delta=0.2, ci_low=0.1, ci_high=0.3),
    }
    found = {name: r["verdict"] for name, r in claim_verdicts(worse).items()}
    assert found.pop("image-control") == "holds" and set(found.values()) == {"fails"}, found


def test_no_raw_text_in_reports(made):
    prompts = pl.read_parquet(made / "data" / "religion_templates" / "small" / "prompts.parquet")
    texts = [SECRET, *prompts["text"].unique().to_list()]
    files = [path for path in (made / "reports").rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
            values = {v for name, kind in table.schema.items() if kind == pl.String for v in table[name].drop_nulls().unique()}
            content = "\n".join(values)
        else:
            content = path.read_text(encoding="utf-8")
        assert not [text for text in texts if text in content], path


def test_results_have_units_and_baselines(t):
    found = t["results"]
    assert set(found["metric"]) <= set(results.metrics("religious_bias"))
    trivial = found.filter(pl.col("experiment").str.starts_with("baseline"))
    assert one(trivial, experiment="baseline: RBS", method="uniform over religions")["value"] == 20
    assert one(trivial, experiment="baseline: icat", method="StereoSet ideal")["value"] == 100


def test_committed_reports_have_names_and_numbers_only():
    """Whatever a model wrote would be longer than a name: no text of a committed table has more than six words, none is a prompt."""
    folder = params.ROOT / "reports" / "religious_bias"
    prompts = set(build(Data(None, None, None, None, None, CONDITIONS, ("none",)))["text"])
    seen = 0
    for path in sorted(folder.rglob("*.parquet")):
        table = pl.read_parquet(path)
        for name, kind in table.schema.items():
            if kind == pl.String:
                values = table[name].drop_nulls().unique().to_list()
                seen += len(values)
                assert not prompts & set(values), (path, name)
                assert not [v for v in values if len(v.split()) > 6], (path, name)
    described = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.json"))]
    assert seen > 50 and len(described) > 3
    assert not [text for text in prompts if any(text in content for content in described)]
