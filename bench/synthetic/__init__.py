"""Generated overhead scenes with captions: real demo and tests without a download.

A scene function throws the facts (counts, colours, relations), writes sentences from them and
returns a painter that draws the same facts. Geometry lives in unit coordinates (x right, y down),
so one index is one picture at every size.
"""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.synthetic import land, town, traffic
from bench.synthetic.dice import Dice
from bench.synthetic.objects import Scenery
from bench.synthetic.plan import Plan

COUNTS: dict[str, int] = {"train": 1536, "val": 256, "test": 256}
PLANS: dict[str, Callable[[Dice], Plan]] = {
    "airport": traffic.airport,
    "bare land": land.bare_land,
    "baseball field": town.baseball_field,
    "beach": land.beach,
    "bridge": traffic.bridge,
    "crossroads": traffic.crossroads,
    "dense residential": town.dense_residential,
    "farmland": land.farmland,
    "forest": land.forest,
    "parking": town.parking,
    "pond": land.pond,
    "port": traffic.port,
    "railway station": traffic.railway_station,
    "sparse residential": town.sparse_residential,
    "stadium": town.stadium,
    "storage tanks": traffic.storage_tanks,
}
SCENES: tuple[str, ...] = tuple(PLANS)


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
    dice = Dice(seed, index)
    sentences = [_WITH.sub(_kept, sentence) for sentence in PLANS[scene](dice).sentences]
    true = [sentence for sentence in sentences if not _NOTHING.search(sentence)]
    return scene, [_settle(dice, sentence) for sentence in dice.some(true, 5)]


_WITH, _CHOICE = re.compile(r" \(([^()]*)\)"), re.compile(r"\[([^\[\]]*)\]")
_NOTHING = re.compile(r"\bno ")


def _kept(part: re.Match[str]) -> str:
    """' with two boats' for ' (with two boats)', nothing for ' (with no boats)'."""
    return "" if _NOTHING.search(part[1]) else f" {part[1]}"


def _settle(dice: Dice, sentence: str) -> str:
    """Settles every [this|that] of a sentence, the innermost first."""
    while "[" in sentence:
        sentence = _CHOICE.sub(lambda choice: dice.pick(choice[1].split("|")), sentence)
    return sentence


def render(index: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB picture of an index; the same scene at every size, in pixels.

    Raises IndexError as `split`, ValueError for a size below 32.
    """
    if size < 32:
        raise ValueError(f"synthetic images start at 32 pixels; got size={size}")
    return draw(index, size, seed).finish()


def draw(index: int, size: int, seed: int = 0) -> Scenery:
    """The canvas of an image, with `drawn`, what was put on it."""
    plan = PLANS[_scene(index)](Dice(seed, index))
    canvas = Scenery(size, Dice(seed, index, 1))
    plan.paint(canvas)
    return canvas
