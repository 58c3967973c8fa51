"""Labels beside the points of a plot, none over another.

Each label tries places around its point, takes the cheapest, and again until nothing moves.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

RADII = (8.0, 13.0, 20.0, 29.0, 40.0, 54.0, 70.0, 90.0, 115.0)
ANGLES = np.deg2rad([0, 180, 30, 150, 330, 210, 60, 120, 300, 240, 90, 270, 15, 165, 345, 195])
LEADER = 15.0
"""From this distance in points on, a line joins label and point."""


def place(
    axes: "Axes",
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    colours: Sequence[Any],
    obstacles: Sequence[tuple[float, float, float, float]] = (),
    fontsize: float = 8.0,
) -> None:
    """Write a label for each point (data units); obstacles are boxes x0, y0, x1, y1 (data units).

    Call it when the limits of the axes are final.
    """
    if not points:
        return
    figure = axes.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = figure.dpi / 72
    at = axes.transData.transform(np.asarray(points, dtype=float)) / scale
    sizes = []
    for label in labels:
        text = axes.text(0, 0, label, fontsize=fontsize)
        extent = text.get_window_extent(renderer)
        sizes.append((extent.width / scale + 2, extent.height / scale))
        text.remove()
    corners = np.asarray(obstacles, dtype=float).reshape(-1, 2, 2)
    fixed = (axes.transData.transform(corners.reshape(-1, 2)) / scale).reshape(-1, 4)
    markers = np.concatenate([at - 4.5, at + 4.5], axis=1)
    frame = axes.get_window_extent(renderer)
    inside = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) / scale + (3, 3, -3, -3)
    offsets = solve(at, np.asarray(sizes), np.concatenate([markers, fixed]), inside)
    for label, point, colour, (dx, dy, far) in zip(labels, points, colours, offsets, strict=True):
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3.5}
        axes.annotate(
            label,
            point,
            (dx, dy),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            color=colour,
            arrowprops=line if far else None,
            zorder=5,
        )


def solve(at: Array, sizes: Array, obstacles: Array, inside: Array) -> list[tuple[Any, Any, bool]]:
    """Where labels go: offset of each centre from its point, and whether it needs a line.

    at `(N, 2)`, sizes `(N, 2)`, obstacles `(M, 4)`, inside `(4,)`: boxes are x0, y0, x1, y1.
    """
    radius = np.repeat(RADII, len(ANGLES))
    angle = np.tile(ANGLES, len(RADII))
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    taste = radius / 6 + np.tile(np.arange(len(ANGLES)), len(RADII)) / 50
    count = len(at)
    distance = np.abs(at[:, None] - at[None]).max(axis=2)
    order = np.argsort(-(distance < 60).sum(axis=1), kind="stable")
    boxes = np.full((count, 4), np.nan)
    leaders = np.full((count, 2, 2), np.nan)
    chosen = np.full(count, -1)
    for _ in range(6):
        before = chosen.copy()
        for n in order:
            centre = at[n] + way * (radius[:, None] + sizes[n] / 2)
            box = np.concatenate([centre - sizes[n] / 2, centre + sizes[n] / 2], axis=1)
            outside = np.maximum(inside[:2] - box[:, :2], 0) + np.maximum(
                box[:, 2:] - inside[2:], 0
            )
            others = np.delete(boxes, n, axis=0)
            walls = np.concatenate([obstacles, others])
            cost = taste + 1000 * (outside.sum(axis=1) > 0) + 60 * _touch(box, walls).sum(axis=1)
            ends = np.stack([np.broadcast_to(at[n], centre.shape), centre], axis=1)
            far = radius >= LEADER
            foreign = np.delete(obstacles, n, axis=0)
            cross = _along(ends, others).sum(axis=1) * 25 + _along(ends, foreign).sum(axis=1) * 6
            cross += 25 * _meet(ends, np.delete(leaders, n, axis=0)).sum(axis=1)
            cost += np.where(far, 3 + cross, 0)
            cost += 25 * _along(np.delete(leaders, n, axis=0), box).sum(axis=0)
            best = int(cost.argmin())
            chosen[n], boxes[n] = best, box[best]
            leaders[n] = ends[best] if far[best] else np.nan
        if np.array_equal(before, chosen):
            break
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    moved = centres - at
    return [
        (float(x), float(y), bool(radius[c] >= LEADER))
        for (x, y), c in zip(moved, chosen, strict=True)
    ]


def _touch(boxes: Array, walls: Array) -> Any:
    """Which boxes touch which walls: `(B, W)`; unknown (NaN) boxes touch nothing."""
    low = np.maximum(boxes[:, None, :2], walls[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], walls[None, :, 2:])
    return np.all(high > low, axis=2)


def _along(segments: Array, boxes: Array) -> Any:
    """Which segments `(S, 2, 2)` run through which boxes `(B, 4)`: `(S, B)`, by sampling."""
    share = np.linspace(0.15, 0.85, 12)[:, None]
    dots = segments[:, None, 0] * (1 - share) + segments[:, None, 1] * share
    dots = dots[:, :, None]
    within = ((dots > boxes[:, :2]) & (dots < boxes[:, 2:])).all(axis=3)
    return np.any(within, axis=1)


def _meet(a: Array, b: Array) -> Any:
    """Which segments of `a` cross which of `b`: `(A, B)`."""

    def side(p: Array, q: Array, r: Array) -> Array:
        pq, pr = q - p, r - p
        return np.asarray(pq[..., 0] * pr[..., 1] - pq[..., 1] * pr[..., 0])

    p, q, r, s = a[:, None, 0], a[:, None, 1], b[None, :, 0], b[None, :, 1]
    return (side(p, q, r) * side(p, q, s) < 0) & (side(r, s, p) * side(r, s, q) < 0)
