"""What lies in the image cache: built with a progress bar, listed, checked, removed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data import Dataset, cache, pixelmap
from bench.data.pixelmap import Damaged, Layout, Pixels
from bench.data.resize import CLIP, Resize

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAP = re.compile(r"(?P<card>.+)-(?P<size>\d+)-[0-9a-f]{16}\.npy(?P<unfinished>\.partial)?")
BESIDE = re.compile(r"(?P<card>.+)-(?:[0-9a-f]{16}\.hashes\.json|\d+-[0-9a-f]{16}\.npy\.lock)")
"""The small files of a data set: hashes of its images, the lock of a builder that died."""


@dataclass(frozen=True)
class Entry:
    """One map in the cache, finished or not; `images` None where its header says nothing."""

    path: Path
    card: str
    size: int
    images: int | None
    bytes: int
    state: str


def build(dataset: Dataset, size: int, how: Resize = CLIP, *, console: "Console") -> Pixels:
    """`cache.images` with a progress bar and its sentences on the console."""
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{dataset.card.name} at {size} px", total=None, visible=False)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=done < total)

        def say(text: str) -> None:
            bar.console.print(text, highlight=False, soft_wrap=True, markup=False)

        return cache.images(dataset, size, how, move, say)


def found(card: str | None = None, size: int | None = None, verify: bool = False) -> list[Entry]:
    """The maps of the cache, of one card or size if given; `verify` compares every checksum.

    A file counts as a map by its name and its header; no other file is listed, or ever removed.
    """
    entries = []
    for path in _files():
        name = MAP.fullmatch(path.name)
        if name is None or card not in (None, name["card"]):
            continue
        side = int(name["size"])
        if size not in (None, side):
            continue
        images = _count(path, side)
        if images is None and not (name["unfinished"] and path.stat().st_size == 0):
            continue
        state = _state(path, images, side, bool(name["unfinished"]), verify)
        entries.append(Entry(path, name["card"], side, images, path.stat().st_size, state))
    return entries


def clear(card: str | None = None, size: int | None = None) -> Iterator[str]:
    """Remove the maps of a card, or all, and say of each what was done; one under work stays."""
    removed = 0
    for entry in found(card, size):
        if entry.state.startswith("being built"):
            yield f"kept {entry.path}: a process is building it"
            continue
        entry.path.unlink(missing_ok=True)
        removed += entry.bytes
        yield f"removed {entry.path}"
    kept = {entry.path.name.removesuffix(".partial") for entry in found()}
    for path in _files() if size is None else ():
        name = BESIDE.fullmatch(path.name)
        locked = path.name.removesuffix(".lock") in kept
        if name is not None and card in (None, name["card"]) and not locked:
            path.unlink(missing_ok=True)
    what = "the cache" if card is None else f"the cache of {card}"
    yield f"{what}: {cache.mebibytes(removed)} freed" if removed else f"{what} is empty"


def table(entries: list[Entry]) -> "Table | str":
    """The maps, one a row, and where they are."""
    from rich.table import Table

    if not entries:
        return f"nothing is cached in {cache.cache_folder()}"
    total = sum(entry.bytes for entry in entries)
    caption = f"{cache.mebibytes(total)} in {cache.cache_folder()}"
    shown = Table("data set", "pixels", "images", "size", "state", "key", caption=caption)
    for column in shown.columns[1:4]:
        column.justify = "right"
    for entry in entries:
        images = "?" if entry.images is None else f"{entry.images:,}"
        key = entry.path.name.removesuffix(".partial").removesuffix(".npy")[-16:-8]
        size = cache.mebibytes(entry.bytes)
        shown.add_row(entry.card, str(entry.size), images, size, entry.state, key)
    return shown


def _files() -> list[Path]:
    folder = cache.cache_folder()
    return sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []


def _count(path: Path, size: int) -> int | None:
    """Images of a map by its header; None where it is no header of ours."""
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
    except (OSError, ValueError):
        return None
    ours = len(shape) == 4 and shape[1:] == (size, size, 3) and kind == np.uint8
    return int(shape[0]) if ours else None


def _state(path: Path, images: int | None, size: int, unfinished: bool, verify: bool) -> str:
    if unfinished:
        whole = path.with_name(path.name.removesuffix(".partial"))
        done = 0 if images is None else pixelmap.finished(whole, Layout(images, size))
        return f"{'being built' if _locked(whole) else 'unfinished'}: {done:,} images"
    assert images is not None
    layout = Layout(images, size)
    if path.stat().st_size != layout.bytes:
        return "unusable: damaged or of an older version"
    if not verify:
        return "whole"
    try:
        pixelmap.read(path, layout)
    except Damaged as error:
        return f"damaged: {error}"
    return "whole, checksums fit"


def _locked(path: Path) -> bool:
    """Whether a living process builds this map."""
    from filelock import FileLock, Timeout

    if not pixelmap.lock_of(path).exists():
        return False
    try:
        with FileLock(pixelmap.lock_of(path), timeout=0):
            return False
    except (Timeout, OSError):
        return True
