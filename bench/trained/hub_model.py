"""Models on the Hub: push an export, and load it again by `hf:OWNER/NAME`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, brief, hub
from bench.hub import HubFile
from bench.trained.merged import WEIGHTS
from bench.trained.restore import ADAPTER, EXPORTED

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hf:"
NAME = r"[\w.-]+/[\w.-]+"
WRITTEN = (EXPORTED, ADAPTER, "adapter_*", "example.*", "open_clip_*", "README.md")
"""Files of an earlier export; a new push removes those that it does not replace."""


def check_name(repo: str) -> None:
    """Raise UserError unless `repo` is a valid OWNER/NAME."""
    parts = repo.split("/")
    odd = any(re.search(r"--|\.\.|^[-.]|[-.]$", part) for part in parts)
    if odd or len(repo) > 96 or not re.fullmatch(NAME, repo):
        raise UserError(
            "--push names a repository of the Hub as OWNER/NAME, such as me/lora-rsitmd"
        )


def push(folder: Path, repo: str, public: bool) -> str:
    """Upload the files of an export as one commit; returns the address of the repository.

    A new repository is created if there is none, private unless `public`. Raises UserError if there
    is no token, if it may not write there, if a private push would go to a public repository, or if
    the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants, get_token

    if get_token() is None:
        raise UserError(
            "there is no token of the Hugging Face Hub here; log in with `hf auth login`, or set "
            "HF_TOKEN"
        )
    api = HfApi(endpoint=constants.ENDPOINT)
    try:
        _make(api, repo, public)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message="Upload by cmer-bench",
            delete_patterns=list(WRITTEN),
        )
    except UserError:
        raise
    except Exception as error:
        raise _plain(error, repo) from None
    return f"{constants.ENDPOINT}/{repo}"


def _make(api: "HfApi", repo: str, public: bool) -> None:
    """Create the repository, or check that an existing one is as private as it should be."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        there = api.model_info(repo)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=not public)
        return
    if not public and not there.private:
        raise UserError(f"{repo} is a public repository: give --public, or another name")


def _plain(error: Exception, repo: str) -> UserError:
    """Translate an error of huggingface_hub into a sentence."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE or isinstance(error, OfflineModeIsEnabled):
        return UserError("nothing was pushed: HF_HUB_OFFLINE is set; unset it")
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        code = error.response.status_code
        if code == 401:
            return UserError(
                "the Hub does not accept the token (HTTP 401); log in again with `hf auth login`, "
                "or set another HF_TOKEN"
            )
        if code == 403:
            return UserError(
                f"the token may not write to {repo} (HTTP 403); use a token with write access to "
                f"{repo.partition('/')[0]}, or push to a repository of your own"
            )
        return UserError(f"the Hub did not take {repo} (HTTP {code}: {brief(error)})")
    if hub.is_of_network(error):
        return UserError(
            f"nothing was pushed: no connection to {constants.ENDPOINT}; with --out DIR the files "
            "are written here, and the same command with --push sends them later"
        )
    return UserError(f"{repo} could not be pushed ({brief(error)})")


def folder_of(spec: str) -> Path:
    """The folder of a pushed adapter in the Hub's cache; it is downloaded if it is not there yet.

    spec: `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION` (a commit, a branch or a tag). Without a
    network the cache is used. Raises UserError if the Hub has no such repository, if it does not
    hold an adapter of this project, or if it is neither in the cache nor can be downloaded.
    """
    match = re.fullmatch(rf"{PREFIX}({NAME})(?:@([\w./-]+))?", spec)
    if match is None:
        raise UserError(f"{spec!r} is no model on the Hub; write hf:OWNER/NAME or ...@REVISION")
    repo, revision = match[1], match[2] or "main"
    try:
        record = _file(HubFile(repo, EXPORTED, revision))
        # From the same commit as the record, since the branch may move between the two requests.
        return _file(HubFile(repo, ADAPTER, record.parent.name)).parent
    except hub.Unreachable as why:
        raise UserError(
            f"{spec} is not in the Hub's cache ({hub.cache_folder()}) and cannot be fetched: {why}"
        ) from None
    except UserError as error:
        raise _other(error, repo, revision) from None


def _file(file: HubFile) -> Path:
    """A file of the Hub: the newest of its revision or, without a network, the cached one.

    A commit never changes, so a cached file of a commit is used without asking.
    """
    kept = hub.cached(file)
    if kept is not None and re.fullmatch(r"[0-9a-f]{40}", file.revision):
        return kept
    try:
        return hub.download(hub.ask([file]))
    except hub.Unreachable:
        if kept is None:
            raise
        return kept


def _other(error: UserError, repo: str, revision: str) -> UserError:
    """A clearer error if the repository holds something other than an adapter; else `error`."""
    if "has no file" not in str(error):
        return error
    try:
        hub.ask([HubFile(repo, WEIGHTS, revision)])
    except (hub.Unreachable, UserError):
        return UserError(
            f"{repo} is no adapter of this project: it has no {EXPORTED} with an {ADAPTER}; "
            "`bench export RECORD --push OWNER/NAME` makes one"
        )
    return UserError(
        f"{repo} is a plain open_clip checkpoint, not an adapter; use it as a backbone: "
        f"--backbone hf-hub:{repo}"
    )
