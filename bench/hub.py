"""The Hugging Face Hub: addresses of files, its cache, downloads, and its errors in plain words.

huggingface_hub does the work: it resumes, caches, sends the token, and respects `HF_ENDPOINT`,
`HF_HOME` and `HF_HUB_OFFLINE`.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import UserError, brief, disk
from bench.spec import nearest

URL = re.compile(
    r"hf://(?P<datasets>datasets/)?(?!datasets/)(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>[\w.-]+))?/(?P<file>.+)"
)
"""`hf://datasets/OWNER/NAME@REVISION/FILE`, the form in which Hugging Face writes addresses."""
OFFLINE = "HF_HUB_OFFLINE is set"
WEIGHTS_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".ckpt")


class Unreachable(Exception):
    """The Hub cannot be reached; the message says why: `no connection to huggingface.co`."""


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hub; `revision` is a commit, a branch or a tag.

    Raises UserError for a name that no repository can have.
    """

    repo: str
    file: str
    revision: str = "main"
    repo_type: str = "model"

    def __post_init__(self) -> None:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils._validators import validate_repo_id

        try:
            validate_repo_id(self.repo)
        except HFValidationError as error:
            why = brief(error).rstrip(".")
            raise UserError(f"{self.repo!r} is no repository ({why}); write OWNER/NAME") from None

    def __str__(self) -> str:
        place = f"{self.repo}/{self.file}"
        return place if self.revision == "main" else f"{place}@{self.revision[:8]}"

    @property
    def page(self) -> str:
        """The repository's page, without `https://`."""
        folder = "datasets/" if self.repo_type == "dataset" else ""
        return f"huggingface.co/{folder}{self.repo}"

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


def of_weights(weights: str) -> HubFile:
    """The file that `hf:OWNER/REPO/FILE@REVISION` names; raises UserError for another form."""
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)/([^@]*[^@/])(?:@([\w./-]+))?", weights)
    if match is None:
        raise UserError(
            f"the weights {weights!r} name no file on the Hub; write hf:OWNER/REPO/FILE@REVISION, "
            "for instance hf:chendelong/RemoteCLIP/RemoteCLIP-ViT-B-32.pt@main"
        )
    return HubFile(match[1], match[2], match[3] or "main")


def of_url(url: str) -> HubFile | None:
    """The file that an address `hf://...` names; None for an address of another form."""
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


# Downloads.


@dataclass(frozen=True)
class HubFileInfo:
    """What the Hub says about a file: its size in bytes and, for large files, the SHA-256."""

    file: HubFile
    size: int | None
    sha256: str | None


def find(choices: Sequence[HubFile]) -> HubFileInfo:
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
        return HubFileInfo(
            file, metadata.size, etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None
        )
    raise UserError(_no_such_file(choices[-1]))


def download(info: HubFileInfo) -> Path:
    """Download a file to the cache, resuming an earlier attempt, and check its SHA-256.

    Returns its path. Raises Unreachable or UserError.
    """
    from huggingface_hub import hf_hub_download

    file = info.file
    disk.demand_room(cache_folder(), info.size or 0, "HF_HOME")
    for force in (False, True):
        try:
            path = hf_hub_download(
                file.repo, file.file, revision=file.revision, force_download=force
            )
        except Exception as error:
            raise explained(error, file) from None
        if info.sha256 is None or file_sha256(Path(path)) == info.sha256:
            return Path(path)
    raise UserError(
        f"{file} arrived damaged twice (its SHA-256 is not the one that the Hub states); try "
        "again later, or another HF_ENDPOINT"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes: 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unreachable() -> str | None:
    """Why the Hub cannot be reached, after one short request; None if it can."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return OFFLINE
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # which errors there are depends on the version of huggingface_hub
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


# Errors.


def explained(error: Exception, source: HubFile | str) -> Unreachable | UserError:
    """An error of huggingface_hub as a sentence; source: the file or URL that was asked for."""
    from huggingface_hub import constants, errors

    file = source if isinstance(source, HubFile) else None
    host = urlsplit(constants.ENDPOINT if file else str(source)).netloc
    causes = list(_causes(error))
    if any(getattr(cause, "errno", None) in disk.FULL for cause in causes):
        return disk.NoRoom(cache_folder(), error, "HF_HOME")
    if constants.HF_HUB_OFFLINE or any(isinstance(c, errors.OfflineModeIsEnabled) for c in causes):
        return Unreachable(OFFLINE)
    answer = next((c for c in causes if isinstance(c, errors.HfHubHTTPError)), None)
    status = 0 if answer is None or answer.response is None else answer.response.status_code
    if answer is not None and file and (sentence := _refused(answer, status, file, host)):
        return UserError(sentence)
    if status == 404:
        return UserError(f"{str(source).rsplit('/', 1)[-1]} is not there any more (HTTP 404)")
    if status:
        return Unreachable(f"{host} answers HTTP {status}")
    if is_of_network(error):
        return Unreachable(f"no connection to {host}")
    if isinstance(error, OSError):
        return UserError(f"{source} cannot be kept in {cache_folder()} ({brief(error)})")
    return Unreachable(brief(error))


def is_of_network(error: BaseException) -> bool:
    """Whether an error was caused by a missing connection."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    errors = (ConnectionError, TimeoutError, LocalEntryNotFoundError, OfflineModeIsEnabled)
    clients = ("httpx", "httpx2", "requests")
    return any(
        isinstance(cause, errors) or type(cause).__module__.partition(".")[0] in clients
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refused(error: BaseException, status: int, file: HubFile, host: str) -> str | None:
    """What to do if the Hub lacks the file or refuses access; None for any other answer."""
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
    if status in (401, 403):
        return (
            f"the Hub does not let you read {file} (HTTP {status}); {login}, and accept the "
            "repository's terms"
        )
    return None


def _no_such_file(file: HubFile) -> str:
    """The sentence for a missing file, with the files that the repository has."""
    from huggingface_hub import HfApi, constants

    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        names = api.list_repo_files(file.repo, revision=file.revision, repo_type=file.repo_type)
    except Exception:  # the list only helps to find the right name
        names = []
    if file.repo_type == "model":
        names = [name for name in names if name.endswith(WEIGHTS_SUFFIXES)]
    listed = f"; it has {', '.join(names[:6])}" if names else ""
    return f"{file.repo} has no file {file.file!r}{nearest(file.file, names)}{listed}"
