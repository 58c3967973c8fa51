"""The rank of the best right answer to each test query: the `.npz` file beside a record.

Queries are the I test images (`i2t`) or their captions (`t2i`), in the order of the data set's
annotation. These arrays exist for `i2t`, `t2i`, and also for `dup_i2t` and `dup_t2i`, where images
and captions that share a sentence count as right. Q is the number of queries:

- `t2i`: `(Q,)` rank of the best right item, from 1; for ties the expected rank.
- `t2i_hits`: `(Q, 3)` chance that a right item is among the first 1, 5 and 10, ties broken at
  random. 100 times the mean of a column is a recall of the record.
- `captions`: `(I,)` how many captions each image has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench import UserError, brief, record
from bench.recalls import KS, WAYS

if TYPE_CHECKING:
    from bench.retrieval import Ranks

Array = NDArray[Any]


class Missing(UserError):
    """There is no per-query file beside a record."""


@dataclass(frozen=True)
class PerQuery:
    """The strict or the duplicate-aware arrays of one file; keys are `i2t` and `t2i`."""

    ranks: dict[str, Array]
    hits: dict[str, Array]
    captions: Array

    def per_image(self) -> Array:
        """What each test image adds to each recall, in percent: `(I, 7)`, columns as
        `bench.recalls.METRICS`.

        The mean of a column over the images is the recall. An image and its captions are one unit,
        because their queries are not independent.
        """
        images = len(self.captions)
        image_of = np.repeat(np.arange(images), self.captions)
        # Images may have different numbers of captions. With this factor the mean over images of
        # what their captions found is the mean over captions, which is the recall.
        share = images / len(image_of)
        t2i = [share * np.bincount(image_of, hit, images) for hit in self.hits["t2i"].T]
        both = np.concatenate([self.hits["i2t"], np.stack(t2i, axis=1)], axis=1)
        return np.asarray(100 * np.concatenate([both, both.mean(axis=1, keepdims=True)], axis=1))


def arrays(ranks: "Mapping[str, Ranks]", image_of: Sequence[int]) -> dict[str, Array]:
    """The arrays to save, by name. image_of: the test image of each caption."""
    named: dict[str, Array] = {"captions": np.bincount(image_of)}
    for way, rank in ranks.items():
        named[way] = rank.expected().float().numpy()
        named[f"{way}_hits"] = np.stack([rank.hit(k).numpy() for k in KS], axis=1)
    return named


def save(path: Path, named: Mapping[str, Array]) -> None:
    """Write what `arrays` made."""
    with path.open("wb") as file:  # NumPy would add .npz to a path
        np.savez_compressed(file, **dict(named))  # type: ignore[arg-type]


def load(path: Path, prefix: str = "") -> PerQuery:
    """Read the file beside the record at `path`; prefix `dup_` for the duplicate-aware arrays.

    Raises Missing if there is none, and UserError if it is damaged or belongs to another run.
    """
    file = path.with_suffix(".npz")
    remedy = "repeat the trial with `bench run ... --rerun`"
    if not file.exists():
        raise Missing(
            f"{file} is missing; it holds the ranks of the test queries and is not committed with "
            f"the records; {remedy}"
        )
    if path.is_file() and record.is_stray(path, record.read(path), ".npz"):
        raise UserError(f"{file} belongs to another run than the record beside it; {remedy}")
    try:
        with np.load(file) as archive:
            ranks = {way: np.asarray(archive[f"{prefix}{way}"], np.float64) for way in WAYS}
            hits = {way: np.asarray(archive[f"{prefix}{way}_hits"], np.float64) for way in WAYS}
            captions = np.asarray(archive["captions"])
        for way, count in (("i2t", len(captions)), ("t2i", int(captions.sum()))):
            if ranks[way].shape != (count,) or hits[way].shape != (count, len(KS)):
                raise ValueError(f"{way} does not have {count} queries")
        if (captions < 0).any():
            raise ValueError("a number of captions is negative")
    except Exception as error:  # a damaged file can lead to anything, such as zlib.error
        raise UserError(f"{file} is damaged ({brief(error)}); {remedy}") from None
    return PerQuery(ranks, hits, captions)
