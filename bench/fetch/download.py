"""Download one file, from the Hugging Face Hub or any other address, with the Hub's own client.

`hf_hub_download` would not resume in a new process and would keep a second copy in its cache. So
this uses the two functions underneath it: one asks for a file's size and version, the other appends
to a partial file. Tokens, HF_ENDPOINT, HF_HUB_OFFLINE and proxies work as usual.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import brief
from bench.fetch import Fault, Full
from bench.fetch.sources import HUB, Remote

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota and a file above the size limit."""


@dataclass(frozen=True)
class _Answer:
    """Size in bytes and version of a file, as its server states them; None where it does not."""

    size: int | None
    etag: str | None


@dataclass(frozen=True)
class _Hub:
    """A file on the Hub; the fields are parameters of the client's functions."""

    repo_id: str
    filename: str
    repo_type: str
    revision: str


class _Refused(Fault):
    """The server answers with an error."""

    def __init__(self, status: int, remote: Remote) -> None:
        said = f"HTTP {status}"
        if status == 404:
            said = f"{remote.name} is not there any more ({said})"
        elif status in (401, 403):
            said = f"access is refused ({said})"
            if _hub(remote):
                said += (
                    ": the repository is private or gone; where you have access, log in with "
                    "`hf auth login` or set HF_TOKEN"
                )
        super().__init__(said)
        self.status = status


def _hub(remote: Remote) -> _Hub | None:
    """Where on the Hub a file is; None for other addresses."""
    found = HUB.fullmatch(remote.url)
    if found is None:
        return None
    kind = "dataset" if found["kind"] else "model"
    return _Hub(found["repo"], found["file"], kind, found["revision"] or "main")


def size(remote: Remote) -> int | None:
    """A file's size in bytes, from the card or else its server; None where neither says."""
    if remote.bytes is not None or _cached(remote) is not None:
        return remote.bytes or 0
    try:
        return _ask(remote).size
    except Fault:
        return None


def download(remote: Remote, folder: Path) -> Path:
    """Download a file into `folder` and verify its checksum; returns its path there.

    Resumes an interrupted download. A file in the Hub's cache is linked instead. Raises Fault where
    this address does not deliver the file, Full where the disk is full.
    """
    whole = folder / remote.name
    if whole.exists():
        return whole
    if cached := _cached(remote):
        with suppress(Fault):  # if the cached file is damaged, download it
            _compare(cached, remote)
            folder.mkdir(parents=True, exist_ok=True)
            _link(cached, whole)
            return whole
    asked = _ask(remote)
    folder.mkdir(parents=True, exist_ok=True)
    version = remote.sha256 or remote.git_blob or f"{asked.etag} {asked.size}"
    mark = hashlib.sha256(f"{remote.url} {version}".encode()).hexdigest()[:8]
    partial = folder / f"{remote.name}.{mark}.part"
    for fresh in (False, True):
        resumed = _read_on(remote, asked, partial)
        try:
            _compare(partial, remote)
        except Fault:
            partial.unlink()
            if fresh or not resumed:  # a resumed file may have had a wrong beginning
                raise
            continue
        break
    partial.rename(whole)
    return whole


def _read_on(remote: Remote, asked: _Answer, partial: Path) -> bool:
    """Download the rest of a file into `partial`; returns whether there was a beginning."""
    from huggingface_hub.file_download import http_get

    start = partial.stat().st_size if partial.exists() else 0
    if start > (asked.size or 0):  # a file of unknown size cannot be resumed
        partial.unlink()
        start = 0
    room(partial.parent, (asked.size or 0) - start)
    with _in_words(remote, partial.parent), partial.open("ab") as file:
        http_get(
            _address(remote),
            file,
            resume_size=start,
            headers=_headers(remote),
            expected_size=asked.size,
            displayed_filename=remote.name,
        )
    return start > 0


def room(folder: Path, wanted: int) -> None:
    """Raise Full if the folder's disk has fewer free bytes than wanted."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise no_room(folder, f"{wanted:,} bytes are needed and {free:,} are free")


def no_room(folder: Path, why: str) -> Full:
    """The error for a full disk."""
    return Full(
        f"there is no room in {folder} ({why}); make room, or choose another disk with "
        "--data-root; the same command then goes on where it stopped"
    )


def _ask(remote: Remote) -> _Answer:
    """Ask the server for a file's size and version; raises Fault where it is not available."""
    from huggingface_hub import get_hf_file_metadata

    hub = _hub(remote) is not None
    try:
        with _in_words(remote, Path()):
            found = get_hf_file_metadata(_address(remote), token=None if hub else False)
    except _Refused as refused:
        if hub or refused.status not in (403, 405, 501):
            raise
        return _Answer(remote.bytes, None)  # this server does not answer HEAD requests
    if None not in (remote.bytes, found.size) and remote.bytes != found.size:
        raise Fault(f"{remote.name} has {found.size:,} bytes there, on the card {remote.bytes:,}")
    return _Answer(found.size or remote.bytes, found.etag)


def _address(remote: Remote) -> str:
    from huggingface_hub import hf_hub_url

    hub = _hub(remote)
    if hub is None:
        return remote.url
    return hf_hub_url(**vars(hub), endpoint=os.environ.get("HF_ENDPOINT"))


def _headers(remote: Remote) -> dict[str, Any]:
    """The user's token goes to the Hub and nowhere else."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    return {
        **build_hf_headers(token=None if _hub(remote) else False),
        "Accept-Encoding": "identity",
    }


def _cached(remote: Remote) -> Path | None:
    """The file in the Hub's own cache, where another program has downloaded it already."""
    from huggingface_hub import try_to_load_from_cache

    hub = _hub(remote)
    found = None if hub is None else try_to_load_from_cache(**vars(hub))
    return Path(found) if isinstance(found, str) else None


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a system without links
        shutil.copyfile(source, target)


def _compare(path: Path, remote: Remote) -> None:
    """Raise Fault where a file does not have the checksums on the card."""
    for key, known in (("sha256", remote.sha256), ("git_blob", remote.git_blob)):
        if known is not None:
            digest = hashlib.new("sha256" if key == "sha256" else "sha1")
            if key == "git_blob":
                digest.update(b"blob %d\0" % path.stat().st_size)
            with path.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
            if digest.hexdigest() != known:
                raise Fault(
                    f"{remote.name} is another file than the card names ({key} "
                    f"{digest.hexdigest()}, on the card {known})"
                )


@contextmanager
def _in_words(remote: Remote, folder: Path) -> Iterator[None]:
    """Turn what the client raises into Fault, or into Full where `folder`'s disk is full."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise Fault("HF_HUB_OFFLINE is set: unset it to download") from None
    except errors.GatedRepoError as error:
        raise Fault(
            f"it is a gated repository (HTTP {error.response.status_code}): accept its terms on "
            f"https://{remote.owner}, then log in with `hf auth login` or set HF_TOKEN"
        ) from None
    except errors.HfHubHTTPError as error:
        raise _Refused(error.response.status_code, remote) from None
    except _transport_errors() as error:
        if getattr(error, "errno", None) in FULL:
            raise no_room(folder, brief(error)) from None
        said = brief(error) or type(error).__name__
        raise Fault(f"the connection failed ({said}): is there a network?") from None


def _transport_errors() -> tuple[type[Exception], ...]:
    """Network errors: OSError, and those of the HTTP library that the client is built on."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
    return (*bases, OSError)
