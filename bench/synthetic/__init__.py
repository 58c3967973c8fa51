"""Generated overhead scenes with captions: data for the demo and the tests, without a download.

`scenes` says what belongs to each scene and how captions tell it, `plan` chooses counts, colours
and places at random, and `shapes` is what things look like. An index gives the same picture at
every size. Records hold a hash of the captions and none of the pixels: whoever changes how
pictures look changes a caption too, or new trials pass for old ones.
"""

import cmath
import re
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.synthetic.plan import Group, Scene, Thing, choose, place
from bench.synthetic.scenes import SCENES as _SCENES
from bench.synthetic.shapes import COLOURS, SHAPES, Colour

COUNTS: dict[str, int] = {"train": 1536, "val": 256, "test": 256}
SCENES: tuple[str, ...] = tuple(_SCENES)
_LEFT_OUT, _CHOICE = re.compile(r" \(\w+ no [^()]*\)"), re.compile(r"\[([^\[\]]*)\]")


def split(index: int) -> str:
    """'train', 'val' or 'test': consecutive ranges of the index. Raises IndexError outside them."""
    first = 0
    for name, count in COUNTS.items():
        if first <= index < first + count:
            return name
        first += count
    raise IndexError(f"synthetic image {index} does not exist; use an index from 0 to {first - 1}")


def filename(index: int) -> str:
    """File name, scene first: 'storagetanks_00015.png'."""
    return f"{SCENES[index % len(SCENES)].replace(' ', '')}_{index:05d}.png"


def index_of(name: str) -> int:
    """The inverse of `filename`."""
    return int(name.removesuffix(".png").rpartition("_")[2])


def _shown(index: int) -> tuple[Scene, dict[str, Group], Random]:
    split(index)  # the range check
    dice = Random(f"0 {index}")  # without this 0, once a seed, pictures would change
    scene = _SCENES[SCENES[index % len(SCENES)]]
    return scene, choose(scene, dice), dice


def describe(index: int) -> tuple[str, list[str]]:
    """Scene and five different captions of an image, without drawing it.

    Captions are lower case, end in " ." and state only what `render` draws for the same index.
    Raises IndexError as `split`.
    """
    scene, groups, dice = _shown(index)
    words = {name: group.words for name, group in groups.items()}
    single = [f"{{{name}}}" for name, group in groups.items() if group.count == 1]
    captions = []
    for caption in scene.captions:
        for name in single:
            caption = caption.replace(f"there are {name}", f"there is {name}")
            if caption.startswith(f"{name} are"):
                caption = caption.replace(" are ", " is ", 1)
        caption = _LEFT_OUT.sub("", caption.format_map(words)).replace("(", "").replace(")", "")
        # "no boats are in a river" is true, but nobody captions a picture with what is not in it.
        if " no " not in f" {caption}":
            captions.append(caption)
    return SCENES[index % len(SCENES)], [
        _CHOICE.sub(lambda choice: dice.choice(choice[1].split("|")), caption)
        for caption in dice.sample(captions, 5)
    ]


def things(index: int) -> list[Thing]:
    """What is in a picture and where, in the order in which it is drawn. Raises as `split`."""
    scene, groups, _ = _shown(index)
    # Random numbers of their own, so that a picture does not depend on how captions are worded.
    return place(scene, groups, Random(f"0 {index} places"))


def render(index: int, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB picture of an index; `size` is in pixels.

    It is drawn two to four times too large and averaged down, which smooths all edges. Raises
    IndexError as `split`.
    """
    drawn = things(index)
    dice = np.random.default_rng([0, index])
    factor = 4 if size <= 96 else 3
    if size > 256:
        factor = 2
    side = size * factor
    image = Image.new("RGBX", (side, side))  # X: how rough the surface is
    pen = ImageDraw.Draw(image)
    sun = cmath.rect(side, dice.uniform(0.4, 1.2))  # where shadows fall
    lights = dice.uniform(0.94, 1.06, len(drawn)).round(2)
    for thing, light in zip(drawn, lights.tolist(), strict=True):
        shape, (a, b), way = SHAPES[thing.shape], thing.half, thing.heading * side
        for name, outlines in shape.layers:
            middle = thing.middle * side + (shape.tall * sun if name == "shadow" else 0)
            fill = _fill(name, thing.colour, light)
            for outline in outlines:
                points = [middle + way * complex(a * p.real, b * p.imag) for p in outline]
                pen.polygon([(point.real, point.imag) for point in points], fill)
    picture = np.asarray(image.reduce(factor), dtype=np.float32)
    grain = (_noise(dice, 7, size) + _noise(dice, 24, size) + 2 * _noise(dice, 96, size)) / 4
    rough = grain[:, :, None] * (picture[:, :, 3:] / 255 + 0.02)
    tint = dice.uniform(0.96, 1.04, 3).astype(np.float32)
    return (picture[:, :, :3] * (1 + rough) * tint).clip(0, 255).astype(np.uint8)


@cache
def _fill(name: str, own: str, light: float) -> Colour:
    """The colour of a layer, see `shapes.Layer`."""
    *rgb, rough = COLOURS[name.rstrip("+-").format(own)]
    light *= {"+": 1.2, "-": 0.82}.get(name[-1], 1)
    return (*(min(255, round(part * light)) for part in rgb), rough)


def _noise(dice: np.random.Generator, cells: int, size: int) -> NDArray[np.float32]:
    """(size, size) smooth noise from -1 to 1 with `cells` lumps a side."""
    rough = Image.fromarray(dice.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(rough.resize((size, size), Image.Resampling.BICUBIC))
