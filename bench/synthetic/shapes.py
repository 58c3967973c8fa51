"""What each thing looks like from above: outlines in colours, one on top of the other.

A point is a complex number, x to the right and y down. Outlines reach from -1 to 1 and head right.
"""

import cmath
import math
from typing import NamedTuple

Colour = tuple[int, ...]
"""Red, green, blue, and how rough the surface is: how much of the grain it shows, up to 255."""
Outlines = list[list[complex]]
Layer = tuple[str, Outlines]
"""A colour and what it fills. {} is the thing's own colour, - and + are darker and brighter."""


class Shape(NamedTuple):
    size: float  # half of the usual length, if a picture's side is 1; 0: as large as its cell
    colours: str  # the usual ones
    layers: list[Layer]
    tall: float = 0.0  # how long its shadow is, in the same unit


CARS, ROOFS, WATER = "white red blue yellow", "red blue white gray brown", "blue green dark brown"
BOATS, CROPS = "white red yellow", "green dark yellow brown"


def rect(a: float, b: float, x: float = 0.0, y: float = 0.0) -> Outlines:
    """A rectangle around (x, y); a and b are half of its sides."""
    return [[complex(x + a * u, y + b * v) for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]]


def oval(a: float = 1.0, b: float = 1.0, power: float = 1.0, steps: int = 28) -> Outlines:
    """An oval; a power near 0 makes it a rectangle with round corners."""

    def along(part: float) -> float:
        return math.copysign(abs(part) ** power, part)

    circle = [cmath.rect(1, 2 * math.pi * k / steps) for k in range(steps)]
    return [[complex(a * along(p.real), b * along(p.imag)) for p in circle]]


def blob(a: float) -> Outlines:
    """An irregular oval."""
    ts = [math.pi * k / 14 for k in range(28)]
    return [[cmath.rect(a * (0.9 + math.sin(2 * t) / 5 + math.cos(3 * t) / 10), t) for t in ts]]


def fan(radius: float) -> Outlines:
    """A quarter of a disc around (-0.9, 0)."""
    return [[-0.9, *(-0.9 + cmath.rect(radius, k * math.pi / 48) for k in range(-12, 13))]]


def band(half: float, reach: float = 30.0) -> Outlines:
    """A strip from one edge of the picture to the other, and longer, so that it can be turned."""
    along = [reach * k / 15 for k in range(-15, 16)]
    return [[complex(x, -half) for x in along] + [complex(x, half) for x in along[::-1]]]


def row(outlines: Outlines, count: int, step: complex, middle: complex = 0) -> Outlines:
    """Copies side by side."""
    shifts = [middle + (k - (count - 1) / 2) * step for k in range(count)]
    return [[p + shift for p in outline] for shift in shifts for outline in outlines]


def turned(outlines: Outlines, *ways: complex) -> Outlines:
    return [[p * way for p in outline] for way in ways for outline in outlines]


def bent(layers: list[Layer], height: float, length: float) -> list[Layer]:
    """The same in waves."""
    return [
        (colour, [[p + 1j * height * math.sin(p.real / length) for p in o] for o in outlines])
        for colour, outlines in layers
    ]


def tall(colour: str, outlines: Outlines) -> list[Layer]:
    """A layer with its shadow."""
    return [("shadow", outlines), (colour, outlines)]


def mirrored(*half: complex) -> Outlines:
    return [[*half, *(p.conjugate() for p in reversed(half))]]


def junction(*arms: complex) -> Shape:
    """Roads that leave the middle in some directions, with zebra crossings."""
    marks = row(rect(0.5, 0.05), 12, 1.6, 11.5) + row(rect(0.3, 0.07), 6, 0.28j, 1.9)
    parts = ("curb", rect(13, 1.25, 12)), ("asphalt", rect(13, 1, 12)), ("white", marks)
    return Shape(0.07, "gray", [(colour, turned(part, *arms)) for colour, part in parts])


def stadium(outlines: Outlines) -> Shape:
    rings = {"{}": 0.82, "{}-": 0.75, "{}+": 0.69}
    seats = [(colour, turned(outlines, share)) for colour, share in rings.items()]
    return Shape(0.36, "blue yellow orange green", [*tall("white", outlines), *seats], 0.045)


# fmt: off
COLOURS: dict[str, Colour] = {
    "white": (233, 233, 228, 14), "gray": (142, 144, 146, 14), "black": (44, 45, 50, 14),
    "red": (164, 66, 52, 14), "blue": (62, 98, 156, 14), "yellow": (222, 184, 62, 14),
    "green": (74, 122, 70, 14), "brown": (120, 86, 62, 14), "orange": (212, 124, 52, 14),
    "shadow": (40, 46, 42, 30), "asphalt": (90, 91, 95, 24), "concrete": (160, 159, 154, 30),
    "curb": (154, 144, 122, 40), "pool": (84, 178, 204, 10), "lawn": (90, 130, 66, 50),
    "meadow": (100, 118, 68, 120), "sand": (214, 194, 150, 70), "city": (126, 124, 115, 90),
    "khaki": (186, 164, 126, 100), "brown_land": (130, 104, 80, 100),
    "gray_land": (150, 146, 138, 100), "green forest": (62, 96, 50, 90),
    "dark forest": (38, 66, 48, 90), "yellow forest": (126, 104, 50, 90),
    "blue water": (50, 98, 130, 40), "green water": (60, 106, 84, 40),
    "dark water": (32, 50, 54, 40), "brown water": (126, 110, 76, 40),
    "green crop": (76, 142, 64, 70), "dark crop": (50, 80, 48, 70),
    "yellow crop": (200, 180, 104, 70), "brown crop": (130, 100, 74, 70),
}
PLANE = mirrored(1, 0.9 + 0.07j, 0.3 + 0.1j, -0.22 + 0.86j, -0.42 + 0.86j, -0.16 + 0.1j,
                 -0.68 + 0.07j, -0.9 + 0.36j, -1.02 + 0.36j, -0.92)
BOAT = mirrored(1, 0.45 + 0.34j, -0.7 + 0.36j, -1 + 0.28j)
SHIP = mirrored(1, 0.7 + 0.23j, -1 + 0.23j)
HIP = [[-1 - 0.75j, 1 - 0.75j, 0.45, -0.45]], [[-1 - 0.75j, -0.45, -1 + 0.75j]]
SPOKES = turned(rect(0.86, 0.03), 1, cmath.rect(1, 1.05), cmath.rect(1, 2.1))
BASES = [[-0.85, -0.5 - 0.35j, -0.15, -0.5 + 0.35j]]
GOALS = row(rect(0.6, 0.02), 2, 0.8j) + row(rect(0.02, 0.4), 3, 0.6)
ROUND, TOP, TINY = oval(steps=10), row(oval(0.5, 0.5, steps=7), 1, 0, -0.3 - 0.3j), oval(0.3, 0.3)
DASHES = row(rect(0.8, 0.12), 19, 3.2)
HOUSE: list[Layer] = [*tall("{}-", rect(1, 0.75)), ("{}+", HIP[0]), ("{}", HIP[1])]
TANK: list[Layer] = [*tall("{}-", oval()), ("{}", oval(0.9, 0.9)), ("{}-", SPOKES)]
ROAD: list[Layer] = [("curb", band(1.35)), ("asphalt", band(1)), ("white", DASHES)]
SHAPES: dict[str, Shape] = {
    "nothing": Shape(0, "gray", []),
    "ground": Shape(0, "meadow", [("{}", rect(1, 1))]),
    "tree": Shape(0.036, "green", [*tall("{}-", ROUND), ("{}", TOP)], 0.02),
    "crown": Shape(0.055, "green", [("{} forest-", ROUND), ("{} forest+", TOP)]),
    "clearing": Shape(0.13, "khaki", [("{}", blob(1))]),
    "strip of farmland": Shape(0, CROPS, [
        ("{} crop", rect(0.95, 1)), ("{} crop-", row(rect(0.04, 1), 6, 0.3))]),
    "round farmland": Shape(0.115, CROPS, [
        ("{} crop", oval()), ("{} crop-", oval(0.7, 0.7)), ("white", rect(0.5, 0.02, 0.5))]),
    "round pond": Shape(0.2, WATER, [("curb-", oval(1.08, 1.08)), ("{} water", oval())]),
    "irregular pond": Shape(0.2, WATER, [("curb-", blob(1.18)), ("{} water", blob(1.1))]),
    "rectangular pond": Shape(0.2, WATER, [
        ("curb-", oval(1.07, 0.87, 0.3)), ("{} water", oval(1, 0.8, 0.3))]),
    "sea": Shape(0.5, "blue green dark", bent([
        ("sand-", band(1.1, 4)), ("{} water", band(1, 4))], 0.06, 0.4)),
    "wave": Shape(0.011, "white", bent([("{}", band(1, 150))], 2.5, 16.7)),
    "river": Shape(0.05, WATER, bent([("curb-", band(1.2)), ("{} water", band(1))], 0.3, 4.0)),
    "straight road": Shape(0.03, "gray", ROAD),
    "curved road": Shape(0.028, "gray", bent(ROAD, 1.8, 6.0)),
    "runway": Shape(0.045, "asphalt", [("{}-", band(1)), ("white", DASHES)]),
    "four roads": junction(1, -1, -1j, 1j),
    "three roads": junction(1, -1, -1j),
    "ring": Shape(0.25, "lawn sand", [("curb", oval()), ("asphalt", oval(0.94, 0.94)),
        ("curb", oval(0.5, 0.5)), ("{}", oval(0.44, 0.44))]),
    "bridge": Shape(0.25, "gray white brown", [
        *tall("{}-", rect(1, 0.22)), ("asphalt", rect(4, 0.16)), ("{}", rect(0.98, 0.17)),
        ("yellow", row(rect(0.09, 0.01), 8, 0.24))], 0.035),
    "railway track": Shape(0.018, "white", [("brown-", rect(60, 1)),
        ("black", row(rect(0.2, 0.9), 50, 1.6)), ("{}-", row(rect(60, 0.14), 2, 1j))]),
    "train": Shape(0.25, "white blue red green", [
        *tall("{}-", rect(1, 0.085)), ("{}", row(rect(0.23, 0.075), 4, 0.5))], 0.014),
    "pier": Shape(0.23, "concrete", [*tall("{}+", rect(1, 0.075))], 0.012),
    "plane": Shape(0.065, CARS, [*tall("{}", PLANE), ("{}-", rect(0.3, 0.04, -0.6))], 0.014),
    "boat": Shape(0.04, BOATS, [*tall("{}", BOAT), ("black", rect(0.2, 0.14, -0.5))], 0.007),
    "ship": Shape(0.16, "red brown orange", [
        *tall("{}", SHIP), ("{}+", row(rect(0.15, 0.15), 4, 0.35))], 0.02),
    "car": Shape(0.036, CARS, [*tall("{}", rect(1, 0.48)), ("black", rect(0.14, 0.4, 0.4))], 0.01),
    "roofed house": Shape(0.05, ROOFS, HOUSE, 0.014),
    "house with a lawn": Shape(0.075, ROOFS, [("lawn", blob(2.2)), *HOUSE], 0.02),
    "building": Shape(0.075, ROOFS, [*tall("{}-", rect(1, 0.85)), ("{}", rect(0.9, 0.75))], 0.03),
    "hall": Shape(0.37, ROOFS, [*tall("{}-", rect(1, 0.17)), ("{}", rect(0.97, 0.14)),
        ("{}-", row(rect(0.06, 0.05), 6, 0.3))], 0.03),
    "storage tank": Shape(0.04, "white brown blue", TANK, 0.03),
    "walled tank": Shape(0.095, "white gray red green", [
        ("curb-", rect(1.5, 1.5)), ("curb+", rect(1.4, 1.4)), *TANK], 0.04),
    "umbrella": Shape(0.027, "red blue orange green", [*tall("{}", ROUND), ("white", TINY)], 0.014),
    "swimming pool": Shape(0.045, "pool", [("concrete+", rect(1, 0.65)), ("{}", rect(0.82, 0.47))]),
    "tennis court": Shape(0.075, "blue", [("green-", rect(1, 0.55)), ("{}", rect(0.75, 0.36)),
        ("white", rect(0.75, 0.03) + rect(0.03, 0.4))]),
    "baseball field": Shape(0.16, "brown orange", [("{}", fan(1.9)), ("lawn", fan(1.78)),
        ("lawn+", fan(1.4)), ("{}+", fan(0.95)), ("lawn", BASES)]),
    "parking row": Shape(0.03, "white", [("{}-", row(rect(0.05, 1.3), 31, 2))]),
    "oval stadium": stadium(oval(1, 0.76)),
    "round stadium": stadium(oval(0.86, 0.86)),
    "rectangular stadium": stadium(oval(0.95, 0.74, 0.4)),
    "pitch": Shape(0.21, "red blue white", [
        ("{}", oval(1, 0.76)), ("lawn", oval(0.82, 0.54, 0.4)), ("white", GOALS)]),
}
