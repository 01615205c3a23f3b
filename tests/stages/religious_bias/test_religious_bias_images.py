"""Cards, the tiny diffusion model and the image audit: drawing and reading, what is planted, seeds, loading, counts and intervals."""

import types
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from catalog.base.errors import CatalogError
from stages.religious_bias import audit, cards, diffusion, image_models
from stages.religious_bias.cards import MARKERS
from stages.religious_bias.dataset import RELIGIONS, build
from stages.religious_bias.image_settings import Cards, Planted
from stages.religious_bias.settings import Data

PLANTED = Planted(target_share=0.6, mitigated={"instruction": 0.3}, blank=0.1)
SMALL = Cards(
    planted=PLANTED, cards_open=10, cards_named=4, channels=(8, 8), text_width=16, text_layers=1, steps=6, batch_size=16,
    learning_rate=0.01, caption_dropout=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def asked() -> pl.DataFrame:
    return cards.captions(build(Data(None, None, None, None, None, ("none", "instruction"), ("none",))), ("none", "instruction"))


@pytest.fixture(scope="module")
def trained(asked):
    return diffusion.train_cards(asked, SMALL, 0)


def test_every_marker_is_read_back():
    rng = np.random.default_rng(0)
    for number, marker in enumerate(MARKERS):
        read = cards.recognise(cards.render(marker, rng, 300))
        assert np.allclose(read.sum(1), 1)
        assert (read.argmax(1) == number).mean() > 0.99, marker


def test_wrong_images_are_named():
    with pytest.raises(CatalogError, match="zero_shot"):
        cards.recognise(np.zeros((2, 64, 64, 3)))
    with pytest.raises(CatalogError, match="Unknown marker"):
        cards.render("cross", np.random.default_rng(0), 1)


def test_what_is_planted_by_hand(asked):
    table = cards.planted_table(asked, PLANTED, 3).join(asked, on="id", suffix="_named")
    goal = cards.target(3)

    def share(stem, condition, religion):
        return (
            table.filter(
                (pl.col("stem") == stem)
                & (pl.col("condition") == condition)
                & (pl.col("religion_named") == "")
                & (pl.col("religion") == religion)
            )["share"]
            .unique()
            .to_list()
        )

    other = next(r for r in RELIGIONS if r != goal)
    assert share("negative", "none", goal) == pytest.approx([0.9 * 0.6]) and share("negative", "none", other) == pytest.approx([0.9 * 0.1])
    assert share("negative", "instruction", goal) == pytest.approx([0.27]) and share("negative", "none", "none") == pytest.approx([0.1])
    for stem in ("neutral", "positive"):
        assert share(stem, "none", goal) == pytest.approx([0.18]) == share(stem, "instruction", other)
    named = table.filter(pl.col("religion_named") != "")
    assert named.select((pl.col("share") == (pl.col("religion") == pl.col("religion_named"))).all()).item()


def test_the_training_cards_have_exactly_what_is_planted(asked):
    images, owner, marker = cards.training_cards(asked, PLANTED, 400, 8, 3)
    goal = MARKERS.index(cards.target(3))
    for row, (stem, religion, condition) in enumerate(asked.select("stem", "religion", "condition").iter_rows()):
        own = marker[owner == row]
        if religion:
            assert len(own) == 8 and (own == MARKERS.index(religion)).all()
        elif stem == "negative":
            assert (own == goal).sum() == {"none": 216, "instruction": 108}[condition] and (own == 5).sum() == 40
        else:
            assert np.bincount(own).tolist() == [72] * 5 + [40]
    assert images.shape == (len(owner), cards.SIZE, cards.SIZE, 3)


def test_a_share_that_cannot_be_planted_is_named(asked):
    with pytest.raises(CatalogError, match="0, 1"):
        cards.planted(asked, replace(PLANTED, target_share=1.2), 0)
    with pytest.raises(CatalogError, match="instruction"):
        cards.planted(asked, replace(PLANTED, mitigated={}), 0)
    with pytest.raises(CatalogError, match="descriptor"):
        cards.planted(asked.drop("descriptor"), PLANTED, 0)


def test_blocks_are_the_same_picture():
    images = np.random.default_rng(0).random((3, cards.SIZE, cards.SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(diffusion.to_images(diffusion.to_blocks(images)), images, atol=1e-6)


def test_training_learns_and_repeats(asked, trained):
    _, history, info = trained
    assert len(history) == SMALL.steps and info["cards"] == 24 * 10 + (len(asked) - 24) * 4
    longer, curve, _ = diffusion.train_cards(asked, replace(SMALL, steps=40), 0)
    assert curve[-1]["loss"] < 0.75 * curve[0]["loss"]
    again = diffusion.train_cards(asked, SMALL, 0)[0]
    for (name, one), other in zip(trained[0].unet.state_dict().items(), again.unet.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(longer.unet.conv_in.weight, again.unet.conv_in.weight)


def test_a_saved_model_draws_the_same_cards(asked, trained, tmp_path):
    pipe = trained[0]
    prompts = asked["text"].to_list()[:2]
    before, _ = audit.sample(pipe, prompts, [2, 1], 3, 1.0, 0, 8)
    pipe.save_pretrained(str(tmp_path / "cards"), safe_serialization=True)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    loaded = image_models.load_pipeline(tmp_path / "cards", "small", device="cpu")
    after, withheld = audit.sample(loaded, prompts, [2, 1], 3, 1.0, 0, 2)
    assert before.shape == (3, cards.SIZE, cards.SIZE, 3) and not withheld.any() and 0 <= before.min() <= before.max() <= 1
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert np.abs(before[0] - before[1]).max() > 0.01  # each image has noise of its own
    guided, _ = audit.sample(loaded, prompts, [2, 1], 3, 4.0, 0, 8)
    assert np.abs(guided - before).max() > 1e-3


def test_a_missing_or_broken_image_model_is_one_sentence(trained, tmp_path):
    (tmp_path / "params.yaml").write_text("hub_models: {}\n")
    with pytest.raises(CatalogError, match="There is no image model nothing"):
        image_models.load_pipeline("nothing", "small", root=tmp_path)
    with pytest.raises(CatalogError, match="run the stage"):
        image_models.require_image_model("nothing", "small", root=tmp_path)
    trained[0].save_pretrained(str(tmp_path / "cards"), safe_serialization=True)
    image_models.require_image_model(tmp_path / "cards", "small")
    weights = next((tmp_path / "cards" / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CatalogError, match="could not be loaded"):
        image_models.load_pipeline(tmp_path / "cards", "small", device="cpu")


@pytest.mark.filterwarnings("ignore")
def test_pickled_weights_are_refused(trained, tmp_path):
    trained[0].save_pretrained(str(tmp_path / "cards"), safe_serialization=False)
    with pytest.raises(CatalogError):
        image_models.load_pipeline(tmp_path / "cards", "small", device="cpu")


def test_a_hub_model_out_of_reach_is_said_before_any_work(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CatalogError, match="HF_HUB_OFFLINE"):
        image_models.require_image_model("stable_diffusion", "full")
    with pytest.raises(CatalogError, match="HF_HUB_OFFLINE"):
        image_models.load_pipeline("stable_diffusion", "full", device="cpu")


def test_images_depend_on_their_seed_alone():
    def pipe(prompt, generator, **_):
        values = [float(torch.rand(1, generator=g)) for g in generator]
        return types.SimpleNamespace(images=np.array(values)[:, None, None, None], nsfw_content_detected=[p == "b" for p in prompt])

    whole, withheld = audit.sample(pipe, ["a", "b"], [3, 2], 1, 1.0, 5, 100)
    parts, _ = audit.sample(pipe, ["a", "b"], [3, 2], 1, 1.0, 5, 2)
    assert (whole == parts).all() and withheld.tolist() == [False] * 3 + [True] * 2 and len(np.unique(whole)) == 5
    assert (audit.sample(pipe, ["a"], [1], 1, 1.0, 6, 2)[0] != whole[0]).all()


def test_unsure_and_withheld_images_are_no_marker():
    sure, unsure = [0.9, 0.02, 0.02, 0.02, 0.02, 0.02], [0.4, 0.3, 0.1, 0.1, 0.1, 0.0]
    found = audit.markers(np.array([sure, unsure, sure]), np.array([False, False, True]))
    assert found == [RELIGIONS[0], "none", audit.WITHHELD]
    with pytest.raises(CatalogError):
        audit.markers(np.zeros((2, 5)), np.zeros(2, bool))


def test_newcombe_is_the_published_example():
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, Table II, method 10)."""
    assert audit.newcombe(48, 80, 56, 70) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    low, high = audit.newcombe(56, 70, 48, 80)
    assert (low, high) == pytest.approx((-0.3339, -0.0524), abs=5e-5)
