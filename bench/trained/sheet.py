"""Picture sheets: images in rank order with scores, right ones framed, focus maps beneath.

Each function returns an image; the larger ones are put together from the smaller ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.data.resize import Pixels

SIDE, GAP, COLUMNS = 240, 16, 5
WIDTH = COLUMNS * (SIDE + 2 * GAP)
INK, PAPER, RIGHT = "#161616", "#ffffff", "#0b5d3b"


@dataclass(frozen=True)
class Tile:
    """A picture `(SIDE, SIDE, 3)` uint8 with lines of text beneath."""

    picture: Pixels
    lines: Sequence[str]
    right: bool = False
    focus: NDArray[np.float32] | None = None
    """Its focus map `(h, w)` in 0..1, if there is one."""


def draw_images(title: str, notes: Sequence[str], tiles: Sequence[Tile]) -> Image.Image:
    """A sheet of images in rank order, five in a row, each with its focus map beneath."""
    scale = focus_scale([tile.focus for tile in tiles])
    cells = [_tile(tile, scale) for tile in tiles]
    rows = [_row(cells[n : n + COLUMNS]) for n in range(0, len(cells), COLUMNS)]
    return stack([*_head(title, notes, scale), *rows])


def draw_captions(
    title: str, notes: Sequence[str], tile: Tile, captions: Sequence[tuple[str, bool]]
) -> Image.Image:
    """A sheet of one image, and beside it captions in rank order, the right ones in bold."""
    scale = focus_scale([tile.focus])
    picture = _tile(tile, scale)
    lines = [_text([text], WIDTH - picture.width, 18, right) for text, right in captions]
    return stack([*_head(title, notes, scale), _row([picture, stack(lines)])])


def stack(images: Sequence[Image.Image]) -> Image.Image:
    """Images, one under the other."""
    sheet = _blank(max(image.width for image in images), sum(image.height for image in images))
    y = 0
    for image in images:
        sheet.paste(image, (0, y))
        y += image.height
    return sheet


def _row(images: Sequence[Image.Image]) -> Image.Image:
    """Images side by side, on a strip as wide as the sheet."""
    row = _blank(WIDTH, max(image.height for image in images))
    x = 0
    for image in images:
        row.paste(image, (x, 0))
        x += image.width
    return row


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), PAPER)


@cache
def _font(size: int, bold: bool) -> Any:
    import matplotlib  # it brings these fonts

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)


def _text(lines: Sequence[str], width: int, size: int, bold: bool = False) -> Image.Image:
    """Lines of text, each wrapped to a width in pixels."""
    letter = (0.75 if bold else 0.65) * size  # a generous width, even for capitals
    letters = int((width - 2 * GAP) / letter)
    wrapped = [part for line in lines for part in wrap(line, letters)]
    height = round(1.45 * size)
    image = _blank(width, height * len(wrapped) + GAP // 2)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(wrapped):
        draw.text((GAP, number * height), line, INK, _font(size, bold))
    return image


def _head(title: str, notes: Sequence[str], scale: tuple[float, float] | None) -> list[Image.Image]:
    """Title, notes, and what the colours of the focus maps mean."""
    colours = [] if scale is None else [f"focus: {scale[0]:.3f} dark to {scale[1]:.3f} bright"]
    margin = _blank(WIDTH, GAP)
    return [
        margin,
        _text([title], WIDTH, 28, bold=True),
        _text([*notes, *colours], WIDTH, 18),
        margin,
    ]


def _tile(tile: Tile, scale: tuple[float, float] | None) -> Image.Image:
    shown = [tile.picture]
    if tile.focus is not None and scale is not None:
        shown.append(overlay(tile.picture, tile.focus, scale))
    pictures = Image.fromarray(np.concatenate(shown))
    framed = _blank(SIDE + 2 * GAP, pictures.height + 2 * GAP)
    if tile.right:
        box = (GAP // 2, GAP // 2, framed.width - GAP // 2, framed.height - GAP // 2)
        ImageDraw.Draw(framed).rectangle(box, fill=RIGHT)
    framed.paste(pictures, (GAP, GAP))
    return stack([framed, _text(tile.lines, framed.width, 15)])


def focus_scale(maps: Sequence[NDArray[np.float32] | None]) -> tuple[float, float] | None:
    """Lowest and highest value of some focus maps, to draw all on one scale; None without maps."""
    drawn = [focus for focus in maps if focus is not None]
    if not drawn:
        return None
    return float(min(m.min() for m in drawn)), float(max(m.max() for m in drawn))


def overlay(picture: Pixels, focus: NDArray[np.float32], scale: tuple[float, float]) -> Pixels:
    """The picture in grey, its brightness kept, under the colours of its focus map.

    The colours are those of inferno without its black: their brightness rises evenly, so that the
    map reads in grey too.
    """
    from matplotlib import colormaps

    low, high = scale
    share = (focus - low) / max(high - low, 1e-9)
    smooth = Image.fromarray(share).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    colours = colormaps["inferno"](0.15 + 0.85 * np.asarray(smooth).clip(0, 1), bytes=True)[..., :3]
    grey = picture.astype(np.float32).mean(axis=-1, keepdims=True) / 255
    return np.asarray(colours * (0.45 + 0.55 * grey), dtype=np.uint8)
