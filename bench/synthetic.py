"""Generated overhead scenes with captions: real demo and tests without a download.

A scene function throws the facts (counts, colours, relations), writes sentences from them and
returns a painter that draws the same facts. Geometry lives in unit coordinates (x right, y down),
so one index is one picture at every size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COUNTS: dict[str, int] = {"train": 1536, "val": 256, "test": 256}

Point = tuple[float, float]
Colour = tuple[int, int, int]
T = TypeVar("T")

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLACES: dict[str, Point] = {
    "in the upper left corner": (0.2, 0.2),
    "in the upper right corner": (0.8, 0.2),
    "in the lower left corner": (0.2, 0.8),
    "in the lower right corner": (0.8, 0.8),
    "in the middle": (0.5, 0.5),
}
_PAINT: dict[str, Colour] = {
    "white": (233, 233, 228),
    "gray": (142, 144, 146),
    "black": (44, 45, 50),
    "red": (164, 66, 52),
    "blue": (62, 98, 156),
    "yellow": (222, 184, 62),
    "green": (74, 122, 70),
    "brown": (120, 86, 62),
    "orange": (212, 124, 52),
}
_ASPHALT, _CONCRETE, _DIRT = (98, 99, 102), (160, 159, 154), (176, 152, 116)
_MARK, _FOAM = (222, 221, 212), (236, 240, 236)


class _Soil(NamedTuple):
    """A ground: dark and light end of its colours, lumps a side, their shading, trees a side."""

    dark: Colour
    light: Colour
    cells: int = 22
    relief: float = 0.0
    crowns: int = 0


_GROUND: dict[str, _Soil] = {
    "meadow": _Soil((70, 94, 50), (128, 140, 84)),
    "lawn": _Soil((76, 112, 58), (112, 144, 82)),
    "khaki": _Soil((158, 136, 100), (206, 186, 148), relief=0.10),
    "brown": _Soil((104, 82, 62), (152, 126, 98), relief=0.10),
    "gray": _Soil((126, 122, 114), (172, 168, 158), relief=0.08),
    "sand": _Soil((196, 174, 128), (230, 212, 170)),
    "city": _Soil((104, 104, 96), (148, 144, 134), 34),
    "forest": _Soil((18, 38, 20), (86, 116, 62), crowns=32),
    "dark forest": _Soil((12, 30, 22), (54, 86, 56), crowns=32),
    "autumn forest": _Soil((58, 44, 22), (158, 130, 66), crowns=32),
    "blue water": _Soil((38, 82, 116), (62, 110, 142), 30, 0.05),
    "green water": _Soil((48, 92, 74), (76, 120, 96), 30, 0.05),
    "dark water": _Soil((24, 40, 44), (40, 58, 60), 30, 0.04),
    "brown water": _Soil((112, 96, 66), (138, 120, 86), 30, 0.04),
    "green crop": _Soil((66, 102, 48), (104, 138, 72)),
    "dark crop": _Soil((38, 66, 38), (62, 92, 56)),
    "yellow crop": _Soil((182, 160, 84), (216, 196, 120)),
    "brown crop": _Soil((112, 84, 60), (146, 114, 86)),
}


class _Dice:
    """A stream of random numbers that depends only on its key; cheap for single throws."""

    def __init__(self, *key: int) -> None:
        self.rng = np.random.default_rng(list(key))
        self._throws: list[float] = []

    def unit(self) -> float:
        if not self._throws:
            self._throws = self.rng.random(256).tolist()
        return self._throws.pop()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int((high - low + 1) * self.unit())

    def pick(self, options: Sequence[T]) -> T:
        return options[int(len(options) * self.unit())]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different entries of `options`, in random order."""
        left = list(options)
        return [left.pop(int(len(left) * self.unit())) for _ in range(count)]

    def spots(self, count: int, gap: float, box: tuple[float, float, float, float]) -> list[Point]:
        """Points in (x0, y0, x1, y1) at least `gap` apart, closer where they do not fit."""
        found: list[Point] = []
        while len(found) < count:
            spot = (self.between(box[0], box[2]), self.between(box[1], box[3]))
            if all(math.dist(spot, other) >= gap for other in found):
                found.append(spot)
            else:
                gap *= 0.985
        return found


class _Object(NamedTuple):
    """What was drawn: kind and colour as the captions say them, centre in unit coordinates."""

    kind: str
    colour: str
    x: float
    y: float


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (max(0, min(255, round(part * factor))) for part in colour)
    return red, green, blue


def _oval(x: float, y: float, a: float, b: float, power: float = 1.0) -> list[Point]:
    """Outline with half axes a, b; power below 1 squares it towards a rounded rectangle."""
    points = []
    for step in range(48):
        c, s = math.cos(step * math.pi / 24), math.sin(step * math.pi / 24)
        points.append(
            (
                x + a * math.copysign(abs(c) ** power, c),
                y + b * math.copysign(abs(s) ** power, s),
            )
        )
    return points


def _blob(dice: _Dice, x: float, y: float, a: float, b: float, wobble: float) -> list[Point]:
    """Irregular closed outline around (x, y): an oval with three random harmonics."""
    waves = [(k, dice.between(0, 2 * math.pi), wobble / k) for k in (2, 3, 5)]
    points = []
    for step in range(56):
        t = step * math.pi / 28
        r = 1 + sum(size * math.sin(k * t + phase) for k, phase, size in waves)
        points.append((x + a * r * math.cos(t), y + b * r * math.sin(t)))
    return points


def _curve(start: Point, end: Point, bend: float) -> list[Point]:
    """An S-shaped way from start to end; `bend` is its largest departure from the straight line."""
    (x0, y0), (x1, y1) = start, end
    length = math.dist(start, end)
    nx, ny = (y0 - y1) / length, (x1 - x0) / length
    points = []
    for step in range(33):
        t = step / 32
        off = bend * math.sin(2 * math.pi * t)
        points.append((x0 + t * (x1 - x0) + off * nx, y0 + t * (y1 - y0) + off * ny))
    return points


class _Canvas:
    """A supersampled picture; every coordinate is turned by `turn` radians about the middle."""

    def __init__(self, size: int, dice: _Dice) -> None:
        self.size = size
        self.factor = 4 if size <= 96 else 3 if size <= 256 else 2
        self.side = size * self.factor
        self.dice = dice
        self.drawn: list[_Object] = []
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
        self.drawn.append(_Object(kind, colour, u / self.side, v / self.side))

    # -- grounds ------------------------------------------------------------------------------

    def ground(self, name: str, *outlines: Sequence[Point]) -> None:
        """Textured ground over the whole picture, or inside the outlines."""
        soil = _GROUND[name]
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
        self, points: Sequence[Point], width: float, colour: Colour = _ASPHALT, lanes: bool = True
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
                self.line([a, b], 0.006, _MARK)

    # -- objects, each noted under its kind and colour ----------------------------------------

    def plane(self, x: float, y: float, half: float, colour: str, angle: float) -> None:
        side = [(1, 0), (0.9, 0.07), (0.3, 0.1), (-0.22, 0.86), (-0.42, 0.86), (-0.16, 0.1)]
        side += [(-0.68, 0.07), (-0.9, 0.36), (-1.02, 0.36), (-0.92, 0)]
        outline = side + [(a, -b) for a, b in reversed(side)]
        c, s = math.cos(angle) * half, math.sin(angle) * half
        points = [(x + a * c - b * s, y + a * s + b * c) for a, b in outline]
        self.shadow(points, half * 0.22)
        self.polygon(points, _PAINT[colour])
        spine = [(x + a * c, y + a * s) for a in (-0.95, -0.35)]
        self.line(spine, half * 0.07, _shade(_PAINT[colour], 0.7))
        self.note("plane", colour, x, y)

    def boat(
        self, x: float, y: float, half: float, colour: str, angle: float, wake: bool = False
    ) -> None:
        side = [(1, 0), (0.45, 0.3), (-0.7, 0.32), (-1, 0.24)]
        outline = side + [(a, -b) for a, b in reversed(side)]
        c, s = math.cos(angle) * half, math.sin(angle) * half
        if wake:
            tail = [(x - c, y - s), (x - 3 * c - 0.5 * s, y - 3 * s + 0.5 * c)]
            tail.append((x - 3 * c + 0.5 * s, y - 3 * s - 0.5 * c))
            self.polygon(tail, _FOAM, 70)
        points = [(x + a * c - b * s, y + a * s + b * c) for a, b in outline]
        self.shadow(points, half * 0.2)
        self.polygon(points, _PAINT[colour])
        self.box(x - 0.45 * c, y - 0.45 * s, half * 0.5, half * 0.3, (92, 92, 96), angle)
        self.note("boat", colour, x, y)

    def car(self, x: float, y: float, colour: str, angle: float, half: float = 0.024) -> None:
        c, s = math.cos(angle) * half, math.sin(angle) * half
        points = [(-1.0, -0.48), (1.0, -0.48), (1.0, 0.48), (-1.0, 0.48)]
        corners = [(x + a * c - b * s, y + a * s + b * c) for a, b in points]
        self.shadow(corners, half * 0.4)
        self.polygon(corners, _PAINT[colour])
        self.box(x + 0.5 * c, y + 0.5 * s, half * 0.26, half * 0.8, (52, 58, 66), angle)
        self.note("car", colour, x, y)

    def house(self, x: float, y: float, w: float, h: float, roof: str, angle: float = 0.0) -> None:
        """A hipped roof of width w >= h along `angle`, its faces shaded by the sun."""
        colour = _shade(_PAINT[roof], self.dice.between(0.92, 1.08))
        corners = self.box(x, y, w, h, colour, angle)
        self.shadow(corners, 0.3 * h)
        c, s = math.cos(angle), math.sin(angle)
        ridge = 0.5 * (w - 0.8 * h)
        left, right = (x - ridge * c, y - ridge * s), (x + ridge * c, y + ridge * s)
        a, b, e, f = corners
        for normal, face in (
            (-0.5, (a, b, right, left)),
            (0.0, (b, e, right)),
            (0.5, (e, f, left, right)),
            (1.0, (f, a, left)),
        ):
            facing = angle + self.turn + normal * math.pi
            lit = -math.cos(facing) * self.sun[0] - math.sin(facing) * self.sun[1]
            self.polygon(face, _shade(colour, 1 + 0.2 * lit))
        self.note("house", roof, x, y)

    def building(self, x: float, y: float, w: float, h: float, roof: str, tall: float) -> None:
        """A flat roof with a parapet and a few boxes on it."""
        colour = _shade(_PAINT[roof], self.dice.between(0.94, 1.04))
        corners = [(x + i * w / 2, y + j * h / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        self.shadow(corners, tall)
        self.polygon(corners, _shade(colour, 0.82))
        self.box(x, y, w - 0.014, h - 0.014, colour)
        for _ in range(3):
            u, v = (self.dice.between(-0.36, 0.36) for _ in range(2))
            self.box(x + u * w, y + v * h, 0.03, 0.022, _shade(colour, 0.86))
        self.note("building", roof, x, y)

    def tank(self, x: float, y: float, r: float, colour: str) -> None:
        paint = _PAINT[colour]
        ((u, v),) = self.place([(x, y)])
        for k in (0.25, 0.5):
            du, dv = (u + k * r * self.side * self.sun[0], v + k * r * self.side * self.sun[1])
            q = r * self.side
            self.glass.ellipse((du - q, dv - q, du + q, dv + q), fill=(14, 18, 26, 105))
        self.disc(x, y, r, _shade(paint, 0.74))
        self.disc(x, y, r * 0.9, paint)
        for k in range(3):
            t = k * math.pi / 3
            ends = [
                (x + i * 0.86 * r * math.cos(t), y + i * 0.86 * r * math.sin(t)) for i in (-1, 1)
            ]
            self.line(ends, 0.004, _shade(paint, 0.88))
        self.note("storage tank", colour, x, y)

    def pool(self, x: float, y: float) -> None:
        self.box(x, y, 0.08, 0.05, (206, 204, 196))
        self.box(x, y, 0.068, 0.038, (84, 178, 204))
        self.note("swimming pool", "", x, y)

    def tree(self, x: float, y: float, r: float, noted: bool = False) -> None:
        ((u, v),) = self.place([(x, y)])
        q, (dx, dy) = r * self.side, self.sun
        green = _shade((54, 82, 44), self.dice.between(0.72, 1.2))
        for shift, scale, ink in (
            (0.6, 1.0, (12, 18, 14, 110)),
            (0.0, 1.0, (*green, 255)),
            (-0.3, 0.55, (*_shade(green, 1.32), 255)),
        ):
            a, b, e = u + shift * q * dx, v + shift * q * dy, q * scale
            self.glass.ellipse((a - e, b - e, a + e, b + e), fill=ink)
        if noted:
            self.note("tree", "green", x, y)

    def grove(self, count: int, box: tuple[float, float, float, float], r: float = 0.022) -> None:
        """Uncounted trees in (x0, y0, x1, y1)."""
        for _ in range(count):
            x, y = self.dice.between(box[0], box[2]), self.dice.between(box[1], box[3])
            self.tree(x, y, r * self.dice.between(0.7, 1.35))

    def scrub(self, count: int, colour: Colour = (74, 78, 52)) -> None:
        """Clutter: specks of dry bush and stone all over."""
        for _ in range(count):
            x, y, r = self.dice.unit(), self.dice.unit(), self.dice.between(0.003, 0.011)
            self.disc(x, y, r, _shade(colour, self.dice.between(0.7, 1.3)), 150)

    def finish(self) -> NDArray[np.uint8]:
        """(size, size, 3) uint8: averaged down, with the grain and the tint of a sensor."""
        picture = np.asarray(self.image.reduce(self.factor), dtype=np.float32)
        grain = Image.fromarray(self._noise(128))
        grain = grain.resize((self.size, self.size), Image.Resampling.BILINEAR)
        tint = [self.dice.between(0.96, 1.04) for _ in range(3)]
        light = 1 + 0.035 * np.asarray(grain, dtype=np.float32)[:, :, None]
        picture = picture * light * np.asarray(tint, dtype=np.float32)
        return picture.clip(0, 255).astype(np.uint8)


@dataclass
class _Plan:
    """One picture before it is drawn.

    Sentences may hold [choices|like this] and (parts that go where they name "no ...").
    """

    sentences: list[str]
    paint: Callable[[_Canvas], None]


def _n(count: int, noun: str) -> str:
    """'[a|one] white boat', 'three white boats'."""
    if count == 1:
        return f"[{'an' if noun[0] in 'aeiou' else 'a'}|one] {noun}"
    return f"{_NUMBERS[count]} {noun}s"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _heading(dice: _Dice, most: float = 0.22) -> float:
    """Quarter turns and a bit, radians; `most` 0.22 keeps the middle 0.7 inside the picture."""
    return dice.count(0, 3) * math.pi / 2 + dice.between(-most, most)


def _row(count: int, low: float, high: float) -> list[float]:
    """`count` evenly spaced places between low and high."""
    step = (high - low) / max(count, 1)
    return [low + (k + 0.5) * step for k in range(count)]


# -- scenes: throw the facts, say them, draw them ---------------------------------------------


def _airport(dice: _Dice) -> _Plan:
    planes, runways, turn = dice.count(1, 6), dice.count(1, 2), _heading(dice)
    colour = dice.pick(("white", "white", "blue", "red", "yellow"))
    roof = dice.pick(("white", "gray", "red", "blue", "brown"))
    soil, terminal = dice.pick(("meadow", "khaki")), dice.unit() < 0.6
    land = "green meadow" if soil == "meadow" else "khaki bareland"
    fleet, ways, are = _n(planes, f"{colour} plane"), _n(runways, "runway"), _are(planes)
    beside = f"[next to|beside|near] a long {roof} building" if terminal else "on a wide apron"

    def paint(canvas: _Canvas) -> None:
        canvas.turn = turn
        canvas.ground(soil)
        canvas.scrub(70)
        for y in (0.76, 0.93)[:runways]:
            canvas.line([(-0.3, y), (1.3, y)], 0.075, (74, 76, 80))
            for x in _row(16, -0.3, 1.3):
                canvas.line([(x - 0.025, y), (x + 0.025, y)], 0.007, _MARK)
            canvas.note("runway", "", 0.5, y)
        for x in (0.12, 0.88):
            canvas.line([(x, 0.5), (x, 0.76)], 0.045, (112, 113, 114))
        canvas.box(0.5, 0.42, 1.7, 0.36 if terminal else 0.3, _CONCRETE)
        for x in _row(13, -0.3, 1.3):  # joints of the slabs
            canvas.line([(x, 0.25), (x, 0.59)], 0.003, (138, 137, 133))
        canvas.line([(-0.3, 0.55), (1.3, 0.55)], 0.006, (206, 178, 74))
        if terminal:
            canvas.building(0.5, 0.17, 0.72, 0.12, roof, 0.03)
            canvas.grove(14, (0.0, 0.0, 1.0, 0.07))
        half = min(0.085, 0.3 / planes) if terminal else 0.045
        nose = -math.pi / 2 if terminal else canvas.dice.between(-3, 3)
        for x in _row(planes, 0.12, 0.88):
            y = 0.37 if terminal else canvas.dice.between(0.34, 0.48)
            canvas.plane(x, y, half, colour, nose + canvas.dice.between(-0.12, 0.12))

    return _Plan(
        [
            f"{fleet} {are} [parked|stopped] {beside} in an airport .",
            f"an airport with {fleet} and {ways} [is near|is next to] a piece of {land} .",
            f"{ways} and {fleet} are in an airport with {land} .",
            f"{fleet} {are} parked on the gray ground between {land} and {ways} .",
            f"there {are} {fleet} {beside} and {ways} on the other side .",
            f"we can see {fleet} [stopping|parked] orderly {beside} in the airport .",
            f"the airport with {land} has {ways} and {fleet} {beside} .",
        ],
        paint,
    )


def _bare_land(dice: _Dice) -> _Plan:
    soil, place = dice.pick(("khaki", "brown", "gray")), dice.pick(list(_PLACES))
    kind = dice.pick(("plane", "house", "car", "tree"))
    count = dice.count(1, 1 if kind == "plane" else 3)
    colour = dice.pick(("white", "red", "blue")) if kind != "tree" else "green"
    way = dice.pick(("no", "straight", "curved"))
    things = _n(count, f"{colour} roofed house" if kind == "house" else f"{colour} {kind}")
    small = _n(count, f"small {colour} {kind}") if kind != "house" else things
    road = f"a {way} [gray|grey] road" if way != "no" else "no road"
    are, x0, y0 = _are(count), *_PLACES[place]

    def paint(canvas: _Canvas) -> None:
        throw = canvas.dice
        canvas.ground(soil)
        canvas.scrub(260)
        for _ in range(5):  # old wheel tracks
            ends = [(throw.between(-0.1, 1.1), throw.pick((-0.1, 1.1))) for _ in range(2)]
            if ends[0] != ends[1]:
                canvas.line(_curve(ends[0], ends[1], 0.06), 0.006, _shade(_DIRT, 1.15), 70)
        if way != "no":
            y = 0.5 if y0 != 0.5 else throw.pick((0.14, 0.86))
            bend = 0.07 if way == "curved" else 0.0
            canvas.road(_curve((-0.1, y - 0.04), (1.1, y + 0.04), bend), 0.045)
        for x, y in throw.spots(count, 0.11, (x0 - 0.12, y0 - 0.12, x0 + 0.12, y0 + 0.12)):
            angle = throw.between(-math.pi, math.pi)
            if kind == "plane":
                canvas.plane(x, y, 0.065, colour, angle)
            elif kind == "house":
                canvas.house(x, y, 0.085, 0.06, colour, angle)
            elif kind == "car":
                canvas.car(x, y, colour, angle, 0.026)
            else:
                canvas.tree(x, y, 0.034, noted=True)

    return _Plan(
        [
            f"{things} {are} {place} of a [large|vast] piece of {soil} bareland .",
            f"it is a [large|broad] piece of {soil} bareland with {things} (and {road}) .",
            f"{small} {are} on the {soil} bareland (with {road}) .",
            f"there {are} {things} {place} of the {soil} bare land .",
            f"a [vast|huge] piece of {soil} bareland is almost empty with {things} {place} .",
            f"[only|just] {things} {are} {place} of this {soil} bare land (with {road}) .",
            f"{road} and {small} are on a piece of {soil} bareland .",
        ],
        paint,
    )


def _baseball_field(dice: _Dice) -> _Plan:
    fields, count, turn = dice.count(1, 4), dice.count(1, 5), _heading(dice)
    ground = dice.pick(("brown", "orange"))
    side, soil = dice.pick(("cars", "houses", "pond", "trees")), dice.pick(("meadow", "khaki"))
    land = "green meadow" if soil == "meadow" else "khaki bareland"
    colour = dice.pick(("white", "red", "blue"))
    parks = _n(fields, "baseball field")
    beside = {
        "cars": f"a road with {_n(count, f'{colour} car')}",
        "houses": f"{_n(count, f'{colour} roofed house')}",
        "pond": f"a {dice.pick(('long', 'narrow'))} green pond",
        "trees": "a row of [lush|dense] green trees",
    }[side]
    are = _are(fields)

    def diamond(canvas: _Canvas, x: float, y: float, r: float, angle: float) -> None:
        """Home plate at (x, y), the outfield a quarter circle of radius r around `angle`."""

        def fan(radius: float, spread: float) -> list[Point]:
            steps = [angle + spread * (k / 12 - 1) for k in range(25)]
            return [(x, y)] + [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in steps]

        clay = _shade(_PAINT[ground], 1.25 if ground == "brown" else 0.95)
        canvas.polygon(fan(r * 1.06, 0.84), _shade(clay, 0.92))
        for k, shade in enumerate((1.0, 1.1) * 3):
            canvas.polygon(fan(r * (1 - 0.1 * k), 0.8), _shade((92, 130, 66), shade))
        canvas.polygon(fan(r * 0.5, 0.82), clay)
        middle = r * 0.25
        cx, cy = x + middle * math.cos(angle), y + middle * math.sin(angle)
        canvas.box(cx, cy, r * 0.27, r * 0.27, (100, 138, 72), angle + math.pi / 4)
        canvas.disc(cx, cy, r * 0.035, clay)
        canvas.disc(x, y, r * 0.085, clay)
        for t in (angle - 0.785, angle + 0.785):
            canvas.line([(x, y), (x + r * math.cos(t), y + r * math.sin(t))], 0.005, _MARK)
        canvas.note("baseball field", "", cx, cy)

    def paint(canvas: _Canvas) -> None:
        canvas.turn = turn
        canvas.ground(soil)
        canvas.scrub(50)
        if side == "cars":
            canvas.road([(-0.3, 0.9), (1.3, 0.9)], 0.08)
            for x in _row(count, 0.15, 0.85):
                canvas.car(x, 0.88, colour, 0.0)
        elif side == "houses":
            canvas.road([(-0.3, 0.8), (1.3, 0.8)], 0.03, _CONCRETE, lanes=False)
            for x in _row(count, 0.08, 0.92):
                canvas.house(x, 0.9, 0.11, 0.075, colour)
        elif side == "pond":
            canvas.ground("green water", _oval(0.5, 0.91, 0.36, 0.06))
            canvas.note("pond", "green", 0.5, 0.91)
        else:
            canvas.grove(46, (-0.1, 0.85, 1.1, 0.97), 0.03)
        canvas.grove(10, (-0.05, -0.05, 1.05, 0.03))
        if fields == 1:
            diamond(canvas, 0.5, 0.74, 0.56, -math.pi / 2)
        elif fields == 2:
            diamond(canvas, 0.26, 0.64, 0.31, -math.pi / 2)
            diamond(canvas, 0.74, 0.64, 0.31, -math.pi / 2)
        else:  # home plates meet in the middle
            for k in range(fields):
                angle = math.pi / 4 + k * math.pi / 2
                x, y = 0.5 + 0.05 * math.cos(angle), 0.43 + 0.05 * math.sin(angle)
                diamond(canvas, x, y, 0.3, angle)

    return _Plan(
        [
            f"{parks} {are} [next to|beside|near] {beside} .",
            f"{parks} with {ground} ground {are} near {beside} .",
            f"there {are} {parks} on the {land} [next to|beside] {beside} .",
            f"{parks} with {ground} soil {are} surrounded by {land} near {beside} .",
            f"{beside} [is|lies] on one side of {parks} ."
            if side in ("pond", "trees", "cars") or count == 1
            else f"{beside} are on one side of {parks} .",
            f"we can see {parks} , {land} and {beside} .",
        ],
        paint,
    )


def _beach(dice: _Dice) -> _Plan:
    waves, umbrellas, boats = dice.count(1, 3), dice.count(0, 6), dice.count(0, 3)
    water, back = dice.pick(("blue", "green", "dark")), dice.pick(("trees", "road", "houses"))
    shade, colour = dice.pick(("red", "blue", "orange")), dice.pick(("white", "red"))
    turn, rows = _heading(dice), _n(waves, "row")
    surf = f"{rows} of white waves"
    tents = _n(umbrellas, f"{shade} umbrella")
    ships = _n(boats, f"{colour} boat")
    land = {
        "trees": "[lush|dense] green trees",
        "road": "a gray road",
        "houses": "a row of gray roofed houses",
    }[back]

    def paint(canvas: _Canvas) -> None:
        throw = canvas.dice
        phase, canvas.turn = throw.between(0, 6), turn

        def shore(y: float, swing: float = 0.025) -> list[Point]:
            return [(x, y + swing * math.sin(5 * x + phase)) for x in _row(36, -0.4, 1.4)]

        canvas.ground("sand")
        canvas.polygon([*shore(0.55, 0.03), (1.4, -0.4), (-0.4, -0.4)], (178, 156, 116))
        canvas.ground(f"{water} water", [*shore(0.5, 0.03), (1.4, -0.4), (-0.4, -0.4)])
        for k in range(waves):
            y, swing = 0.5 - 0.085 * k, 0.03 - 0.006 * k
            canvas.polygon(shore(y - 0.035, swing) + shore(y, swing)[::-1], _FOAM, 90)
            canvas.line(shore(y, swing), 0.016 - 0.003 * k, _FOAM)
            for _ in range(45):  # ragged spray
                u, r = throw.between(-0.2, 1.2), throw.between(0.003, 0.012)
                v = y - abs(throw.between(-0.03, 0.03)) + swing * math.sin(5 * u + phase)
                canvas.disc(u, v, r, _FOAM, 190)
            canvas.note("row", "", 0.5, y)
        if back == "trees":
            canvas.polygon([*shore(0.83), (1.4, 1.4), (-0.4, 1.4)], (58, 84, 46))
            canvas.grove(110, (-0.15, 0.83, 1.15, 1.12), 0.03)
        elif back == "road":
            canvas.ground("meadow", [*shore(0.8), (1.4, 1.4), (-0.4, 1.4)])
            canvas.road([(-0.4, 0.9), (1.4, 0.9)], 0.07)
        else:
            canvas.ground("meadow", [*shore(0.82), (1.4, 1.4), (-0.4, 1.4)])
            for x in _row(12, -0.2, 1.2):
                canvas.house(x, 0.92, 0.085, 0.07, "gray")
        for x, y in throw.spots(umbrellas, 0.085, (0.12, 0.63, 0.88, 0.74)):
            canvas.disc(x + 0.01 * canvas.sun[0], y + 0.012, 0.021, (60, 50, 40), 120)
            canvas.disc(x, y, 0.021, _PAINT[shade])
            canvas.disc(x, y, 0.004, _FOAM)
            canvas.note("umbrella", shade, x, y)
        for x, y in throw.spots(boats, 0.14, (0.12, 0.09, 0.88, 0.24)):
            canvas.boat(x, y, 0.042, colour, throw.between(-0.5, 0.5), wake=True)

    return _Plan(
        [
            f"{surf} {_are(waves)} in the {water} ocean near a yellow beach (with {tents}) .",
            f"{tents} {_are(umbrellas)} on the yellow beach between {water} ocean and {land} .",
            f"{land} (and {tents}) are near a beach with {surf} .",
            f"{ships} {_are(boats)} in the {water} sea next to a beach with {land} .",
            f"the {water} sea (with {ships}) beat {surf} on the yellow beach .",
            f"a yellow beach (with {tents}) is near {land} and {water} ocean (with {ships}) .",
            f"{surf} (and {ships}) can be seen in the {water} ocean near {land} .",
        ],
        paint,
    )


def _bank(canvas: _Canvas, kind: str, box: tuple[float, float, float, float]) -> None:
    """What lies beside a river, a track or a road: fills (x0, y0, x1, y1) with `kind`."""
    x0, y0, x1, y1 = box
    if kind == "green trees":
        canvas.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], (56, 80, 44))
        canvas.grove(round(150 * (x1 - x0) * (y1 - y0)) + 10, box, 0.032)
    elif kind == "buildings":
        for y in _row(max(1, round((y1 - y0) / 0.2)), y0, y1):
            for x in _row(max(1, round((x1 - x0) / 0.2)), x0, x1):
                w, h = canvas.dice.between(0.1, 0.16), canvas.dice.between(0.1, 0.15)
                roof = canvas.dice.pick(("gray", "white", "brown", "red"))
                canvas.building(x, y, w, h, roof, 0.035)
    elif kind == "farmlands":
        rows = _row(round((y1 - y0) / 0.2), y0, y1)
        for y in rows:
            crop = canvas.dice.pick(("green", "dark", "yellow", "brown"))
            soil = _GROUND[f"{crop} crop"]
            canvas.box((x0 + x1) / 2, y, x1 - x0, 0.19, _shade(soil.light, 0.92))
            for k in _row(9, y - 0.09, y + 0.09):
                canvas.line([(x0, k), (x1, k)], 0.006, soil.dark, 110)
    else:
        canvas.ground("khaki", [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


_BANKS = ("green trees", "buildings", "farmlands", "bareland")


def _bridge(dice: _Dice) -> _Plan:
    bridges, cars, boats = dice.count(1, 2), dice.count(0, 4), dice.count(0, 3)
    water, deck = dice.pick(("green", "dark", "brown", "blue")), dice.pick(("gray", "white"))
    colour, hull = dice.pick(("red", "blue", "yellow")), dice.pick(("white", "red"))
    left, right = dice.some(_BANKS, 2) if dice.unit() < 0.7 else [dice.pick(_BANKS)] * 2
    turn = _heading(dice)
    spans, are = _n(bridges, f"{deck} bridge"), _are(bridges)
    banks = (
        f"{left} on both sides"
        if left == right
        else f"{left} on one side and {right} on the other side"
    )
    traffic = _n(cars, f"{colour} car")
    ships = _n(boats, f"{hull} boat")

    def paint(canvas: _Canvas) -> None:
        throw = canvas.dice
        bend, canvas.turn = throw.between(-0.05, 0.05), turn
        canvas.ground("meadow")
        _bank(canvas, left, (-0.25, -0.25, 0.27, 1.25))
        _bank(canvas, right, (0.73, -0.25, 1.25, 1.25))
        edges = [_curve((x, -0.3), (x, 1.3), bend) for x in (0.29, 0.71)]
        for side in edges:
            canvas.line(side, 0.05, (150, 138, 104))
        canvas.ground(f"{water} water", edges[0] + edges[1][::-1])
        decks = [0.5] if bridges == 1 else [0.3, 0.7]
        for y in decks:
            ends = [(-0.3, y), (1.3, y)]
            canvas.line(ends, 0.1, _ASPHALT)
            rim = [(0.26, y - 0.06), (0.74, y - 0.06), (0.74, y + 0.06), (0.26, y + 0.06)]
            canvas.shadow(rim, 0.035)
            canvas.polygon(rim, _shade(_PAINT[deck], 0.8))
            canvas.box(0.5, y, 0.48, 0.094, _shade(_PAINT[deck], 1.04))
            for x in _row(20, -0.3, 1.3):
                canvas.line([(x - 0.02, y), (x + 0.02, y)], 0.006, (206, 178, 74))
            canvas.note("bridge", deck, 0.5, y)
        for k, x in enumerate(_row(cars, 0.22, 0.78)):
            lane = 0.022 if k % 2 else -0.022
            canvas.car(x, decks[k % bridges] + lane, colour, 0.0 if k % 2 else math.pi)
        free = (0.38, 0.1, 0.62, 0.38) if bridges == 1 else (0.38, 0.42, 0.62, 0.58)
        for x, y in throw.spots(boats, 0.12, free):
            canvas.boat(x, y, 0.04, hull, math.pi / 2 + throw.between(-0.3, 0.3))

    return _Plan(
        [
            f"{spans} {are} over a {water} river with {banks} .",
            f"{traffic} {_are(cars)} on {spans} over the {water} river .",
            f"{ships} {_are(boats)} in a {water} river with {spans} over it .",
            f"a {water} river (with {ships}) and {spans} has {banks} .",
            f"{spans} (with {traffic}) {are} across a river with {banks} .",
            f"the {water} river goes under {spans} (with {traffic}) near {right} .",
            f"we can see {spans} over the {water} river (with {ships}) .",
        ],
        paint,
    )


def _dense_residential(dice: _Dice) -> _Plan:
    main, odd = dice.some(("red", "gray", "brown", "blue", "white"), 2)
    odds, pools, streets = dice.count(1, 4), dice.count(0, 3), dice.count(2, 4)
    green, turn = dice.pick(("some", "many")), _heading(dice, 0.1)
    rest, ways = f"many {main} roofed houses", _n(streets, "parallel street")
    special = _n(odds, f"{odd} roofed house")
    baths = _n(pools, "swimming pool")

    def paint(canvas: _Canvas) -> None:
        throw, step = canvas.dice, 1 / streets
        canvas.turn = turn
        canvas.ground("city" if green == "some" else "meadow")
        for y in _row(streets, 0, 1):
            canvas.road([(-0.3, y), (1.3, y)], 0.045)
            canvas.note("street", "", 0.5, y)
        deep, wide = min(0.14, 0.27 * step + 0.012), 0.135
        slots = []
        for y in _row(streets + 2, -step, 1 + step):
            shift = throw.between(0, wide)
            for side in (-1, 1):
                gap = y + side * (0.03 + deep / 2 + 0.005)
                slots += [(x + shift, gap) for x in _row(11, -0.3, 1.185)]
            for _ in range(16 if green == "many" else 6):
                x, r = throw.between(-0.1, 1.1), throw.between(0.013, 0.024)
                canvas.tree(x, y + 0.5 * step + throw.between(-0.02, 0.02), r)
        inner = [spot for spot in slots if max(abs(spot[0] - 0.5), abs(spot[1] - 0.5)) < 0.34]
        chosen = set(throw.some(inner, odds + pools))
        special_roofs = sorted(chosen)[:odds]
        for x, y in slots:
            if not -0.1 < y < 1.1:
                continue
            if (x, y) in chosen and (x, y) not in special_roofs:
                canvas.box(x, y, wide * 0.9, deep, (98, 124, 76))
                canvas.pool(x, y)
                continue
            w, h = wide * throw.between(0.72, 0.86), deep * throw.between(0.72, 0.84)
            roof = odd if (x, y) in special_roofs else main
            canvas.house(x, y, max(w, h), min(w, h), roof, 0.0 if w >= h else math.pi / 2)

    return _Plan(
        [
            f"{special} {_are(odds)} among {rest} in a dense residential area .",
            f"a dense residential area with {ways} has {rest} (and {baths}) .",
            f"{rest} (and {baths}) are arranged along {ways} .",
            f"{rest} and {special} are [neatly|orderly] arranged with {green} green trees .",
            f"there {_are(pools)} {baths} between {rest} and {special} .",
            f"{ways} go through a dense residential area with {special} and {rest} .",
            f"{special} (and {baths}) can be seen among {rest} beside {ways} .",
        ],
        paint,
    )


def _farmland(dice: _Dice) -> _Plan:
    fields, shape = dice.count(2, 7), dice.pick(("strip", "strip", "circle"))
    fields = min(fields, 4) if shape == "circle" else fields
    one, two = dice.some(("green", "yellow", "brown"), 2)
    houses, turn = dice.count(0, 3), _heading(dice, 0.06)
    side = dice.pick(("road", "river", "trees"))
    soil = one if shape == "circle" else f"{one} and {two}"
    crops = f"{_NUMBERS[fields]} [pieces|strips] of {soil} farmlands"
    if shape == "circle":
        crops = f"{_NUMBERS[fields]} {one} [circle|round] farmlands"
    homes = _n(houses, "red roofed house")
    edge = {"road": "a straight road", "river": "a narrow river", "trees": "a row of green trees"}

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground("khaki" if shape == "circle" else "meadow")
        canvas.scrub(60)
        if shape == "circle":
            r = 0.17
            spots = [(0.26, 0.19), (0.74, 0.57), (0.74, 0.19), (0.26, 0.57)][:fields]
            canvas.ground(f"{one} crop", *(_oval(x, y, r, r) for x, y in spots))
            for x, y in spots:
                for k in range(1, 5):
                    ring = _oval(x, y, r * k / 5, r * k / 5)
                    canvas.line([*ring, ring[0]], 0.004, _GROUND[f"{one} crop"].dark, 90)
                t = throw.between(0, 6)
                canvas.line([(x, y), (x + r * math.cos(t), y + r * math.sin(t))], 0.005, _MARK)
                canvas.note("farmland", one, x, y)
        else:
            cuts = [k / fields + throw.between(-0.15, 0.15) / fields for k in range(1, fields)]
            strips = list(zip([-0.15, *cuts], [*cuts, 1.15], strict=True))
            for k, crop in enumerate((one, two)):
                corners = [[(a, -0.15), (b, -0.15), (b, 0.84), (a, 0.84)] for a, b in strips[k::2]]
                canvas.ground(f"{crop} crop", *corners)
            for k, (a, b) in enumerate(strips):
                crop = two if k % 2 else one
                for x in _row(round((b - a) / 0.022), a, b):
                    canvas.line([(x, -0.15), (x, 0.84)], 0.006, _GROUND[f"{crop} crop"].dark, 80)
                canvas.note("farmland", crop, (max(a, 0) + min(b, 1)) / 2, 0.4)
            for x in cuts:
                canvas.line([(x, -0.15), (x, 0.84)], 0.014, _DIRT)
        if side == "road":
            canvas.road([(-0.2, 0.9), (1.2, 0.9)], 0.045, _CONCRETE)
        elif side == "river":
            canvas.line(_curve((-0.2, 0.9), (1.2, 0.9), 0.012), 0.075, (128, 124, 84))
            canvas.line(_curve((-0.2, 0.9), (1.2, 0.9), 0.012), 0.055, (58, 92, 88))
        else:
            for x in _row(24, -0.1, 1.1):
                canvas.tree(x, 0.9 + throw.between(-0.012, 0.012), 0.028)
        for x in _row(houses, 0.3 - 0.08 * houses, 0.3 + 0.08 * houses):
            canvas.box(x, 0.79, 0.13, 0.09, (138, 132, 104))
            canvas.house(x, 0.79, 0.085, 0.06, "red")

    return _Plan(
        [
            f"{crops} are [next to|beside|near] {edge[side]} .",
            f"{homes} {_are(houses)} on the edge of {crops} .",
            f"{crops} (and {homes}) can be seen [near|next to] {edge[side]} .",
            f"there are {crops} (with {homes}) near {edge[side]} .",
            f"{edge[side]} is on one side of {crops} (with {homes}) .",
            f"we can see {crops} and {edge[side]} (near {homes}) .",
        ],
        paint,
    )


def _forest(dice: _Dice) -> _Plan:
    tone, place = dice.pick(("green", "dark green", "yellow")), dice.pick(list(_PLACES))
    kind, count = dice.pick(("house", "house", "lake", "car", "bareland")), dice.count(1, 3)
    colour = dice.pick(("red", "white", "blue"))
    word = dice.pick(("irregular", "round", "long"))
    thing, are = {
        "house": (_n(count, f"{colour} roofed house"), _are(count)),
        "lake": (f"[a|one] small {word} lake", "is"),
        "car": (f"a curved road with {_n(count, f'{colour} car')}", "is"),
        "bareland": (f"[a|one] {word} piece of bareland", "is"),
    }[kind]
    where = "through the middle" if kind == "car" else place
    wood, trees = f"{tone} forest", "yellow trees" if tone == "yellow" else "green trees"
    x0, y0 = _PLACES[place]
    turn = _heading(dice, 0.3) if kind == "car" else 0.0

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground({"green": "", "dark green": "dark ", "yellow": "autumn "}[tone] + "forest")
        if kind == "house":
            canvas.ground("lawn", _blob(throw, x0, y0, 0.13, 0.13, 0.2))
            canvas.line([(x0, y0), (round(x0), y0 + 0.1)], 0.014, _DIRT)
            for x, y in throw.spots(count, 0.115, (x0 - 0.08, y0 - 0.08, x0 + 0.08, y0 + 0.08)):
                canvas.house(x, y, 0.085, 0.06, colour, throw.pick((0.0, 0.4, 1.2, 2.0)))
        elif kind == "car":
            way = _curve((-0.3, 0.5), (1.3, 0.5), 0.12)
            canvas.road(way, 0.05)
            for k in throw.some((8, 11, 14, 17, 20, 23), count):
                (x, y), (u, v) = way[k], way[k + 1]
                canvas.car(x, y, colour, math.atan2(v - y, u - x))
        else:
            long, wobble = (0.17, 0.08) if word == "long" else (0.13, 0.12), 0.05
            outline = _blob(throw, x0, y0, *long, 0.3 if word == "irregular" else wobble)
            rim = [(x0 + 1.1 * (x - x0), y0 + 1.1 * (y - y0)) for x, y in outline]
            canvas.polygon(rim, (92, 92, 58))
            canvas.ground("green water" if kind == "lake" else "khaki", outline)

    return _Plan(
        [
            f"{thing} {are} {where} of a [dense|lush] {wood} .",
            f"a [large|vast] piece of {wood} with {thing} {where} .",
            f"{thing} {are} surrounded by many {trees} .",
            f"there {are} {thing} in the dense {wood} .",
            f"the {wood} is [lush|thick] and {thing} {are} {where} .",
            f"[only|just] {thing} {are} {where} of this [unbroken|vast] {wood} .",
        ],
        paint,
    )


def _parking(dice: _Dice) -> _Plan:
    rows, count, crowded = dice.count(2, 5), dice.count(1, 5), dice.unit() < 0.6
    colour = dice.pick(("red", "blue", "yellow") if crowded else ("red", "blue", "white", "yellow"))
    main = dice.pick(("white", "gray", "black"))
    side, roof = (
        dice.pick(("building", "trees", "road")),
        dice.pick(("white", "gray", "red", "blue")),
    )
    turn = _heading(dice)
    beside = {
        "building": f"a [large|big] building with {roof} roof",
        "trees": "a row of green trees",
        "road": "a straight road",
    }[side]
    few = _n(count, f"{colour} car")
    lot = f"{_NUMBERS[rows]} rows of parking spaces"
    are = _are(count)
    full = [
        f"many {main} cars and {few} are parked in a parking lot near {beside} .",
        f"{few} {are} among many {main} cars in the parking lot .",
        f"a parking lot with {lot} and many {main} cars is [next to|beside] {beside} .",
        f"a crowded parking lot with {few} is near {beside} .",
        f"many {main} cars and {few} are [neatly|orderly] parked in {lot} .",
        f"there {are} {few} between many {main} cars near {beside} .",
    ]
    empty = [
        f"{few} {are} parked in an [almost empty|empty] parking lot near {beside} .",
        f"[only|just] {few} {are} in a parking lot with {lot} .",
        f"a [large|broad] parking lot with {lot} has {few} in it .",
        f"the empty parking lot with {few} is [next to|beside] {beside} .",
        f"{few} {are} in {lot} [next to|near] {beside} .",
        f"there {are} few cars in the parking lot , {few} {are} near {beside} .",
    ]

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground("meadow")
        canvas.box(0.5, 0.43, 2.0, 0.8, (92, 93, 97))
        for _ in range(14):  # oil and patches
            x, y, r = throw.between(-0.1, 1.1), throw.between(0.05, 0.8), throw.between(0.02, 0.07)
            canvas.disc(x, y, r, (60, 60, 64), 40)
        if side == "building":
            canvas.building(0.5, 0.95, 0.8, 0.17, roof, 0.035)
        elif side == "trees":
            for x in _row(17, -0.1, 1.1):
                canvas.tree(x, 0.91, throw.between(0.026, 0.036))
        else:
            canvas.road([(-0.3, 0.92), (1.3, 0.92)], 0.085)
        length = 0.055 if rows == 5 else 0.06
        slots = []
        for y in _row(rows, 0.08, 0.82):
            for x in _row(19, -0.26, 1.26):
                edge = x - 0.04
                canvas.line([(edge, y - length), (edge, y + length)], 0.005, (186, 186, 180))
                slots.append((x, y))
            canvas.note("row", "", 0.5, y)
            canvas.line([(-0.3, y - length), (1.22, y - length)], 0.005, (186, 186, 180))
        inner = [spot for spot in slots if max(abs(spot[0] - 0.5), abs(spot[1] - 0.5)) < 0.37]
        chosen = set(throw.some(inner, count))
        for x, y in slots:
            if (x, y) in chosen or (crowded and throw.unit() < 0.8):
                heading = throw.pick((-1, 1)) * math.pi / 2 + throw.between(-0.05, 0.05)
                canvas.car(x, y, colour if (x, y) in chosen else main, heading, 0.036)
        for y in _row(rows - 1, 0.08 + 0.37 / rows, 0.82 - 0.37 / rows):
            canvas.tree(throw.between(-0.05, 1.05), y, 0.017)

    return _Plan(full if crowded else empty, paint)


def _pond(dice: _Dice) -> _Plan:
    ponds, boats = dice.pick((1, 1, 2)), dice.count(0, 4)
    water, shape = (
        dice.pick(("green", "dark", "blue", "brown")),
        dice.pick(("round", "irregular", "rectangular")),
    )
    colour, houses = dice.pick(("white", "red", "yellow")), dice.count(0, 2)
    around = dice.pick(("green trees", "green meadow", "bareland"))
    roof = dice.pick(("red", "blue", "white"))
    pools = _n(ponds, f"{shape} {water} pond")
    fleet = _n(boats, f"small {colour} boat")
    homes = _n(houses, f"{roof} roofed house")
    isle = ponds == 1 and dice.unit() < 0.4
    island = "a small island" if isle else _n(0, "island")
    are = _are(ponds)

    def paint(canvas: _Canvas) -> None:
        throw = canvas.dice
        soil = {"green trees": "meadow", "green meadow": "lawn", "bareland": "khaki"}[around]
        canvas.ground(soil)
        canvas.scrub(120)
        canvas.line(_curve((-0.1, 0.88), (1.1, 0.9), 0.02), 0.03, _shade(_DIRT, 1.05))
        if around == "green trees":
            canvas.grove(120, (0.0, 0.0, 1.0, 0.82), 0.028)
        spots = [(0.5, 0.42)] if ponds == 1 else [(0.27, 0.4), (0.74, 0.44)]
        a, b = (0.33, 0.28) if ponds == 1 else (0.19, 0.27)
        for x, y in spots:
            if shape == "rectangular":
                outline = _oval(x, y, a, b, 0.22)
            elif shape == "round":
                outline = _blob(throw, x, y, min(a, b), min(a, b), 0.03)
            else:
                outline = _blob(throw, x, y, a * 0.95, b * 0.95, 0.26)
            rim = [(x + 1.07 * (u - x), y + 1.07 * (v - y)) for u, v in outline]
            canvas.polygon(rim, (136, 128, 88) if around != "bareland" else (116, 104, 74))
            canvas.ground(f"{water} water", outline)
            canvas.note("pond", water, x, y)
        x, y = spots[0]
        if isle:
            canvas.ground("lawn", _blob(throw, x, y, 0.07, 0.06, 0.1))
            canvas.grove(7, (x - 0.04, y - 0.035, x + 0.04, y + 0.035), 0.02)
        reach = min(a, b) * 0.55
        for k in range(boats):  # on a ring: clear of the island, of the bank and of each other
            t = throw.between(0, 0.5) + k * 2 * math.pi / boats
            u, v = x + reach * math.cos(t), y + reach * math.sin(t)
            canvas.boat(u, v, 0.03, colour, throw.between(-3, 3))
        for u in throw.some((0.12, 0.32, 0.56, 0.8), houses):
            canvas.house(u, 0.8 if ponds == 2 else 0.82, 0.09, 0.065, roof)
        canvas.grove(12, (0.0, 0.94, 1.0, 1.0), 0.024)

    return _Plan(
        [
            f"{fleet} {_are(boats)} in {pools} surrounded by {around} ."
            if ponds == 1
            else f"{pools} (with {fleet}) are surrounded by {around} .",
            f"{pools} {are} [next to|near|beside] {around} (and {homes}) .",
            f"there {are} {pools} (with {fleet}) near a [narrow|small] road .",
            f"{around} (and {homes}) can be seen around {pools} .",
            f"{pools} (with {island}) (and {fleet}) {are} in the middle of {around} .",
            f"{homes} {_are(houses)} [next to|near] {pools} (with {fleet}) .",
            f"{pools} (with {fleet}) {are} between {around} and a road (with {homes}) .",
        ],
        paint,
    )


def _port(dice: _Dice) -> _Plan:
    piers, boats = dice.count(1, 4), dice.count(1, 10)
    water, colour = (
        dice.pick(("blue", "green", "dark")),
        dice.pick(("white", "white", "red", "blue")),
    )
    if water == "blue" and colour == "blue":
        colour = "yellow"
    ships, hull = dice.count(0, 2), dice.pick(("red", "black", "brown"))
    shore = dice.pick(("buildings", "green trees", "bareland"))
    turn = _heading(dice)
    fleet, are = _n(boats, f"small {colour} boat"), _are(boats)
    quays = _n(piers, "pier")
    big = _n(ships, f"large {hull} ship")

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground(f"{water} water")
        canvas.box(0.5, 1.06, 2.2, 0.62, _CONCRETE)
        canvas.box(0.5, 0.755, 2.2, 0.012, (206, 204, 196))
        _bank(canvas, shore, (-0.2, 0.82, 1.2, 1.22))
        berths = []
        for x in _row(piers, 0.1, 0.9):
            pier = [(x - 0.016, 0.3), (x + 0.016, 0.3), (x + 0.016, 0.76), (x - 0.016, 0.76)]
            canvas.shadow(pier, 0.014)
            canvas.polygon(pier, (178, 166, 144))
            canvas.note("pier", "", x, 0.5)
            berths += [(x, i, y) for i in (-1, 1) for y in _row(5, 0.3, 0.7)]
        for x, i, y in throw.some(berths, boats):
            canvas.boat(x + i * 0.065, y, 0.036, colour, throw.pick((0.0, math.pi)))
        for x in throw.some((0.3, 0.7), ships):
            y, c = 0.15, _PAINT[hull]
            body = [(x - 0.15, y - 0.036), (x + 0.1, y - 0.036), (x + 0.155, y)]
            body += [(x + 0.1, y + 0.036), (x - 0.15, y + 0.036)]
            canvas.shadow(body, 0.02)
            canvas.polygon(body, c)
            canvas.box(x - 0.015, y, 0.2, 0.042, _shade(c, 1.35))
            for u in _row(4, x - 0.07, x + 0.08):
                canvas.line([(u, y - 0.02), (u, y + 0.02)], 0.007, _shade(c, 0.8))
            canvas.box(x - 0.12, y, 0.035, 0.055, (226, 226, 220))
            canvas.note("ship", hull, x + 0.02, y)

    return _Plan(
        [
            f"{fleet} {are} docked [beside|along|near] {quays} in a port .",
            f"{fleet} (and {big}) can be seen in a port near {shore} .",
            f"a port with {quays} in {water} water is [next to|near] {shore} .",
            f"{big} {_are(ships)} near {quays} and {fleet} in the {water} sea .",
            f"there {are} {fleet} moored at {quays} in the port with {shore} .",
            f"{quays} and {fleet} are in {water} water near {shore} .",
            f"the {water} harbour near {shore} has {quays} and {fleet} (and {big}) .",
        ],
        paint,
    )


def _railway_station(dice: _Dice) -> _Plan:
    tracks, trains = dice.count(3, 7), dice.count(1, 3)
    colour, roof = (
        dice.pick(("white", "blue", "red", "green")),
        dice.pick(("gray", "white", "blue", "red")),
    )
    left, right = dice.some(_BANKS, 2)
    across, turn = dice.unit() < 0.4, _heading(dice)
    rails = _n(tracks, "railway track")
    cars = _n(trains, f"long {colour} train")
    hall = f"a long building with {roof} roof"
    spot = "across" if across else "beside"

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground("city")
        _bank(canvas, left, (-0.25, -0.25, 1.25, 0.1))
        _bank(canvas, right, (-0.25, 0.9, 1.25, 1.25))
        canvas.box(0.5, 0.54, 2.0, 0.56, (118, 110, 102))
        canvas.ground("gray", [(-0.3, 0.27), (1.3, 0.27), (1.3, 0.82), (-0.3, 0.82)])
        lanes = _row(tracks, 0.27, 0.82)
        for y in lanes:
            canvas.line([(-0.3, y), (1.3, y)], 0.034, (104, 94, 84))
            for x in _row(44, -0.3, 1.3):
                canvas.line([(x, y - 0.015), (x, y + 0.015)], 0.005, (72, 64, 58))
            for rail in (y - 0.009, y + 0.009):
                canvas.line([(-0.3, rail), (1.3, rail)], 0.004, (188, 186, 182))
            canvas.note("railway track", "", 0.5, y)
        for k in range(1, tracks, 2):
            y = 0.5 * (lanes[k - 1] + lanes[k])
            if 0.55 / tracks > 0.06:
                canvas.box(0.5, y, 0.9, 0.55 / tracks - 0.046, (186, 182, 172))
        slots = sorted(throw.some(lanes, trains))
        for y in slots:
            x = throw.between(0.2, 0.3) if across else throw.between(0.32, 0.68)
            wagons = _row(3 if across else 4, x - 0.2, x + 0.2)
            wide = (wagons[1] - wagons[0]) * 0.94
            for u in wagons:
                body = [(u - wide / 2, y - 0.018), (u + wide / 2, y - 0.018)]
                body += [(u + wide / 2, y + 0.018), (u - wide / 2, y + 0.018)]
                canvas.shadow(body, 0.014)
                canvas.polygon(body, _PAINT[colour])
                canvas.line([(u - wide / 2, y), (u + wide / 2, y)], 0.01, _PAINT[colour])
            canvas.note("train", colour, wagons[1], y)
        if across:
            canvas.building(0.68, 0.54, 0.15, 0.62, roof, 0.035)
        else:
            canvas.building(0.5, 0.18, 0.66, 0.1, roof, 0.03)

    return _Plan(
        [
            f"{cars} {_are(trains)} on {rails} in a railway station .",
            f"{hall} is {spot} {rails} with {cars} in a railway station .",
            f"a railway station with {rails} and {cars} is between {left} and {right} .",
            f"{left} and {right} are in two sides of a railway station with {rails} and {cars} .",
            f"there is {hall} {spot} {rails} near {left} .",
            f"{rails} with {cars} pass through {left} and {right} .",
        ],
        paint,
    )


def _sparse_residential(dice: _Dice) -> _Plan:
    houses, pools, cars = dice.count(1, 4), dice.count(0, 2), dice.count(0, 2)
    roof, paint_of = (
        dice.pick(("red", "gray", "white", "blue", "brown")),
        dice.pick(("white", "red")),
    )
    around, way = (
        dice.pick(("green trees", "meadow", "bareland")),
        dice.pick(("curved", "straight")),
    )
    turn = _heading(dice)
    homes, are = _n(houses, f"{roof} roofed house"), _are(houses)
    baths = _n(pools, "swimming pool")
    traffic = _n(cars, f"{paint_of} car")
    land = f"many {around}" if around == "green trees" else f"a piece of {around}"

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground({"green trees": "forest", "meadow": "meadow", "bareland": "brown"}[around])
        canvas.scrub(110)
        lane = _curve((-0.3, 0.82), (1.3, 0.82), 0.06 if way == "curved" else 0.0)
        canvas.road(lane, 0.055)
        canvas.grove(
            {"green trees": 70, "meadow": 26, "bareland": 12}[around], (0, 0, 1, 0.72), 0.03
        )
        plots = [(0.25, 0.22), (0.72, 0.25), (0.27, 0.57), (0.73, 0.58)]
        spots = throw.some(plots, houses)
        for x, y in spots:
            canvas.ground("lawn", _blob(throw, x, y, 0.17, 0.14, 0.12))
            canvas.line([(x, y), (x + 0.03, 0.82)], 0.018, (178, 170, 152))
            canvas.grove(5, (x - 0.16, y - 0.16, x + 0.16, y - 0.11), 0.024)
        for x, y in spots:
            angle = throw.between(-0.3, 0.3)
            canvas.house(x, y, throw.between(0.14, 0.17), 0.095, roof, angle)
        for k in range(pools):
            x, y = spots[k % houses]
            x += 0.14 if k < houses else -0.14
            canvas.pool(x, y + 0.03)
        for k in throw.some((10, 13, 16, 19, 22), cars):
            (u, v), (a, b) = lane[k], lane[k + 1]
            canvas.car(u, v + 0.012, paint_of, math.atan2(b - v, a - u), 0.026)

    return _Plan(
        [
            f"{homes} {are} surrounded by {land} near a {way} road .",
            f"{homes} (with {baths}) {are} [next to|near|beside] a {way} road .",
            f"a sparse residential area with {land} has {homes} (and {baths}) .",
            f"{traffic} {_are(cars)} on a {way} road near {homes} .",
            f"there {are} {homes} and {land} in a sparse residential area .",
            f"{homes} {are} scattered in {land} near a {way} road (with {traffic}) .",
            f"{baths} {_are(pools)} [next to|beside] {homes} surrounded by {land} .",
        ],
        paint,
    )


def _stadium(dice: _Dice) -> _Plan:
    shape, turn = dice.pick(("oval", "round", "rectangular")), _heading(dice, 0.1)
    seats, roof = dice.pick(("blue", "red", "yellow", "orange")), dice.pick(("white", "gray"))
    track = dice.pick([colour for colour in ("red", "blue") if colour != seats])
    field = dice.pick(("football field", "meadow"))
    courts, side = dice.count(0, 3), dice.pick(("trees", "cars", "road"))
    parks = dice.count(1, 6)
    colour = dice.pick(("white", "red", "blue"))
    yards = _n(courts, "tennis court")
    beside = {
        "trees": "a row of green trees",
        "cars": f"a parking lot with {_n(parks, f'{colour} car')}",
        "road": "a [wide|broad] road",
    }[side]
    arena = f"[a|one] [large|big] {shape} stadium" if shape != "oval" else "an oval stadium"
    name = f"stadium with {seats} seats"

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground("city")
        canvas.scrub(60)
        canvas.grove(26, (-0.1, -0.1, 1.1, 0.06))
        y = 0.42
        a, b = {"oval": (0.38, 0.29), "round": (0.31, 0.31), "rectangular": (0.36, 0.28)}[shape]
        power = 0.4 if shape == "rectangular" else 1.0
        canvas.polygon(_oval(0.5, y, a + 0.06, b + 0.06, power), (172, 168, 158))
        outer = _oval(0.5, y, a, b, power)
        canvas.shadow(outer, 0.04)
        canvas.polygon(outer, _PAINT[roof])
        for k in range(48):  # ribs of the roof
            u, v = outer[k]
            canvas.line(
                [(u, v), (0.5 + 0.72 * (u - 0.5), y + 0.72 * (v - y))], 0.005, (168, 170, 172)
            )
        canvas.polygon(_oval(0.5, y, a * 0.8, b * 0.8, power), _PAINT[seats])
        for tier in (0.75, 0.69):
            ring = _oval(0.5, y, a * tier, b * tier, power)
            canvas.line([*ring, ring[0]], 0.004, _shade(_PAINT[seats], 1.25))
        canvas.polygon(_oval(0.5, y, a * 0.64, b * 0.64, power), _shade(_PAINT[track], 1.08))
        canvas.polygon(_oval(0.5, y, a * 0.52, b * 0.5, power), (82, 126, 62))
        w, h = a * 0.66, b * 0.6
        for k, x in enumerate(_row(6, 0.5 - w / 2, 0.5 + w / 2)):
            canvas.box(x, y, w / 6 + 0.002, h, _shade((86, 134, 64), 1.0 + 0.1 * (k % 2)))
        if field == "football field":
            rim = [
                (0.5 + i * w / 2, y + j * h / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            canvas.line([*rim, rim[0]], 0.005, _MARK)
            canvas.line([(0.5, y - h / 2), (0.5, y + h / 2)], 0.005, _MARK)
            canvas.disc(0.5, y, h * 0.14, _MARK, 90)
        canvas.note("stadium", "", 0.5, y)
        for x in _row(courts, 0.5 - 0.1 * courts, 0.5 + 0.1 * courts):
            canvas.box(x, 0.835, 0.16, 0.085, (64, 118, 84))
            canvas.box(x, 0.835, 0.12, 0.058, (70, 110, 160))
            canvas.line([(x - 0.06, 0.835), (x + 0.06, 0.835)], 0.004, _MARK)
            canvas.line([(x, 0.803), (x, 0.867)], 0.006, _MARK)
            canvas.note("tennis court", "", x, 0.835)
        if side == "road":
            canvas.road([(-0.3, 0.945), (1.3, 0.945)], 0.07)
        elif side == "cars":
            canvas.box(0.5, 0.955, 1.8, 0.1, (96, 97, 100))
            for x in _row(18, -0.1, 1.1):
                canvas.line([(x, 0.92), (x, 0.99)], 0.004, _MARK)
            for k in throw.some(range(4, 13), parks):
                x = _row(18, -0.1, 1.1)[k] + 0.033
                canvas.car(x, 0.945, colour, math.pi / 2, 0.03)
        else:
            for x in _row(20, -0.1, 1.1):
                canvas.tree(x, 0.95, throw.between(0.024, 0.034))

    return _Plan(
        [
            f"{arena} with {seats} seats is [next to|near|beside] {beside} .",
            f"{arena} with a {field} and {track} track is near {beside} .",
            f"{yards} {_are(courts)} [next to|beside] a {name} and {roof} roof .",
            f"{yards} and {beside} are near {arena} with {seats} seats .",
            f"there is {arena} with {roof} roof and {seats} seats near {beside} .",
            f"the {shape} {name} and {roof} roof has a {field} and a {track} track .",
            f"{arena} with {track} running track is near {beside} (and {yards}) .",
        ],
        paint,
    )


def _storage_tanks(dice: _Dice) -> _Plan:
    big, small = dice.count(1, 6), dice.count(0, 6)
    colour = dice.pick(("white", "gray", "red", "green"))
    other = dice.pick(("white", "gray", "brown", "blue"))
    soil, side = (
        dice.pick(("bareland", "meadow", "gray ground")),
        dice.pick(("road", "river", "trees")),
    )
    turn = _heading(dice)
    if other == colour:
        other = "brown"
    tanks, are = _n(big, f"large {colour} storage tank"), _are(big)
    minor = _n(small, f"small {other} storage tank")
    edge = {"road": "a straight road", "river": "a {w} river", "trees": "a row of green trees"}[
        side
    ]
    water = dice.pick(("green", "dark", "brown"))
    edge = edge.format(w=water)

    def paint(canvas: _Canvas) -> None:
        canvas.turn = turn
        canvas.ground({"bareland": "khaki", "meadow": "meadow", "gray ground": "gray"}[soil])
        canvas.scrub(90)
        columns = 1 if big == 1 else 2 if big in (2, 4) else 3
        lines = -(-big // columns)
        cell = min(0.84 / columns, 0.54 / lines)
        r = min(0.17, 0.36 * cell)
        for k in range(big):
            x = _row(columns, 0.5 - columns * cell / 2, 0.5 + columns * cell / 2)[k % columns]
            y = _row(lines, 0.36 - lines * cell / 2, 0.36 + lines * cell / 2)[k // columns]
            canvas.box(x, y, cell * 0.97, cell * 0.97, (148, 132, 102))  # the bund
            canvas.box(x, y, cell * 0.9, cell * 0.9, (172, 160, 134))
            canvas.line([(x, y), (x, 0.665)], 0.009, (196, 194, 186))
            canvas.tank(x, y, r, colour)
        canvas.line([(0.05, 0.665), (0.95, 0.665)], 0.009, (196, 194, 186))  # the pipe
        for x in _row(small, 0.5 - 0.06 * small, 0.5 + 0.06 * small):
            canvas.tank(x, 0.75, 0.037, other)
        if side == "road":
            canvas.road([(-0.3, 0.9), (1.3, 0.9)], 0.07)
        elif side == "river":
            bank = _curve((-0.3, 0.87), (1.3, 0.87), 0.015)
            canvas.ground(f"{water} water", [*bank, (1.3, 1.4), (-0.3, 1.4)])
            canvas.line(bank, 0.015, (150, 138, 104))
        else:
            canvas.grove(44, (-0.1, 0.86, 1.1, 0.97), 0.028)

    return _Plan(
        [
            f"{tanks} {are} on a piece of {soil} near {edge} .",
            f"{tanks} (and {minor}) can be seen [next to|near|beside] {edge} .",
            f"{minor} {_are(small)} near {tanks} .",
            f"there {are} {tanks} surrounded by {soil} [next to|near] {edge} .",
            f"we can see {tanks} (and {minor}) on the {soil} .",
            f"{tanks} (with {minor}) {are} [neatly|orderly] built near {edge} .",
        ],
        paint,
    )


def _crossroads(dice: _Dice) -> _Plan:
    ring, cars, arms = dice.unit() < 0.5, dice.count(1, 6), dice.count(3, 4)
    colour = dice.pick(("red", "white", "blue", "yellow"))
    first, second = dice.some(_BANKS, 2)
    turn = _heading(dice, 0.35)
    core = dice.pick(("green lawn", "bareland", "green trees"))
    traffic, are = _n(cars, f"{colour} car"), _are(cars)
    roads = f"{_NUMBERS[arms]} roads"
    node = f"a round crossroads with {core} in the middle" if ring else "a crossroads"

    def paint(canvas: _Canvas) -> None:
        throw, canvas.turn = canvas.dice, turn
        canvas.ground("meadow")
        for k, (x, y) in enumerate(((-0.25, -0.25), (0.62, -0.25), (0.62, 0.62), (-0.25, 0.62))):
            _bank(canvas, (first, second)[k % 2], (x, y, x + 0.63, y + 0.63))
        if arms == 3:
            _bank(canvas, second, (0.38, 0.62, 0.62, 1.25))
        ends = [(1.3, 0.5), (0.5, -0.3), (-0.3, 0.5), (0.5, 1.3)][:arms]
        for end in ends:
            canvas.line([(0.5, 0.5), end], 0.17, (176, 168, 150))
        for end in ends:
            canvas.line([(0.5, 0.5), end], 0.14, _ASPHALT)
        if ring:
            canvas.disc(0.5, 0.5, 0.255, (176, 168, 150))
            canvas.disc(0.5, 0.5, 0.24, _ASPHALT)
            canvas.disc(0.5, 0.5, 0.125, (190, 186, 176))
            soil = {"green lawn": "lawn", "bareland": "khaki", "green trees": "lawn"}[core]
            canvas.ground(soil, _oval(0.5, 0.5, 0.112, 0.112))
            if core == "green trees":
                canvas.grove(16, (0.43, 0.43, 0.57, 0.57), 0.026)
            else:
                canvas.disc(0.5, 0.5, 0.03, (214, 210, 200))
        clear = 0.25 if ring else 0.1
        slots = []
        for u, v in ends:
            canvas.note("road", "", 0.5 + 0.4 * (u - 0.5), 0.5 + 0.4 * (v - 0.5))
            dx, dy = (u - 0.5) / 0.8, (v - 0.5) / 0.8
            for step in range(9):
                near = clear + 0.02 + 0.06 * step
                dash = [(0.5 + dx * d, 0.5 + dy * d) for d in (near, near + 0.03)]
                canvas.line(dash, 0.007, _MARK)
            if not ring:
                for shift in _row(6, -0.06, 0.06):  # zebra crossing
                    bar = [
                        (0.5 + dx * d - dy * shift, 0.5 + dy * d + dx * shift)
                        for d in (0.085, 0.115)
                    ]
                    canvas.line(bar, 0.01, _MARK)
            for side in (-1, 1):
                for d in (0.3, 0.39):
                    x, y = 0.5 + dx * d - side * dy * 0.036, 0.5 + dy * d + side * dx * 0.036
                    slots.append((x, y, math.atan2(dy, dx) + (0 if side > 0 else math.pi)))
        for x, y, angle in throw.some(slots, cars):
            canvas.car(x, y, colour, angle, 0.03)

    return _Plan(
        [
            f"{traffic} {are} on {node} between {first} and {second} .",
            f"{roads} meet at {node} between {first} and {second} .",
            f"{first} and {second} are around {node} with {traffic} on it .",
            f"{roads} with {traffic} are connected by {node} near {first} .",
            f"there {are} {traffic} passing {node} next to {second} .",
            f"{node} connects {roads} near {second} with {traffic} on them .",
        ],
        paint,
    )


_SCENES: dict[str, Callable[[_Dice], _Plan]] = {
    "airport": _airport,
    "bare land": _bare_land,
    "baseball field": _baseball_field,
    "beach": _beach,
    "bridge": _bridge,
    "crossroads": _crossroads,
    "dense residential": _dense_residential,
    "farmland": _farmland,
    "forest": _forest,
    "parking": _parking,
    "pond": _pond,
    "port": _port,
    "railway station": _railway_station,
    "sparse residential": _sparse_residential,
    "stadium": _stadium,
    "storage tanks": _storage_tanks,
}
SCENES: tuple[str, ...] = tuple(_SCENES)


# -- the data set -----------------------------------------------------------------------------


def split(index: int) -> str:
    """'train', 'val' or 'test': consecutive ranges of the index. Raises IndexError outside them."""
    first = 0
    for name, count in COUNTS.items():
        if first <= index < first + count:
            return name
        first += count
    raise IndexError(f"synthetic image {index} does not exist; use an index from 0 to {first - 1}")


def _scene(index: int) -> str:
    split(index)  # the range check
    return SCENES[index % len(SCENES)]


def filename(index: int) -> str:
    """File name, scene first: 'storagetanks_00015.png'. Raises IndexError as `split`."""
    return f"{_scene(index).replace(' ', '')}_{index:05d}.png"


def describe(index: int, seed: int = 0) -> tuple[str, list[str]]:
    """Scene and five different captions of an image, without drawing it.

    Captions are lower case, end in " ." and state only what `render` draws for the same index and
    seed. Raises IndexError as `split`.
    """
    scene = _scene(index)
    dice = _Dice(seed, index)
    sentences = [_WITH.sub(_kept, sentence) for sentence in _SCENES[scene](dice).sentences]
    true = [sentence for sentence in sentences if not _NOTHING.search(sentence)]
    return scene, [_settle(dice, sentence) for sentence in dice.some(true, 5)]


_WITH, _CHOICE = re.compile(r" \(([^()]*)\)"), re.compile(r"\[([^\[\]]*)\]")
_NOTHING = re.compile(r"\bno ")


def _kept(part: re.Match[str]) -> str:
    """' with two boats' for ' (with two boats)', nothing for ' (with no boats)'."""
    return "" if _NOTHING.search(part[1]) else f" {part[1]}"


def _settle(dice: _Dice, sentence: str) -> str:
    """Settles every [this|that] of a sentence, the innermost first."""
    while "[" in sentence:
        sentence = _CHOICE.sub(lambda found: dice.pick(found[1].split("|")), sentence)
    return sentence


def render(index: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB picture of an index; the same scene at every size, in pixels.

    Raises IndexError as `split`, ValueError for a size below 32.
    """
    if size < 32:
        raise ValueError(f"synthetic images start at 32 pixels; got size={size}")
    return _draw(index, size, seed).finish()


def _draw(index: int, size: int, seed: int = 0) -> _Canvas:
    """The canvas of an image, with `drawn`, what was put on it."""
    plan = _SCENES[_scene(index)](_Dice(seed, index))
    canvas = _Canvas(size, _Dice(seed, index, 1))
    plan.paint(canvas)
    return canvas
