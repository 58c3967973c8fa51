"""Files on the Hugging Face Hub: find them in the cache, download them, explain errors.

The work is huggingface_hub's: it resumes, caches, sends the token, and follows `HF_ENDPOINT`,
`HF_HOME` and `HF_HUB_OFFLINE`.
"""

import contextlib
import errno
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import UserError, brief
from bench.spec import nearest
from bench.units import DOWNLOADS, format_bytes

FORM = "hf:OWNER/REPO/FILE@REVISION"


class Unreachable(Exception):
    """The Hub cannot be reached; the message says why: `no connection to huggingface.co`."""


@dataclass(frozen=True)
class Address:
    """A file in a model repository of the Hub; `revision` is a commit, a branch or a tag."""

    repo: str
    file: str
    revision: str = "main"

    def __str__(self) -> str:
        place = f"{self.repo}/{self.file}"
        return place if self.revision == "main" else f"{place}@{self.revision[:8]}"


@dataclass(frozen=True)
class Remote:
    """A file's size in bytes and SHA-256 as the Hub states them; it has hashes of large files."""

    address: Address
    size: int | None
    sha256: str | None


def address_of(weights: str) -> Address:
    """`hf:OWNER/REPO/FILE@REVISION` -> its parts; raises UserError for another form."""
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)/([^@]*[^@/])(?:@([\w./-]+))?", weights)
    if found is None:
        raise UserError(
            f"the weights {weights!r} name no file on the Hub; write {FORM}, for instance "
            "hf:chendelong/RemoteCLIP/RemoteCLIP-ViT-B-32.pt@main"
        )
    return Address(found[1], found[2], found[3] or "main")


def cache_folder() -> Path:
    """Where huggingface_hub keeps what it downloads."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(address: Address) -> Path | None:
    """The file in the cache, without asking the Hub; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(address.repo, address.file, revision=address.revision)
    return Path(found) if isinstance(found, str) else None


def remote(choices: Sequence[Address]) -> Remote:
    """The first of several files that the Hub has; one short request for each.

    Raises Unreachable, or UserError where the Hub has none of them or does not let us read.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for address in choices:
        url = hf_hub_url(address.repo, address.file, revision=address.revision)
        try:
            said = get_hf_file_metadata(url)
        except EntryNotFoundError:
            continue
        except Exception as error:
            raise _plain(error, address) from None
        etag = said.etag or ""
        return Remote(address, said.size, etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None)
    raise UserError(_no_such_file(choices[-1]))


def download(found: Remote, again: bool = False) -> Path:
    """Download a file to the cache, resuming an earlier attempt; returns its path.

    `again`: even if it is in the cache. Its SHA-256 is compared with the Hub's. Raises Unreachable
    or UserError.
    """
    from huggingface_hub import hf_hub_download

    address = found.address
    _demand_room(found)
    for force in (again, True):
        try:
            path = Path(
                hf_hub_download(
                    address.repo, address.file, revision=address.revision, force_download=force
                )
            )
        except Exception as error:
            raise _plain(error, address) from None
        if found.sha256 is None or file_sha256(path) == found.sha256:
            return path
    raise UserError(
        f"{address} arrived damaged twice (its SHA-256 is not the one that the Hub states); try "
        "again later, or another HF_ENDPOINT"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes: 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _demand_room(found: Remote) -> None:
    folder = cache_folder()
    place = next(p for p in (folder, *folder.parents) if p.is_dir())
    free = shutil.disk_usage(place).free
    if found.size is not None and free < found.size:
        raise UserError(_no_room(found.size, free))


def _no_room(size: int | None, free: int | None) -> str:
    known = (
        f": {format_bytes(free, DOWNLOADS)} are free, {format_bytes(size, DOWNLOADS)} are needed"
        if size and free
        else ""
    )
    return (
        f"there is no room for the weights in {cache_folder()}{known}; make room, or choose "
        "another place with HF_HOME"
    )


def unreachable() -> str | None:
    """Why the Hub cannot be reached, after one short request; None where it can."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # of the client that huggingface_hub has, which changes with its version
        return f"no connection to {urlsplit(constants.ENDPOINT).netloc}"
    return None


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Make transformers use its cache at once where the Hub cannot be reached.

    Otherwise it retries for half a minute, with a warning each time.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or unreachable() is not None
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _plain(error: Exception, address: Address) -> Exception:
    """Translate an error of huggingface_hub into Unreachable or a UserError."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    chain = list(_causes(error))
    host = urlsplit(constants.ENDPOINT).netloc
    if any(isinstance(one, OSError) and one.errno == errno.ENOSPC for one in chain):
        return UserError(_no_room(None, None))
    if constants.HF_HUB_OFFLINE or any(isinstance(e, hub.OfflineModeIsEnabled) for e in chain):
        return Unreachable("HF_HUB_OFFLINE is set")
    for one in chain:
        if isinstance(one, hub.GatedRepoError):
            return UserError(
                f"the Hub gives {address} only to those who accepted its terms: open "
                f"{constants.ENDPOINT}/{address.repo}, accept them, then log in with "
                "`hf auth login` or set HF_TOKEN"
            )
        if isinstance(one, hub.RepositoryNotFoundError):
            return UserError(
                f"{host} has no model repository {address.repo!r}, or it is private; check the "
                "name, or log in with `hf auth login` or HF_TOKEN"
            )
        if isinstance(one, hub.RevisionNotFoundError):
            return UserError(
                f"{address.repo} has no revision {address.revision!r}; give a commit, a branch "
                "or a tag, or leave out @REVISION"
            )
        if isinstance(one, hub.RemoteEntryNotFoundError):
            return UserError(_no_such_file(address))
        if isinstance(one, hub.HfHubHTTPError) and one.response is not None:
            code = one.response.status_code
            if code in (401, 403):
                return UserError(
                    f"the Hub does not let you read {address} (HTTP {code}); log in with "
                    "`hf auth login` or set HF_TOKEN, and accept the repository's terms"
                )
            return Unreachable(f"{host} answers HTTP {code}")
    if is_of_network(error):
        return Unreachable(f"no connection to {host}")
    if isinstance(error, OSError):
        return UserError(f"{address} cannot be kept in {cache_folder()} ({brief(error)})")
    return Unreachable(brief(error) or type(error).__name__)


def is_of_network(error: BaseException) -> bool:
    """Whether an error was caused by a missing connection."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    kinds = (ConnectionError, TimeoutError, LocalEntryNotFoundError, OfflineModeIsEnabled)
    clients = ("httpx", "httpx2", "requests")
    return any(
        isinstance(one, kinds) or type(one).__module__.partition(".")[0] in clients
        for one in _causes(error)
    )


def _no_such_file(address: Address) -> str:
    """The message for a missing file, with the files that the repository has."""
    from huggingface_hub import HfApi, constants

    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        there = list(api.list_repo_files(address.repo, revision=address.revision))
    except Exception:  # the list is only a help
        there = []
    endings = (".pt", ".pth", ".bin", ".safetensors", ".ckpt")
    weights = [name for name in there if name.endswith(endings)]
    known = f"; it has {', '.join(weights[:6])}" if weights else ""
    return f"{address.repo} has no file {address.file!r}{nearest(address.file, weights)}{known}"
