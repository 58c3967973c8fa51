"""A trained method asked: the top test images for a text, the top captions for an image."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import UserError
from bench.data import Dataset, cache, spoken_form
from bench.data.cache import Pixels
from bench.trained import sheet
from bench.trained.restore import Restored

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.table import Table


@dataclass(frozen=True)
class Hit:
    """One answer: its cosine, the row of its image in the data set, its caption (of an image
    query, else None), whether it is right (None: not known)."""

    score: float
    row: int
    caption: str | None
    right: bool | None


@dataclass(frozen=True)
class Answer:
    """The best hits for a query, and how many of the gallery's items are right (None: not known).

    The query is a text, or an image as pixels `(S, S, 3)` with the picture to show.
    """

    query: str
    image: tuple[Pixels, Pixels] | None
    hits: list[Hit]
    right: int | None
    gallery: int

    def summary(self) -> str:
        """What was searched and how many of the right ones were found."""
        one = "image" if self.image is None else "sentence"
        searched = f"Top {len(self.hits)} of {self.gallery} test {one}s"
        if self.right is None:
            what = "caption" if self.image is None else "image"
            return f"{searched}; the query is no test {what}, so which are right is not known"
        found = sum(hit.right is True for hit in self.hits)
        return f"{searched}; {found} of {self.right} right {one}{'s' * (self.right > 1)} found"


def split_features(restored: Restored) -> Tensor:
    """The images of the test split encoded, `(I, D)`, unit length."""
    dataset = _dataset(restored)
    return restored.encode_images(_pixels(restored), dataset.split("test"))


def images_for(restored: Restored, text: str, top: int, images: Tensor | None = None) -> Answer:
    """The images of the test split nearest to a text; `images`: what `split_features` gave.

    If the text is a test caption, the images that carry that sentence are right.
    """
    dataset = _dataset(restored)
    rows = dataset.split("test")
    images = split_features(restored) if images is None else images
    scores = images @ restored.encode_texts([text])[0]
    sentence = spoken_form(text)
    right = {
        row
        for row in rows
        if any(spoken_form(caption) == sentence for caption in dataset.samples[row].captions)
    }
    best = torch.sort(scores, descending=True, stable=True).indices[:top].tolist()
    hits = [Hit(float(scores[i]), rows[i], None, rows[i] in right if right else None) for i in best]
    return Answer(text, None, hits, len(right) or None, len(rows))


@dataclass(frozen=True)
class Sentences:
    """The distinct sentences of the test split, encoded `(T, D)`; of each the caption as first
    written and the row of its image."""

    found: dict[str, tuple[str, int]]
    features: Tensor


def split_sentences(restored: Restored) -> Sentences:
    """The sentences of the test split, encoded."""
    dataset = _dataset(restored)
    found: dict[str, tuple[str, int]] = {}
    for number in dataset.split("test"):
        for caption in dataset.samples[number].captions:
            found.setdefault(spoken_form(caption), (caption, number))
    return Sentences(found, restored.encode_texts([caption for caption, _ in found.values()]))


def captions_for(
    restored: Restored, image: Path | int, top: int, sentences: Sentences | None = None
) -> Answer:
    """The distinct sentences of the test split nearest to an image.

    `image` is a file, the file name of a test image, or the row of one; of a test image, the
    sentences that it carries are right. `sentences`: what `split_sentences` gave.
    """
    dataset = _dataset(restored)
    row = image if isinstance(image, int) else _row_of(dataset, image)
    base = restored.backbone
    if isinstance(image, Path) and row is None:
        pixels = cache.decode(image, base.image_size, dataset.card.scale, base.preprocess.resize)
        shown = cache.decode(image, sheet.SIDE, dataset.card.scale, base.preprocess.resize)
    else:
        assert row is not None
        pixels = _pixels(restored)[row]
        shown = cache.picture(dataset, row, sheet.SIDE, base.preprocess.resize)
    sentences = split_sentences(restored) if sentences is None else sentences
    scores = sentences.features @ restored.encode_images(pixels[None], [0])[0]
    own = set() if row is None else {spoken_form(c) for c in dataset.samples[row].captions}
    found = list(sentences.found.items())
    hits = []
    for i in torch.sort(scores, descending=True, stable=True).indices[:top].tolist():
        sentence, (caption, number) = found[i]
        hits.append(Hit(float(scores[i]), number, caption, sentence in own if own else None))
    name = image.name if isinstance(image, Path) else Path(dataset.samples[image].filename).name
    return Answer(name, (pixels, shown), hits, len(own) or None, len(found))


def focus_of(restored: Restored, rows: list[int]) -> list[NDArray[np.float32]] | None:
    """Where the method looks in images of the data set, each `(h, w)`; None where it has no map."""
    try:
        return list(restored.focus_maps(_pixels(restored), rows).numpy())
    except UserError:
        return None


def _pixels(restored: Restored) -> Pixels:
    """All images of the data set as the backbone takes them."""
    base = restored.backbone
    return cache.images(_dataset(restored), base.image_size, how=base.preprocess.resize)


def _dataset(restored: Restored) -> Dataset:
    assert restored.dataset is not None, "restore with a data root"
    return restored.dataset


def _row_of(dataset: Dataset, image: Path) -> int | None:
    """The row of a test image given by its path or, where there is no such file, by its name."""
    for row in dataset.split("test"):
        path = dataset.paths[row]
        if image.is_file():
            if path is not None and path.resolve() == image.resolve():
                return row
        elif Path(dataset.samples[row].filename).stem == image.stem:
            return row
    if not image.is_file():
        raise UserError(
            f"{image} is neither a file nor the name of a test image of {dataset.card.name}; give "
            "the path of an image"
        )
    return None


def draw(restored: Restored, answer: Answer, focus: bool) -> "Image":
    """The picture sheet of an answer; with `focus` each image has its focus map beneath.

    Raises UserError where the method has no focus map.
    """
    trial, dataset = restored.trial, _dataset(restored)
    split, seed = f"test split of {dataset.card.name}", f"seed {trial.seed}"
    about = (trial.call_today, trial.backbone, split, seed)
    notes = ["  ·  ".join(about), answer.summary()]
    if answer.image is not None:
        pixels, shown = answer.image
        maps = _maps(restored, pixels[None], [0]) if focus else [None]
        tile = sheet.Tile(shown, "", answer.query, None, maps[0])
        rows = [(f"{hit.score:.3f}", set_text(hit.caption or ""), hit.right) for hit in answer.hits]
        return sheet.draw_captions(f"Captions for {answer.query}", notes, tile, rows)
    numbers = [hit.row for hit in answer.hits]
    maps = _maps(restored, _pixels(restored), numbers) if focus else [None] * len(numbers)
    tiles = [
        sheet.Tile(
            cache.picture(dataset, hit.row, sheet.SIDE, restored.backbone.preprocess.resize),
            f"{hit.score:.3f}",
            Path(dataset.samples[hit.row].filename).name,
            hit.right,
            one,
        )
        for hit, one in zip(answer.hits, maps, strict=True)
    ]
    return sheet.draw_images(f"“{set_text(answer.query)}”", notes, tiles)


def set_text(caption: str) -> str:
    """As a printer sets it: "a port ." -> "a port."."""
    return re.sub(r"\s+([.,;:!?])", r"\1", caption.strip())


def _maps(restored: Restored, pixels: Pixels, rows: list[int]) -> list[NDArray[np.float32] | None]:
    return list(restored.focus_maps(pixels, rows).numpy())


def table(restored: Restored, answer: Answer) -> "Table":
    """An answer as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    dataset = _dataset(restored)
    known = answer.right is not None
    shown = Table(title=Text(answer.query), caption=answer.summary())
    shown.add_column("rank", justify="right")
    shown.add_column("score", justify="right")
    if known:
        shown.add_column("right", justify="center")
    for name in ("caption",) if answer.image is not None else ("image", "scene", "a caption"):
        shown.add_column(name, overflow="fold")
    for place, hit in enumerate(answer.hits, 1):
        sample = dataset.samples[hit.row]
        mark = ["yes" if hit.right else ""] if known else []
        texts = (
            [hit.caption or ""]
            if answer.image is not None
            else [sample.filename, sample.scene or "", sample.captions[0]]
        )
        shown.add_row(str(place), f"{hit.score:.3f}", *mark, *(Text(text) for text in texts))
    return shown
