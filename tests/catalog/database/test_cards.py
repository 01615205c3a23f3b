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
        (HEADS, "reported: base_acc", "reported: acc", r"claims\[solves-task\].reported is 'acc'"),
        (HEADS, "id: base_acc", "id: top_drop", "reported has the id 'top_drop' twice"),
        (HEADS, "id: late-layers", "id: few-heads", "claims has the id 'few-heads' twice"),
        (HEADS, "metric: share", "metric: shear", r"claims\[late-layers\].metric is 'shear'"),
        (HEADS, "trust: paper,", "trust: rumour,", r"reported\[base_acc\].trust is 'rumour'"),
        (HEADS, "value: 0.9", "value: high", r"reported\[base_acc\].value is 'high'"),
        (HEADS, "baseline: SELECT 0.1", "baseline: ''", r"claims\[solves-task\].baseline is empty"),
        (HEADS, "layer: Layer, from 0.", "layer: 0", "tables.heads.columns.layer must be a text"),
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


def test_a_system_cannot_take_a_name_of_sql(demo_root):
    shutil.move(demo_root / "stages/demo_heads", demo_root / "stages/main")
    demo_project.change(demo_root, "stages/main/README.md", "name: demo_heads", "name: main")
    with pytest.raises(CatalogError, match="means something else in SQL"):
        cards.systems(demo_root)


def test_templates_are_no_systems(demo_root):
    assert (demo_root / "stages/_template/README.md").is_file()
    assert [card["name"] for card in cards.systems(demo_root)] == ["demo_heads", "demo_text"]
