"""Opening an image file that somebody brings: pixels as a viewer shows them, or one sentence that says why not.

Image files hide things that go wrong without an error: a tag that says how to turn the pixels (EXIF orientation), which some programs apply
and others ignore; transparent pixels whose hidden colour appears once transparency is dropped; sixteen bits a pixel, which become white
when they are cut at 255; several pictures in one file; a few bytes that unpack to gigabytes. :func:`open_image` settles each of them once,
and what it returns has nothing left to apply a second time.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from catalog.base.errors import CatalogError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")  # not EPS, for which Pillow runs another program
WHITE = (255, 255, 255)
MOST_PIXELS = 89_000_000  # what Pillow takes for honest; three bytes each
MOST_OBLONG = 100  # times longer than wide: a processor that scales the short side would make the long one enormous


def open_image(path: str | Path, background: tuple[int, int, int] = WHITE) -> Any:
    """The picture in a file as a `PIL.Image.Image` in RGB, turned as its EXIF orientation says and without that tag.

    Args:
        background: RGB colour that is put behind transparent pixels.

    Raises:
        CatalogError: there is no such file, it is no image of a known format, it is damaged or cut off, holds several pictures, has numbers
            of unknown range, is too large, or is too narrow.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.exists():
        raise CatalogError(f"There is no image {path}; check the path.")
    if not path.is_file():
        raise CatalogError(f"{path} is not a file; give the path of an image.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is judged here
            with Image.open(path, formats=FORMATS) as image:
                _judge(path, image)
                image.load()
                ImageOps.exif_transpose(image, in_place=True)  # not of a copy, which forgets the file's format and tags
                return flatten(image, background, path)
    except UnidentifiedImageError:
        kinds = "PNG, JPEG, WebP, GIF, BMP, TIFF, PPM or AVIF"
        raise CatalogError(f"{path} is not an image that can be read here; give a {kinds} file.") from None
    except Image.DecompressionBombError:
        raise CatalogError(f"{path} has more than {MOST_PIXELS:,} pixels; make it smaller.") from None
    except PermissionError:
        raise CatalogError(f"{path} may not be read; change its permissions.") from None
    except CatalogError:
        raise
    except Exception as error:  # decoders raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(f"{path} is damaged or cut off ({reason}); save or copy the image again.") from None


def flatten(image: Any, background: tuple[int, int, int] = WHITE, name: str | Path = "The image") -> Any:
    """An image of any mode as a new one in RGB that carries no tags: transparency put onto `background`, 16-bit grey divided by 257.

    Raises:
        CatalogError: its pixels are numbers without a range (32-bit integers or floating point).
    """
    from PIL import Image

    clear = None
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        deep = np.asarray(image).astype(np.int64)
        if (key := image.info.get("transparency")) is not None:
            clear = Image.fromarray(np.where(deep == key, 0, 255).astype(np.uint8))
        if getattr(image, "tag_v2", {}).get(262) == 0:  # TIFF: 0 is white
            deep = 65535 - deep
        image = Image.fromarray(((deep * 2 + 257) // 514).astype(np.uint8))  # rounded: 0, 128, 65535 become 0, 0, 255
    elif image.mode in ("I", "F"):
        raise CatalogError(f"{name} has 32-bit pixels, whose range is not known; save it with 8 or 16 bits.")
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # colours multiplied by their opacity
            image = image.convert(image.mode.upper())
        image = image.convert("RGBA")
        clear = image.getchannel("A")
    flat = Image.new("RGB", image.size, tuple(background))
    flat.paste(image.convert("RGB"), mask=clear)
    return flat


def _judge(path: Path, image: Any) -> None:
    """Refuse by the header, before anything is unpacked."""
    width, height = image.size
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a camera's JPEG with previews or a depth map behind the picture
        raise CatalogError(f"{path} holds {frames} pictures; save the one that you mean as a file of its own.")
    if width * height > MOST_PIXELS:
        raise CatalogError(f"{path} has {width} x {height} pixels, more than {MOST_PIXELS:,}; make it smaller.")
    if max(width, height) > MOST_OBLONG * min(width, height):
        raise CatalogError(f"{path} has {width} x {height} pixels, too narrow to be looked at; cut out a part of it.")
