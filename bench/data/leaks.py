"""Leakage between data sets: test images of one that are also in train or val of another.

Two images count as the same by their captions if at least two sentences of six words or more are
equal (case and punctuation aside), and by their pixels if `bench.data.twins` calls them near.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import UserError, data
from bench.console import few
from bench.data import Card, Dataset, cache, contact, spoken_form, twins
from bench.data.twins import Progress, Twins
from methods.sample import Sample

WORDS = 6
"""Sentences with fewer words are equal by chance too often to count."""
SENTENCES = 2
"""So many equal sentences make two images count as the same."""


@dataclass(frozen=True)
class SharedCaptions:
    """A test and a training image (their file names), and the sentences that both carry."""

    images: tuple[str, str]
    sentences: list[str]


@dataclass(frozen=True)
class Leaks:
    """What the test split of one data set shares with train and val of another."""

    test: Dataset
    train: Dataset
    by_captions: list[SharedCaptions]
    by_pixels: list[Twins]
    """The closest first."""
    notes: list[str]
    """Why the images could not be compared; empty if they were."""
    not_compared: int = 0
    """Images of the two data sets that are missing or cannot be read, where the others were."""

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return {
            "name": self.test.card.name,
            "other": self.train.card.name,
            "test_images": len(self.test.samples),
            "train_images": len(self.train.samples),
            "by_captions": [asdict(pair) for pair in self.by_captions],
            "by_pixels": [asdict(pair) for pair in self.by_pixels],
            "images_compared": not self.notes,
            "images_not_compared": self.not_compared,
            "notes": self.notes,
            "leaked_by_captions": len(_tested(self.by_captions)),
            "leaked_by_pixels": len(_tested(self.by_pixels)),
        }

    def lines(self) -> Iterator[str]:
        """The findings, one line each."""
        captions, pixels = _tested(self.by_captions), _tested(self.by_pixels)
        name, other = self.test.card.name, self.train.card.name
        remedy = f"do not train on both, or leave those out of {other}"
        shared = [
            f"{' and '.join(p.images)} ({len(p.sentences)} captions)" for p in self.by_captions
        ]
        yield (
            f"against {other} ({len(self.train.samples):,} images in train and val): "
            f"{len(captions)} of {len(self.test.samples):,} test images of {name} share captions "
            f"with one of its images ({SENTENCES} or more of {WORDS} words or more): "
            + (few(shared, mark="; ") or "none")
        )
        if not self.notes:
            yield (
                f"against {other}: {len(pixels)} test images are in it as pictures, equal or "
                f"nearly so: {few(map(str, self.by_pixels), mark='; ') or 'none'}"
            )
        if self.not_compared:
            absent = f"{self.not_compared:,} images are missing or cannot be read"
            yield f"against {other}: {absent}, so they were not compared"
        if captions | pixels and not self.notes:
            yield (
                f"LEAK {len(captions | pixels)} test images of {name} are in train or val of "
                f"{other} ({len(pixels)} by their pictures, {len(captions)} by their captions, "
                f"some by both): {remedy}"
            )
        elif captions:
            yield (
                f"POSSIBLE LEAK: by their captions {len(captions)} test images of {name} may be in "
                f"train or val of {other}; the pictures could not be compared. Until they are, "
                f"{remedy}"
            )
        yield from self.notes


def _tested(pairs: Sequence[SharedCaptions | Twins]) -> set[str]:
    """The test images of pairs."""
    return {pair.images[0] for pair in pairs}


def between(card: Card, other: Card, root: Path, progress: Progress) -> Leaks:
    """The leaks from `card`'s test into `other`'s train and val.

    If images are absent, only captions are compared, and a note says so. Raises UserError if an
    annotation cannot be read.
    """
    test, train = _part(card, root, test=True), _part(other, root, test=False)
    notes = [f"captions alone were compared: {note}" for note in (*test.notes, *train.notes)]
    pairs, unseen = list[Twins](), 0
    if not notes:
        decoded = [
            twins.decode(p.card, p.samples, p.paths, progress=progress) for p in (test, train)
        ]
        pairs = twins.find(*decoded)
        unseen = sum(int((~part.seen).sum()) for part in decoded)
    return Leaks(test, train, by_captions(test.samples, train.samples), pairs, notes, unseen)


def by_captions(tests: Sequence[Sample], trains: Sequence[Sample]) -> list[SharedCaptions]:
    """Pairs of images that share enough long sentences, those that share most first."""
    carriers: dict[str, list[int]] = {}
    for row, sample in enumerate(trains):
        for sentence in _long(sample):
            carriers.setdefault(sentence, []).append(row)
    pairs = []
    for sample in tests:
        sentences = _long(sample)
        shared = Counter(row for sentence in sentences for row in carriers.get(sentence, []))
        for row, count in shared.items():
            if count >= SENTENCES:
                same = sorted(sentences & _long(trains[row]))
                pairs.append(SharedCaptions((sample.filename, trains[row].filename), same))
    return sorted(pairs, key=lambda pair: (-len(pair.sentences), pair.images))


def _long(sample: Sample) -> set[str]:
    """The sentences of an image that are long enough to tell it from others."""
    sentences = {spoken_form(caption) for caption in sample.captions}
    return {sentence for sentence in sentences if len(sentence.split()) >= WORDS}


def _part(card: Card, root: Path, test: bool) -> Dataset:
    """The test split, or train and val; if images cannot be looked at, a note says why."""
    samples, _ = data.read(card, root)
    samples = [sample for sample in samples if (sample.split == "test") == test]
    paths: list[Path | None] = [None] * len(samples)
    notes: list[str] = []
    try:
        paths = data.find_images(card, root, samples).paths
    except UserError as error:
        notes = [str(error)]
    return Dataset(card, data.folder_of(card, root), samples, paths, {}, notes)


def sheet(leaks: Sequence[Leaks], out: Path, number: int = 12) -> int:
    """Write a PNG of pairs side by side, evenly from the closest to the farthest, if there are any.

    Returns how many pairs there are.
    """
    pairs = [(leak, pair) for leak in leaks for pair in leak.by_pixels]  # the closest first
    step = max(len(pairs) / number, 1)
    cells = []
    for leak, pair in (pairs[int(k * step)] for k in range(min(number, len(pairs)))):
        names, pictures = [], []
        for part, name in zip((leak.test, leak.train), pair.images, strict=True):
            row = next(row for row, s in enumerate(part.samples) if s.filename == name)
            names.append(f"{part.card.name} {name}")
            pictures.append(cache.picture(part, row, contact.SIDE))
        cells.append(contact.Cell(" = ".join(names), pictures))
    if cells:
        contact.write(cells, out)
    return len(pairs)
