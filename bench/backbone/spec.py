"""What a `--backbone` says: an architecture and where its weights come from."""

from pathlib import Path

from bench import UserError
from bench.backbone.names import expand
from bench.spec import portable

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz")
FOREIGN = ("hf-hub:", "local-dir:")
"""Forms that open_clip reads itself, with the architecture in a config beside the weights."""


def split_spec(spec: str) -> tuple[str, str]:
    """`ViT-B-32:openai` -> name, weights.

    Weights are a tag of open_clip, a file, `hf:OWNER/REPO/FILE@REVISION`, or `none` for random
    ones. Names of the table (`openai-b32`) are written out first. Raises UserError.
    """
    spec = expand(spec)
    if spec == "starter":
        return "starter", "rsicd"
    if spec.startswith(FOREIGN):
        return spec, ""
    name, _, weights = spec.partition(":")
    if not weights:
        raise UserError(
            f"the backbone {spec!r} names no weights; write NAME:TAG (ViT-B-32-quickgelu:openai), "
            "NAME:FILE (ViT-B-32:mine.pt) or NAME:none for random weights"
        )
    return name, weights


def folder_name(spec: str) -> str:
    """A backbone's name as a folder: `ViT-B-32:openai` -> `ViT-B-32_openai`."""
    if spec == "starter":
        return "starter"
    name, weights = split_spec(portable(expand(spec)))
    if Path(weights).suffix in CHECKPOINTS:
        weights = Path(weights).stem
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in f"{name}_{weights}".rstrip("_"))


def is_file(weights: str) -> bool:
    """Whether weights are a file on this machine."""
    return weights != "none" and Path(weights).is_file()


def is_tag(weights: str) -> bool:
    """Whether weights must be a tag of open_clip."""
    return weights not in ("", "none") and not weights.startswith("hf:") and not is_file(weights)


def looks_like_a_file(weights: str) -> bool:
    """Whether weights must be meant as a file, whether or not it exists."""
    return not weights.startswith("hf:") and ("/" in weights or Path(weights).suffix != "")
