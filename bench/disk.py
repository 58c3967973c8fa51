"""The disk: whether a file can be written, and how much room there is."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import UserError, brief
from bench.units import DOWNLOADS, format_bytes

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota and a file above the size limit."""


class NoRoom(UserError):
    """A folder that is full, or would be, or is protected. `elsewhere`: how to choose another."""

    def __init__(self, folder: Path, reason: object, elsewhere: str) -> None:
        why = (isinstance(reason, OSError) and reason.strerror) or brief(reason)
        super().__init__(
            f"{folder} cannot be written to ({why}); make room, change its permissions, or choose "
            f"another disk with {elsewhere}"
        )


def try_writing(folder: Path, size: int = 1) -> None:
    """Make a folder and write a file of `size` bytes into it, which is gone afterwards.

    Raises OSError if that fails. Permissions alone do not tell: the disk may be full, over its
    quota or mounted read-only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:  # without a name: nothing can be left
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())  # some file systems notice only now that they are full


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    disk = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(disk).free


def demand_room(folder: Path, needed: int, elsewhere: str) -> None:
    """Raise NoRoom if the disk of a folder has fewer than `needed` free bytes."""
    if (free := free_bytes(folder)) < needed:
        sizes = f"{format_bytes(needed, DOWNLOADS)} needed, {format_bytes(free, DOWNLOADS)} free"
        raise NoRoom(folder, sizes, elsewhere)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the file system, while the user's `path` is written, into a UserError."""
    try:
        yield
    except OSError as error:
        why = error.strerror or brief(error)
        raise UserError(f"{path} cannot be written ({why}); give another name or folder") from None


def demand_writable(path: Path) -> None:
    """Make the folder of a file; raises UserError if the file cannot be written there.

    Asked before the work for the file begins, which may take hours.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    with writing(path):
        try_writing(path.parent)


def demand_png(path: Path | None) -> None:
    """Raise UserError for a picture, if one is wanted, that is no PNG or cannot be written."""
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise UserError(f"the picture is a PNG, not {path}; give a name that ends in .png")
    demand_writable(path)
