"""`bench data check`: what is wrong with a data set, and what that means for its recall."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import UserError, data
from bench.data import SPLITS, Card, brightness, cut, few_test_images, spoken_form, twins
from bench.data.cut import Cut
from bench.data.twins import Progress, Twins
from methods.sample import Sample

Splits = dict[str, list[Sample]]


@dataclass(frozen=True)
class Words:
    """Captions of one split: rows are captions, a sentence is a caption's spoken form."""

    images: int
    rows: int
    sentences: int
    blank: int
    """Rows without a word."""
    images_without_words: int
    repeating_images: int
    """Images all of whose captions are one sentence."""
    shared_rows: int
    """Rows whose sentence another image of the split carries too."""
    rows_in_train: int
    """Rows whose sentence occurs in train (0 for train itself)."""
    rows_in_train_and_val: int
    """Rows of test whose sentence occurs in train or val (0 for these)."""


@dataclass(frozen=True)
class Longest:
    """The longest caption; `tokens` is None if they were not counted."""

    tokens: int | None
    filename: str
    caption: str


@dataclass(frozen=True)
class Images:
    """The images of a data set; `compared` is False if their folder is absent."""

    compared: bool = True
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    undecodable: dict[str, str] = field(default_factory=dict)
    """File names, each with what is wrong."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Images of each size in pixels, `256 x 256`, the most frequent first."""
    odd_sized: list[str] = field(default_factory=list)
    """Images of another size than the most frequent one."""
    twins: list[Twins] = field(default_factory=list)
    """Pairs of (nearly) equal images."""

    def leaks(self, split: str) -> list[Twins]:
        """The pairs of equal images between this split and train."""
        return [pair for pair in self.twins if set(pair.splits) == {"train", split}]


@dataclass(frozen=True)
class Report:
    """The result of a check; `faults` say how the data differs from what the card describes."""

    name: str
    title: str
    faults: list[str]
    notes: list[str]
    counts: dict[str, int]
    published: dict[str, int]
    test_images: list[str]
    test_hash: str
    published_test_hash: str | None
    words: dict[str, Words]
    ceiling: dict[str, float]
    """The best strict t2i recall on test that shared sentences leave, percent."""
    longest: Longest | None
    cut: dict[str, int]
    """Captions of each split that are longer than the context, which cuts off their end."""
    context_length: int
    """Tokens that the text tower takes; 0 if nothing was counted."""
    backbone: str
    """Whose text tower that is; `CLIP` where none was named."""
    scenes: dict[str, dict[str, int]]
    """Images of each scene, per split."""
    unlabelled: list[str]
    images: Images

    @property
    def published_test_set(self) -> bool:
        """Whether the test images are those of the card: their number, and names if pinned."""
        same = self.counts["test"] == self.published["test"]
        return same and self.published_test_hash in (None, self.test_hash)

    @property
    def incomplete(self) -> list[str]:
        """Why it is not the data of the card, or not all of it; empty if nothing is wrong."""
        images = self.images
        reasons = {
            "it is not the data of the card": self.faults,
            "no image could be looked at": not images.compared,
            f"{len(images.missing):,} images are missing": images.missing,
            f"{len(images.undecodable):,} images cannot be read": images.undecodable,
        }
        return [reason for reason, holds in reasons.items() if holds]

    def as_json(self) -> dict[str, Any]:
        """Everything as `--json` prints it; the fields of `images` are on the top level."""
        report: dict[str, Any] = asdict(self)
        report |= report.pop("images")
        report["images_compared"] = report.pop("compared")
        return report | {"published_test_set": self.published_test_set}


def check(
    card: Card,
    root: Path,
    tokenizer: Any = None,
    progress: Progress = lambda done, total: None,
    backbone: str = "CLIP",
) -> Report:
    """Look at every caption and every image of a data set; nothing is written.

    tokenizer: that of `backbone`, which cuts long captions off; without it no tokens are counted.
    Raises UserError if the annotation is absent or cannot be read at all.
    """
    samples, notes = data.read(card, root)
    images, image_notes = _images(card, root, samples, progress)
    by_split = {split: [s for s in samples if s.split == split] for split in SPLITS}
    test, captions = by_split["test"], [c for s in samples for c in s.captions]
    cut_off = Cut() if tokenizer is None else cut.find(tokenizer, captions)
    sentence = dict(zip(captions, cut_off.sentences(captions), strict=True))
    return Report(
        name=card.name,
        title=card.title,
        faults=data.faults(card, samples),
        notes=[*notes, *image_notes, *few_test_images(test)],
        counts={split: len(rows) for split, rows in by_split.items()},
        published={split: card.counts.get(split, 0) for split in SPLITS},
        test_images=[s.filename for s in test],
        test_hash=data.names_hash(test),
        published_test_hash=card.test_hash,
        words=words(by_split, sentence.__getitem__),
        ceiling=_ceiling(test, sentence),
        longest=_longest(samples, tokenizer),
        cut=cut_off.by_split(samples),
        context_length=cut_off.length,
        backbone=backbone,
        scenes={
            split: dict(sorted(Counter(s.scene for s in rows if s.scene).items()))
            for split, rows in by_split.items()
            if rows
        },
        unlabelled=[s.filename for s in samples if s.scene is None],
        images=images,
    )


def _images(
    card: Card, root: Path, samples: list[Sample], progress: Progress
) -> tuple[Images, list[str]]:
    """The images, and notes for the user."""
    try:
        matches = data.find_images(card, root, samples)
    except UserError as error:
        return Images(compared=False), [f"no image was looked at: {error}"]
    decoded = twins.decode(card, samples, matches.paths, progress=progress)
    named = zip(samples, decoded.sizes, strict=True)
    sizes = {sample.filename: f"{size[0]} x {size[1]}" for sample, size in named if size}
    counts = dict(Counter(sizes.values()).most_common())
    usual_size = next(iter(counts), None)
    images = Images(
        missing=matches.missing,
        extra=[path.name for path in matches.extra],
        undecodable=decoded.undecodable,
        sizes=counts,
        odd_sized=[name for name, size in sizes.items() if size != usual_size],
        twins=twins.find(decoded, decoded),
    )
    return images, [*matches.notes, *brightness.warnings(matches.paths, card.scale)]


def words(by_split: Splits, sentence: Callable[[str], str] = spoken_form) -> dict[str, Words]:
    """What the captions of each split that has images repeat, share and lack.

    sentence: a caption -> a key that is equal for captions which count as one sentence.
    """
    keys_of = {
        split: [[sentence(caption) for caption in s.captions] for s in samples]
        for split, samples in by_split.items()
    }
    known = {split: {key for keys in images for key in keys} for split, images in keys_of.items()}
    counted = {}
    for split, images in keys_of.items():
        if not images:
            continue
        rows = [key for keys in images for key in keys]
        carriers = Counter(key for keys in images for key in set(keys))
        # What test shares with training data is counted twice: with train alone, and with val too.
        train = set[str]() if split == "train" else known["train"]
        both = known["train"] | known["val"] if split == "test" else set[str]()
        counted[split] = Words(
            images=len(images),
            rows=len(rows),
            sentences=len(known[split]),
            blank=rows.count(""),
            images_without_words=sum(not any(keys) for keys in images),
            repeating_images=sum(len(keys) > 1 and len(set(keys)) == 1 for keys in images),
            shared_rows=sum(carriers[key] > 1 for key in rows),
            rows_in_train=sum(key in train for key in rows),
            rows_in_train_and_val=sum(key in both for key in rows),
        )
    return counted


def _ceiling(test: Sequence[Sample], sentence: dict[str, str]) -> dict[str, float]:
    """`bench.retrieval.t2i_ceiling` of a test set; empty if it has no captions."""
    from bench.retrieval import t2i_ceiling  # imports torch

    rows = [(i, sentence[caption]) for i, s in enumerate(test) for caption in s.captions]
    return t2i_ceiling([i for i, _ in rows], [key for _, key in rows]) if rows else {}


def _longest(samples: Sequence[Sample], tokenizer: Any) -> Longest | None:
    """The longest caption and its image: in tokens, start and end included, or in letters."""
    owner = {caption: s.filename for s in samples for caption in s.captions}

    def tokens(caption: str) -> int | None:
        if hasattr(tokenizer, "encode"):  # CLIP's own; start and end are not among its tokens
            return len(tokenizer.encode(caption)) + 2
        if hasattr(tokenizer, "tokenizer"):  # of transformers
            return len(tokenizer.tokenizer(caption)["input_ids"])
        return None

    caption = max(owner, key=lambda c: tokens(c) or len(c), default=None)
    return None if caption is None else Longest(tokens(caption), owner[caption], caption)
