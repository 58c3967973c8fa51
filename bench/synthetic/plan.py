"""A picture before it is drawn: how many things of which colour there are, and where they lie."""

import cmath
import math
from collections import defaultdict
from dataclasses import dataclass
from random import Random

from bench.synthetic.shapes import SHAPES

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Part:
    """Things of one shape that belong to a scene."""

    shape: str
    words: str = ""  # what captions say; {c} is the colour, and what has an {s} is counted
    count: tuple[int, int] | None = None  # fewest and most; None: one in each cell
    # Where things are: left, upper, right and lower end. The picture reaches from 0 to 1.
    box: tuple[float, float, float, float] = (-0.3, -0.3, 1.3, 1.3)
    grid: tuple[int, int] = (0, 1)  # columns and rows of cells in the box; 0: as many as things
    on: str = ""  # a part; the box is then around each of its things, and they share cells
    angles: tuple[float, ...] = (0.0,)  # where things may head, in degrees
    loose: float = 0.0  # how far things may lie from the middle of their cells; 1: anywhere in it
    colours: str = ""  # the shape's by default; each thing has its own if captions name none
    size: float = 0.0  # the shape's by default


@dataclass(frozen=True)
class Scene:
    """What belongs to a scene, and its captions.

    A caption names parts in {braces}. It may hold [choices|like this] and (words that are left out
    if they say "no ..."); it is not used if it says "no ..." elsewhere.
    """

    captions: list[str]
    parts: dict[str, tuple[Part, ...]]  # in the order of drawing; a picture has one of each tuple
    turns: bool  # whether pictures may be turned: not where captions say what is on the left


@dataclass(frozen=True)
class Group:
    """A part as it is in one picture."""

    part: Part
    count: int | None
    colours: list[str]

    @property
    def words(self) -> str:
        """'three white boats', '[a|one] white boat', 'no white boats'."""
        text = self.part.words.format(c=self.colours[0], s="" if self.count == 1 else "s")
        if self.count is None:
            return text
        an = "an" if text[0] in "aeiou" else "a"
        return f"[{an}|one] {text}" if self.count == 1 else f"{NUMBERS[self.count]} {text}"


@dataclass(frozen=True)
class Thing:
    """One thing in a picture, whose side has the length 1; a point is x + yj, from 0 to 1."""

    part: str
    shape: str
    colour: str
    middle: complex
    half: tuple[float, float]
    heading: complex


def choose(scene: Scene, dice: Random) -> dict[str, Group]:
    """What one picture of a scene shows, by the name of the part."""
    groups: dict[str, Group] = {}
    for name, options in scene.parts.items():
        said = {group.part.words for group in groups.values()} - {""}
        part = dice.choice([option for option in options if option.words not in said])
        count = None if part.count is None else dice.randint(*part.count)
        if part.on and groups[part.on].count == 0:
            count = 0
        colours = (part.colours or SHAPES[part.shape].colours).split()
        if "{c}" in part.words:
            colours = [dice.choice(colours)]
        groups[name] = Group(part, count, colours)
    return groups


def place(scene: Scene, groups: dict[str, Group], dice: Random) -> list[Thing]:
    """Where the things of a picture lie, in the order in which they are drawn."""
    # Quarter turns, and so little more that what is counted stays in the picture.
    turn = dice.randrange(4) * math.pi / 2 + dice.uniform(-0.2, 0.2)
    way, middle = cmath.rect(1, turn if scene.turns else 0), 0.5 + 0.5j
    spots: dict[str, list[complex]] = {"": [0j]}
    taken: defaultdict[str, set[complex]] = defaultdict(set)
    things = []
    for name, group in groups.items():
        part = group.part
        x0, y0, x1, y1 = part.box
        columns, rows = (cells or group.count or 1 for cells in part.grid)
        w, h = (x1 - x0) / columns, (y1 - y0) / rows
        free = [
            spot + complex(x0 + (k % columns + 0.5) * w, y0 + (k // columns + 0.5) * h)
            for spot in spots[part.on]
            for k in range(columns * rows)
        ]
        if part.on:
            free = [cell for cell in free if cell not in taken[part.on]]
        if group.count is not None:
            free = [c for c in free if max(abs(c.real - 0.5), abs(c.imag - 0.5)) < 0.45]
            free = dice.sample(free, group.count)
        taken[part.on].update(free)
        size = part.size or SHAPES[part.shape].size
        spots[name] = []
        for cell in free:
            cell += part.loose * complex(w * dice.uniform(-0.5, 0.5), h * dice.uniform(-0.5, 0.5))
            spots[name].append(cell)
            spot = middle + way * (cell - middle)
            heading = way * cmath.rect(1, math.radians(dice.choice(part.angles)))
            half = (size, size) if size else (w / 2, h / 2)
            things.append(Thing(name, part.shape, dice.choice(group.colours), spot, half, heading))
    return things
