"""Names in plots: at the right ends of lines, or beside points.

Beside points no name may cover another, a marker or a line. Each name tries places around its
point and takes the one that costs least; this is repeated until none moves.
"""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.report.figure import MethodStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Line = tuple[float, float, float, float]
"""x0, y0, x1, y1 of a horizontal or vertical line, in data units."""

NAMES = 7.5
"""Font size, in points, of the names at the ends of lines."""
PITCH = 0.145
"""Inches from one such name to the next."""
OFFSET = 0.2
"""Inches from the axes to the names."""

RADII = np.array([7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0, 80.0, 102.0, 128.0, 160.0])
"""Distances of a name from its point, in points."""
ANGLES = np.deg2rad([0, 180, 30, 150, 330, 210, 60, 120, 300, 240, 90, 270, 15, 165, 345, 195])
MARKER = 4.5
"""Half the side of a marker, in points."""
CLEARANCE = 3.0
"""Room between a name and the markers of others, in points."""
THICK = 0.9
"""Room between a name and lines, in points."""
BESIDE = 8.0
"""A name at most so far from its point, in points, needs no line to it unless another marker is as
near."""
ROUNDS = 6
"""How often each name looks for a better place, at most."""
DOTS = 12
"""A line from a name to its point is tested at so many dots for what it runs through."""
OUTSIDE, COVERED, CROSSED, LEADER = 1000.0, 200.0, 25.0, 2.0
"""Costs of a place: outside the axes; covering a marker, line or name; a line to the point that
runs through a marker or name; needing such a line at all."""


def height_for(names: int) -> float:
    """Height in inches of a figure that has room for so many names below each other."""
    return max(4.4, 1.0 + PITCH * names)


def names_at_the_ends(
    axes: "Axes", ends: dict[str, tuple[float, float]], styles: dict[str, MethodStyle]
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
        dark = styles[label].dark
        axes.annotate(
            styles[label].name,
            ends[label],
            (1.0, height),
            textcoords=right,
            va="center",
            fontsize=NAMES,
            color=dark,
            arrowprops=_leader(dark, 0.5, gap=2, relpos=(0, 0.5)),
            annotation_clip=False,
        )
    return dict(zip(order, heights, strict=True))


def _leader(colour: str, width: float, gap: float, **more: Any) -> dict[str, Any]:
    """Matplotlib's properties of a plain line from a name to its point, ending `gap` before it."""
    line = {"arrowstyle": "-", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": gap}
    return line | more


def spread(heights: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move rising heights as little as possible so that they are a gap apart.

    They stay within the bounds if they fit. Without the gaps below them the heights only have to
    rise, which merging neighbouring blocks to their means achieves (isotonic regression).
    """
    blocks: list[list[float]] = []
    for n, height in enumerate(heights):
        blocks.append([height - n * gap])
        while len(blocks) > 1 and statistics.fmean(blocks[-2]) > statistics.fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = [statistics.fmean(block) for block in blocks for _ in block]
    top = max(low, high - (len(heights) - 1) * gap)
    return [min(max(height, low), top) + n * gap for n, height in enumerate(level)]


def place(
    axes: "Axes",
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    colours: Sequence[str],
    lines: Sequence[Line] = (),
) -> None:
    """Write a name beside each point (in data units), once the limits of the axes are final.

    Names also keep off `lines`.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = figure.dpi / 72
    sizes = []
    for name in names:
        text = axes.text(0, 0, name, fontsize=8)
        extent = text.get_window_extent(renderer)
        sizes.append((extent.width / scale + 2, extent.height / scale))
        text.remove()
    at = axes.transData.transform(np.asarray(points, dtype=float)) / scale
    corners = axes.transData.transform(np.asarray(lines, dtype=float).reshape(-1, 2)) / scale
    walls = np.sort(corners.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    walls += np.array([-THICK, -THICK, THICK, THICK])
    frame = np.array(axes.get_window_extent(renderer).extents) / scale + (3, 3, -3, -3)
    moves, leaders = solve(at, np.asarray(sizes), walls, frame)
    rows = zip(names, points, colours, moves.tolist(), leaders, strict=True)
    for name, point, colour, move, leader in rows:
        axes.annotate(
            name,
            point,
            move,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=colour,
            arrowprops=_leader(colour, 0.6, gap=3.5) if leader else None,
            zorder=5,
            annotation_clip=False,
        )


def solve(at: Array, sizes: Array, walls: Array, frame: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The place of each of N names, all in points.

    at `(N, 2)`: the points; sizes `(N, 2)`, of the names; walls `(W, 4)` and frame `(4,)`: boxes
    x0, y0, x1, y1 to keep off and to stay in. Returns how far each name's centre is from its point,
    `(N, 2)`, and whether it needs a line to it, `(N,)`.
    """
    names = range(len(at))
    radius, angle = np.repeat(RADII, len(ANGLES)), np.tile(ANGLES, len(RADII))
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # For each name (N) and candidate place (K): the name's box, and dots along the line to it.
    moves = direction * (radius[:, None] + sizes[:, None] / 2)
    centres = at[:, None] + moves
    boxes = np.concatenate([centres - sizes[:, None] / 2, centres + sizes[:, None] / 2], axis=2)
    dots = at[:, None, None] + np.linspace(0, 1, DOTS)[:, None] * moves[:, :, None]
    outside = (boxes[..., :2] < frame[:2]) | (boxes[..., 2:] > frame[2:])
    cost = radius / 6 + np.tile(np.arange(len(ANGLES)), len(RADII)) / 50
    cost = cost + OUTSIDE * outside.any(axis=2)
    needs = np.zeros(cost.shape, dtype=bool)
    for n in names:
        others = np.delete(at, n, axis=0)
        solid = np.concatenate([others - MARKER, others + MARKER], axis=1)
        room = np.array([-CLEARANCE, -CLEARANCE, CLEARANCE, CLEARANCE])
        blocked = np.concatenate([solid + room, walls])
        # Without a line a name must be nearer to its own marker than to any other.
        nearest = _distance(boxes[n], others).min(axis=1, initial=np.inf)
        needs[n] = (radius > BESIDE) | (nearest < 1.5 * radius + MARKER)
        crossed = CROSSED * 2 * _inside(dots[n], solid).sum(axis=1)
        cost[n] += COVERED * _overlap(boxes[n], blocked).sum(axis=1)
        cost[n] += np.where(needs[n], LEADER + crossed, 0)
    crowd = (np.abs(at[:, None] - at[None]).max(axis=2) < 60).sum(axis=1)
    chosen = np.full(len(at), -1)
    # The box and the line chosen for each name; NaN until then, which covers and crosses nothing.
    own, lines = np.full((len(at), 4), np.nan), np.full((len(at), DOTS, 2), np.nan)
    for _ in range(ROUNDS):
        before = chosen.copy()
        for n in np.argsort(-crowd, kind="stable"):  # the most crowded first
            others, led = np.delete(own, n, axis=0), np.delete(lines, n, axis=0)
            total = cost[n] + COVERED * _overlap(boxes[n], others).sum(axis=1)
            total += CROSSED * _inside(led, boxes[n]).sum(axis=0)
            total += np.where(needs[n], CROSSED * _inside(dots[n], others).sum(axis=1), 0)
            best = int(total.argmin())
            chosen[n], own[n] = best, boxes[n, best]
            lines[n] = dots[n, best] if needs[n, best] else np.nan
        if np.array_equal(before, chosen):
            break
    return moves[names, chosen], needs[names, chosen]


def _distance(boxes: Array, points: Array) -> Array:
    """Distance of each box `(B, 4)` from each point `(P, 2)`: `(B, P)`."""
    low = np.maximum(boxes[:, None, :2] - points, 0)
    high = np.maximum(points - boxes[:, None, 2:], 0)
    return np.asarray(np.hypot(*np.moveaxis(low + high, 2, 0)))


def _overlap(boxes: Array, walls: Array) -> NDArray[np.bool_]:
    """Which boxes overlap which walls: `(B, W)`; a box that is not known yet (NaN) does not."""
    low = np.maximum(boxes[:, None, :2], walls[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], walls[None, :, 2:])
    return np.asarray(np.all(high > low, axis=2))


def _inside(lines: Array, boxes: Array) -> NDArray[np.bool_]:
    """Which lines, given as dots `(L, D, 2)`, run through which boxes `(B, 4)`: `(L, B)`."""
    dots = lines[:, None]
    inside = (dots > boxes[:, None, :2]) & (dots < boxes[:, None, 2:])
    return np.asarray(np.any(np.all(inside, axis=3), axis=2))
