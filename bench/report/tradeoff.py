"""Recall against a cost: each method a point with its error bars, and the Pareto front."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.conditions import MARKS, SHORT, spoilt
from bench.report.figure import MIB, Look, blank, lay_out
from bench.report.groups import Group, Row, Statistic
from bench.report.labels import place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in data units."""
Point = tuple[Row, Statistic, Statistic]
"""A row, its cost and its recall."""
MARGIN = 0.09
"""Room above and below the points, as a share of their range."""
THIN = 2**0.01
"""A vertical line reaches so many times its place to both sides."""


def against_memory(one: Group, look: dict[str, Look]) -> "Figure | None":
    """mR against the memory that counts on the group's device."""
    device = "peak memory in training, log scale"
    words = device if one.cuda else "bytes kept for backward, log scale (CPU: no device peak)"
    return recall_against(one, look, one.memory, words, -1, bytes_axis)


def against_throughput(one: Group, look: dict[str, Look]) -> "Figure | None":
    """mR against training images per second."""
    words = "training images/s, log scale" + ("" if one.cuda else " (CPU, for trying out)")
    return recall_against(one, look, "efficiency.train_images_per_second", words, 1, rate_axis)


def recall_against(
    one: Group,
    look: dict[str, Look],
    path: str,
    words: str,
    better: int,
    axis: Callable[["Axes"], None],
) -> "Figure | None":
    """mR against a cost, error bars, Pareto front; a line for what trains nothing.

    better: -1 where less of the cost is better, 1 where more is. None without two methods.
    A cost that is not comparable has its mark (bench.report.conditions) behind the name.
    """
    points: list[Point] = []
    lines: list[tuple[Row, float]] = []
    for row in one.rows:
        recall, cost = row.statistic("metrics.test.mR"), row.statistic(path)
        if recall and cost and cost.mean > 0:
            points.append((row, cost, recall))
        elif recall and not row.trains:
            lines.append((row, recall.mean))
    if not points or len(points) + len(lines) < 2:  # a single point compares nothing
        return None
    figure = blank(6.8, 4.6)
    axes = figure.add_subplot()
    _limits(axes, points, [level for _, level in lines])
    axes.set_xlabel(words)
    axes.set_ylabel("mR on test (%)")
    corner = "upper left" if better < 0 else "upper right"
    spread = " ± sample standard deviation" if any(r.n > 1 for *_, r in points) else ""
    signs = [spoilt(row, path) for row, *_ in points]
    marked = "".join(f"; {MARKS[k]} {SHORT[k]}" for k in MARKS if MARKS[k] in "".join(signs))
    axes.set_title(f"{one.title}\nmean{spread}; dashed: Pareto front; better: {corner}{marked}")
    axis(axes)
    obstacles = _front(axes, points, better) + _bars(axes, look, points, better)
    for row, level in lines:
        axes.axhline(level, color=look[row.label].dark, linestyle=":", linewidth=1.2)
    lay_out(figure)
    obstacles += _levels(axes, look, lines, obstacles)
    place(
        axes,
        [(cost.mean, recall.mean) for _, cost, recall in points],
        [look[row.label].name + sign for (row, *_), sign in zip(points, signs, strict=True)],
        [look[row.label].dark for row, *_ in points],
        obstacles,
    )
    return figure


def _limits(axes: "Axes", points: list[Point], levels: list[float]) -> None:
    """Set how far the axes go: all points, and levels of what trains nothing that are near."""
    axes.set_xscale("log")
    x = [math.log2(cost.mean) for _, cost, _ in points]
    room = max(0.12 * (max(x) - min(x)), 0.35)
    axes.set_xlim(2 ** (min(x) - room), 2 ** (max(x) + room))
    recalls = [recall for *_, recall in points]
    means = [recall.mean for recall in recalls]
    # The bars of a method less stable than others leave the picture, and do not decide its scale.
    far = max(0.3 * (max(means) - min(means)), 2 * statistics.median(r.std or 0.0 for r in recalls))
    bottom = max(min(r.mean - (r.std or 0) for r in recalls), min(means) - far)
    top = min(max(r.mean + (r.std or 0) for r in recalls), max(means) + far)
    near = [level for level in levels if bottom - level < 0.4 * (top - bottom)]
    bottom, top = min([bottom, *near]), max([top, *near])
    margin = MARGIN * (top - bottom) or 1.0
    axes.set_ylim(bottom - margin, top + margin)


def _front(axes: "Axes", points: list[Point], better: int) -> list[Box]:
    """Draw the Pareto front; returns what it covers."""
    front = pareto([(cost.mean, recall.mean) for _, cost, recall in points], better)
    edge = axes.get_xlim()[1 if better < 0 else 0]
    steps = [*front, (edge, front[-1][1])]
    axes.step(*zip(*steps, strict=True), where="post", color="#777777", linestyle="--", linewidth=1)
    flat = _flat(axes)
    covered = []
    for (x0, y0), (x1, y1) in itertools.pairwise(steps):
        covered.append((min(x0, x1), y0 - flat, max(x0, x1), y0 + flat))
        covered.append((x1 / THIN, min(y0, y1), x1 * THIN, max(y0, y1)))
    return covered


def _bars(axes: "Axes", look: dict[str, Look], points: list[Point], better: int) -> list[Box]:
    """Draw the points with their error bars; returns what the bars cover."""
    flat = _flat(axes)
    covered = []
    for row, cost, recall in points:
        style = look[row.label]
        reach, wide = recall.std or 0, (cost.std or 0) if better > 0 else 0
        axes.errorbar(
            cost.mean,
            recall.mean,
            yerr=reach,
            xerr=wide if better > 0 else None,
            ecolor=style.dark,
            elinewidth=0.9,
            capsize=2,
            zorder=3,
            **style.kwargs(),
        )
        at, mean = cost.mean, recall.mean
        covered.append((at / THIN, mean - reach, at * THIN, mean + reach))
        covered.append((at - wide, mean - flat, at + wide, mean + flat))
    return covered


def _levels(
    axes: "Axes", look: dict[str, Look], lines: list[tuple[Row, float]], obstacles: list[Box]
) -> list[Box]:
    """Name the levels of what trains nothing, also those below the picture; returns what is covered
    by names and lines."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    margin = MARGIN / (1 + 2 * MARGIN) * (top - bottom)
    below = bottom + 0.5 * margin
    covered: list[Box] = []
    for row, level in lines:
        words = f"{look[row.label].name} {level:.1f}, trains nothing"
        inside = level > bottom
        height, words = (level, words) if inside else (below, f"{words}: below ↓")
        below += 0.0 if inside else 0.5 * margin
        colour = look[row.label].dark
        covered.append(_note(axes, words, height, colour, [*obstacles, *covered]))
    return covered + [(left, level - _flat(axes), right, level + _flat(axes)) for _, level in lines]


def _flat(axes: "Axes") -> float:
    """Half the height of a horizontal line."""
    low, high = axes.get_ylim()
    return (high - low) / 300


def _note(axes: "Axes", words: str, height: float, colour: str, obstacles: list[Box]) -> Box:
    """Write words at a horizontal line where they cover nothing, and return their box.

    Boxes are x0, y0, x1, y1 in data units; where no place is free, that with the least under it.
    """
    corners = np.asarray(obstacles).reshape(-1, 2, 2)
    walls = axes.transData.transform(corners.reshape(-1, 2)).reshape(-1, 4)
    room = 5 * axes.figure.dpi / 72
    floor = axes.get_window_extent().y0
    found: list[tuple[int, int, Any, Any]] = []
    for x, side in ((1.0, "right"), (0.0, "left"), (0.5, "center")):
        for up in (3, -3):
            text = axes.annotate(
                words,
                (x, height),
                (4 - 8 * x, up),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha=side,
                va="bottom" if up > 0 else "top",
                fontsize=8,
                color=colour,
            )
            renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
            box = text.get_window_extent(renderer)
            x0, y0, x1, y1 = box.padded(room).extents
            hits = (walls[:, :2] < (x1, y1)).all(1) & (walls[:, 2:] > (x0, y0)).all(1)
            out = 100 * (box.y0 < floor)  # over the axis and its numbers
            found.append((int(hits.sum()) + out, len(found), text, box))
    _, chosen, _, box = min(found, key=lambda one: one[:2])
    for _, number, text, _ in found:
        if number != chosen:
            text.remove()
    (x0, y0), (x1, y1) = axes.transData.inverted().transform(box.get_points())
    return float(x0), float(y0), float(x1), float(y1)


def pareto(points: Iterable[tuple[float, float]], better: int) -> list[tuple[float, float]]:
    """The points that no other beats in both, from the best cost on; higher y is better."""
    front: list[tuple[float, float]] = []
    for cost, recall in sorted(points, key=lambda p: (-better * p[0], -p[1])):
        if not front or recall > front[-1][1]:
            front.append((cost, recall))
    return front


def bytes_axis(axes: "Axes") -> None:
    """Ticks at powers of two."""
    low, high = axes.get_xlim()
    step = max(1, math.ceil(math.log2(high / low) / 10))
    fractions: tuple[float, ...] = (1.0, 1.25, 1.5, 1.75)
    if high / low > 4:
        fractions = (1.0, 1.5) if high / low < 12 else (1.0,)
    powers = range(math.floor(math.log2(low / MIB)), math.ceil(math.log2(high / MIB)) + 1, step)
    ticks = [2.0**power * MIB * part for power in powers for part in fractions]
    _ticks(axes, ticks, bytes_words)


def bytes_words(value: float) -> str:
    """512 KiB, 64 MiB, 4 GiB."""
    for unit, size in (("GiB", 2.0**30), ("MiB", MIB), ("KiB", 2.0**10)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} B"


def rate_axis(axes: "Axes") -> None:
    """Ticks at 1, 2, 5 and so on."""
    low, high = axes.get_xlim()
    bases = (1.0, 2.0, 5.0) if high / low > 8 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [base * 10.0**power for power in powers for base in bases]
    _ticks(axes, ticks, lambda tick: f"{tick:,g}")


def _ticks(axes: "Axes", ticks: list[float], words: Callable[[float], str]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    low, high = axes.get_xlim()
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([words(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
