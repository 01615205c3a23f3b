"""claims.yaml: a mistake is named with its file and key."""

import demo_project
import pytest

from catalog.base.errors import CatalogError
from catalog.database import cards

CLAIMS = "stages/demo_heads/claims.yaml"
WANTED = "wanted: {small: top heads, full: top heads}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("reported: base_acc", "reported: acc", r"claims.solves-task.reported names 'acc'"),
        ("id: base_acc", "id: top_drop", "reported has the id 'top_drop' twice"),
        ("  late-layers:", "  few-heads:", "cannot be read, correct it"),
        ("metric: count", "metric: shear", r"claims.late-layers.metric is 'shear', which no metrics.yaml declares"),
        ("trust: paper, note", "trust: rumour, note", r"reported\[base_acc\].trust is 'rumour'"),
        ("value: 0.9", "value: high", r"reported\[base_acc\].value is 'high' but must be of type number"),
        ("value: 0.9", "value: .inf", r"reported\[base_acc\].value is inf"),
        ("by: project", "by: nobody", "claims.late-layers.by is 'nobody'"),
        ("by: project", "by: paper", "claims.late-layers needs the key `where`"),
        ('    where: "§3"\n', "", "claims.few-heads needs the key `where`"),
        ("kind: control", "kind: baseline", "claims.few-heads.against.kind is 'baseline' but must be one of trivial, control"),
        ("above: 0.25,", "above: 0.25, below: 1,", r"claims.few-heads.tests\[1\] needs exactly one of above, below"),
        ("above: 0.25,", "", r"claims.few-heads.tests\[1\] needs exactly one of"),
        ("above: 0.25,", "above: true,", r"claims.few-heads.tests\[1\].above is True but must be of type number"),
        ("above: 0.25,", "between: [0.5, 0.25],", "between must be two numbers, the lower first"),
        (', bound_from: "ours: half of the printed drop"', "", r"has the bound 0.25; say where it comes from"),
        ("ours: half of the printed drop", "because", "must begin with `paper` or with `ours: `"),
        ("effect: ours, above: 0.25", "above: 0.25", "needs either an effect or a share"),
        ("effect: ours, above: 0.25", "share: SELECT 1, above: 0.25", "a share of resamples, which has no bound of its own"),
        ("    text: Removing few heads costs most of the accuracy.\n", "", "the key claims.few-heads.text is missing"),
        ("text: Removing few heads costs most of the accuracy.", "text: ''", "claims.few-heads.text is empty"),
        ("    exact: true", "    exakt: true", "the key claims.late-layers.exakt is unknown"),
        (WANTED, "wanted: {small: top heads}", "parameters.wanted must give a value for each of"),
        ("drops: FROM results WHERE metric = 'accuracy_drop_rel'", "drops: 3", "views.drops must be a SELECT"),
        (WANTED, "wanted: {small: [1], full: a}", r"parameters.wanted.small is \[1\] but must be a text, a finite number"),
        (WANTED, "wanted: {small: a, full: {b: 1}}", "parameters.wanted.full is {'b': 1} but must be"),
        (WANTED, "wanted: {small: 2026-01-02, full: a}", "parameters.wanted.small is datetime.date.* but must be"),
        (WANTED, "wanted: {small: !!binary aGk=, full: a}", "parameters.wanted.small is b'hi' but must be"),
        (WANTED, "wanted: {small: .nan, full: a}", "parameters.wanted.small is nan but must be"),
        (WANTED, "wanted: {small: " + "9" * 400 + ", full: a}", "parameters.wanted.small is 9+... but must be"),
        (WANTED, "1: {small: a, full: a}", "parameters.1 cannot name a parameter"),
        (WANTED, "profile: {small: a, full: a}", "parameters.profile cannot name a parameter"),
        ("above: 0.25,", "above: " + "9" * 400 + ",", r"tests\[1\].above is 9+... but must be of type number"),
        ("above: 0.25,", "between: [0, " + "9" * 400 + "],", "between must be two numbers"),
        ("  drops: FROM", "  results: FROM", "views.results cannot name a view"),
        ("  drops: FROM", "  metrics: FROM", "views.metrics cannot name a view"),
        ("  drops: FROM", "  heads: FROM", "views.heads has the name of a table of tables.yaml"),
        ("  drops: FROM", "  1: FROM", "views.1 cannot name a view"),
        ("  late-layers:", "  3:", "claims.3 must have a text for its name"),
        ("claims:\n", "claim:\n", "the key claims is missing"),
    ],
)
def test_a_wrong_entry_is_named_with_its_key(demo_root, old, new, said):
    demo_project.change(demo_root, CLAIMS, old, new)
    with pytest.raises(CatalogError, match=said) as error:
        cards.load_all(demo_root)
    assert CLAIMS in str(error.value) and "\n" not in str(error.value)


def test_a_zero_bound_needs_no_source(demo_root):
    demo_project.change(demo_root, CLAIMS, 'above: 0.25, bound_from: "ours: half of the printed drop"', "above: 0")
    assert cards.systems(demo_root)[0]["ledger"]["claims"][0]["tests"][0]["bound"] == 0.0


def test_a_missing_ledger_says_what_to_write(demo_root):
    (demo_root / CLAIMS).unlink()
    with pytest.raises(CatalogError, match="does not exist; write what the paper claims"):
        cards.load_all(demo_root)


def test_a_main_claim_is_one_of_the_paper(demo_root):
    demo_project.change(demo_root, "stages/demo_heads/README.md", "main_claim: few-heads", "main_claim: late-layers")
    with pytest.raises(CatalogError, match="no claim by the paper"):
        cards.load_all(demo_root)


def test_a_folder_or_another_encoding_is_one_sentence(demo_root):
    path = demo_root / CLAIMS
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert cards.systems(demo_root)[0]["ledger"]["claims"]
    path.unlink()
    path.mkdir()
    with pytest.raises(CatalogError, match="cannot be read, correct it"):
        cards.load_all(demo_root)
