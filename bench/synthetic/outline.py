"""Outlines and ways in unit coordinates: x right, y down, both 0 to 1."""

import math

from bench.synthetic.dice import Dice, Point


def oval(x: float, y: float, a: float, b: float, power: float = 1.0) -> list[Point]:
    """Outline with half axes a, b; power below 1 squares it towards a rounded rectangle."""
    points = []
    for step in range(48):
        c, s = math.cos(step * math.pi / 24), math.sin(step * math.pi / 24)
        points.append(
            (
                x + a * math.copysign(abs(c) ** power, c),
                y + b * math.copysign(abs(s) ** power, s),
            )
        )
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
    """An S-shaped way from start to end; `bend` is its largest departure from the straight line."""
    (x0, y0), (x1, y1) = start, end
    length = math.dist(start, end)
    nx, ny = (y0 - y1) / length, (x1 - x0) / length
    points = []
    for step in range(33):
        t = step / 32
        off = bend * math.sin(2 * math.pi * t)
        points.append((x0 + t * (x1 - x0) + off * nx, y0 + t * (y1 - y0) + off * ny))
    return points


def evenly(count: int, low: float, high: float) -> list[float]:
    """`count` evenly spaced places between low and high."""
    step = (high - low) / max(count, 1)
    return [low + (k + 0.5) * step for k in range(count)]
