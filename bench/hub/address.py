"""Addresses of files on the Hugging Face Hub, and where they are in its cache."""

import re
from dataclasses import dataclass
from pathlib import Path

from bench import UserError

FORM = "hf:OWNER/REPO/FILE@REVISION"
URL = re.compile(
    r"hf://(?P<datasets>datasets/)?(?!datasets/)(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>[\w.-]+))?/(?P<file>.+)"
)
"""`hf://datasets/OWNER/NAME@REVISION/FILE`, the form in which Hugging Face writes addresses."""


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
