"""A supersampled picture: textured grounds, flat shapes, the look of a sensor."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.synthetic.colours import ASPHALT, GROUND, MARK, Colour
from bench.synthetic.dice import Dice, Point


class Object(NamedTuple):
    """What was drawn: kind and colour as the captions say them, centre in unit coordinates."""

    kind: str
    colour: str
    x: float
    y: float


class Canvas:
    """A supersampled picture; every coordinate is turned by `turn` radians about the middle."""

    def __init__(self, size: int, dice: Dice) -> None:
        self.size = size
        self.factor = 4 if size <= 96 else 3 if size <= 256 else 2
        self.side = size * self.factor
        self.dice = dice
        self.drawn: list[Object] = []
        self.image = Image.new("RGB", (self.side, self.side))
        self.solid = ImageDraw.Draw(self.image)
        self.glass = ImageDraw.Draw(self.image, "RGBA")  # slower, for what lets light through
        self.turn = 0.0
        angle = dice.between(0.4, 1.2)
        self.sun = (math.cos(angle), math.sin(angle))  # where shadows fall

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Unit coordinates -> pixels of the supersampled picture."""
        c, s = math.cos(self.turn) * self.side, math.sin(self.turn) * self.side
        ox = 0.5 * (self.side - c + s)
        oy = 0.5 * (self.side - s - c)
        return [(ox + c * x - s * y, oy + s * x + c * y) for x, y in points]

    def note(self, kind: str, colour: str, x: float, y: float) -> None:
        ((u, v),) = self.place([(x, y)])
        self.drawn.append(Object(kind, colour, u / self.side, v / self.side))

    # -- grounds ------------------------------------------------------------------------------

    def ground(self, name: str, *outlines: Sequence[Point]) -> None:
        """Textured ground over the whole picture, or inside the outlines."""
        soil = GROUND[name]
        lumps = self._noise(soil.cells)
        tone = 0.5 + 0.16 * self._noise(6) + 0.12 * lumps + 0.09 * self._noise(128)
        if soil.crowns:
            tone = 0.3 + 0.1 * self._noise(6) + self._crowns(soil.crowns)
        elif soil.relief:  # lit from the upper left: the slope of the lumps
            tone[1:, 1:] += soil.relief * 2.2 * (lumps[1:, 1:] - lumps[:-1, :-1])
        grey = Image.fromarray((tone.clip(0, 1) * 255).astype(np.uint8))
        grey = grey.resize((self.side, self.side), Image.Resampling.BILINEAR)
        ramp = np.linspace(soil.dark, soil.light, 256).round().astype(np.uint8)
        grey.putpalette(ramp.tobytes())
        mask = Image.new("1", (self.side, self.side), 0 if outlines else 1)
        for outline in outlines:
            ImageDraw.Draw(mask).polygon(self.place(outline), fill=1)
        self.image.paste(grey.convert("RGB"), mask=mask)

    def _crowns(self, cells: int) -> NDArray[np.float32]:
        """(128, 128) light on a closed canopy: one round crown in each of `cells` squared cells."""
        step = 128 // cells
        throws = self.dice.rng.random((3, cells + 2, cells + 2), dtype=np.float32)
        centres = throws.repeat(step, axis=1).repeat(step, axis=2)
        at = np.tile((np.arange(step, dtype=np.float32) + 0.5) / step, cells)
        best = np.full((128, 128), 9.0, dtype=np.float32)
        light = np.zeros((128, 128), dtype=np.float32)
        for i, j in np.ndindex(3, 3):  # the nearest crown is in a neighbouring cell
            y, x, tone = centres[:, i * step : i * step + 128, j * step : j * step + 128]
            dy, dx = at[:, None] - (i - 1) - y, at - (j - 1) - x
            far = dx * dx + dy * dy
            near = far < best
            np.copyto(best, far, where=near)
            slope = self.sun[0] * dx + self.sun[1] * dy
            np.copyto(light, 0.42 - 0.34 * slope + 0.3 * tone, where=near)
        return light - 0.55 * best

    def _noise(self, cells: int) -> NDArray[np.float32]:
        """(128, 128) smooth noise of unit scale with `cells` lumps a side, whatever the size."""
        rough = self.dice.rng.standard_normal((cells, cells), dtype=np.float32)
        if cells == 128:
            return rough
        image = Image.fromarray(rough).resize((128, 128), Image.Resampling.BICUBIC)
        return np.asarray(image, dtype=np.float32)

    # -- shapes -------------------------------------------------------------------------------

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: int = 255) -> None:
        if alpha == 255:
            self.solid.polygon(self.place(points), fill=colour)
        else:
            self.glass.polygon(self.place(points), fill=(*colour, alpha))

    def box(
        self, x: float, y: float, w: float, h: float, colour: Colour, angle: float = 0.0
    ) -> list[Point]:
        """A filled rectangle around (x, y), its width along `angle`; returns its corners."""
        c, s = math.cos(angle) * 0.5, math.sin(angle) * 0.5
        corners = [
            (x + i * w * c - j * h * s, y + i * w * s + j * h * c)
            for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        self.polygon(corners, colour)
        return corners

    def disc(self, x: float, y: float, r: float, colour: Colour, alpha: int = 255) -> None:
        ((u, v),) = self.place([(x, y)])
        r *= self.side
        if alpha == 255:
            self.solid.ellipse((u - r, v - r, u + r, v + r), fill=colour)
        else:
            self.glass.ellipse((u - r, v - r, u + r, v + r), fill=(*colour, alpha))

    def line(self, points: Sequence[Point], width: float, colour: Colour, alpha: int = 255) -> None:
        pixels = max(1, round(width * self.side))
        pen, ink = (self.solid, colour) if alpha == 255 else (self.glass, (*colour, alpha))
        pen.line(self.place(points), fill=ink, width=pixels, joint="curve")

    def shadow(self, points: Sequence[Point], height: float) -> None:
        """The shadow of an outline that stands `height` above the ground."""
        dx, dy = (part * height * self.side for part in self.sun)
        moved = [(u + dx, v + dy) for u, v in self.place(points)]
        self.glass.polygon(moved, fill=(14, 18, 26, 125))

    def road(
        self, points: Sequence[Point], width: float, colour: Colour = ASPHALT, lanes: bool = True
    ) -> None:
        """A way with pale shoulders and, with `lanes`, a dashed middle line."""
        self.line(points, width * 1.3, (142, 132, 112))
        self.line(points, width, colour)
        if lanes:
            fine = [
                (a[0] + (b[0] - a[0]) * k / 8, a[1] + (b[1] - a[1]) * k / 8)
                for a, b in pairwise(points)
                for k in range(8 if len(points) < 9 else 1)
            ]
            for a, b in zip(fine[::2], fine[1::2], strict=False):
                self.line([a, b], 0.006, MARK)

    def finish(self) -> NDArray[np.uint8]:
        """(size, size, 3) uint8: averaged down, with the grain and the tint of a sensor."""
        picture = np.asarray(self.image.reduce(self.factor), dtype=np.float32)
        grain = Image.fromarray(self._noise(128))
        grain = grain.resize((self.size, self.size), Image.Resampling.BILINEAR)
        tint = [self.dice.between(0.96, 1.04) for _ in range(3)]
        light = 1 + 0.035 * np.asarray(grain, dtype=np.float32)[:, :, None]
        picture = picture * light * np.asarray(tint, dtype=np.float32)
        return picture.clip(0, 255).astype(np.uint8)
