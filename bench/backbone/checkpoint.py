"""Read checkpoint files as tensors, rename these as open_clip does, and load them.

Files hold the weights under various keys (`state_dict`, `model`), with various prefixes (`module.`,
`model.`, `clip.`) or under other names (a `CLIPModel` of transformers). After all this is undone
the tensors must fit the architecture exactly, else `Misfit` says how they differ.
"""

import contextlib
import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.convert import convert_state_dict
from open_clip.model import (
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from safetensors.torch import load_file
from torch import Tensor, nn

from bench import UserError, brief
from bench.backbone import huggingface
from bench.console import counted, few

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "clip", "net", "network")
"""Keys under which training code keeps a model's weights, beside epoch, optimiser and so on."""
SHELLS = ("module", "_orig_mod")
"""What DataParallel and torch.compile add to the names of tensors."""
NO_WEIGHTS = (
    *("attn_mask", "input_resolution", "context_length", "vocab_size"),
    *("position_ids", "embed_dim", "n_averaged"),
)
"""Last parts of the names of sizes and masks, which follow from the architecture."""
OPENAI_MARKS = {"input_resolution", "context_length", "vocab_size"}


class Misfit(UserError):
    """A file whose tensors are not those of the architecture."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file by name, unwrapped; `notes` say what was left out.

    openai: an archive in the form of OpenAI's own, which are trained with QuickGELU; hugging_face:
    a `CLIPModel` of transformers.
    """

    path: Path
    state: State
    openai: bool
    hugging_face: bool
    notes: tuple[str, ...]


def read(path: Path, model: nn.Module) -> Checkpoint:
    """The tensors of a file, if possible under the names that they have in `model`.

    Nothing else in the file is read, and no code in it runs. Whatever prefix the model's names have
    is removed. Tensors without the prefix are left out, with a note. Raises UserError for a file
    that is damaged, that holds other things than tensors, or that holds two models.
    """
    is_torchscript = False  # as OpenAI's own files are
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            is_torchscript = any(n.endswith("/constants.pkl") for n in archive.namelist())
    raw = _load(path, is_torchscript)
    tensors = _tensors(raw)
    # `module._orig_mod.visual.proj` -> `visual.proj`, unless two tensors would get one name.
    bare = [".".join(p for p in name.split(".") if p not in SHELLS) for name in tensors]
    unique = len(set(bare)) == len(bare)
    state = dict(zip(bare, tensors.values(), strict=True)) if unique else tensors
    if not state:
        keys = f" (its keys are {few(map(str, raw))})" if isinstance(raw, Mapping) else ""
        raise Misfit(f"the file {str(path)!r} holds no tensors by name{keys}; save a state_dict")
    openai = is_torchscript and {name.rpartition(".")[2] for name in state} >= OPENAI_MARKS
    dropped = set(NO_WEIGHTS) - {name.rpartition(".")[2] for name in model.state_dict()}
    state = {k: v for k, v in state.items() if k.rpartition(".")[2] not in dropped}
    prefix = _prefix(path, state, model)
    inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    left_out = [k for k in state if not k.startswith(prefix)]
    note = f"{len(left_out)} tensors outside {prefix!r} were left out: {few(left_out)}"
    is_clip_model = huggingface.is_clip(inside)
    if is_clip_model:
        inside = huggingface.renamed(inside)
    return Checkpoint(path, inside, openai, is_clip_model, (note,) if left_out else ())


def _load(path: Path, is_torchscript: bool) -> Any:
    """What a file holds; only tensors and plain containers are read, and no code runs."""
    try:
        if is_torchscript:
            with warnings.catch_warnings():  # torch's notice that TorchScript is deprecated
                warnings.simplefilter("ignore")
                return torch.jit.load(str(path), map_location="cpu").state_dict()
        if path.suffix == ".safetensors":
            return load_file(path)
        # Mapped into memory where the format allows it: the optimiser's states stay on the disk.
        return torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise UserError(
            f"the file {str(path)!r} is damaged, or holds more than tensors; fetch it again, or "
            "save its state_dict alone where you trust it"
        ) from None
    except Exception as error:  # a damaged file can lead to any error
        raise UserError(
            f"the file {str(path)!r} cannot be read ({brief(error)}); it is damaged: fetch it again"
        ) from None


def _tensors(raw: Any) -> State:
    """The tensors of the innermost wrapper; {} if there are none."""
    if not isinstance(raw, Mapping):
        return {}
    for key in WRAPPERS:
        inner = _tensors(raw.get(key))
        if inner:
            return inner
    flat = {k: v for k, v in raw.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if flat or len(raw) != 1:
        return flat
    return _tensors(next(iter(raw.values())))  # the only thing in the file, under some other key


def _prefix(path: Path, state: State, model: nn.Module) -> str:
    """The prefix of the model's names in a file, such as `model.clip.`, or an empty string."""
    own = set(model.state_dict())
    # Old checkpoints of two-tower models have the text tower's names without `text.`.
    own |= {name.removeprefix("text.") for name in own}
    # Each name votes for the prefix that would make it one of the model's (or a CLIPModel's) names.
    counts: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for depth in range(min(len(parts), 6)):
            prefix = ".".join([*parts[:depth], ""]) if depth else ""
            tail = name.removeprefix(prefix)
            if tail in own or huggingface.is_name(tail):
                counts[prefix] += 1
    if not counts:
        return ""
    most = max(counts.values())
    best = sorted((p for p, n in counts.items() if n == most), key=lambda p: (p.count("."), p))
    usual = [p for p in best if set(p.split(".")) <= {*WRAPPERS, ""}]
    # Two prefixes with as many names each are two models (such as a student and its average),
    # unless the names are so few that they may match by chance.
    if len(best) > 1 and most > len(own) // 4 and len(usual) != 1:
        raise Misfit(
            f"the file {str(path)!r} holds {len(best)} models ({', '.join(map(repr, best))}); save "
            "the state_dict of one alone"
        )
    return (usual or best)[0]


# Into the model.


def fill(model: nn.Module, checkpoint: Checkpoint, name: str) -> list[str]:
    """Load a checkpoint into a model of the architecture `name`; returns notes.

    Positions of another image size or text length are interpolated, as open_clip does. For a model
    on the meta device this only checks whether the file fits. Raises Misfit.
    """
    target, notes = model.state_dict(), list(checkpoint.notes)
    state = convert_state_dict(model, dict(checkpoint.state))
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for key in ("logit_scale", "logit_bias"):  # a number or a vector of one
        if key in state and key in target and state[key].numel() == target[key].numel():
            state[key] = state[key].reshape(target[key].shape)
    if "logit_bias" in target and "logit_bias" not in state and "logit_scale" in state:
        state["logit_bias"] = torch.zeros_like(state["logit_scale"])
    notes += _interpolate(model, state, target)
    _demand_fit(checkpoint.path, name, state, target)
    if not next(iter(target.values())).is_meta:
        model.load_state_dict(state)
    return notes


def _interpolate(model: nn.Module, state: State, target: Mapping[str, Tensor]) -> list[str]:
    """Resize positions in `state` to the model's; a note for each that was."""
    notes = []
    image, text = "visual.positional_embedding", "positional_embedding"
    text = text if text in target else f"text.{text}"
    for key, resize, tower, cause in (
        (image, resize_pos_embed, "image", "image size"),
        (text, resize_text_pos_embed, "text", "text length"),
    ):
        before = len(state.get(key, ()))
        # What cannot be interpolated stays as it is, so that `_demand_fit` says what differs.
        with contextlib.suppress(Exception):
            resize(state, model)
        if (after := len(state.get(key, ()))) != before:
            notes.append(
                f"{tower} positions were interpolated from {before} to {after}, since the weights "
                f"are of another {cause}"
            )
    return notes


def _demand_fit(path: Path, name: str, state: State, target: Mapping[str, Tensor]) -> None:
    missing = [key for key in target if key not in state]
    unknown = [key for key in state if key not in target]
    reshaped = [k for k in target if k in state and state[k].shape != target[k].shape]
    if not (missing or unknown or reshaped):
        return
    faults = []
    if reshaped:
        first = reshaped[0]
        sizes = f"{tuple(state[first].shape)} in the file, {tuple(target[first].shape)} in {name}"
        faults.append(f"{counted(len(reshaped), 'tensor')} of another shape ({first}: {sizes})")
    if missing:
        faults.append(f"{counted(len(missing), 'tensor')} missing ({few(missing)})")
    if unknown:
        faults.append(f"{counted(len(unknown), 'tensor')} unknown to it ({few(unknown)})")
    if len(missing) > len(target) // 2:  # another kind of model
        faults.append(f"the file has {few(state)}")
    raise Misfit(f"the file {str(path)!r} does not fit {name}: {'; '.join(faults)}")
