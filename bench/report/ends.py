"""Names at the right ends of lines, one below the other, for plots with a line per method."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.figure import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = 7.5
"""Font size, in points, of the names at the ends of lines."""
PITCH = 0.145
"""Inches from one such name to the next."""
OFFSET = 0.2
"""Inches from the axes to the names."""


def height_for(names: int) -> float:
    """Height in inches of a figure that has room for so many names below each other."""
    return max(4.4, 1.0 + PITCH * names)


def line(axes: "Axes", look: Look, points: Sequence[tuple[float, float]], size: float = 4) -> None:
    """Draw a line with a method's colour and markers."""
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=look.colour, linewidth=1.1, **look.marker_style(size))


def names_at_the_ends(
    axes: "Axes", ends: dict[str, tuple[float, float]], look: dict[str, Look]
) -> dict[str, float]:
    """Write names right of the axes, in the order of the lines' ends, joined to them by lines.

    Returns the height of each name, in the axes' units.
    """
    from matplotlib.transforms import ScaledTranslation

    order = sorted(ends, key=lambda label: (ends[label][1], label))
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    gap = PITCH / inches * (high - low)
    heights = spread([ends[label][1] for label in order], gap, low, high)
    right = axes.get_yaxis_transform() + ScaledTranslation(OFFSET, 0, axes.figure.dpi_scale_trans)
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
    return dict(zip(order, heights, strict=True))


def spread(heights: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move rising heights as little as possible so that they are a gap apart, within bounds if
    they fit."""
    blocks: list[list[float]] = []  # heights less the gaps below them; they may only rise
    for n, height in enumerate(heights):
        blocks.append([height - n * gap])
        while len(blocks) > 1 and statistics.fmean(blocks[-2]) > statistics.fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = [statistics.fmean(block) for block in blocks for _ in block]
    top = max(low, high - (len(heights) - 1) * gap)
    return [min(max(height, low), top) + n * gap for n, height in enumerate(level)]
