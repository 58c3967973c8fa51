"""All plots of a report, and those of memory: by batch size, and where it goes."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.curves import by_seconds, by_steps
from bench.report.figure import blank, method_styles, widest, write
from bench.report.group import Group
from bench.report.labels import NAMES, height_for, names_at_the_ends
from bench.report.robustness import measured, severity_curves
from bench.report.tables import MIB
from bench.report.tradeoff import against_memory, against_throughput

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    groups: list[Group], results: Path, out: Path, *, pdf: bool = False
) -> dict[str, list[Path]]:
    """Draw what the records allow to `<group>-<plot>.png`; returns the files of each group.

    results: the folder of the records, which also holds the results on corrupted images; pdf: write
    PDFs too.
    """
    plots: dict[str, Callable[[Group], Figure | None]] = {
        "recall_memory": against_memory,
        "recall_throughput": against_throughput,
        "recall_seconds": by_seconds,
        "learning_curves": by_steps,
        "memory_parts": memory_parts,
        "corruption": lambda group: severity_curves(group, results),
    }
    written: dict[str, list[Path]] = {group.name: [] for group in groups}
    for group in groups:
        digest = _digest([group], results)
        for name, make in plots.items():
            stem = out / f"{group.name}-{name}"
            written[group.name] += write(partial(make, group), stem, digest, pdf)
    for family in families(groups):
        name = family[0].name
        stem, digest = out / f"{name}-batch_memory", _digest(family, results)
        written[name] += write(partial(batch_memory, family), stem, digest, pdf)
    return written


def _digest(groups: Sequence[Group], results: Path) -> str:
    """A hash of all that figures of these groups show."""
    shown = [
        [group.title, str(measured(group, results, lambda _: None))]
        + [[row.label, [entry.record for entry in row.entries]] for row in group.rows]
        for group in groups
    ]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def families(groups: Iterable[Group]) -> list[list[Group]]:
    """Groups that differ in batch size alone, the smallest batch first."""
    by_family = defaultdict(list)
    for group in sorted(groups, key=lambda g: (g.recipe.batch_size, g.name)):
        by_family[group.family].append(group)
    return [family for family in by_family.values() if len(family) > 1]


def batch_memory(family: list[Group]) -> "Figure | None":
    """Memory by batch size, a line for each method; None if no method has two batch sizes."""
    points = defaultdict(list)
    for group in family:
        for row in group.rows:
            memory = row.statistic(group.memory)
            if memory and memory.mean > 0:
                images = group.batch_size * group.recipe.accumulation
                points[row.label].append((images, memory.mean / MIB))
    lines = {label: line for label, line in sorted(points.items()) if len(line) > 1}
    if not lines:
        return None
    first = family[0]
    styles = method_styles(row for group in family for row in group.rows if row.label in lines)
    title = f"{first.dataset} · {first.backbone} · {first.device}"
    names = widest((styles[label].name for label in lines), NAMES)
    figure = blank(6.8, height_for(len(lines)), title, left=0.8, right=names + 0.3)
    axes = figure.add_subplot()
    for label, line in lines.items():
        axes.plot(*zip(*line, strict=True), **styles[label].line_style(5))
    axes.set_ylim(0, None)
    axes.set_xticks(sorted({size for line in lines.values() for size, _ in line}))
    names_at_the_ends(axes, {label: line[-1] for label, line in lines.items()}, styles)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axis = "peak memory in training" if first.cuda else "bytes kept for backward"
    axes.set(xlabel="batch size", ylabel=f"{axis}, MiB")
    return figure


PARTS = {
    "parameter_bytes": ("parameters and buffers", "#444444", ""),
    "gradient_bytes": ("gradients", "#E69F00", "////"),
    "optimizer_bytes": ("optimiser states", "#56B4E9", "\\\\\\\\"),
    "activation_bytes": ("activations (the rest of the peak)", "#E58A4E", ""),
    "saved_for_backward_bytes": ("kept for backward", "#E58A4E", ""),
}
"""Name, colour and hatching of each part of the memory. Activations are only measured on GPUs; on a
CPU the bytes kept for backward stand in for them."""


def memory_parts(group: Group) -> "Figure | None":
    """Where the memory goes, stacked; None if the records of fewer than two methods tell."""
    unused = "saved_for_backward_bytes" if group.cuda else "activation_bytes"
    parts = [part for part in PARTS if part != unused]
    styles = method_styles(group.rows)
    bars = []
    for row in group.rows:
        means = [row.statistic(f"efficiency.{part}") for part in parts]
        sizes = [each.mean / MIB for each in means if each is not None]
        if len(sizes) == len(parts):
            bars.append((styles[row.label].name, sizes))
    if len(bars) < 2:
        return None
    bars.sort(key=lambda bar: (-sum(bar[1]), bar[0]))
    names, places = [name for name, _ in bars], range(len(bars))
    left = widest(names, 8) + 0.2
    figure = blank(6.8, 1.35 + 0.2 * len(bars), group.title, left=left, foot=0.8)
    axes = figure.add_subplot()
    ends = [0.0] * len(bars)
    for part, *widths in zip(parts, *(sizes for _, sizes in bars), strict=True):
        words, colour, hatch = PARTS[part]
        bar = axes.barh(places, widths, 0.72, left=ends, label=words, color=colour, hatch=hatch)
        for patch in bar:
            patch.set(edgecolor="white", linewidth=0.4)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for height, total in enumerate(ends):
        text = axes.annotate(f"{total:,.0f}", (total, height), (3, 0), textcoords="offset points")
        text.set(va="center", fontsize=7.5)
    axes.set_yticks(places, names, fontsize=8)
    axes.set_xlim(0, max(ends) * 1.1)
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("MiB" if group.cuda else "MiB, by tensors' sizes (CPU: no device peak)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="lower center", ncols=4, fontsize=7.5, frameon=False)
    return figure
