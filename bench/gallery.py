"""Hits and misses side by side: the same test captions asked of each trained method of a group.

What it makes holds pictures of the data set: it is for looking at, not for committing.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bench import UserError, cache, compare, retrieve, sheet
from bench.data import Dataset, spoken_form
from bench.groups import Entry, Group, Row
from bench.restore import Restored, restore

TOP = 5
"""Images shown of each answer."""
SIDE = 104
"""Pixels of a picture: an answer must fit a phone."""
ABOUT = (
    "Test captions that nearly all, some and none of the methods answer; the five nearest images "
    "of each method, the best first, with their cosines. Framed and ticked: the image carries "
    "that caption."
)
WANTED = (1.0, 0.5, 0.5, 0.0)
"""The captions asked: shares of the methods that have a right image in the top 5."""


@dataclass
class Line:
    """A method's answer to one caption, with its focus maps `(TOP, h, w)` where it offers them."""

    label: str
    hits: list[retrieve.Hit]
    focus: list[Any] | None = None


@dataclass
class Gallery:
    """Captions of the test split, each method's answers, and why some methods are not there."""

    dataset: Dataset
    captions: list[str]
    lines: list[list[Line]] = field(default_factory=list)
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> methods."""


def make(
    one: Group, results: Path, root: Path, move: Callable[[str], None] = lambda _: None
) -> Gallery | str:
    """Ask each method of a group; a sentence where there is nothing to show.

    `root` is the data root; `move` is told which method is next. The first seed whose weights are
    beside its record speaks for a method.
    """
    absent: dict[str, list[str]] = {}
    gallery: Gallery | None = None
    if one.scene_at_test != "none":
        return "No gallery: its test captions are told a scene, and these are not."
    ranks = {row.label: _ranks(row, results) for row in one.rows}
    for row in one.rows:
        move(row.label)
        try:
            restored = _restored(row, results, root)
        except UserError as error:
            absent.setdefault(str(error), []).append(row.label)
            continue
        assert restored.dataset is not None
        if gallery is None:
            known = [found for found in ranks.values() if found is not None]
            captions = choose(restored.dataset, known)
            gallery = Gallery(restored.dataset, captions, [[] for _ in captions], absent)
        _ask(gallery, row.label, restored)
    if gallery is not None:
        return gallery
    reasons = "; ".join(f"{', '.join(labels)}: {reason}" for reason, labels in absent.items())
    return f"No gallery: {reasons or 'no trial ended well'}."


def _restored(row: Row, results: Path, root: Path) -> Restored:
    """The trained method of the first seed that can be restored; raises the first UserError."""
    errors = []
    for entry in row.ok:
        try:
            return restore(results / entry.path, root)
        except UserError as error:
            errors.append(error)
    raise errors[0] if errors else UserError("no trial ended well")


def _ranks(row: Row, results: Path) -> compare.Array | None:
    """The duplicate-aware rank of each test caption, of the row's first seed that has ranks."""

    def of(entry: Entry) -> compare.Array | None:
        try:
            return compare.load_ranks(results / entry.path, ("dup_t2i",))["dup_t2i"]
        except UserError:
            return None

    return next((found for entry in row.ok if (found := of(entry)) is not None), None)


def choose(dataset: Dataset, ranks: Sequence[compare.Array]) -> list[str]:
    """Test captions that nearly all, some and none of the methods answer; of different scenes.

    ranks: of each method `(C,)`, in the order of the test captions; without any, the first captions
    of the first scenes.
    """
    rows = dataset.split("test")
    captions = [(row, text) for row in rows for text in dataset.samples[row].captions]
    fitting = [r for r in ranks if len(r) == len(captions)]
    found = np.mean([r <= TOP for r in fitting], axis=0) if fitting else np.zeros(len(captions))
    chosen: list[str] = []
    used: set[str] = set()
    for wanted in WANTED:
        for place in np.argsort(np.abs(found - wanted), kind="stable"):
            row, text = captions[place]
            scene = dataset.samples[row].scene or str(row)
            if scene not in used and spoken_form(text) not in map(spoken_form, chosen):
                chosen.append(text)
                used.add(scene)
                break
    return chosen


def _ask(gallery: Gallery, label: str, restored: Restored) -> None:
    """Add the method's line to each caption."""
    images = retrieve.split_features(restored)
    for caption, lines in zip(gallery.captions, gallery.lines, strict=True):
        hits = retrieve.images_for(restored, caption, TOP, images).hits
        pixels = cache.images(gallery.dataset, restored.backbone.image_size)
        try:
            maps = list(restored.focus_maps(pixels, [hit.row for hit in hits]).numpy())
        except UserError:  # this method has none
            maps = None
        lines.append(Line(label, hits, maps))


# As part of the page.


def block(one: Group, results: Path, root: Path, move: Callable[[str], None]) -> str:
    """The gallery of a group as a part of the page, or a sentence why there is none."""
    return html(make(one, results, root, move), one.name)


def html(gallery: Gallery | str, name: str) -> str:
    """A block for the page: captions, methods, pictures; `name` is the group's, unique in it."""
    if isinstance(gallery, str):
        return f'<p class="soft">{escape(gallery)}</p>'
    pictures = _Pictures(gallery.dataset, name)
    samples = [gallery.dataset.samples[row] for row in gallery.dataset.split("test")]
    spoken = [{spoken_form(caption) for caption in sample.captions} for sample in samples]
    blocks = []
    for caption, lines in zip(gallery.captions, gallery.lines, strict=True):
        right = sum(spoken_form(caption) in own for own in spoken)
        carry = "1 test image carries it" if right == 1 else f"{right} test images carry it"
        rows = "".join(_line(line, pictures) for line in lines)
        blocks.append(
            f"<h4>“{escape(retrieve.set_text(caption))}” <small>{carry}</small></h4>"
            f'<div class="scroll" tabindex="0"><table class="gallery"><tbody>{rows}</tbody>'
            "</table></div>"
        )
    absent = "".join(
        f'<p class="soft">Not here: {escape(", ".join(labels))}: {escape(reason)}.</p>'
        for reason, labels in gallery.absent.items()
    )
    return (
        f"<details open><summary>Hits and misses</summary><style>{pictures.rules()}</style>"
        f'<p class="soft">{ABOUT}</p>{"".join(blocks)}{absent}</details>'
    )


def _line(line: Line, pictures: "_Pictures") -> str:
    cells = "".join(
        f"<td>{pictures.span(hit, place)}<br><small>{hit.score:.3f}</small></td>"
        for place, hit in enumerate(line.hits, 1)
    )
    head = f'<th scope="row"><code>{escape(line.label)}</code></th>'
    if line.focus is None:
        return f"<tr>{head}{cells}</tr>"
    low = float(min(one.min() for one in line.focus))
    high = float(max(one.max() for one in line.focus))
    maps = "".join(
        f"<td>{pictures.focus(hit.row, one, (low, high))}</td>"
        for hit, one in zip(line.hits, line.focus, strict=True)
    )
    words = f"<small>focus, {low:.3f} dark to {high:.3f} bright</small>"
    return f'<tr>{head}{cells}</tr><tr><th scope="row">{words}</th>{maps}</tr>'


class _Pictures:
    """The pictures of a gallery as CSS classes, so that one shown often is stored once."""

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset, self.name = dataset, "".join(c if c.isalnum() else "-" for c in name)
        self.stored: dict[int, cache.Pixels] = {}

    def span(self, hit: retrieve.Hit, place: int) -> str:
        """The place of a hit's picture, and what a screen reader says of it."""
        self._picture(hit.row)
        right = " right" if hit.right else ""
        name = Path(self.dataset.samples[hit.row].filename).name
        about = escape(f"{place}: {name}{', right' if right else ''}")
        kinds = f"picture{right} {self.name}-{hit.row}"
        return f'<span class="{kinds}" role="img" aria-label="{about}" title="{about}"></span>'

    def focus(self, row: int, focus: Any, scale: tuple[float, float]) -> str:
        """A picture under its focus map."""
        drawn = sheet.overlay(self._picture(row), focus, scale)
        return f'<img class="picture" alt="focus map" src="{_jpeg(drawn)}">'

    def _picture(self, row: int) -> cache.Pixels:
        if row not in self.stored:
            self.stored[row] = cache.picture(self.dataset, row, SIDE)
        return self.stored[row]

    def rules(self) -> str:
        """The style sheet: one class for each picture."""
        return "".join(
            f".{self.name}-{row}{{background-image:url({_jpeg(pixels)})}}"
            for row, pixels in sorted(self.stored.items())
        )


def _jpeg(pixels: cache.Pixels) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
