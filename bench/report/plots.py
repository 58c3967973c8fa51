"""The plots of a group of records: recall against costs, learning curves, where memory goes."""

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.report.figure import MIB, Look, blank, looks, save, style, widest
from bench.report.groups import Group, Row
from bench.report.robustness import severity_curves
from bench.report.tradeoff import against_memory, against_throughput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = 7.5
"""Points of the names at the ends of lines."""
PITCH = 0.145
"""Inches from one such name to the next."""
MOST_TICKS = 8
"""Steps written at the axis of learning curves; of more evaluations some are left out."""


def draw(groups: list[Group], results: Path, out: Path) -> dict[str, list[Path]]:
    """Draw what the records allow to `<group>-<plot>.<format>`; the files by the group's name.

    results: the folder in which results on corrupted images lie beside the records.
    """
    import matplotlib

    kinds: dict[str, Callable[[Group], Figure | None]] = {
        "recall_memory": against_memory,
        "recall_throughput": against_throughput,
        "learning_curves": learning_curves,
        "memory_parts": memory_parts,
        "corruption": lambda group: severity_curves(group, results),
    }
    written: dict[str, list[Path]] = {group.name: [] for group in groups}
    with matplotlib.rc_context(style()):
        for group in groups:
            for kind, make in kinds.items():
                if figure := make(group):
                    written[group.name] += save(figure, out / f"{group.name}-{kind}")
        for family in families(groups):
            if figure := batch_memory(family):
                name = family[0].name
                written[name] += save(figure, out / f"{name}-batch_memory")
    return written


def families(groups: Iterable[Group]) -> list[list[Group]]:
    """Groups that differ in batch size alone, the smallest batch first."""
    found: dict[str, list[Group]] = {}
    for group in sorted(groups, key=lambda g: (g.recipe["batch_size"], g.name)):
        found.setdefault(group.family, []).append(group)
    return [family for family in found.values() if len(family) > 1]


def batch_memory(family: list[Group]) -> "Figure | None":
    """Memory by batch size, a line for each method; None where no method has two batch sizes."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for group in family:
        for row in group.rows:
            found = row.statistic(group.memory)
            if found and found.mean > 0:
                point = (group.batch_size, found.mean / MIB)
                lines.setdefault(row.label, []).append(point)
    lines = {label: points for label, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    first = family[0]
    look = looks(row for group in family for row in group.rows if row.label in lines)
    title = f"{first.dataset} · {first.backbone} · {first.device}"
    names = widest((look[label].name for label in lines), NAMES)
    figure = blank(6.8, _height(len(lines)), title, left=0.8, right=names + 0.3)
    axes = figure.add_subplot()
    for label, points in sorted(lines.items()):
        _line(axes, look[label], points, size=5)
    axes.set_ylim(0, None)
    axes.set_xticks(sorted({size for points in lines.values() for size, _ in points}))
    _names_at_the_ends(axes, {label: points[-1] for label, points in lines.items()}, look)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("batch size")
    what = "peak memory in training" if first.cuda else "bytes kept for backward"
    axes.set_ylabel(f"{what}, MiB")
    return figure


def learning_curves(group: Group) -> "Figure | None":
    """mR on val and loss by step, mean over seeds; None where no curve has two points."""
    curves = {row.label: _curve(row) for row in group.rows}
    curves = {label: curve for label, curve in curves.items() if curve}
    if max(map(len, curves.values()), default=0) < 2:
        return None
    look = looks(row for row in group.rows if row.label in curves)
    axis_of = {"loss": "loss (each method's own)", "val_mR": "mR on val (%)"}
    names = [n for n in axis_of if any(n in point for c in curves.values() for point in c.values())]
    right = widest((entry.name for entry in look.values()), NAMES) + 0.3
    about = f"{group.title}; mean over seeds"
    figure = blank(7 + right, _height(len(curves)), about, right=right)
    panels = figure.subplots(1, len(names), width_ratios=(1, 1.6)[: len(names)], squeeze=False)[0]
    steps = sorted({step for curve in curves.values() for step in curve})
    for axes, name in zip(panels, names, strict=True):
        ends: dict[str, tuple[int, float]] = {}
        for label, curve in curves.items():
            points = [(step, curve[step][name]) for step in sorted(curve) if name in curve[step]]
            if points:
                _line(axes, look[label], points)
                ends[label] = points[-1]
        axes.set_xticks(_some(steps))
        axes.set_xlabel("step")
        axes.set_ylabel(axis_of[name])
    _names_at_the_ends(panels[-1], ends, look)
    return figure


def _height(names: int) -> float:
    """Inches of a figure in which so many names stand below each other."""
    return max(4.4, 1.0 + PITCH * names)


def _line(axes: "Axes", look: Look, points: list[tuple[int, float]], size: float = 4) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=look.colour, linewidth=1.1, **look.marker_style(size))


def _some(steps: list[int]) -> list[int]:
    """Evenly spaced ones of the steps, the last among them."""
    every = -(-len(steps) // MOST_TICKS)
    return steps[::-1][::every][::-1]


def _curve(row: Row) -> dict[int, dict[str, float]]:
    """Step -> mean over seeds of loss and validation mR."""
    found: dict[int, dict[str, list[float]]] = {}
    for entry in row.ok:
        for point in entry.record["curve"]:
            for name in ("loss", "val_mR"):
                if point.get(name) is not None:
                    found.setdefault(point["step"], {}).setdefault(name, []).append(point[name])
    return {
        step: {name: statistics.fmean(values) for name, values in by_name.items()}
        for step, by_name in found.items()
    }


def _names_at_the_ends(
    axes: "Axes", ends: dict[str, tuple[int, float]], look: dict[str, Look]
) -> None:
    """Write names right of the axes, in the order of the lines' ends, joined to them by lines."""
    from matplotlib.transforms import ScaledTranslation

    order = sorted(ends, key=lambda label: (ends[label][1], label))
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    gap = PITCH / inches * (high - low)
    heights = spread([ends[label][1] for label in order], gap, low, high)
    right = axes.get_yaxis_transform() + ScaledTranslation(0.2, 0, axes.figure.dpi_scale_trans)
    for label, height in zip(order, heights, strict=True):
        dark = look[label].dark
        axes.annotate(
            look[label].name,
            ends[label],
            (1.0, height),
            textcoords=right,
            va="center",
            fontsize=NAMES,
            color=dark,
            arrowprops={
                "arrowstyle": "-",
                "color": dark,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def spread(heights: list[float], gap: float, low: float, high: float) -> list[float]:
    """Rising heights moved as little as makes them a gap apart, between bounds if they fit."""
    blocks: list[list[float]] = []  # heights less the gaps below them; they may only rise
    for n, height in enumerate(heights):
        blocks.append([height - n * gap])
        while len(blocks) > 1 and statistics.fmean(blocks[-2]) > statistics.fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = [statistics.fmean(block) for block in blocks for _ in block]
    top = max(low, high - (len(heights) - 1) * gap)
    return [min(max(height, low), top) + n * gap for n, height in enumerate(level)]


PARTS = (
    ("parameters and buffers", "parameter_bytes", "#444444", ""),
    ("gradients", "gradient_bytes", "#E69F00", "////"),
    ("optimiser states", "optimizer_bytes", "#56B4E9", "\\\\\\\\"),
)


def memory_parts(group: Group) -> "Figure | None":
    """Where the memory goes, stacked; None where the records do not tell."""
    last = (
        ("activations (the rest of the peak)", "activation_bytes", "#E58A4E", "")
        if group.cuda
        else ("kept for backward", "saved_for_backward_bytes", "#E58A4E", "")
    )
    parts = (*PARTS, last)
    look = looks(group.rows)
    bars = []
    for row in group.rows:
        found = [row.statistic(f"efficiency.{path}") for _, path, *_ in parts]
        sizes = [part.mean / MIB for part in found if part is not None]
        if len(sizes) == len(parts):
            bars.append((look[row.label].name, sizes))
    if not bars:
        return None
    bars.sort(key=lambda bar: (-sum(bar[1]), bar[0]))
    left = widest((name for name, _ in bars), 8) + 0.2
    figure = blank(6.8, 1.35 + 0.2 * len(bars), group.title, left=left, foot=0.8)
    axes = figure.add_subplot()
    start = np.zeros(len(bars))
    for n, (words, _, colour, hatch) in enumerate(parts):
        widths = np.array([sizes[n] for _, sizes in bars])
        axes.barh(
            range(len(bars)),
            widths,
            0.72,
            left=start,
            label=words,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
        )
        start += widths
    for height, total in enumerate(start):
        axes.annotate(
            f"{total:,.0f}",
            (total, height),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
    axes.set_xlim(0, float(start.max()) * 1.1)
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("MiB" if group.cuda else "MiB, by tensors' sizes (CPU: no device peak)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="lower center", ncols=4, fontsize=7.5, frameon=False)
    return figure
