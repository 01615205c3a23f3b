"""Tables of gender_bias by hand, and every experiment on a tiny random model up to the tables, pictures and results that are published."""

import dataclasses
import json
import math
import shutil

import duckdb
import numpy as np
import polars as pl
import pytest
import torch
from peft import get_peft_model_state_dict
from tiny import tiny

from catalog.base import io, params
from catalog.database import claims, ledger
from catalog.inside.anatomy import view
from catalog.inside.patch import load_patch
from catalog.report.results import wilson
from catalog.report.tables import declared
from catalog.training.adapters import lora, save_lora
from catalog.training.settings import Settings
from stages.gender_bias import calibration, contrasts, dataset, evaluate, figures, measure, tables
from stages.gender_bias.calibration import word_tokenizer
from stages.gender_bias.settings import Params, Row

KEYS = {"model": "m", "method": "none", "seed": 0, "neurons": None}
NULL = {"neurons": pl.Int32}


# --- by hand ----------------------------------------------------------------------------------------------------------------------


def test_words_are_averaged_over_their_prompts_first():
    same = KEYS | {"category": "traits", "word": "a", "logp_man": math.log(0.3), "logp_woman": math.log(0.1)}
    values = [(2.0, 1.0), (-1.0, -3.0), (0.5, 2.0)]
    rows = [same | {"unseen_template": i == 2, "d": d, "d_synonyms": s} for i, (d, s) in enumerate(values)]
    found = tables.by_word(pl.DataFrame(rows, schema_overrides=NULL)).row(0, named=True)
    assert (found["d"], found["abs_d"], found["over"]) == pytest.approx((0.5, 3.5 / 3, 2 / 3))
    assert (found["mass"], found["abs_d_synonyms"], found["abs_d_unseen"]) == pytest.approx((0.4, 2.0, 0.5))
    gaps = [math.log(2) + sum(p * math.log(p) for p in (q, 1 - q)) for q in (1 / (1 + math.exp(-d)) for d in (2.0, -1.0, 0.5))]
    assert found["gap"] == pytest.approx(sum(gaps) / 3)


def test_the_printed_fall_and_the_listed_professions():
    values = np.full((1, 4, 2), (1.26, 0.81))
    assert tables.change(values, axis=1)[0] == pytest.approx(0.357, abs=5e-4)
    genders = pl.read_csv(dataset.RAW / "proto_a.csv")["gender"].value_counts()
    assert dict(genders.iter_rows()) == {"woman": 16, "man": 15} and genders["count"].sum() == 31


def words(method, values, seed=0, copies=1):
    """A table of words as `by_word` gives it, of each word its d; ``copies`` of a word, where resamples need some."""
    same = KEYS | {"method": method, "seed": seed, "category": "traits"}
    rows = [same | {"word": f"{w}{i}", "d": d, "abs_d": abs(d)} for i in range(copies) for w, d in values.items()]
    return pl.DataFrame(rows, schema_overrides=NULL)


def test_pushing_every_word_to_one_side_is_not_a_fall_of_both():
    before = words("none", {"a": 2.0, "b": -1.0, "c": -1.0}, copies=6)
    pushed = words("combined", {"a": 3.0, "b": 3.0, "c": 3.0}, copies=6)
    factual = pl.DataFrame([KEYS | {"method": m, "id": 1, "word": "queen", "gender": "woman", "d": -1.0} for m in ("none", "combined")])
    neutral = pl.DataFrame([KEYS | {"method": m, "paragraph": 0, "tokens": 4, "nll": 4.0, "agree": 4} for m in ("none", "combined")])
    r = tables.edits(pl.concat([before, pushed]), factual.cast(NULL), neutral.cast(NULL)).filter(method="combined").row(0, named=True)
    assert r["spread_drop"] == pytest.approx(1.0) and r["abs_d_drop"] == pytest.approx(1 - 3 / (4 / 3))
    assert r["perplexity"] == pytest.approx(math.e) and r["perplexity_change"] == r["perplexity_change_low"] == pytest.approx(0)


def test_edits_keep_numbers_of_neurons_apart():
    doses = [words("dose combined", {"a": d, "b": -d}, copies=8).with_columns(neurons=pl.lit(n, pl.Int32)) for n, d in ((1, 1.0), (4, 0.5))]
    table = pl.concat([words("none", {"a": 2.0, "b": -2.0}, copies=8), *doses])
    at = [(None, "none", 0.0, -1.0), (1, "dose combined", 1.0, -0.5), (4, "dose combined", 2.0, 1.0)]
    factual = pl.DataFrame([KEYS | {"neurons": n, "method": m, "id": 1, "word": "queen", "gender": "woman", "d": d} for n, m, _, d in at])
    neutral = pl.DataFrame([KEYS | {"neurons": n, "method": m, "paragraph": 0, "tokens": 1, "nll": x, "agree": 1} for n, m, x, _ in at])
    found = tables.edits(table, factual.cast(NULL), neutral.cast(NULL)).sort("neurons", nulls_last=False)
    assert found["abs_d_drop"].to_list() == pytest.approx([0, 0.5, 0.75])
    assert found["perplexity"].to_list() == pytest.approx([1, math.e, math.e**2])
    assert found["factual"].to_list() == pytest.approx([1.0, 0.5, -1.0]) and found["factual_right"].to_list() == [1, 1, 0]
    assert found["factual_change"].to_list() == pytest.approx([0, 0.5, 2.0])
    dose = figures.dose_table(found).filter(selection="combined").sort("neurons")
    assert dose["neurons"].to_list() == [0, 1, 4] and dose["abs_d_drop"].to_list() == pytest.approx([0, 0.5, 0.75])
    assert dose.row(0, named=True)["agreement"] == 1


def test_the_factual_interval_is_over_words_not_prompts():
    ends = {}
    for copies in (1, 30):  # more prompts of the same words tell nothing new
        known = [(w, d) for w, d in (("queen", -4.0), ("aunt", -1.0), ("uncle", 3.0), ("lad", -0.5)) for _ in range(copies)]
        gender = {"queen": "woman", "aunt": "woman", "uncle": "man", "lad": "man"}
        factual = pl.DataFrame([KEYS | {"id": i, "word": w, "gender": gender[w], "d": d} for i, (w, d) in enumerate(known)])
        neutral = pl.DataFrame([KEYS | {"paragraph": 0, "tokens": 1, "nll": 1.0, "agree": 1}])
        r = tables.edits(words("none", {"a": 2.0, "b": -1.0}, copies=8), factual.cast(NULL), neutral.cast(NULL)).row(0, named=True)
        ends[copies] = (r["factual_low"], r["factual_high"])
        assert r["factual"] == pytest.approx((4 + 1 + 3 - 0.5) / 4)
    assert ends[1] == pytest.approx(ends[30])


def test_against_pairs_by_word_and_averages_draws():
    table = pl.concat(
        [
            words("combined", {"a": 1.0, "b": -1.0}),
            words("random", {"a": 2.0, "b": -4.0}),
            words("random", {"a": 4.0, "b": -2.0}, seed=1),
            words("lora", {"b": 0.0, "a": 0.0}),
        ]
    )
    found = {r["other"]: r for r in tables.against(table).iter_rows(named=True)}
    assert set(found) == {"random", "lora"} and found["random"]["n"] == 2
    assert found["random"]["abs_d_difference"] == pytest.approx(-2.0) and found["lora"]["abs_d_difference"] == pytest.approx(1.0)
    assert found["random"]["spread_difference"] == pytest.approx(math.sqrt(2) - math.sqrt(18))
    assert found["random"]["abs_d_low"] == found["random"]["abs_d_high"] == pytest.approx(-2.0)  # the same for every word


def test_capability_by_hand():
    asked = [KEYS | {"set": "PIQA", "correct": i < 3, "correct_norm": i < 1, "options": 2 if i < 2 else 4} for i in range(4)]
    methods = (("none", None), ("dose logit", 1), ("dose logit", 4))
    sums = [KEYS | {"method": m, "neurons": n, "id": i, "correct": i == 0} for m, n in methods for i in range(2)]
    found = {r["set"]: r for r in tables.capability(pl.DataFrame(asked, schema_overrides=NULL), pl.DataFrame(sums)).iter_rows(named=True)}
    piqa = found["PIQA"]
    assert (piqa["n"], piqa["accuracy"], piqa["accuracy_norm"], piqa["chance"]) == (4, 0.75, 0.25, 0.375)
    assert (piqa["ci_low"], piqa["ci_high"]) == wilson(3, 4)
    assert (found["arithmetic"]["method"], found["arithmetic"]["n"], found["arithmetic"]["accuracy"]) == ("none", 2, 0.5)  # doses apart


def test_reversed_bias_by_hand():
    rows = [
        KEYS | {"category": c, "word": w, "template": "r", "gender": g, "logp": logp, "logp_first": logp / 2}
        for c, w, pair in (("traits", "a", (-1.0, -3.0)), ("traits", "b", (-4.0, -3.0)), ("hobbies", "c", (-1.0, -1.5)))
        for g, logp in zip(("man", "woman"), pair, strict=True)
    ]
    found = {r["category"]: r for r in tables.reversed_bias(pl.DataFrame(rows, schema_overrides=NULL)).iter_rows(named=True)}
    assert (found["traits"]["n"], found["traits"]["mean_d"], found["traits"]["mean_abs_d"]) == (2, 0.5, 1.5)
    assert found["all"]["mean_abs_d"] == pytest.approx(3.5 / 3) and found["all"]["mean_abs_first"] == pytest.approx(3.5 / 6)


# --- from the model to the tables ---------------------------------------------------------------------------------------------------


TRAITS = ["brave", "gentle", "strong", "caring", "loud", "neat", "bold", "kind"]
HOBBIES = ["chess", "knitting", "fishing", "baking", "sailing", "yoga", "boxing", "sewing"]
FRAMES = {"traits": ["the {} person is a", "that {} person was a"], "hobbies": ["who likes {} is a", "who loves {} was a"]}
SINGLE = "a A man woman boy girl works as nurse miner the that person who likes loves is was and queen uncle stood in rain for long time "
SINGLE += "so it goes Question: Answer: red blue Treat all alike. met 1 2 3 4 5 6 7 8 9 + ="


def made_data():
    """Every table the runs read, in small: two categories of eight words, two frames each."""
    rows = []
    for category, those in (("traits", TRAITS), ("hobbies", HOBBIES)):
        for number, word in enumerate(those):
            for i, frame in enumerate(FRAMES[category]):
                split = "locate" if number % 2 else "evaluate"
                if split == "evaluate" or i == 0:
                    rows.append(("word_to_gender", category, word, f"{category}_{i}", split, i == 1, frame.format(word), None, None))
            for gender in ("man", "woman"):
                rows.append(("gender_to_word", category, word, "r", "evaluate", False, f"the {gender} likes", gender, word))
    for w, g in (("queen", "woman"), ("uncle", "man")):
        rows += [("factual", "factual", w, f"f_{i}", "evaluate", True, f"the {w} {c} a", g, None) for i, c in enumerate(("is", "was"))]
    schema = ["direction", "category", "word", "template", "split", "unseen_template", "text", "gender", "continuation"]
    texts = ["it stood in the rain for long", "so it goes for a time", "in the rain it stood", "a long time it goes so", "the rain goes on"]
    neutral = [("locate" if i < 2 else "evaluate", text) for i, text in enumerate(texts)]
    jobs = (("nurse", "woman"), ("miner", "man"))
    given = [(p, own, i, g, f"A {g} {what} a") for i, what in enumerate(("works as", "is")) for p, own in jobs for g in ("man", "woman")]
    met = [f"we met a {w} {g}" for w in TRAITS[:4] for g in ("man", "woman")]
    options = [["red", "blue"], ["long", "so it"]]
    return {
        "prompts": pl.DataFrame(rows, schema=schema, orient="row").with_row_index("id").with_columns(pl.col("id").cast(pl.Int32)),
        "synonyms": pl.DataFrame({"male": ["man", "boy"], "female": ["woman", "girl"]}),
        "balanced": pl.DataFrame({"id": range(8), "gender": ["man", "woman"] * 4, "text": met}),
        "proto_a": pl.DataFrame(given, schema=["profession", "gender", "prompt_id", "given", "text"], orient="row"),
        "corrections": pl.DataFrame({"id": ["x", "y"], "text": ["Treat all alike.", "all alike"]}),
        "neutral": pl.DataFrame(neutral, schema=["split", "text"], orient="row"),
        "choice": pl.DataFrame({"id": [0, 1], "set": ["MMLU", "PIQA"], "question": ["who", "that"], "options": options, "answer": [0, 1]}),
        "sums": pl.DataFrame({"id": [1, 2], "prompt": ["1 + 2 =", "2 + 2 ="], "answer": ["3", "4"]}),
    }  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a project in which `study` and `evaluate` have run on a tiny model."""
    root, data = tmp_path_factory.mktemp("project"), made_data()
    real = params.profile_params(Params, "gender_bias", "small")
    experiments = ("dose", "prompt", "projection", "hierarchy", "proto_a", "choice", "checkpoint")
    p = dataclasses.replace(
        real.measure, rows=(Row("tiny", None, True, 4, experiments), Row("tiny", "other/lora", False, 0, ())), templates=None,
        neutral_every=1, dose=(1, 3),
        perplexity_limit=1.0, neurons=4, hierarchy_neurons=3, general_kl=9.0, gender_fall=0.0,
    )  # fmt: skip
    model, tokenizer = tiny("llama", vocabulary=300), word_tokenizer([*SINGLE.split(), *TRAITS, *HOBBIES])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    low = Settings(lora_rank=2)
    with lora(model, low) as adapted:  # away from its start, where a LoRA changes nothing
        tensors = {name: tensor + 0.3 for name, tensor in get_peft_model_state_dict(adapted).items()}
    save_lora(tensors, low, "tiny", root / "models" / "other" / "lora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "load", lambda name, dtype: (model, tokenizer, view(model)))
        patch.setattr(measure, "ROOT", root)
        folder = root / "models" / "gender_edit" / "small"
        out = {name: [] for name in measure.NAMES}
        sets = {row.name: measure.study(row, data, p, 0, "small", folder, out) for row in p.rows}
        cal = calibration.calibrate(0, calibration.Sizes(seeds=1, words_each=2, definitional=2, objects=3, steps=4, draws=1))
        for name in measure.NAMES:
            io.write_parquet(pl.concat(out[name]) if name in out and out[name] else cal[name], folder / f"{name}.parquet")
        io.write_json(sets, folder / "neurons.json")
        facts = {"seconds": 1.0, "peak_memory_mb": 5}
        io.write_json(facts, root / "models" / "gender_edit" / "small.run.json")
        tuned = root / "models" / "gender_tuned"
        io.write_safetensors({"w": torch.zeros(3)}, tuned / "small" / "lora" / "adapter_model.safetensors")
        curves = pl.DataFrame({"variant": ["lora", "full"], "step": 1, "loss": 2.0})
        io.write_parquet(curves, tuned / "small" / "curves.parquet")
        runs = [facts | {"variant": name, "device": "cpu", "dtype": "float32", "tokens": 10} for name in ("lora", "full")]
        io.write_json({"runs": runs}, tuned / "small.run.json")
        for place, name in (("commonwords", "prompts"), ("capability", "choice")):
            io.write_parquet(data[name], root / "data" / place / "small" / f"{name}.parquet")
        (root / "stages" / "gender_bias").mkdir(parents=True)
        for name in ("tables.yaml", "metrics.yaml"):
            shutil.copy(params.ROOT / "stages" / "gender_bias" / name, root / "stages" / "gender_bias" / name)
        for module in (params, evaluate):
            patch.setattr(module, "ROOT", root)
        patch.setattr(evaluate, "profile_params", lambda *_: dataclasses.replace(real, measure=p))
        evaluate.main("small")
    return root, model, before, sets


def test_every_method_is_measured_and_the_model_left_as_it_was(published):
    root, model, before, sets = published
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    edits = pl.read_parquet(root / "reports" / "gender_bias" / "small" / "tables" / "edits.parquet")
    own = edits.filter(model="tiny")
    kinds = {"none", "combined", "zeroed", "logit", "causal", "logit, matched", "causal, matched", "random", "cna", "prompt"}
    assert set(own["method"]) == kinds | {"sentence-debias", "dose combined", "dose logit"}
    other = edits.filter(model="other").row(0, named=True)
    assert edits.filter(model="other")["method"].to_list() == ["none"] and other["perplexity"] != own.filter(method="none")["perplexity"][0]
    none = own.filter(method="none").row(0, named=True)
    assert none["abs_d_drop"] == none["perplexity_change"] == 0 and none["agreement"] == 1 and none["n"] == 8
    prompt = own.filter(method="prompt")
    assert len(prompt) == 2 and (prompt["agreement"] == 1).all()  # neutral text has no prompt before it
    patch = load_patch(root / "models" / "gender_edit" / "small" / "tiny.safetensors", view(model))
    assert list(zip(patch.layer.tolist(), patch.index.tolist(), strict=True)) == [tuple(n) for n in sets["tiny"]["combined"]["neurons"]]
    assert (root / "models" / "gender_edit" / "small" / "tiny" / "model.safetensors").exists()


def test_the_declared_tables_are_written(published):
    root, *_ = published
    folder = root / "reports" / "gender_bias" / "small"
    for name in declared("gender_bias"):
        assert len(pl.read_parquet(folder / "tables" / f"{name}.parquet")), name
    results = pl.read_parquet(folder / "results.parquet")
    assert {"bias", "edit", "factual control", "hierarchy", "proto-A", "calibration"} <= set(results["experiment"])
    assert results.filter(experiment="calibration")["model"].is_null().all()  # the tiny models have no card
    for path in (folder / "plots").glob("*.json"):
        assert json.loads(path.read_text())["title"]
    assert len(list((folder / "plots").glob("*.json"))) == 6
    assert not any("stood in" in text for text in results["experiment"])


def test_every_claim_is_measured(published):
    """Each test of each claim finds its row in what the stages write; its verdict on a random model says nothing."""
    root, *_ = published
    folder = root / "reports" / "gender_bias" / "small"
    claims_file = ledger.read("gender_bias")
    claims_file["parameters"]["model"]["small"] = "tiny"
    card = {"name": "gender_bias", "ledger": claims_file, "tables": declared("gender_bias")}
    with duckdb.connect(":memory:") as con:
        con.execute("CREATE SCHEMA gender_bias")
        for path in [folder / "results.parquet", *(folder / "tables").glob("*.parquet")]:
            place = "main.results" if path.stem == "results" else f"gender_bias.{path.stem}"
            extra = "" if path.stem == "results" else ", 'small' AS profile"
            con.execute(f"CREATE TABLE {place} AS SELECT *{extra} FROM read_parquet('{path}')")
        found = {r["claim"]: r["verdict"] for r in claims.evaluate(con, [card], [])["claims"]}
    assert len(found) == 10 and set(found.values()) <= {"holds", "fails", "undecided"}, found


# --- contrasts by hand ----------------------------------------------------------------------------------------------------------------


def test_the_lead_is_over_the_best_rival_and_holds_for_all():
    table = pl.concat(
        [
            words("none", {"a": 2.0, "b": -2.0}, copies=4),
            words("combined", {"a": 1.0, "b": -1.0}, copies=4),
            words("random", {"a": 2.0, "b": -2.0}, copies=4),
            words("logit", {"a": 0.5, "b": -2.5}, copies=4),  # 1.5 on average, the best rival; better than combined on every a
            words("prompt", {"a": 1.8, "b": -1.8}, copies=4),
            words("prompt", {"a": 0.4, "b": -0.4}, seed=1, copies=4),  # each prompt is a rival of its own: the mean of both would lose
        ]
    )
    found = {r["contrast"]: r for r in contrasts.falls("m", table)}
    lead = found["lead over other selections"]
    assert lead["value"] == pytest.approx(0.25) and lead["n"] == 8 and lead["ci_low"] < 0 < lead["ci_high"]
    assert found["lead over tuning, prompts and projection"]["value"] == pytest.approx(-0.3)
    assert found["random neurons, fall of mean |d|"]["value"] == 0


def test_the_interval_of_a_least_value_is_simultaneous():
    """Of noise around 0 and a constant 0.1: the least low end is that of the noise, at the level .975, and so is no end of the constant."""
    noise = np.random.default_rng(1).normal(0.0, 1.0, (50, 1))
    mean = lambda x: x[..., 0].mean(1)  # noqa: E731
    alone, wider = contrasts.resampled([noise], mean), contrasts.resampled([noise], mean, comparisons=2)
    spread = noise.std() / 50**0.5  # normal quantiles: 1.96 of 95 %, 2.24 of 97.5 %
    assert (alone[2] - alone[1]) / spread == pytest.approx(2 * 1.96, rel=0.1)
    assert (wider[2] - wider[1]) / spread == pytest.approx(2 * 2.24, rel=0.1)
    value, low, high = contrasts.least([noise, np.full((50, 1), 0.1)], mean)
    assert (value, low) == pytest.approx((min(noise.mean(), 0.1), wider[1])) and high == pytest.approx(min(wider[2], 0.1))


def test_taking_meaning_more_than_bias_shows():
    bias = pl.concat([words("none", {"a": 2.0, "b": -1.0}, copies=3), words("combined", {"a": 1.0, "b": -0.5}, copies=3)])
    known = [("queen", "woman", -2.0, -0.5), ("uncle", "man", 2.0, 0.5), ("aunt", "woman", -1.0, 0.25), ("lad", "man", 1.0, 0.25)]
    rows = [
        KEYS | {"method": m, "word": w, "gender": g, "d": d}
        for w, g, *ends in known
        for m, d in zip(("none", "combined"), ends, strict=True)
    ]
    found = {r["contrast"]: r for r in contrasts.definitional("m", bias, pl.DataFrame(rows, schema_overrides=NULL))}
    assert found["fall of definitional log-odds"]["value"] == pytest.approx(1 - 1.0 / 6)
    assert found["fall of bias less fall of definitional log-odds"]["value"] == pytest.approx(0.5 - 5 / 6)
    assert found["definitional words on the right side, change"]["value"] == pytest.approx(-0.25)


def test_least_biased_model_and_paired_answers():
    both = pl.concat(
        [words("none", {"a": 1.0, "b": 0.1}, copies=2).with_columns(over=pl.Series([1.0, 0.0] * 2), model=pl.lit(m)) for m in "xy"]
    )
    both = both.with_columns(
        over=pl.when((pl.col("model") == "y") & pl.col("word").str.starts_with("b")).then(1.0).otherwise(pl.col("over"))
    )
    (row,) = contrasts.pervasive(both)
    assert (row["model"], row["value"], row["n"]) == (None, 0.5, 4)
    choice = pl.DataFrame(
        [
            KEYS | {"method": m, "id": i, "correct": c}
            for m, right in (("none", "1100"), ("combined", "0110"))
            for i, c in enumerate(x == "1" for x in right)
        ]
    )
    sums = choice.filter(pl.col("id") < 1)
    found = {r["contrast"]: r for r in contrasts.capability("m", contrasts.answered(choice, sums))}
    assert (found["accuracy, change"]["value"], found["accuracy, change"]["n"]) == (pytest.approx(-0.2), 5)
    assert found["accuracy, combined"]["value"] == pytest.approx(0.4)


def test_neurons_off_and_professions_by_hand():
    off = {"model": "m", "tokens": [10, 10], "nll_before": [20.0, 20.0]}
    raw = pl.DataFrame(
        [
            off | {"group": "general", "changed": [0.9, 0.7], "nll": [21.0, 20.0]},
            off | {"group": "random", "changed": [0.1, 0.3], "nll": [20.0, 20.0]},
        ]
    )
    found = {r["contrast"]: r["value"] for r in contrasts.neurons_off("m", raw)}
    assert found["general neurons off, perplexity change"] == pytest.approx(math.exp(1 / 20) - 1)
    assert found["general less random neurons off, deeper coefficients changed"] == pytest.approx(0.6)
    jobs = [("nurse", "woman", 2.0, 1.0), ("maid", "woman", 1.0, 0.5), ("miner", "man", 1.0, 1.0)]
    rows = [
        {"model": "m", "method": k, "profession": j, "gender": g, "prompt_id": 1, "first": x}
        for j, g, a, b in jobs
        for k, x in (("none", a), ("cna", b), ("combined", a))
    ]
    found = {r["contrast"]: (r["value"], r["n"]) for r in contrasts.proto("m", pl.DataFrame(rows))}
    assert found["professions, fall under cna"] == (pytest.approx(1 - (0.75 + 1.0) / (1.5 + 1.0)), 3)
    assert found["professions, fall under combined"] == (0, 3)
