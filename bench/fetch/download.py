"""Download one file, from the Hugging Face Hub or any other address, with the Hub's own client.

`hf_hub_download` would not resume in a new process and would keep a second copy in its cache. So
this uses the two functions underneath it: one asks for a file's size and version, the other appends
to a partial file. Tokens, HF_ENDPOINT, HF_HUB_OFFLINE and proxies work as usual.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import brief, hub
from bench.fetch import Fault, Full
from bench.fetch.sources import Remote


def size(remote: Remote) -> int | None:
    """A file's size in bytes, from the card or else its server; None if neither says."""
    if remote.bytes is not None or _cached(remote) is not None:
        return remote.bytes or 0
    try:
        return _ask(remote)[0]
    except Fault:
        return None


def download(remote: Remote, folder: Path) -> Path:
    """Download a file into `folder` and verify its checksum; returns its path there.

    Resumes an interrupted download. A file in the Hub's cache is linked instead. Raises Fault if
    this address does not deliver the file, Full if the disk is full.
    """
    whole = folder / remote.name
    if whole.exists():
        return whole
    if cached := _cached(remote):
        with suppress(Fault):  # if the cached file is damaged, download it
            _compare(cached, remote)
            folder.mkdir(parents=True, exist_ok=True)
            try:
                whole.symlink_to(cached.resolve())
            except OSError:  # a system without links
                shutil.copyfile(cached, whole)
            return whole
    bytes_there, etag = _ask(remote)
    folder.mkdir(parents=True, exist_ok=True)
    version = remote.sha256 or remote.git_blob or f"{etag} {bytes_there}"
    mark = hashlib.sha256(f"{remote.url} {version}".encode()).hexdigest()[:8]
    partial = folder / f"{remote.name}.{mark}.part"
    resumed = _read_on(remote, bytes_there, partial)
    try:
        _compare(partial, remote)
    except Fault:
        partial.unlink()
        if not resumed:
            raise
        return download(remote, folder)  # its beginning may have been wrong: from the start
    return partial.rename(whole)


def _read_on(remote: Remote, expected: int | None, partial: Path) -> bool:
    """Download the rest of a file into `partial`; returns whether there was a beginning."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    start = partial.stat().st_size if partial.exists() else 0
    if start > (expected or 0):  # a file of unknown size cannot be resumed
        partial.unlink()
        start = 0
    room(partial.parent, (expected or 0) - start)
    file = hub.of_url(remote.url)
    token = None if file else False  # the user's token goes to the Hub and nowhere else
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    with _faults(remote, partial.parent), partial.open("ab") as stream:
        http_get(
            file.url if file else remote.url,
            stream,
            resume_size=start,
            headers=headers,
            expected_size=expected,
            displayed_filename=remote.name,
        )
    return start > 0


def room(folder: Path, needed: int) -> None:
    """Raise Full if the folder's disk has fewer free bytes than needed."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise no_room(folder, f"{needed:,} bytes are needed and {free:,} are free")


def no_room(folder: Path, why: str) -> Full:
    """The error for a full disk."""
    return Full(
        f"there is no room in {folder} ({why}); make room, or choose another disk with "
        "--data-root; the same command then goes on where it stopped"
    )


def _ask(remote: Remote) -> tuple[int | None, str | None]:
    """A file's size and version (ETag) as its server states them; raises Fault."""
    from huggingface_hub import errors, get_hf_file_metadata

    file = hub.of_url(remote.url)
    with _faults(remote, Path()):
        try:
            if file is None:
                stated = get_hf_file_metadata(remote.url, token=False)
            else:
                stated = get_hf_file_metadata(file.url)
        except errors.HfHubHTTPError as error:
            if file is None and error.response.status_code in (403, 405, 501):
                return remote.bytes, None  # this server does not answer HEAD requests
            raise
    if None not in (remote.bytes, stated.size) and remote.bytes != stated.size:
        raise Fault(f"{remote.name} has {stated.size:,} bytes there, on the card {remote.bytes:,}")
    return stated.size or remote.bytes, stated.etag


def _cached(remote: Remote) -> Path | None:
    """The file in the Hub's own cache, if another program has downloaded it already."""
    file = hub.of_url(remote.url)
    return None if file is None else hub.cached(file)


def _compare(path: Path, remote: Remote) -> None:
    """Raise Fault if a file does not have the checksums on the card."""
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    for key, known, digest in (
        ("sha256", remote.sha256, hashlib.sha256()),
        ("git_blob", remote.git_blob, blob),
    ):
        if known is None:
            continue
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        if digest.hexdigest() != known:
            raise Fault(
                f"{remote.name} is another file than the card names ({key} {digest.hexdigest()}, "
                f"on the card {known})"
            )


@contextmanager
def _faults(remote: Remote, folder: Path) -> Iterator[None]:
    """Turn what the client raises into Fault, or into Full if `folder`'s disk is full."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) in hub.FULL:
            raise no_room(folder, brief(error)) from None
        reason = str(hub.explained(error, hub.of_url(remote.url) or remote.url))
        remedy = ": unset it to download" if reason == hub.OFFLINE else ""
        raise Fault(reason + remedy) from None
