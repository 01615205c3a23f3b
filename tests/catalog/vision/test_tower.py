"""The image tower: which pixels a place comes from, its numbers, and the file of weights."""

import pytest
import torch
from tiny_llava import tower

from catalog.base.errors import CatalogError
from catalog.vision.tower import LITE0, LiteTower, LiteTowerConfig, lite0, places

pytestmark = pytest.mark.usefixtures("one_thread")


def test_lite0_has_49_places_of_932_numbers():
    config = LiteTowerConfig(**LITE0)
    assert config.hidden_size == 932 == 4 * 112 + 320 + 4 * 40 + 4
    with torch.device("meta"):
        made = LiteTower(config)
        assert made(torch.zeros(2, 3, 224, 224)).hidden_states[0].shape == (2, 49, 932)
    assert sum(parameter.numel() for parameter in made.parameters()) == 2_958_848  # 4.65 million of the paper less head and classifier


def test_places_are_row_by_row_and_say_where_they_are():
    where = places(3, 2)
    assert torch.allclose(where[0, 0], torch.tensor([-0.5, -2 / 3, 1 / 3, 0.25 - 4 / 9]))  # left, top
    assert torch.allclose(where[2, 1], torch.tensor([0.5, 2 / 3, 1 / 3, 0.25 - 4 / 9]))  # right, bottom
    made = tower()
    features = made(torch.randn(1, 3, 96, 64)).hidden_states[0]
    assert torch.allclose(features[0, :, -4:], where.flatten(0, 1) * 2)


@torch.no_grad()
def test_the_parts_of_a_place_are_the_cells_that_lie_in_it():
    made = tower()
    pixels = torch.randn(1, 3, 64, 96)
    x = made.embeddings(pixels)
    seen = []
    for block in made.encoder.blocks:
        x = block(x)
        seen.append(x)
    fine, middle, coarse = seen[4], seen[10], seen[15]
    assert (fine.shape[-1], middle.shape[-1], coarse.shape[-1]) == (12, 6, 3)
    cell = made.cells(pixels)[0, 1, 2]  # second row, last column
    width = middle.shape[1]
    assert torch.allclose(cell[: 4 * width].view(width, 4), middle[0, :, 2:4, 4:6].flatten(1))
    assert torch.allclose(cell[4 * width : 4 * width + coarse.shape[1]], coarse[0, :, 1, 2])
    assert torch.allclose(cell[4 * width + coarse.shape[1] :: 4], fine[0, :, 4:6, 8:10].mean((1, 2)))


@torch.no_grad()
def test_standardise_over_batches():
    made = tower()
    pixels = torch.randn(5, 3, 64, 64)
    made.standardise([pixels[:2], pixels[2:]])
    rows = made(pixels).hidden_states[0].flatten(0, 1)[:, :-4]
    varied = made.deviation > 2e-3  # elsewhere the network is silent
    assert varied.sum() > 20
    assert rows.mean(0).abs().max() < 1e-3
    assert (rows[:, varied].std(0, correction=0) - 1).abs().max() < 1e-2


def test_only_a_file_of_these_weights_is_read(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"no weights")
    with pytest.raises(CatalogError, match="holds no weights"):
        lite0(tmp_path / "a.pth")
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "b.pth")
    with pytest.raises(CatalogError, match="is no EfficientNet-Lite0"):
        lite0(tmp_path / "b.pth")


def test_every_tensor_of_the_file_has_its_place(tmp_path):
    config = LiteTowerConfig(**LITE0)
    torch.manual_seed(0)
    other = LiteTower(config)
    theirs = {"_conv_stem.weight": other.embeddings.convolution.weight.detach(), **norm("_bn0", other.embeddings.batchnorm)}
    for number, block in enumerate(other.encoder.blocks):
        there = f"_blocks.{number}"
        if number:
            theirs[f"{there}._expand_conv.weight"] = block.expansion.expand_conv.weight.detach()
            theirs |= norm(f"{there}._bn0", block.expansion.expand_bn)
        theirs[f"{there}._depthwise_conv.weight"] = block.depthwise_conv.depthwise_conv.weight.detach()
        theirs[f"{there}._project_conv.weight"] = block.projection.project_conv.weight.detach()
        theirs |= norm(f"{there}._bn1", block.depthwise_conv.depthwise_norm) | norm(f"{there}._bn2", block.projection.project_bn)
    torch.save({**theirs, "_fc.bias": torch.zeros(1000)}, tmp_path / "c.pth")
    read = lite0(tmp_path / "c.pth")
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in read.state_dict().items())
    assert len(theirs) == len(other.state_dict()) - 2  # all but mean and deviation


def norm(name, module):
    return {f"{name}.{part}": tensor.detach().clone() for part, tensor in module.state_dict().items()}
