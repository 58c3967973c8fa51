"""Pictures of a group of records: recall against memory and against throughput, and more.

Readable in grey and by colour-blind people: every method has a marker, a colour and its name beside
it. The same records give the same bytes.
"""

import io
import itertools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.groups import Group, Row, Statistic
from bench.labels import place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#8C6D1F")
"""Okabe and Ito's, told apart by colour-blind people; black and yellow muted for white paper."""
MARKERS = "os^DvPX*<>phd8H"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "pdf.fonttype": 42,
    "svg.hashsalt": "cmer-bench",
    "path.simplify": False,
}
NOTE = {"png": "Description", "pdf": "Keywords", "svg": "Description"}
"""Where a file says what it was drawn from."""
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}
MIB = 2.0**20
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """How a row is drawn everywhere in its figure."""

    colour: str
    marker: str
    filled: bool

    @property
    def dark(self) -> str:
        """The colour, dark enough for small letters."""
        parts = [int(self.colour[i : i + 2], 16) for i in (1, 3, 5)]
        return "#" + "".join(f"{round(part * 0.62):02x}" for part in parts)

    def kwargs(self, size: float = 6.5) -> dict[str, Any]:
        """For matplotlib's `plot`."""
        face = self.colour if self.filled else "white"
        edge = "black" if self.filled else self.colour
        kind = {"marker": self.marker, "markersize": size, "markerfacecolor": face}
        return {**kind, "markeredgecolor": edge, "markeredgewidth": 0.7 if self.filled else 1.4}


def looks(*groups: Group) -> dict[str, Look]:
    """A look for each row: colour by method, marker by call."""
    method_of = {row.label: row.method for one in groups for row in one.rows}
    methods, labels = sorted(set(method_of.values())), sorted(method_of)
    return {
        label: Look(
            COLOURS[methods.index(method_of[label]) % len(COLOURS)],
            MARKERS[number % len(MARKERS)],
            number // len(MARKERS) % 2 == 0,
        )
        for number, label in enumerate(labels)
    }


def kinds() -> dict[str, Callable[[list[Group]], "Figure | None"]]:
    """The plots by name: of one group each, `batch_memory` of groups that differ in batch size."""
    return {
        "recall_memory": lambda g: recall_against(
            g[0], g[0].memory, _memory_words(g[0]), -1, _bytes_axis
        ),
        "recall_throughput": lambda g: recall_against(
            g[0],
            "efficiency.train_images_per_second",
            "training images/s, log scale" + ("" if g[0].cuda else " (CPU, for trying out)"),
            1,
            _rate_axis,
        ),
        "learning_curves": lambda g: learning_curves(g[0]),
        "memory_parts": lambda g: memory_parts(g[0]),
        "batch_memory": batch_memory,
    }


def draw(kind: str, groups: list[Group], paths: list[Path], digest: str) -> bool:
    """Draw a plot to its files, which carry the digest; False where the records do not allow it."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = kinds()[kind](groups)
        if figure is not None:
            save(figure, paths, digest)
    return figure is not None


def save(figure: "Figure", paths: list[Path], digest: str) -> None:
    """Write a figure to its files, which carry the digest of what it was drawn from."""
    if figure.get_layout_engine() is not None:
        _lay_out(figure)
    for path in paths:
        form = path.suffix[1:]
        metadata = {**METADATA[form], NOTE[form]: digest}
        if form == "svg":
            text = io.StringIO()
            figure.savefig(text, format=form, metadata=metadata)
            path.write_text(_compact(text.getvalue()), encoding="utf-8")
        else:
            figure.savefig(path, format=form, dpi=160, metadata=metadata)


def _lay_out(figure: "Figure") -> None:
    """Fix where everything is, once: not again for each format."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)


def _compact(svg: str) -> str:
    """An SVG with hundredths of a point, on few lines, without comments."""
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"scale\([^)]*\)|(\d+\.\d\d)\d+", lambda found: found[1] or found[0], svg)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r" ?\n(?=[LQCMz\"])", " ", svg))


def batch_memory(family: list[Group]) -> "Figure | None":
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
    look = looks(*family)
    figure = _figure(6.8, 4.4)
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


def _memory_words(one: Group) -> str:
    if one.cuda:
        return "peak memory in training, log scale"
    return "bytes kept for backward, log scale (CPU: no device peak)"


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def recall_against(
    one: Group, path: str, words: str, better: int, axis: Callable[["Axes"], None]
) -> "Figure | None":
    """mR against a cost, error bars, Pareto front; a line for what trains nothing.

    better: -1 where less of the cost is better, 1 where more is. None without two methods.
    """
    points: list[tuple[Row, Statistic, Statistic]] = []
    lines: list[tuple[Row, Statistic]] = []
    for row in one.rows:
        recall, cost = row.statistic("metrics.test.mR"), row.statistic(path)
        if recall and cost and cost.mean > 0:
            points.append((row, cost, recall))
        elif recall and not row.trains:
            lines.append((row, recall))
    if not points or len(points) + len(lines) < 2:  # a single point compares nothing
        return None
    look = looks(one)
    figure = _figure(6.8, 4.6)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    x = np.array([cost.mean for _, cost, _ in points])
    low, high = math.log2(x.min()), math.log2(x.max())
    room = max(0.12 * (high - low), 0.35)
    axes.set_xlim(2 ** (low - room), 2 ** (high + room))
    heights = [recall for *_, recall in points]
    bottom = min(recall.mean - (recall.std or 0) for recall in heights)
    top = max(recall.mean + (recall.std or 0) for recall in heights)
    means = [recall.mean for recall in heights]
    far = 0.3 * (max(means) - min(means))
    if (
        far
    ):  # the bars of a method that is not stable leave the picture, and do not decide its scale
        bottom, top = max(bottom, min(means) - far), min(top, max(means) + far)
    near = [r.mean for _, r in lines if bottom - r.mean < 0.4 * (top - bottom)]
    bottom, top = min([bottom, *near]), max([top, *near])
    margin = 0.09 * (top - bottom) or 1.0
    axes.set_ylim(bottom - margin, top + margin)
    axes.set_xlabel(words)
    axes.set_ylabel("mR on test (%)")
    corner = "upper left" if better < 0 else "upper right"
    spread = " ± sample standard deviation" if any(r.n > 1 for *_, r in points) else ""
    axes.set_title(f"{one.title}\nmean{spread}; dashed: Pareto front; better: {corner}")
    axis(axes)
    front = pareto([(cost.mean, recall.mean) for _, cost, recall in points], better)
    edge = axes.get_xlim()[1 if better < 0 else 0]
    steps = [*front, (edge, front[-1][1])]
    axes.step(*zip(*steps, strict=True), where="post", color="#777777", linestyle="--", linewidth=1)
    thin, flat = 2**0.01, (axes.get_ylim()[1] - axes.get_ylim()[0]) / 300
    obstacles: list[Box] = []
    for (x0, y0), (x1, y1) in itertools.pairwise(steps):
        obstacles.append((min(x0, x1), y0 - flat, max(x0, x1), y0 + flat))
        obstacles.append((x1 / thin, min(y0, y1), x1 * thin, max(y0, y1)))
    for row, recall in lines:
        axes.axhline(recall.mean, color=look[row.label].dark, linestyle=":", linewidth=1.2)
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
        obstacles.append((at / thin, mean - reach, at * thin, mean + reach))
        obstacles.append((at - wide, mean - flat, at + wide, mean + flat))
    _lay_out(figure)
    below = bottom - 0.5 * margin
    for row, recall in lines:
        words = f"{row.label} {recall.mean:.1f}, trains nothing"
        inside = recall.mean > bottom - margin
        height, words = (recall.mean, words) if inside else (below, f"{words}: below ↓")
        below += 0.0 if inside else 0.5 * margin
        obstacles.append(_note(axes, words, height, look[row.label].dark, obstacles))
    left, right = axes.get_xlim()
    obstacles += [(left, r.mean - flat, right, r.mean + flat) for _, r in lines]
    place(
        axes,
        [(cost.mean, recall.mean) for _, cost, recall in points],
        [row.label for row, *_ in points],
        [look[row.label].dark for row, *_ in points],
        obstacles,
    )
    return figure


def _note(axes: "Axes", words: str, height: float, colour: str, obstacles: list[Box]) -> Box:
    """Write words at a horizontal line where they cover nothing, and return their box.

    Boxes are x0, y0, x1, y1 in data units; where no place is free, the first is taken.
    """
    corners = np.asarray(obstacles).reshape(-1, 2, 2)
    walls = axes.transData.transform(corners.reshape(-1, 2)).reshape(-1, 4)
    room = 5 * axes.figure.dpi / 72
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
            found.append((int(hits.sum()), len(found), text, box))
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


def _bytes_axis(axes: "Axes") -> None:
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


def _rate_axis(axes: "Axes") -> None:
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


def learning_curves(one: Group) -> "Figure | None":
    """mR on val and loss by step, mean over seeds; None where one look at each is all."""
    from matplotlib.ticker import MaxNLocator

    curves = {row.label: _curve(row) for row in one.rows}
    curves = {label: curve for label, curve in curves.items() if curve}
    if max(map(len, curves.values()), default=0) < 2:
        return None
    look = looks(one)
    figure = _figure(9.2, 4.4)
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
        axes.text(place_at, height, f" {label}", color=dark, fontsize=7.5, va="center")


PARTS = (
    ("parameters and buffers", "parameter_bytes", "#444444", ""),
    ("gradients", "gradient_bytes", "#E69F00", "////"),
    ("optimiser states", "optimizer_bytes", "#56B4E9", "\\\\\\\\"),
)


def memory_parts(one: Group) -> "Figure | None":
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
            rows.append((row.label, sizes))
    if not rows:
        return None
    rows.sort(key=lambda pair: (-sum(pair[1]), pair[0]))
    figure = _figure(6.8, 1.3 + 0.27 * len(rows))
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
    axes.set_yticks(places, [label for label, _ in rows], fontsize=8)
    axes.set_xlim(0, float(start.max()) * 1.1)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("MiB" if one.cuda else "MiB, by tensors' sizes (CPU: no device peak)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(one.title)
    figure.legend(loc="outside lower center", ncols=4, fontsize=7.5, frameon=False)
    return figure
