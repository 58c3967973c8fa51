"""A picture sheet of a comparison: captions won and lost, with both models' nearest images."""

from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, cache, retrieve, sheet
from bench.compare import Comparison, load_ranks
from bench.data import Dataset, spoken_form
from bench.restore import restore

if TYPE_CHECKING:
    from PIL.Image import Image

EACH = 3
"""Captions shown of those won, and of those lost."""


def draw(comparison: Comparison, record_a: Path, record_b: Path, root: Path) -> "Image":
    """Captions whose rank changed by the largest factor, with both models' five nearest images.

    `root` is the data root. Raises UserError where weights or data are not there (bench.restore).
    """
    models = [restore(path, root) for path in (record_a, record_b)]
    dataset = models[0].dataset
    assert dataset is not None
    captions = [c for row in dataset.split("test") for c in dataset.samples[row].captions]
    ranks = [load_ranks(path)["t2i"] for path in (record_a, record_b)]
    features = [retrieve.split_features(model) for model in models]
    sheets = []
    for word, queries in (("won", comparison.won["t2i"]), ("lost", comparison.lost["t2i"])):
        times = {query: ranks[0][query] / ranks[1][query] for query in queries}
        queries = sorted(queries, key=times.__getitem__, reverse=word == "won")
        for query in _distinct(queries, captions):
            for n, letter in enumerate("AB"):
                name = (comparison.a, comparison.b)[n]
                hits = retrieve.images_for(models[n], captions[query], 5, features[n]).hits
                note = f"{letter}  {name}: rank {ranks[n][query]:g} of the caption's own image"
                title = f"B {word}: “{retrieve.set_text(captions[query])}”" if n == 0 else ""
                tiles = [_tile(dataset, hit) for hit in hits]
                sheets.append(sheet.draw_images(title, [note], tiles))
    if not sheets:
        raise UserError("both rank every caption alike, so there is no query won or lost to draw")
    return sheet.stack(sheets)


def _distinct(queries: list[int], captions: list[str]) -> list[int]:
    """The first few queries of different sentences."""
    first: dict[str, int] = {}
    for query in queries:
        first.setdefault(spoken_form(captions[query]), query)
    return list(first.values())[:EACH]


def _tile(dataset: Dataset, hit: retrieve.Hit) -> sheet.Tile:
    name = Path(dataset.samples[hit.row].filename).name
    return sheet.Tile(
        cache.picture(dataset, hit.row, sheet.SIDE), f"{hit.score:.3f}", name, hit.right
    )
