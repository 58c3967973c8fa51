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
from bench.data.cut import Cut, Tokenizer
from methods.sample import Sample

Progress = Callable[[int, int], None]
SIDE = 64
"""Images are compared at this size, in pixels."""


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
    """All that the check found; `faults` say in what it is another data set than the card's."""

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
    """The longest caption: tokens (None where they were not counted), filename, caption."""
    cut: dict[str, int]
    """Captions of each split that are longer than CLIP's context, which cuts off their end."""
    context_length: int
    """Tokens of CLIP's context; 0 where nothing was counted."""
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
    """Whether the images were looked at; not where their folder is absent."""
    hints: dict[str, str] = field(default_factory=dict)
    """What may be meant by the first missing images: a near name, a link that leads nowhere."""
    shipped: bool = False
    """Whether the card is one of this project's, which describe published data."""

    @property
    def published_test_set(self) -> bool:
        """Whether the test images are those of the card: their names where pinned, and number."""
        pinned = self.published_test_hash
        same = self.counts["test"] == self.published["test"]
        return same and (pinned is None or self.test_hash == pinned)

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
    count_tokens: Callable[[Sequence[str]], list[int]] | None = None,
    progress: Progress | None = None,
    tokenizer: Tokenizer | None = None,
) -> Report:
    """Look at every caption and every image of a data set; nothing is written.

    count_tokens: captions -> their lengths in tokens; tokenizer: CLIP's, which cuts long captions
    off; progress: called with images done and all.
    Raises UserError where the annotation is absent or cannot be read at all.
    """
    samples, notes = data.read(card, root)
    faults, told, look = data.faults(card, samples), list(notes), None
    try:
        found = data.find_images(card, root, samples)
    except UserError as error:
        told.append(f"no image was looked at: {error}")
    else:
        told += found.notes
        told += brightness.notes(found.paths, card.scale)
        look = twins.look(card, samples, found.paths, SIDE, progress)
    by_split = {split: [s for s in samples if s.split == split] for split in SPLITS}
    counts = {split: len(rows) for split, rows in by_split.items()}
    told += chance.notes(by_split["test"])
    captions = [c for s in samples for c in s.captions]
    cut_off = Cut() if tokenizer is None else cut.find(tokenizer, captions)
    sentence = dict(zip(captions, cut_off.sentences(captions), strict=True))
    more: dict[str, Any] = {"images_compared": False}
    if look is not None:
        more = {
            "missing": found.missing,
            "hints": found.hints,
            "extra": [path.name for path in found.extra],
            "undecodable": look.undecodable,
            "sizes": look.sizes(),
            "odd_sized": look.odd_sized(samples),
            "twins": twins.pairs(look, samples),
        }
    return Report(
        name=card.name,
        title=str(card.raw.get("title", card.name)),
        faults=faults,
        notes=told,
        counts=counts,
        published={split: card.counts.get(split, 0) for split in SPLITS},
        test_images=[s.filename for s in by_split["test"]],
        test_hash=data.names_hash(by_split["test"]),
        published_test_hash=card.test_hash,
        words=words(by_split, sentence.__getitem__),
        ceiling=ceiling(by_split["test"], sentence.__getitem__),
        longest=longest(samples, count_tokens),
        cut={
            split: cut_off.count(c for s in rows for c in s.captions)
            for split, rows in by_split.items()
        },
        context_length=cut_off.length,
        shipped=data.is_shipped(card),
        scenes={
            split: dict(sorted(Counter(s.scene for s in rows if s.scene).items()))
            for split, rows in by_split.items()
            if rows
        },
        unlabelled=[s.filename for s in samples if s.scene is None],
        **more,
    )


def words(
    by_split: dict[str, list[Sample]], sentence: Callable[[str], str] = spoken_form
) -> dict[str, Words]:
    """What the captions of each split that has images repeat, share and lack.

    sentence: a caption -> what is equal where two captions are one sentence.
    """
    known = {
        split: {sentence(c) for s in samples for c in s.captions}
        for split, samples in by_split.items()
    }
    train = known.get("train", set())
    both = train | known.get("val", set())
    found = {}
    for split, samples in by_split.items():
        said = [[sentence(caption) for caption in s.captions] for s in samples]
        carriers = Counter(key for five in said for key in set(five))
        rows = [key for five in said for key in five]
        if samples:
            found[split] = Words(
                images=len(samples),
                rows=len(rows),
                sentences=len(set(rows)),
                blank=rows.count(""),
                images_without_words=sum(not any(five) for five in said),
                repeating_images=sum(len(five) > 1 and len(set(five)) == 1 for five in said),
                shared_rows=sum(carriers[key] > 1 for key in rows),
                rows_in_train=sum(s in train for s in rows) if split != "train" else 0,
                rows_in_train_and_val=sum(s in both for s in rows) if split == "test" else 0,
            )
    return found


def ceiling(
    test: Sequence[Sample], sentence: Callable[[str], str] = spoken_form
) -> dict[str, float]:
    """`bench.retrieval.t2i_ceiling` of a test set; empty where there is none."""
    from bench.retrieval import t2i_ceiling

    rows = [(i, sentence(caption)) for i, s in enumerate(test) for caption in s.captions]
    return t2i_ceiling([i for i, _ in rows], [said for _, said in rows]) if rows else {}


def longest(
    samples: Sequence[Sample], count_tokens: Callable[[Sequence[str]], list[int]] | None
) -> dict[str, Any]:
    """The longest caption and its image, in tokens where they can be counted, else in letters."""
    owner = {caption: s.filename for s in samples for caption in s.captions}
    if not owner:
        return {}
    captions = list(owner)
    lengths = [len(c) for c in captions] if count_tokens is None else count_tokens(captions)
    top = max(range(len(captions)), key=lengths.__getitem__)
    tokens = None if count_tokens is None else lengths[top]
    return {"tokens": tokens, "filename": owner[captions[top]], "caption": captions[top]}


def clip_tokens(captions: Sequence[str]) -> list[int]:
    """Lengths in CLIP's tokens, start and end included, however long the caption is."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    return [len(tokenizer.encode(caption)) + 2 for caption in captions]


def clip_tokenizer() -> Tokenizer:
    """CLIP's, with its context of 77 tokens."""
    from open_clip.tokenizer import SimpleTokenizer

    made: Tokenizer = SimpleTokenizer()
    return made
