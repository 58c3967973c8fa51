"""Generated overhead scenes with captions: data for the demo and the tests, without a download.

A function for each scene draws facts at random (counts, colours, places), writes sentences about
them, and returns these with a function that paints the same facts. Coordinates run from 0 to 1
(x right, y down), so an index gives the same picture at every size.

Records hold hashes of the captions, and recalls depend on the pixels, so both must stay as they
are. Each random number is the next one of a stream: a draw more or less, or in another order,
changes everything that is drawn after it.
"""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.synthetic import land, town, traffic
from bench.synthetic.canvas import Canvas
from bench.synthetic.plan import Plan
from bench.synthetic.shapes import Dice

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


def index_of(name: str) -> int:
    """The inverse of `filename`."""
    return int(name.removesuffix(".png").rpartition("_")[2])


def describe(index: int, seed: int = 0) -> tuple[str, list[str]]:
    """Scene and five different captions of an image, without drawing it.

    Captions are lower case, end in " ." and state only what `render` draws for the same index and
    seed. Raises IndexError as `split`.
    """
    scene = _scene(index)
    dice = Dice(seed, index)
    sentences = [_WITH.sub(_kept, sentence) for sentence in PLANS[scene](dice).sentences]
    # "no boats are in a river" is true, but nobody captions a picture with what is not in it.
    true = [sentence for sentence in sentences if not _NOTHING.search(sentence)]
    return scene, [_settle(dice, sentence) for sentence in dice.some(true, 5)]


_WITH, _CHOICE = re.compile(r" \(([^()]*)\)"), re.compile(r"\[([^\[\]]*)\]")
_NOTHING = re.compile(r"\bno ")


def _kept(part: re.Match[str]) -> str:
    """' with two boats' for ' (with two boats)', nothing for ' (with no boats)'."""
    return "" if _NOTHING.search(part[1]) else f" {part[1]}"


def _settle(dice: Dice, sentence: str) -> str:
    """Choose at random in every [this|that] of a sentence, the innermost first."""
    while "[" in sentence:
        sentence = _CHOICE.sub(lambda choice: dice.pick(*choice[1].split("|")), sentence)
    return sentence


def render(index: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB picture of an index; `size` is in pixels, from 32.

    Raises IndexError as `split`, ValueError for a size below 32.
    """
    if size < 32:
        raise ValueError(f"synthetic images start at 32 pixels; got size={size}")
    return draw(index, size, seed).finish()


def draw(index: int, size: int, seed: int = 0) -> Canvas:
    """The canvas of an image; its `drawn` lists what was put on it."""
    plan = PLANS[_scene(index)](Dice(seed, index))
    # A stream of its own, so that painting does not depend on how captions were worded.
    canvas = Canvas(size, Dice(seed, index, 1), plan.turn)
    plan.paint(canvas, canvas.dice)
    return canvas
