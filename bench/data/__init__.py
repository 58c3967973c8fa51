"""Cards, and how an annotation becomes samples: counts, scenes, splits, where the images are."""

import hashlib
import json
import math
import os
import re
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench import UserError, synthetic
from bench.data import annotations, brightness, chance, files, scenes
from bench.data.annotations import read_text
from bench.data.forms import SPLITS
from methods.sample import Sample

UNPINNED = (
    "the card pins no hash of the test images' names, so only their number was compared with it"
)
OTHER_TEXTS = (
    "captions or scenes differ from those that the card pins, so trials on them are kept apart "
    "from trials on the pinned ones"
)

# Cards.

DEFAULT_BACKBONE = "openai-b32"
"""For cards of real data that name none."""
TEXTS = ("backbone", "kind", "source", "put", "folder", "annotation", "images", "page", "pictures")
TABLES = ("counts", "test", "scenes", "fetch")
NOT_THE_DATA = ("fetch", "annotation_sha256", "page", "pictures", "backbone")
"""Keys of sources, checks and use, which do not describe the data itself; see `digest`."""
KEYS = {
    "": (
        *TEXTS,
        "name",
        "title",
        "citation",
        "licence",
        "annotation_sha256",
        "val_share",
        "scale",
        *TABLES,
    ),
    "test": ("filenames_sha256",),
    "scenes": ("rule", "size", "names", "folder", "words"),
}
"""What a card may say, at its top and in its tables; datasets/README.md says what it means."""


@dataclass(frozen=True)
class Card:
    """A data set as its TOML describes it; `raw` is the whole table, `path` its file.

    `path` is None for a card that was made in memory.
    """

    name: str
    raw: dict[str, Any]
    path: Path | None = None

    @property
    def title(self) -> str:
        """The name that people know the data set by."""
        return str(self.raw.get("title", self.name))

    @property
    def kind(self) -> str:
        """The form of the annotation (`annotations.read`), auto or synthetic."""
        return str(self.raw.get("kind", "auto"))

    @property
    def counts(self) -> dict[str, int]:
        """Images per split as published."""
        return dict(self.raw["counts"])

    @property
    def test_hash(self) -> str | None:
        """Hash of the names of the published test images; None where it is not known."""
        pinned = self.raw.get("test", {}).get("filenames_sha256")
        return None if pinned is None else str(pinned)

    @property
    def annotation_hash(self) -> str | None:
        """`content_hash` of the published annotation; None where it is not known."""
        pinned = self.raw.get("annotation_sha256")
        return None if pinned is None else str(pinned)

    @property
    def scale(self) -> tuple[float, float] | None:
        """The values of wide images that become black and white; None: the high byte of 16 bits."""
        given = self.raw.get("scale")
        return None if given is None else (float(given[0]), float(given[1]))

    @property
    def backbone(self) -> str:
        """The backbone that trials on this data set have where none is named."""
        usual = "starter" if self.kind == "synthetic" else DEFAULT_BACKBONE
        return str(self.raw.get("backbone", usual))

    def digest(self) -> str:
        """Hash of what the card says of the data itself; it is part of a trial's identity.

        Addresses do not change the data, and pinned hashes are compared with it, so that a card
        can gain them without a change of identity.
        """
        said = {k: v for k, v in self.raw.items() if k not in NOT_THE_DATA}
        return short_hash(json.dumps(said, sort_keys=True))


def short_hash(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cards() -> dict[str, Card]:
    """Every card by name: those beside this package (wheel) or in `datasets/` (checkout)."""
    here = Path(__file__).resolve().parent.parent
    folder = here / "cards" if (here / "cards").is_dir() else here.parent / "datasets"
    found = {}
    for path in sorted(folder.glob("*.toml")):
        found[path.stem] = Card(path.stem, tomllib.loads(path.read_text(encoding="utf-8")), path)
    return found


def card(name: str) -> Card:
    """The card called `name`, or the one in the TOML file `name`; raises UserError."""
    known = cards()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(
                f"no card at {path}; give a data set's name or the path of its TOML card"
            )
        try:
            made = Card(path.stem, tomllib.loads(read_text(path)), path)
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"the card {path} is not valid TOML: {error}") from None
        check_card(made)
        return made
    from bench.spec import nearest

    raise UserError(
        f"no data set is called {name!r}{nearest(name, known)}; `bench datasets` lists them"
    )


def is_shipped(card: Card) -> bool:
    """Whether a card is one of this project's, which describe published data."""
    known = cards().get(card.name)
    return known is not None and known.raw == card.raw


def check_card(card: Card) -> None:
    """Raise UserError, naming the key, where a card cannot be used."""

    def demand(fits: bool, key: str, what: str) -> None:
        if not fits:
            raise UserError(f"the card {card.name!r} needs {key!r} to be {what}")

    raw = card.raw
    for key in ("test", "scenes"):
        demand(isinstance(raw.get(key, {}), dict), key, "a table")
    for table, known in KEYS.items():
        for key in raw.get(table, {}) if table else raw:
            if key not in known:
                from bench.spec import nearest

                raise UserError(
                    f"the card {card.name!r} has the unknown key {key!r}{nearest(key, known)}"
                    f"{f' in [{table}]' if table else ''}; datasets/README.md lists the keys"
                )
    for key in TEXTS:
        demand(isinstance(raw.get(key, ""), str), key, "text")
    for key in ("annotation", "images"):
        path = PurePosixPath(raw.get(key, ""))
        demand(not path.is_absolute() and ".." not in path.parts, key, "inside its folder")
    demand(bool(raw.get("images")) or card.kind == "synthetic", "images", "a folder")
    counts = raw.get("counts")
    demand(
        isinstance(counts, dict)
        and set(counts) <= set(SPLITS)
        and all(type(number) is int and number >= 0 for number in counts.values())
        and counts.get("test", 0) > 0,
        "counts",
        "a table with the images of test, and of train and val where there are some",
    )
    share = raw.get("val_share", 0.1)
    demand(isinstance(share, float) and 0 < share < 1, "val_share", "a number between 0 and 1")
    scale = raw.get("scale", [0, 1])
    demand(
        isinstance(scale, list)
        and len(scale) == 2
        and all(type(value) in (int, float) and math.isfinite(value) for value in scale)
        and scale[0] < scale[1],
        "scale",
        "two numbers, low and high",
    )
    demand(isinstance(raw.get("scenes", {}).get("words", {}), dict), "scenes.words", "a table")


def data_root(given: Path | None) -> Path:
    """Where data sets are: `--data-root`, else $BENCH_DATA, else `./data`."""
    return given or Path(os.environ.get("BENCH_DATA") or "data")


# Annotation -> samples.


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
    notes: tuple[str, ...] = ()

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
    """A data set, or a part of it, is not there; the message ends with the command that gets it."""

    def __init__(self, card: Card, root: Path, what: str) -> None:
        super().__init__(f"{what}; to get it: {fetch_command(card, root)}")
        self.card, self.root, self.what = card, root, what


def fetch_command(card: Card, root: Path) -> str:
    """What to type to fetch a data set into `root`."""
    own = card.path is not None and card.name not in cards()
    elsewhere = "" if root == data_root(None) else f" --data-root {shlex.quote(str(root))}"
    return f"bench data fetch {shlex.quote(str(card.path)) if own else card.name}{elsewhere}"


def _generated() -> list[Sample]:
    samples = []
    for index in range(sum(synthetic.COUNTS.values())):
        scene, captions = synthetic.describe(index)
        split = synthetic.split(index)
        samples.append(Sample(synthetic.filename(index), tuple(captions), split, scene))
    return samples


def _hold_out(samples: list[Sample], share: float) -> list[Sample]:
    """Move a share of the training images to val, chosen by a hash of the file name."""
    train = [s for s in samples if s.split == "train"]
    order = sorted(train, key=lambda s: (_draw(s.filename), s.filename))
    chosen = {s.filename for s in order[: round(share * len(train))]}
    return [
        Sample(s.filename, s.captions, "val", s.scene)
        if s.split == "train" and s.filename in chosen
        else s
        for s in samples
    ]


def _draw(filename: str) -> bytes:
    """The hash that decides who is held out; of the bare name, which all forms share."""
    return hashlib.sha256(f"val/{PurePosixPath(filename).name}".encode()).digest()


def names_hash(samples: Sequence[Sample]) -> str:
    """Hash of the sorted file names without extension, which differs between copies."""
    return short_hash("\n".join(sorted(Path(s.filename).stem for s in samples)))


def content_hash(samples: Sequence[Sample]) -> str:
    """Hash of the captions, space apart, and scenes of all images, in order of their file names."""
    said = sorted(
        (Path(s.filename).stem, s.scene or "", [" ".join(c.split()) for c in s.captions])
        for s in samples
    )
    return short_hash(json.dumps(said, ensure_ascii=False))


def read(card: Card, root: Path) -> tuple[list[Sample], tuple[str, ...]]:
    """The annotated samples with their scenes, splits as annotated, and what to tell of them.

    Raises Missing when the annotation is absent, UserError when it cannot be used; nothing is
    compared with the card's counts, and no image is looked for.
    """
    folder = folder_of(card, root)
    if card.kind == "synthetic":
        samples, notes = _generated(), tuple[str, ...]()
    else:
        try:
            reading = annotations.read(card.kind, folder, card.raw.get("annotation"))
        except annotations.Absent as absent:
            said = (
                f"data set {card.name!r} is not there ({absent} is missing; if you have it "
                "elsewhere: --data-root DIR)"
            )
            raise Missing(card, root, said) from None
        samples, notes = reading.samples, reading.notes
    scene, told = scenes.rule_of(card.name, card.raw.get("scenes", {}), folder)
    named = [Sample(s.filename, s.captions, s.split, scene(s)) for s in samples]
    if card.annotation_hash not in (None, content_hash(named)):
        told = (*told, OTHER_TEXTS)
    return named, (*notes, *told)


def folder_of(card: Card, root: Path) -> Path:
    """Where the annotation and the images of a card are."""
    return root / str(card.raw.get("folder", card.name))


def load(card: Card, root: Path, images: bool = True) -> Dataset:
    """Read a data set: annotation, scenes, counts and test-set hash enforced, images found by stem.

    images=False: no image is looked for, so that `paths` are None; enough to plan trials. Raises
    Missing when something is absent, UserError when it is not the published data.
    """
    samples, notes = read(card, root)
    for fault in faults(card, samples):
        raise UserError(fault)
    if card.test_hash is None and card.kind != "synthetic":
        notes = (*notes, UNPINNED)
    if not card.counts.get("val"):
        samples = _hold_out(samples, card.raw.get("val_share", 0.1))
    if images:
        found = find_images(card, root, samples)
    else:
        found = files.Found([None] * len(samples), [], [], ())
    if found.missing:
        place = folder_of(card, root) / card.raw["images"]
        many = f"{len(found.missing)} of {len(samples)} images are missing in {place}"
        raise Missing(card, root, f"{card.name}: {many}, the first is {found.lacking()}")
    hashes = {name: names_hash([s for s in samples if s.split == name]) for name in SPLITS}
    if card.annotation_hash is None or OTHER_TEXTS in notes:  # `read` compared them
        hashes["annotation"] = content_hash(samples)
    test = [s for s in samples if s.split == "test"]
    notes = (*notes, *found.notes, *brightness.notes(found.paths, card.scale), *chance.notes(test))
    notes = (*notes, *_blank([s for s in samples if s.split == "train"]))
    return Dataset(card, folder_of(card, root), samples, found.paths, hashes, notes)


def faults(card: Card, samples: Sequence[Sample]) -> list[str]:
    """In which ways an annotation is not the one of the card, each a sentence with the remedy."""
    counts = {name: sum(s.split == name for s in samples) for name in SPLITS}
    expected = {name: card.counts.get(name, 0) for name in SPLITS}
    shipped = is_shipped(card)
    remedy = (
        "use the published annotation, or write a card of your own for this one (bench data new)"
        if shipped
        else "correct the annotation or the card (bench data new writes one for what is there)"
    )
    found = []
    if counts != expected:
        swapped = {**counts, "val": counts["test"], "test": counts["val"]}
        hint = (
            "val and test are swapped in this copy of the annotation; swap the names back"
            if swapped == expected
            else remedy
        )
        found.append(
            f"{card.name}: images per split are {_listed(counts)}, and "
            f"{'published are' if shipped else 'the card says'} {_listed(expected)}: {hint}"
        )
    test = names_hash([s for s in samples if s.split == "test"])
    if card.test_hash is not None and test != card.test_hash:
        named = "published ones" if shipped else "ones that the card pins"
        found.append(
            f"{card.name}: the test images are not the {named} (hash {test}, card "
            f"{card.test_hash}): {remedy}"
        )
    return found


def _listed(counts: dict[str, int]) -> str:
    """`1,680 train, 210 val, 210 test`."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def find_images(card: Card, root: Path, samples: Sequence[Sample]) -> files.Found:
    """The file of each sample; raises Missing without the folder, UserError if it is unreadable."""
    if card.kind == "synthetic":
        return files.Found([None] * len(samples), [], [], ())
    images = folder_of(card, root) / card.raw["images"]
    if not images.is_dir():
        raise Missing(card, root, f"{card.name}: the image folder {images} is missing")
    rule = card.raw.get("scenes", {})
    names = [s.filename for s in samples]
    return files.match(card.name, images, names, lambda name: scenes.original_stem(rule, name))


def _blank(train: Sequence[Sample]) -> tuple[str, ...]:
    """A sentence on training captions without a word, of which training makes no use."""
    blank = sum(not spoken_form(caption) for sample in train for caption in sample.captions)
    if not blank:
        return ()
    silent = sum(not any(map(spoken_form, sample.captions)) for sample in train)
    rest = f", and so are {silent:,} training images without any other" if silent else ""
    many = "1 training caption has" if blank == 1 else f"{blank:,} training captions have"
    return (f"{many} no word: left out of training{rest}",)


def spoken_form(caption: str) -> str:
    """A caption lower-cased and without punctuation: what counts as the same sentence."""
    return " ".join(re.sub(r"[^\w\s]", " ", caption.lower()).split())
