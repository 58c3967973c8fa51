"""A picture before it is drawn: its sentences, its painter, and what scenes share for both."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.synthetic.colours import GROUND, shaded
from bench.synthetic.dice import Dice, Point
from bench.synthetic.objects import Scenery
from bench.synthetic.outline import evenly

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

    Sentences may hold [choices|like this] and (parts that go where they name "no ...").
    """

    sentences: list[str]
    paint: Callable[[Scenery], None]


def several(count: int, noun: str) -> str:
    """'[a|one] white boat', 'three white boats'."""
    if count == 1:
        return f"[{'an' if noun[0] in 'aeiou' else 'a'}|one] {noun}"
    return f"{NUMBERS[count]} {noun}s"


def be(count: int) -> str:
    return "is" if count == 1 else "are"


def heading(dice: Dice, most: float = 0.22) -> float:
    """Quarter turns and a bit, radians; `most` 0.22 keeps the middle 0.7 inside the picture."""
    return dice.count(0, 3) * math.pi / 2 + dice.between(-most, most)


def fill_bank(canvas: Scenery, kind: str, box: tuple[float, float, float, float]) -> None:
    """What lies beside a river, a track or a road: fills (x0, y0, x1, y1) with `kind`."""
    x0, y0, x1, y1 = box
    if kind == "green trees":
        canvas.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], (56, 80, 44))
        canvas.grove(round(150 * (x1 - x0) * (y1 - y0)) + 10, box, 0.032)
    elif kind == "buildings":
        for y in evenly(max(1, round((y1 - y0) / 0.2)), y0, y1):
            for x in evenly(max(1, round((x1 - x0) / 0.2)), x0, x1):
                w, h = canvas.dice.between(0.1, 0.16), canvas.dice.between(0.1, 0.15)
                roof = canvas.dice.pick(("gray", "white", "brown", "red"))
                canvas.building(x, y, w, h, roof, 0.035)
    elif kind == "farmlands":
        rows = evenly(round((y1 - y0) / 0.2), y0, y1)
        for y in rows:
            crop = canvas.dice.pick(("green", "dark", "yellow", "brown"))
            soil = GROUND[f"{crop} crop"]
            canvas.box((x0 + x1) / 2, y, x1 - x0, 0.19, shaded(soil.light, 0.92))
            for k in evenly(9, y - 0.09, y + 0.09):
                canvas.line([(x0, k), (x1, k)], 0.006, soil.dark, 110)
    else:
        canvas.ground("khaki", [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
