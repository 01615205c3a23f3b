"""What the claims of harmonic rest on: differences on the same items, by hand and against a loop, and statements about every table."""

import numpy as np
import polars as pl
import pytest
from harmonic_release import signals

from stages.harmonic import contrasts, predictions, utility
from stages.harmonic.contrasts import Drawn
from stages.harmonic.schema import COPY, HOLDOUT

RNG = np.random.default_rng(0)


def drawn(value, draws, n=10):
    return Drawn(value, np.asarray(draws, dtype=float), n)


def rows(signals):
    return {(r["measure"], r["method"], r["other"], r["over"], r["table"]): r for r in contrasts.contrasts(signals).iter_rows(named=True)}


def test_paired_differences_are_narrower_than_the_values():
    """Two methods that differ by one item in ten: nothing of what they share is in the interval of the difference."""
    a, b = np.r_[np.ones(50), np.zeros(50)], np.r_[np.ones(40), np.zeros(60)]
    first, second = (contrasts.means(values, [7]) for values in (a, b))
    gap = first.less(second)
    assert gap.value == pytest.approx(0.1) and gap.n == 100
    # Resampled, the difference is a count of 100 tries at .1 over 100: deviation sqrt(.1 * .9 / 100) = .03; unpaired it were .07.
    assert gap.draws.std() == pytest.approx(0.03, abs=0.002) and first.draws.std() == pytest.approx(0.05, abs=0.003)
    low, high = contrasts.interval(gap, 0.95)
    assert (low, high) == (pytest.approx(0.04, abs=0.011), pytest.approx(0.16, abs=0.011))
    wide = contrasts.interval(gap, 0.975)
    assert wide[0] <= low and wide[1] >= high
    same = contrasts.means(a, [7]).less(contrasts.means(a, [7]))
    # No resample differs; of 100 items that all agree, a share of up to 1.96² / (100 + 1.96²) may disagree (Wilson).
    assert contrasts.interval(same, 0.95) == (pytest.approx(-0.036994, abs=1e-5), pytest.approx(0.036994, abs=1e-5))
    assert (contrasts.means(a, [8]).draws != first.draws).any()


def test_means_do_not_depend_on_the_size_of_chunks(monkeypatch):
    values = RNG.normal(size=30)
    whole = contrasts.means(values, [1]).draws
    monkeypatch.setattr(contrasts, "CELLS", 30 * 64)
    assert contrasts.means(values, [1]).draws == pytest.approx(whole)


def test_auc_of_resampled_people_against_a_loop():
    members, others = RNG.normal(0.5, 1, 7).round(1), RNG.normal(0, 1, 5).round(1)
    found = contrasts.aucs(members, others, [3])
    wins = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    assert found.value == pytest.approx(wins.mean()) and found.n == 12 and len(found.draws) == contrasts.DRAWS
    people = [np.concatenate(list(contrasts._all(n, [3, i]))) for i, n in enumerate((7, 5))]
    assert (people[0].sum(1) == 7).all() and (people[1].sum(1) == 5).all()
    loop = [a @ wins @ b / 35 for a, b in zip(*people, strict=True)]
    assert found.draws == pytest.approx(np.array(loop))


def test_releases_are_averaged_and_strangers_are_common():
    scores = {("harmonic", 0): np.arange(4.0), ("harmonic", 1): np.arange(4.0)[::-1], ("marginals", 0): np.zeros(4)}
    strangers = np.array([9.0, 9.0, -1.0, -1.0])  # the last two are in no release
    attacks = {key: (members, strangers) for key, members in scores.items()}
    attacks[HOLDOUT, 0] = np.full(4, -2.0), strangers[2:]
    found = contrasts.membership(attacks, 2, [0])
    assert set(found["membership_auc"]) == {"harmonic", "marginals"}
    assert {m: d.value for m, d in found["membership_auc"].items()} == {"harmonic": 0.5, "marginals": 0.5}
    assert {m: d.value for m, d in found["membership_auc_unreleased"].items()} == {"harmonic": 1, HOLDOUT: 0}


def even(low, high, n=10):
    """Draws spread evenly, so that quantiles are read off; the value is the middle."""
    return drawn((low + high) / 2, np.linspace(low, high, 1001), n)


def test_the_least_of_several_by_hand():
    """Lower bound: the lowest of the plain ones. Upper bound: the lowest of those at the level corrected for three parts, .95 -> .98333."""
    parts = [even(0, 1), even(0.1, 0.9), even(0.5, 2.5)]
    value, low, high = contrasts.extreme(parts, "least", 0.95)
    assert (value, low) == (0.5, pytest.approx(0.025)) and high == pytest.approx(0.1 + 0.8 * (1 - 0.05 / 6))
    turned = [even(-1, 0), even(-0.9, -0.1), even(-2.5, -0.5)]
    assert contrasts.extreme(turned, "greatest", 0.95) == pytest.approx((-value, -high, -low))
    assert contrasts.extreme(parts[:1], "least", 0.9) == pytest.approx((0.5, 0.05, 0.95)) == contrasts.extreme(parts[:1], "greatest", 0.9)


def test_no_method_is_called_bad_on_some_table_by_chance():
    """Four tables on which nothing differs: one of them is below 0 more often than not, the interval of the least nearly never is."""
    rng, wrong, low = np.random.default_rng(1), 0, 0
    for _ in range(200):
        parts = [drawn(v := rng.normal(), v + rng.normal(size=400)) for _ in range(4)]
        _, below, above = contrasts.extreme(parts, "least", 0.95)
        wrong += above < 0
        low += below > 0
    assert wrong <= 12 and low <= 12  # 5 of 200 expected at most


def test_every_table_is_one_statement_and_levels_follow_the_claim():
    first = {"harmonic": even(0.6, 0.8), "great": even(0.5, 0.6), "marginals": even(0.5, 0.5)}
    second = {"harmonic": even(0.3, 0.5), "great": even(0.6, 0.8), "marginals": even(0.4, 0.6, n=30)}
    found = rows({"membership_auc": {"one": first, "two": second}})
    worst = found["membership_auc", "harmonic", "great", "greatest", None]
    # .15 [.1, .2] and -.3 [-.3, -.3]; the greater of both
    assert worst["value"] == pytest.approx(0.15) and worst["n"] == 20 and worst["level"] == 0.95
    assert worst["low"] == pytest.approx(0.1 + 0.1 * 0.0125) and worst["high"] == pytest.approx(0.2 - 0.1 * 0.025)
    least = found["membership_auc", "harmonic", "marginals", "least", None]
    # .2 [.1, .3] and -.1 (no resample differs): two statements behind the claim
    assert least["value"] == pytest.approx(-0.1) and least["level"] == 0.975
    mean = found["membership_auc", "marginals", None, "mean", None]
    assert mean["value"] == 0.5 and mean["n"] == 40 and mean["low"] == pytest.approx(0.4525) and mean["high"] == pytest.approx(0.5475)
    assert found["membership_auc", "harmonic", "great", "one table", "two"]["value"] == pytest.approx(-0.3)
    assert not any(key[1] == "smote" for key in found)  # a method that was not run has no row


def test_each_of_the_others_is_a_rival():
    trivial = {"real": even(0.9, 1.0), "majority": even(0.9, 1.0)}
    found = rows({"accuracy": {"one": {"harmonic": even(0.8, 0.9), "smote": even(0.6, 0.8), "cart": even(0.4, 0.8)} | trivial}})
    row = found["accuracy", "harmonic", contrasts.ANY, "least", None]
    # less smote: .15 [.1, .2]; less cart: .25 [.1, .4]; each upper bound at .975
    assert row["value"] == pytest.approx(0.15) and row["n"] == 10
    assert row["low"] == pytest.approx(0.1 + 0.1 * 0.025) and row["high"] == pytest.approx(0.2 - 0.1 * 0.0125)
    same = found["accuracy", "real", "majority", "least", None]
    assert same["value"] == 0 and same["low"] < 0 < same["high"]
    alone = rows({"accuracy": {"one": {"harmonic": even(0.8, 0.9)} | trivial}})
    assert ("accuracy", "harmonic", contrasts.ANY, "least", None) not in alone


def test_likelihoods_of_one_table():
    raw = signals()["likelihoods"]
    found = contrasts.likelihoods(raw, [0])
    for name in ("harmonic", "overtrained"):
        part = {key[0]: frame for key, frame in raw.filter(generator=name, form="paper").group_by("part")}
        expected = (part["train"]["nll"] / 50).exp().mean() - (part["synthetic"]["nll"] / 50).exp().mean()
        assert found["dlt_paper"][name].value == pytest.approx(expected) and found["dlt_paper"][name].n == 80
    assert found["nll_gap"]["overtrained"].value == pytest.approx(20 / 50, abs=0.1)
    assert contrasts.interval(found["likelihood_auc"]["overtrained"], 0.95)[0] > 0.9
    # Rows that one generator alone was asked about are left out where generators are compared.
    fewer = raw.filter(~((pl.col("generator") == "overtrained") & (pl.col("part") == "train") & (pl.col("id") >= 24)))
    found = contrasts.likelihoods(fewer, [0])["likelihood_auc"]
    assert {name: drawn.n for name, drawn in found.items()} == {"overtrained": 64, "harmonic": 64}


def test_answers_and_utility():
    read = signals()["lle"]
    found = contrasts.answers(read, [0])
    assert (found["harmonic"].value, found["majority"].value) == (1.0, 0.5)  # a missing answer counts as wrong
    wrong = contrasts.answers(read.with_columns(strict=pl.lit(None, pl.String)), [0])
    assert wrong["harmonic"].value == 0
    rng, truth = np.random.default_rng(0), np.array([0, 1] * 20)
    scores = {}
    for release in (0, 1):
        predicted = np.where(rng.random(40) < 0.8, truth, 1 - truth)
        for protocol, said in (("strict", predicted), ("paper", 1 - truth)):
            scores[protocol, "harmonic", release] = utility._utility({"lr": predictions.Prediction(said, None)}, truth, ("a", "b"), 40, 2)
    drawn = contrasts.useful(scores, "mcc", 5)["harmonic"]
    assert drawn.value == pytest.approx(np.mean([s.rows[0]["mcc"] for (p, *_), s in scores.items() if p == "strict"])) and drawn.n == 40
    regression = utility._utility({"lr": predictions.Prediction(truth.astype(float), None)}, truth.astype(float), (), 40, None)
    assert contrasts.useful({("strict", "real", 0): regression}, "mcc", 5) == {}


def test_the_ratio_of_medians():
    upper, lower = RNG.uniform(1, 2, 50), RNG.uniform(3, 4, 50)
    found = contrasts.median_ratio(upper, lower, [0])
    assert found.value == np.median(upper) / np.median(lower) and 0.25 < found.draws.min() < found.draws.max() < 0.67
    assert contrasts.median_ratio(upper, np.zeros(50), [0]) is None
    copies = contrasts.prompts({("harmonic", 0): (np.zeros(50), lower), ("harmonic", 1): (lower, lower), ("b", 0): (upper, 0 * lower)}, [0])
    assert set(copies) == {"harmonic"} and copies["harmonic"].value == 0.5


def test_the_ends_of_the_scale_are_compared_against_common_strangers():
    pair = (np.arange(5.0), np.arange(6.0) - 3)
    found = contrasts.membership({(COPY, 0): pair, (HOLDOUT, 0): (pair[0] * 0, pair[1][3:])}, 3, [0])["membership_auc_unreleased"]
    # members 0..4 against 0, 1, 2: 2.5 + 3 + ... ; all zero against 0, 1, 2: half a tie of three
    assert found[COPY].value == pytest.approx((0.5 + 1.5 + 2.5 + 3 + 3) / 15) and found[HOLDOUT].value == pytest.approx(0.5 / 3)
