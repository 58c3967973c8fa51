"""The image cache: every image of a data set decoded and resized once, as one array on disk.

Such an array is called a map, because it is read as a memory map.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
from filelock import FileLock, Timeout

from bench import UserError, at_home, synthetic
from bench.data import Dataset, imagefile, resize, short_hash
from bench.data.imagefile import Scale
from bench.data.resize import CLIP, Pixels, Resize, fit
from bench.disk import NoRoom
from bench.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BLOCK = 256
"""Images are decoded and written in blocks of this many, so that memory stays small."""
MAP = re.compile(r"(?P<card>.+)-(?P<size>\d+)-(?P<key>[0-9a-f]{16})\.npy(?P<partial>\.partial)?")
"""The names of the cache's files."""


def cache_folder() -> Path:
    """Where decoded images are kept: $BENCH_CACHE, else the user's cache folder.

    A user without a home folder, as in some containers, gets one among the temporary files.
    """
    if base := os.environ.get("BENCH_CACHE"):
        return at_home(base)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "cmer-bench"
    try:
        return Path.home() / ".cache" / "cmer-bench"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"cmer-bench-{os.getuid()}"


def decode(path: Path, size: int, scale: Scale | None = None, how: Resize = CLIP) -> Pixels:
    """Read an image file and resize it to `(size, size, 3)`, as the backbone evaluates.

    `scale` is the card's, for images of more than 8 bits (see `bench.data.imagefile.read`). Raises
    UserError if the file cannot be read as an image.
    """
    return fit(imagefile.read(path, scale), size, how)


def picture(dataset: Dataset, row: int, size: int, how: Resize = CLIP) -> Pixels:
    """One image of a data set `(size, size, 3)`, cropped as the model sees it."""
    path = dataset.paths[row]
    if path is None:
        return synthetic.render(synthetic.index_of(dataset.samples[row].filename), size)
    return decode(path, size, dataset.card.scale, how)


def images(
    dataset: Dataset,
    size: int,
    how: Resize = CLIP,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Pixels:
    """All images `(S, size, size, 3)` uint8 as a read-only memory map, built on first use.

    If two processes need the same map, one builds it and the other waits. `say` gets sentences for
    the user. Raises UserError if an image cannot be read or the map cannot be written.
    """
    path, shape = place(dataset, size, how), (len(dataset.samples), size, size, 3)

    def ready() -> Pixels | None:
        pixels = opened(path)
        return pixels if pixels is not None and pixels.shape == shape else None

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (pixels := ready()) is not None:
            return pixels
        lock = FileLock(f"{path}.lock")  # the kernel frees the lock of a killed process
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            say(f"another process is building {path.name}; waiting for it")
            held = lock.acquire()
        with held:
            if (pixels := ready()) is None:  # the other process may have built it
                if path.exists():
                    say(f"{path} is damaged; its images are decoded again")
                _write(path, dataset, size, how, progress, say)
                pixels = ready()
    except OSError as error:
        raise NoRoom(path.parent, error, "BENCH_CACHE") from None
    assert pixels is not None
    return pixels


def build(dataset: Dataset, size: int, how: Resize = CLIP, *, console: "Console") -> Pixels:
    """`images`, with a progress bar and its messages on the console."""
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{dataset.card.name} at {size} px", total=None, visible=False)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=done < total)

        def say(text: str) -> None:
            bar.console.print(text, highlight=False, soft_wrap=True, markup=False)

        return images(dataset, size, how, move, say)


def place(dataset: Dataset, size: int, how: Resize = CLIP) -> Path:
    """The file of a data set's pixels, which may not exist yet.

    Its name holds a hash of everything that the pixels depend on: each image's name, size and date,
    their order, the scale of wide images, the way of resizing, the code that decodes and Pillow's
    version. So a changed file is never served from an old map.
    """
    generated = dataset.card.kind == "synthetic"
    code = Path(synthetic.__file__).parent.glob("*.py")
    modules = sorted(code) if generated else (imagefile.__file__, resize.__file__)
    key = [PIL.__version__, *(Path(module).read_text(encoding="utf-8") for module in modules)]
    if not generated:  # generated images are drawn as squares, so nothing is resized
        key += [str(dataset.card.scale), str(how)]
    for sample, path in zip(dataset.samples, dataset.paths, strict=True):
        key.append(sample.filename)
        if path is not None:
            try:
                status = path.stat()
            except OSError as error:
                raise UserError(f"the image {path} cannot be read ({error.strerror})") from None
            key.append(f"{status.st_size} {status.st_mtime_ns}")
    name = f"{dataset.card.name}-{size}-{short_hash(chr(10).join(key))}.npy"
    return cache_folder() / name


def opened(path: Path) -> Pixels | None:
    """The map of a file; None if the file is absent, cut short or not a map of pixels."""
    try:
        pixels = np.lib.format.open_memmap(path, mode="r")
    except (FileNotFoundError, ValueError):  # numpy compares the header with the file's length
        return None
    return pixels if pixels.dtype == np.uint8 and pixels.ndim == 4 else None


def _write(
    path: Path,
    dataset: Dataset,
    size: int,
    how: Resize,
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> None:
    """Decode all images into a new file, which gets its name only when it is complete."""
    count, name = len(dataset.samples), dataset.card.name
    room = format_bytes(count * size * size * 3)
    say(f"decoding {count:,} images of {name} at {size} px into {path.parent}: {room}")
    partial = path.with_name(f"{path.name}.partial")
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    try:
        with partial.open("wb") as file, ThreadPoolExecutor() as pool:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, count, BLOCK):
                rows = range(start, min(start + BLOCK, count))
                for pixels in pool.map(lambda row: picture(dataset, row, size, how), rows):
                    file.write(pixels.tobytes())
                progress(rows.stop, count)
            os.fsync(file.fileno())
        if place(dataset, size, how) != path:
            raise UserError(f"images of {name} changed while they were read; run it again")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# `bench data cache`: what the cache holds, and its removal.


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
    bytes: int


def entries(card: str | None = None, size: int | None = None) -> list[Entry]:
    """The maps of the cache, of one card or size if given, recognised by their names."""
    folder, listed = cache_folder(), []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = MAP.fullmatch(path.name)
        if not name or card not in (None, name["card"]) or size not in (None, int(name["size"])):
            continue
        try:
            length = path.lstat().st_size  # a link counts by itself: its target may be gone
        except FileNotFoundError:  # removed by another process meanwhile
            continue
        if name["partial"]:
            images, state = None, "unfinished"
        else:
            pixels = opened(path)
            images, state = (None, "damaged") if pixels is None else (len(pixels), "whole")
        side, key = int(name["size"]), name["key"]
        listed.append(Entry(path, name["card"], side, key, images, state, length))
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
                # Before the release, so that a waiting process makes a new one. Windows
                # refuses; there the release removes it.
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    lock.unlink()
        except Timeout:
            yield f"kept {entry.path}: a process is building it"
            continue
        yield f"removed {entry.path}"
    name = "the cache" if card is None else f"the cache of {card}"
    yield f"{name}: {format_bytes(freed)} freed" if freed else f"{name} is empty"


def table(listed: list[Entry]) -> "Table | str":
    """The maps, one per row, and where they are."""
    from rich import box
    from rich.table import Table

    if not listed:
        return f"nothing is cached in {cache_folder()}"
    total = sum(entry.bytes for entry in listed)
    caption = f"{format_bytes(total)} in {cache_folder()}"
    heads = ("data set", "pixels", "images", "size", "state", "key")
    shown = Table(*heads, caption=caption, box=box.SIMPLE_HEAD)
    for column in shown.columns[1:4]:
        column.justify = "right"
    for entry in listed:
        images = "?" if entry.images is None else f"{entry.images:,}"
        size = format_bytes(entry.bytes)
        shown.add_row(entry.card, str(entry.size), images, size, entry.state, entry.key[:8])
    return shown
