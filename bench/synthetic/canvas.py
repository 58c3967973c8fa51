"""A picture from above: textured grounds, flat shapes, things such as planes, the look of a sensor.

Pictures are drawn two to four times too large and averaged down, which smooths all edges.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.synthetic.colours import ASPHALT, FOAM, GROUND, MARK, PAINT, Colour, shaded
from bench.synthetic.shapes import Box, Dice, Point, turned

# Half an outline, which is mirrored, and the height, for things of length 2 that point right.
THINGS: dict[str, tuple[list[Point], float]] = {
    "plane": (
        [
            *((1, 0), (0.9, 0.07), (0.3, 0.1), (-0.22, 0.86), (-0.42, 0.86), (-0.16, 0.1)),
            *((-0.68, 0.07), (-0.9, 0.36), (-1.02, 0.36), (-0.92, 0)),
        ],
        0.22,
    ),
    "boat": ([(1, 0), (0.45, 0.3), (-0.7, 0.32), (-1, 0.24)], 0.2),
    "car": ([(1, 0.48), (-1, 0.48)], 0.4),
}


class Object(NamedTuple):
    """What was drawn: kind and colour as the captions say them, centre in unit coordinates."""

    kind: str
    colour: str
    x: float
    y: float


class Canvas:
    """A picture of `size` pixels; all coordinates are turned by `turn` radians about its middle."""

    def __init__(self, size: int, dice: Dice, turn: float = 0.0) -> None:
        self.size = size
        self.factor = 4 if size <= 96 else 3 if size <= 256 else 2  # how much too large it is drawn
        self.side = size * self.factor
        self.dice, self.turn = dice, turn
        self.drawn: list[Object] = []
        self.image = Image.new("RGB", (self.side, self.side))
        self.solid = ImageDraw.Draw(self.image)
        self.glass = ImageDraw.Draw(self.image, "RGBA")  # slower, for colours with an alpha
        angle = dice.between(0.4, 1.2)
        self.sun = (math.cos(angle), math.sin(angle))  # where shadows fall

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Unit coordinates -> pixels of the enlarged picture."""
        c, s = math.cos(self.turn) * self.side, math.sin(self.turn) * self.side
        ox = 0.5 * (self.side - c + s)
        oy = 0.5 * (self.side - s - c)
        return [(ox + c * x - s * y, oy + s * x + c * y) for x, y in points]

    def note(self, kind: str, colour: str, x: float, y: float) -> None:
        """Remember what was drawn, for tests of the captions."""
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
        grey.putpalette(ramp.tobytes())  # grey becomes the colours from the soil's dark to light
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
        for i, j in np.ndindex(3, 3):  # the nearest crown is in this or a neighbouring cell
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

    def _pen(self, colour: Colour) -> ImageDraw.ImageDraw:
        return self.solid if len(colour) == 3 else self.glass

    def polygon(self, points: Sequence[Point], colour: Colour, tall: float = 0.0) -> None:
        """A filled outline; `tall` is how high it stands, which gives it a shadow."""
        if tall:
            self.shadow(points, tall)
        self._pen(colour).polygon(self.place(points), fill=colour)

    def shadow(self, points: Sequence[Point], tall: float) -> None:
        dx, dy = (part * tall * self.side for part in self.sun)
        moved = [(u + dx, v + dy) for u, v in self.place(points)]
        self.glass.polygon(moved, fill=(14, 18, 26, 125))

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        colour: Colour,
        angle: float = 0.0,
        tall: float = 0.0,
    ) -> list[Point]:
        """A filled rectangle around (x, y), its width along `angle`; returns its corners."""
        corners = turned([(-w, -h), (w, -h), (w, h), (-w, h)], x, y, 0.5, angle)
        self.polygon(corners, colour, tall)
        return corners

    def disc(self, x: float, y: float, r: float, colour: Colour, shift: float = 0.0) -> None:
        """A filled circle, moved by `shift` in the direction in which shadows fall."""
        ((u, v),) = self.place([(x, y)])
        u, v = u + shift * self.side * self.sun[0], v + shift * self.side * self.sun[1]
        r *= self.side
        self._pen(colour).ellipse((u - r, v - r, u + r, v + r), fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        pixels = max(1, round(width * self.side))
        self._pen(colour).line(self.place(points), fill=colour, width=pixels, joint="curve")

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

    # -- things, each noted under the kind and the colour that captions give it ------------------

    def _thing(self, kind: str, x: float, y: float, half: float, colour: str, angle: float) -> None:
        side, tall = THINGS[kind]
        outline = side + [(a, -b) for a, b in reversed(side)]
        self.polygon(turned(outline, x, y, half, angle), PAINT[colour], half * tall)
        self.note(kind, colour, x, y)

    def plane(self, x: float, y: float, half: float, colour: str, angle: float) -> None:
        self._thing("plane", x, y, half, colour, angle)
        spine = turned([(-0.95, 0), (-0.35, 0)], x, y, half, angle)
        self.line(spine, half * 0.07, shaded(PAINT[colour], 0.7))

    def boat(
        self, x: float, y: float, half: float, colour: str, angle: float, wake: bool = False
    ) -> None:
        if wake:
            self.polygon(turned([(-1, 0), (-3, 0.5), (-3, -0.5)], x, y, half, angle), (*FOAM, 70))
        self._thing("boat", x, y, half, colour, angle)
        ((u, v),) = turned([(-0.45, 0)], x, y, half, angle)
        self.box(u, v, half * 0.5, half * 0.3, (92, 92, 96), angle)

    def car(self, x: float, y: float, colour: str, angle: float, half: float = 0.024) -> None:
        self._thing("car", x, y, half, colour, angle)
        ((u, v),) = turned([(0.5, 0)], x, y, half, angle)
        self.box(u, v, half * 0.26, half * 0.8, (52, 58, 66), angle)

    def house(self, x: float, y: float, w: float, h: float, roof: str, angle: float = 0.0) -> None:
        """A hipped roof of width w >= h along `angle`, its faces shaded by the sun."""
        colour = shaded(PAINT[roof], self.dice.between(0.92, 1.08))
        corners = self.box(x, y, w, h, colour, angle)
        self.shadow(corners, 0.3 * h)
        ridge = 0.5 * (w - 0.8 * h)
        left, right = turned([(-ridge, 0), (ridge, 0)], x, y, 1.0, angle)
        a, b, e, f = corners
        faces = ((a, b, right, left), (b, e, right), (e, f, left, right), (f, a, left))
        for k, face in enumerate(faces):  # brighter the more a face looks at the sun
            facing = angle + self.turn + 0.5 * (k - 1) * math.pi
            lit = -math.cos(facing) * self.sun[0] - math.sin(facing) * self.sun[1]
            self.polygon(face, shaded(colour, 1 + 0.2 * lit))
        self.note("house", roof, x, y)

    def building(self, x: float, y: float, w: float, h: float, roof: str, tall: float) -> None:
        """A flat roof with a parapet and a few boxes on it."""
        colour = shaded(PAINT[roof], self.dice.between(0.94, 1.04))
        self.box(x, y, w, h, shaded(colour, 0.82), tall=tall)
        self.box(x, y, w - 0.014, h - 0.014, colour)
        for _ in range(3):
            u, v = (self.dice.between(-0.36, 0.36) for _ in range(2))
            self.box(x + u * w, y + v * h, 0.03, 0.022, shaded(colour, 0.86))
        self.note("building", roof, x, y)

    def tank(self, x: float, y: float, r: float, colour: str) -> None:
        paint = PAINT[colour]
        for shift in (0.25, 0.5):
            self.disc(x, y, r, (14, 18, 26, 105), shift * r)
        self.disc(x, y, r, shaded(paint, 0.74))
        self.disc(x, y, r * 0.9, paint)
        for k in range(3):
            spoke = turned([(-0.86 * r, 0), (0.86 * r, 0)], x, y, 1.0, k * math.pi / 3)
            self.line(spoke, 0.004, shaded(paint, 0.88))
        self.note("storage tank", colour, x, y)

    def pool(self, x: float, y: float) -> None:
        self.box(x, y, 0.08, 0.05, (206, 204, 196))
        self.box(x, y, 0.068, 0.038, (84, 178, 204))
        self.note("swimming pool", "", x, y)

    def umbrella(self, x: float, y: float, colour: str) -> None:
        self.disc(x + 0.01 * self.sun[0], y + 0.012, 0.021, (60, 50, 40, 120))
        self.disc(x, y, 0.021, PAINT[colour])
        self.disc(x, y, 0.004, FOAM)
        self.note("umbrella", colour, x, y)

    def tree(self, x: float, y: float, r: float, noted: bool = False) -> None:
        green = shaded((54, 82, 44), self.dice.between(0.72, 1.2))
        self.disc(x, y, r, (12, 18, 14, 110), 0.6 * r)
        self.disc(x, y, r, green)
        self.disc(x, y, 0.55 * r, shaded(green, 1.32), -0.3 * r)
        if noted:
            self.note("tree", "green", x, y)

    def grove(self, count: int, box: Box, r: float = 0.022) -> None:
        """Trees all over a box; not counted by captions."""
        for _ in range(count):
            x, y = self.dice.between(box[0], box[2]), self.dice.between(box[1], box[3])
            self.tree(x, y, r * self.dice.between(0.7, 1.35))

    def scrub(self, count: int) -> None:
        """Clutter: specks of dry bush and stone all over."""
        for _ in range(count):
            x, y, r = self.dice.unit(), self.dice.unit(), self.dice.between(0.003, 0.011)
            self.disc(x, y, r, (*shaded((74, 78, 52), self.dice.between(0.7, 1.3)), 150))

    def finish(self) -> NDArray[np.uint8]:
        """(size, size, 3) uint8: averaged down, with the grain and the tint of a sensor."""
        picture = np.asarray(self.image.reduce(self.factor), dtype=np.float32)
        grain = Image.fromarray(self._noise(128))
        grain = grain.resize((self.size, self.size), Image.Resampling.BILINEAR)
        tint = [self.dice.between(0.96, 1.04) for _ in range(3)]
        light = 1 + 0.035 * np.asarray(grain, dtype=np.float32)[:, :, None]
        picture = picture * light * np.asarray(tint, dtype=np.float32)
        return picture.clip(0, 255).astype(np.uint8)
