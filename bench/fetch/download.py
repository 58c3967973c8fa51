"""Download one file, from the Hugging Face Hub or any other address, with the Hub's own client.

`hf_hub_download` knows no other addresses and would keep a second copy in its cache. So this uses
the two functions underneath it: one asks for a file's size and version, the other appends to a
partial file. Tokens, HF_ENDPOINT, HF_HUB_OFFLINE and proxies work as usual.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import disk, hub
from bench.fetch import Fault
from bench.fetch.sources import Remote

ELSEWHERE = "--data-root; the same command then goes on where it stopped"
"""The remedy for a full disk."""


def size(remote: Remote) -> int | None:
    """A file's size in bytes, from the card or else the server; None if neither says."""
    try:
        return remote.bytes or _ask(remote)[0]
    except Fault:
        return None


def download(remote: Remote, folder: Path) -> Path:
    """Download a file into `folder` and verify its checksum; returns its path there.

    Resumes an interrupted download. Raises Fault if this address does not deliver the file,
    disk.NoRoom if the disk is full.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    complete = folder / remote.name
    if complete.exists():
        return complete
    expected, etag = _ask(remote)
    folder.mkdir(parents=True, exist_ok=True)  # only now: without a network nothing is left behind
    # The name holds the version, so that a file is never completed with bytes of another one.
    version = remote.sha256 or remote.git_blob or f"{etag} {expected}"
    mark = hashlib.sha256(f"{remote.url} {version}".encode()).hexdigest()[:8]
    partial = folder / f"{remote.name}.{mark}.part"
    url, token = _address(remote)
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    while True:
        start = partial.stat().st_size if partial.exists() else 0
        if start > (expected or 0):  # a file of unknown size cannot be resumed
            partial.unlink()
            start = 0
        disk.demand_room(folder, (expected or 0) - start, ELSEWHERE)
        with _faults(remote, folder), partial.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=start,
                headers=headers,
                expected_size=expected,
                displayed_filename=remote.name,
            )
        difference = _difference(partial, remote)
        if difference is None:
            return partial.rename(complete)
        partial.unlink()
        if start == 0:
            raise Fault(difference)
        # The beginning, which was there before, may have been wrong: once more from the start.


def _address(remote: Remote) -> tuple[str, bool | None]:
    """A file's address, and the token to send: the user's goes to the Hub and nowhere else."""
    file = hub.of_url(remote.url)
    return (remote.url, False) if file is None else (file.url, None)


def _ask(remote: Remote) -> tuple[int | None, str | None]:
    """A file's size and version (ETag) as its server states them; raises Fault."""
    from huggingface_hub import errors, get_hf_file_metadata

    url, token = _address(remote)
    with _faults(remote, Path()):
        try:
            stated = get_hf_file_metadata(url, token=token)
        except errors.HfHubHTTPError as error:
            # Some servers, signed addresses among them, deliver files but answer no HEAD request.
            if token is False and error.response.status_code in (403, 405, 501):
                return remote.bytes, None
            raise
    if None not in (remote.bytes, stated.size) and remote.bytes != stated.size:
        raise Fault(f"{remote.name} has {stated.size:,} bytes there, on the card {remote.bytes:,}")
    return stated.size or remote.bytes, stated.etag


def _difference(path: Path, remote: Remote) -> str | None:
    """How a file's checksum differs from the one on the card; None if it does not."""
    key, expected = ("sha256", remote.sha256) if remote.sha256 else ("git_blob", remote.git_blob)
    if expected is None:
        return None
    start = hashlib.sha256()
    if key == "git_blob":  # Git hashes a header, then the content
        start = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, lambda: start).hexdigest()
    if actual == expected:
        return None
    return f"{remote.name} is another file than the card names ({key} {actual}, not {expected})"


@contextmanager
def _faults(remote: Remote, folder: Path) -> Iterator[None]:
    """Turn what the client raises into Fault, or disk.NoRoom if `folder` cannot be written to."""
    try:
        yield
    except Exception as error:
        denied = isinstance(error, PermissionError) and Path(str(error.filename)).parent == folder
        if denied or getattr(error, "errno", None) in disk.FULL:
            raise disk.NoRoom(folder, error, ELSEWHERE) from None
        reason = str(hub.explained(error, hub.of_url(remote.url) or remote.url))
        remedy = ": unset it to download" if reason == hub.OFFLINE else ""
        raise Fault(reason + remedy) from None
