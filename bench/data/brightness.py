"""Check whether images of more than 8 bits become too dark or white, and propose a `scale`.

Only a few images are opened, spread evenly over the data set, so this is cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import UserError
from bench.data import imagefile
from bench.data.imagefile import Scale, Values

IMAGES = 8
"""How many images are opened."""
PIXELS = 2**16
"""How many values are taken from each image."""
USED = 0.25
"""An image should use at least this share of the range."""
WHITE = 0.9
"""If this share of the values lies above the scale, it is the wrong one."""


@dataclass(frozen=True)
class Brightness:
    """A sample of the values in images of more than 8 bits; low and high: 1st, 99th percentile."""

    dtype: str
    bits: int
    images: int
    values: Values

    @property
    def low(self) -> float:
        return float(np.percentile(self.values, 1))

    @property
    def high(self) -> float:
        return float(np.percentile(self.values, 99))

    @property
    def scale(self) -> Scale:
        """Low and high to two digits; a low of less than a tenth of high becomes zero."""
        low, high = (float(f"{value:.2g}") for value in (self.low, self.high))
        low = 0.0 if 0 <= low < 0.1 * high else low
        return (low, high) if low < high else (low, low + 1)

    def warning(self, scale: Scale | None) -> str | None:
        """What to change if the images become too dark or white with this scale; else None."""
        low, high = scale or (0, 2**self.bits - 1)
        stated = f"with the card's scale {as_toml(scale)}" if scale else "without a scale"
        if scale is None and self.dtype != "uint16":
            fault = "which need a scale"
        elif scale and (self.values >= high).mean() > WHITE:
            fault = f"so that they come out nearly white {stated}"
        elif self.high < low + USED * (high - low):
            fault = f"so that they come out nearly black {stated}"
        else:
            return None
        return (
            f"the images hold {self.dtype} values between about {self.low:,.6g} and "
            f"{self.high:,.6g}, {fault}: state `scale = {as_toml(self.scale)}` on the card (the "
            f"values that become black and white, here taken from {self.images} images)"
        )


def sample(paths: Sequence[Path | None]) -> Brightness | None:
    """Open a few of the images; None if they have 8 bits or cannot be read."""
    present = [path for path in paths if path is not None]
    step = max(len(present) / IMAGES, 1)
    images, samples = [], []
    for number in range(min(IMAGES, len(present))):
        try:
            image = imagefile.wide(present[int(number * step)])
        except UserError:
            continue  # it is reported when all images are read
        if image is not None:
            values = image.values.reshape(-1).astype(np.float64)
            values = values[:: max(len(values) // PIXELS, 1)]
            values = values[np.isfinite(values) & (values != image.nodata)]
            if len(values):
                images.append(image)
                samples.append(values)
    if not images:
        return None
    dtype, bits = str(images[0].values.dtype), images[0].bits
    return Brightness(dtype, bits, len(images), np.concatenate(samples))


def warnings(paths: Sequence[Path | None], scale: Scale | None) -> list[str]:
    """The warning for images that become too dark or white; else empty."""
    brightness = sample(paths)
    warning = None if brightness is None else brightness.warning(scale)
    return [] if warning is None else [warning]


def as_toml(scale: Scale) -> str:
    """`[0, 3000]`."""
    return "[" + ", ".join(f"{value:.10g}" for value in scale) + "]"
