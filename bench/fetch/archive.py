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
from bench.fetch import Fault
from bench.fetch.download import no_room, room
from bench.hub import FULL

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
"""Name, size in bytes, and what opens it."""
Keep = Callable[[PurePosixPath], bool]


def is_archive(path: Path) -> bool:
    """Whether files can be taken out of it: a folder, zip, tar, RAR, 7z or Parquet."""
    return path.is_dir() or zipfile.is_zipfile(path) or _kind(path) is not None or _is_tar(path)


def extract(archive: Path, into: Path, keep: Keep) -> list[Path]:
    """Unpack the members that `keep` accepts into a new folder; returns their paths.

    They keep their names, with folders. Raises Fault, and leaves no folder, for an archive that is
    damaged, encrypted or of an unknown kind, that holds a link or a name leading out of the folder,
    or that unpacks to far more than its size; Full where the disk is full.
    """
    into.mkdir(parents=True)
    try:
        return list(_extract(archive, into, keep))
    except BaseException as error:
        shutil.rmtree(into, ignore_errors=True)
        of_rar = type(error).__module__.startswith(
            "unrar"
        )  # the package is optional, so its errors cannot be named
        if isinstance(error, (UserError, Fault)) or not (of_rar or isinstance(error, DAMAGED)):
            raise
        if getattr(error, "errno", None) in FULL:
            raise no_room(into.parent, brief(error)) from None
        said = brief(error) or type(error).__name__
        raise Fault(f"{archive.name} cannot be unpacked ({said})") from None


def _extract(archive: Path, into: Path, keep: Keep) -> Iterator[Path]:
    limit, written = _limit(archive), 0
    with _members(archive, limit) as members:
        for number, (name, size, content) in enumerate(members):
            inner = _inside(archive, name)
            junk = "__MACOSX" in inner.parts or inner.name.startswith("._")
            if number >= MEMBERS:
                raise _bomb(archive, limit)
            if junk or not keep(inner):
                continue
            written += size
            if written > limit:
                raise _bomb(archive, limit)
            room(into, size)
            path = into / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = path.open("xb")
            except FileExistsError:
                raise Fault(f"{archive.name} holds {name!r} twice; it is damaged") from None
            left = size
            with file, content() as stream:
                while left >= 0 and (block := stream.read(BLOCK)):
                    left -= len(block)
                    file.write(block)
            if left != 0:
                raise Fault(f"{archive.name}: {name!r} has another size than it says")
            yield path


def _limit(archive: Path) -> int:
    """The most bytes that an archive may unpack to."""
    return max(SMALL, RATIO * archive.stat().st_size) if archive.is_file() else 2**62


def _bomb(archive: Path, limit: int) -> Fault:
    return Fault(
        f"{archive.name} unpacks to more than {limit:,} bytes, {RATIO} times its size, or to more "
        f"than {MEMBERS:,} files: it is damaged or meant to fill the disk; it was not unpacked"
    )


def _inside(archive: Path, name: str) -> PurePosixPath:
    """A member's name as a path inside the new folder; raises Fault."""
    path = PurePosixPath(name.replace("\\", "/"))  # as some programs on Windows write them
    odd = path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name)
    if odd or any(ord(letter) < 32 for letter in name) or not path.name:
        raise Fault(
            f"{archive.name} holds {name[:80]!r}, which leads out of its folder or is no file "
            "name; it was not unpacked"
        )
    return path


def _link(archive: Path, name: str) -> Fault:
    return Fault(
        f"{archive.name} holds {name[:80]!r}, a link or a device; data sets need none: it was not "
        "unpacked"
    )


# The kinds of archives.


def _kind(path: Path) -> str | None:
    """RAR, 7z or Parquet, by the first bytes; None for others."""
    with path.open("rb") as file:
        head = file.read(6)
    kinds = {b"Rar!": "rar", b"7z\xbc\xaf": "7z", b"PAR1": "parquet"}
    return kinds.get(head[:4])


@contextmanager
def _members(archive: Path, limit: int) -> Iterator[Iterator[Member]]:
    if archive.is_dir():
        yield _files(archive)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            if sum(info.file_size for info in file.infolist()) > limit:
                raise _bomb(archive, limit)
            yield _zip_members(archive, file)
    elif (kind := _kind(archive)) == "parquet":
        pictures = parquet.pictures(archive)
        yield ((name, len(content), partial(io.BytesIO, content)) for name, content in pictures)
    elif kind == "rar":
        yield _rar_members(archive)
    elif kind == "7z":
        raise Fault(
            f"{archive.name} is a 7z archive, which is not read here; unpack it with 7-Zip "
            "(7z x) and give the folder: bench data fetch NAME --from FOLDER"
        )
    elif _is_tar(archive):
        with _opened(archive) as stream:
            bounded: Any = _Bounded(archive, stream, limit)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield _tar_members(archive, tar)
    else:
        raise Fault(f"{archive.name} is no zip, tar or RAR, or only a part of one")


def _files(folder: Path) -> Iterator[Member]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield name, path.stat().st_size, partial(io.FileIO, path)


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _link(archive, info.filename)
        if not info.is_dir():
            yield info.filename, info.file_size, partial(file.open, info)


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    for member in tar:
        if member.isfile():
            yield member.name, member.size, partial(_regular, tar, member)
        elif not member.isdir():
            raise _link(archive, member.name)
        tar.members = []  # type: ignore[attr-defined]  # else every header stays in memory


def _regular(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # it is for links and devices only
    return content


def _rar_members(archive: Path) -> Iterator[Member]:
    try:
        from unrar.cffi import rarfile
    except ImportError:
        raise Fault(
            f"{archive.name} is a RAR archive: `pip install 'cmer-bench[rar]'` reads it, or unpack "
            "it yourself (unar, 7-Zip) and give the folder: bench data fetch NAME --from FOLDER"
        ) from None
    file = rarfile.RarFile(str(archive))
    for info in file.infolist():
        if not info.is_dir():
            yield info.filename, info.file_size, partial(file.open, info)


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
            tarfile.TarInfo.frombuf(stream.read(512), "utf-8", "surrogateescape")
    except DAMAGED:
        return False
    return True


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
