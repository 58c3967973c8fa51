"""Hits and misses side by side: some test queries and what each trained method of a group answers.

The block of the page that this makes holds pictures of the data set: it is for looking at, not for
committing.
"""

import base64
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench import UserError, perquery
from bench.data import Dataset, cache, spoken_form
from bench.data.resize import Pixels, Resize
from bench.perquery import Array
from bench.report.group import Group
from bench.report.row import Row
from bench.trained import sheet
from bench.trained.restore import restore
from bench.trained.retrieve import Hit, Searcher, set_text

TOP = 5
"""Answers shown for each query; a query counts as answered if a right one is among them."""
WANTED = (1.0, 0.5, 0.5, 0.0)
"""The queries to show, by the share of methods with a right answer in the top 5: one that (nearly)
all answer, two that about half answer, one that none does."""
SIDE = 104
"""Pixels of a picture: a row of answers must fit a phone."""
ABOUT = (
    "Test queries that nearly all, some and none of the methods answer, and the five nearest "
    "answers of each method, the best first, with their cosines. Framed and ticked: the image "
    "carries that caption, or the caption is one of the image's."
)
T = TypeVar("T")


@dataclass
class Answers:
    """A method's answers to one query.

    focus: if the method has focus maps, those of the images found or of the query's image, each
    `(h, w)`.
    """

    label: str
    hits: list[Hit]
    focus: list[NDArray[np.float32]] | None


@dataclass
class Gallery:
    """Test queries, each with the answers of every method that could be restored."""

    dataset: Dataset
    resize: Resize
    """How the backbone makes images square: pictures are shown as it sees them."""
    captions: dict[str, list[Answers]]
    images: dict[int, list[Answers]]
    """By the image's row in the data set."""
    absent: dict[str, str]
    """Why a method is not there, by its label."""

    def picture(self, row: int) -> Pixels:
        """The image of a row, as large as the page shows it."""
        return cache.picture(self.dataset, row, SIDE, self.resize)


def block(group: Group, results: Path, root: Path, progress: Callable[[str], None]) -> str:
    """The gallery of a group as a part of the page, or a sentence why there is none."""
    gallery = make(group, results, root, progress)
    return f'<p class="soft">{escape(gallery)}</p>' if isinstance(gallery, str) else html(gallery)


def make(group: Group, results: Path, root: Path, progress: Callable[[str], None]) -> Gallery | str:
    """Ask each method of a group the same queries; returns a sentence if none can answer.

    `root` is the data root; `progress` is called with the name of each method before it is asked.
    For each method, the first seed whose weights lie next to its record answers.
    """
    if group.scene_at_test != "none":
        return "No gallery: these methods were tested with a scene beside each caption."
    ranks = []
    for row in group.rows:
        with suppress(UserError):
            ranks.append(_first(row, results, lambda path: perquery.load(path, "dup_").ranks))
    gallery, absent = None, {}
    for row in group.rows:
        progress(row.label)
        try:
            searcher = _first(row, results, lambda path: Searcher(restore(path), root))
        except UserError as error:
            absent[row.label] = str(error)
            continue
        if gallery is None:
            texts, images = choose(searcher.dataset, ranks)
            by_text: dict[str, list[Answers]] = {text: [] for text in texts}
            by_image: dict[int, list[Answers]] = {image: [] for image in images}
            gallery = Gallery(searcher.dataset, searcher.resize, by_text, by_image, absent)
        _ask(gallery, row.label, searcher)
    return gallery or f"No gallery. {_why(absent)}"


def _first(row: Row, results: Path, load: Callable[[Path], T]) -> T:
    """What `load` gives for the first of a row's records that it can read; else its first error."""
    errors = []
    for entry in row.ok:
        try:
            return load(results / entry.path)
        except UserError as error:
            errors.append(error)
    raise errors[0] if errors else UserError("no trial ended well")


def _why(absent: dict[str, str]) -> str:
    first = next(iter(absent.values()), "no trial ended well")
    return f"Not here: {', '.join(absent)}: {first}."


def choose(dataset: Dataset, ranks: Sequence[dict[str, Array]]) -> tuple[list[str], list[int]]:
    """Test captions and images that nearly all, some and none of the methods answer.

    Images are given by their rows; no scene is shown twice. ranks: those of each method's test
    queries, `i2t` and `t2i`; without any, the first queries of the first scenes are chosen.
    """
    rows = dataset.split("test")
    scenes = {row: dataset.samples[row].scene or str(row) for row in rows}
    captions = [(row, text) for row in rows for text in dataset.samples[row].captions]
    keys = [(scenes[row], spoken_form(text)) for row, text in captions]
    texts = _choose([r["t2i"] for r in ranks], keys)
    images = _choose([r["i2t"] for r in ranks], [(scenes[row], str(row)) for row in rows])
    return [captions[n][1] for n in texts], [rows[n] for n in images]


def _choose(ranks: Sequence[Array], keys: list[tuple[str, str]]) -> list[int]:
    """Indices of queries answered by the WANTED shares of methods, no scene or sentence twice."""
    fitting = [r for r in ranks if len(r) == len(keys)]
    share = np.mean([r <= TOP for r in fitting], axis=0) if fitting else np.zeros(len(keys))
    chosen: list[int] = []
    for wanted in WANTED:
        used = {part for n in chosen for part in enumerate(keys[n])}
        nearest = np.argsort(np.abs(share - wanted), kind="stable").tolist()
        chosen += [n for n in nearest if used.isdisjoint(enumerate(keys[n]))][:1]
    return chosen


def _ask(gallery: Gallery, label: str, searcher: Searcher) -> None:
    pairs = [(searcher.images_for(text, TOP), shown) for text, shown in gallery.captions.items()]
    pairs += [(searcher.captions_for(row, TOP), shown) for row, shown in gallery.images.items()]
    for answer, shown in pairs:
        maps = searcher.focus_maps(answer)
        focus = None if maps is None else list(maps.numpy())
        shown.append(Answers(label, answer.hits, focus))


def html(gallery: Gallery) -> str:
    """A block for the page: queries, methods, answers."""
    texts = "".join(_caption(c, answers, gallery) for c, answers in gallery.captions.items())
    images = "".join(_image(row, answers, gallery) for row, answers in gallery.images.items())
    absent = f'<p class="soft">{escape(_why(gallery.absent))}</p>' if gallery.absent else ""
    return (
        f"<details open><summary>Hits and misses</summary>"
        f'<p class="soft">{ABOUT}</p><h3>Text to image</h3>{texts}<h3>Image to text</h3>{images}'
        f"{absent}</details>"
    )


def _picture(
    gallery: Gallery, row: int, place: int | None = None, right: bool | None = None
) -> str:
    """A picture with its text for screen readers; `place` and `right` are those of a hit."""
    name = Path(gallery.dataset.samples[row].filename).name
    before, after = f"{place}: " if place else "", ", right" if right else ""
    about = escape(f"{before}{name}{after}")
    style = f"background-image:url({_jpeg(gallery.picture(row))})"
    return (
        f'<span class="picture{" right" if right else ""}" style="{style}" role="img" '
        f'aria-label="{about}" title="{about}"></span>'
    )


def _jpeg(pixels: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _caption(caption: str, answers: list[Answers], gallery: Gallery) -> str:
    dataset, sentence = gallery.dataset, spoken_form(caption)
    own = [map(spoken_form, dataset.samples[row].captions) for row in dataset.split("test")]
    right = sum(sentence in sentences for sentences in own)
    carry = "1 test image carries it" if right == 1 else f"{right} test images carry it"
    rows = ""
    for each in answers:
        rows += f'<tr><th scope="row"><code>{escape(each.label)}</code></th>'
        for place, hit in enumerate(each.hits, 1):
            picture = _picture(gallery, hit.row, place, hit.right)
            rows += f"<td>{picture}<br><small>{hit.score:.3f}</small></td>"
        if each.focus:
            maps, about = _focus(each.focus, [gallery.picture(hit.row) for hit in each.hits])
            cells = "".join(f"<td>{image}</td>" for image in maps)
            rows += f'</tr><tr><th scope="row">{about}</th>{cells}'
        rows += "</tr>"
    return (
        f"<h4>“{escape(set_text(caption))}” <small>{carry}</small></h4>"
        f'<div class="scroll" tabindex="0"><table class="gallery"><tbody>{rows}</tbody>'
        "</table></div>"
    )


def _image(row: int, answers: list[Answers], gallery: Gallery) -> str:
    sample = gallery.dataset.samples[row]
    own = {spoken_form(c): escape(set_text(c)) for c in sample.captions}
    maps = {each.label: each.focus[0] for each in answers if each.focus}
    images, about = _focus(list(maps.values()), [gallery.picture(row)] * len(maps))
    focus = dict(zip(maps, images, strict=True))
    items = ""
    for each in answers:
        lines = "".join(map(_sentence, each.hits))
        head = f"<code>{escape(each.label)}</code>{focus.get(each.label, '')}"
        items += f"<li>{head}<ol>{lines}</ol></li>"
    name, about = escape(Path(sample.filename).name), about and f"<br>{about}"
    return (
        f'<div class="query">{_picture(gallery, row)}<div><h4>{name}</h4>'
        f"<small>Its captions: {' '.join(own.values())}</small>{about}</div></div>"
        f'<ul class="answers">{items}</ul>'
    )


def _sentence(hit: Hit) -> str:
    text = escape(set_text(hit.caption or ""))
    kind, tick = (' class="right"', " ✓") if hit.right else ("", "")
    return f"<li{kind}>{text}{tick} <small>{hit.score:.3f}</small></li>"


def _focus(maps: list[NDArray[np.float32]], pictures: list[Pixels]) -> tuple[list[str], str]:
    """Pictures under their focus maps, all on one scale, and a line on that scale."""
    scale = sheet.focus_scale(maps)
    if scale is None:
        return [], ""
    images = [
        f'<img class="picture" alt="focus map" src="{_jpeg(sheet.overlay(p, m, scale))}">'
        for m, p in zip(maps, pictures, strict=True)
    ]
    return images, f"<small>focus, {scale[0]:.3f} dark to {scale[1]:.3f} bright</small>"
