"""Look at every image of a data set once, and find which are (nearly) the same picture.

Legend: S images.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench import UserError, synthetic
from bench.data import Card, cache, imagefile
from bench.data.cache import Pixels
from methods.sample import Sample

Signs = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

SIDE = 64
"""Images are compared at this size, in pixels."""
NEAR_BITS = 8
"""Two images whose hashes differ in at most so many of 112 bits are compared more closely."""
NEAR_LEVELS = 4.0
"""They are near if 16 x 16 thumbnails differ by at most so many grey levels of 255 on average."""


@dataclass(frozen=True)
class Look:
    """What was seen: pixels `(S, side, side, 3)`, which were seen at all, widths and heights."""

    pixels: Pixels
    seen: npt.NDArray[np.bool_]
    shapes: list[tuple[int, int] | None]
    undecodable: dict[str, str]

    def sizes(self) -> dict[str, int]:
        """Images of each size, the most frequent first."""
        counts = Counter(f"{shape[0]} x {shape[1]}" for shape in self.shapes if shape is not None)
        return dict(counts.most_common())

    def odd_sized(self, samples: Sequence[Sample]) -> list[str]:
        """File names of the images of another size than the most frequent one."""
        counts = Counter(shape for shape in self.shapes if shape is not None)
        usual = counts.most_common(1)[0][0] if counts else None
        shapes = zip(samples, self.shapes, strict=True)
        return [sample.filename for sample, shape in shapes if shape not in (None, usual)]


@dataclass(frozen=True, order=True)
class Match:
    """Two images that show the same picture, by their rows; the closest pairs sort first."""

    differ: bool
    """Whether their pixels differ at `SIDE`."""
    grey_levels: float
    """Mean difference of 16 x 16 thumbnails, in levels of 255."""
    first: int
    second: int


def look(
    card: Card,
    samples: Sequence[Sample],
    paths: Sequence[Path | None],
    side: int = SIDE,
    progress: Progress | None = None,
) -> Look:
    """Decode every image that is there at `side` pixels; what cannot be decoded is listed."""
    pixels = np.zeros((len(samples), side, side, 3), dtype=np.uint8)
    seen = np.zeros(len(samples), dtype=bool)
    shapes: list[tuple[int, int] | None] = [None] * len(samples)
    undecodable: dict[str, str] = {}

    def see(row: int) -> str | None:
        path = paths[row]
        try:
            if card.kind == "synthetic":
                pixels[row] = synthetic.render(row, side)
            elif path is None:
                return None
            else:
                shapes[row] = imagefile.size(path)
                pixels[row] = cache.decode(path, side, card.scale)
        except UserError as error:
            return str(error)
        seen[row] = True
        return None

    with ThreadPoolExecutor() as pool:
        for row, fault in enumerate(pool.map(see, range(len(samples)))):
            if fault is not None:
                undecodable[samples[row].filename] = fault
            if progress is not None and row % 64 == 63:
                progress(row + 1, len(samples))
    return Look(pixels, seen, shapes, undecodable)


def matches(first: Look, second: Look) -> list[Match]:
    """The pairs of (nearly) equal images of two looks, or of one with itself, the closest first."""
    rows, columns = np.nonzero(first.seen)[0], np.nonzero(second.seen)[0]
    pixels, others = first.pixels[rows], second.pixels[columns]
    return sorted(
        Match(bool((pixels[a] != others[b]).any()), apart, int(rows[a]), int(columns[b]))
        for a, b, apart in near(pixels, others)
        if first is not second or a < b
    )


def near(first: Pixels, second: Pixels, block: int = 1024) -> list[tuple[int, int, float]]:
    """Pairs of rows of `(S, side, side, 3)` and `(T, side, side, 3)` that show one picture.

    Returns (row of first, row of second, mean difference of 16 x 16 thumbnails in grey levels).
    """
    signs, others = difference_hash(first), difference_hash(second)
    small, smaller = _thumbnails(first, 16), _thumbnails(second, 16)
    least = signs.shape[1] - 2 * NEAR_BITS  # agreeing minus differing signs
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(signs), block):
        rows, columns = np.nonzero(signs[start : start + block] @ others.T >= least)
        for part in range(0, len(rows), 4096):
            a, b = rows[part : part + 4096] + start, columns[part : part + 4096]
            apart = np.abs(small[a] - smaller[b]).mean(axis=(1, 2))
            hits = apart <= NEAR_LEVELS
            pairs += zip(a[hits].tolist(), b[hits].tolist(), apart[hits].tolist(), strict=True)
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
    for start in range(0, count, 1024):  # the float copy of a large set would not fit
        part = pixels[start : start + 1024].astype(np.float32).mean(axis=-1)
        means[start : start + 1024] = part.reshape(-1, cells, block, cells, block).mean(axis=(2, 4))
    return means
