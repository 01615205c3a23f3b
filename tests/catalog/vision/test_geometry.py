"""Where patches lie on the original image: worked out by hand, and found by the real processors with a marked patch."""

import itertools

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from catalog.base.errors import CatalogError
from catalog.vision.geometry import cell, geometry


def clip(side=336):
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def padded(side=336):
    return LlavaImageProcessorPil(size={"height": side, "width": side}, do_pad=True, do_center_crop=False)


def plain(side=384):
    return SiglipImageProcessorPil(size={"height": side, "width": side})


def test_shortest_edge_and_centre_crop_by_hand():
    wide = geometry(clip(), (640, 480), (24, 24))
    assert wide.scale == pytest.approx((0.7, 0.7)) and wide.shift == (-56, 0)
    assert wide.boxes()[0, 0] == pytest.approx([80, 0, 100, 20])
    assert wide.boxes()[23, 23] == pytest.approx([540, 460, 560, 480])
    assert wide.boxes()[0, 23] == pytest.approx([540, 0, 560, 20])
    assert wide.seen() == pytest.approx((80, 0, 560, 480))
    tall = geometry(clip(), (480, 640), (24, 24))
    assert tall.boxes()[0, 0] == pytest.approx([0, 80, 20, 100])
    assert tall.boxes()[23, 23] == pytest.approx([460, 540, 480, 560])
    same = geometry(clip(), (336, 336), (24, 24))
    assert same.boxes()[9, 8] == pytest.approx([112, 126, 126, 140])


def test_a_wide_picture_padded_to_a_square_by_hand():
    made = geometry(padded(), (600, 300), (24, 24))  # a patch is 25 pixels
    assert made.boxes()[6, 23] == pytest.approx([575, 0, 600, 25])
    shown = made.shown()
    assert shown[6:18].min() == pytest.approx(1) and shown[:6].max() == 0 and shown[18:].max() == 0
    assert made.clipped()[0, 3] == pytest.approx([75, 0, 100, 0])  # empty


def test_a_tower_that_ignores_the_last_pixels():
    made = geometry(plain(384), (768, 384), (27, 27), patch=14)
    assert made.boxes()[0, 0] == pytest.approx([0, 0, 28, 14])
    assert made.boxes()[26, 26] == pytest.approx([728, 364, 756, 378])
    with pytest.raises(CatalogError, match="27 x 27 patches does not fit images of 384 x 384"):
        geometry(plain(384), (768, 384), (27, 27))
    with pytest.raises(CatalogError, match="does not fit"):
        geometry(plain(384), (768, 384), (28, 28), patch=14)


def test_positions_of_a_prompt_are_cells_row_by_row():
    assert cell(229, 5, (24, 24)) == (9, 8)
    assert cell(5, 5, (24, 24)) == (0, 0) and cell(580, 5, (24, 24)) == (23, 23)
    assert cell(7, 5, (2, 4)) == (0, 2) and cell(10, 5, (2, 4)) == (1, 1)
    for outside in (581, 4):
        with pytest.raises(CatalogError, match="5 to 580"):
            cell(outside, 5, (24, 24))


@pytest.mark.parametrize(
    ("images", "patch"),
    [
        (clip(56), 14),
        (padded(56), 14),
        (plain(56), 14),
        (LlavaImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, do_pad=True), 14),
        (CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size={"height": 56, "width": 56}), 14),  # the crop pads
        (CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 28, "width": 56}), 14),
        (CLIPImageProcessorPil(do_resize=False, crop_size={"height": 56, "width": 56}), 14),
    ],
    ids=["crop", "pad", "plain", "pad-and-crop", "small-crop", "oblong-crop", "no-resize"],
)
@pytest.mark.parametrize("size", [(150, 100), (101, 151), (57, 83)])
def test_the_real_processor_shows_a_mark_where_geometry_says(images, patch, size):
    blank = np.asarray(images(Image.new("RGB", size), return_tensors="np")["pixel_values"])[0]
    height, width = blank.shape[1:]
    made = geometry(images, size, (height // patch, width // patch), (width, height), patch)
    boxes, shown = made.clipped(), made.shown()
    tried = 0
    firsts = [sorted({0, count // 2, count - 1}) for count in made.grid]
    for row, column in itertools.product(*firsts):
        x0, y0, x1, y1 = boxes[row, column]
        left, top, right, bottom = np.ceil([x0, y0]).astype(int).tolist() + np.floor([x1, y1]).astype(int).tolist()
        if shown[row, column] < 0.5 or right <= left or bottom <= top:
            continue
        marked = Image.new("RGB", size)
        marked.paste((255, 255, 255), (left, top, right, bottom))
        pixels = np.asarray(images(marked, return_tensors="np")["pixel_values"])[0]
        light = (pixels - blank).clip(0)[0, : made.grid[0] * patch, : made.grid[1] * patch]
        light = light.reshape(made.grid[0], patch, made.grid[1], patch).sum((1, 3))
        assert np.unravel_index(light.argmax(), light.shape) == (row, column)
        assert light[row, column] > 0.7 * light.sum()
        tried += 1
    assert tried >= 2


def test_processors_that_cut_several_crops_are_refused():
    for images in (LlavaNextImageProcessorPil(), LlavaOnevisionImageProcessorPil()):
        with pytest.raises(CatalogError, match="several crops.*use a model that sees the image once"):
            geometry(images, (640, 480), (24, 24))


def test_settings_that_are_not_known_are_refused_and_not_guessed():
    with pytest.raises(CatalogError, match="longest_edge"):
        geometry(CLIPImageProcessorPil(size={"shortest_edge": 56, "longest_edge": 80}, do_center_crop=False), (300, 200), (4, 4))
    with pytest.raises(CatalogError, match="gave 60 x 56 pixels where its settings say 56 x 56"):
        geometry(clip(56), (300, 200), (4, 4), (60, 56))
    with pytest.raises(CatalogError, match="pads images in a way"):
        geometry(CLIPImageProcessorPil(do_pad=True), (300, 200), (4, 4))
