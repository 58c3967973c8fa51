"""A claim file beside the record, so that only one process at a time runs a trial.

It works between machines, too. The owner creates the file and renews its time every ten seconds.
Another process takes the trial over if the claim was not renewed for two minutes, or at once if the
owner was a process of the same machine and has ended. Should two ever run the same trial, work is
wasted but nothing is lost, because records are written atomically.
"""

import errno
import hashlib
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not Unix: only the age of a claim shows that its owner is lost
    fcntl = None  # type: ignore[assignment]

BEAT = 10.0
"""Seconds after which a claim is renewed."""
STALE = 120.0
"""Seconds without renewal after which an owner counts as lost."""


@contextmanager
def held(record: Path) -> Iterator[bool]:
    """Claim the trial of `record`; yields False if another process has it.

    If a process finds that its claim was taken over (because it was suspended for minutes), it
    ends. Raises OSError if the folder cannot be written to.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    claim = record.with_suffix(".lock")
    with _one_at_a_time(record.parent):
        file, owner = _create(claim)
    if file is None:
        yield False
        return
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(claim, owner, stop), daemon=True)
    try:
        with file:
            renewing.start()
            # A killed process may have left half-written files behind.
            for partial in record.parent.glob(f".{record.stem}.*.partial"):
                partial.unlink(missing_ok=True)
            yield True
    finally:
        stop.set()
        if renewing.ident is not None:
            renewing.join()
        with suppress(OSError):
            if claim.read_text(encoding="utf-8", errors="replace") in (owner, ""):
                claim.unlink()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of this machine after the other look at the claims of a folder.

    Without this, a process that removes a lost claim could take away the new claim of a faster one
    for a moment, and a third process could put its own there.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that cannot lock folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(claim: Path) -> tuple[IO[str] | None, str]:
    """Create a claim with the name of its owner; no file if another process has one."""
    if _is_free(claim):
        _remove_lost(claim)
    try:
        file = claim.open("x", encoding="utf-8")
    except FileExistsError:
        return None, ""
    # The lock of the system ends with this process, and so tells others of this machine at once
    # that it has ended. Other machines have only the age of the claim to go by.
    owner = f"{secrets.token_hex(8)} {_machine() if _flock(file) else ''}"
    try:
        file.write(owner)
        file.flush()
    except OSError:  # a full disk: leave no claim without an owner
        with suppress(OSError):  # closing tries to write once more
            file.close()
        claim.unlink(missing_ok=True)
        raise
    return file, owner


def busy(record: Path) -> bool:
    """Whether some process is at work on the trial right now."""
    return not _is_free(record.with_suffix(".lock"))


def _is_free(claim: Path) -> bool:
    """Whether there is no claim, or its owner is lost.

    The time is taken from a new file, since this machine's clock may differ from the file server's.
    """
    try:
        with claim.open(encoding="utf-8", errors="replace") as file:
            with tempfile.TemporaryFile(dir=claim.parent) as new:
                age = os.fstat(new.fileno()).st_mtime - os.fstat(file.fileno()).st_mtime
            owner = file.read()
            machine = owner.partition(" ")[2]
            ended = machine != "" and machine == _machine() and _flock(file, shared=True)
            # An empty claim was left by a process that was killed before it wrote its name.
            return ended or age > (STALE if owner else BEAT)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # gone, perhaps from another machine
            return True
        raise


def _remove_lost(claim: Path) -> None:
    """Remove a claim whose owner is lost.

    A faster process of another machine may have put its own claim there meanwhile. So the claim is
    renamed first and then checked once more.
    """
    aside = claim.with_name(f".{claim.stem}.{secrets.token_hex(8)}.partial")
    with suppress(FileNotFoundError):
        claim.rename(aside)
        if _is_free(aside):
            aside.unlink()
        else:
            aside.rename(claim)


def _renew(claim: Path, owner: str, stop: threading.Event) -> None:
    """Renew a claim until `stop`; ends the process when the claim is another's."""
    while not stop.wait(BEAT):
        with suppress(OSError):  # a file system that is away for a moment
            if claim.read_text(encoding="utf-8", errors="replace") != owner:
                message = "another process took this trial over: no sign of life for two minutes"
                print(message, file=sys.stderr, flush=True)
                os._exit(1)
            os.utime(claim)  # to the time of the file system, not of this machine


def _machine() -> str:
    """A hash that identifies this machine until it is restarted; empty if there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(boot).hexdigest()[:16]


def _flock(file: IO[str], shared: bool = False) -> bool:
    """Lock an open file for as long as this process lives; False if that is not possible."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
