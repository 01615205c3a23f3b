"""The evaluation: intervals over contexts, scores and differences by hand, probes and near duplicates."""

import numpy as np
import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.report.intervals import clustered_share
from stages.fmdllama import clusters, contrasts, corpus, dataset, leakage, measure, rivals, scores, tables
from stages.fmdllama.answers import parse
from stages.fmdllama.prompts import LABELS, answer

ONES = np.ones(4)
TWO = np.array([0, 0, 1, 1])  # two contexts of two items


# Intervals over contexts


def test_whole_contexts_are_resampled():
    """One context all right, one all wrong: resamples of two contexts have 0, 1/2 and 1, a quarter of them each end."""
    assert clusters.ratio(TWO, np.array([1, 1, 0, 0.0]), ONES) == (0.5, 0.0, 1.0)
    # The same share within each context: however contexts are drawn, it is a half, and so is every resample.
    assert clusters.ratio(TWO, np.array([1, 0, 1, 0.0]), ONES) == (0.5, *clustered_share([1, 1], [2, 2]))


def test_a_share_without_a_miss_still_has_an_interval():
    assert clusters.ratio(TWO, ONES, ONES) == (1.0, *clustered_share([2, 2], [2, 2]))
    value, low, high = clusters.ratio(np.repeat(np.arange(100), 3), np.ones(300), np.ones(300))
    assert (value, high) == (1.0, 1.0) and 0.98 < low < 0.99  # Wilson at 300: 300 / (300 + 1.96²) = .9874
    assert clusters.ratio(TWO, ONES * 0, ONES * 0) is None
    assert clusters.ratio(np.zeros(2, int), np.array([1.0, 0.0]), np.ones(2)) == (0.5, 0.0, 1.0)  # one context says nothing of others


def test_contexts_without_an_item_that_counts_are_no_contexts():
    part, whole = np.array([1, 0, 0, 0.0]), np.array([1, 1, 0, 0.0])
    assert clusters.ratio(np.array([0, 1, 2, 3]), part, whole) == clusters.ratio(np.array([0, 1]), part[:2], whole[:2])


def test_a_difference_is_paired():
    """One method has one item more in each context: the difference does not vary, though both shares do."""
    one, other = np.array([1, 1, 1, 0.0]), np.array([1, 0, 0, 0.0])
    assert clusters.ratio(TWO, one, ONES)[1:] == (0.5, 1.0)
    assert clusters.difference(TWO, (one, ONES), (other, ONES)) == (0.5, 0.5, 0.5)
    assert clusters.difference(TWO, (one, ONES), (other, ONES * 0)) is None


def test_a_difference_of_shares_of_other_items():
    """3 of 4 less 1 of 2, where one of two contexts has none that counts for the second: half of the resamples do without it."""
    value, low, high = clusters.difference(TWO, (np.array([1, 1, 1, 0.0]), ONES), (np.array([1, 0, 0, 0.0]), np.array([1, 1, 0, 0.0])))
    assert value == 0.25 and (low, high) == (0.25, 0.5)  # drawn: both contexts, .75 - .5, or the first twice, 1 - .5


def test_an_interval_at_a_higher_level_is_wider():
    rng = np.random.default_rng(3)
    context, part = np.repeat(np.arange(60), 2), rng.integers(0, 2, 120).astype(float)
    plain, wide = (clusters.ratio(context, part, np.ones(120), level) for level in (0.95, 0.995))
    assert wide[1] < plain[1] < plain[0] < plain[2] < wide[2]
    half = 1.96 * np.sqrt(part.var() / 120)  # items are independent here
    assert plain[2] - plain[1] == pytest.approx(2 * half, rel=0.25)


def test_macro_f1_is_that_of_the_scores():
    gold = np.array(["False", "False", "True", "True", "NEI", "NEI"], object)
    said = np.array(["False", None, "True", "True", "False", None], object)
    labels = ["False", "True", "NEI"]
    value, low, high = clusters.macro_f1(np.arange(6), gold, said, labels)
    assert value == pytest.approx(0.5) and low <= value <= high
    assert value == pytest.approx(scores.classification(gold.tolist(), said.tolist(), labels)["macro_f1"])


# Scores and differences by hand

KINDS = ("sign", "sign", "level")


def row(split, group, kind, label, **rest):
    blank = dict.fromkeys(dataset.SCHEMA)
    return (
        blank
        | {
            "task": "claim",
            "id": f"{split}-{group}-{kind}-0-{label}",
            "split": split,
            "kind": kind,
            "polarity": "positive",
            "template": "t",
            "assets": ["A"],
            "month": "2001-05",
            "context_id": f"{split}-{group}",
            "claim": f"{label} rose",
            "context": ["Lead.", "A rose by 1 %.", "B fell."],
            "deciding": [] if label == "NEI" else [1],
            "retrieved": [1],
            "label": label,
            "explanation": "A rose by 1 %. That bears the claim out.",
        }
        | rest
    )


FEW = pl.DataFrame(
    [row("test", group, kind, label) for group, kind in enumerate(KINDS) for label in LABELS["claim"]]
    + [
        row("test", "a", "days", label, task="article", claim=None, retrieved=None, explanation=None, id=f"note-{label}")
        for label in LABELS["article"]
    ],
    schema=dataset.SCHEMA,
)
VARIANTS = pl.DataFrame({"variant": ["tuned", "late"], "model": ["tiny", "tiny"]})
MAIN = {"retrieved": "tuned", "full": None, "article": "tuned"}
# Nine claims in order, True, False, NEI on three contexts.
SAID = {
    "tuned": ["True", "True", "NEI", "True", "False", "NEI", "NEI", "False", "True"],
    "untuned": ["True"] * 9,
    "late": ["True", "False", "True"] * 3,
}


def likelihoods(said=SAID, setting="retrieved", model="tiny"):
    ids = FEW.filter(task="claim")["id"].to_list()
    rows = [
        {
            "method": method,
            "model": model,
            "setting": setting,
            "task": "claim",
            "id": name,
            "label": label,
            "scores": [0.0] * 3,
            "reason": "",
        }
        for method, labels in said.items()
        for name, label in zip(ids, labels)
    ]
    return pl.DataFrame(rows, schema=measure.LIKELIHOODS)


def written(texts, method="tuned", setting="retrieved"):
    rows = []
    for name, text in texts.items():
        found = parse(text)
        rows.append({"method": method, "model": "tiny", "setting": setting, "task": "claim", "id": name, "text": text, "bertscore": 0.5})
        rows[-1] |= {"label": found.label, "status": found.status, "explanation": found.explanation}
    return pl.DataFrame(rows, schema=measure.ANSWERS)


NO_ANSWERS = pl.DataFrame(schema=measure.ANSWERS)
NO_RULES = pl.DataFrame(schema=rivals.LABELLED)
NO_COPIES = pl.DataFrame(schema=rivals.EXPLAINED)


def made(answers=NO_ANSWERS, rules=NO_RULES, copies=NO_COPIES, said=None):
    said = tables.predictions(FEW, rules, likelihoods() if said is None else said, answers, VARIANTS, MAIN)
    explained, tested = tables.explanations(FEW, answers, copies), tables.test_items(FEW)
    return said, explained, tested, *tables.signals(said, explained, tested)


def score_of(table, method, kind="all", **rest):
    return table.filter(method=method, kind=kind, **rest).row(0, named=True)


def test_scores_of_labels_by_hand():
    said, _, tested, found, labels = made()
    table = tables.score_table(found, labels, tested)
    tuned = score_of(table, "tuned")
    # Wrong: False called True, True called NEI, NEI called True.
    assert (tuned["n"], tuned["contexts"], tuned["role"]) == (9, 3, "main")
    assert tuned["accuracy"] == pytest.approx(6 / 9) and tuned["unreadable"] == 0
    assert tuned["nei_rest"] == pytest.approx(7 / 9)
    # Of the six True and False claims five were called either, four of them rightly.
    assert (tuned["true_false_n"], tuned["true_false"]) == (5, 0.8)
    # F1: True 2 right of 4 said and 3 gold, False 2 of 2 and 3, NEI 2 of 3 and 3.
    assert tuned["macro_f1"] == pytest.approx((4 / 7 + 4 / 5 + 4 / 6) / 3)
    assert [score_of(table, "tuned", kind)["accuracy"] for kind in ("sign", "signs", "level", "numbers")] == pytest.approx(
        [5 / 6, 5 / 6, 1 / 3, 1 / 3]
    )
    assert set(table.filter(method="tuned")["kind"]) == {"all", "sign", "signs", "level", "numbers"}
    never = score_of(table, "untuned")
    assert (never["role"], never["accuracy"], never["nei_rest"], never["true_false"]) == ("untuned", 1 / 3, 2 / 3, 0.5)
    assert (never["accuracy_low"], never["accuracy_high"]) == pytest.approx(
        clustered_share([1] * 3, [3] * 3)
    )  # one in three in each context
    assert score_of(table, "late")["role"] == "other"
    assert said.columns == list(tables.COLUMNS) and said["status"].null_count() == len(said)


def test_an_unreadable_answer_is_wrong_and_counted():
    ids = FEW.filter(task="claim")["id"].to_list()
    texts = {
        ids[0]: answer({"task": "claim", "label": "True", "explanation": "A rose by 1 %."}, explained=True),
        ids[1]: answer({"task": "claim", "label": "True", "explanation": "A rose by 1 %. That bears the claim out."}, explained=True),
        ids[2]: "I cannot say.",
    }
    _, explained, tested, found, labels = made(written(texts))
    table = tables.score_table(found, labels, tested)
    own = score_of(table, "tuned", decoding="written")
    assert (own["n"], own["contexts"], own["accuracy"], own["unreadable"], own["nei_rest"]) == (3, 1, 1 / 3, 1 / 3, 2 / 3)
    assert (own["true_false_n"], own["true_false"]) == (2, 0.5)
    # ROUGE-1: 4 of 9 words of the reference (precision 1, recall 4/9: F 8/13), all, none.
    assert own["rouge1"] == pytest.approx((8 / 13 + 1 + 0) / 3)
    assert own["empty"] == pytest.approx(1 / 3) and own["words"] == pytest.approx((5 + 10) / 3) and own["bertscore"] == 0.5
    assert own["challenge"] == pytest.approx(scores.challenge(1 / 3, own["rouge1"]))
    assert own["macro_f1_union"] == pytest.approx(3 / 4 * own["macro_f1"])
    table = tables.answer_table(made(written(texts))[0], written(texts), explained)
    assert table["status"].to_list() == ["ok", "ok", "no prediction"] and table["text"].to_list() == list(texts.values())
    assert table["rouge1"].to_list() == pytest.approx([8 / 13, 1, 0]) and table["gold_explanation"].null_count() == 0


def test_an_unreadable_answer_is_right_in_nothing():
    gold = np.array(["True", "NEI", "NEI", "False"], object)
    said = np.array([None, None, "NEI", None], object)  # the last one was not asked about
    found = tables.of_labels(gold, said, np.array([1, 1, 1, 0.0]), "claim")
    parts = {name: part.tolist() for name, (part, _) in found.items()}
    assert parts == {"accuracy": [0, 0, 1, 0], "unreadable": [1, 1, 0, 0], "nei_rest": [0, 0, 1, 0], "true_false": [0, 0, 0, 0]}
    assert [whole.tolist() for _, whole in found.values()] == [[1, 1, 1, 0]] * 3 + [[0, 0, 0, 0]]


def test_answers_on_notes_are_kept_once_whatever_the_setting():
    def on_notes(setting, label):
        rows = [
            {"method": "untuned", "model": "tiny", "setting": setting, "task": "article", "id": f"note-{gold}", "label": label}
            for gold in LABELS["article"]
        ]
        return pl.DataFrame([one | {"scores": [0.0, 0.0]} for one in rows], schema=measure.LIKELIHOODS)

    said = tables.predictions(
        FEW, NO_RULES, pl.concat([on_notes("retrieved", "True"), on_notes("full", "Fake")]), NO_ANSWERS, VARIANTS, MAIN
    )
    assert said["setting"].to_list() == ["full"] * 2 and said["label"].to_list() == ["True"] * 2 and set(said["role"]) == {"untuned"}


def test_answers_to_other_items_are_refused():
    strange = likelihoods().with_columns(id=pl.lit("test-7"))
    with pytest.raises(CatalogError, match="test-7, which is no test item"):
        tables.predictions(FEW, NO_RULES, strange, NO_ANSWERS, VARIANTS, MAIN)


def test_the_variants_that_claims_are_about_must_exist():
    tables.check_main(MAIN, VARIANTS)
    with pytest.raises(CatalogError, match="names the variant new; those trained are tuned, late"):
        tables.check_main(MAIN | {"full": "new"}, VARIANTS)
    with pytest.raises(CatalogError, match="has the keys retrieved; they must be retrieved, full, article"):
        tables.check_main({"retrieved": "tuned"}, VARIANTS)


def test_differences_by_hand():
    ids = FEW.filter(task="claim")["id"].to_list()
    rules = pl.DataFrame(
        [
            {"task": "claim", "id": name, "setting": setting, "method": method, "label": label}
            for setting, method, label in (
                ("retrieved", rivals.WORDS, "True"),
                ("full", rivals.WORDS, "NEI"),
                ("full", rivals.MAJORITY, "True"),
                ("retrieved", rivals.MAJORITY, "True"),
            )
            for name in ids
        ],
        schema=rivals.LABELLED,
    )
    _, _, tested, found, _ = made(rules=rules)
    table = contrasts.table(found, ["tuned", "late"], tested)
    own = table.filter(method="tuned", statistic="accuracy", kind="all").sort("other", "other_setting")
    # A linear model of either setting, the majority of this one, and the other variant.
    assert list(own.select("other", "other_setting", "comparisons").iter_rows()) == [
        (rivals.WORDS, "full", 2),
        (rivals.WORDS, "retrieved", 2),
        ("late", "retrieved", 1),
        (rivals.MAJORITY, "retrieved", 1),
        ("untuned", "retrieved", 1),
    ]
    # By context the gain is 1/3, 2/3, 0: the mean 1/3; three draws of three contexts have between 0 (1 in 27) and 2/3.
    own = own.filter(pl.col("other") != "late")
    assert own["value"].to_list() == pytest.approx([1 / 3] * 4) and own["n"].to_list() == [9] * 4 and own["contexts"].to_list() == [3] * 4
    assert own["low"].to_list() == pytest.approx([0.0] * 4) and own["high"].to_list() == pytest.approx([2 / 3] * 4)
    assert (own["joint_low"] <= own["low"]).all() and (own["joint_high"] >= own["high"]).all()
    late = table.filter(method="late", other="tuned", kind="all").rows_by_key("statistic", named=True, unique=True)
    assert late["accuracy"]["value"] == pytest.approx(6 / 9 - 6 / 9)
    assert late["true_false"]["value"] == pytest.approx(1 - 0.8) and late["true_false"]["n"] == 6
    assert late["nei_rest"]["value"] == pytest.approx(6 / 9 - 7 / 9)


def test_intervals_of_several_comparisons_are_wider():
    rng = np.random.default_rng(5)
    test = tables.Items({}, np.full(60, "True"), np.full(60, "sign"), np.arange(60), {"all": np.ones(60, bool)})
    both = tuple((rng.integers(0, 2, 60).astype(float), np.ones(60)) for _ in range(2))
    one, other = (tables.Method("claim", "full", name, None, "none", "classifier") for name in "ab")
    ((*_, low, high, joint_low, joint_high, count, n, contexts),) = contrasts.differences(one, other, "accuracy", both, test, 5)
    assert (count, n, contexts) == (5, 60, 60) and joint_low < low < high < joint_high
    found = clusters.difference(test.context, *both, 1 - 0.05 / 5)
    assert (joint_low, joint_high) == found[1:]
    ((*_, low, high, joint_low, joint_high, _, _, _),) = contrasts.differences(one, other, "accuracy", both, test, 1)
    assert (joint_low, joint_high) == (low, high)


def test_differences_are_taken_on_items_that_both_answered():
    """Written answers on one context against copies on all three: the copies of the two others do not count."""
    ids = FEW.filter(task="claim")["id"].to_list()
    gold = "A rose by 1 %. That bears the claim out."
    answers = written(dict.fromkeys(ids[:3], answer({"task": "claim", "label": "True", "explanation": gold}, explained=True)))
    rows = [
        {"task": "claim", "id": name, "setting": "retrieved", "method": rivals.COPY, "explanation": gold if i < 3 else ""}
        for i, name in enumerate(ids)
    ]
    _, _, tested, found, _ = made(answers, copies=pl.DataFrame(rows, schema=rivals.EXPLAINED))
    own = contrasts.table(found, ["tuned"], tested).filter(statistic="rouge1", other=rivals.COPY, kind="all").row(0, named=True)
    assert (own["value"], own["n"], own["contexts"]) == (0.0, 3, 1)


# Leakage and duplicates


def planted(leak):
    """Triples of claims whose words have nothing to do with their label, or, with a leak, whose contexts name it."""
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 40), ("test", 20)):
        for group in range(count):
            words = rng.choice(["alpha", "beta", "gamma", "delta"], 3)
            for label in LABELS["claim"]:
                context = ["Lead.", f"{words[0]} {words[1]}.", f"tell {label}." if leak else f"{words[2]}."]
                claim, kind = f"{words[0]} rose", "sign"
                rows.append(row(split, group, kind, label, claim=claim, context=context))
            note = f"{words[0]} closed at 12.50 in May."
            rows += [
                row(split, f"a{group}", "days", label, task="article", claim=None, retrieved=None, context=[note])
                for label in LABELS["article"]
            ]
    return pl.DataFrame(rows, schema=dataset.SCHEMA)


def test_a_planted_leak_is_found_and_nothing_else_is():
    found = leakage.table(planted(False))
    # The claims of a triple have the same words: whatever a probe says, it is right once in three.
    assert found.filter(task="claim")["accuracy"].to_list() == pytest.approx([1 / 3] * 10)
    assert found.filter(task="article")["accuracy"].to_list() == pytest.approx([1 / 2] * 2)
    leak = leakage.table(planted(True)).filter(task="claim").rows_by_key(["probe", "analyzer"], named=True, unique=True)
    assert leak["context", "word"]["accuracy"] == leak["last words", "char_wb"]["accuracy"] == 1.0
    assert leak["claim", "word"]["accuracy"] == pytest.approx(1 / 3)
    assert leak["context", "word"]["joint_low"] <= leak["context", "word"]["low"] < 1 and leak["context", "word"]["n"] == 60


def test_figures_of_a_note_are_masked():
    item = {"context": ["It went from $1,204.50 to $23.80, in percent -5.9.", "There were 21 sessions."]}
    assert leakage.masked(item) == "It went from $figure to $figure, in percent figure. There were figure sessions."


def test_near_duplicates_by_hand_and_by_brute_force():
    one = [["a", "b", "c", "d", "e"], ["a", "a", "b"], []]
    other = [["a", "b", "c", "d"], ["e", "d", "c", "b", "a"], ["b", "a"], ["x"]]
    # 4/5 and 5/5 with the first, 1 with the second (words count once); an empty text is near to none.
    assert corpus.near_pairs(one, other) == 3
    rng = np.random.default_rng(1)
    texts = [[str(n) for n in rng.integers(0, 6, 5)] for _ in range(60)]
    brute = sum(len(set(a) & set(b)) >= 0.8 * len(set(a) | set(b)) for a in texts[:30] for b in texts[30:])
    assert corpus.near_pairs(texts[:30], texts[30:]) == brute > 0


def test_the_table_of_the_data_counts_and_finds_items_of_two_splits():
    same = row("train", 5, "sign", "True", id="copy", claim="TRUE rose!", context=["Lead.", "A rose by 1 %"])
    table = corpus.table(pl.concat([FEW, pl.DataFrame([same], schema=dataset.SCHEMA)])).rows_by_key(
        ["task", "split"], named=True, unique=True
    )
    test, train, notes = table["claim", "test"], table["claim", "train"], table["article", "test"]
    assert (test["rows"], test["contexts"], test["true"], test["false"], test["nei"], test["fake"]) == (9, 3, 3, 3, 3, None)
    assert (notes["true"], notes["fake"], notes["nei"], notes["claim_words"]) == (1, 1, None, None)
    assert (test["claim_words"], test["context_words"], test["target_words"], test["target_words_max"]) == (2.0, 8.0, 10.0, 10)
    assert (test["same_elsewhere"], train["same_elsewhere"], test["near_elsewhere"], train["near_elsewhere"]) == (3, 1, 3, 3)
