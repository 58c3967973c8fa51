"""How every figure looks: colours, markers, sizes; and how it becomes files, the same each time.

Readable in grey and by colour-blind people: every method has a marker, a colour and its name beside
it.
"""

import io
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.groups import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#8C6D1F")
"""Okabe and Ito's, told apart by colour-blind people; black and yellow muted for white paper."""
MARKERS = "os^DvPX*<>phd8H"
LETTERS = 30
"""Letters of a method call beside its point or line; of a longer one the middle is left out."""
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


@dataclass(frozen=True)
class Look:
    """How a row is drawn everywhere in its figure."""

    name: str
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
    """A look for each row, the same in all these groups: colour by method, marker by call."""
    method_of = {row.label: row.method for one in groups for row in one.rows}
    methods, labels = sorted(set(method_of.values())), sorted(method_of)
    names = _names(labels)
    return {
        label: Look(
            names[label],
            COLOURS[methods.index(method_of[label]) % len(COLOURS)],
            MARKERS[number % len(MARKERS)],
            number // len(MARKERS) % 2 == 0,
        )
        for number, label in enumerate(labels)
    }


def looks_of(family: list[Group], among: list[Group]) -> dict[str, Look]:
    """The looks of some groups: those they have among others, if there are markers for so many."""
    shared = looks(*among)
    return shared if len(shared) <= 2 * len(MARKERS) else looks(*family)


def _names(labels: list[str]) -> dict[str, str]:
    """Labels that fit a picture, each still another."""
    for most in itertools.count(LETTERS, 10):
        names = {label: _short(label, most) for label in labels}
        if len(set(names.values())) == len(labels):
            return names
    raise AssertionError


def _short(label: str, most: int) -> str:
    half = (most - 1) // 2
    return label if len(label) <= most else f"{label[:half]}…{label[-half:]}"


def blank(width: float, height: float) -> "Figure":
    """A figure of so many inches that lays itself out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", paths: list[Path], digest: str) -> None:
    """Write a figure to its files, which carry the digest of what it was drawn from."""
    if figure.get_layout_engine() is not None:
        lay_out(figure)
    for path in paths:
        form = path.suffix[1:]
        metadata = {**METADATA[form], NOTE[form]: digest}
        if form == "svg":
            text = io.StringIO()
            figure.savefig(text, format=form, metadata=metadata)
            path.write_text(_compact(text.getvalue()), encoding="utf-8")
        else:
            figure.savefig(path, format=form, dpi=160, metadata=metadata)


def lay_out(figure: "Figure") -> None:
    """Fix where everything is, once: not again for each format."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)


def _compact(svg: str) -> str:
    """An SVG with hundredths of a point, on few lines, without comments."""
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"scale\([^)]*\)|(\d+\.\d\d)\d+", lambda found: found[1] or found[0], svg)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r" ?\n(?=[LQCMz\"])", " ", svg))
