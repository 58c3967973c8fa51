"""What a `--backbone` says: an architecture and where its weights come from."""

from pathlib import Path

from bench import UserError
from bench.spec import portable


def split_spec(spec: str) -> tuple[str, str]:
    """`ViT-B-32:openai` -> name, weights; weights is a tag, a file, or `none` for random ones."""
    if spec == "starter":
        return "starter", "rsicd"
    if spec.startswith(("hf-hub:", "local-dir:")):
        return spec, ""
    name, colon, weights = spec.partition(":")
    if not colon or not weights:
        raise UserError(
            f"the backbone {spec!r} names no weights; write NAME:TAG (ViT-B-32-quickgelu:openai), "
            "NAME:FILE (ViT-B-32:RemoteCLIP-ViT-B-32.pt) or NAME:none for random weights"
        )
    return name, weights


def folder_name(spec: str) -> str:
    """A backbone's name as a folder: `ViT-B-32:openai` -> `ViT-B-32_openai`."""
    if spec == "starter":
        return "starter"
    name, weights = split_spec(portable(spec))
    if Path(weights).suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz"):
        weights = Path(weights).stem
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in f"{name}_{weights}".rstrip("_"))
