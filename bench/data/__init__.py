"""Data sets: a card describes one, and `load` reads it into a `Dataset`.

    dataset = load(card("ucm"), data_root(None))

The way there: cardfile (the card) -> annotations (its captions) -> files (its images) -> dataset.
`cache` then decodes the images.
"""

from bench.data.cardfile import Card, card, cards, data_root, short_hash
from bench.data.dataset import (
    OTHER_TEXTS,
    Dataset,
    Missing,
    content_hash,
    faults,
    fetch_command,
    few_test_images,
    find_images,
    folder_of,
    load,
    names_hash,
    read,
    spoken_form,
)
from bench.data.values import SPLITS

__all__ = [
    "OTHER_TEXTS",
    "SPLITS",
    "Card",
    "Dataset",
    "Missing",
    "card",
    "cards",
    "content_hash",
    "data_root",
    "faults",
    "fetch_command",
    "few_test_images",
    "find_images",
    "folder_of",
    "load",
    "names_hash",
    "read",
    "short_hash",
    "spoken_form",
]
