"""Search the test split with a trained method: images for a text, captions for an image."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL.Image import Image
from rich.table import Table
from rich.text import Text
from torch import Tensor

from bench import UserError
from bench.console import few
from bench.data import cache, spoken_form
from bench.data.resize import Pixels
from bench.trained import sheet
from bench.trained.restore import Restored


@dataclass(frozen=True)
class Hit:
    """One answer to a query."""

    score: float
    """Cosine similarity."""
    row: int
    """Where its image is in the data set."""
    caption: str | None
    """The caption; None if images were searched."""
    right: bool | None
    """Whether it belongs to the query; None: not known."""


@dataclass(frozen=True)
class Answer:
    """The best hits for a query, the best first."""

    query: str
    """The text, or the file name of the image."""
    hits: list[Hit]
    right: int | None
    """How many of the searched images or captions belong to the query; None: not known."""
    searched: int
    """How many images or captions were searched."""
    pixels: Pixels | None = None
    """The query's image as the backbone takes it, `(S, S, 3)`; None: the query is a text."""
    picture: Pixels | None = None
    """The same image, larger, for the picture sheet."""

    def summary(self) -> str:
        """A sentence on what was searched and how many right answers were found."""
        noun, query = ("image", "caption") if self.pixels is None else ("sentence", "image")
        searched = f"Top {len(self.hits)} of {self.searched} test {noun}s"
        if self.right is None:
            return f"{searched}; the query is no test {query}, so which are right is not known"
        found = sum(hit.right is True for hit in self.hits)
        nouns = f"{noun}s" if self.right > 1 else noun
        return f"{searched}; {found} of {self.right} right {nouns} found"


class Searcher:
    """The test split of a trained method's data set, encoded once, to be searched."""

    def __init__(self, restored: Restored, root: Path) -> None:
        """`root` is the data root; raises UserError if the data set is not there."""
        self.restored, self.dataset = restored, restored.own_dataset(root)
        self.rows = self.dataset.split("test")
        self.side = restored.backbone.image_size
        self.resize = restored.backbone.preprocess.resize

    @cached_property
    def pixels(self) -> Pixels:
        """All images of the data set as the backbone takes them."""
        return cache.images(self.dataset, self.side, how=self.resize)

    @cached_property
    def _image_features(self) -> Tensor:
        return self.restored.encode_images(self.pixels[self.rows])

    @cached_property
    def _sentences(self) -> dict[str, tuple[str, int]]:
        """The distinct sentences of the test split, each with one caption and its image's row."""
        sentences: dict[str, tuple[str, int]] = {}
        for row in self.rows:
            for caption in self.dataset.samples[row].captions:
                sentences.setdefault(spoken_form(caption), (caption, row))
        return sentences

    @cached_property
    def _sentence_features(self) -> Tensor:
        return self.restored.encode_texts([caption for caption, _ in self._sentences.values()])

    def images_for(self, text: str, top: int) -> Answer:
        """The images nearest to a text. If it is a test caption, those that carry it are right."""
        scores = self._image_features @ self.restored.encode_texts([text])[0]
        # Spelling variants count as the same sentence, as in duplicate-aware recall.
        right = {row for row in self.rows if spoken_form(text) in self._sentences_of(row)}
        hits = [
            Hit(score, self.rows[n], None, self.rows[n] in right if right else None)
            for score, n in _best(scores, top)
        ]
        return Answer(text, hits, len(right) or None, len(self.rows))

    def captions_for(self, image: Path | int, top: int) -> Answer:
        """The distinct sentences nearest to an image.

        `image` is a file, the file name of a test image, or its row. If it is a test image, its own
        captions are right.
        """
        row = image if isinstance(image, int) else self._row_of(image)
        if row is None:
            assert isinstance(image, Path)
            name, scale = image.name, self.dataset.card.scale
            pixels = cache.decode(image, self.side, scale, self.resize)
            picture = cache.decode(image, sheet.SIDE, scale, self.resize)
        else:
            name, pixels, picture = self.name(row), self.pixels[row], self.picture(row)
        scores = self._sentence_features @ self.restored.encode_images(pixels[None])[0]
        right = set() if row is None else self._sentences_of(row)
        sentences = list(self._sentences.items())
        hits = []
        for score, n in _best(scores, top):
            sentence, (caption, owner) = sentences[n]
            hits.append(Hit(score, owner, caption, sentence in right if right else None))
        return Answer(name, hits, len(right) or None, len(sentences), pixels, picture)

    def focus_maps(self, answer: Answer) -> Tensor | None:
        """Focus maps `(N, h, w)`: of the query's image, or else of each image that was found.

        None for a method without focus maps.
        """
        if answer.pixels is not None:
            return self.restored.focus_maps(answer.pixels[None])
        return self.restored.focus_maps(self.pixels[[hit.row for hit in answer.hits]])

    def name(self, row: int) -> str:
        """The file name of an image."""
        return Path(self.dataset.samples[row].filename).name

    def picture(self, row: int) -> Pixels:
        """An image as a sheet shows it."""
        return cache.picture(self.dataset, row, sheet.SIDE, self.resize)

    def _sentences_of(self, row: int) -> set[str]:
        return set(map(spoken_form, self.dataset.samples[row].captions))

    def _row_of(self, image: Path) -> int | None:
        """The row of a test image, by its file or its name; None for any other file."""
        if image.is_file():
            paths = ((row, self.dataset.paths[row]) for row in self.rows)
            return next((row for row, path in paths if path and image.samefile(path)), None)
        named = {row: Path(self.dataset.samples[row].filename) for row in self.rows}
        found = [row for row, name in named.items() if _end_alike(image, name)]
        if not found:  # port_13.tif names the image that is here as port_13.png
            bare = image.parent / image.stem
            found = [r for r, name in named.items() if _end_alike(bare, name.parent / name.stem)]
        if len(found) == 1:
            return found[0]
        if found:
            names = few(str(named[row]) for row in found)
            raise UserError(f"{image} may be several test images: {names}; name one of them")
        raise UserError(
            f"{image} is neither a file nor the name of a test image of {self.dataset.card.name}; "
            "give the path of an image"
        )

    def draw(self, answer: Answer, title: str, notes: list[str], focus: Tensor | None) -> Image:
        """The picture sheet of an answer; `focus`: the focus maps to draw, if any."""
        maps = [None] * len(answer.hits) if focus is None else list(focus.numpy())
        labels = [
            f"{place}   {hit.score:.3f}{'  ✓' if hit.right else ''}"
            for place, hit in enumerate(answer.hits, 1)
        ]
        if answer.picture is not None:
            tile = sheet.Tile(answer.picture, [answer.query], focus=maps[0])
            captions = [
                (f"{label}   {set_text(hit.caption or '')}", bool(hit.right))
                for hit, label in zip(answer.hits, labels, strict=True)
            ]
            return sheet.draw_captions(title, notes, tile, captions)
        tiles = [
            sheet.Tile(
                self.picture(hit.row), [label, self.name(hit.row)], bool(hit.right), focus_map
            )
            for hit, label, focus_map in zip(answer.hits, labels, maps, strict=True)
        ]
        return sheet.draw_images(title, notes, tiles)

    def picture_sheet(self, answer: Answer, focus: bool) -> Image:
        """The picture sheet of `bench retrieve`; raises UserError if there is no focus to draw."""
        trial = self.restored.trial
        maps = self.focus_maps(answer) if focus else None
        if focus and maps is None:
            raise UserError(f"{trial.call_today} has no focus map to draw; leave out --focus")
        split = f"test split of {self.dataset.card.name}"
        about = "  ·  ".join([trial.call_today, trial.backbone, split, f"seed {trial.seed}"])
        query = f"“{set_text(answer.query)}”"
        title = query if answer.pixels is None else f"Captions for {answer.query}"
        return self.draw(answer, title, [about, answer.summary()], maps)

    def table(self, answer: Answer) -> Table:
        """An answer as a table for the terminal."""
        texts = ("caption",) if answer.pixels is not None else ("image", "scene", "a caption")
        table = Table(title=Text(answer.query), caption=answer.summary())
        table.add_column("rank", justify="right")
        table.add_column("score", justify="right")
        if answer.right is not None:
            table.add_column("right", justify="center")
        for name in texts:
            table.add_column(name, overflow="fold")
        for place, hit in enumerate(answer.hits, 1):
            image = self.dataset.samples[hit.row]
            about = [image.filename, image.scene or "", set_text(image.captions[0])]
            cells = about if hit.caption is None else [set_text(hit.caption)]
            if answer.right is not None:
                cells = ["yes" if hit.right else "", *cells]
            table.add_row(str(place), f"{hit.score:.3f}", *map(Text, cells))
        return table


def _end_alike(a: Path, b: Path) -> bool:
    """Whether two paths have the same name and, as far as both have folders, the same folders."""
    pairs = zip(reversed(a.parts), reversed(b.parts), strict=False)
    return bool(a.parts) and all(one == other for one, other in pairs)


def _best(scores: Tensor, top: int) -> list[tuple[float, int]]:
    """The highest scores with their indices; equal scores in the order of the indices."""
    ordered = torch.sort(scores, descending=True, stable=True)
    return list(zip(ordered.values[:top].tolist(), ordered.indices[:top].tolist(), strict=True))


def set_text(caption: str) -> str:
    """A caption without the space before punctuation: "a port ." -> "a port."."""
    return re.sub(r"\s+([.,;:!?])", r"\1", caption.strip())
