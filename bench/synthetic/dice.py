"""Random numbers of a drawing: one stream for each picture, the same on every machine."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Point = tuple[float, float]
T = TypeVar("T")


class Dice:
    """A stream of random numbers that depends only on its key; cheap for single throws."""

    def __init__(self, *key: int) -> None:
        self.rng = np.random.default_rng(list(key))
        self._throws: list[float] = []

    def unit(self) -> float:
        if not self._throws:
            self._throws = self.rng.random(256).tolist()
        return self._throws.pop()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int((high - low + 1) * self.unit())

    def pick(self, options: Sequence[T]) -> T:
        return options[int(len(options) * self.unit())]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different entries of `options`, in random order."""
        left = list(options)
        return [left.pop(int(len(left) * self.unit())) for _ in range(count)]

    def spots(self, count: int, gap: float, box: tuple[float, float, float, float]) -> list[Point]:
        """Points in (x0, y0, x1, y1) at least `gap` apart, closer where they do not fit."""
        points: list[Point] = []
        while len(points) < count:
            spot = (self.between(box[0], box[2]), self.between(box[1], box[3]))
            if all(math.dist(spot, other) >= gap for other in points):
                points.append(spot)
            else:
                gap *= 0.985
        return points
