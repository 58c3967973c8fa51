"""`bench data cache`: list what the image cache holds, and remove it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from bench.data import cache
from bench.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

MAP = re.compile(r"(?P<card>.+)-(?P<size>\d+)-(?P<key>[0-9a-f]{16})\.npy(?P<partial>\.partial)?")


@dataclass(frozen=True)
class Entry:
    """A map in the cache; `images` is None if it is not whole."""

    path: Path
    card: str
    size: int
    key: str
    images: int | None
    state: str
    """whole, damaged, or unfinished: it is being built, or its builder was killed."""

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


def entries(card: str | None = None, size: int | None = None) -> list[Entry]:
    """The maps of the cache, of one card or size if given, recognised by their names."""
    folder, listed = cache.cache_folder(), []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = MAP.fullmatch(path.name)
        if not name or card not in (None, name["card"]) or size not in (None, int(name["size"])):
            continue
        pixels = None if name["partial"] else cache.opened(path)
        images = None if pixels is None else len(pixels)
        state = "unfinished" if name["partial"] else "damaged" if pixels is None else "whole"
        listed.append(Entry(path, name["card"], int(name["size"]), name["key"], images, state))
    return listed


def clear(card: str | None = None, size: int | None = None) -> Iterator[str]:
    """Remove maps, and say of each what was done; one that is being built stays."""
    freed = 0
    for entry in entries(card, size):
        lock = entry.path.with_name(f"{entry.path.name.removesuffix('.partial')}.lock")
        try:
            with FileLock(lock, timeout=0):
                freed += entry.bytes
                entry.path.unlink(missing_ok=True)
        except Timeout:
            yield f"kept {entry.path}: a process is building it"
            continue
        lock.unlink(missing_ok=True)
        yield f"removed {entry.path}"
    name = "the cache" if card is None else f"the cache of {card}"
    yield f"{name}: {format_bytes(freed)} freed" if freed else f"{name} is empty"


def table(listed: list[Entry]) -> "Table | str":
    """The maps, one per row, and where they are."""
    from rich import box
    from rich.table import Table

    if not listed:
        return f"nothing is cached in {cache.cache_folder()}"
    total = sum(entry.bytes for entry in listed)
    caption = f"{format_bytes(total)} in {cache.cache_folder()}"
    heads = ("data set", "pixels", "images", "size", "state", "key")
    shown = Table(*heads, caption=caption, box=box.SIMPLE_HEAD)
    for column in shown.columns[1:4]:
        column.justify = "right"
    for entry in listed:
        images = "?" if entry.images is None else f"{entry.images:,}"
        size = format_bytes(entry.bytes)
        shown.add_row(entry.card, str(entry.size), images, size, entry.state, entry.key[:8])
    return shown
