"""The trained adapter as safetensors with a card; in peft's own format too where it is peft's."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from bench import UserError
from bench.spec import shareable
from bench.trained.model_card import card_of
from bench.trained.restore import Restored, restore


def export(path: Path, out: Path) -> list[Path]:
    """Write the adapter of the record at `path` into the folder `out`; returns what was written.

    `adapter.safetensors` is all that was trained, `record.json` the record, `README.md` the card;
    of an adapter that is peft's, `adapter_model.safetensors` and `adapter_config.json` are what
    `PeftModel.from_pretrained` reads. Raises UserError as `restore`, and where `out` is not empty.
    """
    from safetensors.torch import save_file

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not an empty folder; give a new one as --out")
    restored = restore(path, None)
    own = restored.method.own_state()
    if not own:
        raise UserError(f"{restored.trial.method} trains nothing, so there is nothing to export")
    out.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.cpu().contiguous().clone() for name, tensor in own.items()}
    save_file(state, out / "adapter.safetensors", metadata={"format": "pt"})
    shutil.copyfile(path, out / "record.json")
    peft = _save_peft(restored, out)
    (out / "README.md").write_text(card_of(restored, peft), encoding="utf-8")
    written = sorted(out.iterdir())
    for file in written:
        file.chmod(0o644)
    return written


def _save_peft(restored: Restored, out: Path) -> bool:
    """Save peft's form where the adapter is one that peft can put into any model."""
    configs = getattr(restored.method.model, "peft_config", {})
    if not configs:
        return False
    from peft import PeftType, get_peft_model_state_dict
    from safetensors.torch import save_file

    config = copy.copy(configs["default"])
    if config.peft_type not in (PeftType.LORA, PeftType.IA3):
        return False
    for name in ("target_modules", "feedforward_modules"):
        if isinstance(getattr(config, name, None), set):
            setattr(config, name, sorted(getattr(config, name)))  # the same bytes every time
    config.base_model_name_or_path = shareable(restored.trial.backbone)
    config.inference_mode = True
    state = get_peft_model_state_dict(restored.method.model, save_embedding_layers=False)
    named = {f"base_model.model.{k}": v.cpu().contiguous().clone() for k, v in state.items()}
    save_file(named, out / "adapter_model.safetensors", metadata={"format": "pt"})
    text = json.dumps(_plain(config.to_dict()), indent=2, sort_keys=True)
    (out / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    return True


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Sets as sorted lists, as JSON has none."""
    return {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
