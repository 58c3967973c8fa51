"""The `[[fetch]]` tables of a card: which parts a data set has, and where each can be had."""

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from bench import UserError, hub
from bench.data.cardfile import Card, Inside
from bench.spec import nearest


@dataclass(frozen=True)
class Remote:
    """One file to download. `git_blob` is the id that Git gives the file, a checksum too."""

    url: str
    sha256: str | None = None
    git_blob: str | None = None
    bytes: int | None = None

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def owner(self) -> str:
        """The page of its owner, such as `github.com/somebody/something`."""
        if file := hub.of_url(self.url):
            return file.page
        address = urlsplit(self.url)
        if address.netloc.endswith(".githubusercontent.com"):
            repository = re.match(r"/(?:media/)?([^/]+/[^/]+)", address.path)
            return f"github.com/{repository[1]}" if repository else "github.com"
        return address.netloc


# What the tables may say. A field's description completes "'key' must be ...".


def _address(base: str) -> str:
    if not re.match("https?://[^/]+", base) and hub.of_url(f"{base.rstrip('/')}/file") is None:
        raise ValueError
    return base


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class File(_Table):
    """A table of `files`: the end of an address that `base` begins, and what is known of it."""

    file: str = Field(
        pattern=r"^([\w-][\w. -]*/)*[\w-][\w. -]*$", description="the rest of an address"
    )
    bytes: PositiveInt | None = Field(None, description="a whole number above 0")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="64 hex digits")
    git_blob: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="40 hex digits")


def _distinct(files: list[File]) -> list[File]:
    if len({file.file.rsplit("/", 1)[-1] for file in files}) < len(files):
        raise ValueError
    return files


class Source(_Table):
    """Files from which a part can be made.

    `val`: which of the training images are val, for a copy that has both in one: how many at the
    end, or the numbers of the images. None: as annotated.
    """

    base: Annotated[str, AfterValidator(_address)] = Field(
        description="the beginning of an address: https://... or hf://datasets/OWNER/NAME@REVISION"
    )
    files: Annotated[list[File], AfterValidator(_distinct)] = Field(
        min_length=1, description="a list of tables, each with another file"
    )
    val: PositiveInt | Annotated[str, Field(pattern=r"^\d+(-\d+)?( \d+(-\d+)?)*$")] | None = Field(
        None, description="a number of images, or their numbers such as '91-100 181'"
    )

    @property
    def remotes(self) -> list[Remote]:
        """The files to download, with their whole addresses."""
        base = self.base.rstrip("/")
        return [Remote(f"{base}/{f.file}", f.sha256, f.git_blob, f.bytes) for f in self.files]

    @property
    def owner(self) -> str:
        """The page of the files' owner."""
        return self.remotes[0].owner


class Part(_Table):
    """A file or folder of a data set, and its sources in the order in which they are tried.

    Trials can do without an optional part.
    """

    to: Inside = Field(pattern="[^./]", description="a file or folder inside the data set's folder")
    sources: list[Source] = Field(min_length=1, description="a list of tables")
    optional: bool = Field(False, description="true or false")


KEYS: dict[str, Any] = {**File.model_fields, **Source.model_fields, **Part.model_fields}


def parts(card: Card) -> list[Part]:
    """The parts that a card has sources for; raises UserError, naming every fault of the tables."""
    try:
        return TypeAdapter(list[Part]).validate_python(card.raw.get("fetch", []))
    except ValidationError as invalid:
        faults = [_fault(error["type"], error["loc"]) for error in invalid.errors()]
    raise UserError(
        f"the tables [[fetch]] of the card {card.name!r} cannot be used: "
        f"{'; '.join(dict.fromkeys(faults))} (datasets/README.md says what belongs there)"
    )


def _fault(kind: str, place: tuple[int | str, ...]) -> str:
    """A fault that pydantic found, in the words of the key's description."""
    if kind == "extra_forbidden":
        return f"{place[-1]!r} is an unknown key{nearest(str(place[-1]), KEYS)}"
    key = next((str(part) for part in reversed(place) if part in KEYS), None)
    return f"{key!r} must be {KEYS[key].description}" if key else "each must be a table"
