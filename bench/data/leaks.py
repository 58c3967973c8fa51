"""Leakage between data sets: test images of one that train or val of another has too.

Two images count as the same by their captions if at least two sentences of six words or more are
equal (case and punctuation aside), and by their pixels if `bench.data.twins` calls them near.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import UserError, data
from bench.data import Card, Dataset, cache, contact, spoken_form, twins
from bench.data.twins import Progress
from methods.sample import Sample

WORDS = 6
"""Sentences with fewer words are equal by chance too often to count."""
SENTENCES = 2
"""So many equal sentences make two images count as the same."""
SHOWN = 3
"""Pairs named as examples."""

Pair = tuple[Dataset, int, Dataset, int]
"""A test image and a training image that show the same: each a data set and a row."""


@dataclass(frozen=True)
class Leaks:
    """What the test split of `name` shares with train and val of `other`, which may train."""

    name: str
    other: str
    test_images: int
    train_images: int
    by_captions: list[dict[str, Any]]
    """Pairs: `images` (test, train) and the `sentences` they share."""
    by_pixels: list[dict[str, Any]] = field(default_factory=list)
    """Pairs: `images` (test, train), `same_pixels`, `grey_levels`; the closest first."""
    images_compared: bool = True
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return asdict(self) | {
            "leaked_by_captions": len(_tested(self.by_captions)),
            "leaked_by_pixels": len(_tested(self.by_pixels)),
        }

    def lines(self) -> list[str]:
        """The findings, one line each."""
        captions, pixels = _tested(self.by_captions), _tested(self.by_pixels)
        where = f"train or val of {self.other}"
        apart = f"do not train on both, or leave those out of {self.other}"
        said = [
            f"against {self.other} ({self.train_images:,} images in train and val): "
            f"{len(captions)} of {self.test_images:,} test images of {self.name} share captions "
            f"with one of its images ({SENTENCES} or more of {WORDS} words or more)"
            f"{_examples(self.by_captions, ' and ')}"
        ]
        if self.images_compared:
            said.append(
                f"against {self.other}: {len(pixels)} test images are in it as pictures, equal or "
                f"nearly so{_examples(self.by_pixels, ' = ')}"
            )
            if captions | pixels:
                said.append(
                    f"LEAK {len(captions | pixels)} test images of {self.name} are in {where} "
                    f"({len(pixels)} by their pictures, {len(captions)} by their captions, some by "
                    f"both): {apart}"
                )
        elif captions:
            said.append(
                f"POSSIBLE LEAK: by their captions {len(captions)} test images of {self.name} may "
                f"be in {where}; the pictures could not be compared. Until they are, {apart}"
            )
        return said + self.notes


def _tested(pairs: list[dict[str, Any]]) -> set[str]:
    """The test images of pairs."""
    return {pair["images"][0] for pair in pairs}


def _examples(pairs: list[dict[str, Any]], between: str) -> str:
    """The first pairs, as examples; the pairs that share most come first."""
    shown = []
    for pair in pairs[:SHOWN]:
        count = f" ({len(pair['sentences'])} captions)" if "sentences" in pair else ""
        shown.append(between.join(pair["images"]) + count)
    more = "; ..." if len(pairs) > SHOWN else ""
    return f": {'; '.join(shown)}{more}" if pairs else ""


def between(
    card: Card, other: Card, root: Path, progress: Progress | None = None
) -> tuple[Leaks, list[Pair]]:
    """The leaks from `card`'s test into `other`'s train and val, and the pairs of pictures.

    If images are absent, only captions are compared, and a note says so. Raises UserError if an
    annotation cannot be read.
    """
    test, train = _part(card, root, test=True), _part(other, root, test=False)
    notes = [f"captions alone were compared: {note}" for note in (*test.notes, *train.notes)]
    looks = [
        twins.look(part.card, part.samples, part.paths, progress=progress)
        for part in (() if notes else (test, train))
    ]
    matches = twins.matches(*looks) if looks else []
    leaks = Leaks(
        name=card.name,
        other=other.name,
        test_images=len(test.samples),
        train_images=len(train.samples),
        by_captions=by_captions(test.samples, train.samples),
        by_pixels=[
            {
                "images": [test.samples[m.first].filename, train.samples[m.second].filename],
                "same_pixels": not m.differ,
                "grey_levels": round(m.grey_levels, 2),
            }
            for m in matches
        ],
        images_compared=not notes,
        notes=notes,
    )
    return leaks, [(test, m.first, train, m.second) for m in matches]


def by_captions(tests: Sequence[Sample], trains: Sequence[Sample]) -> list[dict[str, Any]]:
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
                pairs.append({"images": [sample.filename, trains[row].filename], "sentences": same})
    return sorted(pairs, key=lambda pair: (-len(pair["sentences"]), pair["images"]))


def _long(sample: Sample) -> set[str]:
    """The sentences of an image that are long enough to tell it from others."""
    sentences = {spoken_form(caption) for caption in sample.captions}
    return {sentence for sentence in sentences if len(sentence.split()) >= WORDS}


def _part(card: Card, root: Path, test: bool) -> Dataset:
    """The test split, or train and val; if images cannot be looked at, a note says why."""
    samples, notes = data.read(card, root)[0], tuple[str, ...]()
    try:
        paths = data.find_images(card, root, samples).paths
    except UserError as error:
        paths, notes = [None] * len(samples), (str(error),)
    rows = [row for row, sample in enumerate(samples) if (sample.split == "test") == test]
    kept = [samples[row] for row in rows], [paths[row] for row in rows]
    return Dataset(card, data.folder_of(card, root), *kept, {}, notes)


def sheet(pairs: Sequence[Pair], out: Path, number: int = 12) -> None:
    """Write a PNG of pairs side by side, evenly from the closest to the farthest."""
    step = max(len(pairs) / number, 1)
    cells = []
    for k in range(min(number, len(pairs))):
        test, first, train, second = pairs[int(k * step)]
        sides = ((test, first), (train, second))
        names = [f"{part.card.name} {part.samples[row].filename}" for part, row in sides]
        pictures = [cache.picture(part, row, contact.SIDE) for part, row in sides]
        cells.append(contact.Cell(" = ".join(names), pictures))
    contact.write(cells, out)
