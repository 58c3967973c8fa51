"""The plots of a group of records: recall against costs, learning curves, where memory goes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.figure import MIB, STYLE, Look, blank, save
from bench.report.groups import Group, Row
from bench.report.tradeoff import against_memory, against_throughput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def kinds() -> dict[str, Callable[[list[Group], dict[str, Look]], "Figure | None"]]:
    """The plots by name: of one group each, `batch_memory` of groups that differ in batch size."""
    return {
        "recall_memory": lambda family, look: against_memory(family[0], look),
        "recall_throughput": lambda family, look: against_throughput(family[0], look),
        "learning_curves": lambda family, look: learning_curves(family[0], look),
        "memory_parts": lambda family, look: memory_parts(family[0], look),
        "batch_memory": batch_memory,
    }


def draw(
    kind: str, groups: list[Group], look: dict[str, Look], paths: list[Path], digest: str
) -> bool:
    """Draw a plot to its files, which carry the digest; False where the records do not allow it."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = kinds()[kind](groups, look)
        if figure is not None:
            save(figure, paths, digest)
    return figure is not None


def batch_memory(family: list[Group], look: dict[str, Look]) -> "Figure | None":
    """Memory by batch size, one line per method; None where no method has two batch sizes."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for one in family:
        for row in one.rows:
            found = row.statistic(one.memory)
            if found and found.mean > 0:
                point = (one.recipe["batch_size"], found.mean / MIB)
                lines.setdefault(row.label, []).append(point)
    lines = {label: points for label, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure = blank(6.8, 4.4)
    axes = figure.add_subplot()
    for label, points in sorted(lines.items()):
        style = look[label].kwargs(5)
        axes.plot(*zip(*points, strict=True), color=look[label].colour, linewidth=1.1, **style)
    axes.set_ylim(0, None)
    sizes = sorted({size for points in lines.values() for size, _ in points})
    axes.set_xticks(sizes)
    _end_labels(axes, [(*points[-1], label) for label, points in lines.items()], look)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("batch size")
    what = "peak memory in training" if family[0].cuda else "bytes kept for backward"
    axes.set_ylabel(f"{what}, MiB")
    axes.set_title(f"{family[0].dataset} · {family[0].backbone} · {family[0].device}")
    return figure


def learning_curves(one: Group, look: dict[str, Look]) -> "Figure | None":
    """mR on val and loss by step, mean over seeds; None where one look at each is all."""
    from matplotlib.ticker import MaxNLocator

    curves = {row.label: _curve(row) for row in one.rows}
    curves = {label: curve for label, curve in curves.items() if curve}
    if max(map(len, curves.values()), default=0) < 2:
        return None
    figure = blank(9.2, 4.4)
    panels = figure.subplots(1, 2, width_ratios=(1, 1.45))
    for axes, name, words in zip(
        panels, ("loss", "val_mR"), ("loss (each method's own)", "mR on val (%)"), strict=True
    ):
        ends: list[tuple[float, float, str]] = []
        for label, curve in curves.items():
            steps = [step for step in sorted(curve) if name in curve[step]]
            if steps:
                heights = [curve[step][name] for step in steps]
                style = look[label].kwargs(3.5)
                axes.plot(steps, heights, color=look[label].colour, linewidth=1.1, **style)
                ends.append((steps[-1], heights[-1], label))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel(words)
        if name == "val_mR" or not any("val_mR" in p for c in curves.values() for p in c.values()):
            _end_labels(axes, ends, look)
    panels[0].set_title(f"{one.title}; mean over seeds")
    return figure


def _curve(row: Row) -> dict[int, dict[str, float]]:
    """Step -> mean over seeds of loss and validation mR."""
    found: dict[int, dict[str, list[float]]] = {}
    for entry in row.ok:
        for point in entry.record["curve"]:
            for name in ("loss", "val_mR"):
                if name in point:
                    found.setdefault(point["step"], {}).setdefault(name, []).append(point[name])
    return {step: {k: sum(v) / len(v) for k, v in by.items()} for step, by in found.items()}


def _end_labels(axes: "Axes", ends: list[tuple[float, float, str]], look: dict[str, Look]) -> None:
    """Names at the right of the lines' ends, kept apart, in the order of the ends."""
    if not ends:
        return
    ends = sorted(ends, key=lambda end: (end[1], end[2]))
    low, high = axes.get_ylim()
    gap = max(0.036 * (high - low), 1e-12)
    heights = [end[1] for end in ends]
    for n in range(1, len(heights)):
        heights[n] = max(heights[n], heights[n - 1] + gap)
    over = max(0.0, heights[-1] - high)
    heights[-1] -= over
    for n in range(len(heights) - 2, -1, -1):
        heights[n] = min(heights[n], heights[n + 1] - gap)
    axes.set_ylim(min(low, heights[0] - gap), high)
    left, right = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
    axes.set_xlim(left, right + 0.42 * (right - left))
    axes.set_xticks(ticks)
    place_at = right + 0.05 * (right - left)
    for (x, y, label), height in zip(ends, heights, strict=True):
        dark = look[label].dark
        axes.plot([x, place_at], [y, height], color=dark, linewidth=0.5)
        axes.text(place_at, height, f" {look[label].name}", color=dark, fontsize=7.5, va="center")


PARTS = (
    ("parameters and buffers", "parameter_bytes", "#444444", ""),
    ("gradients", "gradient_bytes", "#E69F00", "////"),
    ("optimiser states", "optimizer_bytes", "#56B4E9", "\\\\\\\\"),
)


def memory_parts(one: Group, look: dict[str, Look]) -> "Figure | None":
    """Where the memory goes, stacked; None where the records do not tell."""
    last = (
        ("activations (the rest of the peak)", "activation_bytes", "#E58A4E", "")
        if one.cuda
        else ("kept for backward", "saved_for_backward_bytes", "#E58A4E", "")
    )
    rows = []
    for row in one.rows:
        found = [row.statistic(f"efficiency.{name}") for _, name, *_ in (*PARTS, last)]
        sizes = [part.mean / MIB for part in found if part is not None]
        if len(sizes) == len(found):
            rows.append((look[row.label].name, sizes))
    if not rows:
        return None
    rows.sort(key=lambda pair: (-sum(pair[1]), pair[0]))
    figure = blank(6.8, 1.3 + 0.27 * len(rows))
    axes = figure.add_subplot()
    start = np.zeros(len(rows))
    places = list(range(len(rows)))
    for n, (words, _, colour, hatch) in enumerate((*PARTS, last)):
        widths = np.array([sizes[n] for _, sizes in rows])
        kind: dict[str, Any] = {
            "color": colour,
            "hatch": hatch,
            "edgecolor": "white",
            "linewidth": 0.4,
        }
        axes.barh(places, widths, 0.72, left=start, label=words, **kind)
        start += widths
    for place_, total in zip(places, start, strict=True):
        axes.annotate(
            f"{total:,.0f}",
            (total, place_),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_yticks(places, [name for name, _ in rows], fontsize=8)
    axes.set_xlim(0, float(start.max()) * 1.1)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("MiB" if one.cuda else "MiB, by tensors' sizes (CPU: no device peak)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(one.title)
    figure.legend(loc="outside lower center", ncols=4, fontsize=7.5, frameon=False)
    return figure
