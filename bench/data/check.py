"""`bench data check`: what is wrong with a data set, and what follows for the recall it can give.

Legend: S images, C captions.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import UserError, data
from bench.data import SPLITS, Card, brightness, chance, cut, spoken_form, twins
from bench.data.cut import Cut
from bench.data.twins import Progress
from methods.sample import Sample


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
class Report:
    """The result of a check; `faults` say in what it is another data set than the card's."""

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
    longest: dict[str, Any]
    """The longest caption: tokens (None if they were not counted), filename, caption."""
    cut: dict[str, int]
    """Captions of each split that are longer than the context, which cuts off their end."""
    context_length: int
    """Tokens that the text tower takes; 0 if nothing was counted."""
    backbone: str
    """Whose text tower that is; `CLIP` where none was named."""
    scenes: dict[str, dict[str, int]]
    """Images of each scene, per split."""
    unlabelled: list[str]
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    undecodable: dict[str, str] = field(default_factory=dict)
    """File names, each with what is wrong."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Images of each size in pixels, `256 x 256`, the most frequent first."""
    odd_sized: list[str] = field(default_factory=list)
    """Images of another size than the most frequent one."""
    twins: list[dict[str, Any]] = field(default_factory=list)
    """Pairs of (nearly) equal images: `images`, their `splits`, `same_pixels`, `grey_levels`."""
    images_compared: bool = True
    """Whether the images were looked at; they are not if their folder is absent."""
    hints: dict[str, str] = field(default_factory=dict)
    """What may be meant by the first missing images: a similar name, a link that leads nowhere."""
    shipped: bool = False
    """Whether the card is one of this project's, which describe published data."""

    @property
    def published_test_set(self) -> bool:
        """Whether the test images are those of the card: their number, and names if pinned."""
        same = self.counts["test"] == self.published["test"]
        return same and self.published_test_hash in (None, self.test_hash)

    @property
    def ok(self) -> bool:
        """Whether it is the data of the card, with every image looked at and sound."""
        broken = self.missing or self.undecodable or not self.images_compared
        return self.published_test_set and not self.faults and not broken

    def leaks(self, split: str) -> list[dict[str, Any]]:
        """The pairs of equal images between this split and train."""
        return [pair for pair in self.twins if set(pair["splits"]) == {"train", split}]

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return {**asdict(self), "published_test_set": self.published_test_set}


def check(
    card: Card,
    root: Path,
    tokenizer: Any = None,
    progress: Progress | None = None,
    backbone: str = "CLIP",
) -> Report:
    """Look at every caption and every image of a data set; nothing is written.

    tokenizer: that of `backbone` (`clip_tokenizer`, or `Backbone.tokenizer`), which cuts long
    captions off; without it no tokens are counted. Raises UserError if the annotation is absent or
    cannot be read at all.
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
        notes=[*notes, *image_notes, *chance.notes(test)],
        counts={split: len(rows) for split, rows in by_split.items()},
        published={split: card.counts.get(split, 0) for split in SPLITS},
        test_images=[s.filename for s in test],
        test_hash=data.names_hash(test),
        published_test_hash=card.test_hash,
        words=words(by_split, sentence.__getitem__),
        ceiling=_ceiling(test, sentence),
        longest=_longest(samples, tokenizer),
        cut={
            split: cut_off.count(c for s in rows for c in s.captions)
            for split, rows in by_split.items()
        },
        context_length=cut_off.length,
        backbone=backbone,
        shipped=data.is_shipped(card),
        scenes={
            split: dict(sorted(Counter(s.scene for s in rows if s.scene).items()))
            for split, rows in by_split.items()
            if rows
        },
        unlabelled=[s.filename for s in samples if s.scene is None],
        **images,
    )


def _images(
    card: Card, root: Path, samples: list[Sample], progress: Progress | None
) -> tuple[dict[str, Any], list[str]]:
    """What the report says about the images, by field, and notes for the user."""
    try:
        found = data.find_images(card, root, samples)
    except UserError as error:
        return {"images_compared": False}, [f"no image was looked at: {error}"]
    look = twins.look(card, samples, found.paths, progress=progress)
    pairs = [
        {
            "images": [samples[row].filename for row in (match.first, match.second)],
            "splits": [samples[row].split for row in (match.first, match.second)],
            "same_pixels": not match.differ,
            "grey_levels": round(match.grey_levels, 2),
        }
        for match in twins.matches(look, look)
    ]
    fields = {
        "missing": found.missing,
        "hints": found.hints,
        "extra": [path.name for path in found.extra],
        "undecodable": look.undecodable,
        "sizes": look.sizes(),
        "odd_sized": look.odd_sized(samples),
        "twins": pairs,
    }
    return fields, [*found.notes, *brightness.notes(found.paths, card.scale)]


def words(
    by_split: dict[str, list[Sample]], sentence: Callable[[str], str] = spoken_form
) -> dict[str, Words]:
    """What the captions of each split that has images repeat, share and lack.

    sentence: a caption -> a key that is equal for captions which count as one sentence.
    """
    said = {
        split: [[sentence(caption) for caption in s.captions] for s in samples]
        for split, samples in by_split.items()
    }
    known = {split: {key for keys in images for key in keys} for split, images in said.items()}
    train, both = known["train"], known["train"] | known["val"]
    counted = {}
    for split, images in said.items():
        rows = [key for keys in images for key in keys]
        carriers = Counter(key for keys in images for key in set(keys))
        if images:
            counted[split] = Words(
                images=len(images),
                rows=len(rows),
                sentences=len(known[split]),
                blank=rows.count(""),
                images_without_words=sum(not any(keys) for keys in images),
                repeating_images=sum(len(keys) > 1 and len(set(keys)) == 1 for keys in images),
                shared_rows=sum(carriers[key] > 1 for key in rows),
                rows_in_train=sum(key in train for key in rows) if split != "train" else 0,
                rows_in_train_and_val=sum(key in both for key in rows) if split == "test" else 0,
            )
    return counted


def _ceiling(test: Sequence[Sample], sentence: dict[str, str]) -> dict[str, float]:
    """`bench.retrieval.t2i_ceiling` of a test set; empty if it has no captions."""
    from bench.retrieval import t2i_ceiling  # imports torch

    rows = [(i, sentence[caption]) for i, s in enumerate(test) for caption in s.captions]
    return t2i_ceiling([i for i, _ in rows], [key for _, key in rows]) if rows else {}


def _longest(samples: Sequence[Sample], tokenizer: Any) -> dict[str, Any]:
    """The longest caption and its image: in tokens, start and end included, or in letters."""
    owner = {caption: s.filename for s in samples for caption in s.captions}
    if not owner:
        return {}
    count = _token_count(tokenizer)
    caption = max(owner, key=count or len)
    tokens = None if count is None else count(caption)
    return {"tokens": tokens, "filename": owner[caption], "caption": caption}


def _token_count(tokenizer: Any) -> Callable[[str], int] | None:
    """A function that counts the tokens of a text without cutting it; None if there is no way."""
    if hasattr(tokenizer, "encode"):  # CLIP's own; start and end are not among its tokens
        return lambda text: len(tokenizer.encode(text)) + 2
    inner = getattr(tokenizer, "tokenizer", None)  # of transformers
    return None if inner is None else lambda text: len(inner(text)["input_ids"])


def clip_tokenizer() -> Any:
    """CLIP's tokenizer, with its context of 77 tokens."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
