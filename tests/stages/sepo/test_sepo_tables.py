"""`sepo`: tables of policies, comparisons with their intervals and what selectors choose, on rows worked out by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML

from catalog.base.params import ROOT, profile_params
from catalog.report.tables import declared
from stages.sepo import contrasts, evaluate, figures, paired, tables, tokens
from stages.sepo.settings import OracleModel, Params

PARAMS = profile_params(Params, "sepo", "small")


def test_which_tokens_were_changed():
    assert tokens.changed(["The", " old", " man", ""], 4, 7).tolist() == [False, True, False, False]
    assert tokens.changed(["The", " old", " man"], 2, 5).tolist() == [True, True, False]
    assert tokens.changed(["The"], None, None).tolist() == [False]


def test_chance_of_a_hit_by_hand():
    assert tokens._miss(10, 1, 3) == pytest.approx(0.7)  # one of ten tokens, three drawn
    assert tokens._miss(4, 2, 1) == 0.5 and tokens._miss(4, 2, 3) == 0 and tokens._miss(4, 2, 2) == pytest.approx(1 / 6)


def item(score, oracle_name="whole", side="rejected", key="p0"):
    logp = np.log(np.array([0.9, 0.8, 0.1, 0.9]))
    one = {"oracle": oracle_name, "set": "xsum", "id": key, "group": key, "side": side, "token_id": np.arange(len(score))}
    return one | {"score": np.array(score, dtype=float), "logp_ref": logp}


def test_selections_are_compared_with_the_known_change():
    items = [item([0, -1, -3, 1]), item([-2, 1, 0, 1], key="p1"), item([3, -1, -1, 1], "shallow")]
    marks = [np.array([False, False, True, False])] * 3
    table = tokens.selection_table(items, marks, [0.3], ["whole", "shallow"])
    whole = table.filter(pl.col("selector") == "whole").row(0, named=True)
    assert (whole["responses"], whole["documents"], whole["tokens"], whole["forced"]) == (2, 2, 1, 0)
    assert (whole["hits"], whole["hits_by_chance"]) == (0.5, 0.25)
    assert whole["score_selected"] == -2.5 and whole["score_rest"] == pytest.approx((0 + 2 / 3) / 2)
    unsure = table.filter(pl.col("selector") == "unsure").row(0, named=True)
    # Only the token of probability 0.1 lies below the mean; nobody asked for a share.
    assert unsure["hits"] == 1 and unsure["share"] is None and unsure["taken"] == 0.25
    assert whole["taken"] == 0.25 and whole["gain"] == 0.25 and (whole["gain_low"], whole["gain_high"]) == (-0.25, 0.75)
    unknown = tokens.selection_table(items, [np.zeros(4, bool)] * 3, [0.3], ["whole", "shallow"])
    assert unknown.select("documents", "hits", "gain", "gain_low", "lead", "hits_by_chance").null_count().row(0) == (len(unknown),) * 6
    # The least probable token is the changed one in both: the oracle misses it once.
    lead = table.filter(pl.col("selector") == "improbable").row(0, named=True)
    assert (lead["hits"], lead["lead"], unsure["lead"], whole["lead"]) == (1, None, None, -0.5)
    assert (whole["lead_low"], whole["lead_high"]) == paired.share_difference(np.array([1.0, 0.0]), np.ones(2))[1:]
    overlap = tokens.overlap_table(items, 0.3, ["whole", "shallow"])
    pair = overlap.filter((pl.col("one") == "whole") & (pl.col("other") == "shallow")).row(0, named=True)
    assert pair["responses"] == 1 and pair["jaccard"] == 0  # whole takes place 2, shallow the first of two equal ones
    shares = tokens.share_table([item([0, -1, -3, 1])])
    assert shares["reward"].to_list() == [1.0] * 20 and shares["responses"][0] == 1


def test_pairs_of_one_document_count_as_one():
    marks = [np.array([False, False, True, False])] * 3
    two = [item([0, -1, -3, 1], key="p0"), item([-2, 1, 0, 1], key="p1") | {"group": "p0"}, item([-2, 1, 0, 1], key="p2")]
    row = tokens.selection_table(two, marks, [0.3], ["whole"]).filter(pl.col("selector") == "whole").row(0, named=True)
    assert (row["responses"], row["documents"], row["hits"]) == (3, 2, 0.25)  # half of the first document's, none of the second's
    # The same tokens twice in one document are one response; in two documents they are two.
    twice = [item([4, 1, 1, 4], key="p0"), item([4, 1, 1, 4], key="p1") | {"group": "p0"}, item([9, 0, 0, 0], key="p2")]
    other = twice[1] | {"token_id": np.arange(4) + 1, "score": np.array([9.0, 0, 0, 0])}
    assert [i["id"] for i in tokens.distinct([twice[1], twice[0], twice[2]])] == ["p0", "p2"]
    near = tokens.concentration_table(twice).row(0, named=True)
    assert (near["responses"], near["documents"], near["tokens"]) == (2, 2, 0.375)  # 2 of 4 tokens carry .8, and 1 of 4
    near = tokens.concentration_table([twice[0], other, twice[2]]).row(0, named=True)
    assert (near["responses"], near["documents"]) == (3, 2) and near["tokens"] == pytest.approx((0.375 + 0.25) / 2)
    shares = tokens.share_table(twice).filter(tokens=0.25)
    assert shares.select("reward", "responses").row(0) == (0.7, 2)  # .4 and 1


def measured():
    rows = []
    for run_name, right in (("untrained", (1, 0)), ("a_seed0", (1, 1)), ("a_seed1", (1, 0)), ("b_seed0", (0, 0))):
        for key, good in zip(("x", "y"), right):
            rows.append({"run": run_name, "set": "xsum", "id": key, "chosen_sum": -4.0, "chosen_tokens": 4})
            rows[-1] |= {"rejected_sum": -2.0 * 3 if good else -0.5 * 3, "rejected_tokens": 3}
    return pl.DataFrame(rows)


def runs():
    base = {"loss": "sepo", "selector": "oracle", "reference": "none", "oracle": "whole", "set": "xsum", "chosen_share": 0.3}
    base |= {"rejected_share": 0.3, "compute": False, "beta": 1.0, "gamma": 0.0, "pairs": 8}
    base |= {"steps": 2, "tokens_used": 0.3, "step_flops": 1.0}
    names = (("a_seed0", "sepo", 0), ("a_seed1", "sepo", 1), ("b_seed0", "dpo", 0))
    return pl.DataFrame([{"run": r, "method": m, "seed": s} | base | {"relative_cost": 0.6} for r, m, s in names])


def test_accuracy_and_margin_are_means_over_tokens_and_differences_go_by_pair():
    pairs_table = tables.per_pair(measured())
    assert pairs_table.filter(pl.col("run") == "untrained").select("margin", "right").rows() == [(1.0, True), (-0.5, False)]
    members = pl.DataFrame({"experiment": ["main"] * 3, "run": ["a_seed0", "a_seed1", "b_seed0"]})
    documents = tables.per_document(pairs_table, pl.DataFrame({"id": ["y", "x"], "group": ["y", "x"]}))
    assert not tables.by_method(documents, runs(), members, {"main": ["factual"]})
    found = tables.by_method(documents, runs(), members, {"main": ["xsum"]})
    sepo = found["main", "xsum"]["sepo", "whole", "xsum", 0.3, 0.3, False]
    assert sepo[0].tolist() == [1.0, 0.5] and sepo[1].tolist() == [1.0, 0.25]
    gap = tables.versus(found, "sepo").row(0, named=True)
    assert gap["other"] == "dpo" and gap["accuracy_difference"] == 0.75 and gap["accuracy_low"] <= 0.75 <= gap["accuracy_high"]
    start = {"xsum": tables.start_of(documents, "xsum")}
    assert [values.tolist() for values in start["xsum"]] == [[1, 0], [1, -0.5]]
    summary = tables.summary_table(found, start, tables.counts_table(runs(), members))
    own = summary.filter(pl.col("method") == "sepo").row(0, named=True)
    assert own["accuracy"] == 0.75 and own["accuracy_gain"] == 0.25 and own["seeds"] == 2 and own["n"] == 2
    assert (own["selector"], own["steps"], own["margin_gain"]) == ("oracle", 2, 0.375)
    lengths = pl.DataFrame({"run": ["a_seed0"], "tokens": [7]})
    kl = pl.DataFrame({"run": ["a_seed0"], "set": ["xsum"], "id": ["x"], "kl": [0.5]})
    table = tables.runs_table(documents, runs(), kl, lengths)
    first = table.filter(pl.col("run") == "a_seed0").row(0, named=True)
    assert (first["accuracy"], first["kl"], first["answer_tokens"], first["method"]) == (1.0, 0.5, 7.0, "sepo")
    assert (first["margin"], first["margin_low"], first["margin_high"]) == (1.0, 1.0, 1.0)  # both pairs have the same margin
    assert table.filter(pl.col("run") == "untrained")["method"].to_list() == ["untrained"]
    both_of_one = tables.per_document(pairs_table, pl.DataFrame({"id": ["x", "y"], "group": ["d", "d"]}))
    table = tables.runs_table(both_of_one, runs(), kl, lengths).filter(pl.col("run") == "untrained").row(0, named=True)
    assert (table["n"], table["accuracy"], table["margin"]) == (1, 0.5, 0.25)  # two pairs of one document: right and wrong, 1 and -.5
    assert (table["low"], table["high"]) == pytest.approx(
        (0.5 - 0.4453, 0.5 + 0.4453), abs=1e-4
    )  # z^2 = 3.8415: sqrt(.25 + z^2/4) z / (1 + z^2)


def test_the_control_of_an_experiment_has_its_sets_and_seeds():
    declared_ = [
        replace(PARAMS.train.experiments[0], name=name, seeds=seeds, sets=("xsum",)) for name, seeds in (("a", (0, 1)), ("b", (2,)))
    ]
    rows = [("sepo random", seed, "xsum") for seed in (0, 1, 2)] + [("sepo random", 0, "factual"), ("sepo", 0, "xsum")]
    made = pl.DataFrame([{"run": f"{m}{s}{d}", "method": m, "seed": s, "set": d} for m, s, d in rows])
    found = tables.same_seeds(made, declared_, PARAMS.train.methods)
    assert found.rows() == [("a", "sepo random0xsum"), ("a", "sepo random1xsum"), ("b", "sepo random2xsum")]


def test_rules_that_read_nothing_by_hand():
    data = pl.DataFrame({"group": ["x", "y"], "set": ["s", "s"], "chosen": ["one two", "a b c"], "rejected": ["one not two", "a b d"]})
    marks = tables.rule_marks(data)
    assert {name: mark.tolist() for name, mark in marks.items()} == {
        "coin": [0.5, 0.5],
        "fewer characters": [1, 0.5],
        "fewer words": [1, 0.5],
        "more words": [0, 0.5],
        "no 'not'": [1, 0.5],
    }
    table = tables.trivial_table({"s": marks})
    found = {"coin": 0.5, "fewer characters": 0.75, "fewer words": 0.75, "more words": 0.25, "no 'not'": 0.75}
    assert dict(table.select("rule", "accuracy").iter_rows()) == found
    assert table.filter(rule="coin").select("low", "high").row(0) == (0.5, 0.5)
    three = pl.DataFrame({"group": ["b", "a", "b"], "chosen": ["u v", "u v", "u v"], "rejected": ["u", "u", "u v w"]})
    marks = tables.rule_marks(three)
    assert marks["fewer words"].tolist() == [0, 0.5] and marks["more words"].tolist() == [1, 0.5]  # documents a and b
    assert marks["coin"].tolist() == [0.5, 0.5]


def test_dropped_pairs_are_counted_once():
    unread = pl.DataFrame({"set": ["a", "a", "b"], "id": ["1", "2", "3"], "reason": ["equal", "equal", "equal"]})
    left = {"set": ["a", "a", "a"], "split": ["test"] * 3, "id": ["4", "4", "5"], "reason": ["short", "short", "alike"]}
    table = tables.dropped_table(unread, pl.DataFrame(left)).select("set", "step", "reason", "pairs")
    assert table.rows() == [
        ("a", "reading", "equal", 2),
        ("a", "tokens", "alike", 1),
        ("a", "tokens", "short", 1),
        ("b", "reading", "equal", 1),
    ]
    none = pl.DataFrame(schema={"set": pl.String, "split": pl.String, "id": pl.String, "reason": pl.String})
    assert tables.dropped_table(none.drop("split"), none).is_empty()


# --- comparisons -------------------------------------------------------------------------------------------------------------


def test_an_interval_of_matched_shares_by_hand():
    # One of 60 pairs is lost and none won: 62 pairs with half a pair in each cell, -1/62 +- 1.96 sqrt(1 + 1 - 1/62) / 62.
    value, low, high = paired.share_difference(np.r_[0.0, np.ones(59)], np.ones(60))
    assert value == pytest.approx(-1 / 60) and (low, high) == pytest.approx((-0.060655, 0.028397), abs=1e-6)
    assert paired.share_difference(np.zeros(3), np.zeros(3))[0] == 0 and paired.share_difference(np.ones(3), np.zeros(3))[2] == 1
    wide = paired.share_difference(np.zeros(3), np.zeros(3))
    assert wide[1] == -wide[2] < -0.3  # three concordant pairs say little; a bootstrap would say that both are equal


def test_a_share_has_an_interval_where_all_or_halves_are_right():
    assert paired.mean_share(np.ones(4)) == pytest.approx((1, 4 / (4 + 3.8415), 1), abs=1e-5)  # n / (n + z^2)
    assert paired.mean_share(np.full(8, 0.5)) == paired.mean_share(np.r_[np.ones(4), np.zeros(4)])
    assert paired.mean_share(np.full(3, 1 / 3)) == pytest.approx(paired.mean_share(np.array([1.0, 0, 0])))


def test_the_least_lead_has_intervals_corrected_for_their_number_and_none_is_selected_twice():
    zero, one, other = np.zeros(100), np.r_[np.ones(50), np.zeros(50)], np.r_[np.zeros(50), np.ones(50)]
    value, low, high = paired.least([(one, zero), (other, zero)])
    assert value == 0.5 and low < 0.4 and high > 0.6  # were the least taken in each resample, none would lie above half
    assert (low, high) != paired.difference(one, zero)[1:] and low <= paired.difference(one, zero)[1]
    assert paired.largest([(one, zero), (other, zero)])[1] < 0.4
    assert paired.least([(one, zero)]) == paired.difference(one, zero)
    assert paired.least([(one, zero), (one + 1, zero)]) == paired.difference(one, zero, 0.975)


def test_the_least_of_several_shares_has_intervals_corrected_for_their_number():
    one, low, high = np.r_[np.ones(30), np.zeros(70)], np.r_[np.ones(20), np.zeros(80)], np.r_[np.ones(40), np.zeros(60)]
    both = [paired.share_difference(one, other, 0.975) for other in (low, high)]  # +.1 and -.1
    assert paired.least_share([(one, low), (one, high)]) == both[1] and paired.largest_share([(one, low), (one, high)]) == both[0]
    alone = paired.share_difference(one, high)
    assert paired.least_share([(one, high)]) == alone and both[1][1] < alone[1] and alone[2] < both[1][2]
    same = paired.least_share([(one, one), (one, one)])
    assert same[1] < 0 < same[2]  # not one discordant pair is no proof that two methods are equal


def test_a_slope_is_the_mean_of_the_pairs_slopes():
    shares = [0.1, 0.3, 0.8]  # centred -.3, -.1, .4; squares .26
    margins = [np.array([1.0, 0.0]), np.array([1.2, 0.0]), np.array([1.7, 0.13])]
    value, low, high = paired.slope(shares, margins)
    assert (value, low, high) == pytest.approx(((1.0 + 0.2) / 2, 0.2, 1.0))  # 1, and .4 * .13 / .26 = .2


def both(right, margin):
    return np.array(right, dtype=float), np.array(margin, dtype=float)


def group(method="sepo", oracle="whole", chosen=0.3, rejected=0.3):
    return tables.Group(method, oracle, "xsum", chosen, rejected, False)


def rows_of(found):
    return {(statistic, subject, measure): value for statistic, subject, measure, value, *_ in found}


def test_sepo_leads_methods_on_all_tokens_by_the_least_of_its_leads():
    methods = {
        group(): both([1, 1, 0, 1], [2, 2, 2, 2]),
        group("simpo", None, 1.0, 1.0): both([1, 0, 0, 1], [1, 1, 1, 1]),
        group("dpo", None, 1.0, 1.0): both([1, 1, 0, 0], [1.5, 1.5, 1.5, 1.5]),
        group("confpo", None, 1.0, 1.0): both([1, 1, 1, 1], [9, 9, 9, 9]),  # picks its tokens in the loss
        group("sepo scaled"): both([1, 1, 1, 1], [9, 9, 9, 9]),
    }
    names = contrasts.all_tokens(PARAMS.train.methods)
    assert names == {"dpo", "ipo", "ipo sums", "rrhf", "simpo", "orpo", "tdpo1", "tdpo2"}
    found = rows_of(contrasts.against_all(methods, both([1, 0, 0, 0], [1, 1, 1, 1]), names))
    lead, gain = "least lead over methods on all tokens", "largest gain of methods on all tokens"
    assert found[lead, "sepo", "accuracy"] == 0.25 and found[lead, "sepo", "margin"] == 0.5
    assert found[gain, "all tokens", "accuracy"] == 0.25 and found[gain, "all tokens", "margin"] == 0.5
    assert not rows_of(contrasts.against_all({group(): methods[group()]}, both([1] * 4, [1] * 4), names))


def test_a_sweep_has_a_slope_and_ends_beside_the_usual_share():
    e = next(e for e in PARAMS.train.experiments if e.name == "rejected ratio")
    methods = {group(rejected=share): both([1, 1], [share, 2 * share]) for share in (0.9, 0.1, 0.3)}
    found = rows_of(contrasts.sweep(methods, e, PARAMS.train.methods))
    slope, last = "slope over the rejected share", "largest rejected share less the usual one"
    assert found == pytest.approx({(slope, "sepo", "margin"): 1.5, (last, "sepo", "margin"): 0.9})
    assert not list(contrasts.sweep(methods, replace(e, rejected_shares=(0.3,)), PARAMS.train.methods))


def test_less_data_for_the_oracle_keeps_more_than_half_of_the_gain_or_not():
    three = (("whole", None, 1.0), ("low", 3, 1.0), ("part", None, 0.5))
    oracles = [OracleModel(name, "m", depth, "xsum", share) for name, depth, share in three]
    start = both([0, 0], [1, 1])
    methods = {group(): both([1, 1], [3, 3]), group(oracle="low"): both([1, 1], [9, 9]), group(oracle="part"): both([1, 1], [2.5, 2.5])}
    name = "gain less half of that with all pairs"
    assert rows_of(contrasts.less_data(methods, start, oracles)) == {(name, "part", "margin"): 0.5}
    methods[group(oracle="part")] = start  # learns nothing: half of the whole gain is missing
    assert rows_of(contrasts.less_data(methods, start, oracles)) == {(name, "part", "margin"): -1.0}


def test_a_weak_oracle_is_compared_with_random_tokens_of_the_same_shares():
    e = next(e for e in PARAMS.train.experiments if e.name == "oracle")
    methods = {group(oracle="whole"): both([1, 1], [3, 3]), group(oracle="shallow"): both([1, 1], [2, 2.5])}
    random = {group("sepo random", None): both([1, 1], [1, 2]), group("sepo random", None, 0.9): both([1, 1], [9, 9])}
    name = "lead over random tokens, same seeds"
    found = rows_of(contrasts.weaker(methods, random, e))
    assert found == {(name, "whole", "margin"): 1.5, (name, "shallow", "margin"): 0.75}
    assert not list(contrasts.weaker(methods, random, replace(e, oracles=("whole",))))
    assert not list(contrasts.weaker(methods, {}, e))


def test_scores_as_steep_as_noise_are_told_from_steeper_ones():
    rng = np.random.default_rng(1)

    def items(draw):
        return [item(draw(), key=f"p{i}") | {"logp_ref": np.zeros(40)} for i in range(60)]

    for mean, low, high in ((0.1, 0.2, 0.35), (-2, 0.05, 0.15)):  # compared with noise of the same mean: the lower, the fewer are positive
        noise = tokens.concentration_table(items(lambda mean=mean: rng.normal(mean, 2, 40))).row(0, named=True)
        assert low < noise["tokens"] < high and noise["difference_low"] < 0 < noise["difference_high"] and noise["responses"] == 60
    few = tokens.concentration_table(items(lambda: np.where(np.arange(40) < 2, 5.0, rng.normal(0, 0.1, 40)))).row(0, named=True)
    assert few["tokens"] == pytest.approx(0.05) and few["difference_high"] < 0
    even = tokens.concentration_table(items(lambda: 1 + rng.uniform(0, 0.1, 40))).row(0, named=True)
    assert even["tokens"] > 0.75 and even["difference"] > -0.02
    assert tokens.concentration_table([item([-1, -2, -1.5, -3])]).is_empty()


def test_the_tables_that_are_declared_are_those_with_these_columns():
    """What needs no model: the columns of each builder stand in tables.yaml in the same number."""
    known = {name: list(table.columns) for name, table in declared("sepo").items()}
    start, marks = {"xsum": both([1, 0], [1, 1])}, {"xsum": {"coin": np.full(2, 0.5)}}
    table = contrasts.table({}, {}, start, marks, PARAMS.train, PARAMS.oracle.oracles)
    assert table.columns == known["contrasts"] and table.row(0)[:6] == (
        None,
        "xsum",
        "least lead over rules that read nothing",
        "untrained",
        "accuracy",
        0.0,
    )
    picked = tokens.selection_table([item([0, -1, -3, 1])], [np.array([False, False, True, False])], [0.3], ["whole"])
    assert set(picked.columns) == set(known["selection"])
    near = tokens.concentration_table([item([0, 1, 3, 1])])
    assert set(near.columns) == set(known["concentration"])
    (panel,) = figures.hits(picked)["hconcat"]  # a panel a side
    assert panel["title"] == picked["side"][0] and panel["data"]["values"][0]["taken"] == 0.25


def test_a_policy_is_called_by_its_method_and_by_what_is_not_usual_for_it():
    policy = {"method": "sepo", "oracle": "whole", "trained_on": "xsum", "set": "xsum", "chosen_share": 0.3, "rejected_share": 0.3}
    for change, name in (
        ({}, "sepo"),
        ({"chosen_share": 0.1}, "sepo, 10% of chosen tokens"),
        ({"rejected_share": 0.9, "oracle": "quarter"}, "sepo, 90% of rejected tokens, oracle quarter"),
        ({"set": "factual"}, "sepo, trained on xsum"),
        ({"method": "untrained", "oracle": None, "trained_on": None, "chosen_share": None, "rejected_share": None}, "untrained"),
    ):
        assert evaluate.named(policy | change, PARAMS) == name


def test_what_a_step_costs_is_told_in_one_direction():
    """The number shown and the tested one are the same, and more of it is better as the metric says."""
    claims, metrics = (YAML(typ="safe").load(ROOT / "stages" / "sepo" / f"{name}.yaml") for name in ("claims", "metrics"))
    claim = claims["claims"]["cheaper-step"]
    assert claim["metric"] == "compute_saved" and metrics["compute_saved"]["lower_is_better"] is False
    assert [(test["effect"], "at_least" in test, "at_most" in test) for test in claim["tests"]] == [("ours", True, False)]
