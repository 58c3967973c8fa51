"""Leakage between data sets: test images of one that train or val of another has too.

Two images count as one by their captions where at least two sentences of six words or more are the
same in both (case and punctuation aside), and by their pixels where `bench.data.twins`
calls them near.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import UserError, data
from bench.data import Card, Dataset, cache, spoken_form, twins
from bench.data.check import SIDE, Progress
from methods.sample import Sample

WORDS = 6
"""Shorter sentences occur by chance."""
SENTENCES = 2
SHOWN = 3
"""Pairs named as examples."""


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

    def leaked(self, pairs: Sequence[dict[str, Any]]) -> list[str]:
        """The test images of pairs, each once."""
        return sorted({pair["images"][0] for pair in pairs})

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return {
            **asdict(self),
            "leaked_by_captions": len(self.leaked(self.by_captions)),
            "leaked_by_pixels": len(self.leaked(self.by_pixels)),
        }

    def lines(self) -> list[str]:
        """The findings, one line each."""
        captions, pixels = self.leaked(self.by_captions), self.leaked(self.by_pixels)
        there = f"train or val of {self.other}"
        head = f"against {self.other} ({self.train_images:,} images in train and val)"
        long = f"{SENTENCES} or more of {WORDS} words or more"
        said = [
            f"{head}: {len(captions)} of {self.test_images:,} test images of {self.name} share "
            f"captions with one of its images ({long}){_examples(self.by_captions, ' and ')}"
        ]
        apart = f"do not train on both, or leave those out of {self.other}"
        if not self.images_compared and captions:
            said.append(
                f"POSSIBLE LEAK: by their captions {len(captions)} test images of {self.name} may "
                f"be in {there}; the pictures could not be compared. Until they are, {apart}"
            )
        union = {*captions, *pixels}
        if self.images_compared:
            said.append(
                f"against {self.other}: {len(pixels)} test images are in it as pictures, equal or "
                f"nearly so{_examples(self.by_pixels, ' = ')}"
            )
        if self.images_compared and union:
            said.append(
                f"LEAK {len(union)} test images of {self.name} are in {there} ({len(pixels)} by "
                f"their pictures, {len(captions)} by their captions, some by both): {apart}"
            )
        return said + self.notes


def _examples(pairs: list[dict[str, Any]], between: str) -> str:
    """The first pairs, those that share most."""
    shown = "; ".join(
        between.join(pair["images"])
        + (f" ({len(pair['sentences'])} captions)" if "sentences" in pair else "")
        for pair in pairs[:SHOWN]
    )
    return f": {shown}{'; ...' if len(pairs) > SHOWN else ''}" if pairs else ""


def between(
    card: Card, other: Card, root: Path, progress: Progress | None = None
) -> tuple[Leaks, list[tuple[Dataset, int, Dataset, int]]]:
    """The leaks from `card`'s test into `other`'s train and val, and the pairs of pictures.

    Where images are absent, captions alone are compared, and a note says so. Raises UserError
    where an annotation cannot be read.
    """
    sets, notes = [_read(one, root) for one in (card, other)], []
    chosen = [
        [row for row, s in enumerate(found.samples) if (s.split == "test") == wanted]
        for found, wanted in zip(sets, (True, False), strict=True)
    ]
    tests, trains = (
        [found.samples[row] for row in rows] for found, rows in zip(sets, chosen, strict=True)
    )
    lacking = [found for found in sets if found.notes]
    for found in lacking:
        notes.append(f"captions alone were compared: {found.notes[0]}")
    pairs: list[dict[str, Any]] = []
    rows_: list[tuple[Dataset, int, Dataset, int]] = []
    if not lacking:
        looks = [
            twins.look(found.card, samples, [found.paths[r] for r in rows], SIDE, progress)
            for found, samples, rows in zip(sets, (tests, trains), chosen, strict=True)
        ]
        seen = [np.nonzero(look.seen)[0] for look in looks]
        first, second = (look.pixels[rows] for look, rows in zip(looks, seen, strict=True))
        hits = [
            (not bool((first[a] == second[b]).all()), apart, int(seen[0][a]), int(seen[1][b]))
            for a, b, apart in twins.near(first, second)
        ]
        for differ, apart, a, b in sorted(hits):
            names = [tests[a].filename, trains[b].filename]
            pairs.append(
                {"images": names, "same_pixels": not differ, "grey_levels": round(apart, 2)}
            )
            rows_.append((sets[0], chosen[0][a], sets[1], chosen[1][b]))
    leaks = Leaks(
        name=card.name,
        other=other.name,
        test_images=len(tests),
        train_images=len(trains),
        by_captions=by_captions(tests, trains),
        by_pixels=pairs,
        images_compared=not lacking,
        notes=notes,
    )
    return leaks, rows_


def by_captions(tests: Sequence[Sample], trains: Sequence[Sample]) -> list[dict[str, Any]]:
    """Pairs of images that share enough long sentences, those that share most first."""
    carriers: dict[str, list[int]] = {}
    for row, sample in enumerate(trains):
        for sentence in _long(sample):
            carriers.setdefault(sentence, []).append(row)
    found = []
    for sample in tests:
        sentences = _long(sample)
        shared = Counter(row for sentence in sentences for row in carriers.get(sentence, []))
        for row, count in shared.items():
            if count >= SENTENCES:
                same = sorted(sentences & _long(trains[row]))
                found.append({"images": [sample.filename, trains[row].filename], "sentences": same})
    return sorted(found, key=lambda pair: (-len(pair["sentences"]), pair["images"]))


def _long(sample: Sample) -> set[str]:
    said = {spoken_form(caption) for caption in sample.captions}
    return {sentence for sentence in said if len(sentence.split()) >= WORDS}


def _read(card: Card, root: Path) -> Dataset:
    """A data set whose notes say why its images cannot be looked at; no notes: they can."""
    samples, _ = data.read(card, root)
    paths: list[Path | None] = [None] * len(samples)
    notes: tuple[str, ...] = ()
    try:
        paths = data.find_images(card, root, samples).paths
    except UserError as error:
        notes = (str(error),)
    return Dataset(card, data.folder_of(card, root), samples, paths, {}, notes)


def sheet(pairs: Sequence[tuple[Dataset, int, Dataset, int]], out: Path, number: int = 12) -> None:
    """Write a PNG of pairs side by side, evenly from the closest to the farthest."""
    from PIL import Image, ImageDraw, ImageFont

    from bench.data.contact import INK, PAPER, write

    side, font = 200, ImageFont.load_default(size=13)
    step = max(len(pairs) / number, 1)
    shown = [pairs[int(k * step)] for k in range(min(number, len(pairs)))]
    wide, tall = 2 * side + 30, side + 30
    picture = Image.new("RGB", (20 + 2 * wide, 20 + tall * max(-(-len(shown) // 2), 1)), PAPER)
    draw = ImageDraw.Draw(picture)
    for place, (first, a, second, b) in enumerate(shown):
        x, y = 20 + place % 2 * wide, 10 + place // 2 * tall
        for shift, (found, row) in zip((0, side + 4), ((first, a), (second, b)), strict=True):
            pixels = cache.picture(found, row, side)
            picture.paste(Image.fromarray(pixels), (x + shift, y + 20))
            words = f"{found.card.name} {found.samples[row].filename}"
            draw.text((x + shift, y), words[:30], fill=INK, font=font)
    write(picture, out)
