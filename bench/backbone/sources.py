"""Where the weights of a backbone are, whether they can exist, and what identifies them."""

import hashlib
import json
from pathlib import Path

from bench import UserError
from bench.backbone.spec import split_spec
from bench.backbone.starter import STARTER, register


def check(spec: str) -> None:
    """Raise UserError when a backbone cannot exist: no such architecture, tag or file."""
    name, weights = split_spec(spec)
    if spec == "starter" or name.startswith(("hf-hub:", "local-dir:")):
        return
    import open_clip  # takes seconds

    register()
    if name not in open_clip.list_models():
        from bench.spec import nearest

        raise UserError(f"open_clip has no model {name!r}{nearest(name, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    looks_like_a_file = "/" in weights or Path(weights).suffix != ""
    if weights == "none" or weights in tags or Path(weights).is_file():
        return
    if looks_like_a_file:
        raise UserError(f"there is no checkpoint file at {weights!r}; give the path of a file")
    raise UserError(
        f"{name} has no weights tagged {weights!r}; give a file, `none`, or one of: "
        f"{', '.join(tags) or '(no tags)'}"
    )


def weights_identity(spec: str) -> str:
    """What the weights are, without building the model: hash of a file, or the tag."""
    name, weights = split_spec(spec)
    path = STARTER / "starter.safetensors" if name == "starter" else Path(weights)
    if name.startswith("local-dir:"):
        files = sorted(p for p in Path(name.removeprefix("local-dir:")).glob("*") if p.is_file())
        whole = "".join(f"{p.name} {_file_hash(p)}\n" for p in files)
        return "sha256:" + hashlib.sha256(whole.encode()).hexdigest()[:16]
    if weights != "none" and path.is_file():
        return "sha256:" + _file_hash(path)[:16]
    return f"open_clip:{weights}"


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_size(spec: str) -> int | None:
    """Side of the images a backbone takes, without building it; None where only loading tells."""
    name, _ = split_spec(spec)
    if name == "starter":
        config = json.loads((STARTER / "starter.json").read_text(encoding="utf-8"))
    else:
        import open_clip  # takes seconds

        config = open_clip.get_model_config(name)
    size = None if config is None else config["vision_cfg"].get("image_size")
    return size if isinstance(size, int) else None
