"""A picture before it is drawn: its sentences, its painter, and what scenes share for both."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.synthetic.canvas import Canvas
from bench.synthetic.colours import GROUND, shaded
from bench.synthetic.shapes import Box, Dice, Point, evenly, rectangle

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PLACES: dict[str, Point] = {
    "in the upper left corner": (0.2, 0.2),
    "in the upper right corner": (0.8, 0.2),
    "in the lower left corner": (0.2, 0.8),
    "in the lower right corner": (0.8, 0.8),
    "in the middle": (0.5, 0.5),
}
BANKS = ("green trees", "buildings", "farmlands", "bareland")


@dataclass
class Plan:
    """One picture before it is drawn.

    Sentences may hold [choices|like this] and (parts that are dropped if they say "no ...").
    `turn` is the angle of the whole drawing in radians.
    """

    sentences: list[str]
    paint: Callable[[Canvas, Dice], None]
    turn: float = 0.0


def several(count: int, noun: str) -> str:
    """'[a|one] white boat', 'three white boats'."""
    if count == 1:
        return f"[{'an' if noun[0] in 'aeiou' else 'a'}|one] {noun}"
    return f"{NUMBERS[count]} {noun}s"


def be(count: int) -> str:
    return "is" if count == 1 else "are"


def heading(dice: Dice, most: float = 0.22) -> float:
    """An angle for the whole drawing: quarter turns, and up to `most` radians to either side.

    With 0.22 the middle 0.7 of the drawing stays inside the picture.
    """
    return dice.count(0, 3) * math.pi / 2 + dice.between(-most, most)


def fill_bank(canvas: Canvas, kind: str, box: Box) -> None:
    """Fill a box beside a river, a track or a road with one of BANKS."""
    x0, y0, x1, y1 = box
    dice = canvas.dice
    if kind == "green trees":
        canvas.polygon(rectangle(*box), (56, 80, 44))
        canvas.grove(round(150 * (x1 - x0) * (y1 - y0)) + 10, box, 0.032)
    elif kind == "buildings":
        for y in evenly(max(1, round((y1 - y0) / 0.2)), y0, y1):
            for x in evenly(max(1, round((x1 - x0) / 0.2)), x0, x1):
                w, h = dice.between(0.1, 0.16), dice.between(0.1, 0.15)
                canvas.building(x, y, w, h, dice.pick("gray", "white", "brown", "red"), 0.035)
    elif kind == "farmlands":
        for y in evenly(round((y1 - y0) / 0.2), y0, y1):
            soil = GROUND[f"{dice.pick('green', 'dark', 'yellow', 'brown')} crop"]
            canvas.box((x0 + x1) / 2, y, x1 - x0, 0.19, shaded(soil.light, 0.92))
            for k in evenly(9, y - 0.09, y + 0.09):
                canvas.line([(x0, k), (x1, k)], 0.006, (*soil.dark, 110))
    else:
        canvas.ground("khaki", rectangle(*box))
