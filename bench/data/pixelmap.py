"""One file of pixels: built by one process at a time, block by block, and checked when opened.

Legend: S images in the file.
"""

import io
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from bench import UserError

Pixels = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
Say = Callable[[str], None]

BLOCK = 16
"""Images that share a checksum: what a killed builder loses at most, for each of its threads."""


class Damaged(Exception):
    """A file of pixels does not hold what was written into it."""


@dataclass(frozen=True)
class Layout:
    """A file of `count` images `(size, size, 3)`: numpy's header, the pixels, a CRC-32 per block.

    numpy reads it as any other `.npy`, it stops before the checksums. A checksum of 0 says that the
    block is not there yet: an unfinished file is its own journal, and whatever a crash left half
    written does not fit its checksum.
    """

    count: int
    size: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(S, size, size, 3)`."""
        return (self.count, self.size, self.size, 3)

    @property
    def header(self) -> bytes:
        """numpy's own, which says type and shape."""
        buffer = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(buffer, about)
        return buffer.getvalue()

    @property
    def blocks(self) -> int:
        """Checksums in the file."""
        return -(-self.count // BLOCK)

    @property
    def end(self) -> int:
        """Where the pixels end and the checksums begin."""
        return len(self.header) + self.count * self.size**2 * 3

    @property
    def bytes(self) -> int:
        """Length of the whole file."""
        return self.end + 4 * self.blocks

    def rows(self, block: int) -> range:
        """The images of a block."""
        return range(block * BLOCK, min((block + 1) * BLOCK, self.count))

    def start(self, block: int) -> int:
        """Where a block's pixels begin."""
        return len(self.header) + block * BLOCK * self.size**2 * 3

    def pixels(self, path: Path) -> Pixels:
        """The pixels as a read-only memory map `(S, size, size, 3)`, unchecked."""
        return np.asarray(np.memmap(path, np.uint8, "r", len(self.header), self.shape))

    def sums(self, path: Path) -> npt.NDArray[np.uint32]:
        """The checksums in the file `(blocks,)`, 0 where a block is not there yet."""
        return np.fromfile(path, "<u4", self.blocks, offset=self.end)


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def partial(path: Path) -> Path:
    """The name of the file while it is being built."""
    return path.with_name(f"{path.name}.partial")


def lock_of(path: Path) -> Path:
    """The lock of a file; its holder builds. It goes when the file is finished."""
    return path.with_name(f"{path.name}.lock")


def finished(path: Path, layout: Layout) -> int:
    """How many images the unfinished file of `path` holds by its own account; 0 without one."""
    try:
        sums = layout.sums(partial(path))
    except OSError:
        return 0
    return sum(len(layout.rows(int(block))) for block in np.flatnonzero(sums))


def read(path: Path, layout: Layout) -> Pixels:
    """The pixels as a read-only memory map `(S, size, size, 3)`, every checksum compared.

    That reads the file once, in threads (0.7 GB/s for one on busy cores), and so brings it into
    memory for what follows. Raises FileNotFoundError, and Damaged where anything is not as it was
    written.
    """
    length = path.stat().st_size
    if length != layout.bytes:
        raise Damaged(f"it has {length:,} bytes and not {layout.bytes:,}")
    with path.open("rb") as file:
        if file.read(len(layout.header)) != layout.header:
            raise Damaged("its header is not the one that was written")
    bad = _unfit(path, layout)
    if bad:
        raise Damaged(f"{len(bad)} of its {layout.blocks} blocks do not fit their checksum")
    return layout.pixels(path)


def build(
    path: Path,
    layout: Layout,
    make: Callable[[range], Pixels],
    begin: Callable[[int], None] = lambda done: None,
    check: Callable[[], None] = lambda: None,
    progress: Progress = lambda done, total: None,
    say: Say = lambda text: None,
) -> None:
    """Write the file, going on where its last builder stopped; of a damaged one the bad blocks.

    `make` gives the pixels of some images; it is called in threads, for Pillow decodes and resizes
    outside the interpreter's lock. `begin` is told how many images are there already, `check` may
    object at the end; a UserError throws the unfinished file away, a kill leaves it to the next
    builder. Where another process builds the file, this one waits and then finds it built.
    """
    with _alone(path, layout, progress, say):
        try:
            read(path, layout)
            return
        except FileNotFoundError:
            pass
        except Damaged:
            path.replace(partial(path))
        begin(finished(path, layout))
        try:
            _fill(partial(path), layout, make, progress)
            check()
            partial(path).replace(path)
        except UserError:
            partial(path).unlink(missing_ok=True)
            lock_of(path).unlink(missing_ok=True)
            raise
        lock_of(path).unlink(missing_ok=True)


@contextmanager
def _alone(path: Path, layout: Layout, progress: Progress, say: Say) -> Iterator[None]:
    """Hold the lock of a file, waiting for another builder while it lives.

    The kernel (on a shared file system its server) gives a dead builder's lock to the next one.
    Where a file system does not lock at all, builders write the same bytes to the same places.
    """
    from filelock import FileLock, Timeout

    lock, told = FileLock(lock_of(path)), False
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            if not told:
                say(f"another process is building {path.name}; waiting for it")
            told = True
            progress(finished(path, layout), layout.count)
    try:
        yield
    finally:
        lock.release()


def _fill(
    unfinished: Path, layout: Layout, make: Callable[[range], Pixels], progress: Progress
) -> None:
    unfinished.touch()
    with unfinished.open("r+b") as file:
        _prepare(file, layout)
        todo = _unfit(unfinished, layout)
        mutex = threading.Lock()

        def work(block: int) -> int:
            pixels = np.ascontiguousarray(make(layout.rows(block)))
            with mutex:
                for offset, content in (
                    (layout.start(block), pixels.tobytes()),
                    (layout.end + 4 * block, _sum(pixels).to_bytes(4, "little")),
                ):
                    file.seek(offset)
                    file.write(content)
                    file.flush()
            return len(pixels)

        done = layout.count - sum(len(layout.rows(block)) for block in todo)
        with ThreadPoolExecutor(cores()) as pool:
            for images in pool.map(work, todo):
                done += images
                progress(done, layout.count)
        os.fsync(file.fileno())


def _prepare(file: BinaryIO, layout: Layout) -> None:
    """Header and length as they will be; what an earlier builder of the same file wrote is kept."""
    if file.read(len(layout.header)) != layout.header:
        file.truncate(0)
        file.seek(0)
        file.write(layout.header)
    file.truncate(layout.bytes)
    file.flush()


def _unfit(path: Path, layout: Layout) -> list[int]:
    """The blocks that are not there or do not fit their checksum."""
    pixels, sums = layout.pixels(path), layout.sums(path)

    def look(blocks: npt.NDArray[np.int64]) -> list[int]:
        found = []
        for block in blocks.tolist():
            rows = layout.rows(block)
            if not sums[block] or _sum(pixels[rows.start : rows.stop]) != sums[block]:
                found.append(block)
        return found

    with ThreadPoolExecutor(cores()) as pool:
        parts = np.array_split(np.arange(layout.blocks), 4 * cores())
        return [block for part in pool.map(look, parts) for block in part]


def _sum(pixels: Pixels) -> int:
    return zlib.crc32(pixels.data) or 1
