"""Unpack archives safely: nothing outside a new folder is ever written.

Only the members that are asked for are written, as plain files without links, devices, owners or
permissions. That is stricter than `tarfile`'s filter `data` (PEP 706) and the same in every version
of Python.
"""

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bench import UserError, brief
from bench.data import parquet
from bench.disk import FULL, NoRoom
from bench.fetch import Fault
from bench.fetch.download import ELSEWHERE

RATIO = 100
"""The largest ratio of unpacked to packed size that is allowed; images have one or two."""
SMALL = 64 * 2**20
"""Bytes that even a small archive may unpack to."""
MEMBERS = 1_000_000
BLOCK = 2**20
LONGEST_READ = 2**24
"""Bytes of one read. Headers are smaller; a forged one could ask for more than the memory."""

DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,  # a zip of a compression that Python lacks
    RuntimeError,  # an encrypted zip
)
"""What the readers raise on broken archives."""

Member = tuple[str, int, Callable[[], IO[bytes]]]
"""Name, size in bytes, and a function that opens it."""


def extract(archive: Path, into: Path, keep: Callable[[PurePosixPath], bool]) -> list[Path]:
    """Unpack the members that `keep` accepts into a new folder; returns their paths.

    They keep their names, with folders. `archive` may also be a folder. Raises Fault, and leaves
    no folder, if the archive is damaged, encrypted or of an unknown kind, if it holds a link or a
    name that leads out of the folder, or if it unpacks to far more than its size. Raises NoRoom.
    """
    into.mkdir(parents=True)
    limit = max(SMALL, RATIO * archive.stat().st_size) if archive.is_file() else 2**62
    try:
        with _members(archive, limit) as members:
            return _write(archive, members, limit, into, keep)
    except BaseException as error:
        shutil.rmtree(into, ignore_errors=True)
        # The package unrar is optional, so its errors cannot be imported here.
        is_damaged = isinstance(error, DAMAGED) or type(error).__module__.startswith("unrar")
        if isinstance(error, (UserError, Fault)) or not is_damaged:
            raise
        if getattr(error, "errno", None) in FULL:
            raise NoRoom(into.parent, error, ELSEWHERE) from None
        raise Fault(f"{archive.name} cannot be unpacked ({brief(error)})") from None


def _write(
    archive: Path,
    members: Iterator[Member],
    limit: int,
    into: Path,
    keep: Callable[[PurePosixPath], bool],
) -> list[Path]:
    """Write the wanted members to `into`, after a check of each name and size."""
    paths, written = [], 0
    for number, (name, size, opener) in enumerate(members):
        inner = PurePosixPath(name.replace("\\", "/"))  # as some programs on Windows write them
        leads_out = inner.is_absolute() or ".." in inner.parts or re.match("[A-Za-z]:", name)
        if leads_out or any(ord(letter) < 32 for letter in name) or not inner.name:
            wrong = "which leads out of its folder or is no file name"
            raise Fault(f"{archive.name} holds {name[:80]!r}, {wrong}")
        if number >= MEMBERS:
            raise _bomb(archive, limit)
        is_junk_of_macos = "__MACOSX" in inner.parts or inner.name.startswith("._")
        if is_junk_of_macos or not keep(inner):
            continue
        written += size
        if written > limit:
            raise _bomb(archive, limit)
        path = into / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("xb")
        except FileExistsError:
            raise Fault(f"{archive.name} holds {name!r} twice; it is damaged") from None
        # An archive can lie about sizes, so what arrives is counted, not trusted.
        left = size
        with file, opener() as stream:
            while left >= 0 and (block := stream.read(BLOCK)):
                left -= len(block)
                file.write(block)
        if left != 0:
            raise Fault(f"{archive.name}: {name!r} has another size than it says")
        paths.append(path)
    return paths


def _bomb(archive: Path, limit: int) -> Fault:
    return Fault(
        f"{archive.name} unpacks to more than {limit:,} bytes, {RATIO} times its size, or to more "
        f"than {MEMBERS:,} files: it is damaged or meant to fill the disk; it was not unpacked"
    )


def _link(archive: Path, name: str) -> Fault:
    return Fault(f"{archive.name} holds {name[:80]!r}, a link or a device; data sets need none")


# The kinds of archives.


@contextmanager
def _members(archive: Path, limit: int) -> Iterator[Iterator[Member]]:
    """The members of a folder or of an archive of any kind, recognised by its first bytes."""
    if archive.is_dir():
        yield _files(archive)
        return
    with archive.open("rb") as file:
        head = file.read(4)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as unzipped:
            if sum(info.file_size for info in unzipped.infolist()) > limit:
                raise _bomb(archive, limit)
            yield _listed_members(archive, unzipped)
    elif head == b"PAR1":
        pictures = parquet.pictures(archive)
        yield ((name, len(content), partial(io.BytesIO, content)) for name, content in pictures)
    elif head == b"Rar!":
        try:
            from unrar.cffi import rarfile
        except ImportError:
            raise Fault(
                f"{archive.name} is a RAR archive: `pip install 'cmer-bench[rar]'` reads it, or "
                "unpack it (unar, 7-Zip) and give the folder: bench data fetch NAME --from FOLDER"
            ) from None
        yield _listed_members(archive, rarfile.RarFile(str(archive)))
    else:
        openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
        with openers.get(head[:2], open)(archive, "rb") as stream:
            bounded: Any = _Bounded(archive, stream, limit)
            try:
                tar = tarfile.open(fileobj=bounded, mode="r:")  # noqa: SIM115
            except DAMAGED:
                raise Fault(
                    f"{archive.name} is no zip, tar or RAR, or only a part of one; unpack another "
                    "kind yourself and give the folder: bench data fetch NAME --from FOLDER"
                ) from None
            with tar:
                yield _tar_members(archive, tar)


def _files(folder: Path) -> Iterator[Member]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield name, path.stat().st_size, partial(io.FileIO, path)


def _listed_members(archive: Path, file: Any) -> Iterator[Member]:
    """The files of a zip or RAR; the package for RAR has the interface of `zipfile`."""
    for info in file.infolist():
        if isinstance(info, zipfile.ZipInfo):
            # The upper half holds the mode of Unix; 0 where a program for Windows wrote it.
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _link(archive, info.filename)
        if not info.is_dir():
            yield info.filename, info.file_size, partial(file.open, info)


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    opener: Callable[[tarfile.TarInfo], Any] = tar.extractfile
    for member in tar:
        if member.isfile():
            yield member.name, member.size, partial(opener, member)
        elif not member.isdir():
            raise _link(archive, member.name)
        tar.members = []  # type: ignore[attr-defined]  # else every header stays in memory


class _Bounded:
    """A stream that refuses reads beyond a limit, or of too much at once: tar headers can lie."""

    def __init__(self, archive: Path, stream: IO[bytes], limit: int) -> None:
        self.archive, self.stream = archive, stream
        self.limit = limit + limit // 8 + 2**20  # headers and padding come on top

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_READ or self.stream.tell() + size > self.limit:
            raise _bomb(self.archive, self.limit)
        return self.stream.read(size)

    def seek(self, place: int) -> int:
        if place > self.limit:
            raise _bomb(self.archive, self.limit)
        return self.stream.seek(place)

    def tell(self) -> int:
        return self.stream.tell()
