# SPDX-License-Identifier: Apache-2.0
"""Images made small enough for a model, by rule: the longest side has at most so many pixels.

The result is a PNG of the pixels alone: whatever else the file held (comments, positions, names in its metadata) is
left behind. The same bytes give the same bytes, with the same release of Pillow. What is too large to be held in
memory, cut short or no image is refused before it is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from medagent.errors import ImageError

BYTES_MAX = 64_000_000  # of a rendered frame as it is stored; bounds memory per worker
PIXELS_MAX = 50_000_000  # a mammogram has 17 million; 200 MB once decoded
SIDE_LEAST = 16  # pixels; less shows nothing

_FORMATS = ("PNG", "JPEG")
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # the latter where warnings are errors
_GREY = frozenset({"1", "L", "I;16", "I;16B", "I", "F"})


@dataclass(frozen=True, slots=True)
class Downscaled:
    """An image as a model is given it."""

    data: bytes
    """PNG."""
    columns: int
    rows: int
    """Of the result, in pixels."""
    original_columns: int
    original_rows: int
    """Of what it was made from: regions are stated in these."""


@dataclass(frozen=True, slots=True)
class Size:
    """In pixels."""

    columns: int
    rows: int


def size_of(data: bytes) -> Size:
    """The size of an image, from its header. Raises ImageError for what is no image, or too large."""
    with _opened(data) as image:
        return Size(*image.size)


def downscaled(data: bytes, *, side_max: int) -> Downscaled:
    """The image with a longest side of at most `side_max` pixels; a smaller one keeps its size."""
    if side_max < SIDE_LEAST:
        raise ImageError(f"an image of {side_max} pixels shows nothing: allow at least {SIDE_LEAST}")
    with _opened(data) as image:
        columns, rows = image.size
        try:
            image.draft(image.mode, (side_max, side_max))  # JPEG decodes smaller
            plain = _eight_bits(image)
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's words for cut short and malformed
            raise ImageError("the image is cut short or malformed; render it anew") from error
        scaled = plain.resize(_within(columns, rows, side_max), Image.Resampling.BOX, reducing_gap=None)
    out = BytesIO()
    Image.frombytes(scaled.mode, scaled.size, scaled.tobytes()).save(out, "PNG", optimize=False, compress_level=6)
    return Downscaled(out.getvalue(), *scaled.size, columns, rows)


def _within(columns: int, rows: int, side_max: int) -> tuple[int, int]:
    """The size that keeps the sides' relation, each side of at least one pixel."""
    longest = max(columns, rows)
    if longest <= side_max:
        return columns, rows
    return max(1, round(columns * side_max / longest)), max(1, round(rows * side_max / longest))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey or RGB with 8 bits; what is transparent lies on black, as around an X-ray."""
    image.load()
    if image.mode in _GREY - {"1", "L"}:
        low, high = image.getextrema()
        assert isinstance(low, int | float)  # of one band
        assert isinstance(high, int | float)
        scale = 255 / (high - low) if high > low else 0
        return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        visible = image.convert("RGBA")
        ground = Image.new("RGBA", visible.size, (0, 0, 0, 255))
        return Image.alpha_composite(ground, visible).convert("RGB")
    return image.convert("L" if image.mode in _GREY else "RGB")


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """An image whose header was read. Pillow decodes on demand, so its size is known before its pixels are."""
    if len(data) > BYTES_MAX:
        raise ImageError(f"the image has more than {BYTES_MAX} bytes; render it smaller")
    try:
        image = Image.open(BytesIO(data), formats=_FORMATS)
    except (UnidentifiedImageError, *_BOMBS, OSError, SyntaxError, ValueError) as error:
        raise ImageError("this is no PNG or JPEG that can be read; render it anew") from error
    with image:
        if image.width * image.height > PIXELS_MAX:
            raise ImageError(f"the image has more than {PIXELS_MAX} pixels; render it smaller")
        yield image
