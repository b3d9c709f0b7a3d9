"""Read one image file that may come from anybody: PNG or JPEG, within limits, as 8-bit values."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from secure_fl.errors import InputError

# Most pixels of one image; a small file can claim many more and fill the memory.
MAX_PIXELS = 2**26
FORMATS = ("PNG", "JPEG")
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_image(path: Path, side: int, grey: bool = False) -> np.ndarray:
    """One image of `side` x `side` pixels: its pixels averaged, or repeated where it is smaller.

    255 stands for the largest value that a grey image of 8 or 16 bits can hold; colours have 8 bits
    (Pillow keeps no more of 16). What is transparent shows black. The sides are scaled each by
    itself, so that an image that is no square is stretched. A photograph is turned upright as its
    EXIF data say.

    Args:
        path: PNG or JPEG file.
        side: of the result.
        grey: turn colours into luminance.

    Returns:
        uint8 (side, side) of a grey image, (side, side, 3) of one in colour.

    Raises:
        InputError: not a whole image of these formats, or one of more than `MAX_PIXELS`.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(
                    f"image {path} must have at most {MAX_PIXELS:,} pixels; got {width} x {height}"
                )
            flat = _flat(ImageOps.exif_transpose(image), grey)
            small = flat.resize((side, side), Image.Resampling.BOX)
            return np.rint(np.asarray(small)).astype(np.uint8)
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"image {path} cannot be read: {error}") from error


def _flat(image: Image.Image, grey: bool) -> Image.Image:
    """The image without alpha: grey of 8 bits, grey as floats of 0 to 255, or RGB."""
    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        return Image.fromarray(np.asarray(image, np.float32) / np.float32(257))
    shades = image.mode in ("1", "L", "LA")
    if "A" in image.mode or "transparency" in image.info:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, (0, 0, 0, 255)), seen)
    return image.convert("L" if grey or shades else "RGB")
