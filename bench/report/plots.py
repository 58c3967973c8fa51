"""All plots of a report, and those of memory: by batch size, and where it goes."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.report.curves import by_seconds, by_steps
from bench.report.ends import NAMES, height_for, line, names_at_the_ends
from bench.report.figure import MIB, blank, looks, save, style, widest
from bench.report.groups import Group
from bench.report.robustness import severity_curves
from bench.report.tradeoff import against_memory, against_throughput

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(groups: list[Group], results: Path, out: Path) -> dict[str, list[Path]]:
    """Draw what the records allow to `<group>-<plot>.<format>`; the files by the group's name.

    results: the folder in which results on corrupted images lie beside the records.
    """
    import matplotlib

    kinds: dict[str, Callable[[Group], Figure | None]] = {
        "recall_memory": against_memory,
        "recall_throughput": against_throughput,
        "recall_seconds": by_seconds,
        "learning_curves": by_steps,
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
    for group in sorted(groups, key=lambda g: (g.recipe.batch_size, g.name)):
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
    figure = blank(6.8, height_for(len(lines)), title, left=0.8, right=names + 0.3)
    axes = figure.add_subplot()
    for label, points in sorted(lines.items()):
        line(axes, look[label], points, size=5)
    axes.set_ylim(0, None)
    axes.set_xticks(sorted({size for points in lines.values() for size, _ in points}))
    names_at_the_ends(axes, {label: points[-1] for label, points in lines.items()}, look)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("batch size")
    what = "peak memory in training" if first.cuda else "bytes kept for backward"
    axes.set_ylabel(f"{what}, MiB")
    return figure


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
