"""Errors of the Hugging Face Hub as plain sentences that say what to do."""

import errno
from collections.abc import Iterator
from urllib.parse import urlsplit

from bench import UserError, brief
from bench.hub.address import HubFile, cache_folder
from bench.spec import nearest

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota and a file above the size limit."""
OFFLINE = "HF_HUB_OFFLINE is set"
"""Why the Hub cannot be reached if the user has switched connections off."""
ENDINGS = (".pt", ".pth", ".bin", ".safetensors", ".ckpt")
"""File endings of weights."""


class Unreachable(Exception):
    """The Hub cannot be reached; the message says why: `no connection to huggingface.co`."""


def no_room(known: str = "") -> UserError:
    """The error for a full disk; `known`: how much is free and needed."""
    return UserError(
        f"there is no room for the weights in {cache_folder()}{known}; make room, or choose "
        "another place with HF_HOME"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explained(error: Exception, source: HubFile | str) -> Unreachable | UserError:
    """An error of huggingface_hub as a sentence; source: the file or URL that was asked for."""
    from huggingface_hub import constants, errors

    file = source if isinstance(source, HubFile) else None
    host = urlsplit(constants.ENDPOINT if file else str(source)).netloc
    causes = list(_causes(error))
    if any(isinstance(cause, OSError) and cause.errno in FULL for cause in causes):
        return no_room()
    if constants.HF_HUB_OFFLINE or any(isinstance(c, errors.OfflineModeIsEnabled) for c in causes):
        return Unreachable(OFFLINE)
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
        return no_such_file(file)
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

    errors = (ConnectionError, TimeoutError, LocalEntryNotFoundError, OfflineModeIsEnabled)
    clients = ("httpx", "httpx2", "requests")
    return any(
        isinstance(cause, errors) or type(cause).__module__.partition(".")[0] in clients
        for cause in _causes(error)
    )


def no_such_file(file: HubFile) -> str:
    """The sentence for a missing file, with the files that the repository has."""
    from huggingface_hub import HfApi, constants

    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        names = api.list_repo_files(file.repo, revision=file.revision, repo_type=file.repo_type)
    except Exception:  # the list only helps to find the right name
        names = []
    if file.repo_type == "model":
        names = [name for name in names if name.endswith(ENDINGS)]
    listed = f"; it has {', '.join(names[:6])}" if names else ""
    return f"{file.repo} has no file {file.file!r}{nearest(file.file, names)}{listed}"
