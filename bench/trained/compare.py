"""Two trained models, query by query: paired bootstrap, permutation test, queries won and lost."""

import functools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench import UserError, record

if TYPE_CHECKING:
    from rich.table import Table

Array = NDArray[Any]

KS = (1, 5, 10)
METRICS = (*(f"{way}_R@{k}" for way in ("i2t", "t2i") for k in KS), "mR")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """One recall of A and B in percent, B - A with its 95% interval, and p of the permutation."""

    metric: str
    a: float
    b: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """B - A in points."""
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """B against A.

    won and lost: for `i2t` and `t2i` the numbers of the queries that B ranks better and worse than
    A does, the largest change of rank first; queries: how many there are.
    """

    a: str
    b: str
    differences: tuple[Difference, ...]
    won: dict[str, list[int]]
    lost: dict[str, list[int]]
    queries: dict[str, int]


def load_ranks(path: Path, ways: Sequence[str] = ("i2t", "t2i")) -> dict[str, Array]:
    """The rank of each query, beside the record at `path`: `i2t` `(I,)`, `t2i` `(C,)`, from 1.

    Also `dup_i2t` and `dup_t2i`: of the best item that carries the very caption.

    Raises UserError where the file is missing or is no such file.
    """
    file = path.with_suffix(".npz")
    there = path.is_file() and file.is_file()
    if there and record.is_stray(path, record.read(path), ".npz"):
        raise UserError(f"{file} is of another run than the record; repeat the trial with --rerun")
    try:
        with np.load(file) as arrays:
            return {way: np.asarray(arrays[way], dtype=np.float64) for way in ways}
    except FileNotFoundError:
        raise UserError(
            f"{file} is not there: the ranks of queries are not committed with the records; "
            "repeat the trial with `bench run --rerun`"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} holds no ranks ({error}); repeat the trial with --rerun") from None


def hits(ranks: dict[str, Array]) -> Array:
    """Share of hits of each image, in percent: `(I, 7)` in the order of METRICS.

    Column means are the recalls. An image and its captions are one unit, for its queries are not
    independent. Raises ValueError where the images have not the same number of captions each.
    """
    images, captions = len(ranks["i2t"]), len(ranks["t2i"])
    if not images or captions % images:
        raise ValueError(f"{captions} captions of {images} images")
    i2t = np.stack([ranks["i2t"] <= k for k in KS], axis=1).astype(np.float64)
    t2i = np.stack([ranks["t2i"] <= k for k in KS], axis=1).reshape(images, -1, len(KS)).mean(1)
    both = np.concatenate([i2t, t2i], axis=1)
    return np.asarray(100 * np.concatenate([both, both.mean(axis=1, keepdims=True)], axis=1))


def bootstrap(differences: Array, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Array, Array]:
    """95% interval of the mean over seeds and images: two `(M,)`.

    differences `(S, I, M)`: per seed, image and metric. Seeds and images are drawn anew, both with
    replacement, so that the interval covers other images and other trainings.
    """
    seeds, images, metrics = differences.shape
    flat = np.ascontiguousarray(differences.transpose(1, 0, 2)).reshape(images, -1)
    means = np.concatenate(
        [
            np.einsum("rsm,rs->rm", (weights @ flat).reshape(-1, seeds, metrics), shares)
            for weights, shares in _draws(images, seeds, resamples, seed)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


@functools.lru_cache(maxsize=2)
def _draws(images: int, seeds: int, resamples: int, seed: int) -> list[tuple[Array, Array]]:
    """Shares of images `(R, I)` and of seeds `(R, S)` in each resample, 500 resamples at a time.

    Drawing them takes longer than all the rest of a bootstrap, and a report makes hundreds of
    bootstraps over the same images, so the last ones are kept.
    """
    rng = np.random.default_rng(seed)
    draws = []
    for start in range(0, resamples, 500):
        count = min(500, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size=count) / images
        draws.append((weights, rng.multinomial(seeds, np.full(seeds, 1 / seeds), count) / seeds))
    return draws


def permutation(differences: Array, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Two-sided p of mean differences `(I, M)` under exchange of A and B image by image: `(M,)`."""
    rng = np.random.default_rng(seed)
    seen = np.abs(differences.mean(axis=0))
    extreme = np.zeros(differences.shape[1])
    for start in range(0, resamples, 500):
        count = min(500, resamples - start)
        signs = rng.choice((-1.0, 1.0), size=(count, len(differences)))
        drawn = np.abs(signs @ differences / len(differences))
        extreme += (drawn >= seen - 1e-9).sum(axis=0)
    return np.asarray((extreme + 1) / (resamples + 1))


def compare(record_a: Path, record_b: Path, *, resamples: int = RESAMPLES) -> Comparison:
    """Compare the trained models of two records on the same test queries.

    Raises UserError where a record is not ok, ranks are missing or the test splits differ.
    """
    records = [record.read(path) for path in (record_a, record_b)]
    for path, document in zip((record_a, record_b), records, strict=True):
        if document["status"] != "ok":
            raise UserError(f"{path} is {document['status']}; compare two trials that are ok")
    ranks = [load_ranks(path) for path in (record_a, record_b)]
    tests = [document.get("data", {}).get("hashes", {}).get("test") for document in records]
    sizes = [{way: len(of[way]) for way in of} for of in ranks]
    if tests[0] != tests[1] or sizes[0] != sizes[1]:
        raise UserError(
            f"{record_a} and {record_b} were tested on different images; give two of one data set"
        )
    try:
        a, b = hits(ranks[0]), hits(ranks[1])
    except ValueError as error:
        raise UserError(f"cannot pair the queries: {error}, not the same number for each") from None
    low, high = bootstrap((b - a)[None], resamples)
    p = permutation(b - a, resamples)
    rows = zip(METRICS, a.mean(0), b.mean(0), low, high, p, strict=True)
    gains = {way: ranks[0][way] - ranks[1][way] for way in ("i2t", "t2i")}
    name_a, name_b = (f"{d['trial']['call']} seed {d['trial']['seed']}" for d in records)
    return Comparison(
        name_a,
        name_b,
        tuple(Difference(name, *(float(value) for value in row)) for name, *row in rows),
        {way: _first(gain) for way, gain in gains.items()},
        {way: _first(-gain) for way, gain in gains.items()},
        sizes[0],
    )


def _first(gain: Array) -> list[int]:
    """Queries with a gain, the largest first."""
    order: Sequence[int] = np.argsort(-gain, kind="stable").tolist()
    return [query for query in order if gain[query] > 0]


def table(comparison: Comparison) -> "Table":
    """A comparison for the terminal."""
    from rich.table import Table

    lines = []
    for way, what in (("i2t", "images"), ("t2i", "captions")):
        won, lost, of = comparison.won[way], comparison.lost[way], comparison.queries[way]
        lines.append(
            f"{way}: of {of} {what} B ranks {len(won)} better, {len(lost)} worse, "
            f"{of - len(won) - len(lost)} alike"
        )
    lines.append("95% interval: paired bootstrap; p: permutation, both over images")
    lines.append("Ties: at their mean rank, where the records' recalls count the chance of a hit")
    shown = Table(title=f"A  {comparison.a}\nB  {comparison.b}", caption="\n".join(lines))
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("%")
    for title in ("A", "B", "B - A", "95% interval", "p"):
        shown.add_column(title, justify="right", no_wrap=True)
    for one in comparison.differences:
        figures = [f"{one.a:.2f}", f"{one.b:.2f}", f"{one.difference:+.2f}"]
        interval = f"{one.low:+.2f} to {one.high:+.2f}"
        p = f"{one.p:.4f}" if one.p >= 1e-4 else "< 0.0001"
        sure = one.low > 0 or one.high < 0
        shown.add_row(one.metric, *figures, interval, p, style="bold" if sure else "")
    return shown
