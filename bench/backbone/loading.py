"""Building the model of a backbone spec, with its weights, tokenizer and preprocessing."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from torch import nn

from bench import UserError, brief, hub
from bench.backbone import activation, checkpoint, names, weights
from bench.backbone.checkpoint import Checkpoint
from bench.backbone.model import Backbone
from bench.backbone.preprocess import preprocess_of
from bench.backbone.spec import Spec, split_spec
from bench.backbone.starter import register, starter_state
from methods import attention
from methods.known_towers import text_tower


def load(spec: str) -> Backbone:
    """See `bench.backbone.load`."""
    # Else torch's "fast path" would compute attention in evaluation. On a CPU it writes the N x N
    # weights out, so it is no faster there than SDPA; on CUDA under autocast it is never taken.
    torch.backends.mha.set_fastpath_enabled(False)
    parts = split_spec(spec)
    model, notes = _build(spec)
    model.eval()
    size = model.visual.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    if height != width:
        wanted = f"images of {width} x {height} pixels"
        raise UserError(f"{parts.name} takes {wanted}; only square ones are supported")
    tokens = tokenizer(parts)
    pad_id = None  # the padding token, where a text may be cut after its last other token
    if getattr(text_tower(model), "trimmable", False):
        of_transformers = getattr(tokens, "tokenizer", None)
        pad_id = 0 if of_transformers is None else int(of_transformers.pad_token_id)
    return Backbone(
        name=parts.name,
        weights=parts.weights,
        model=model,
        tokenizer=tokens,
        image_size=int(height),
        preprocess=preprocess_of(spec),
        pad_id=pad_id,
        weights_sha256=state_hash(model),
        parameters=sum(p.numel() for p in model.parameters()),
        notes=tuple(notes),
        datasets=weights.seen_datasets(spec),
    )


def _build(spec: str) -> tuple[Any, list[str]]:
    """The model of a spec with its weights, in float32, and notes for the user."""
    parts = split_spec(spec)
    torch.manual_seed(0)  # random weights are the same for every method and seed
    if parts.is_starter:
        model = create(parts)
        model.load_state_dict(starter_state(), strict=True)
        return model, []
    path = weights.fetch(spec)
    if parts.has_config:
        weights.check(spec)
        return create(parts, load_weights=True, require_pretrained=True), []
    if not parts.is_tag:
        model = create(parts)
        return model, [] if path is None else fill(model, spec, checkpoint.read(path, model))
    # What open_clip knows of the tag: preprocessing, activation, address.
    config = {k: v for k, v in get_pretrained_cfg(*parts).items() if k != "size"}
    model = create(parts, force_preprocess_cfg=config)
    if path is None:
        weights.check(spec)  # a tag that open_clip does not know would be random weights
        return model, []
    return model, checkpoint.fill(model, checkpoint.read(path, model), parts.name)


def fill(model: nn.Module, spec: str, state: Checkpoint) -> list[str]:
    """Load a file, other than one of a tag, into a model; returns notes for the user."""
    name = split_spec(spec).name
    note = activation.note(name, state, weights.known_of(spec, state.path))
    return [*checkpoint.fill(model, state, name), *([note] if note else [])]


def create(parts: Spec, **options: Any) -> Any:
    """Build a model of open_clip, by default without weights; raises UserError."""
    register()
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that nothing is loaded
    options = {"load_weights": False, "pretrained_text": False, **options}
    with _transformers(parts, f"{parts.name} cannot be built"):
        model = open_clip.create_model(parts.name, **options)
    attention.speed_up(model)
    return model


def create_without_memory(parts: Spec) -> Any:
    """A model on the meta device, which has shapes but no values and is built quickly."""
    with torch.device("meta"):
        return create(parts, device="meta")


def tokenizer(parts: Spec) -> Any:
    """The tokenizer of an architecture; raises UserError if it is not available."""
    register()
    with _transformers(parts, f"the tokenizer of {parts.name} cannot be had"):
        return open_clip.get_tokenizer(parts.name)


def needs_transformers(parts: Spec) -> bool:
    """Whether an architecture takes its tokenizer or its text tower from transformers."""
    if parts.has_config:
        return True  # perhaps: only its config says
    text = (names.architecture(parts.name) or {}).get("text_cfg", {})
    named = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    return bool(named) or "siglip" in parts.name.lower()


@contextlib.contextmanager
def _transformers(parts: Spec, failure: str) -> Iterator[None]:
    """Let transformers use its cache at once without a connection; its errors become UserErrors."""
    asks_hub = parts.folder is None and needs_transformers(parts)
    try:
        with hub.without_waiting() if asks_hub else contextlib.nullcontext():
            yield
    except Exception as error:  # whatever open_clip and transformers raise
        if not parts.has_config and names.architecture(parts.name) is None:
            raise names.no_architecture(parts.name) from None
        reason, remedy = brief(error), ""
        if parts.folder is not None:
            remedy = "; the folder needs the weights and, for a Hugging Face tokenizer, its files"
        elif hub.is_of_network(error):
            reason = hub.unreachable() or reason
            spec = parts.name if parts.has_config else f"{parts.name}:none"
            remedy = f"; with a connection (a login node), once: `bench backbones fetch {spec}`"
        raise UserError(f"{failure} ({reason}){remedy}") from None


def state_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all parameters and saved buffers: 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
