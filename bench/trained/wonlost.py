"""A picture sheet of a comparison: queries won and lost, with both models' nearest answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, perquery
from bench.data import Dataset, cache, spoken_form
from bench.trained import retrieve, sheet
from bench.trained.compare import Comparison
from bench.trained.restore import restore

if TYPE_CHECKING:
    from PIL.Image import Image

EACH = 2
"""Captions shown of those won and of those lost, and as many images."""
TOP = 5
"""Answers shown to each."""


def draw(comparison: Comparison, record_a: Path, record_b: Path, root: Path) -> "Image":
    """Queries whose rank changed by the largest factor, with both models' five nearest answers.

    Captions with their nearest images first, then images with their nearest captions; focus maps
    of a model that offers them. `root` is the data root. Raises UserError where weights or data
    are not there (bench.trained.restore).
    """
    models = [restore(path, root) for path in (record_a, record_b)]
    dataset = models[0].dataset
    assert dataset is not None
    rows = dataset.split("test")
    captions = [caption for row in rows for caption in dataset.samples[row].captions]
    ranks = [perquery.load(path).ranks for path in (record_a, record_b)]
    images = [retrieve.split_features(model) for model in models]
    sentences = [retrieve.split_sentences(model) for model in models]

    def of_text(n: int, query: int, title: str, note: str) -> "Image":
        hits = retrieve.images_for(models[n], captions[query], TOP, images[n]).hits
        maps = retrieve.focus_of(models[n], [hit.row for hit in hits])
        tiles = [
            sheet.Tile(
                cache.picture(dataset, hit.row, sheet.SIDE, models[n].backbone.preprocess.resize),
                f"{hit.score:.3f}",
                _name(dataset, hit.row),
                hit.right,
                maps[place] if maps else None,
            )
            for place, hit in enumerate(hits)
        ]
        shown = f"“{retrieve.set_text(captions[query])}”"
        return sheet.draw_images(f"{title}{shown}" if title else "", [note], tiles)

    def of_image(n: int, query: int, title: str, note: str) -> "Image":
        row = rows[query]
        hits = retrieve.captions_for(models[n], row, TOP, sentences[n]).hits
        maps = retrieve.focus_of(models[n], [row])
        name = _name(dataset, row)
        picture = cache.picture(dataset, row, sheet.SIDE, models[n].backbone.preprocess.resize)
        tile = sheet.Tile(picture, "", name, None, maps[0] if maps else None)
        said = [(f"{h.score:.3f}", retrieve.set_text(h.caption or ""), h.right) for h in hits]
        return sheet.draw_captions(f"{title}{name}" if title else "", [note], tile, said)

    sheets: list[Image] = []
    ways: tuple[tuple[str, str, Callable[[int], str], Callable[..., Image]], ...] = (
        ("t2i", "own image", lambda query: spoken_form(captions[query]), of_text),
        ("i2t", "best own caption", lambda query: str(rows[query]), of_image),
    )
    for way, what, key, of in ways:
        for word, queries in (("won", comparison.won[way]), ("lost", comparison.lost[way])):
            times = {query: ranks[0][way][query] / ranks[1][way][query] for query in queries}
            ordered = sorted(queries, key=times.__getitem__, reverse=word == "won")
            for query in _distinct(ordered, key):
                for n, letter in enumerate("AB"):
                    name = (comparison.a, comparison.b)[n]
                    note = f"{letter}  {name}: rank {ranks[n][way][query]:g} of its {what}"
                    sheets.append(of(n, query, f"B {word}: " if n == 0 else "", note))
    if not sheets:
        raise UserError("both rank every query alike, so there is none won or lost to draw")
    return sheet.stack(sheets)


def _distinct(queries: Sequence[int], key: Callable[[int], str]) -> list[int]:
    """The first few queries that are not the same."""
    first: dict[str, int] = {}
    for query in queries:
        first.setdefault(key(query), query)
    return list(first.values())[:EACH]


def _name(dataset: Dataset, row: int) -> str:
    return Path(dataset.samples[row].filename).name
