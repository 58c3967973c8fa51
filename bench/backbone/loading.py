"""Building the model of a backbone spec, with its weights, tokenizer and preprocessing."""

import contextlib
import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import UserError, brief, hub
from bench.backbone import activation, checkpoint, sources
from bench.backbone.absent import Absent, absent
from bench.backbone.checkpoint import Checkpoint
from bench.backbone.model import Backbone
from bench.backbone.preprocess import preprocess_of
from bench.backbone.spec import FOREIGN, is_tag, split_spec
from bench.backbone.starter import is_starter, register, starter_state
from bench.measure.attention import use_sdpa

BIG_VISION = (".npz", ".npy")
"""Files of big_vision (SigLIP), which open_clip reads itself."""


def load(spec: str) -> Backbone:
    """Build the model of a backbone spec with its weights, on the CPU, in float32.

    Weights that are not on this machine are downloaded. Raises UserError when they cannot be had or
    do not fit the architecture.
    """
    use_sdpa()
    name, weights = split_spec(spec)
    model, notes = build(spec)
    model.eval()
    wanted = preprocess_of(spec)
    tokens = tokenizer(name)
    return Backbone(
        name=name,
        weights=weights,
        model=model,
        tokenizer=tokens,
        image_size=_side(model, name),
        mean=wanted.mean,
        std=wanted.std,
        pad_id=_pad_id(model, tokens),
        weights_sha256=state_hash(model),
        parameters=sum(p.numel() for p in model.parameters()),
        notes=tuple(notes),
        datasets=sources.seen_datasets(spec),
        resize=wanted.resize,
    )


def build(spec: str) -> tuple[Any, list[str]]:
    """The model of a spec with its weights, in float32, and notes for the user."""
    name, weights = split_spec(spec)
    torch.manual_seed(0)  # random weights are the same for every method and seed
    if is_starter(name, weights):
        model = create(name)
        model.load_state_dict(starter_state(), strict=True)
        return model, []
    try:
        path = sources.fetch(spec)
    except hub.Unreachable as why:
        raise Absent(absent(spec, str(why))) from None
    if name.startswith(FOREIGN):
        sources.check(spec)
        return create(name, load_weights=True, require_pretrained=True), []
    config = tag_config(name, weights) if is_tag(weights) else {}
    model = create(name, force_preprocess_cfg=config)
    if path is None:
        return model, []
    if path.suffix in BIG_VISION:
        return _big_vision(model, path), []
    if config:
        found = checkpoint.read(path)
        notes = checkpoint.fill(model, checkpoint.aligned(found, model), name)
        wrong = activation.note_of_tag(name, weights)
        return model, [*notes, *([wrong] if wrong else [])]
    return model, fill(model, spec, checkpoint.aligned(checkpoint.read(path), model))


def fill(model: nn.Module, spec: str, found: Checkpoint) -> list[str]:
    """Load a file, other than one of a tag, into a model; returns notes for the user."""
    name, _ = split_spec(spec)
    about = activation.note(name, found, sources.known_of(spec, found.path))
    return [*checkpoint.fill(model, found, name), *([about] if about else [])]


def create(name: str, **words: Any) -> Any:
    """Build a model of open_clip, by default without weights; raises UserError."""
    import open_clip

    register()
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that nothing is loaded
    words = {"load_weights": False, "pretrained_text": False, **words}
    try:
        with _without_waiting(name):
            return open_clip.create_model(name, **words)
    except Exception as error:  # transformers' configs, somebody's folder
        raise UserError(f"{name} cannot be built{_why(name, error)}") from None


def tokenizer(name: str) -> Any:
    """The tokenizer of an architecture; raises UserError where it is not available."""
    import open_clip

    register()
    try:
        with _without_waiting(name):
            return open_clip.get_tokenizer(name)
    except Exception as error:  # transformers' own, of a folder or the Hub
        raise UserError(f"the tokenizer of {name} cannot be had{_why(name, error)}") from None


def _without_waiting(name: str) -> contextlib.AbstractContextManager[None]:
    wanted = sources.needs_transformers(name) and not name.startswith("local-dir:")
    return hub.without_waiting() if wanted else contextlib.nullcontext()


def _why(name: str, error: Exception) -> str:
    """The reason and the remedy for an error in open_clip or transformers."""
    of_network = hub.is_of_network(error) and not name.startswith("local-dir:")
    why = (hub.unreachable() if of_network else None) or brief(error) or type(error).__name__
    if name.startswith("local-dir:"):
        return (
            f" ({why}); the folder needs the weights and, for a Hugging Face tokenizer, its files"
        )
    if not of_network:
        return f" ({why})"
    spec = name if name.startswith("hf-hub:") else f"{name}:none"
    return f" ({why}); with a connection (a login node), once: `bench backbones fetch {spec}`"


def tag_config(name: str, weights: str) -> dict[str, Any]:
    """What open_clip knows of a tag: preprocessing, activation, address; {} for other weights."""
    from open_clip.pretrained import get_pretrained_cfg

    config = get_pretrained_cfg(name, weights)
    return {key: value for key, value in config.items() if key != "size"}


def _big_vision(model: Any, path: Path) -> Any:
    from open_clip.convert import load_big_vision_weights

    try:
        load_big_vision_weights(model, str(path))
    except Exception as error:  # somebody's file can lead to anything
        why = brief(error) or type(error).__name__
        raise UserError(
            f"the file {str(path)!r} cannot be loaded ({why}); is it of this architecture?"
        ) from None
    return model


def _side(model: Any, name: str) -> int:
    """The side of the images that a model takes; raises UserError where they are not square."""
    size = model.visual.image_size
    sides = set(size) if isinstance(size, tuple | list) else {size}
    if len(sides) > 1:
        raise UserError(
            f"{name} takes images of {size[1]} x {size[0]} pixels; only square ones are supported"
        )
    return int(sides.pop())


def _pad_id(model: nn.Module, tokenizer: Any) -> int | None:
    """The padding token where text may be trimmed exactly, else None."""
    from methods.towers import text_tower

    tower = text_tower(model)
    if not getattr(tower, "trimmable", False):
        return None
    hf = getattr(tokenizer, "tokenizer", None)
    return 0 if hf is None else int(hf.pad_token_id)


def state_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all parameters and saved buffers: 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
