"""How an image of any shape becomes the square that a backbone takes, as open_clip does it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Pixels = npt.NDArray[np.uint8]
Mode = Literal["shortest", "longest", "squash"]
Interpolation = Literal["bicubic", "bilinear"]


@dataclass(frozen=True)
class Resize:
    """A way of resizing; the defaults are CLIP's.

    mode: shortest: the short side gets the size, the centre is cropped; longest: the long side gets
    it, the rest is padded with the grey value `fill`; squash: both get it, the aspect is lost.
    """

    mode: Mode = "shortest"
    interpolation: Interpolation = "bicubic"
    fill: int = 0

    def __str__(self) -> str:
        padded = f", padded with {self.fill}" if self.mode == "longest" else ""
        return f"{self.mode}, {self.interpolation}{padded}"


CLIP = Resize()


def fit(image: "Picture", size: int, how: Resize = CLIP) -> Pixels:
    """An RGB image as `(size, size, 3)`: the pixels of open_clip's own transform, to the bit."""
    from PIL import Image

    resampling = Image.Resampling[how.interpolation.upper()]
    if how.mode == "squash":
        return np.asarray(image.resize((size, size), resampling))
    if how.mode == "longest":
        ratio = max(image.size) / size
        width, height = (max(1, round(side / ratio)) for side in image.size)
        square = Image.new("RGB", (size, size), (how.fill, how.fill, how.fill))
        place = ((size - width) // 2, (size - height) // 2)
        square.paste(image.resize((width, height), resampling), place)
        return np.asarray(square)
    short = min(image.size)
    width, height = (size * side // short for side in image.size)  # rounded as torchvision does
    image = image.resize((width, height), resampling)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))
