"""Cards: what is read from them, and that a mistake is named with its card and key."""

import shutil

import demo_project
import pytest

from catalog.base.errors import CatalogError
from catalog.database import cards

MODEL = "models/demo_base/README.md"
DATA = "data/demo_sums/README.md"
HEADS = "stages/demo_heads/README.md"


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        (HEADS, "task: mech", "tusk: mech", "the key task is missing"),
        (HEADS, "order: 1", "order: 1\nmood: good", "the key mood is unknown"),
        (HEADS, "order: 1", "order: first", "order is 'first' but must be of type int"),
        (HEADS, "order: 1", "order: true", "order is True but must be of type int"),
        (HEADS, "order: 1", "order: 1\norder: 2", "the front matter is not YAML"),
        (HEADS, "name: demo_heads", "name: demo_head", "must be that of its folder"),
        (HEADS, "main_claim: few-heads", "main_claim: few", "main_claim is 'few'"),
        (HEADS, "datasets: [demo_sums]", "datasets: [demo_sum]", "datasets names 'demo_sum'"),
        (HEADS, "datasets: [demo_sums]", "datasets: [1]", "datasets must be a list of texts"),
        (HEADS, "arxiv: ", "arxive: ", "the key paper.arxiv is missing"),
        (HEADS, "---\nname", "name", "must begin with YAML front matter"),
        (DATA, "source: generated", "source: found", "source must be authored, generated or"),
        (DATA, "system: demo_heads", "system: demo", "system 'demo' has no card"),
        (MODEL, "kind: base", "kind: big", "kind is 'big' but must be one of base, lora"),
        (MODEL, "parameters: 24", "parameters: many", "parameters is 'many' but must be of type int or null"),
    ],
)
def test_a_wrong_card_is_named_with_its_key(demo_root, path, old, new, said):
    demo_project.change(demo_root, path, old, new)
    with pytest.raises(CatalogError, match=said) as error:
        cards.load_all(demo_root)
    assert str(error.value).startswith(path)


def test_a_byte_order_mark_is_no_fault_and_another_encoding_is_named(demo_root):
    path = demo_root / HEADS
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert cards.systems(demo_root)[0]["name"] == "demo_heads"
    path.write_bytes(path.read_text(encoding="utf-8-sig").replace("A demo model", "Caf\xe9").encode("latin-1", "replace") + b"\xe9")
    with pytest.raises(CatalogError, match="is not UTF-8"):
        cards.systems(demo_root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\na: 1\n...\nBody\n", "it ends the front matter with `...`; write `---`"),
        ("\n---\na: 1\n---\nBody\n", "its first line is blank"),
        ("---\na: 1\nBody\n", "the second one is missing"),
        ("# Title\n---\na: 1\n---\n", "it has no such line at its beginning"),
        ("", "its first line is blank|it has no such line"),
        ("---\n---\nBody", "must be a mapping of keys to values"),
    ],
)
def test_what_is_wrong_with_the_front_matter_is_said(text, said):
    with pytest.raises(CatalogError, match=f"^card.*{said}"):
        cards.parse_card(text, "card")


def test_blanks_after_the_dashes_are_no_fault():
    assert cards.parse_card("--- \na: 1\n---\t \nBody\n", "card") == ({"a": 1}, "Body\n")


def test_two_systems_cannot_declare_one_metric(demo_root):
    shutil.copy(demo_root / "stages/demo_text/metrics.yaml", demo_root / "stages/demo_heads/metrics.yaml")
    demo_project.change(demo_root, "stages/demo_heads/claims.yaml", "metric: accuracy_drop_rel", "metric: accuracy")
    with pytest.raises(CatalogError, match="both declare letter_rate"):
        cards.systems(demo_root)


def test_a_system_cannot_take_a_name_of_sql(demo_root):
    shutil.move(demo_root / "stages/demo_heads", demo_root / "stages/main")
    demo_project.change(demo_root, "stages/main/README.md", "name: demo_heads", "name: main")
    with pytest.raises(CatalogError, match="means something else in SQL"):
        cards.systems(demo_root)


def test_templates_are_no_systems(demo_root):
    assert (demo_root / "stages/_template/README.md").is_file()
    assert [card["name"] for card in cards.systems(demo_root)] == ["demo_heads", "demo_text"]
