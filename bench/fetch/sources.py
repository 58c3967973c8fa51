"""The `[[fetch]]` tables of a card: which parts a data set has, and where each can be had."""

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

from bench import UserError, hub
from bench.data.cardfile import Card, Inside
from bench.faults import faults, matching


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


# What the tables may say.


def _address(base: str) -> str:
    if not re.match("https?://[^/]+", base) and hub.of_url(f"{base.rstrip('/')}/file") is None:
        raise ValueError("should be https://... or hf://datasets/OWNER/NAME@REVISION")
    return base


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class File(_Table):
    """A table of `files`: the end of an address that `base` begins, and what is known of it."""

    file: Annotated[
        str,
        matching(
            r"([\w-][\w. -]*/)*[\w-][\w. -]*",
            "should be the name of a file, perhaps in folders, of letters, digits, spaces, . _ -",
        ),
    ]
    bytes: PositiveInt | None = None
    sha256: Annotated[str, matching("[0-9a-f]{64}", "should be 64 hex digits")] | None = None
    git_blob: Annotated[str, matching("[0-9a-f]{40}", "should be 40 hex digits")] | None = None


Numbers = Annotated[
    str, matching(r"\d+(-\d+)?( \d+(-\d+)?)*", "should be numbers such as `91-100 181`")
]


def _distinct(files: list[File]) -> list[File]:
    if len({file.file.rsplit("/", 1)[-1] for file in files}) < len(files):
        raise ValueError("should not hold two files of the same name")
    return files


class Source(_Table):
    """Files from which a part can be made.

    `val`: which of the training images are val, for a copy that has both in one: how many at the
    end, or the numbers of the images, such as `91-100 181`. None: as annotated.
    """

    base: Annotated[str, AfterValidator(_address)]
    files: Annotated[list[File], Field(min_length=1), AfterValidator(_distinct)]
    val: PositiveInt | Numbers | None = None

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

    to: Annotated[
        Inside,
        matching("(?s)(?!.*{split}).*[^./].*", "should name one file or folder, without {split}"),
    ]
    sources: list[Source] = Field(min_length=1)
    optional: bool = False


def parts(card: Card) -> list[Part]:
    """The parts that a card has sources for; raises UserError, naming every fault of the tables."""
    tables = card.raw.get("fetch", [])
    if wrong := faults(list[Part], tables, "fetch"):
        raise UserError(
            f"[[fetch]] of the card {card.name!r} cannot be used: {'; '.join(wrong)}; "
            "datasets/README.md says what belongs there"
        )
    return [Part.model_validate(table) for table in tables]
