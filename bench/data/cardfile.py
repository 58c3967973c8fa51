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
    ValidationError,
    ValidationInfo,
    field_validator,
)

from bench import UserError
from bench.data.text import read_text
from bench.spec import nearest

DEFAULT_BACKBONE = "openai-b32"
"""The backbone for cards of real data that name none."""
NOT_THE_DATA = ("fetch", "annotation_sha256", "page", "pictures", "backbone")
"""Keys on where the data comes from, how it is checked and used; they are left out of `digest`."""


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
        """Hash of what the card says about the data itself; part of a trial's identity.

        Addresses and pinned hashes are left out, so a card can gain them and keep its identity.
        """
        kept = {key: value for key, value in self.raw.items() if key not in NOT_THE_DATA}
        return short_hash(json.dumps(kept, sort_keys=True))


def short_hash(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_root(given: Path | None) -> Path:
    """Where data sets are: `--data-root`, else $BENCH_DATA, else `./data`."""
    return given or Path(os.environ.get("BENCH_DATA") or "data")


def cards() -> dict[str, Card]:
    """The project's cards by name: from `bench/cards/` in a wheel, else from `datasets/`."""
    package = Path(__file__).resolve().parent.parent
    folder = package / "cards" if (package / "cards").is_dir() else package.parent / "datasets"
    return {
        path.stem: Card(path.stem, tomllib.loads(path.read_text(encoding="utf-8")), path)
        for path in sorted(folder.glob("*.toml"))
    }


def is_shipped(card: Card) -> bool:
    """Whether a card is one of this project's, which describe published data."""
    known = cards().get(card.name)
    return known is not None and known.raw == card.raw


def card(name: str) -> Card:
    """The card called `name`, or the one in the TOML file `name`; raises UserError."""
    known, path = cards(), Path(name)
    if name in known:
        return known[name]
    if path.suffix != ".toml":
        raise UserError(
            f"no data set is called {name!r}{nearest(name, known)}; `bench datasets` lists them"
        )
    if not path.is_file():
        raise UserError(f"no card at {path}; give a data set's name or the path of its TOML card")
    try:
        own = Card(path.stem, tomllib.loads(read_text(path)), path)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the card {path} is not valid TOML: {error}") from None
    check_card(own)
    return own


# What a card may say. A field's description completes "the card needs 'key' to be ...".


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("the path leads out of the data set's folder")
    return path


Inside = Annotated[str, AfterValidator(_inside)]
Text = Annotated[str | None, Field(description="text")]


class TestKeys(BaseModel):
    """The table [test] of a card."""

    __test__ = False  # this is no test class for pytest
    model_config = ConfigDict(extra="forbid", strict=True)

    filenames_sha256: Text = None


class SceneKeys(BaseModel):
    """The table [scenes] of a card."""

    model_config = ConfigDict(extra="forbid", strict=True)

    size: PositiveInt | None = Field(None, description="a whole number above 0")
    names: list[str] | None = Field(None, description="a list of texts", min_length=1)
    folder: Text = None
    words: dict[str, str] = Field({}, description="a table of texts")
    rule: Literal["none", "generator", "filename", "blocks", "files"] = Field(
        "none",
        description="one of none, generator, filename, blocks (with `names` and `size`), files",
    )

    @field_validator("rule")
    @classmethod
    def _complete(cls, rule: str, info: ValidationInfo) -> str:
        if rule == "blocks" and not (info.data.get("size") and info.data.get("names")):
            raise ValueError("names or size is missing")
        return rule


class CardKeys(BaseModel):
    """The keys of a card; datasets/README.md says what they mean."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Text = None
    title: Text = None
    citation: Text = None
    licence: Text = None
    source: Text = None
    put: Text = None
    page: Text = None
    kind: str = Field("auto", description="text")
    folder: Text = None
    annotation: Inside = Field("", description="a file inside the data set's folder")
    images: Inside = Field(
        "", description="a folder inside the data set's folder", validate_default=True
    )
    pictures: Text = None
    annotation_sha256: Text = None
    backbone: Text = None
    val_share: float = Field(0.1, description="a number between 0 and 1", gt=0, lt=1)
    scale: list[FiniteFloat] | None = Field(
        None, description="two numbers, low and high", min_length=2, max_length=2
    )
    counts: dict[Literal["train", "val", "test"], NonNegativeInt] = Field(
        description="a table with the images of test, and of train and val where there are some"
    )
    test: TestKeys | None = Field(None, description="a table")
    scenes: SceneKeys | None = Field(None, description="a table")
    fetch: Any = Field([], description="the tables [[fetch]]")

    @field_validator("images")
    @classmethod
    def _has_images(cls, images: str, info: ValidationInfo) -> str:
        if not images and info.data.get("kind") != "synthetic":
            raise ValueError("the folder is missing")
        return images

    @field_validator("scale")
    @classmethod
    def _ascends(cls, scale: list[float] | None) -> list[float] | None:
        if scale is not None and scale[0] >= scale[1]:
            raise ValueError("low is not below high")
        return scale

    @field_validator("counts")
    @classmethod
    def _has_test_images(cls, counts: dict[str, int]) -> dict[str, int]:
        if not counts.get("test"):
            raise ValueError("there are no test images")
        return counts


def check_card(card: Card) -> None:
    """Raise UserError, naming every key that is unknown or has a value it cannot have."""
    try:
        CardKeys.model_validate(card.raw)
    except ValidationError as invalid:
        faults = [_fault(error["type"], error["loc"]) for error in invalid.errors()]
    else:
        return
    more = "; datasets/README.md lists the keys" if "unknown key" in str(faults) else ""
    raise UserError(f"the card {card.name!r} {', '.join(dict.fromkeys(faults))}{more}")


def _fault(kind: str, place: tuple[int | str, ...]) -> str:
    """A fault that pydantic found, in the words of the key's description."""
    tables: dict[str, type[BaseModel]] = {"test": TestKeys, "scenes": SceneKeys}
    keys = place[:2] if len(place) > 1 and place[0] in tables else place[:1]
    table = tables.get(str(place[0]), CardKeys) if len(keys) > 1 else CardKeys
    key, known = str(keys[-1]), table.model_fields
    if kind == "extra_forbidden":
        inside = f" in [{keys[0]}]" if len(keys) > 1 else ""
        return f"has the unknown key {key!r}{nearest(key, known)}{inside}"
    return f"needs {'.'.join(map(str, keys))!r} to be {known[key].description}"
