"""Whether images of more than 8 bits come out dark, white or not at all, and the `scale` they need.

A few images are looked at, spread evenly over the data set, so that it costs next to nothing.
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
"""Images that are looked at."""
PIXELS = 2**16
"""Values taken of each, evenly over the image."""
USED = 0.25
"""Of its range an image should use this share at least."""
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
        """What all but a hundredth of the values reach."""
        return float(np.percentile(self.values, 1))

    @property
    def high(self) -> float:
        """What no more than a hundredth of the values pass."""
        return float(np.percentile(self.values, 99))

    @property
    def scale(self) -> Scale:
        """Low and high in two digits; a low that is near zero, seen from high, is zero."""
        high = _rounded(self.high, math.ceil)
        low = 0.0 if 0 <= self.low < 0.1 * high else _rounded(self.low, math.floor)
        return (low, high) if low < high else (low, low + 1)

    def note(self, scale: Scale | None) -> str | None:
        """What is wrong with how bright these images come out, and the remedy; None: nothing."""
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
    """Look at a few of the images; None where those have 8 bits or cannot be read."""
    there = [path for path in paths if path is not None]
    step = max(len(there) / LOOKED_AT, 1)
    found = []
    for path in (there[int(k * step)] for k in range(min(LOOKED_AT, len(there)))):
        try:
            held = imagefile.values(path)
        except UserError:
            continue  # it is told where all images are read
        if held is not None:
            flat = held.values.reshape(-1).astype(np.float64)
            flat = flat[:: max(len(flat) // PIXELS, 1)]
            flat = flat[np.isfinite(flat)]
            flat = flat if held.nodata is None else flat[flat != held.nodata]
            found.append((str(held.values.dtype), held.bits, flat))
    taken = [flat for *_, flat in found if len(flat)]
    if not taken:
        return None
    kind, bits = max(found, key=lambda one: len(one[2]))[:2]
    return Brightness(kind, bits, len(taken), np.concatenate(taken))


def notes(paths: Sequence[Path | None], scale: Scale | None) -> tuple[str, ...]:
    """A sentence on images that come out dark or white; empty where there is nothing to say."""
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
