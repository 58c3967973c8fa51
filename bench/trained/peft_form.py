"""A trained adapter in the form of the library peft: what `PeftModel.from_pretrained` reads."""

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
from bench.trained.model_card import Exported
from methods.base import Method
from methods.surgery import OpenAttention, Opened

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save(out: Path, spec: str, seed: int, method: Method, base: Backbone) -> Exported:
    """Write weights and config for peft, if possible. Returns the form that the export has.

    spec: the backbone's; seed: the trial's, for random matrices that an adapter does not train.
    Nothing is written if the method is not one of peft's. peft then loads what was written; if that
    does not give the same features (an adapter that changed the frozen weights), it is removed.
    """
    configs: Any = getattr(method.model, "peft_config", None)
    if not configs:
        return Exported.ADAPTER
    opened = any(isinstance(module, OpenAttention) for module in method.model.modules())
    config = copy.copy(configs["default"])
    _name_layers(config, method.model, "opened_attention." if opened else "")
    config.base_model_name_or_path = shareable(spec)
    try:
        _write(out, config, _filled(method, config, spec, seed, opened))
        right = example.apart(_loaded(out, spec, opened), base, out) < example.SAME
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, NotImplementedError):
        right = False  # it has no such form, or not in this version of peft
    if not right:
        for name in (WEIGHTS, CONFIG):
            (out / name).unlink(missing_ok=True)
        return Exported.ADAPTER
    return Exported.PEFT_OPENED if opened else Exported.PEFT


def _holder(spec: str, opened: bool) -> nn.Module:
    """A fresh backbone, with opened attention if the adapter needs it."""
    model = backbone.load(spec).model
    return Opened(model) if opened else model


def _filled(method: Method, config: Any, spec: str, seed: int, opened: bool) -> Any:
    """A `PeftModel` with the method's weights: it knows which of them peft saves, and how."""
    from peft import PeftModel

    holder = _holder(spec, opened)
    torch.manual_seed(seed)
    wrapped = PeftModel(holder, copy.copy(config), autocast_adapter_dtype=False)
    inside: Any = wrapped.base_model.model
    model = inside.opened_attention if opened else inside
    model.load_state_dict(method.model.state_dict(), strict=True)
    return wrapped


def _write(out: Path, config: Any, wrapped: Any) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    named = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(named, out / WEIGHTS, metadata={"format": "pt"})
    config.inference_mode = True
    text = json.dumps(_plain(config.to_dict()), indent=2, sort_keys=True)
    (out / CONFIG).write_text(text + "\n", encoding="utf-8")


def _loaded(out: Path, spec: str, opened: bool) -> Any:
    """The adapter, loaded as a user would load it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(_holder(spec, opened), str(out)).eval()


def _name_layers(config: Any, model: nn.Module, within: str) -> None:
    """Put the full names of the wrapped layers into the config.

    peft keeps only endings of names ("c_fc"), which might match other layers of another model.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = {n: m for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    config.target_modules = sorted(f"{within}{name}" for name in wrapped)
    if hasattr(config, "feedforward_modules"):
        inner = (n for n, m in wrapped.items() if getattr(m, "is_feedforward", False))
        config.feedforward_modules = sorted(f"{within}{name}" for name in inner)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """The config with sets as sorted lists, since JSON has no sets."""
    return {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
