"""Texts that share their beginning in one row: the same losses and gradients as in rows of their own."""

import pytest
import torch
from tiny_training import tiny

from catalog.base.errors import CatalogError
from catalog.training.attention import NAME, float32_gradients
from catalog.training.branches import branch_collate, join
from catalog.training.losses import answer_loss, label_log_probs, tensors_of
from catalog.training.packing import pack


def ending(ids, asked):
    """An ending whose last ``asked`` tokens are learnt."""
    return {"input_ids": ids, "labels": [*[-100] * (len(ids) - asked), *ids[len(ids) - asked :]]}


GROUPS = [
    ([5, 6, 7, 8], [ending([9, 10], 1), ending([11, 12, 13], 2), ending([14], 1)]),
    ([20], [ending([21, 22], 2)]),
    ([30, 31], [ending([32, 33, 34, 35], 1), ending([36, 37], 2)]),
]


def test_a_row_by_hand():
    assert join([5, 6], [ending([7, 8], 1), ending([9], 1)]) == {
        "input_ids": [5, 6, 7, 8, 9],
        "labels": [-100, -100, -100, 8, 9],
        "place": [0, 1, 2, 3, 2],
        "before": [0, 0, 1, 2, 1],
        "ending": [0, 0, 1, 1, 2],
    }


def test_further_numbers_of_a_token_go_along():
    row = join([5, 6], [{**ending([7, 8], 1), "weight": [0.0, 0.5]}, {**ending([9], 1), "weight": [2.0]}])
    assert row["weight"] == [0, 0, 0.0, 0.5, 2.0]
    batch = branch_collate([row])
    assert batch["weight"][batch["labels"] != -100].tolist() == [0.5, 2.0]


def test_the_mask_by_hand():
    batch = branch_collate([join([5, 6], [ending([7, 8], 1), ending([9], 1)]), join([5], [ending([6], 1)])])
    seen = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert batch["attention_mask"][0, 0].int().tolist() == seen
    padded = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert batch["attention_mask"][1, 0].int().tolist() == padded


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_losses_and_gradients_are_those_of_texts_in_rows_of_their_own(attention):
    model = tiny()
    model.set_attn_implementation(attention)
    alone = [
        {"input_ids": [*start, *text["input_ids"]], "labels": [*[-100] * len(start), *text["labels"]]}
        for start, texts in GROUPS
        for text in texts
    ]
    found = {}
    for name, batch in {
        "alone": tensors_of(pack(alone, 0)),
        "shared": branch_collate([join(start, texts) for start, texts in GROUPS]),
    }.items():
        model.zero_grad()
        values, _ = label_log_probs(model, batch)
        labels = batch["labels"][batch["labels"] != -100]
        answer_loss(model, batch).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        found[name] = dict(sorted(zip(labels.tolist(), values.tolist()))), gradient
    assert found["shared"][0] == pytest.approx(found["alone"][0], abs=1e-4)
    assert len(found["alone"][0]) == 9
    torch.testing.assert_close(found["shared"][1], found["alone"][1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("start", "texts"), [([], [ending([1], 1)]), ([1], []), ([1], [{"input_ids": [], "labels": []}])])
def test_what_cannot_share_a_row(start, texts):
    with pytest.raises(CatalogError, match="at least one"):
        join(start, texts)


def test_attention_without_a_mask_is_refused():
    model = tiny()
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(CatalogError, match="flash_attention_2 takes no mask"):
        label_log_probs(model, branch_collate([join([5], [ending([6], 1)])]))


def test_attention_for_bfloat16_on_a_cpu_takes_the_mask():
    """Within `float32_gradients`, as `train` goes about it where a CPU multiplies in bfloat16."""
    model, batch = tiny(), branch_collate([join(start, texts) for start, texts in GROUPS])
    expected = answer_loss(model, batch).item()
    with float32_gradients(model):
        assert model.config._attn_implementation == NAME
        loss = answer_loss(model, batch)
        loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-5)
