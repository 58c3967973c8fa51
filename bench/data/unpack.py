"""An archive from somewhere, unpacked so that nothing outside its new folder is touched.

Only files and folders are taken, written by our own hand: no links, devices, owners or permissions.
That is stricter than `tarfile`'s filter `data` (PEP 706), and does not depend on Python's version.
"""

import bz2
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bench import UserError

RATIO = 100
"""How many times its own size an archive may unpack to; those of images unpack to one or two."""
SMALL = 64 * 2**20
"""Bytes that even a small archive may unpack to."""
MEMBERS = 1_000_000
BLOCK = 2**20
LONGEST_READ = 2**24
"""Names and headers are smaller; a longer one would fill the memory."""

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

Member = tuple[str, int, IO[bytes] | None]
"""Name, size in bytes, content (None: a folder)."""


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, compressed or not."""
    return zipfile.is_zipfile(path) or _is_tar(path)


def unpack(archive: Path, into: Path) -> int:
    """Unpack a zip, tar, tar.gz, tar.bz2 or tar.xz into a new folder; returns the bytes written.

    Raises UserError, and leaves no folder, for an archive that is damaged or encrypted, that holds
    a name leading out of the folder, a link or a device, or that unpacks to far more than its size.
    """
    into.mkdir(parents=True)
    try:
        return _unpack(archive, into)
    except UserError:
        shutil.rmtree(into)
        raise
    except BaseException as error:
        shutil.rmtree(into, ignore_errors=True)
        if isinstance(error, DAMAGED):
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{archive} cannot be unpacked ({said}); fetch it again") from None
        raise


def _unpack(archive: Path, into: Path) -> int:
    limit = max(SMALL, RATIO * archive.stat().st_size)
    free = shutil.disk_usage(into).free
    claimed = written = 0
    with _members(archive, limit) as members:
        for number, (name, size, content) in enumerate(members):
            path = into / _inside(archive, name)
            claimed += size
            if claimed > limit or number >= MEMBERS:
                raise _bomb(archive, limit)
            if claimed > free:
                raise UserError(
                    f"{archive} needs {claimed:,} bytes or more unpacked, {free:,} are free; make "
                    "room or choose another --data-root"
                )
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            if "__MACOSX" in path.parts or path.name == ".DS_Store":
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = path.open("xb")
            except FileExistsError:
                raise UserError(f"{archive} holds {name!r} twice; it is damaged") from None
            with file:
                while block := content.read(BLOCK):
                    written += len(block)
                    if written > limit:
                        raise _bomb(archive, limit)
                    file.write(block)
            if path.stat().st_size != size:
                raise UserError(f"{archive} ends within {name!r}; fetch it again")
    return written


def _bomb(archive: Path, limit: int) -> UserError:
    return UserError(
        f"{archive} unpacks to more than {limit:,} bytes, {RATIO} times its size, or to more than "
        f"{MEMBERS:,} files: it is damaged or meant to fill the disk; it was not unpacked"
    )


def _inside(archive: Path, name: str) -> PurePosixPath:
    """A member's name as a path inside the new folder; raises UserError."""
    path = PurePosixPath(name)
    odd = path.is_absolute() or ".." in path.parts or "\\" in name or re.match("[A-Za-z]:", name)
    if odd or any(ord(letter) < 32 for letter in name) or not name:
        raise UserError(
            f"{archive} holds {name[:80]!r}, which leads out of its folder or is no file name; it "
            "was not unpacked"
        )
    return path


def _link(archive: Path, name: str) -> UserError:
    return UserError(
        f"{archive} holds {name[:80]!r}, a link or a device; data sets need none: it was not "
        "unpacked"
    )


@contextmanager
def _members(archive: Path, limit: int) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            if sum(info.file_size for info in file.infolist()) > limit:
                raise _bomb(archive, limit)
            yield _zip_members(archive, file)
    elif _is_tar(archive):
        with _opened(archive) as stream:
            bounded: Any = _Bounded(archive, stream, limit)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield _tar_members(archive, tar)
    else:
        raise UserError(f"{archive} is no zip, tar or tar.gz; fetch it again")


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _link(archive, info.filename)
        if info.is_dir():
            yield info.filename, 0, None
        else:
            with file.open(info) as content:
                yield info.filename, info.file_size, content


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    for member in tar:
        if member.isdir():
            yield member.name, 0, None
        elif member.isfile():
            yield member.name, member.size, tar.extractfile(member)
        else:
            raise _link(archive, member.name)
        tar.members = []  # type: ignore[attr-defined]  # else every header stays in memory


def _opened(archive: Path) -> IO[bytes]:
    """A file, decompressed by its first bytes."""
    with archive.open("rb") as file:
        head = file.read(6)
    opener: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(head[:2], open)
    found: IO[bytes] = opener(archive, "rb")
    return found


def _is_tar(archive: Path) -> bool:
    try:
        with _opened(archive) as stream:
            block = stream.read(512)
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except DAMAGED:
        return False
    return True


class _Bounded:
    """A stream that is not read further than a limit, nor much at once: headers can lie too."""

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
