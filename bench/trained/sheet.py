"""Picture sheets: images in rank order with scores, right ones marked, focus maps beneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

SIDE, GAP, MARGIN, COLUMNS = 240, 24, 40, 5
WIDTH = 2 * MARGIN + COLUMNS * SIDE + (COLUMNS - 1) * GAP
INK, QUIET, LINE, PAPER, RIGHT = "#161616", "#5f5f5f", "#c4c4c4", "#ffffff", "#0b5d3b"


@dataclass(frozen=True)
class Tile:
    """One image: picture `(SIDE, SIDE, 3)` uint8, two lines beneath, whether it is right (None:
    not known), its focus map `(h, w)` in 0..1 if there is one."""

    picture: Pixels
    score: str
    name: str
    right: bool | None = None
    focus: NDArray[np.float32] | None = None


@cache
def _font(size: int, bold: bool = False) -> Any:
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)


def draw_images(title: str, notes: Sequence[str], tiles: Sequence[Tile]) -> "Image":
    """A sheet of images in rank order, five in a row; with focus maps each under its image."""
    scale = _scale(tiles)
    head = _Head(title, notes, scale)
    cell = SIDE + 78 + (0 if scale is None else SIDE + 8)
    rows = -(-len(tiles) // COLUMNS)
    image, draw = _blank(head.height + rows * cell + MARGIN - 30)
    head.paint(image, draw)
    for place, tile in enumerate(tiles):
        x = MARGIN + place % COLUMNS * (SIDE + GAP)
        y = head.height + place // COLUMNS * cell
        _paint_tile(image, draw, tile, (x, y), place + 1, scale)
    return image


def draw_captions(
    title: str, notes: Sequence[str], tile: Tile, captions: Sequence[tuple[str, str, bool | None]]
) -> "Image":
    """A sheet of one image and its captions (score, text, right or None) in rank order."""
    scale = _scale([tile])
    head = _Head(title, notes, scale)
    x = MARGIN + SIDE + 2 * GAP
    lines = [_wrap(text, _font(18, bold=True), WIDTH - MARGIN - x - 156) for _, text, _ in captions]
    tall = SIDE + 38 + (0 if scale is None else SIDE + 8)
    listed = sum(26 * len(wrapped) + 16 for wrapped in lines)
    image, draw = _blank(head.height + max(tall, listed) + MARGIN - 14)
    head.paint(image, draw)
    _paint_tile(image, draw, tile, (MARGIN, head.height), None, scale)
    y = head.height
    for place, ((score, _, right), wrapped) in enumerate(zip(captions, lines, strict=True), 1):
        draw.text((x + 30, y), str(place), INK, _font(18, bold=True), anchor="ra")
        draw.text((x + 46, y), score, QUIET, _font(18))
        if right:
            _badge(draw, x + 132, y + 11, 13)
        for text in wrapped:
            draw.text((x + 156, y), text, INK, _font(18, bold=bool(right)))
            y += 26
        y += 16
    return image


def stack(sheets: "Sequence[Image]") -> "Image":
    """Sheets, one under the other."""
    image, _ = _blank(sum(one.height for one in sheets))
    y = 0
    for one in sheets:
        image.paste(one, (0, y))
        y += one.height
    return image


def _blank(height: int) -> "tuple[Image, ImageDraw]":
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, height), PAPER)
    return image, ImageDraw.Draw(image)


class _Head:
    """Title, quieter notes under it, and the focus scale where there are maps."""

    def __init__(self, title: str, notes: Sequence[str], scale: tuple[float, float] | None) -> None:
        self.title = _wrap(title, _font(30, bold=True), WIDTH - 2 * MARGIN) if title else []
        self.notes = [line for note in notes for line in _wrap(note, _font(18), WIDTH - 2 * MARGIN)]
        self.scale = scale
        bar = 0 if scale is None else 40
        self.height = MARGIN + 40 * len(self.title) + 27 * len(self.notes) + bar + 22

    def paint(self, image: "Image", draw: "ImageDraw") -> None:
        from PIL import Image

        y = MARGIN - 6
        for line in self.title:
            draw.text((MARGIN, y), line, INK, _font(30, bold=True))
            y += 40
        for line in self.notes:
            draw.text((MARGIN, y + 2), line, QUIET, _font(18))
            y += 27
        if self.scale is None:
            return
        low, high = (f"{value:.3f}" for value in self.scale)
        x = MARGIN + _font(18).getlength(f"focus  {low} ")
        draw.text((MARGIN, y + 12), f"focus  {low}", QUIET, _font(18))
        ramp = _colours(np.tile(np.linspace(0, 1, 220, dtype=np.float32), (20, 1)))
        image.paste(Image.fromarray(ramp), (round(x) + 4, y + 13))
        draw.text((x + 234, y + 12), high, QUIET, _font(18))


def _paint_tile(
    image: "Image",
    draw: "ImageDraw",
    tile: Tile,
    corner: tuple[int, int],
    place: int | None,
    scale: tuple[float, float] | None,
) -> None:
    from PIL import Image

    x, y = corner
    image.paste(Image.fromarray(tile.picture), corner)
    last = y + SIDE
    if tile.focus is not None and scale is not None:
        image.paste(Image.fromarray(overlay(tile.picture, tile.focus, scale)), (x, last + 8))
        last += SIDE + 8
    if tile.right:
        frame = (x - 8, y - 8, x + SIDE + 7, last + 7)
        draw.rectangle(frame, outline=RIGHT, width=6)
        _badge(draw, x + SIDE - 20, y + 20, 20)
    if place is not None:
        draw.text((x, last + 11), f"{place}   {tile.score}", INK, _font(18, bold=True))
        last += 24
    draw.text((x, last + 11), _short(tile.name, _font(15), SIDE), QUIET, _font(15))


def _badge(draw: "ImageDraw", x: int, y: int, radius: int) -> None:
    """A dark disc with a white ring and a white tick: plain in colour and in grey."""
    box = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(box, fill=RIGHT, outline=PAPER, width=2)
    draw.text((x, y), "\N{CHECK MARK}", PAPER, _font(round(1.3 * radius), bold=True), anchor="mm")


def _scale(tiles: Sequence[Tile]) -> tuple[float, float] | None:
    """Lowest and highest focus on the whole sheet, so that its maps compare; None without maps."""
    maps = [tile.focus for tile in tiles if tile.focus is not None]
    if not maps:
        return None
    return float(min(m.min() for m in maps)), float(max(m.max() for m in maps))


def overlay(picture: Pixels, focus: NDArray[np.float32], scale: tuple[float, float]) -> Pixels:
    """The picture in grey, its brightness kept, under the colours of its focus map."""
    from PIL import Image

    low, high = scale
    share = (focus - low) / max(high - low, 1e-9)
    smooth = Image.fromarray(share).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    grey = picture.astype(np.float32).mean(axis=-1, keepdims=True) / 255
    mixed = _colours(np.asarray(smooth)) * (0.45 + 0.55 * grey)
    return np.asarray(mixed, dtype=np.uint8)


def _colours(share: NDArray[np.float32]) -> Pixels:
    """0..1 -> inferno without its black, whose brightness rises evenly: it reads in grey."""
    from matplotlib import colormaps

    painted: Pixels = colormaps["inferno"](0.15 + 0.85 * share.clip(0, 1), bytes=True)[..., :3]
    return np.ascontiguousarray(painted)


def _wrap(text: str, font: Any, width: float) -> list[str]:
    """Words in lines of at most `width` pixels; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_short(word, font, width))
    return lines or [""]


def _short(text: str, font: Any, width: float) -> str:
    """The text, its middle left out where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 1 and font.getlength(f"{text[: keep // 2]}…{text[-(keep // 2) :]}") > width:
        keep -= 1
    return f"{text[: keep // 2]}…{text[-(keep // 2) :]}"
