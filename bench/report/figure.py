"""What all figures share: a style for each method, margins, fonts, and writing figures to files."""

import functools
import itertools
import textwrap
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bench.report.row import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWS = "Records"
"""The entry of a PNG that holds a hash of the records that it shows."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#444444", "#E69F00", "#56B4E9", "#8C6D1F")
"""Okabe and Ito's colours, which colour-blind people can tell apart; black and yellow are muted."""
SHAPES = [(marker, filled) for filled in (True, False) for marker in "os^DvPX*<>pd"]
"""Markers that differ without their colour, so that figures can be read in grey."""
METHODS = (
    *("cmer", "lora", "full", "linear", "zeroshot", "adapter", "vpt", "coop", "unipt", "lst"),
    *("uniadapter", "maple", "bitfit", "clip_adapter", "mrs_adapter", "ssf", "ia3", "vera"),
    *("harma", "vlprompt", "peft", "convpass", "g2a"),
)
"""This project's methods; their place decides on colour and marker. Add new ones at the end, so
that the others keep theirs."""
NAME_LENGTH = 30
"""Letters of a method call in a figure; the middle of a longer one is left out."""
DPI = 160
TITLE = 9.0
"""Size of titles in points."""
LEFT_MARGIN, RIGHT_MARGIN = 0.76, 0.15
"""In inches; on the left is room for a label beside numbers of six characters, such as 14.775."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.parse_math": False,  # a $ in the name of a method or a data set is no formula
    "pdf.fonttype": 42,  # TrueType: some publishers refuse matplotlib's usual Type 3 fonts
    "path.simplify": False,
}
"""Matplotlib's settings for all figures."""


@dataclass(frozen=True)
class MethodStyle:
    """How a method call is drawn in a figure."""

    name: str
    colour: str
    marker: str
    filled: bool

    @property
    def dark(self) -> str:
        """The colour, dark enough for small letters."""
        channels = [int(self.colour[i : i + 2], 16) for i in (1, 3, 5)]
        return "#" + "".join(f"{round(channel * 0.62):02x}" for channel in channels)

    def marker_style(self, size: float = 6.5) -> dict[str, Any]:
        """Keyword arguments of matplotlib for markers."""
        return {
            "marker": self.marker,
            "markersize": size,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": "black" if self.filled else self.colour,
            "markeredgewidth": 0.7 if self.filled else 1.4,
        }

    def bar_style(self, size: float = 6.5) -> dict[str, Any]:
        """Keyword arguments of matplotlib for a marker with error bars."""
        return {"ecolor": self.dark, "elinewidth": 0.9, "capsize": 2, **self.marker_style(size)}

    def line_style(self, size: float = 4) -> dict[str, Any]:
        """Keyword arguments of matplotlib for a line with markers."""
        return {"color": self.colour, "linewidth": 1.1, **self.marker_style(size)}


def method_styles(rows: Iterable[Row]) -> dict[str, MethodStyle]:
    """A style for each row's label: colour by method, marker by call.

    Both follow from the names, not from the order of the rows, so that a method looks the same in
    every report. Calls with settings take the marker that a hash of the call picks, or the next
    one that is free in the figure.
    """
    method_of = {row.label: row.method for row in rows}
    names = _short_names(sorted(method_of))
    # Plain calls of the project's methods first: their markers never depend on other rows.
    order = sorted(method_of, key=lambda label: (label not in METHODS, label))
    taken: set[int] = set()
    styles = {}
    for label in order:
        first = _number(label)
        shapes = [n % len(SHAPES) for n in range(first, first + len(SHAPES))]
        shape = next((n for n in shapes if n not in taken), shapes[0])
        taken.add(shape)
        colour = COLOURS[_number(method_of[label]) % len(COLOURS)]
        styles[label] = MethodStyle(names[label], colour, *SHAPES[shape])
    return styles


def _number(name: str) -> int:
    """A number that only depends on the name."""
    return METHODS.index(name) if name in METHODS else zlib.crc32(name.encode())


def _short_names(labels: list[str]) -> dict[str, str]:
    """Labels short enough for a figure and still different from each other."""
    for length in itertools.count(NAME_LENGTH, 10):
        half = (length - 1) // 2
        names = {n: n if len(n) <= length else f"{n[:half]}…{n[-half:]}" for n in labels}
        if len(set(names.values())) == len(labels):
            return names
    raise AssertionError


def blank(
    width: float,
    height: float,
    *about: str,
    left: float = LEFT_MARGIN,
    right: float = RIGHT_MARGIN,
    foot: float = 0.5,
    head: float = 0.2,
) -> "Figure":
    """A figure with a title, a line for each text of `about`; longer lines are broken. In inches.

    Margins are given, not left to matplotlib's constrained layout, which takes as long as drawing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    title = "\n".join(line for text in about for line in _wrapped(text, width - 0.2))
    head += 0.155 * len(title.splitlines())
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.text(0.1 / width, 1 - 0.08 / height, title, va="top", fontsize=TITLE)
    figure.subplots_adjust(
        left / width, foot / height, 1 - right / width, 1 - head / height, wspace=0.25
    )
    return figure


def _wrapped(text: str, inches: float) -> list[str]:
    """The lines of a text, broken so that none is wider than `inches`."""
    for letters in range(int(18 * inches), 0, -2):
        lines = textwrap.wrap(text, letters, break_on_hyphens=False)
        if widest(lines, TITLE) <= inches:
            break
    return lines


def widest(texts: Iterable[str], size: float) -> float:
    """Inches that the widest of some texts takes at a size in points."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer: Any = RendererAgg(1, 1, 72)  # type: ignore[no-untyped-call]
    measure, font = renderer.get_text_width_height_descent, FontProperties(size=size)
    return float(max((measure(text, font, False)[0] for text in texts), default=0.0)) / 72


def write(make: "Callable[[], Figure | None]", stem: Path, digest: str, pdf: bool) -> list[Path]:
    """Draw the figure that `make` gives as `<stem>.png`; returns its files, none for no figure.

    pdf: write `<stem>.pdf` too. A PDF that is there already is always kept up to date. The same
    figure gives the same bytes. Drawing takes most of a report's time, so files that show the same
    records already, by their `digest`, are left as they are.
    """
    import matplotlib

    png, vector = Path(f"{stem}.png"), Path(f"{stem}.pdf")
    files = [png, vector] if pdf or vector.exists() else [png]
    if all(file.exists() for file in files) and _is_current(png, digest):
        return files
    with matplotlib.rc_context(STYLE):
        figure = make()
        if figure is None:
            return []
        if vector in files:
            metadata = {"Creator": "bench report", "Producer": None, "CreationDate": None}
            figure.savefig(vector, metadata=metadata)
        _write_png(figure, png, digest)  # last, because it says that the PDF is up to date too
    return files


def _is_current(png: Path, digest: str) -> bool:
    """Whether a PNG is whole, shows the records of this hash, and is newer than bench's code."""
    content = png.read_bytes()
    whole = content.endswith(b"IEND\xaeB`\x82")
    return whole and digest.encode() in content[:1000] and png.stat().st_mtime > _code_changed()


@functools.cache
def _code_changed() -> float:
    """When a file of bench was last changed or put there: older figures may look otherwise."""
    files = [file.stat() for file in Path(__file__).parent.parent.rglob("*.py")]
    # Installers may keep the dates of files, and then only the second one is that of the update.
    return max(max(file.st_mtime, file.st_ctime) for file in files)


def _write_png(figure: "Figure", path: Path, digest: str) -> None:
    figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba()))  # type: ignore[attr-defined]
    # With a palette of 256 colours the file is a third as large and written faster.
    image = pixels.convert("RGB").quantize(
        256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    # Quantizing may make white a shade darker; make it white again.
    image.putpalette([255 if part >= 254 else part for part in image.getpalette() or []])
    about = PngInfo()
    about.add_text(SHOWS, digest)
    image.save(path, pnginfo=about)
