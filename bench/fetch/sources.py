"""The `[[fetch]]` tables of a card: which parts a data set has, and where each can be had."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from bench import UserError
from bench.data import Card
from bench.spec import nearest

HUB = re.compile(
    r"hf://(?P<kind>datasets/)?(?!datasets/)(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>[\w.-]+))?/(?P<file>.+)"
)
"""`hf://datasets/OWNER/NAME@REVISION/FILE`, the form in which Hugging Face writes addresses."""
CHECKS = {"sha256": 64, "git_blob": 40}
"""Checksums that a card can give, with their hex digits; `git_blob` is the id that Git gives."""


@dataclass(frozen=True)
class Remote:
    """One file to download, and what is known of it; None: not known."""

    url: str
    sha256: str | None = None
    git_blob: str | None = None
    bytes: int | None = None

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def checked(self) -> bool:
        """Whether a checksum is known."""
        return bool(self.sha256 or self.git_blob)

    @property
    def owner(self) -> str:
        """Whose it is, as an address that one can open: `github.com/somebody/something`."""
        if found := HUB.fullmatch(self.url):
            return f"huggingface.co/{found['kind'] or ''}{found['repo']}"
        address = urlsplit(self.url)
        if address.netloc.endswith(".githubusercontent.com"):
            found = re.match(r"/(?:media/)?([^/]+/[^/]+)", address.path)
            return f"github.com/{found[1]}" if found else "github.com"
        return address.netloc


@dataclass(frozen=True)
class Source:
    """Files from which a part can be made; `val`: which of their training images are val.

    `val` is how many at the end, or the numbers of the images (`91-100 181`); None: as annotated.
    """

    files: tuple[Remote, ...]
    val: int | str | None = None

    @property
    def owner(self) -> str:
        """Whose the files are."""
        return self.files[0].owner


@dataclass(frozen=True)
class Part:
    """A file or folder of a data set, and its sources in the order in which they are tried.

    optional: trials run without it, with a note.
    """

    to: str
    sources: tuple[Source, ...]
    optional: bool = False


def parts(card: Card) -> list[Part]:
    """The parts that a card has sources for; raises UserError where a table cannot be used."""
    return [_part(card, table) for table in _tables(card, card.raw.get("fetch", []), "fetch")]


def _part(card: Card, table: Mapping[str, Any]) -> Part:
    _known(card, table, ("to", "sources", "optional"))
    to = table.get("to")
    path = PurePosixPath(to) if isinstance(to, str) and to else PurePosixPath("..")
    _demand(card, not path.is_absolute() and ".." not in path.parts and path.name != "", "to")
    sources = _tables(card, table.get("sources", []), "sources")
    _demand(card, bool(sources), "sources")
    optional = table.get("optional", False)
    _demand(card, isinstance(optional, bool), "optional")
    return Part(str(to), tuple(_source(card, source) for source in sources), optional)


def _source(card: Card, table: Mapping[str, Any]) -> Source:
    _known(card, table, ("base", "files", "val"))
    base = table.get("base")
    fits = isinstance(base, str) and re.match("https?://[^/]+|hf://", base)
    _demand(card, bool(fits), "base")
    given = _tables(card, table.get("files", []), "files")
    files = tuple(_remote(card, str(base), file) for file in given)
    _demand(card, bool(files) and len({file.name for file in files}) == len(files), "files")
    val = table.get("val")
    listed = isinstance(val, str) and re.fullmatch(r"\d+(-\d+)?( \d+(-\d+)?)*", val)
    _demand(card, val is None or bool(listed) or (type(val) is int and val > 0), "val")
    return Source(files, val)


def _remote(card: Card, base: str, table: Mapping[str, Any]) -> Remote:
    _known(card, table, ("file", "bytes", *CHECKS))
    file = table.get("file")
    plain = isinstance(file, str) and re.fullmatch(r"([\w-][\w. -]*/)*[\w-][\w. -]*", file)
    url = f"{base.rstrip('/')}/{file}"
    _demand(card, bool(plain) and (not base.startswith("hf:") or bool(HUB.fullmatch(url))), "file")
    size = table.get("bytes")
    _demand(card, size is None or (type(size) is int and size > 0), "bytes")
    for key, digits in CHECKS.items():
        value = table.get(key, "0" * digits)
        right = isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value)
        _demand(card, bool(right), key)
    return Remote(url, table.get("sha256"), table.get("git_blob"), size)


def _tables(card: Card, given: object, key: str) -> list[Mapping[str, Any]]:
    fits = isinstance(given, list) and all(isinstance(table, dict) for table in given)
    _demand(card, fits, key)
    assert isinstance(given, list)
    return given


def _known(card: Card, table: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            raise UserError(
                f"the card {card.name!r} has the unknown key {key!r}{nearest(key, keys)} in its "
                "[[fetch]]; datasets/README.md lists the keys"
            )


def _demand(card: Card, fits: bool, key: str) -> None:
    if not fits:
        raise UserError(
            f"the card {card.name!r} has a [[fetch]] whose {key!r} cannot be used; "
            "datasets/README.md says what belongs there"
        )
