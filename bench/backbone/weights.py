"""Where a backbone's weights are, whether they are on this machine, and their identity."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from bench import UserError, brief, hub
from bench.backbone import names
from bench.backbone.names import NamedBackbone, known_weights
from bench.backbone.spec import REPOSITORY, split_spec
from bench.backbone.starter import STARTER, register
from bench.console import tilde
from bench.hub import HubFile
from bench.spec import nearest

CONFIG = "open_clip_config.json"
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""The names of weights in open_clip's repositories on the Hub, best first."""
TRANSFORMERS_FILES = ("model.safetensors", "pytorch_model.bin")
"""The names of weights in repositories of transformers."""


class Absent(UserError):
    """Weights that are not on this machine and cannot be downloaded."""


def check(spec: str) -> None:
    """Raise UserError for an unknown architecture, tag or file, or a tag of another activation.

    Nothing is downloaded.
    """
    parts = split_spec(spec)
    name, weights = parts
    if parts.folder is not None:
        _model_config(parts.folder / CONFIG)
    if parts.is_starter or parts.has_config or names.exactly(name, weights) is not None:
        return
    import open_clip  # takes seconds

    from bench.backbone import activation

    register()
    if name not in open_clip.list_models():
        raise names.no_architecture(name)
    if parts.is_on_hub:
        hub.of_weights(weights)
    if not parts.is_tag:
        return
    activation.check_tag(name, weights)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights in tags:
        return
    if "/" in weights or Path(weights).suffix:
        raise UserError(f"there is no checkpoint file at {weights!r}; give the path of a file")
    raise UserError(
        f"{name} has no weights tagged {weights!r}{nearest(weights, tags)}; give a file, `none`, "
        f"or one of: {', '.join(tags) or '(no tags)'}"
    )


def image_size(spec: str) -> int | None:
    """Side of a backbone's images in pixels, without building it; None if only loading tells.

    Raises UserError if the architecture is unknown.
    """
    parts = split_spec(spec)
    config: dict[str, Any] | None = None
    if not parts.has_config:
        config = names.architecture(parts.name)
    else:
        path = parts.folder / CONFIG if parts.folder else hub.cached(hub_files(spec)[0][0])
        config = _model_config(path) if path else None
    size = None if config is None else config["vision_cfg"].get("image_size")
    return size if isinstance(size, int) else None


def _model_config(path: Path) -> dict[str, Any]:
    """What open_clip's config in a folder or repository says of the model; raises UserError."""
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UserError(
            f"{str(path)!r} is no config of open_clip ({brief(reason)}); weights without a config "
            "are given with their architecture: ViT-B-32:FILE"
        ) from None
    return config


# Files.


def hub_files(spec: str) -> list[list[HubFile]]:
    """The files of the Hub that a backbone needs, each as a list of possible names, best first.

    Empty for weights that are not on the Hub.
    """
    parts = split_spec(spec)
    if parts.name.startswith(REPOSITORY):
        repo = parts.name.removeprefix(REPOSITORY)
        return [[HubFile(repo, CONFIG)], [HubFile(repo, file) for file in OPEN_CLIP_FILES]]
    if parts.is_on_hub:
        return [[hub.of_weights(parts.weights)]]
    if parts.is_starter or not parts.is_tag:
        return []
    known = names.exactly(*parts)
    if known is not None:  # the table spares importing open_clip, which takes seconds
        repo, file = known.repo, ""
    else:
        from open_clip.pretrained import get_pretrained_cfg

        repo, _, file = str(get_pretrained_cfg(*parts).get("hf_hub") or "").rpartition("/")
    if not repo:
        return []
    if not file:
        return [[HubFile(repo, usual) for usual in OPEN_CLIP_FILES]]
    # open_clip prefers safetensors where both are there.
    safe = [str(Path(file).with_suffix(".safetensors"))] if file.endswith((".bin", ".pth")) else []
    return [[HubFile(repo, name) for name in (*safe, file)]]


def locate(spec: str) -> Path | None:
    """The file of a backbone's weights on this machine, without asking the Hub.

    None if it is not here, and for backbones without such a file (starter, none, local-dir).
    """
    if (file := split_spec(spec).file) is not None:
        return file
    paths = [next(filter(None, map(hub.cached, files)), None) for files in hub_files(spec)]
    return paths[-1] if paths and None not in paths else None


def missing(spec: str) -> list[list[HubFile]]:
    """Those of `hub_files` that are not on this machine."""
    return [files for files in hub_files(spec) if not any(map(hub.cached, files))]


def fetch(spec: str) -> Path | None:
    """Download what a backbone needs and this machine does not have; returns `locate`.

    Raises Absent if the Hub cannot be reached, UserError if it has no such file.
    """
    with absent_if_unreachable(spec):
        for files in missing(spec):
            info = hub.find(files)
            hub.download(info)
            path = PurePosixPath(info.file.file)
            if path.name in TRANSFORMERS_FILES:  # the config beside them says their activation
                config = replace(info.file, file=str(path.with_name("config.json")))
                with contextlib.suppress(hub.Unreachable, UserError):  # it may not be there
                    hub.download(hub.find([config]))
    return locate(spec)


def pinned_hash(spec: str) -> str:
    """The SHA-256 that the table pins for exactly these weights; empty if it pins none."""
    known = known_weights(spec)
    return known.sha256 if known is not None and split_spec(spec).weights == known.weights else ""


def known_of(spec: str, path: Path) -> NamedBackbone | None:
    """The table's row for a file of weights, by its name or its SHA-256."""
    return known_weights(spec) or known_weights(spec, file_hash(path))


def seen_datasets(spec: str) -> tuple[str, ...]:
    """Data sets whose training split the weights were trained on, according to the table."""
    path = locate(spec)
    known = known_weights(spec) if path is None else known_of(spec, path)
    return () if known is None else tuple(known.datasets)


# Identity.


def weights_identity(spec: str) -> str:
    """The identity of the weights, without building the model: the hash of a file, or the tag.

    A file on the Hub has the same hash as a local one. The Hub is asked for it if the file is not
    in the cache and the table has no hash. Raises Absent, UserError.
    """
    parts = split_spec(spec)
    if parts.folder is not None:
        files = sorted(path for path in parts.folder.glob("*") if path.is_file())
        listing = "".join(f"{path.name} {file_hash(path)}\n" for path in files)
        return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()[:16]
    path = STARTER / "starter.safetensors" if parts.is_starter else parts.file
    if path is not None:
        return "sha256:" + file_hash(path)[:16]
    if not parts.is_on_hub:
        return f"open_clip:{parts.weights}"
    digest = pinned_hash(spec)
    if not digest and (path := locate(spec)) is not None:
        digest = file_hash(path)
    if not digest:
        with absent_if_unreachable(spec):
            info = hub.find(hub_files(spec)[-1])
            digest = info.sha256 or file_hash(hub.download(info))  # the Hub hashes large files only
    return "sha256:" + digest[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file: 64 hex digits; read once for each state of the file."""
    state = path.stat()
    return _file_hash(path.resolve(), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, changed: int) -> str:
    return hub.file_sha256(path)


# If the weights cannot be had.


@contextlib.contextmanager
def absent_if_unreachable(spec: str) -> Iterator[None]:
    """If the Hub cannot be reached, raise Absent, which names the alternatives."""
    try:
        yield
    except hub.Unreachable as reason:
        parts, known = split_spec(spec), known_weights(spec)
        short, size = spec, ""
        if known is not None:
            short = known.name if known.spec == names.expand(spec) else spec
            size = f"{known.megabytes:,} MB -> "
        what = f"weights {parts.weights!r} of" if parts.weights else "weights of"
        lines = [
            f"the {what} {parts.name} are not on this machine and cannot be downloaded ({reason}).",
            "",
            "  With a connection (a login node), once:",
            f"      bench backbones fetch {short}   # {size}{tilde(hub.cache_folder())}",
            "  To try the machine without these weights:",
            "      --backbone starter   # small, works offline",
        ]
        if not parts.has_config:  # such a name takes no other weights
            lines += [
                f"      --backbone {parts.name}:none   # memory and speed only",
                "  With a file that you have:",
                f"      --backbone {parts.name}:/path/to/weights.pt",
            ]
        lines.append("  Another place for the cache: HF_HOME=/scratch/hf")
        raise Absent("\n".join(lines)) from None
