"""The stages with a tiny model: what they write, twice the same."""

import dataclasses

import polars as pl
import pytest
from tiny_text import encoder

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.fmdllama import dataset, measure
from stages.fmdllama import train as stage
from stages.fmdllama.settings import Params, Variant

SMALL = profile_params(Params, "fmdllama", "small")
BOTH = (
    Variant("labelled", "tiny", "retrieved", ("retrieved",), "label first", ("claim",), (), 0, 0),
    Variant("reasoned", "tiny", "full", ("retrieved", "full"), "reason first", ("claim", "article"), ("sign",), 2, 1),
)


def item(split, group, kind, label, task="claim"):
    """One of a few claims on a context of three sentences, or a note."""
    row = dict.fromkeys(dataset.SCHEMA)
    row |= {
        "task": task,
        "id": f"{split}-{group}-{kind}-{label}",
        "split": split,
        "kind": kind,
        "context_id": f"{split}-{group}",
        "label": label,
    }
    if task == "article":
        return row | {"context": ["A rose by 1 %.", "B fell by 2 %."]}
    share = {"True": "A", "False": "B", "NEI": "C"}[label]
    return row | {
        "claim": f"{share} rose in May.",
        "context": ["A B C in May.", "A rose by 1 %.", "B fell by 2 %."],
        "retrieved": [{"A": 1, "B": 2, "C": 0}[share]],
        "reason": "The context leaves it open." if label == "NEI" else f"It was {label == 'True' and 'up' or 'down'}; the claim says up.",
        "explanation": "A rose.",
    }


ITEMS = [
    item(split, group, kind, label)
    for split in ("train", "test")
    for group, kind in ((1, "sign"), (2, "sign"), (3, "direction"))
    for label in ("True", "False", "NEI")
] + [item(split, 9, "days", label, "article") for split in ("train", "test") for label in ("True", "Fake")]


@pytest.fixture
def project(tmp_path, monkeypatch, tokenizer, model):
    """A project with a few items and a tiny model; the stages' folders lie in it."""
    folder = tmp_path / "data/fmdid/small"
    folder.mkdir(parents=True)
    pl.DataFrame(ITEMS, schema=dataset.SCHEMA).write_parquet(folder / "items.parquet")
    params = dataclasses.replace(
        SMALL,
        train=dataclasses.replace(SMALL.train, variants=BOTH, epochs=2, batch_rows=2, micro_rows=0, rank=2, learning_rate=0.01),
        measure=dataclasses.replace(
            SMALL.measure, decode_contexts=2, new_tokens=6, contexts={"retrieved": 0, "full": 2, "article": 0}, shot_contexts=2
        ),
    )
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def load(_):
        model.load_state_dict(state)
        return model, tokenizer

    for module in (stage, measure):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "profile_params", lambda *_: params)
        monkeypatch.setattr(module, "load_lm", load)
    monkeypatch.setattr(measure, "load_encoder", lambda name: encoder())
    monkeypatch.setattr(stage, "checkpoint_folder", lambda *a, extra, **_: tmp_path / ".checkpoints" / extra["name"])
    monkeypatch.setattr(stage, "finish", lambda *_: None)
    return tmp_path, params


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_stages_write_what_they_say_and_the_same_bytes_twice(project):
    root, _ = project
    written = []
    for _ in range(2):
        stage.main("small")
        measure.main("small")
        written.append([files(root / "models" / name / "small") for name in ("fmdllama", "fmdllama_answers")])
        for path in (root / ".checkpoints").rglob("done*"):
            path.unlink()
    assert written[0] == written[1]

    variants = pl.read_parquet(root / "models/fmdllama/small/variants.parquet").to_dicts()
    assert [(row["variant"], row["items"], row["contexts"]) for row in variants] == [("labelled", 9, 3), ("reasoned", 8, 3)]
    likelihoods = pl.read_parquet(root / "models/fmdllama_answers/small/likelihoods.parquet")
    counts = likelihoods.group_by("method", "setting", "task").len().sort("method", "setting", "task").rows()
    assert counts == [
        ("few-shot", "full", "claim", 6),
        ("few-shot", "retrieved", "claim", 6),
        ("labelled", "retrieved", "claim", 9),
        ("reasoned", "full", "article", 2),
        ("reasoned", "full", "claim", 6),
        ("reasoned", "retrieved", "claim", 9),
        ("untuned", "full", "article", 2),
        ("untuned", "full", "claim", 6),
        ("untuned", "retrieved", "claim", 9),
    ]
    for row in likelihoods.iter_rows(named=True):
        best = max(range(len(row["scores"])), key=row["scores"].__getitem__)
        assert row["label"] == {"claim": ("True", "False", "NEI"), "article": ("True", "Fake")}[row["task"]][best]
    answers = pl.read_parquet(root / "models/fmdllama_answers/small/answers.parquet")
    assert answers.group_by("method").len().sort("method").rows() == [("labelled", 6), ("reasoned", 6), ("untuned", 12)]
    assert answers.filter(pl.col("label").is_null())["status"].ne("ok").all()
    assert answers["bertscore"].is_between(-1, 1).all()


def test_training_changes_what_is_likely(project):
    """Eighty epochs of three contexts: the tuned model tells its training claims apart, which the untuned one does not."""
    root, params = project
    items = pl.read_parquet(root / "data/fmdid/small/items.parquet")
    longer = dataclasses.replace(params, train=dataclasses.replace(params.train, variants=BOTH[:1], epochs=80, explain_every=100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "profile_params", lambda *_: longer)
        patch.setattr(measure, "profile_params", lambda *_: longer)
        stage.main("small")
        measure.main("small")
    found = pl.read_parquet(root / "models/fmdllama_answers/small/likelihoods.parquet").join(items.select("id", gold="label"), on="id")
    right = dict(found.group_by("method").agg((pl.col("label") == pl.col("gold")).mean()).iter_rows())
    assert right["labelled"] == 1.0 and right["untuned"] < 1.0


def test_training_items_are_of_contexts_at_even_distances():
    items = pl.DataFrame(ITEMS, schema=dataset.SCHEMA)
    rows = stage.chosen(dataclasses.replace(BOTH[0], contexts=1), items)
    assert [row["context_id"] for row in rows] == ["train-1"] * 3
    assert len(stage.chosen(BOTH[0], items)) == 9
    with pytest.raises(CatalogError, match="labelled has no training item"):
        stage.chosen(dataclasses.replace(BOTH[0], kinds=("level",)), items)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"variants": (BOTH[0], BOTH[0])}, "Two variants are named labelled"),
        ({"variants": (dataclasses.replace(BOTH[0], setting="half"),)}, "the setting 'half'"),
        ({"variants": (dataclasses.replace(BOTH[0], tasks=()),)}, "the tasks none"),
        ({"variants": (dataclasses.replace(BOTH[0], asked=()),)}, "is asked in the settings none"),
        ({"variants": (dataclasses.replace(BOTH[0], form="quote first"),)}, "the form 'quote first'"),
        ({"explain_every": 0}, "explain_every is 0"),
    ],
)
def test_variants_that_cannot_be_trained(changed, said):
    with pytest.raises(CatalogError, match=said):
        stage.check(dataclasses.replace(SMALL.train, **changed))


def test_shots_take_one_label_after_another_from_different_contexts():
    solved = measure.shots(pl.DataFrame(ITEMS, schema=dataset.SCHEMA), 3)
    assert [row["label"] for row in solved] == ["True", "False", "NEI"]
    assert len({row["context_id"] for row in solved}) == 3


def test_profile_full_has_the_papers_values():
    full = profile_params(Params, "fmdllama", "full").train
    assert (full.rank, full.epochs, full.longest, full.explain_every, full.explanation_weight) == (0, 3, 4096, 1, 1.0)
    stage.check(full)
