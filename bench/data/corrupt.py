"""Images made worse in the ways of overhead imagery: pure functions of image, severity and seed.

Severities follow the habit of ImageNet-C (Hendrycks and Dietterich, ICLR 2019), five steps from
barely visible to hard; the values are this project's, chosen for images of 224 to 256 pixels.
"""

import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.data.resize import Pixels

Values = npt.NDArray[np.float64]

VERSION = 1
"""Raise it when the same seed gives other pictures: results of two versions do not compare."""
SEVERITIES = (1, 2, 3, 4, 5)
BLUR = (0.8, 1.3, 1.8, 2.5, 3.3)
"""Standard deviation of the Gaussian in pixels of an image of 224; in proportion from 112 on."""
NOISE = (0.02, 0.04, 0.07, 0.11, 0.16)
"""Standard deviation of the Gaussian noise, white being 1."""
CLOUD = (0.1, 0.2, 0.3, 0.45, 0.6)
"""Share of the image under cloud."""
JPEG = (60, 40, 25, 15, 8)
"""Quality."""
HAZE = (0.15, 0.3, 0.45, 0.6, 0.75)
"""Share of the light that comes from the haze."""
AIRLIGHT = (0.88, 0.9, 0.93)
"""Colour of haze in red, green, blue."""


def corrupt(images: Pixels, name: str, severity: int, seed: int = 0) -> Pixels:
    """Images `(S, H, W, 3)` -> the same shape; seed and row decide the random numbers of each."""
    corrupted = np.empty_like(images)

    def corrupt_row(row: int) -> None:
        corrupted[row] = CORRUPTIONS[name](images[row], severity, _generator(name, seed, row))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(corrupt_row, range(len(images))))
    return corrupted


def _generator(name: str, seed: int, row: int) -> np.random.Generator:
    """The same random numbers at every severity, so that severities differ in strength alone."""
    word = hashlib.sha256(f"{name}/{seed}/{row}".encode()).digest()
    return np.random.default_rng(int.from_bytes(word[:8], "big"))


def blur(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Out of focus: a Gaussian, its width in proportion to the image. `(H, W, 3)`."""
    sigma = BLUR[severity - 1] * max(min(image.shape[:2]), 112) / 224
    return _bytes(gaussian_filter(image / 255.0, sigma, axes=(0, 1), mode="nearest"))


def noise(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of the sensor, independent in each band. `(H, W, 3)`."""
    return _bytes(image / 255.0 + rng.normal(0, NOISE[severity - 1], image.shape))


def cloud(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """White clouds, opaque within and soft at the rim, over a stated share. `(H, W, 3)`."""
    height, width = image.shape[:2]
    field = _fractal(height, width, rng)
    rim = np.quantile(field, 1 - CLOUD[severity - 1])  # above it is cloud: just the stated share
    cover = ((field - rim) / (0.15 * field.std()) + 0.5).clip(0, 1)[..., None]
    shade = 0.93 + 0.05 * ((field - field.mean()) / field.std()).clip(-1, 1)[..., None]
    return _bytes((1 - cover) * (image / 255.0) + cover * shade)


def jpeg(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Strong JPEG compression. `(H, W, 3)`."""
    memory = io.BytesIO()
    Image.fromarray(image).save(memory, "jpeg", quality=JPEG[severity - 1])
    memory.seek(0)
    with Image.open(memory) as opened:
        return np.asarray(opened.convert("RGB"))


def haze(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Scattered light (Koschmieder: I = J t + A (1 - t)), uneven by a fifth. `(H, W, 3)`."""
    height, width = image.shape[:2]
    field = _fractal(height, width, rng, octaves=2)
    uneven = 1 + 0.2 * ((field - field.mean()) / field.std()).clip(-1, 1)
    veil = (HAZE[severity - 1] * uneven).clip(0, 1)[..., None]
    return _bytes((image / 255.0) * (1 - veil) + np.asarray(AIRLIGHT) * veil)


Corruption = Callable[[Pixels, int, np.random.Generator], Pixels]
CORRUPTIONS: dict[str, Corruption] = {f.__name__: f for f in (blur, noise, cloud, jpeg, haze)}


def _bytes(values: Values) -> Pixels:
    """0..1 -> 0..255."""
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _fractal(height: int, width: int, rng: np.random.Generator, octaves: int = 5) -> Values:
    """A smooth random field `(H, W)`: noise on grids of 3, 6, 12 ... cells, each half as strong."""
    field = np.zeros((height, width))
    for octave in range(octaves):
        cells = 3 * 2**octave
        grid = rng.normal(size=(cells + 1, cells + 1))
        field += _stretch(_stretch(grid, height, 0), width, 1) / 2**octave
    return field


def _stretch(grid: Values, length: int, axis: int) -> Values:
    """Interpolate between grid points along one axis, smoothly (3 t^2 - 2 t^3)."""
    at = np.linspace(0, grid.shape[axis] - 1, length)
    low = np.minimum(at.astype(int), grid.shape[axis] - 2)
    t = at - low
    weight = np.expand_dims(t * t * (3 - 2 * t), 1 - axis)
    before, after = np.take(grid, low, axis), np.take(grid, low + 1, axis)
    return np.asarray(before * (1 - weight) + after * weight)
