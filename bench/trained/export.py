"""A trained model as files for others: its adapter or a plain open_clip checkpoint, and a card."""

import json
import shutil
from pathlib import Path

import torch

from bench import UserError, backbone
from bench.backbone import Backbone
from bench.spec import shareable
from bench.trained import example, peft_form
from bench.trained.merged import save_merged
from bench.trained.model_card import Exported, card_of
from bench.trained.restore import ADAPTER, EXPORTED, Restored, restore
from methods.base import Method


def export(path: Path, out: Path, merge: bool = False, repo: str | None = None) -> list[Path]:
    """Write the model of the record at `path` into the folder `out`; returns what was written.

    `adapter.safetensors` is all that was trained; of an adapter that is peft's,
    `adapter_model.safetensors` and `adapter_config.json` are what `PeftModel.from_pretrained`
    reads. With `merge` there is instead a plain checkpoint of open_clip, adapter and backbone in
    one. Beside them: `record.json`; an image, a sentence and their features, to check that it was
    loaded right; and the card `README.md`. `repo`: OWNER/NAME, where the files are to be pushed to
    the Hub; the card names it, and the record names no folder of this machine. Raises UserError as
    `restore`, where `out` is not empty, and where a method cannot be merged.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not an empty folder; give a new one as --out")
    restored = restore(path, None, "cpu")
    if not restored.method.own_state():
        raise UserError(f"{restored.trial.method} trains nothing, so there is nothing to export")
    method, base = in_float32(restored)
    made = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        example.write(out, method, base)
        how = Exported.MERGED if merge else _save_adapter(restored, method, base, out)
        (out / "README.md").write_text(card_of(restored, how, repo), encoding="utf-8")
        if merge:  # last, for it uses the method up
            save_merged(out, restored.trial.backbone, restored.trial.method, method, base)
    except BaseException:
        shutil.rmtree(out)
        if made:
            out.mkdir()
        raise
    if repo is None:
        shutil.copyfile(path, out / EXPORTED)
    else:
        _write_shareable(restored, out / EXPORTED)
    written = sorted(out.iterdir())
    for file in written:
        file.chmod(0o644)
    return written


def _write_shareable(restored: Restored, path: Path) -> None:
    """The record without the folders of this machine, which its identity does not depend on."""
    trial = restored.record["trial"]
    shared = {"dataset": Path(trial["dataset"]).name, "backbone": shareable(trial["backbone"])}
    document = restored.record | {"trial": trial | shared}
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def in_float32(restored: Restored) -> tuple[Method, Backbone]:
    """A restored method in float32 and its backbone; the same objects where they are so already."""
    trial, method = restored.trial, restored.method
    if trial.recipe.frozen != "bf16":
        return method, restored.backbone
    base = backbone.load(trial.backbone)
    base.preprocess = restored.backbone.preprocess
    torch.manual_seed(trial.seed)
    whole = type(method)(base.model, **trial.settings)
    whole.load_own_state(method.own_state())
    return whole.eval(), base


def _save_adapter(restored: Restored, method: Method, base: Backbone, out: Path) -> Exported:
    from safetensors.torch import save_file

    state = restored.method.own_state()
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(state, out / ADAPTER, metadata={"format": "pt"})  # one entry: more have no order
    return peft_form.save(out, restored.trial.backbone, restored.trial.seed, method, base)
