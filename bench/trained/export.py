"""Export a trained model for others: its adapter or a plain open_clip checkpoint, and a card."""

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import torch

from bench import UserError
from bench import backbone as backbones
from bench.backbone import Backbone
from bench.disk import writing
from bench.spec import shareable
from bench.trained import example, peft_form
from bench.trained.model_card import Form, card_of
from bench.trained.restore import ADAPTER, EXPORTED, Restored, restore
from methods.base import Method, NotApplicable

MERGED, MERGED_CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
"""Files of a plain open_clip checkpoint; open_clip loads their folder as `local-dir:FOLDER`."""


def export(path: Path, out: Path, merge: bool = False, repo: str | None = None) -> list[Path]:
    """Write the model of the record at `path` into the folder `out`; returns what was written.

    `adapter.safetensors` is all that was trained. For an adapter of peft there are also
    `adapter_model.safetensors` and `adapter_config.json`, which `PeftModel.from_pretrained` reads.
    With `merge` there is instead a plain open_clip checkpoint of backbone and adapter together.
    Beside them: `record.json`; an image, a sentence and their features, to check that the model
    loads correctly; and the card `README.md`. `repo`: the OWNER/NAME on the Hub that the files are
    for; the card names it, and local paths are taken out of the record. Raises UserError as
    `restore` does, if `out` is not empty, and if a method cannot be merged.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not an empty folder; give a new one as --out")
    restored = restore(path, "cpu")
    if not restored.method.own_state():
        raise UserError(f"{restored.trial.method} trains nothing, so there is nothing to export")
    method, base = _in_float32(restored)
    existed = out.exists()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    try:
        example.write(out, method, base)
        form: Form = "merged"
        if not merge:
            example.save_tensors(restored.method.own_state(), out / ADAPTER)
            form = peft_form.save(out, restored.trial.backbone, restored.trial.seed, method, base)
        (out / "README.md").write_text(card_of(restored, form, repo), encoding="utf-8")
        if merge:  # last, because it destroys the method
            _save_merged(restored, method, base, out)
    except BaseException:  # Ctrl-C as well: part of an export is of no use
        shutil.rmtree(out)
        if existed:
            out.mkdir()
        raise
    if repo is None:
        shutil.copyfile(path, out / EXPORTED)
    else:
        trial = restored.record["trial"]
        shared = {"dataset": Path(trial["dataset"]).name, "backbone": shareable(trial["backbone"])}
        document = restored.record | {"trial": trial | shared}
        text = json.dumps(document, indent=1, sort_keys=True)
        (out / EXPORTED).write_text(text + "\n", encoding="utf-8")
    written = sorted(out.iterdir())
    for file in written:
        file.chmod(0o644)
    return written


def _in_float32(restored: Restored) -> tuple[Method, Backbone]:
    """The method and its backbone in float32; rebuilt if the backbone was frozen in bf16."""
    trial, method = restored.trial, restored.method
    if trial.recipe.frozen != "bf16":
        return method, restored.backbone
    # The frozen weights were rounded when the method was built; load them once more.
    base = backbones.load(trial.backbone)
    base.preprocess = restored.backbone.preprocess
    torch.manual_seed(trial.seed)
    rebuilt = type(method)(base.model, **trial.settings)
    rebuilt.load_own_state(method.own_state())
    return rebuilt.eval(), base


def _save_merged(restored: Restored, method: Method, base: Backbone, out: Path) -> None:
    """Write a plain checkpoint that open_clip loads; `method` cannot be used afterwards.

    Raises UserError if the method cannot be merged.
    """
    name = restored.trial.method
    remedy = "leave out --merged, and use the adapter with bench"
    try:
        state = method.merged_state()
    except NotApplicable as error:
        raise UserError(f"{name} cannot be merged: {error}; {remedy}") from None
    plain: Any = backbones.load(restored.trial.backbone).model
    plain.load_state_dict(state, strict=True)
    difference = example.difference(plain, base, out)
    if not difference < example.SAME:  # `not <`: NaN is refused too
        raise UserError(
            f"{name} cannot be merged: the features of the merged weights differ by "
            f"{difference:.2g}; {remedy}"
        )
    example.save_tensors(plain.state_dict(), out / MERGED)
    config = {
        "model_cfg": open_clip.get_model_config(base.name),
        "preprocess_cfg": {"size": base.image_size, **base.preprocess.config()},
    }
    text = json.dumps(config, indent=2, sort_keys=True)
    (out / MERGED_CONFIG).write_text(text + "\n", encoding="utf-8")
    if hasattr(base.tokenizer, "save_pretrained"):  # Hugging Face's; open_clip brings its own
        base.tokenizer.save_pretrained(out)
