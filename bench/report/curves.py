"""Learning curves: recall and loss by step, and the best recall by seconds of training."""

import statistics
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from bench.report.conditions import explained, spoilt
from bench.report.entry import RECALL, SPEED
from bench.report.figure import LEFT_MARGIN, RIGHT_MARGIN, MethodStyle, blank, method_styles, widest
from bench.report.group import Group
from bench.report.labels import NAMES, OFFSET, height_for, names_at_the_ends
from bench.report.reached import Course, courses
from bench.report.row import Row
from bench.report.tradeoff import DECIMAL, log_ticks, recall_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Measure = Literal["loss", "val_mR"]
MOST_TICKS = 8
"""Most steps written at the axis of learning curves; with more evaluations some are left out."""
FEW_LINES = 6
"""With more methods than this the curves of single seeds would hide the means."""
LOG_FROM = 10.0
"""Training times that differ by more than this factor are drawn on a logarithmic axis."""
LEFT, RIGHT = 4.33, 1.9
"""Inches of the panel with the curves, and of that with the recall on the test set."""


def by_steps(group: Group) -> "Figure | None":
    """Validation mR and loss by step, mean over seeds; None if no curve has two points.

    None also for an equal time budget, where steps differ: `by_seconds` shows these.
    """
    axis_labels: dict[Measure, str] = {
        "loss": "loss (each method's own)",
        "val_mR": "mR on val (%)",
    }
    curves = {name: {row.label: _means(row, name) for row in group.rows} for name in axis_labels}
    names = [name for name in axis_labels if any(curves[name].values())]
    labels = {label for name in names for label, points in curves[name].items() if points}
    drawn = [points for name in names for points in curves[name].values()]
    if max(map(len, drawn), default=0) < 2 or group.recipe.time is not None:
        return None
    steps = sorted({step for points in drawn for step, _ in points})
    styles = method_styles(row for row in group.rows if row.label in labels)
    right = widest((entry.name for entry in styles.values()), NAMES) + 0.3
    about = f"{group.title}; mean over seeds"
    figure = blank(7 + right, height_for(len(labels)), about, right=right)
    panels = figure.subplots(1, len(names), width_ratios=(1, 1.6)[: len(names)], squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        shown = {label: points for label, points in curves[name].items() if points}
        for label, points in shown.items():
            axes.plot(*zip(*points, strict=True), **styles[label].line_style())
        every = -(-len(steps) // MOST_TICKS)
        axes.set_xticks(steps[::-1][::every][::-1])  # from the last step backwards, so it has one
        axes.set(xlabel="step", ylabel=axis_labels[name])
    names_at_the_ends(panels[-1], {label: points[-1] for label, points in shown.items()}, styles)
    return figure


def _means(row: Row, name: Measure) -> list[tuple[int, float]]:
    """(step, mean over seeds) of a number in the learning curves."""
    values = defaultdict(list)
    for entry in row.ok:
        for evaluation in entry.record.get("curve", []):
            value = evaluation.get(name)
            if value is not None:
                values[evaluation["step"]].append(value)
    return [(step, statistics.fmean(values[step])) for step in sorted(values)]


def by_seconds(group: Group) -> "Figure | None":
    """Best validation mR by seconds of training, and test mR; None without two evaluations.

    None also for one method alone, unless its time was limited: `by_steps` shows that one. Lines
    continue, dotted, to the right edge, since the best mR so far never falls. The test mR is
    in a second panel, level with the method's name, so each method has a row there.
    """
    course_of = courses(group.rows)
    if max((len(course.mean) for course in course_of.values()), default=0) < 2:
        return None
    if len(course_of) < 2 and group.recipe.time is None:
        return None
    rows = [row for row in group.rows if row.label in course_of]
    signs = {row.label: spoilt(row, SPEED) for row in rows}
    plain = method_styles(rows)
    styles = {n: replace(style, name=style.name + signs[n]) for n, style in plain.items()}
    names = widest((each.name for each in styles.values()), NAMES) + OFFSET + 0.15
    about = _about(list(course_of.values()), "".join(signs.values()))
    width = LEFT_MARGIN + LEFT + names + RIGHT + RIGHT_MARGIN
    height = height_for(len(rows)) + 0.155
    figure = blank(width, height, group.title, about)
    between = {"wspace": names / ((LEFT + RIGHT) / 2)}  # in widths of an average panel
    left, right = figure.subplots(1, 2, width_ratios=(LEFT, RIGHT), gridspec_kw=between)
    log = _time_axis(left, list(course_of.values()))
    single_seeds = len(rows) <= FEW_LINES
    ends = {
        label: _draw_course(left, styles[label], course, single_seeds)
        for label, course in course_of.items()
    }
    left.set_xlabel("seconds of training" + (", log scale" if log else ""))
    left.set_ylabel("best mR on val until then (%)")
    heights = names_at_the_ends(left, ends, styles)
    low, high = left.get_ylim()
    room = 0.03 * (high - low)  # for the markers beside the highest and lowest name
    for axes in (left, right):
        axes.set_ylim(low - room, high + room)
    right.set_yticks([])
    right.spines["left"].set_visible(False)
    _test_recalls(right, rows, heights, styles)
    right.set_xlabel("mR on test (%)")
    return figure


def _about(all_courses: list[Course], signs: str) -> str:
    """What the plot shows, for the second line of its title."""
    many = any(len(course.seeds) > 1 for course in all_courses)
    about = "lines: mean over seeds" if many else "one seed"
    if many and len(all_courses) <= FEW_LINES:
        about += ", thin: single seeds"
    about += "; right: test mR" + (" ± standard deviation" if many else "")
    if any(course.computed for course in all_courses):
        about += "; seconds computed from images/s"
    return "; ".join([about, *explained(signs)])


def _time_axis(axes: "Axes", all_courses: list[Course]) -> bool:
    """Let the axis show all times; returns whether it is logarithmic, as trainings differ much."""
    ends = [course.mean[-1].seconds for course in all_courses]
    seeds = [points for course in all_courses for points in course.seeds]
    first, last = min(p[0].seconds for p in seeds), max(p[-1].seconds for p in seeds)
    log = max(ends) > LOG_FROM * min(ends)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(first / 1.1, last * 1.08)
        log_ticks(axes, DECIMAL, "{:,g}".format)
    else:
        axes.set_xlim(0, last * 1.03)
    return log


def _draw_course(
    axes: "Axes", style: MethodStyle, course: Course, single_seeds: bool
) -> tuple[float, float]:
    """Draw a method's stepped line, and perhaps each seed's. Returns the line's end."""
    if single_seeds and len(course.seeds) > 1:
        for points in course.seeds:
            x, y = zip(*((p.seconds, p.best) for p in points), strict=True)
            axes.step(x, y, where="post", color=style.colour, linewidth=0.5, alpha=0.5)
    x, y = zip(*((p.seconds, p.best) for p in course.mean), strict=True)
    edge = axes.get_xlim()[1]
    axes.plot([x[-1], edge], [y[-1]] * 2, color=style.colour, linewidth=0.8, linestyle=":")
    axes.step(x, y, where="post", **style.line_style())
    return edge, y[-1]


def _test_recalls(
    axes: "Axes", rows: list[Row], heights: dict[str, float], styles: dict[str, MethodStyle]
) -> None:
    recalls = {row.label: recall for row in rows if (recall := row.statistic(RECALL))}
    for label, recall in recalls.items():
        style = styles[label].bar_style(5)
        axes.errorbar(recall.mean, heights[label], xerr=recall.std or None, **style)
    if recalls:
        axes.set_xlim(recall_limits(list(recalls.values())))
