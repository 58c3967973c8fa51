"""Files on the Hugging Face Hub: their addresses, the cache, downloads, and errors in plain words.

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
URL = re.compile(
    r"hf://(?P<datasets>datasets/)?(?!datasets/)(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>[\w.-]+))?/(?P<file>.+)"
)
"""`hf://datasets/OWNER/NAME@REVISION/FILE`, the form in which Hugging Face writes addresses."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota and a file above the size limit."""
ENDINGS = (".pt", ".pth", ".bin", ".safetensors", ".ckpt")
"""Endings of the names of weights."""


class Unreachable(Exception):
    """The Hub cannot be reached; the message says why: `no connection to huggingface.co`."""


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hub; `revision` is a commit, a branch or a tag."""

    repo: str
    file: str
    revision: str = "main"
    repo_type: str = "model"

    def __str__(self) -> str:
        place = f"{self.repo}/{self.file}"
        return place if self.revision == "main" else f"{place}@{self.revision[:8]}"

    @property
    def page(self) -> str:
        """The repository's page, without `https://`."""
        return f"huggingface.co/{'datasets/' * (self.repo_type == 'dataset')}{self.repo}"

    @property
    def url(self) -> str:
        """Where the file is downloaded from."""
        from huggingface_hub import constants, hf_hub_url

        return hf_hub_url(
            self.repo,
            self.file,
            repo_type=self.repo_type,
            revision=self.revision,
            endpoint=constants.ENDPOINT,
        )


@dataclass(frozen=True)
class Stated:
    """What the Hub states of a file: its size in bytes, and the SHA-256 if it is a large one."""

    file: HubFile
    size: int | None
    sha256: str | None


def of_weights(weights: str) -> HubFile:
    """The file that `hf:OWNER/REPO/FILE@REVISION` names; raises UserError for another form."""
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)/([^@]*[^@/])(?:@([\w./-]+))?", weights)
    if match is None:
        raise UserError(
            f"the weights {weights!r} name no file on the Hub; write {FORM}, for instance "
            "hf:chendelong/RemoteCLIP/RemoteCLIP-ViT-B-32.pt@main"
        )
    return HubFile(match[1], match[2], match[3] or "main")


def of_url(url: str) -> HubFile | None:
    """The file that an address `hf://...` names; None for other addresses."""
    match = URL.fullmatch(url)
    if match is None:
        return None
    repo_type = "dataset" if match["datasets"] else "model"
    return HubFile(match["repo"], match["file"], match["revision"] or "main", repo_type)


def cache_folder() -> Path:
    """Where huggingface_hub keeps what it downloads."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(file: HubFile) -> Path | None:
    """The file in the cache, without asking the Hub; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(
        file.repo, file.file, revision=file.revision, repo_type=file.repo_type
    )
    return Path(path) if isinstance(path, str) else None


def ask(choices: Sequence[HubFile]) -> Stated:
    """The first of several files that the Hub has; one short request for each.

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
    raise UserError(_no_such_file(choices[-1]))


def download(stated: Stated, again: bool = False) -> Path:
    """Download a file to the cache, resuming an earlier attempt; returns its path.

    `again`: even if it is in the cache. Its SHA-256 is compared with the Hub's. Raises Unreachable
    or UserError.
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
        raise _no_room(f": {there} are free, {needed} are needed")


def _no_room(known: str = "") -> UserError:
    return UserError(
        f"there is no room for the weights in {cache_folder()}{known}; make room, or choose "
        "another place with HF_HOME"
    )


def unreachable() -> str | None:
    """Why the Hub cannot be reached, after one short request; None if it can."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # of the HTTP client of huggingface_hub, which changes with its version
        return f"no connection to {urlsplit(constants.ENDPOINT).netloc}"
    return None


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Make transformers use its cache at once if the Hub cannot be reached.

    Otherwise it retries for half a minute, with a warning each time.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or unreachable() is not None
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


# Errors.


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explained(error: Exception, source: HubFile | str) -> Unreachable | UserError:
    """An error of huggingface_hub as a sentence; `source`: what was asked for, a file or a URL."""
    from huggingface_hub import constants, errors

    file = source if isinstance(source, HubFile) else None
    host = urlsplit(constants.ENDPOINT if file else str(source)).netloc
    causes = list(_causes(error))
    if any(isinstance(cause, OSError) and cause.errno in FULL for cause in causes):
        return _no_room()
    if constants.HF_HUB_OFFLINE or any(isinstance(c, errors.OfflineModeIsEnabled) for c in causes):
        return Unreachable("HF_HUB_OFFLINE is set")
    answers = [cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)]
    if answers and file is not None and (sentence := _refused(answers[0], file, host)):
        return UserError(sentence)
    status = answers[0].response.status_code if answers and answers[0].response is not None else 0
    if status == 404:
        return UserError(f"{str(source).rsplit('/', 1)[-1]} is not there any more (HTTP 404)")
    if status:
        return Unreachable(f"{host} answers HTTP {status}")
    if is_of_network(error):
        return Unreachable(f"no connection to {host}")
    if isinstance(error, OSError):
        return UserError(f"{source} cannot be kept in {cache_folder()} ({brief(error)})")
    return Unreachable(brief(error) or type(error).__name__)


def _refused(error: Exception, file: HubFile, host: str) -> str | None:
    """What to do if the Hub has not what was asked for, or gives it to others; None: it is busy."""
    from huggingface_hub import errors

    login = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"the Hub gives {file} only to those who accepted its terms: open "
            f"https://{file.page}, accept them, then {login}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        kind = "model repository" if file.repo_type == "model" else "data set"
        return f"{host} has no {kind} {file.repo!r}, or it is private; check the name, or {login}"
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{file.repo} has no revision {file.revision!r}; give a commit, a branch or a tag, or "
            "leave out @REVISION"
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return _no_such_file(file)
    response = getattr(error, "response", None)
    if response is not None and response.status_code in (401, 403):
        return (
            f"the Hub does not let you read {file} (HTTP {response.status_code}); {login}, and "
            "accept the repository's terms"
        )
    return None


def is_of_network(error: BaseException) -> bool:
    """Whether an error was caused by a missing connection."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    kinds = (ConnectionError, TimeoutError, LocalEntryNotFoundError, OfflineModeIsEnabled)
    clients = ("httpx", "httpx2", "requests")
    return any(
        isinstance(cause, kinds) or type(cause).__module__.partition(".")[0] in clients
        for cause in _causes(error)
    )


def _no_such_file(file: HubFile) -> str:
    """The sentence for a missing file, with the files that the repository has."""
    from huggingface_hub import HfApi, constants

    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        names = api.list_repo_files(file.repo, revision=file.revision, repo_type=file.repo_type)
    except Exception:  # the list is only a help
        names = []
    if file.repo_type == "model":
        names = [name for name in names if name.endswith(ENDINGS)]
    listed = f"; it has {', '.join(names[:6])}" if names else ""
    return f"{file.repo} has no file {file.file!r}{nearest(file.file, names)}{listed}"
