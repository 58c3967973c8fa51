"""Recall against a cost: a point with error bars for each method, and the Pareto front."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.conditions import explained, spoilt
from bench.report.figure import MIB, Look, blank, looks
from bench.report.groups import Group, Row, Statistic
from bench.report.labels import place
from bench.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in data units."""
MARGIN = 0.09
"""Room above and below the points, as a share of their range."""
MOST_NAMES = 30
"""Of more methods than this only the Pareto front and the best call of each method are named."""


@dataclass(frozen=True)
class Point:
    """A method in the plot; a method that trains nothing costs nothing and has no `cost`."""

    row: Row
    cost: Statistic | None
    recall: Statistic


def against_memory(group: Group) -> "Figure | None":
    """mR against the memory that counts on the group's device."""
    device = "peak memory in training, log scale"
    words = device if group.cuda else "bytes kept for backward, log scale (CPU: no device peak)"
    return recall_against(group, group.memory, words, -1, bytes_axis)


def against_throughput(group: Group) -> "Figure | None":
    """mR against training images per second."""
    words = "training images/s, log scale" + ("" if group.cuda else " (CPU, for trying out)")
    return recall_against(group, "efficiency.train_images_per_second", words, 1, rate_axis)


def recall_against(
    group: Group, path: str, words: str, better: int, axis: Callable[["Axes"], None]
) -> "Figure | None":
    """mR against a cost; None with fewer than two methods, or where none has the cost.

    better: -1 where less of the cost is better, 1 where more is. What trains nothing (zero-shot)
    has no place on a logarithmic axis: it stands at the axes' better edge and begins the front.
    """
    points = _points(group, path)
    trained = [point for point in points if point.cost]
    if not trained or len(points) < 2:
        return None
    longest = longest_bar([point.recall for point in points])
    figure = blank(6.8, 4.6, group.title, _about(points, path, better, longest))
    axes = figure.add_subplot()
    _limits(axes, points, longest)
    axis(axes)
    axes.set_xlabel(words)
    axes.set_ylabel("mR on test (%)")
    edge = axes.get_xlim()[0 if better < 0 else 1]
    places = [(p.cost.mean if p.cost else edge, p.recall.mean) for p in points]
    look = looks(p.row for p in points)
    lines = _front(axes, places, better) + _bars(axes, look, points, places, longest, better)
    named = _named(points, places, better)
    place(
        axes,
        [places[n] for n in named],
        [_name(points[n], look, path, longest) for n in named],
        [look[points[n].row.label].dark for n in named],
        lines,
        [places[n] for n in range(len(points)) if n not in named],
    )
    return figure


def _points(group: Group, path: str) -> list[Point]:
    """The rows that have a recall, and a cost unless they train nothing."""
    points = []
    for row in group.rows:
        recall, cost = row.statistic("metrics.test.mR"), row.statistic(path)
        cost = cost if cost and cost.mean > 0 else None
        if recall and (cost or not row.trains):
            points.append(Point(row, cost, recall))
    return points


def longest_bar(recalls: Sequence[Statistic]) -> float:
    """Error bars longer than this are written, not drawn: one unstable method, perhaps of two
    seeds, would run across the whole plot and press the others together.
    """
    if not recalls:
        return 0.0
    means = [recall.mean for recall in recalls]
    typical = statistics.median(recall.std or 0.0 for recall in recalls)
    return max(0.3 * (max(means) - min(means)), 2 * typical)


def _about(points: list[Point], path: str, better: int, longest: float) -> str:
    """What the plot shows, for the second line of its title."""
    trained = [point for point in points if point.cost]
    spread = any(point.recall.n > 1 for point in trained)
    said = ["mean ± standard deviation" if spread else "one seed"]
    if any((p.recall.std or 0) > longest for p in points):
        said.append("long bars as figures")
    said.append("dashed: Pareto front")
    if len(trained) < len(points):
        said.append("on the axis: trains nothing")
    said.append("better: " + ("upper left" if better < 0 else "upper right"))
    signs = "".join(spoilt(p.row, path) for p in trained)
    return "; ".join([*said, *explained(signs)])


def _name(point: Point, look: dict[str, Look], path: str, longest: float) -> str:
    name = look[point.row.label].name
    if point.cost is None:
        return f"{name} {point.recall.mean:.1f}"
    spread = point.recall.std or 0
    return name + spoilt(point.row, path) + (f" ± {spread:.1f}" if spread > longest else "")


def _named(points: list[Point], places: list[tuple[float, float]], better: int) -> list[int]:
    """The points whose names are written: all, unless there are too many to read."""
    if len(points) <= MOST_NAMES:
        return list(range(len(points)))
    front = pareto(places, better)
    seen: set[str] = set()
    named = []
    for n, point in enumerate(points):  # rows are sorted, so a method's best call comes first
        if places[n] in front or point.row.method not in seen:
            named.append(n)
        seen.add(point.row.method)
    return named


def _limits(axes: "Axes", points: list[Point], longest: float) -> None:
    """Let the axes show all points and the bars that are drawn."""
    axes.set_xscale("log")
    x = [math.log2(p.cost.mean) for p in points if p.cost]
    room = max(0.12 * (max(x) - min(x)), 0.35)
    axes.set_xlim(2 ** (min(x) - room), 2 ** (max(x) + room))
    ends = [p.recall.mean + sign * _bar(p, longest) for p in points for sign in (-1, 1)]
    margin = MARGIN * (max(ends) - min(ends)) or 1.0
    axes.set_ylim(min(ends) - margin, max(ends) + margin)


def _bar(point: Point, longest: float) -> float:
    spread = point.recall.std or 0.0
    return spread if spread <= longest else 0.0


def _front(axes: "Axes", places: list[tuple[float, float]], better: int) -> list[Box]:
    """Draw the Pareto front; returns the boxes of its lines."""
    front = pareto(places, better)
    steps = [*front, (axes.get_xlim()[1 if better < 0 else 0], front[-1][1])]
    axes.step(*zip(*steps, strict=True), where="post", color="#777777", linestyle="--", linewidth=1)
    boxes = []
    for (x0, y0), (x1, y1) in itertools.pairwise(steps):
        boxes += [_thick(axes, x0, y0, x1, y0), _thick(axes, x1, y0, x1, y1)]
    return boxes


def _bars(
    axes: "Axes",
    look: dict[str, Look],
    points: list[Point],
    places: list[tuple[float, float]],
    longest: float,
    better: int,
) -> list[Box]:
    """Draw the points with their error bars; returns the boxes of the bars.

    Memory has no spread to speak of, and so no bar.
    """
    boxes = []
    for point, (x, y) in zip(points, places, strict=True):
        style = look[point.row.label]
        if point.cost is None:
            axes.axhline(y, color=style.dark, linestyle=":", linewidth=0.8, zorder=1)
            axes.plot(x, y, clip_on=False, zorder=4, **style.marker_style())
            boxes.append(_thick(axes, axes.get_xlim()[0], y, axes.get_xlim()[1], y))
            continue
        high, wide = _bar(point, longest), (point.cost.std or 0.0) if better > 0 else 0.0
        axes.errorbar(
            x,
            y,
            yerr=high or None,
            xerr=wide or None,
            ecolor=style.dark,
            elinewidth=0.9,
            capsize=2,
            zorder=3,
            **style.marker_style(),
        )
        boxes += [_thick(axes, x, y - high, x, y + high), _thick(axes, x - wide, y, x + wide, y)]
    return boxes


def _thick(axes: "Axes", x0: float, y0: float, x1: float, y1: float) -> Box:
    """The box around a horizontal or vertical line."""
    low, high = axes.get_ylim()
    tall, wide = (high - low) / 300, 2**0.01
    flat, upright = (tall, 1.0) if y0 == y1 else (0.0, wide)
    return (
        min(x0, x1) / upright,
        min(y0, y1) - flat,
        max(x0, x1) * upright,
        max(y0, y1) + flat,
    )


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
    _ticks(axes, [2.0**power * MIB * part for power in powers for part in fractions], format_bytes)


def rate_axis(axes: "Axes") -> None:
    """Ticks at 1, 2, 5 and so on."""
    low, high = axes.get_xlim()
    bases = (1.0, 2.0, 5.0) if high / low > 8 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    _ticks(axes, [base * 10.0**power for power in powers for base in bases], lambda t: f"{t:,g}")


def _ticks(axes: "Axes", ticks: list[float], words: Callable[[float], str]) -> None:
    from matplotlib.ticker import NullLocator

    low, high = axes.get_xlim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [words(tick) for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())
