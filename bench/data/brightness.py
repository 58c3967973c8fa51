"""Check whether images of more than 8 bits become too dark or white, and propose a `scale`.

Only a few images are opened, spread evenly over the data set, so this is cheap.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import UserError
from bench.data import imagefile
from bench.data.wide import Scale, Values

LOOKED_AT = 8
"""How many images are opened."""
PIXELS = 2**16
"""How many values are taken from each image."""
USED = 0.25
"""An image should use at least this share of the range."""
OUTSIDE = 0.9
"""If this share of the values lies above the scale, it is the wrong one."""


@dataclass(frozen=True)
class Brightness:
    """The values in a sample of images of more than 8 bits."""

    kind: str
    """The number format, uint16 or float32."""
    bits: int
    images: int
    values: Values

    @property
    def low(self) -> float:
        """The first percentile of the values."""
        return float(np.percentile(self.values, 1))

    @property
    def high(self) -> float:
        """The 99th percentile of the values."""
        return float(np.percentile(self.values, 99))

    @property
    def scale(self) -> Scale:
        """Low and high to two digits; a low of less than a tenth of high becomes zero."""
        high = _rounded(self.high, math.ceil)
        low = 0.0 if 0 <= self.low < 0.1 * high else _rounded(self.low, math.floor)
        return (low, high) if low < high else (low, low + 1)

    def note(self, scale: Scale | None) -> str | None:
        """A warning with its remedy, if the images become too dark or white; else None."""
        about = f"{self.kind} values between about {self.low:,.6g} and {self.high:,.6g}"
        remedy = f"state `scale = {as_toml(self.scale)}` on the card"
        taken = f"the values that become black and white, here taken from {self.images} images"
        if scale is None and self.kind != "uint16":
            return f"the images hold {about}, which need a scale: {remedy} ({taken})"
        if scale is None:
            top = 2**self.bits - 1
            if self.high >= USED * top:
                return None
            return (
                f"the images hold {about}, and without a scale 0 to {top:,} become black to white, "
                f"so that they are nearly black: {remedy} ({taken})"
            )
        low, high = scale
        white = (self.values >= high).mean() > OUTSIDE
        if white or self.high < low + USED * (high - low):
            return (
                f"the card's scale {as_toml(scale)} makes the images nearly "
                f"{'white' if white else 'black'}; they hold {about}: {remedy}"
            )
        return None


def sample(paths: Sequence[Path | None]) -> Brightness | None:
    """Open a few of the images; None if they have 8 bits or cannot be read."""
    there = [path for path in paths if path is not None]
    step = max(len(there) / LOOKED_AT, 1)
    samples = []
    for path in (there[int(k * step)] for k in range(min(LOOKED_AT, len(there)))):
        try:
            held = imagefile.values(path)
        except UserError:
            continue  # reported when all images are read
        if held is not None:
            flat = held.values.reshape(-1).astype(np.float64)
            flat = flat[:: max(len(flat) // PIXELS, 1)]
            flat = flat[np.isfinite(flat)]
            flat = flat if held.nodata is None else flat[flat != held.nodata]
            samples.append((str(held.values.dtype), held.bits, flat))
    taken = [flat for *_, flat in samples if len(flat)]
    if not taken:
        return None
    kind, bits = max(samples, key=lambda sample: len(sample[2]))[:2]
    return Brightness(kind, bits, len(taken), np.concatenate(taken))


def notes(paths: Sequence[Path | None], scale: Scale | None) -> tuple[str, ...]:
    """A warning for images that become too dark or white; else empty."""
    seen = sample(paths)
    told = None if seen is None else seen.note(scale)
    return () if told is None else (told,)


def as_toml(scale: Scale) -> str:
    """`[0, 3000]`."""
    return "[" + ", ".join(f"{value:.10g}" for value in scale) + "]"


def _rounded(value: float, towards: Callable[[float], int]) -> float:
    """To two digits, up or down."""
    if value == 0 or not math.isfinite(value):
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{towards(round(value / unit, 6)) * unit:.10g}")
