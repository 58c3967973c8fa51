"""The things on a canvas, each noted under the kind and the colour that captions give it."""

import math

from bench.synthetic.canvas import Canvas
from bench.synthetic.colours import FOAM, PAINT, Colour, shaded


class Scenery(Canvas):
    """A canvas that knows how planes, boats, cars, houses, tanks, pools and trees look."""

    def plane(self, x: float, y: float, half: float, colour: str, angle: float) -> None:
        side = [(1, 0), (0.9, 0.07), (0.3, 0.1), (-0.22, 0.86), (-0.42, 0.86), (-0.16, 0.1)]
        side += [(-0.68, 0.07), (-0.9, 0.36), (-1.02, 0.36), (-0.92, 0)]
        outline = side + [(a, -b) for a, b in reversed(side)]
        c, s = math.cos(angle) * half, math.sin(angle) * half
        points = [(x + a * c - b * s, y + a * s + b * c) for a, b in outline]
        self.shadow(points, half * 0.22)
        self.polygon(points, PAINT[colour])
        spine = [(x + a * c, y + a * s) for a in (-0.95, -0.35)]
        self.line(spine, half * 0.07, shaded(PAINT[colour], 0.7))
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
            self.polygon(tail, FOAM, 70)
        points = [(x + a * c - b * s, y + a * s + b * c) for a, b in outline]
        self.shadow(points, half * 0.2)
        self.polygon(points, PAINT[colour])
        self.box(x - 0.45 * c, y - 0.45 * s, half * 0.5, half * 0.3, (92, 92, 96), angle)
        self.note("boat", colour, x, y)

    def car(self, x: float, y: float, colour: str, angle: float, half: float = 0.024) -> None:
        c, s = math.cos(angle) * half, math.sin(angle) * half
        points = [(-1.0, -0.48), (1.0, -0.48), (1.0, 0.48), (-1.0, 0.48)]
        corners = [(x + a * c - b * s, y + a * s + b * c) for a, b in points]
        self.shadow(corners, half * 0.4)
        self.polygon(corners, PAINT[colour])
        self.box(x + 0.5 * c, y + 0.5 * s, half * 0.26, half * 0.8, (52, 58, 66), angle)
        self.note("car", colour, x, y)

    def house(self, x: float, y: float, w: float, h: float, roof: str, angle: float = 0.0) -> None:
        """A hipped roof of width w >= h along `angle`, its faces shaded by the sun."""
        colour = shaded(PAINT[roof], self.dice.between(0.92, 1.08))
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
            self.polygon(face, shaded(colour, 1 + 0.2 * lit))
        self.note("house", roof, x, y)

    def building(self, x: float, y: float, w: float, h: float, roof: str, tall: float) -> None:
        """A flat roof with a parapet and a few boxes on it."""
        colour = shaded(PAINT[roof], self.dice.between(0.94, 1.04))
        corners = [(x + i * w / 2, y + j * h / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        self.shadow(corners, tall)
        self.polygon(corners, shaded(colour, 0.82))
        self.box(x, y, w - 0.014, h - 0.014, colour)
        for _ in range(3):
            u, v = (self.dice.between(-0.36, 0.36) for _ in range(2))
            self.box(x + u * w, y + v * h, 0.03, 0.022, shaded(colour, 0.86))
        self.note("building", roof, x, y)

    def tank(self, x: float, y: float, r: float, colour: str) -> None:
        paint = PAINT[colour]
        ((u, v),) = self.place([(x, y)])
        for k in (0.25, 0.5):
            du, dv = (u + k * r * self.side * self.sun[0], v + k * r * self.side * self.sun[1])
            q = r * self.side
            self.glass.ellipse((du - q, dv - q, du + q, dv + q), fill=(14, 18, 26, 105))
        self.disc(x, y, r, shaded(paint, 0.74))
        self.disc(x, y, r * 0.9, paint)
        for k in range(3):
            t = k * math.pi / 3
            ends = [
                (x + i * 0.86 * r * math.cos(t), y + i * 0.86 * r * math.sin(t)) for i in (-1, 1)
            ]
            self.line(ends, 0.004, shaded(paint, 0.88))
        self.note("storage tank", colour, x, y)

    def pool(self, x: float, y: float) -> None:
        self.box(x, y, 0.08, 0.05, (206, 204, 196))
        self.box(x, y, 0.068, 0.038, (84, 178, 204))
        self.note("swimming pool", "", x, y)

    def tree(self, x: float, y: float, r: float, noted: bool = False) -> None:
        ((u, v),) = self.place([(x, y)])
        q, (dx, dy) = r * self.side, self.sun
        green = shaded((54, 82, 44), self.dice.between(0.72, 1.2))
        for shift, scale, ink in (
            (0.6, 1.0, (12, 18, 14, 110)),
            (0.0, 1.0, (*green, 255)),
            (-0.3, 0.55, (*shaded(green, 1.32), 255)),
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
            self.disc(x, y, r, shaded(colour, self.dice.between(0.7, 1.3)), 150)
