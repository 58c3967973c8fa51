"""The Hugging Face Hub: find files in its cache, ask the Hub about them, download them.

huggingface_hub does the work: it resumes, caches, sends the token, and respects `HF_ENDPOINT`,
`HF_HOME` and `HF_HUB_OFFLINE`.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import UserError
from bench.hub.address import HubFile, cache_folder, cached, of_url, of_weights
from bench.hub.errors import (
    FULL,
    OFFLINE,
    Unreachable,
    explained,
    is_of_network,
    no_room,
    no_such_file,
)
from bench.units import DOWNLOADS, format_bytes

__all__ = [
    "FULL",
    "OFFLINE",
    "HubFile",
    "Stated",
    "Unreachable",
    "ask",
    "cache_folder",
    "cached",
    "download",
    "explained",
    "file_sha256",
    "is_of_network",
    "of_url",
    "of_weights",
    "unreachable",
    "without_waiting",
]


@dataclass(frozen=True)
class Stated:
    """What the Hub says about a file: its size in bytes and, for large files, the SHA-256."""

    file: HubFile
    size: int | None
    sha256: str | None


def ask(choices: Sequence[HubFile]) -> Stated:
    """The first of these files that the Hub has, after one short request for each.

    Raises Unreachable, or UserError if the Hub has none of them or refuses access.
    """
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import EntryNotFoundError

    for file in choices:
        try:
            metadata = get_hf_file_metadata(file.url)
        except EntryNotFoundError:
            continue
        except Exception as error:
            raise explained(error, file) from None
        etag = metadata.etag or ""
        return Stated(file, metadata.size, etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None)
    raise UserError(no_such_file(choices[-1]))


def download(stated: Stated, again: bool = False) -> Path:
    """Download a file to the cache, resuming an earlier attempt, and check its SHA-256.

    again: download even if it is in the cache. Returns its path. Raises Unreachable or UserError.
    """
    from huggingface_hub import hf_hub_download

    file = stated.file
    _demand_room(stated.size or 0)
    for force in (again, True):
        try:
            path = hf_hub_download(
                file.repo, file.file, revision=file.revision, force_download=force
            )
        except Exception as error:
            raise explained(error, file) from None
        if stated.sha256 is None or file_sha256(Path(path)) == stated.sha256:
            return Path(path)
    raise UserError(
        f"{file} arrived damaged twice (its SHA-256 is not the one that the Hub states); try "
        "again later, or another HF_ENDPOINT"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes: 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _demand_room(size: int) -> None:
    folder = cache_folder()
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.is_dir())).free
    if free < size:
        there, needed = format_bytes(free, DOWNLOADS), format_bytes(size, DOWNLOADS)
        raise no_room(f": {there} are free, {needed} are needed")


def unreachable() -> str | None:
    """Why the Hub cannot be reached, after one short request; None if it can."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return OFFLINE
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # depends on huggingface_hub's HTTP client, which changes with its version
        return f"no connection to {urlsplit(constants.ENDPOINT).netloc}"
    return None


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Make transformers use its cache at once if the Hub cannot be reached.

    Without this it retries for half a minute, with a warning each time.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or unreachable() is not None
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
