"""Every image of a data set looked at once, and which of them are (nearly) the same picture.

Legend: S images.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import UserError, synthetic
from bench.data import Card, cache, imagefile
from bench.data.cache import Pixels
from methods.sample import Sample

Signs = npt.NDArray[np.float32]

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
        counts = Counter(shape for shape in self.shapes if shape is not None)
        return {f"{w} x {h}": count for (w, h), count in counts.most_common()}

    def odd_sized(self, samples: Sequence[Sample]) -> list[str]:
        """File names of the images of another size than the most frequent one."""
        counts = Counter(shape for shape in self.shapes if shape is not None)
        usual = counts.most_common(1)[0][0] if counts else None
        return [
            sample.filename
            for sample, shape in zip(samples, self.shapes, strict=True)
            if shape is not None and shape != usual
        ]


def look(
    card: Card,
    samples: Sequence[Sample],
    paths: Sequence[Path | None],
    side: int,
    progress: Callable[[int, int], None] | None = None,
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

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, fault in enumerate(pool.map(see, range(len(samples)), chunksize=16)):
            if fault is not None:
                undecodable[samples[row].filename] = fault
            if progress is not None and row % 64 == 63:
                progress(row + 1, len(samples))
    return Look(pixels, seen, shapes, undecodable)


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
    made = np.empty((count, cells, cells), dtype=np.float32)
    for start in range(0, count, 1024):  # the float copy of a large set would not fit
        part = pixels[start : start + 1024].astype(np.float32).mean(axis=-1)
        made[start : start + 1024] = part.reshape(-1, cells, block, cells, block).mean(axis=(2, 4))
    return made


def near(first: Pixels, second: Pixels, block: int = 1024) -> list[tuple[int, int, float]]:
    """Pairs of rows of `(S, side, side, 3)` and `(T, side, side, 3)` that show one picture.

    Returns (row of first, row of second, mean difference of 16 x 16 thumbnails in grey levels).
    """
    signs, others = difference_hash(first), difference_hash(second)
    small, smaller = _thumbnails(first, 16), _thumbnails(second, 16)
    least = signs.shape[1] - 2 * NEAR_BITS  # agreeing minus differing signs
    found = []
    for start in range(0, len(signs), block):
        rows, columns = np.nonzero(signs[start : start + block] @ others.T >= least)
        for part in range(0, len(rows), 4096):
            a, b = rows[part : part + 4096] + start, columns[part : part + 4096]
            apart = np.abs(small[a] - smaller[b]).mean(axis=(1, 2))
            hits = apart <= NEAR_LEVELS
            found += list(
                zip(a[hits].tolist(), b[hits].tolist(), apart[hits].tolist(), strict=True)
            )
    return found


def pairs(look: Look, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Pairs of (nearly) equal images of one data set, the closest first."""
    rows = np.nonzero(look.seen)[0]
    pixels = look.pixels[rows]
    found = [
        {
            "images": [samples[rows[a]].filename, samples[rows[b]].filename],
            "splits": [samples[rows[a]].split, samples[rows[b]].split],
            "same_pixels": bool((pixels[a] == pixels[b]).all()),
            "grey_levels": round(apart, 2),
        }
        for a, b, apart in near(pixels, pixels)
        if a < b
    ]
    return sorted(found, key=lambda pair: (not pair["same_pixels"], pair["grey_levels"]))
