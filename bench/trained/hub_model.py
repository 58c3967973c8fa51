"""Models on the Hugging Face Hub: push an export, and load it again by `hf:OWNER/NAME`."""

import re
from pathlib import Path

from huggingface_hub import HfApi, constants, get_session, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from bench import UserError, brief, hub
from bench.hub import HubFile
from bench.trained.restore import ADAPTER, EXPORTED

PREFIX = "hf:"
WRITTEN = (EXPORTED, ADAPTER, "adapter_*", "example.*", "open_clip_*", "README.md")
"""Files that an export may write; a push deletes those of an earlier push that it lacks."""
SILENCE = 60
"""Seconds without an answer after which a push gives up."""


def is_name(repo: str) -> bool:
    """Whether a text is a valid OWNER/NAME."""
    try:
        validate_repo_id(repo)
    except HFValidationError:
        return False
    return repo.count("/") == 1


def push(folder: Path, repo: str, public: bool) -> str:
    """Upload the files of an export as one commit; returns the address of the repository.

    A new repository is created if there is none, private unless `public`. Raises UserError if there
    is no token, if it may not write there, if the repository exists and is private where a public
    one is asked for (or the other way round), or if the Hub cannot be reached.
    """
    if constants.HF_HUB_OFFLINE:
        raise UserError("nothing was pushed: HF_HUB_OFFLINE is set; unset it")
    if get_token() is None:
        raise UserError(
            "there is no token of the Hugging Face Hub here; log in with `hf auth login`, or set "
            "HF_TOKEN"
        )
    get_session().timeout = SILENCE  # by default it waits for ever
    api = HfApi(endpoint=constants.ENDPOINT)
    try:
        try:
            existing = api.model_info(repo, timeout=SILENCE)
        except RepositoryNotFoundError:
            api.create_repo(repo, private=not public)
        else:
            if not public and not existing.private:
                raise UserError(f"{repo} is a public repository: give --public, or another name")
            if public and existing.private:
                raise UserError(
                    f"{repo} is a private repository: leave out --public, or first make it public "
                    "in its settings on the Hub"
                )
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message="Upload by cmer-bench",
            delete_patterns=list(WRITTEN),
        )
    except UserError:
        raise
    except Exception as error:
        raise _explained(error, repo) from None
    return f"{constants.ENDPOINT}/{repo}"


def _explained(error: Exception, repo: str) -> UserError:
    """Turn an error of huggingface_hub during a push into a sentence with the remedy."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return UserError(
            "the Hub does not accept the token (HTTP 401); log in again with `hf auth login`, or "
            "set another HF_TOKEN"
        )
    if status == 403:
        return UserError(
            f"the token may not write to {repo} (HTTP 403); use a token with write access to "
            f"{repo.partition('/')[0]}, or push to a repository of your own"
        )
    if status is None and hub.is_of_network(error):
        return UserError(
            f"nothing was pushed: {constants.ENDPOINT} cannot be reached or does not answer; with "
            "--out DIR the files are written here, and --push sends them later"
        )
    return UserError(f"{repo} could not be pushed ({brief(error)})")


def folder_of(spec: str) -> Path:
    """The folder of a pushed adapter in the Hub's cache; it is downloaded if it is not there yet.

    spec: `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION` (a commit, a branch or a tag). Without a
    network the cached copy is used. Raises UserError if the Hub has no such repository, if that
    holds no adapter of this project, and if it is neither cached nor can be downloaded.
    """
    repo, at, revision = spec.removeprefix(PREFIX).partition("@")
    if not is_name(repo) or not re.fullmatch(r"[\w./-]+" if at else "", revision):
        raise UserError(
            f"{spec!r} is no model on the Hub; write hf:OWNER/NAME or hf:OWNER/NAME@REVISION, or, "
            "for a folder on this machine, its path without hf:"
        )
    try:
        record = _file(HubFile(repo, EXPORTED, revision or "main"))
        # From the same commit as the record, since the branch may move between the two requests.
        return _file(HubFile(repo, ADAPTER, record.parent.name)).parent
    except hub.Unreachable as why:
        raise UserError(
            f"{spec} is not in the Hub's cache ({hub.cache_folder()}) and cannot be fetched: {why}"
        ) from None
    except UserError as error:
        if "has no file" not in str(error):
            raise
        raise UserError(
            f"{repo} is no adapter of this project: it has no {EXPORTED} with an {ADAPTER}, as "
            "`bench export RECORD --push OWNER/NAME` writes them; if it is a plain open_clip "
            f"checkpoint, use it as a backbone: --backbone hf-hub:{repo}"
        ) from None


def _file(file: HubFile) -> Path:
    """A file of the Hub: the newest of its revision or, without a network, the cached one.

    A commit never changes, so a cached file of a commit is used without asking.
    """
    cached = hub.cached(file)
    if cached is not None and re.fullmatch(r"[0-9a-f]{40}", file.revision):
        return cached
    try:
        return hub.download(hub.find([file]))
    except hub.Unreachable:
        if cached is None:
            raise
        return cached
