"""Learning curves: recall and loss by step, and the best recall by seconds of training."""

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.report.conditions import explained, spoilt
from bench.report.ends import NAMES, OFFSET, height_for, line, names_at_the_ends
from bench.report.figure import Look, blank, looks, widest
from bench.report.groups import Group, Row, Statistic
from bench.report.reached import Course, courses
from bench.report.tables import SPEED
from bench.report.tradeoff import longest_bar, rate_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TICKS = 8
"""Most steps written at the axis of learning curves; with more evaluations some are left out."""
FEW_LINES = 6
"""With more methods than this the curves of single seeds would hide the means."""
LOG_FROM = 10.0
"""Training times that differ by more than this factor are drawn on a logarithmic axis."""
TEST_WIDTH = 1.9
"""Inches of the panel with the recall on the test set."""


def by_steps(group: Group) -> "Figure | None":
    """Validation mR and loss by step, mean over seeds; None if no curve has two points.

    None also for an equal time budget, where steps differ: `by_seconds` shows these.
    """
    curves = {row.label: _by_step(row) for row in group.rows}
    curves = {label: curve for label, curve in curves.items() if curve}
    if max(map(len, curves.values()), default=0) < 2 or group.recipe.time is not None:
        return None
    look = looks(row for row in group.rows if row.label in curves)
    axis_of = {"loss": "loss (each method's own)", "val_mR": "mR on val (%)"}
    names = [n for n in axis_of if any(n in point for c in curves.values() for point in c.values())]
    right = widest((entry.name for entry in look.values()), NAMES) + 0.3
    about = f"{group.title}; mean over seeds"
    figure = blank(7 + right, height_for(len(curves)), about, right=right)
    panels = figure.subplots(1, len(names), width_ratios=(1, 1.6)[: len(names)], squeeze=False)[0]
    steps = sorted({step for curve in curves.values() for step in curve})
    for axes, name in zip(panels, names, strict=True):
        ends: dict[str, tuple[float, float]] = {}
        for label, curve in curves.items():
            points = [(step, curve[step][name]) for step in sorted(curve) if name in curve[step]]
            if points:
                line(axes, look[label], points)
                ends[label] = points[-1]
        axes.set_xticks(_some(steps))
        axes.set_xlabel("step")
        axes.set_ylabel(axis_of[name])
    names_at_the_ends(panels[-1], ends, look)
    return figure


def _some(steps: list[int]) -> list[int]:
    """At most MOST_TICKS of the steps, evenly spaced, the last one among them."""
    every = -(-len(steps) // MOST_TICKS)
    return steps[::-1][::every][::-1]


def _by_step(row: Row) -> dict[int, dict[str, float]]:
    """Step -> mean over seeds of loss and validation mR."""
    found: dict[int, dict[str, list[float]]] = {}
    for entry in row.ok:
        for look in entry.record["curve"]:
            for name, value in (("loss", look.get("loss")), ("val_mR", look.get("val_mR"))):
                if value is not None:
                    found.setdefault(look["step"], {}).setdefault(name, []).append(value)
    return {
        step: {name: statistics.fmean(values) for name, values in by_name.items()}
        for step, by_name in found.items()
    }


def by_seconds(group: Group) -> "Figure | None":
    """Best validation mR by seconds of training, and test mR; None without two evaluations.

    Lines continue, dotted, to the right edge, since what was reached stays reached. The test mR is
    in a second panel at the height of the method's name, so each method has a row there.
    """
    found = courses(group.rows)
    if max((len(course.mean) for course in found.values()), default=0) < 2:
        return None
    rows = [row for row in group.rows if row.label in found]
    signs = {row.label: spoilt(row, SPEED) for row in rows}
    look = {n: replace(each, name=each.name + signs[n]) for n, each in looks(rows).items()}
    names = widest((each.name for each in look.values()), NAMES) + OFFSET + 0.15
    about = _about(rows, found, "".join(signs.values()))
    height = height_for(len(rows)) + 0.155
    figure = blank(5.1 + names + TEST_WIDTH, height, group.title, about)
    left, right = figure.subplots(1, 2, width_ratios=(4.3, TEST_WIDTH))
    _apart(figure, left, right, names)
    _time_axis(left, list(found.values()))
    ends = {label: _course(left, look[label], found[label], len(rows)) for label in found}
    left.set_xlabel("seconds of training" + (", log scale" if left.get_xscale() == "log" else ""))
    left.set_ylabel("best mR on val until then (%)")
    heights = names_at_the_ends(left, ends, look)
    low, high = left.get_ylim()
    room = 0.03 * (high - low)  # for the markers beside the highest and lowest name
    for axes in (left, right):
        axes.set_ylim(low - room, high + room)
    right.set_yticks([])
    right.spines["left"].set_visible(False)
    _test_recalls(right, rows, heights, look)
    right.set_xlabel("mR on test (%)")
    return figure


def _about(rows: list[Row], found: dict[str, Course], signs: str) -> str:
    """The second line of the title of the plot by seconds: what is drawn."""
    many = any(len(course.seeds) > 1 for course in found.values())
    said = ["lines: mean over seeds" if many else "one seed"]
    if many and len(rows) <= FEW_LINES:
        said[0] += ", thin: single seeds"
    said.append("right: test mR" + (" ± standard deviation" if many else ""))
    if longest_bar(_tests(rows)) < max((s.std or 0.0 for s in _tests(rows)), default=0.0):
        said.append("long bars as figures")
    if any(course.computed for course in found.values()):
        said.append("seconds computed from images/s")
    return "; ".join([*said, *explained(signs)])


def _apart(figure: "Figure", left: "Axes", right: "Axes", names: float) -> None:
    """Leave so many inches between the panels, for the names."""
    a, b = left.get_position(), right.get_position()
    width = figure.get_figwidth()
    b.x0 = b.x1 - TEST_WIDTH / width
    a.x1 = b.x0 - names / width
    left.set_position(a)
    right.set_position(b)


def _time_axis(axes: "Axes", found: list[Course]) -> None:
    """Let the axis show all times; logarithmic where trainings differ much in length."""
    ends = [course.mean[-1].seconds for course in found]
    seeds = [points for course in found for points in course.seeds]
    first, last = min(p[0].seconds for p in seeds), max(p[-1].seconds for p in seeds)
    if max(ends) > LOG_FROM * min(ends):
        axes.set_xscale("log")
        axes.set_xlim(first / 1.1, last * 1.08)
        rate_axis(axes)
    else:
        axes.set_xlim(0, last * 1.03)


def _course(axes: "Axes", look: Look, course: Course, lines: int) -> tuple[float, float]:
    """Draw a method's stepped line, with few methods also each seed's. Returns the line's end."""
    if lines <= FEW_LINES and len(course.seeds) > 1:
        for points in course.seeds:
            x, y = zip(*((p.seconds, p.best) for p in points), strict=True)
            axes.step(x, y, where="post", color=look.colour, linewidth=0.5, alpha=0.5)
    x, y = zip(*((p.seconds, p.best) for p in course.mean), strict=True)
    edge = axes.get_xlim()[1]
    axes.plot([x[-1], edge], [y[-1]] * 2, color=look.colour, linewidth=0.8, linestyle=":")
    axes.step(x, y, where="post", color=look.colour, linewidth=1.1, **look.marker_style(4))
    return edge, y[-1]


def _tests(rows: list[Row]) -> list[Statistic]:
    return [found for row in rows if (found := row.statistic("metrics.test.mR"))]


def _test_recalls(
    axes: "Axes", rows: list[Row], heights: dict[str, float], look: dict[str, Look]
) -> None:
    """Draw each row's recall on the test set at its height."""
    longest = longest_bar(_tests(rows))
    for row in rows:
        recall = row.statistic("metrics.test.mR")
        if recall is None:
            continue
        spread, style = recall.std or 0.0, look[row.label]
        place = (recall.mean, heights[row.label])
        drawn = spread if spread <= longest else 0.0
        axes.errorbar(
            *place,
            xerr=drawn or None,
            ecolor=style.dark,
            elinewidth=0.9,
            capsize=2,
            **style.marker_style(5),
        )
        if spread > drawn:
            axes.annotate(
                f"± {spread:.1f}",
                place,
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=NAMES,
                color=style.dark,
            )
