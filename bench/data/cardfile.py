"""Cards: the TOML files that describe data sets, and what they may say."""

import hashlib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from bench import UserError, at_home
from bench.data.text import read_text
from bench.faults import faults, matching
from bench.spec import nearest

DEFAULT_BACKBONE = "openai-b32"
"""The backbone for cards of real data that name none."""
NOT_THE_DATA = ("fetch", "annotation_sha256", "page", "pictures", "backbone")
"""Keys that do not say what the data is, but where it comes from, how it is checked and used.
`Card.digest` leaves them out, so a card can gain them and old trials keep their identity."""


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
        """Hash of the names of the published test images; None if it is not known."""
        pinned: str | None = self.raw.get("test", {}).get("filenames_sha256")
        return pinned

    @property
    def annotation_hash(self) -> str | None:
        """`content_hash` of the published annotation; None if it is not known."""
        return self.raw.get("annotation_sha256")

    @property
    def scale(self) -> tuple[float, float] | None:
        """The values of wide images that become black and white; None: the high byte of 16 bits."""
        low, high = self.raw.get("scale", (None, None))
        return None if low is None else (float(low), float(high))

    @property
    def backbone(self) -> str:
        """The backbone of trials on this data set that name none."""
        usual = "starter" if self.kind == "synthetic" else DEFAULT_BACKBONE
        return str(self.raw.get("backbone", usual))

    def digest(self) -> str:
        """Hash of what the card says about the data itself; part of a trial's identity."""
        kept = {key: value for key, value in self.raw.items() if key not in NOT_THE_DATA}
        return short_hash(json.dumps(kept, sort_keys=True))


def short_hash(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_root(given: Path | None) -> Path:
    """Where data sets are: `--data-root`, else $BENCH_DATA, else `./data`."""
    return at_home(given or os.environ.get("BENCH_DATA") or "data")


def cards() -> dict[str, Card]:
    """The project's cards by name: from `bench/cards/` in a wheel, else from `datasets/`."""
    package = Path(__file__).resolve().parent.parent  # the folder bench/
    folder = package / "cards" if (package / "cards").is_dir() else package.parent / "datasets"
    return {
        path.stem: Card(path.stem, tomllib.loads(path.read_text(encoding="utf-8")), path)
        for path in sorted(folder.glob("*.toml"))
    }


def card(name: str) -> Card:
    """The card called `name`, or the one in the TOML file `name`; raises UserError."""
    known, path = cards(), Path(name)
    if name in known:
        return known[name]
    if path.suffix != ".toml":
        raise UserError(f"no data set {name!r}{nearest(name, known)}; `bench datasets` lists them")
    if not path.is_file():
        raise UserError(f"no card at {path}; give a data set's name or the path of its TOML card")
    try:
        own = Card(path.stem, tomllib.loads(read_text(path)), path)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"the card {path} is not valid TOML: {error}") from None
    check_card(own)
    return own


# What a card may say; datasets/README.md says what the keys mean.


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("should be a path inside the data set's folder")
    return path


Folder = Annotated[str, matching(r"[^\0]*", "should hold no NUL character")]
Inside = Annotated[Folder, AfterValidator(_inside)]
Hash = Annotated[str, matching("[0-9a-f]{16}", "should be 16 hex digits in lower case")]


class Table(BaseModel):
    """A table of a card, which has no other keys than these."""

    model_config = ConfigDict(extra="forbid", strict=True)


class CountKeys(Table):
    """The table [counts]."""

    train: NonNegativeInt = 0
    """Training images; without any the set serves `zeroshot` and `bench evaluate`."""
    val: NonNegativeInt = 0
    """Validation images; without any `val_share` of train is held out."""
    test: PositiveInt
    """Test images."""


class TestKeys(Table):
    """The table [test]."""

    __test__ = False  # this is no test class for pytest

    filenames_sha256: Hash | None = None
    """First 16 hex digits of the SHA-256 of the sorted stems of the test images."""


class SceneKeys(Table):
    """The table [scenes]."""

    size: PositiveInt | None = None
    """With the rule `blocks`: how many images a scene has."""
    names: list[str] | None = Field(None, min_length=1)
    """With the rule `blocks`: the scenes in their order."""
    folder: Inside | None = None
    """With the rule `files`: the folder of a text file for each scene."""
    words: dict[str, str] = {}
    """Joined words and what they mean: storagetanks = 'storage tanks'."""
    rule: Literal["none", "generator", "filename", "blocks", "files"] = "none"
    """What tells the scene of an image; none: a label in the annotation, if it has any."""

    @field_validator("rule")
    @classmethod
    def _complete(cls, rule: str, info: ValidationInfo) -> str:
        if rule == "blocks" and not (info.data.get("size") and info.data.get("names")):
            raise ValueError("should have `names` and `size` beside it")
        if rule == "files" and not info.data.get("folder"):
            raise ValueError("should have `folder` beside it")
        return rule


class CardKeys(Table):
    """A whole card."""

    name: str | None = None
    """Not read: a data set is called as its file."""
    title: str | None = None
    """The name that people know the data set by."""
    citation: str | None = None
    """What to cite."""
    licence: str | None = None
    """The terms, as the authors state them."""
    source: str | None = None
    """Where the data comes from, in words."""
    put: str | None = None
    """Where the data goes, in words."""
    page: str | None = None
    """The authors' page, for a download by hand."""
    kind: str = "auto"
    """Form of the annotation; auto recognises it."""
    folder: Folder | None = None
    """The folder below the data root. Default: the name."""
    annotation: Inside = ""
    """The file of captions; {split} in it stands for train, val, test."""
    images: Inside = Field("", validate_default=True)
    """The folder of the images."""
    pictures: str | None = None
    """A file beside the card with a hash of each numbered picture."""
    annotation_sha256: Hash | None = None
    """First 16 hex digits of the SHA-256 of captions and scenes."""
    backbone: str | None = None
    """The backbone of trials that name none. Default: openai-b32."""
    val_share: float = Field(0.1, gt=0, lt=1)
    """The share of train that is held out where there is no val."""
    scale: list[FiniteFloat] | None = Field(None, min_length=2, max_length=2)
    """The values that become black and white, in images of more than 8 bits."""
    counts: CountKeys
    """Images of each split, as published."""
    test: TestKeys | None = None
    """What is known of the published test set."""
    scenes: SceneKeys | None = None
    """What the scene of an image is read from."""
    fetch: Any = []  # bench/fetch/sources.py checks it
    """What `bench data fetch` downloads; datasets/README.md explains it."""

    @field_validator("images")
    @classmethod
    def _has_images(cls, images: str, info: ValidationInfo) -> str:
        if not images and info.data.get("kind") != "synthetic":
            raise ValueError("should be the folder of the images")
        return images

    @field_validator("scale")
    @classmethod
    def _ascends(cls, scale: list[float] | None) -> list[float] | None:
        if scale is not None and scale[0] >= scale[1]:
            raise ValueError("should be two numbers, the lower one first")
        return scale


def check_card(card: Card) -> None:
    """Raise UserError, naming every key that is unknown or has a value it cannot have."""
    if wrong := faults(CardKeys, card.raw):
        raise UserError(
            f"the card {card.name!r} cannot be used: {'; '.join(wrong)}; datasets/README.md lists "
            "the keys"
        )
