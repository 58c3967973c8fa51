"""Find the weights of a backbone, check that they can exist, and identify them."""

import contextlib
import functools
import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from bench import UserError, hub
from bench.backbone import names
from bench.backbone.configs import architecture
from bench.backbone.names import Named, known_weights
from bench.backbone.spec import FOREIGN, is_file, looks_like_a_file, split_spec
from bench.backbone.starter import STARTER, is_starter, register
from bench.hub import HubFile
from bench.spec import nearest

CONFIG = "open_clip_config.json"
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""The names of weights in open_clip's repositories on the Hub, best first."""
TRANSFORMERS_FILES = ("model.safetensors", "pytorch_model.bin")
"""The names of weights in repositories of transformers."""


def check(spec: str) -> None:
    """Raise UserError for an unknown architecture, tag or file, or a tag of another activation.

    Nothing is downloaded.
    """
    name, weights = split_spec(spec)
    if is_starter(name, weights):
        return
    if name.startswith("local-dir:"):
        return _check_folder(Path(name.removeprefix("local-dir:")))
    if name.startswith("hf-hub:") or names.exactly(name, weights) is not None:
        return
    import open_clip  # takes seconds

    from bench.backbone import activation

    register()
    if name not in open_clip.list_models():
        raise UserError(f"open_clip has no model {name!r}{nearest(name, open_clip.list_models())}")
    if weights == "none" or is_file(weights):
        return
    if weights.startswith("hf:"):
        hub.of_weights(weights)
        return
    activation.check_tag(name, weights)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights in tags:
        return
    if looks_like_a_file(weights):
        raise UserError(f"there is no checkpoint file at {weights!r}; give the path of a file")
    raise UserError(
        f"{name} has no weights tagged {weights!r}{nearest(weights, tags)}; give a file, `none`, "
        f"or one of: {', '.join(tags) or '(no tags)'}"
    )


def _check_folder(folder: Path) -> None:
    """Raise UserError where `local-dir:` names no folder that open_clip can load."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {str(folder)!r}; local-dir: takes one with {CONFIG}")
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"the folder {str(folder)!r} has no {CONFIG}, so open_clip cannot tell the "
            "architecture; give the file of the weights with its architecture, as in "
            f"ViT-B-32:{folder / 'model.safetensors'}"
        )
    _read_config(folder / CONFIG)


def _read_config(path: Path) -> dict[str, Any]:
    """What a config of open_clip says of the model; raises UserError where it is none."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        config: dict[str, Any] = said["model_cfg"]
        config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{str(path)!r} is no config of open_clip ({type(error).__name__}: {error}); it needs "
            "model_cfg with embed_dim, vision_cfg and text_cfg"
        ) from None
    return config


# Files on the Hub.


def hub_files(spec: str) -> list[list[HubFile]]:
    """The files of the Hub that a backbone needs, each as a list of possible names, best first.

    Empty for weights that are not on the Hub.
    """
    name, weights = split_spec(spec)
    if name.startswith("hf-hub:"):
        repo = name.removeprefix("hf-hub:")
        return [[HubFile(repo, CONFIG)], [HubFile(repo, file) for file in OPEN_CLIP_FILES]]
    if name.startswith("local-dir:") or weights == "none" or is_file(weights):
        return []
    if weights.startswith("hf:"):
        return [[hub.of_weights(weights)]]
    if is_starter(name, weights):
        return []
    known = names.exactly(name, weights)
    if known is not None:
        repo, file = known.repo, ""
    else:
        from open_clip.pretrained import get_pretrained_cfg

        place = str(get_pretrained_cfg(name, weights).get("hf_hub") or "")
        repo, _, file = place.rpartition("/")
    return [[HubFile(repo, one) for one in _names(file)]] if repo else []


def _names(file: str) -> list[str]:
    """The names under which open_clip looks for a file of weights; "" is its usual one."""
    if not file:
        return list(OPEN_CLIP_FILES)
    path = Path(file)
    safe = [str(path.with_suffix(".safetensors"))] if path.suffix in (".bin", ".pth") else []
    return [*safe, file]


def locate(spec: str) -> Path | None:
    """The file of a backbone's weights on this machine, without asking the Hub.

    None if it is not here, and for backbones without such a file (starter, none, local-dir).
    """
    _, weights = split_spec(spec)
    if is_file(weights):
        return Path(weights)
    needed = [next(filter(None, map(hub.cached, some)), None) for some in hub_files(spec)]
    return needed[-1] if needed and None not in needed else None


def missing(spec: str) -> list[list[HubFile]]:
    """Those of `hub_files` that are not on this machine."""
    return [some for some in hub_files(spec) if not any(map(hub.cached, some))]


def fetch(spec: str) -> Path | None:
    """Download what a backbone needs and this machine does not have; returns `locate`.

    Raises hub.Unreachable, or UserError where the Hub does not have it or does not give it.
    """
    for some in missing(spec):
        hub.download(found := hub.ask(some))
        if Path(found.file.file).name in TRANSFORMERS_FILES:
            _fetch_config(found.file)
    return locate(spec)


def _fetch_config(weights: HubFile) -> None:
    """Download the config.json beside weights of transformers, which says their activation."""
    file = str(PurePosixPath(weights.file).with_name("config.json"))
    with contextlib.suppress(hub.Unreachable, UserError):  # it may not be there
        hub.download(hub.ask([HubFile(weights.repo, file, weights.revision)]))


def fetch_again_if_damaged(spec: str) -> None:
    """Download a file of the Hub again if it does not have the SHA-256 that the table pins."""
    path = locate(spec)
    if path is not None and not is_pinned(spec, path):
        hub.download(hub.ask(hub_files(spec)[-1]), again=True)


def is_pinned(spec: str, path: Path) -> bool:
    """Whether a file has the SHA-256 that the table pins for a spec's weights, if it pins one."""
    known = known_weights(spec)
    if known is None or not known.sha256 or split_spec(spec)[1] != known.weights:
        return True
    return file_hash(path) == known.sha256


def demand_pinned(spec: str, path: Path) -> None:
    """Raise UserError where a file has not the SHA-256 that the table pins."""
    known = known_weights(spec)
    if known is not None and not is_pinned(spec, path):
        raise UserError(
            f"{path} is not the {known.file} that is known: its SHA-256 is {file_hash(path)}, "
            f"not {known.sha256}; `bench backbones fetch {known.name}` downloads it again"
        )


def known_of(spec: str, path: Path) -> Named | None:
    """The table's row for a file of weights, by its name or its SHA-256."""
    return known_weights(spec) or known_weights(spec, file_hash(path))


def seen_datasets(spec: str) -> tuple[str, ...]:
    """Data sets whose training split the weights were trained on, according to the table."""
    path = locate(spec)
    known = known_weights(spec) if path is None else known_of(spec, path)
    return () if known is None else known.datasets


# Identity.


def weights_identity(spec: str) -> str:
    """The identity of the weights, without building the model: the hash of a file, or the tag.

    A file on the Hub has the same hash as a local one. The Hub is asked for it if the file is not
    in the cache and the table has no hash. Raises hub.Unreachable, UserError.
    """
    name, weights = split_spec(spec)
    own = is_starter(name, weights)
    path = STARTER / "starter.safetensors" if own else Path(weights)
    if name.startswith("local-dir:"):
        files = sorted(p for p in Path(name.removeprefix("local-dir:")).glob("*") if p.is_file())
        whole = "".join(f"{p.name} {file_hash(p)}\n" for p in files)
        return "sha256:" + hashlib.sha256(whole.encode()).hexdigest()[:16]
    if weights != "none" and path.is_file():
        return "sha256:" + file_hash(path)[:16]
    if weights.startswith("hf:"):
        return "sha256:" + _hub_hash(spec)[:16]
    return f"open_clip:{weights}"


def _hub_hash(spec: str) -> str:
    known = known_weights(spec)
    if known is not None and known.sha256 and split_spec(spec)[1] == known.weights:
        return known.sha256
    path = locate(spec)
    if path is None:
        said = hub.ask(hub_files(spec)[-1])
        if said.sha256 is not None:
            return said.sha256
        path = hub.download(said)  # a small file, whose hash the Hub does not state
    return file_hash(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file: 64 hex digits; read once for each state of the file."""
    state = path.stat()
    return _file_hash(path.resolve(), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, changed: int) -> str:
    return hub.file_sha256(path)


def needs_transformers(name: str) -> bool:
    """Whether an architecture takes its tokenizer or its text tower from transformers."""
    if name.startswith(FOREIGN):
        return True  # perhaps: only its config says
    text = (architecture(name) or {}).get("text_cfg", {})
    named = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    return bool(named) or "siglip" in name.lower()


def image_size(spec: str) -> int | None:
    """Side of a backbone's images in pixels, without building it; None if only loading tells.

    Raises UserError where the architecture is unknown.
    """
    name, _ = split_spec(spec)
    config: dict[str, Any] | None
    if name == "starter":
        config = json.loads((STARTER / "starter.json").read_text(encoding="utf-8"))
    elif name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
        _check_folder(folder)
        config = _read_config(folder / CONFIG)
    elif name.startswith("hf-hub:"):
        there = hub.cached(hub_files(spec)[0][0])
        config = None if there is None else _read_config(there)
    else:
        config = architecture(name)
    size = None if config is None else config["vision_cfg"].get("image_size")
    return size if isinstance(size, int) else None
