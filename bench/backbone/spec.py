"""What a `--backbone` says: an architecture and where its weights come from."""

from pathlib import Path
from typing import NamedTuple

from bench.backbone.names import expand
from bench.spec import portable

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz")
REPOSITORY = "hf-hub:"
FOLDER = "local-dir:"


class Spec(NamedTuple):
    """An architecture of open_clip, and its weights.

    Weights are a tag of open_clip, a file, `hf:OWNER/REPO/FILE@REVISION`, or `none` for random
    ones. They are empty for a folder or repository in open_clip's own form, which holds a config
    with the architecture beside the weights.
    """

    name: str
    weights: str

    @property
    def is_starter(self) -> bool:
        """Whether these are the weights in this package."""
        return self == ("starter", "rsicd")

    @property
    def has_config(self) -> bool:
        """Whether it is a folder or repository with a config of open_clip."""
        return self.name.startswith((REPOSITORY, FOLDER))

    @property
    def folder(self) -> Path | None:
        """The folder that `local-dir:` names."""
        return Path(self.name.removeprefix(FOLDER)) if self.name.startswith(FOLDER) else None

    @property
    def file(self) -> Path | None:
        """The weights, if they are a file on this machine."""
        is_file = self.weights not in ("", "none") and Path(self.weights).is_file()
        return Path(self.weights) if is_file else None

    @property
    def is_on_hub(self) -> bool:
        """Whether the weights are a file on the Hugging Face Hub."""
        return self.weights.startswith("hf:")

    @property
    def is_tag(self) -> bool:
        """Whether the weights can only be a tag of open_clip."""
        return self.weights not in ("", "none") and not self.is_on_hub and self.file is None


def split_spec(spec: str) -> Spec:
    """`ViT-B-32:openai` -> its parts; names such as `openai-b32` are written out first.

    Raises UserError.
    """
    spec = expand(spec)
    if spec == "starter":
        return Spec("starter", "rsicd")
    if spec.startswith((REPOSITORY, FOLDER)):
        return Spec(spec, "")
    name, _, weights = spec.partition(":")
    return Spec(name, weights)


def folder_name(spec: str) -> str:
    """A backbone's name as a folder: `ViT-B-32:openai` -> `ViT-B-32_openai`."""
    if spec == "starter":
        return "starter"
    name, weights = split_spec(portable(expand(spec)))
    if Path(weights).suffix in CHECKPOINTS:
        weights = Path(weights).stem
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in f"{name}_{weights}".rstrip("_"))
