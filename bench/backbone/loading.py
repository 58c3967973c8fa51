"""Building the model of a backbone spec, with its weights, tokenizer and preprocessing."""

import hashlib
import logging
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import UserError, brief
from bench.backbone.model import Backbone
from bench.backbone.spec import split_spec
from bench.backbone.starter import register, starter_state
from bench.measure.attention import use_sdpa


def load(spec: str) -> Backbone:
    """Build the model of a backbone spec with its weights, on the CPU, in float32.

    Raises UserError when the weights cannot be had or do not fit the architecture.
    """
    import open_clip

    register()
    use_sdpa()
    name, weights = split_spec(spec)
    logging.getLogger().setLevel(logging.ERROR)
    torch.manual_seed(0)  # random weights are the same for every method and seed
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = _build(open_clip, name, weights)
    model.eval()
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = model.visual.image_size
    try:
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError) as error:
        why = brief(error)
        raise UserError(
            f"the tokenizer of {name} cannot be had ({why}); check the network, or that its files "
            "lie in the folder"
        ) from None
    return Backbone(
        name=name,
        weights=weights,
        model=model,
        tokenizer=tokenizer,
        image_size=size[0] if isinstance(size, tuple | list) else size,
        mean=preprocess["mean"],
        std=preprocess["std"],
        pad_id=_pad_id(model, tokenizer),
        weights_sha256=state_hash(model),
        parameters=sum(p.numel() for p in model.parameters()),
        notes=tuple(str(w.message) for w in said if "QuickGELU" in str(w.message)),
    )


def _build(open_clip: Any, name: str, weights: str) -> Any:
    if (name, weights) == ("starter", "rsicd"):
        model = open_clip.create_model(name, load_weights=False)
        model.load_state_dict(starter_state(), strict=True)
        return model
    try:
        if weights == "none":
            return open_clip.create_model(name, load_weights=False, pretrained_text=False)
        if _is_torchscript(weights):
            model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
            model.load_state_dict(_torchscript_state(weights))
            return model
        return open_clip.create_model(name, pretrained=weights or None, require_pretrained=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"the file {weights!r} is damaged, or holds more than tensors, and only those are "
            "read; fetch it again, or save its state_dict alone where you trust it"
        ) from None
    except Exception as error:  # somebody's file can lead to anything
        why = brief(error) or type(error).__name__
        raise UserError(
            f"the weights {weights!r} of {name} cannot be loaded ({why}); check the network, the "
            "tag or the file, and that the file is of this architecture"
        ) from None


def _is_torchscript(weights: str) -> bool:
    """Whether a file is an archive of TorchScript, as OpenAI gives its own."""
    if not (Path(weights).is_file() and zipfile.is_zipfile(weights)):
        return False
    with zipfile.ZipFile(weights) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torchscript_state(weights: str) -> dict[str, Tensor]:
    """The tensors of an archive of TorchScript but those that are no weights; no Python is run."""
    state: dict[str, Tensor] = torch.jit.load(weights, map_location="cpu").state_dict()
    for name in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
        state.pop(name, None)
    return state


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
