"""One process at a time does a trial, on whatever host: a lock file with a heartbeat by its record.

Locks form a chain. `seed0.lock` is its head; who takes over from a stale owner A makes
`seed0.A.lock`, so at most one can, for a file is linked to a name only once; the chain's last link
is the owner. An owner's id is random, never a host's or a user's name. Heartbeats are file times
of one file system, compared with that of a file made there at the same moment, so that clocks of
hosts may differ. On the machine of a dead owner nobody waits: the kernel has let go of its flock.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not a Unix: heartbeats alone
    fcntl = None  # type: ignore[assignment]

BEAT = 10.0
"""Seconds between heartbeats."""
STALE = 120.0
"""Seconds without a heartbeat after which an owner counts as lost."""


@dataclass(frozen=True)
class _Link:
    path: Path
    owner: str
    beat: float
    dead: bool


@contextmanager
def held(record: Path) -> Iterator[bool]:
    """Hold the lock of the trial that belongs to `record`; yields False where another has it.

    A holder that was taken for lost (no heartbeat arrived for two minutes) ends its process. Raises
    OSError where the folder cannot be written.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    with _candidate(record) as mine:
        place = _take(record, mine)
        if place is None:
            yield False
            return
        mine.path.unlink(missing_ok=True)  # its second name is the lock
        stop = threading.Event()
        beating = threading.Thread(target=_beat, args=(record, place, mine, stop), daemon=True)
        beating.start()
        try:
            _sweep_up(record, mine)
            yield True
        finally:
            stop.set()
            beating.join()
            _release(record, mine)


def busy(record: Path) -> bool:
    """Whether somebody is at work on the trial right now."""
    if _tail(record) is None:
        return False
    with _candidate(record) as mine:
        return not _stale(_tail(record), mine)


@contextmanager
def _candidate(record: Path) -> Iterator[_Link]:
    """A file of one's own that may become the lock; its time is the file system's now."""
    owner = secrets.token_hex(8)
    path = record.with_name(f".{record.stem}.{owner}.lock")
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(f"{owner} {_machine() if _flock(file) else ''}")
            file.flush()
            yield _Link(path, owner, os.fstat(file.fileno()).st_mtime, dead=False)
        finally:
            path.unlink(missing_ok=True)


def _take(record: Path, mine: _Link) -> Path | None:
    """Put one's own file at the end of the chain, where there is none or its owner is lost."""
    tail = _tail(record)
    if not _stale(tail, mine):
        return None
    place = _place(record, tail)
    if not _linked(mine, place):
        return None
    chain = _chain(record)
    if chain and chain[-1].owner == mine.owner:
        return place
    if mine.owner not in [link.owner for link in chain]:  # the chain ended while we looked
        place.unlink(missing_ok=True)
    return None


def _release(record: Path, mine: _Link) -> None:
    """Take the chain away, unless somebody took over: then it is no longer ours."""
    with contextlib.suppress(OSError), _candidate(record) as last:
        if _linked(last, _place(record, mine)):  # nobody can take over any more
            for link in _chain(record):
                link.path.unlink(missing_ok=True)


def _linked(mine: _Link, place: Path) -> bool:
    """Give one's file a second name, unless that is taken: atomic, on NFS too."""
    try:
        os.link(mine.path, place)
    except FileExistsError:  # an answer lost on the network looks the same: count the names
        return mine.path.stat().st_nlink == 2
    except FileNotFoundError:  # the folder, or our file, was taken away
        return False
    except OSError:  # no hard links here: the next best that is exclusive
        try:
            with place.open("x", encoding="utf-8") as file:
                file.write(f"{mine.owner} ")
        except FileExistsError:
            return False
    return True


def _stale(tail: _Link | None, mine: _Link) -> bool:
    return tail is None or tail.dead or mine.beat - tail.beat > STALE


def _place(record: Path, after: _Link | None) -> Path:
    return record.with_suffix(".lock" if after is None else f".{after.owner}.lock")


def _chain(record: Path) -> list[_Link]:
    chain: list[_Link] = []
    while (link := _look(_place(record, chain[-1] if chain else None))) is not None:
        chain.append(link)
    return chain


def _tail(record: Path) -> _Link | None:
    chain = _chain(record)
    return chain[-1] if chain else None


def _look(path: Path) -> _Link | None:
    try:
        with path.open(encoding="utf-8") as file:
            beat = os.fstat(file.fileno()).st_mtime
            owner, _, machine = file.read().partition(" ")
            here = bool(machine) and machine == _machine()
            return _Link(path, owner or "new", beat, dead=here and _flock(file, shared=True))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # gone, perhaps from another host
            return None
        raise


def _beat(record: Path, place: Path, mine: _Link, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):  # a file system that is away for a moment
            tail = _tail(record)
            if tail is None or tail.owner != mine.owner:
                print("its lock was taken over: no heartbeat for two minutes", file=sys.stderr)
                sys.stderr.flush()
                os._exit(1)
            os.utime(place)  # the file system's clock, not this host's


def _sweep_up(record: Path, mine: _Link) -> None:
    """Remove what killed processes left: files that a killed write began, old candidates."""
    for left in record.parent.glob(f".{record.stem}.*.partial"):  # only the lock's owner writes
        left.unlink(missing_ok=True)
    chain = {link.path for link in _chain(record)}
    for pattern in (f".{record.stem}.*.lock", f"{record.stem}.*.lock"):
        for left in record.parent.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if left not in chain and mine.beat - left.stat().st_mtime > STALE:
                    left.unlink()


def _machine() -> str:
    """This machine since it was started: a hash of a random number, no name; empty: unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(boot).hexdigest()[:16]


def _flock(file: IO[str], shared: bool = False) -> bool:
    """Lock an open file for as long as this process lives; False where that is not possible."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
