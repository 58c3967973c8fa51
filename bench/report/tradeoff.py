"""Recall against a cost: a point with error bars for each method, and the Pareto front."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.report.conditions import explained, spoilt
from bench.report.entry import RECALL, SPEED
from bench.report.figure import MethodStyle, blank, method_styles
from bench.report.group import Group
from bench.report.labels import Line, place
from bench.report.row import Row, Statistic
from bench.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 0.09
"""Room above and below the points, as a share of their range."""
Grid = tuple[float, Sequence[float]]
"""Where an axis may have ticks: at the powers of a base, and at some multiples of each."""
BYTES: Sequence[Grid] = (
    *((2.0, (1.0, 1.25, 1.5, 1.75)), (2.0, (1.0, 1.5)), (2.0, (1.0,))),
    *((4.0, (1.0,)), (8.0, (1.0,)), (16.0, (1.0,))),
)
"""Ticks of bytes, the finest first."""
DECIMAL: Sequence[Grid] = ((10.0, (1, 1.5, 2, 3, 4, 5, 6, 8)), (10.0, (1, 2, 5)), (10.0, (1,)))
"""Ticks of images per second and of seconds, the finest first."""
MOST_TICKS = 9
"""Ticks for which an axis has room."""


@dataclass(frozen=True)
class Point:
    """A method in the plot; `cost` is None if it trains nothing."""

    row: Row
    style: MethodStyle
    name: str
    recall: Statistic
    cost: Statistic | None


def against_memory(group: Group) -> "Figure | None":
    """mR against the memory that counts on the group's device."""
    device = "peak memory in training, log scale"
    words = device if group.cuda else "bytes kept for backward, log scale (CPU: no device peak)"
    return recall_against(group, group.memory, words, -1)


def against_throughput(group: Group) -> "Figure | None":
    """mR against training images per second."""
    words = "training images/s, log scale" + ("" if group.cuda else " (CPU, for trying out)")
    return recall_against(group, SPEED, words, 1)


def recall_against(group: Group, path: str, words: str, better: int) -> "Figure | None":
    """mR against a cost; None with fewer than two methods, or if none has the cost.

    better: -1 if less of the cost is better (bytes), 1 if more is (a rate). A method that trains
    nothing (zero-shot) has no place on a logarithmic axis: it stands at its better end, and the
    Pareto front begins there.
    """
    points = _points(group, path)
    if len(points) < 2 or not any(point.cost for point in points):
        return None
    figure = blank(6.8, 4.6, group.title, _about(group, points, path, better))
    axes = figure.add_subplot(xlabel=words, ylabel="mR on test (%)", xscale="log")
    _limits(axes, points)
    if better < 0:
        log_ticks(axes, BYTES, format_bytes)
    else:
        log_ticks(axes, DECIMAL, "{:,g}".format)
    best, worst = axes.get_xlim()[::-better]
    places = [(p.cost.mean if p.cost else best, p.recall.mean) for p in points]
    front = pareto(places, better)
    steps = [*front, (worst, front[-1][1])]
    axes.step(*zip(*steps, strict=True), where="post", color="#777777", linestyle="--", linewidth=1)
    lines: list[Line] = []  # names keep off these
    for (x0, y0), (x1, y1) in pairwise(steps):
        lines += [(x0, y0, x1, y0), (x1, y0, x1, y1)]
    for point, at in zip(points, places, strict=True):
        lines += _draw(axes, point, *at, wide=better > 0)  # memory hardly varies
    place(axes, places, [p.name for p in points], [p.style.dark for p in points], lines)
    return figure


def _points(group: Group, path: str) -> list[Point]:
    """The rows that have a recall, and a cost unless they train nothing."""
    plotted = []
    for row in group.rows:
        recall, cost = row.statistic(RECALL), row.statistic(path)
        cost = cost if cost and cost.mean > 0 else None
        if recall and (cost or not row.trains):
            plotted.append((row, recall, cost))
    styles = method_styles(row for row, _, _ in plotted)
    points = []
    for row, recall, cost in plotted:
        name = styles[row.label].name + (spoilt(row, path) if cost else f" {recall.mean:.1f}")
        points.append(Point(row, styles[row.label], name, recall, cost))
    return points


def recall_limits(recalls: Sequence[Statistic]) -> tuple[float, float]:
    """The ends of an axis of recalls, with room for the means and for error bars of usual length.

    The bar of a single unstable method may run out of the plot: if all of it had to be seen, the
    other methods would be pressed together.
    """
    means = [recall.mean for recall in recalls]
    bars = [recall.std or 0.0 for recall in recalls]
    longest = max(0.3 * (max(means) - min(means)), 2 * statistics.median(bars))
    low = min(mean - min(bar, longest) for mean, bar in zip(means, bars, strict=True))
    high = max(mean + min(bar, longest) for mean, bar in zip(means, bars, strict=True))
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _about(group: Group, points: list[Point], path: str, better: int) -> str:
    """What the plot shows, for the second line of its title."""
    trained = [point for point in points if point.cost]
    about = ["mean ± standard deviation" if group.seeds > 1 else "one seed"]
    about.append("dashed: Pareto front")
    if len(trained) < len(points):
        about.append("on the axis: trains nothing")
    about.append("better: " + ("upper left" if better < 0 else "upper right"))
    signs = "".join(spoilt(point.row, path) for point in trained)
    return "; ".join([*about, *explained(signs)])


def _limits(axes: "Axes", points: list[Point]) -> None:
    x = [math.log2(point.cost.mean) for point in points if point.cost]
    room = max(0.12 * (max(x) - min(x)), 0.35)
    axes.set_xlim(2 ** (min(x) - room), 2 ** (max(x) + room))
    axes.set_ylim(recall_limits([point.recall for point in points]))


def _draw(axes: "Axes", point: Point, x: float, y: float, *, wide: bool) -> list[Line]:
    """Draw a point with its error bars, that of the cost if `wide`; returns their lines."""
    style = point.style
    if point.cost is None:
        axes.axhline(y, color=style.dark, linestyle=":", linewidth=0.8, zorder=1)
        axes.plot(x, y, clip_on=False, zorder=4, **style.marker_style())
        return [(axes.get_xlim()[0], y, axes.get_xlim()[1], y)]
    up, right = point.recall.std or 0.0, (point.cost.std or 0.0) * wide
    axes.errorbar(x, y, yerr=up or None, xerr=right or None, zorder=3, **style.bar_style())
    return [(x, y - up, x, y + up), (x - right, y, x + right, y)]


def pareto(points: Iterable[tuple[float, float]], better: int) -> list[tuple[float, float]]:
    """The points that no other beats in both cost and recall, the best cost first."""
    front: list[tuple[float, float]] = []
    for cost, recall in sorted(points, key=lambda p: (-better * p[0], -p[1])):
        if not front or recall > front[-1][1]:
            front.append((cost, recall))
    return front


def log_ticks(axes: "Axes", grids: Sequence[Grid], words: Callable[[float], str]) -> None:
    """Label a logarithmic axis by the finest of some grids of ticks that leaves room for words."""
    low, high = axes.get_xlim()
    for base, parts in grids:
        powers = range(math.floor(math.log(low, base)), math.ceil(math.log(high, base)) + 1)
        ticks = [part * base**power for power in powers for part in parts]
        shown = [tick for tick in ticks if low <= tick <= high]
        if len(shown) <= MOST_TICKS:
            break
    axes.set_xticks(shown, [words(tick) for tick in shown])
    axes.set_xticks([], minor=True)
