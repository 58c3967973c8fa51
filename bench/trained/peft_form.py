"""Save a trained adapter in the format of peft, which `PeftModel.from_pretrained` reads."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import backbone
from bench.backbone import Backbone
from bench.spec import shareable
from bench.trained import example
from bench.trained.model_card import Form
from methods.base import Method
from methods.surgery import OpenAttention, Opened

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save(out: Path, spec: str, seed: int, method: Method, base: Backbone) -> Form:
    """Write weights and config for peft, if possible. Returns the form that the export has.

    spec: the backbone's; seed: the trial's, for random matrices that an adapter does not train.
    Nothing is written for a method that does not use peft. What was written is loaded again with
    peft; if that gives other features (some adapters change frozen weights), it is removed.
    """
    from peft import PeftModel

    configs: Any = getattr(method.model, "peft_config", None)
    if not configs:
        return "adapter"
    opened = any(isinstance(module, OpenAttention) for module in method.model.modules())
    config = copy.copy(configs["default"])
    _name_layers(config, method.model, "opened_attention." if opened else "")
    config.base_model_name_or_path = shareable(spec)
    try:
        _write(out, config, method, _fresh(spec, opened), seed)
        loaded = PeftModel.from_pretrained(_fresh(spec, opened), str(out)).eval()
        same = example.difference(loaded, base, out) < example.SAME
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, NotImplementedError):
        same = False  # peft, or this version of it, cannot save such an adapter
    if not same:
        for name in (WEIGHTS, CONFIG):
            (out / name).unlink(missing_ok=True)
        return "adapter"
    return "peft_opened" if opened else "peft"


def _fresh(spec: str, opened: bool) -> nn.Module:
    """A new backbone, with opened attention if the adapter needs it."""
    model = backbone.load(spec).model
    return Opened(model) if opened else model


def _write(out: Path, config: Any, method: Method, model: nn.Module, seed: int) -> None:
    """Write weights and config through a `PeftModel`, since peft decides what it saves and how."""
    from peft import PeftModel, get_peft_model_state_dict

    torch.manual_seed(seed)
    wrapped = PeftModel(model, copy.copy(config), autocast_adapter_dtype=False)
    inside: Any = wrapped.base_model.model
    inside = inside.opened_attention if isinstance(inside, Opened) else inside
    inside.load_state_dict(method.model.state_dict(), strict=True)
    state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    example.save_tensors(state, out / WEIGHTS)
    config.inference_mode = True
    document = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    text = json.dumps(document, indent=2, sort_keys=True)
    (out / CONFIG).write_text(text + "\n", encoding="utf-8")


def _name_layers(config: Any, model: nn.Module, within: str) -> None:
    """Put the full names of the wrapped layers into the config.

    peft keeps only endings of names ("c_fc"), which may match more layers in another model.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = {n: m for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    config.target_modules = sorted(f"{within}{name}" for name in wrapped)
    if hasattr(config, "feedforward_modules"):
        inner = (n for n, m in wrapped.items() if getattr(m, "is_feedforward", False))
        config.feedforward_modules = sorted(f"{within}{name}" for name in inner)
