"""From a card to samples: read the annotation, check it, name scenes, split, find the images."""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from bench import UserError, at_home, synthetic
from bench.data import annotations, brightness, files, scenes
from bench.data.cardfile import Card, cards, data_root, short_hash
from bench.data.values import SPLITS
from methods.sample import Sample

UNPINNED = "the card pins no hash of the test images' names, so only their number was compared"
OTHER_TEXTS = (
    "captions or scenes differ from those that the card pins, so trials on them are kept apart "
    "from trials on the pinned ones"
)
FEW = 100
"""With fewer test images, R@10 of a random order is above 10%."""


@dataclass(frozen=True)
class Dataset:
    """All samples of a card, where their images are, and hashes.

    `hashes`: of each split's file names; `annotation` (`content_hash`) where it is not the one that
    the card pins.
    """

    card: Card
    folder: Path
    samples: list[Sample]
    paths: list[Path | None]
    hashes: dict[str, str]
    notes: Sequence[str] = ()

    def split(self, name: str) -> list[int]:
        """Rows of the samples of one split."""
        return [i for i, sample in enumerate(self.samples) if sample.split == name]

    @property
    def captions(self) -> list[str]:
        """All captions, those of each image in turn."""
        return [caption for sample in self.samples for caption in sample.captions]

    @property
    def scenes(self) -> list[str]:
        """Names of the scenes, sorted."""
        return sorted({s.scene for s in self.samples if s.scene is not None})


class Missing(UserError):
    """A data set or a part of it is missing; the message ends with the command that fetches it."""

    def __init__(self, card: Card, root: Path, what: str) -> None:
        super().__init__(f"{what}; to get it: {fetch_command(card, root)}")
        self.card, self.root = card, root


def fetch_command(card: Card, root: Path, word: str = "fetch") -> str:
    """What to type to fetch a data set into `root`; with the word `check`, to check it there."""
    is_shipped = cards().get(card.name) == card
    name = card.name if card.path is None or is_shipped else str(card.path)
    elsewhere = "" if root == data_root(None) else f" --data-root {shlex.quote(str(root))}"
    return f"bench data {word} {shlex.quote(name)}{elsewhere}"


def folder_of(card: Card, root: Path) -> Path:
    """The folder of a card's annotation and images."""
    return root / at_home(card.raw.get("folder", card.name))


def load(card: Card, root: Path, images: bool = True) -> Dataset:
    """Read a data set, compare it with its card, and find its images.

    images=False: no image is looked for and all `paths` are None, which is enough to plan trials.
    Raises Missing if something is absent, UserError if it is not the data that the card describes.
    """
    samples, notes = read(card, root)
    if wrong := faults(card, samples):
        raise UserError(wrong[0])
    if not card.counts.get("val"):
        samples = _hold_out(samples, card.raw.get("val_share", 0.1))
    matches = find_images(card, root, samples) if images else files.Matches([None] * len(samples))
    if matches.missing:
        how_many = f"{len(matches.missing)} of {len(samples)} images are missing"
        where = f"in {folder_of(card, root) / card.raw['images']}, the first is"
        raise Missing(card, root, f"{card.name}: {how_many} {where} {matches.first_missing}")
    # The hashes enter the identity of trials. That of the captions does so only if they are not
    # the ones that the card pins (`read` compared them), so that records of old stay as they are.
    hashes = {name: names_hash([s for s in samples if s.split == name]) for name in SPLITS}
    if card.annotation_hash is None or OTHER_TEXTS in notes:
        hashes["annotation"] = content_hash(samples)
    if card.test_hash is None and card.kind != "synthetic":
        notes.append(UNPINNED)
    notes += [*matches.notes, *brightness.warnings(matches.paths, card.scale)]
    notes += [*few_test_images(samples), *_blank_captions(samples)]
    return Dataset(card, folder_of(card, root), samples, matches.paths, hashes, notes)


def read(card: Card, root: Path) -> tuple[list[Sample], list[str]]:
    """The annotated samples with their scenes, splits as annotated, and notes for the user.

    Nothing is compared with the card's counts, and no image is looked for. Raises Missing if the
    annotation is absent, UserError if it cannot be used.
    """
    folder = folder_of(card, root)
    if card.kind == "synthetic":
        samples, notes = [], list[str]()
        for index in range(sum(synthetic.COUNTS.values())):
            scene_name, captions = synthetic.describe(index)
            name, split = synthetic.filename(index), synthetic.split(index)
            samples.append(Sample(name, tuple(captions), split, scene_name))
    else:
        try:
            reading = annotations.read(card.kind, folder, card.raw.get("annotation"))
        except annotations.Absent as absent:
            raise Missing(
                card,
                root,
                f"data set {card.name!r} is not there ({absent} is missing; if you have it "
                "elsewhere: --data-root DIR; --dataset synthetic needs no data and works at once)",
            ) from None
        samples, notes = reading.samples, list(reading.notes)
    scene = scenes.rule_of(card.name, card.raw.get("scenes", {}), folder, notes)
    samples = [replace(sample, scene=scene(sample)) for sample in samples]
    if card.annotation_hash not in (None, content_hash(samples)):
        notes.append(OTHER_TEXTS)
    return samples, notes


def find_images(card: Card, root: Path, samples: Sequence[Sample]) -> files.Matches:
    """The file of each sample; raises Missing without the folder, UserError if it is unreadable."""
    if card.kind == "synthetic":
        return files.Matches([None] * len(samples))
    images = folder_of(card, root) / card.raw["images"]
    if not images.is_dir():
        raise Missing(card, root, f"{card.name}: the image folder {images} is missing")
    rule = card.raw.get("scenes", {})
    names = [s.filename for s in samples]
    return files.match(card.name, images, names, partial(scenes.original_stem, rule))


def faults(card: Card, samples: Sequence[Sample]) -> list[str]:
    """How an annotation differs from what the card says, each a sentence with the remedy."""
    remedy = "use the published annotation, or write a card for yours (bench data new)"
    wrong = []
    are = ", ".join(f"{sum(s.split == name for s in samples):,} {name}" for name in SPLITS)
    stated = ", ".join(f"{card.counts.get(name, 0):,} {name}" for name in SPLITS)
    if are != stated:
        wrong.append(f"{card.name}: images per split are {are}, the card says {stated}: {remedy}")
    test = names_hash([s for s in samples if s.split == "test"])
    if card.test_hash not in (None, test):
        wrong.append(
            f"{card.name}: the test images are not the ones that the card pins (hash {test}, card "
            f"{card.test_hash}): {remedy}"
        )
    return wrong


def names_hash(samples: Sequence[Sample]) -> str:
    """Hash of the sorted file names without extension, which differs between copies."""
    return short_hash("\n".join(sorted(Path(s.filename).stem for s in samples)))


def content_hash(samples: Sequence[Sample]) -> str:
    """Hash of all captions, apart from white space, and scenes, in order of the file names."""
    content = sorted(
        (Path(s.filename).stem, s.scene or "", [" ".join(c.split()) for c in s.captions])
        for s in samples
    )
    return short_hash(json.dumps(content, ensure_ascii=False))


def spoken_form(caption: str) -> str:
    """A caption in lower case and without punctuation: what counts as the same sentence."""
    return " ".join(re.sub(r"[^\w\s]", " ", caption.lower()).split())


def _hold_out(samples: list[Sample], share: float) -> list[Sample]:
    """Move a share of the training images to val, chosen by a hash of the file name.

    At least one is moved, but never the only one.
    The name is taken without its folders, which differ between the forms of annotation.
    """

    def order(sample: Sample) -> tuple[bytes, str]:
        name = PurePosixPath(sample.filename).name
        return hashlib.sha256(f"val/{name}".encode()).digest(), sample.filename

    train = sorted((s for s in samples if s.split == "train"), key=order)
    count = max(1, round(share * len(train))) if len(train) > 1 else 0
    held_out = set(train[:count])
    return [replace(s, split="val") if s in held_out else s for s in samples]


def few_test_images(samples: Sequence[Sample]) -> list[str]:
    """The warning for a test set so small that recall says little; else empty."""
    images = sum(sample.split == "test" for sample in samples)
    if not 0 < images < FEW:
        return []
    chance = " / ".join(f"{100 * min(k / images, 1):.0f}" for k in (1, 5, 10))
    return [
        f"the test set has {images} images, so a random order already reaches text-to-image R@1 / "
        f"R@5 / R@10 of {chance}; compare methods by R@1 or take more test images"
    ]


def _blank_captions(samples: Sequence[Sample]) -> list[str]:
    """A note on training captions without a word, which are not trained on; else empty."""
    train = [[spoken_form(c) for c in s.captions] for s in samples if s.split == "train"]
    blank = sum(captions.count("") for captions in train)
    silent = sum(not any(captions) for captions in train)
    images = f", and with them {silent:,} images that have no other" if silent else ""
    note = f"training captions without a word, left out of training: {blank:,}{images}"
    return [note] if blank else []
