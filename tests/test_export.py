"""An exported model loads back, by the code on its own card, and gives the same features."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import bench
from bench import UserError, backbone
from bench.backbone.preprocess import Preprocess
from bench.data.resize import Resize
from bench.recipe import Recipe
from bench.trained import example
from bench.trained.export import export
from bench.trained.model_card import _recipe, card_of
from bench.trained.restore import restore
from methods import registry
from methods.base import Method
from tests.helpers import fake_records as fakes
from tests.helpers.close import close
from tests.helpers.trained import trained

BESIDE = {"README.md", "example.png", "example.safetensors", "record.json"}
CHECKPOINT = {"open_clip_model.safetensors", "open_clip_config.json"}
PEFT = {"adapter_model.safetensors", "adapter_config.json"}
FP32 = Recipe(steps=2, precision="fp32")


def snippets(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def execute(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    names: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "README.md", "exec"), names)
    return names


def features(method: Method) -> dict[str, Tensor]:
    return example.features(method, backbone.load("starter"))


def same(found: dict[str, Any], wanted: dict[str, Tensor]) -> None:
    for name, feature in wanted.items():
        close(found[name], feature)


@pytest.mark.parametrize("method", ["cmer", "coop"])
def test_an_adapter_loads_by_the_code_on_its_card(
    method: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted = trained(tiny, method, recipe=FP32)
    written = export(path, tiny / "out")
    assert {p.name for p in written} == {*BESIDE, "adapter.safetensors"}
    (code,) = snippets(tiny / "out")
    wanted = features(fitted)
    same(execute(code, tiny / "out", monkeypatch), wanted)
    same(load_file(tiny / "out" / "example.safetensors"), wanted)
    fresh = registry()[method](backbone.load("starter").model)
    assert not torch.allclose(features(fresh)["text"], wanted["text"], atol=1e-3)
    assert "--merged" not in (tiny / "out" / "README.md").read_text()  # these cannot be merged


@pytest.mark.parametrize(
    ("method", "settings"), [("lora", {}), ("lora", {"targets": "mlp", "dora": True}), ("ia3", {})]
)
def test_an_adapter_of_peft_loads_with_peft(
    method: str, settings: dict[str, Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted = trained(tiny, method, recipe=FP32, **settings)
    folder = tiny / "out"
    names = {p.name for p in export(path, folder)}
    assert names == {*BESIDE, *PEFT, "adapter.safetensors"}
    ours, peft = snippets(folder)
    opened = settings.get("targets") != "mlp"
    assert ("Opened" in peft) == opened
    wanted = features(fitted)
    for code in (ours, peft):
        same(execute(code, folder, monkeypatch), wanted)
    if opened:  # what went wrong without a word before
        from peft import PeftModel

        with pytest.raises(ValueError, match="opened_attention"):
            PeftModel.from_pretrained(backbone.load("starter").model, str(folder))


# Plain checkpoints.

ALONE = """
import os
import sys
from safetensors.torch import save_file

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("bench", "methods", "peft"):
            raise ImportError(f"{name} is not to be used")

sys.meta_path.insert(0, Missing())
"""


def test_a_merged_checkpoint_loads_into_open_clip_alone(tiny: Path) -> None:
    """By the code on its card, in a process where neither this project nor peft can be imported.

    The last one has the weights of the backbone alone: the check on the card finds that.
    """
    wanted, script = [], ALONE
    calls = [("full", {}), ("linear", {}), ("vera", {"rank": 16}), ("lora", {"dora": True})]
    for number, (method, settings) in enumerate(calls):
        path, fitted = trained(tiny, method, **settings)
        wanted.append(features(fitted))
        folder = tiny / f"{number}"
        assert {p.name for p in export(path, folder, merge=True)} == BESIDE | CHECKPOINT
        (code,) = snippets(folder)
        assert "bench" not in code
        script += f"os.chdir({str(folder)!r})\n{code}"
        script += 'save_file({"image": image, "text": text}, "found")\n'
    example.save_tensors(backbone.load("starter").model.state_dict(), tiny / "plain")
    script += f"os.replace({str(tiny / 'plain')!r}, 'open_clip_model.safetensors')\n{code}"
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=tiny, capture_output=True, text=True, check=False)
    assert done.stderr.rstrip().endswith("AssertionError"), done.stderr
    for number, feature in enumerate(wanted):
        same(load_file(tiny / f"{number}" / "found"), feature)


def test_a_merged_checkpoint_is_a_backbone(tiny: Path) -> None:
    path, fitted = trained(tiny, "lora")
    wanted = features(fitted)
    export(path, tiny / "out", merge=True)
    base = backbone.load(f"local-dir:{tiny / 'out'}")
    same(example.features(registry()["zeroshot"](base.model), base), wanted)
    with pytest.raises(UserError, match="use it as a backbone: --backbone local-dir:"):
        bench.load(tiny / "out")


@pytest.mark.parametrize("merge", [False, True])
def test_preprocessing_goes_with_the_model(
    merge: bool, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squash = Preprocess(Resize("squash", "bilinear"), (0.5,) * 3, (0.5,) * 3)
    path, _ = trained(tiny, "lora", recipe=FP32)
    document = json.loads(path.read_text())
    document["backbone"]["preprocess"] = squash.config()
    path.write_text(json.dumps(document))
    export(path, tiny / "out", merge)
    execute(snippets(tiny / "out")[0], tiny / "out", monkeypatch)  # it checks itself
    assert "squash, bilinear" in (tiny / "out" / "README.md").read_text()


def test_weights_held_in_bfloat16_are_exported_in_float32(tiny: Path) -> None:
    path, fitted = trained(tiny, "lora", recipe=Recipe(steps=2, frozen="bf16", precision="bf16"))
    export(path, tiny / "out", merge=True)
    wanted = features(fitted.float())
    same(load_file(tiny / "out" / "example.safetensors"), wanted)
    state = load_file(tiny / "out" / "open_clip_model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


# What it says, and what it refuses.


def test_the_card_tells_metrics_settings_and_licences(tiny: Path) -> None:
    path, fitted = trained(tiny, "lora", rank=4)
    export(path, tiny / "out")
    card = (tiny / "out" / "README.md").read_text()
    count = sum(p.numel() for p in fitted.parameters() if p.requires_grad)
    for words in ("lora(rank=4)", "12.50", "| rank | `4` |", "| lr | `0.001` |", f"{count:,} par"):
        assert words in card
    recipe = card.partition("## Recipe")[2]
    assert "| steps | `2` |" in recipe
    assert "epochs" not in recipe
    assert "None" not in recipe
    assert "8 train, 4 val, 4 test" in card
    assert "64 x 64 pixels (shortest, bicubic)" in card
    assert "RSICD, which states no licence" in card
    assert str(tiny) not in card  # no folder of somebody's machine
    assert "--merged" in card
    config = json.loads((tiny / "out" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 4)
    assert config["base_model_name_or_path"] == "starter"


@pytest.mark.parametrize("merge", [False, True])
def test_the_same_record_gives_the_same_bytes(merge: bool, tiny: Path) -> None:
    path, _ = trained(tiny, "lora", rank=2)
    first, second = export(path, tiny / "a", merge), export(path, tiny / "b", merge)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_what_cannot_be_exported_is_one_sentence(tiny: Path) -> None:
    path, _ = trained(tiny, "zeroshot")
    with pytest.raises(UserError, match="zeroshot trains nothing"):
        export(path, tiny / "out")
    assert not (tiny / "out").exists()
    (tiny / "full").mkdir()
    (tiny / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        export(path, tiny / "full")
    path, _ = trained(tiny, "cmer")
    with pytest.raises(UserError, match="cmer cannot be merged: it computes something that no"):
        export(path, tiny / "out", merge=True)
    assert not (tiny / "out").exists()
    (tiny / "empty").mkdir()
    with pytest.raises(UserError, match="cannot be merged"):
        export(path, tiny / "empty", merge=True)
    assert list((tiny / "empty").iterdir()) == []


def test_an_export_is_loaded_with_weights_from_another_place(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says where they were when it was trained; the code on the card does not."""
    path, fitted = trained(tiny, "linear", recipe=FP32)
    export(path, tiny / "out")
    document = json.loads((tiny / "out" / "record.json").read_text())
    document["trial"]["backbone"] = "ViT-B-32:/gone/mine.pt"
    (tiny / "out" / "record.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"mine\.pt"):
        bench.load(tiny / "out")
    model = bench.load(tiny / "out", backbone="starter")
    same({"text": model.encode_texts([example.SENTENCE])}, {"text": features(fitted)["text"]})
    restored = restore(path)
    moved = replace(restored, trial=replace(restored.trial, backbone="ViT-B-32:/home/me/mine.pt"))
    card = card_of(moved, "adapter")
    assert 'bench.load(".", backbone="ViT-B-32:mine.pt")' in card
    assert "/home/me" not in card


def test_the_card_names_the_batch_that_was_chosen_to_fit_the_memory() -> None:
    document: Any = fakes.record("lora", recipe={"memory": 2**30})
    document["data"]["batch_size"] = 256
    assert _recipe(document)["batch_size"] == 256
