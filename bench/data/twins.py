"""Look at every image of a data set once, and find which are (nearly) the same picture.

A hash of 112 bits finds the pairs that may be the same, thumbnails decide. Legend: S images.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench import UserError, synthetic
from bench.data import Card, imagefile
from bench.data.resize import Pixels, fit
from methods.sample import Sample

Signs = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

SIDE = 64
"""Images are compared at this size, in pixels."""
NEAR_BITS = 8
"""Two images whose hashes differ in at most so many of 112 bits are compared more closely."""
NEAR_LEVELS = 4.0
"""They are near if 16 x 16 thumbnails differ by at most so many grey levels of 255 on average."""
BLOCK = 1024
"""Images handled at once where an intermediate result of all of them would not fit in memory."""


@dataclass(frozen=True)
class Decoded:
    """The decoded images of `samples`: pixels `(S, side, side, 3)`, and sizes before resizing."""

    samples: Sequence[Sample]
    pixels: Pixels
    seen: npt.NDArray[np.bool_]
    """Which images could be decoded; the pixels of the others are black."""
    sizes: list[tuple[int, int] | None]
    undecodable: dict[str, str]
    """File names, each with what is wrong."""


@dataclass(frozen=True)
class Twins:
    """Two images that show the same picture: their file names and splits."""

    images: tuple[str, str]
    splits: tuple[str, str]
    same_pixels: bool
    """Whether all their pixels are equal at `SIDE`."""
    grey_levels: float
    """Mean difference of 16 x 16 thumbnails, in levels of 255."""

    def __str__(self) -> str:
        return " = ".join(self.images)


def decode(
    card: Card,
    samples: Sequence[Sample],
    paths: Sequence[Path | None],
    side: int = SIDE,
    progress: Progress = lambda done, total: None,
) -> Decoded:
    """Decode every image that is there at `side` pixels; what cannot be decoded is listed."""
    pixels = np.zeros((len(samples), side, side, 3), dtype=np.uint8)
    seen = np.zeros(len(samples), dtype=bool)
    sizes: list[tuple[int, int] | None] = [None] * len(samples)
    undecodable: dict[str, str] = {}

    def see(row: int) -> str | None:
        """Decode one image; returns what is wrong with it."""
        path = paths[row]
        if card.kind == "synthetic":
            pixels[row] = synthetic.render(synthetic.index_of(samples[row].filename), side)
        elif path is None:
            return None
        else:
            try:
                image = imagefile.read(path, card.scale)
            except UserError as error:
                return str(error)
            sizes[row] = image.size
            pixels[row] = fit(image, side)
        seen[row] = True
        return None

    with ThreadPoolExecutor() as pool:
        for row, error in enumerate(pool.map(see, range(len(samples)))):
            if error is not None:
                undecodable[samples[row].filename] = error
            if row % 64 == 63:
                progress(row + 1, len(samples))
    return Decoded(samples, pixels, seen, sizes, undecodable)


def find(first: Decoded, second: Decoded) -> list[Twins]:
    """The pairs of (nearly) equal images of two data sets, or within one, the closest first."""
    rows, columns = np.nonzero(first.seen)[0], np.nonzero(second.seen)[0]
    pixels, others = first.pixels[rows], second.pixels[columns]
    pairs = []
    for a, b, levels in near(pixels, others):
        if first is not second or a < b:
            pair = first.samples[rows[a]], second.samples[columns[b]]
            names = pair[0].filename, pair[1].filename
            splits = pair[0].split, pair[1].split
            pairs.append(Twins(names, splits, bool((pixels[a] == others[b]).all()), levels))
    return sorted(pairs, key=lambda twins: (not twins.same_pixels, twins.grey_levels))


def near(first: Pixels, second: Pixels) -> list[tuple[int, int, float]]:
    """Pairs of rows of `(S, side, side, 3)` and `(T, side, side, 3)` that show one picture.

    Returns (row of first, row of second, mean difference of 16 x 16 thumbnails in grey levels).
    """
    signs, other_signs = difference_hash(first), difference_hash(second)
    thumbnails, other_thumbnails = _thumbnails(first, 16), _thumbnails(second, 16)
    # The product of two hashes of +1 and -1 is the number of agreeing minus that of differing bits.
    least = signs.shape[1] - 2 * NEAR_BITS
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(signs), BLOCK):
        rows, columns = np.nonzero(signs[start : start + BLOCK] @ other_signs.T >= least)
        for part in range(0, len(rows), BLOCK):
            a, b = rows[part : part + BLOCK] + start, columns[part : part + BLOCK]
            levels = np.abs(thumbnails[a] - other_thumbnails[b]).mean(axis=(1, 2))
            is_near = levels <= NEAR_LEVELS
            shown = levels[is_near].round(2).tolist()
            pairs += zip(a[is_near].tolist(), b[is_near].tolist(), shown, strict=True)
    return pairs


def difference_hash(pixels: Pixels) -> Signs:
    """`(S, side, side, 3)` -> `(S, 112)` of +1 and -1: where an 8 x 8 grey image rises.

    56 signs along the rows, 56 along the columns (N. Krawetz, Kind of like that, 2013).
    """
    cells = _thumbnails(pixels, 8)
    across = cells[:, :, 1:] > cells[:, :, :-1]
    down = cells[:, 1:] > cells[:, :-1]
    bits = np.concatenate([across.reshape(len(pixels), 56), down.reshape(len(pixels), 56)], axis=1)
    return np.where(bits, np.float32(1), np.float32(-1))


def _thumbnails(pixels: Pixels, cells: int) -> Signs:
    """Grey means `(S, cells, cells)` of blocks, in levels of 255; `cells` divides the side."""
    count, side = pixels.shape[:2]
    block = side // cells
    means = np.empty((count, cells, cells), dtype=np.float32)
    for start in range(0, count, BLOCK):
        part = pixels[start : start + BLOCK].astype(np.float32).mean(axis=-1)
        blocks = part.reshape(-1, cells, block, cells, block)
        means[start : start + BLOCK] = blocks.mean(axis=(2, 4))
    return means
