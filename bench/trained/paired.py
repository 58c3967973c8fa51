"""Tests of paired differences between two models: over test images, over seeds, over both.

Legend: S seeds, I test images, M metrics.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Array = NDArray[Any]

RESAMPLES = 10_000
ROUNDING = 1e-9
"""Differences of recall, in points, that are only rounding."""


def bootstrap(differences: Array, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Array, Array]:
    """95% percentile interval of the mean of differences `(I, M)` over images: two `(M,)`.

    It covers other test images of the same kind, not other trainings.
    """
    images = len(differences)
    rng = np.random.default_rng(seed)
    means = []
    for count in _blocks(resamples):
        drawn = rng.multinomial(images, np.full(images, 1 / images), size=count)
        means.append(drawn @ differences / images)
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975], axis=0)
    return low, high


def permutation(differences: Array, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Two-sided p of mean differences `(I, M)`, by swapping A and B image by image: `(M,)`."""
    rng = np.random.default_rng(seed)
    observed = np.abs(differences.mean(axis=0))
    extreme = np.zeros(differences.shape[1])
    for count in _blocks(resamples):
        signs = rng.choice((-1.0, 1.0), size=(count, len(differences)))
        drawn = np.abs(signs @ differences / len(differences))
        extreme += (drawn >= observed - ROUNDING).sum(axis=0)
    return np.asarray((extreme + 1) / (resamples + 1))


def _blocks(resamples: int) -> list[int]:
    """The sizes of blocks of resamples, 500 at most, so that a block fits into memory."""
    return [min(500, resamples - start) for start in range(0, resamples, 500)]


def seeds_and_images(differences: Array, level: float = 0.95) -> tuple[Array, Array, Array]:
    """Interval and two-sided p of the mean of differences `(S, I, M)`: three `(M,)`; S at least 2.

    It covers both other trainings and other test images. Each seed was tested on the same images,
    so the variance of the mean has two parts: that of the seeds' means, which includes the noise of
    single queries, and that of the images beyond this noise. Each is stretched by its own quantile
    of Student's t. So even with two seeds the interval covers 95% (tests/test_paired.py simulates
    it), where a bootstrap over seeds covers no more than 83%. It is never narrower than the
    interval of a paired t-test over seeds.
    """
    seeds, images, _ = differences.shape
    mean = differences.mean(axis=(0, 1))
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    residual = differences - by_seed[:, None] - by_image[None] + mean
    noise = (residual**2).sum(axis=(0, 1)) / ((seeds - 1) * max(images - 1, 1))
    of_seeds = by_seed.var(axis=0, ddof=1) / seeds
    spread = by_image.var(axis=0, ddof=1) if images > 1 else np.zeros_like(mean)
    of_images = np.maximum(spread - noise / seeds, 0) / images

    def width(level: float | Array) -> Array:
        seed, image = (_t(level, n - 1) for n in (seeds, max(images, 2)))
        return np.asarray(np.sqrt(seed**2 * of_seeds + image**2 * of_images))

    p = _p_value(width, np.abs(mean))
    half = width(level)
    return mean - half, mean + half, p


def _p_value(width: Any, mean: Array) -> Array:
    """The p-value: 1 minus the level at which an interval just reaches 0, found by bisection."""
    low, high = np.zeros_like(mean), np.ones_like(mean)  # levels
    for _ in range(40):
        middle = (low + high) / 2
        inside = width(middle) <= mean
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(mean <= ROUNDING, 1.0, 1 - low)


def _t(level: float | Array, freedom: int) -> Array:
    """The t between whose negative and itself Student's distribution has the share `level`."""
    return np.asarray(stdtrit(freedom, (1 + np.asarray(level)) / 2))


@dataclass(frozen=True)
class TTest:
    """Student's paired t over n seeds: the mean difference, half the width of its 95% interval, and
    the two-sided p."""

    n: int
    mean: float
    half_width: float
    p: float


def t_test(differences: Sequence[float]) -> TTest | None:
    """Student's paired t of differences, one for each seed; None with fewer than two."""
    n = len(differences)
    if n < 2:
        return None
    mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(n)
    p = 2 * float(stdtr(n - 1, -abs(mean) / error)) if error else 0.0
    half_width = float(_t(0.95, n - 1)) * error
    return TTest(n, mean, half_width, 1.0 if abs(mean) <= ROUNDING else p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction (1979) for several tests: keeps the chance of any false alarm at the level.

    None stays None and does not count as a test.
    """
    order = sorted((p, n) for n, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for place, (p, n) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - place)))
        corrected[n] = least
    return corrected
