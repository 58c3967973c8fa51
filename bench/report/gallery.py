"""Hits and misses side by side: the same test queries asked of each trained method of a group.

What it makes holds pictures of the data set: it is for looking at, not for committing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import UserError, perquery
from bench.data import Dataset, spoken_form
from bench.data.resize import CLIP, Resize
from bench.perquery import Array
from bench.report.groups import Entry, Group, Row
from bench.trained.restore import restore
from bench.trained.retrieve import Hit, Searcher

TOP = 5
"""Answers shown to each query, and the rank up to which one counts as answered."""
WANTED = (1.0, 0.5, 0.5, 0.0)
"""The queries asked: shares of the methods that have a right answer in the top 5."""


@dataclass
class Line:
    """A method's answers to one query, with its focus maps where it offers them: `(h, w)` of each
    image answered, or of the one that was asked."""

    label: str
    hits: list[Hit]
    focus: list[Any] | None = None


@dataclass
class Gallery:
    """Queries of the test split, each method's answers, and why some methods are not there."""

    dataset: Dataset
    captions: dict[str, list[Line]]
    images: dict[int, list[Line]]
    """By the image's row."""
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> methods."""
    resize: Resize = CLIP
    """How the group's backbone makes images square, for pictures as it sees them."""


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
            searcher = _searcher(row, results, root)
        except UserError as error:
            absent.setdefault(_reason(error, row, results), []).append(row.label)
            continue
        if gallery is None:
            known = [found for found in ranks.values() if found is not None]
            texts = choose(searcher.dataset, [found["t2i"] for found in known])
            rows = choose_images(searcher.dataset, [found["i2t"] for found in known])
            gallery = Gallery(
                searcher.dataset,
                {text: [] for text in texts},
                {row: [] for row in rows},
                absent,
                searcher.resize,
            )
        _ask(gallery, row.label, searcher)
    if gallery is not None:
        return gallery
    reasons = "; ".join(f"{', '.join(labels)}: {reason}" for reason, labels in absent.items())
    return f"No gallery: {reasons or 'no trial ended well'}."


def _searcher(row: Row, results: Path, root: Path) -> Searcher:
    """The trained method of the first seed that can be restored; raises the first UserError."""
    errors = []
    for entry in row.ok:
        try:
            return Searcher(restore(results / entry.path), root)
        except UserError as error:
            errors.append(error)
    raise errors[0] if errors else UserError("no trial ended well")


def _reason(error: UserError, row: Row, results: Path) -> str:
    """What is wrong, without the file's name, so that methods of the same fate are told once."""
    text = str(error)
    for path in (results / entry.path for entry in row.ok):
        for file in (path, path.with_suffix(".safetensors")):
            text = text.replace(f"{file} ", "")
    return text


def _ranks(row: Row, results: Path) -> dict[str, Array] | None:
    """The duplicate-aware ranks of the test queries, of the row's first seed that has ranks."""

    def of(entry: Entry) -> dict[str, Array] | None:
        try:
            return perquery.load(results / entry.path, "dup_").ranks
        except UserError:
            return None

    return next((found for entry in row.ok if (found := of(entry)) is not None), None)


def choose(dataset: Dataset, ranks: Sequence[Array]) -> list[str]:
    """Test captions that nearly all, some and none of the methods answer; of different scenes.

    ranks: of each method `(C,)`, in the order of the test captions; without any, the first captions
    of the first scenes.
    """
    rows = dataset.split("test")
    captions = [(row, text) for row in rows for text in dataset.samples[row].captions]
    keys = [(_scene(dataset, row), spoken_form(text)) for row, text in captions]
    return [captions[place][1] for place in _choose(ranks, keys)]


def choose_images(dataset: Dataset, ranks: Sequence[Array]) -> list[int]:
    """The same of test images, by their rows; ranks: of each method `(I,)`."""
    rows = dataset.split("test")
    return [rows[n] for n in _choose(ranks, [(_scene(dataset, row), str(row)) for row in rows])]


def _scene(dataset: Dataset, row: int) -> str:
    return dataset.samples[row].scene or str(row)


def _choose(ranks: Sequence[Array], keys: list[tuple[str, str]]) -> list[int]:
    """Places of queries answered by the WANTED shares of methods, no part of whose keys repeats."""
    fitting = [r for r in ranks if len(r) == len(keys)]
    found = np.mean([r <= TOP for r in fitting], axis=0) if fitting else np.zeros(len(keys))
    chosen: list[int] = []
    used: tuple[set[str], set[str]] = (set(), set())
    for wanted in WANTED:
        for place in np.argsort(np.abs(found - wanted), kind="stable").tolist():
            if not any(part in seen for part, seen in zip(keys[place], used, strict=True)):
                chosen.append(place)
                for part, seen in zip(keys[place], used, strict=True):
                    seen.add(part)
                break
    return chosen


def _ask(gallery: Gallery, label: str, searcher: Searcher) -> None:
    """Add the method's line to each query."""
    answers = [(searcher.images_for(text, TOP), to) for text, to in gallery.captions.items()]
    answers += [(searcher.captions_for(row, TOP), to) for row, to in gallery.images.items()]
    for answer, lines in answers:
        maps = searcher.focus_maps(answer)
        lines.append(Line(label, answer.hits, None if maps is None else list(maps.numpy())))
