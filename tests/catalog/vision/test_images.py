"""Image files as people have them: turned, transparent, sixteen bits deep, in other colours, broken, enormous."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from catalog.base.errors import CatalogError
from catalog.vision.images import flatten, open_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(width=64, height=48):
    """Red on the left, blue on the right."""
    made = Image.new("RGB", (width, height), RED)
    made.paste(BLUE, (width // 2, 0, width, height))
    return made


def near(pixel, colour, by=12):
    return all(abs(a - b) <= by for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "webp"])
def test_orientation_is_applied_exactly_once(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: what is stored at the left is at the top
    halves(640, 480).save(tmp_path / f"a.{kind}", exif=exif, quality=95)
    image = open_image(tmp_path / f"a.{kind}")
    assert image.size == (480, 640)
    assert near(image.getpixel((240, 100)), RED) and near(image.getpixel((240, 540)), BLUE)
    assert 0x0112 not in image.getexif() and "exif" not in image.info
    again = ImageOps.exif_transpose(image)
    assert again.size == image.size and np.array_equal(again, image)
    image.save(tmp_path / "b.png")
    assert open_image(tmp_path / "b.png").size == (480, 640)


@pytest.mark.parametrize("kind", ["png", "tiff", "pgm"])
def test_sixteen_bit_grey_is_divided_by_257(tmp_path, kind):
    deep = np.array([[0, 128, 256, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{kind}")
    image = open_image(tmp_path / f"a.{kind}")
    assert np.asarray(image)[0].tolist() == [[x] * 3 for x in (0, 0, 1, 128, 255)]


def test_grey_palette_and_one_bit_images_show_their_colours(tmp_path):
    Image.fromarray(np.array([[0, 77, 255]], np.uint8)).save(tmp_path / "grey.png")
    halves().convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.gif")
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    assert np.asarray(open_image(tmp_path / "grey.png"))[0].tolist() == [[x] * 3 for x in (0, 77, 255)]
    palette = open_image(tmp_path / "palette.gif")
    assert near(palette.getpixel((5, 5)), RED) and near(palette.getpixel((60, 5)), BLUE)
    assert np.asarray(open_image(tmp_path / "bit.png"))[0].tolist() == [[255] * 3, [0] * 3]


def test_transparent_pixels_show_the_background_and_not_their_hidden_colour(tmp_path):
    made = Image.new("RGBA", (3, 1), (0, 0, 0, 0))  # black, invisible
    made.putpixel((1, 0), (255, 0, 0, 255))
    made.putpixel((2, 0), (255, 0, 0, 51))  # one fifth
    made.save(tmp_path / "a.png")
    assert np.asarray(open_image(tmp_path / "a.png"))[0].tolist() == [[255, 255, 255], [255, 0, 0], [255, 204, 204]]
    assert open_image(tmp_path / "a.png", background=(0, 0, 255)).getpixel((0, 0)) == (0, 0, 255)
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    assert np.asarray(open_image(tmp_path / "p.png"))[0].tolist() == [[255, 255, 255], [0, 255, 0]]
    Image.new("LA", (1, 1), (9, 0)).save(tmp_path / "la.png")
    assert open_image(tmp_path / "la.png").getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.array([[700, 65535]], np.uint16)).save(tmp_path / "deep.png", transparency=700)
    assert np.asarray(open_image(tmp_path / "deep.png"))[0].tolist() == [[255] * 3, [255] * 3]


def test_printing_colours_become_screen_colours(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)  # magenta and yellow: red
    assert near(open_image(tmp_path / "a.jpg").getpixel((8, 8)), RED)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tiff")
    assert near(open_image(tmp_path / "a.tiff").getpixel((2, 2)), RED)


def test_whatever_comes_out_is_plain_rgb_of_its_own(tmp_path):
    image = halves()
    flat = flatten(image)
    assert flat is not image and flat.mode == "RGB" and not flat.info and np.array_equal(flat, image)


def png_header(width, height):
    """A PNG of some bytes that says it has width x height pixels."""
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (12_000, 10_000), (60_000, 60_000)])
def test_a_file_that_unpacks_to_gigabytes_is_refused_by_its_header(tmp_path, width, height, recwarn):
    (tmp_path / "bomb.png").write_bytes(png_header(width, height))
    with pytest.raises(CatalogError, match="more than 89,000,000"):
        open_image(tmp_path / "bomb.png")
    assert not recwarn.list


def test_a_line_of_pixels_is_refused(tmp_path):
    Image.new("RGB", (5000, 10)).save(tmp_path / "line.png")
    with pytest.raises(CatalogError, match="5000 x 10 pixels, too narrow"):
        open_image(tmp_path / "line.png")


@pytest.mark.parametrize("kind", ["jpg", "png", "gif", "webp", "tiff", "bmp"])
def test_a_truncated_file_is_refused(tmp_path, kind):
    halves(200, 200).effect_spread(40).save(tmp_path / f"a.{kind}")
    whole = (tmp_path / f"a.{kind}").read_bytes()
    (tmp_path / f"b.{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CatalogError, match="damaged or cut off|not an image"):
        open_image(tmp_path / f"b.{kind}")


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_several_pictures_in_one_file_are_refused(tmp_path, kind):
    halves().save(tmp_path / f"a.{kind}", save_all=True, append_images=[Image.new("RGB", (64, 48), BLUE)])
    with pytest.raises(CatalogError, match="holds 2 pictures"):
        open_image(tmp_path / f"a.{kind}")


def test_a_photo_with_a_preview_behind_it_is_the_photo(tmp_path):
    halves().save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)])
    image = open_image(tmp_path / "a.jpg")
    assert image.size == (64, 48) and near(image.getpixel((5, 5)), RED)


def test_what_is_no_image_gets_one_sentence(tmp_path):
    for name, content in {
        "text.png": b"hello",
        "empty.jpg": b"",
        "page.svg": b"<svg xmlns='x'/>",
        "a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CatalogError, match="is not an image that can be read here"):
            open_image(tmp_path / name)
    with pytest.raises(CatalogError, match="There is no image"):
        open_image(tmp_path / "absent.png")
    with pytest.raises(CatalogError, match="is not a file"):
        open_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    with pytest.raises(CatalogError, match="is not a file"):
        open_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_range_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4), 3).save(tmp_path / "a.tiff")
    with pytest.raises(CatalogError, match="32-bit pixels, whose range is not known"):
        open_image(tmp_path / "a.tiff")


def test_a_broken_orientation_tag_does_not_crash(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    buffer = io.BytesIO()
    halves().save(buffer, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert open_image(tmp_path / "a.jpg").size == (64, 48)
