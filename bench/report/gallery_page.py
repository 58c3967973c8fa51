"""A gallery as a part of the page: pictures as style classes, so that each is stored once."""

import base64
import io
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from bench.data import Dataset, cache, spoken_form
from bench.data.resize import Resize
from bench.report.gallery import Gallery, Line, make
from bench.report.groups import Group
from bench.trained import retrieve, sheet

SIDE = 104
"""Pixels of a picture: an answer must fit a phone."""
ABOUT = (
    "Test queries that nearly all, some and none of the methods answer, and the five nearest "
    "answers of each method, the best first, with their cosines. Framed and ticked: the image "
    "carries that caption, or the caption is one of the image's."
)


def block(one: Group, results: Path, root: Path, move: Callable[[str], None]) -> str:
    """The gallery of a group as a part of the page, or a sentence why there is none."""
    return html(make(one, results, root, move), one.name)


def html(gallery: Gallery | str, name: str) -> str:
    """A block for the page: queries, methods, answers; `name` is the group's, unique in it."""
    if isinstance(gallery, str):
        return f'<p class="soft">{escape(gallery)}</p>'
    pictures = _Pictures(gallery.dataset, name, gallery.resize)
    texts = "".join(_caption(c, lines, pictures) for c, lines in gallery.captions.items())
    images = "".join(_image(row, lines, pictures) for row, lines in gallery.images.items())
    absent = "".join(
        f'<p class="soft">Not here: {escape(", ".join(labels))}: {escape(reason)}.</p>'
        for reason, labels in gallery.absent.items()
    )
    return (
        f"<details open><summary>Hits and misses</summary><style>{pictures.rules()}</style>"
        f'<p class="soft">{ABOUT}</p><h3>Text to image</h3>{texts}<h3>Image to text</h3>{images}'
        f"{absent}</details>"
    )


def _caption(caption: str, lines: list[Line], pictures: "_Pictures") -> str:
    """A caption and each method's images."""
    dataset, sentence = pictures.dataset, spoken_form(caption)
    own = [map(spoken_form, dataset.samples[row].captions) for row in dataset.split("test")]
    right = sum(sentence in said for said in own)
    carry = "1 test image carries it" if right == 1 else f"{right} test images carry it"
    rows = "".join(_line(line, pictures) for line in lines)
    return (
        f"<h4>“{escape(retrieve.set_text(caption))}” <small>{carry}</small></h4>"
        f'<div class="scroll" tabindex="0"><table class="gallery"><tbody>{rows}</tbody>'
        "</table></div>"
    )


def _line(line: Line, pictures: "_Pictures") -> str:
    cells = "".join(
        f"<td>{pictures.span(hit.row, place, hit.right)}<br><small>{hit.score:.3f}</small></td>"
        for place, hit in enumerate(line.hits, 1)
    )
    head = f'<th scope="row"><code>{escape(line.label)}</code></th>'
    if line.focus is None:
        return f"<tr>{head}{cells}</tr>"
    scale = _scale([line])
    maps = "".join(
        f"<td>{pictures.focus(hit.row, one, scale)}</td>"
        for hit, one in zip(line.hits, line.focus, strict=True)
    )
    return f'<tr>{head}{cells}</tr><tr><th scope="row">{_focus_words(scale)}</th>{maps}</tr>'


def _image(row: int, lines: list[Line], pictures: "_Pictures") -> str:
    """An image and each method's captions."""
    sample = pictures.dataset.samples[row]
    own = {spoken_form(c): escape(retrieve.set_text(c)) for c in sample.captions}
    name = escape(Path(sample.filename).name)
    scale = _scale(lines)
    answers = ""
    for line in lines:
        said = "".join(map(_said, line.hits))
        focus = pictures.focus(row, line.focus[0], scale) if line.focus else ""
        answers += f"<li><code>{escape(line.label)}</code>{focus}<ol>{said}</ol></li>"
    words = f"<br>{_focus_words(scale)}" if any(line.focus for line in lines) else ""
    return (
        f'<div class="query">{pictures.span(row)}<div><h4>{name}</h4>'
        f"<small>Its captions: {' '.join(own.values())}</small>{words}</div></div>"
        f'<ul class="answers">{answers}</ul>'
    )


def _said(hit: retrieve.Hit) -> str:
    text = escape(retrieve.set_text(hit.caption or ""))
    kind, tick = (' class="right"', " ✓") if hit.right else ("", "")
    return f"<li{kind}>{text}{tick} <small>{hit.score:.3f}</small></li>"


def _scale(lines: list[Line]) -> tuple[float, float]:
    """The lowest and highest focus of some answers."""
    maps = [one for line in lines for one in line.focus or []]
    if not maps:
        return 0.0, 1.0
    return float(min(one.min() for one in maps)), float(max(one.max() for one in maps))


def _focus_words(scale: tuple[float, float]) -> str:
    return f"<small>focus, {scale[0]:.3f} dark to {scale[1]:.3f} bright</small>"


class _Pictures:
    """The pictures of a gallery as CSS classes, so that one shown often is stored once."""

    def __init__(self, dataset: Dataset, name: str, how: Resize) -> None:
        self.how = how
        self.dataset, self.name = dataset, "".join(c if c.isalnum() else "-" for c in name)
        self.stored: dict[int, cache.Pixels] = {}

    def span(self, row: int, place: int | None = None, right: bool | None = None) -> str:
        """A picture (a hit's: at its place), and what a screen reader says of it."""
        self._picture(row)
        name = Path(self.dataset.samples[row].filename).name
        about = escape(f"{f'{place}: ' if place else ''}{name}{', right' if right else ''}")
        kinds = f"picture{' right' if right else ''} {self.name}-{row}"
        return f'<span class="{kinds}" role="img" aria-label="{about}" title="{about}"></span>'

    def focus(self, row: int, focus: Any, scale: tuple[float, float]) -> str:
        """A picture under its focus map."""
        drawn = sheet.overlay(self._picture(row), focus, scale)
        return f'<img class="picture" alt="focus map" src="{_jpeg(drawn)}">'

    def _picture(self, row: int) -> cache.Pixels:
        if row not in self.stored:
            self.stored[row] = cache.picture(self.dataset, row, SIDE, self.how)
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
    Image.fromarray(pixels).save(file, format="JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
