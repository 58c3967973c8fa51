"""Random numbers and outlines for drawings, in unit coordinates: x right, y down, 0 to 1."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""
T = TypeVar("T")


class Dice:
    """A stream of random numbers that depends only on its key; the same on every machine."""

    def __init__(self, *key: int) -> None:
        self.rng = np.random.default_rng(list(key))
        self._throws: list[float] = []  # drawn 256 at once: single draws from numpy are slow

    def unit(self) -> float:
        if not self._throws:
            self._throws = self.rng.random(256).tolist()
        return self._throws.pop()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int((high - low + 1) * self.unit())

    def pick(self, *options: T) -> T:
        return options[int(len(options) * self.unit())]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different entries of `options`, in random order."""
        left = list(options)
        return [left.pop(int(len(left) * self.unit())) for _ in range(count)]

    def spots(self, count: int, gap: float, box: Box) -> list[Point]:
        """Points in a box at least `gap` apart; the gap shrinks until they fit."""
        points: list[Point] = []
        while len(points) < count:
            spot = (self.between(box[0], box[2]), self.between(box[1], box[3]))
            if all(math.dist(spot, other) >= gap for other in points):
                points.append(spot)
            else:  # so that it ends, however small the box is
                gap *= 0.985
        return points


def evenly(count: int, low: float, high: float) -> list[float]:
    """`count` evenly spaced places between low and high."""
    step = (high - low) / max(count, 1)
    return [low + (k + 0.5) * step for k in range(count)]


def turned(
    outline: Iterable[Point], x: float, y: float, size: float, angle: float = 0.0
) -> list[Point]:
    """An outline drawn around the origin, scaled, turned and moved to (x, y)."""
    c, s = math.cos(angle) * size, math.sin(angle) * size
    return [(x + a * c - b * s, y + a * s + b * c) for a, b in outline]


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def grown(outline: Iterable[Point], x: float, y: float, factor: float) -> list[Point]:
    """An outline with every point `factor` times as far from (x, y)."""
    return [(x + factor * (u - x), y + factor * (v - y)) for u, v in outline]


def oval(x: float, y: float, a: float, b: float, power: float = 1.0) -> list[Point]:
    """Outline with half axes a, b; power below 1 squares it towards a rounded rectangle."""
    points = []
    for step in range(48):
        c, s = math.cos(step * math.pi / 24), math.sin(step * math.pi / 24)
        u, v = math.copysign(abs(c) ** power, c), math.copysign(abs(s) ** power, s)
        points.append((x + a * u, y + b * v))
    return points


def blob(dice: Dice, x: float, y: float, a: float, b: float, wobble: float) -> list[Point]:
    """Irregular closed outline around (x, y): an oval with three random harmonics."""
    waves = [(k, dice.between(0, 2 * math.pi), wobble / k) for k in (2, 3, 5)]
    points = []
    for step in range(56):
        t = step * math.pi / 28
        r = 1 + sum(size * math.sin(k * t + phase) for k, phase, size in waves)
        points.append((x + a * r * math.cos(t), y + b * r * math.sin(t)))
    return points


def curve(start: Point, end: Point, bend: float) -> list[Point]:
    """An S-shaped line from start to end; `bend` is its largest distance from a straight one."""
    (x0, y0), (x1, y1) = start, end
    length = math.dist(start, end)
    nx, ny = (y0 - y1) / length, (x1 - x0) / length
    points = []
    for step in range(33):
        t = step / 32
        off = bend * math.sin(2 * math.pi * t)
        points.append((x0 + t * (x1 - x0) + off * nx, y0 + t * (y1 - y0) + off * ny))
    return points
