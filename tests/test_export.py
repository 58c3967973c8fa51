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
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bench import UserError, backbone, cli
from bench import load as load_trained
from bench.backbone import Preprocess
from bench.data.resize import Resize
from bench.recipe import Recipe
from bench.trained import example
from bench.trained.export import export
from bench.trained.restore import restore
from methods import registry
from methods.base import Method
from methods.surgery import Opened
from tests.helpers.close import close
from tests.helpers.trained import trained

BESIDE = {"README.md", "example.png", "example.safetensors", "record.json"}
CHECKPOINT = {"open_clip_model.safetensors", "open_clip_config.json"}
MERGED: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("bitfit", {}),
    ("linear", {}),
    ("lora", {"rank": 4}),
    ("lora", {"targets": "mlp", "dora": True}),
    ("ia3", {}),
    ("vera", {"rank": 16}),
    ("ssf", {}),
]


def snippets(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def execute(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    names: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "README.md", "exec"), names)
    return names


ALONE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("bench", "methods", "peft"):
            raise ImportError(f"{name} is not to be used")

sys.meta_path.insert(0, Missing())
"""


def alone(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a folder, in a process where neither this project nor peft can be imported."""
    told = [sys.executable, "-c", ALONE + code]
    return subprocess.run(told, cwd=folder, capture_output=True, text=True, timeout=300)


def features(method: Method) -> dict[str, torch.Tensor]:
    """Of the example's image and sentence, by the method itself."""
    from PIL import Image

    base = backbone.load("starter")
    image = Image.fromarray(example.picture())
    pair = example.features(method, base, image)
    return dict(zip(("image", "text"), pair, strict=True))


def same(found: dict[str, Any], wanted: dict[str, torch.Tensor]) -> None:
    for name, feature in wanted.items():
        close(found[name], feature)


@pytest.mark.parametrize("method", ["cmer", "coop", "linear"])
def test_an_adapter_loads_by_the_code_on_its_card(
    method: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted = trained(tiny, method, recipe=Recipe(steps=2, precision="fp32"))
    written = export(path, tiny / "out")
    assert {p.name for p in written} == {*BESIDE, "adapter.safetensors"}
    (code,) = snippets(tiny / "out")
    wanted = features(fitted)
    same(execute(code, tiny / "out", monkeypatch), wanted)
    same(load_file(tiny / "out" / "example.safetensors"), wanted)
    fresh = registry()[method](backbone.load("starter").model)
    assert not torch.allclose(features(fresh)["text"], wanted["text"], atol=1e-3)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("lora", {}),
        ("lora", {"targets": "mlp", "dora": True}),
        ("lora", {"dora": True}),
        ("ia3", {}),
    ],
)
def test_an_adapter_of_peft_loads_with_peft(
    method: str, settings: dict[str, Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted = trained(tiny, method, recipe=Recipe(steps=2, precision="fp32"), **settings)
    folder = tiny / "out"
    names = {p.name for p in export(path, folder)}
    assert names - BESIDE == {
        "adapter.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
    }
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


def test_lora_loads_with_peft_s_inject_adapter(tiny: Path) -> None:
    from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict

    path, fitted = trained(tiny, "lora", rank=4)
    export(path, tiny / "out")
    base = backbone.load("starter")
    model = Opened(base.model)
    inject_adapter_in_model(PeftConfig.from_pretrained(str(tiny / "out")), model)
    state = load_file(tiny / "out" / "adapter_model.safetensors")
    bare = {name.removeprefix("base_model.model."): tensor for name, tensor in state.items()}
    assert not set_peft_model_state_dict(model, bare).unexpected_keys
    with torch.no_grad():
        text = model.eval().encode_text(base.tokenizer([example.SENTENCE]), normalize=True)
    close(text, features(fitted)["text"])


# Plain checkpoints.


def test_a_merged_checkpoint_loads_into_open_clip_alone(tiny: Path) -> None:
    """Each by the code on its card, one after the other in one process, for that takes seconds."""
    wanted, script = [], "import os\nfrom safetensors.torch import save_file\n"
    for number, (method, settings) in enumerate(MERGED):
        path, fitted = trained(tiny, method, **settings)
        wanted.append(features(fitted))
        folder = tiny / f"{number}"
        assert {p.name for p in export(path, folder, merge=True)} == BESIDE | CHECKPOINT
        (code,) = snippets(folder)
        assert "bench" not in code
        script += f"os.chdir({str(folder)!r})\n{code}"
        script += 'save_file({"image": image, "text": text}, "found")\n'
    done = alone(script, tiny)
    assert done.returncode == 0, done.stderr
    for number, feature in enumerate(wanted):
        found = load_file(tiny / f"{number}" / "found")
        for name, wanted_feature in feature.items():
            torch.testing.assert_close(found[name], wanted_feature, rtol=0, atol=1e-6)


def test_the_check_on_the_card_finds_what_is_wrong(tiny: Path) -> None:
    path, _ = trained(tiny, "lora")
    export(path, tiny / "out", merge=True)
    (code,) = snippets(tiny / "out")
    state = backbone.load("starter").model.state_dict()  # the backbone without the adapter
    save_file(
        {k: v.contiguous() for k, v in state.items()}, tiny / "out" / "open_clip_model.safetensors"
    )
    done = alone(code, tiny / "out")
    assert done.returncode == 1
    assert "AssertionError" in done.stderr


def test_a_merged_checkpoint_is_a_backbone(tiny: Path) -> None:
    path, fitted = trained(tiny, "lora")
    wanted = features(fitted)
    export(path, tiny / "out", merge=True)
    base = backbone.load(f"local-dir:{tiny / 'out'}")
    again = example.features(registry()["zeroshot"](base.model), base, image())
    close(torch.cat(again), torch.cat([*wanted.values()]))


def image() -> Any:
    from PIL import Image

    return Image.fromarray(example.picture())


@pytest.mark.parametrize("merge", [False, True])
def test_preprocessing_goes_with_the_model(
    merge: bool, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squash = Preprocess(Resize("squash", "bilinear"), (0.5,) * 3, (0.5,) * 3)
    path, _ = trained(tiny, "lora")
    document = json.loads(path.read_text())
    document["backbone"]["preprocess"] = squash.config()
    path.write_text(json.dumps(document))
    export(path, tiny / "out", merge)
    code = snippets(tiny / "out")[0]
    if merge:
        done = alone(code, tiny / "out")
        assert done.returncode == 0, done.stderr
        config = json.loads((tiny / "out" / "open_clip_config.json").read_text())
        assert config["preprocess_cfg"]["resize_mode"] == "squash"
    else:
        execute(code, tiny / "out", monkeypatch)
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
    assert "8 train, 4 val, 4 test" in card
    assert "64 x 64 pixels (shortest, bicubic)" in card
    assert "RSICD, which states no licence" in card
    assert str(tiny) not in card  # no folder of somebody's machine
    assert "--merged" in card
    config = json.loads((tiny / "out" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 4)
    assert config["base_model_name_or_path"] == "starter"


def test_only_what_can_be_merged_offers_it(tiny: Path) -> None:
    path, _ = trained(tiny, "cmer")
    export(path, tiny / "out")
    assert "--merged" not in (tiny / "out" / "README.md").read_text()


@pytest.mark.parametrize("merge", [False, True])
def test_the_same_record_gives_the_same_bytes(merge: bool, tiny: Path) -> None:
    path, _ = trained(tiny, "lora", rank=2)
    first, second = export(path, tiny / "a", merge), export(path, tiny / "b", merge)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_the_command(tiny: Path) -> None:
    path, _ = trained(tiny, "bitfit")
    words = ["export", str(path), "--out", str(tiny / "out"), "--merged"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "open_clip_model.safetensors" in done.output


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
    path, fitted = trained(tiny, "linear", recipe=Recipe(steps=2, precision="fp32"))
    export(path, tiny / "out")
    document = json.loads((tiny / "out" / "record.json").read_text())
    document["trial"]["backbone"] = "ViT-B-32:/gone/mine.pt"
    (tiny / "out" / "record.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"mine\.pt"):
        load_trained(tiny / "out")
    model = load_trained(tiny / "out", backbone="starter")
    same({"text": model.encode_texts([example.SENTENCE])}, {"text": features(fitted)["text"]})
    restored = restore(path, None)
    moved = replace(restored, trial=replace(restored.trial, backbone="ViT-B-32:/home/me/mine.pt"))
    from bench.trained.model_card import Exported, card_of

    card = card_of(moved, Exported.ADAPTER)
    assert 'bench.load(".", backbone="ViT-B-32:mine.pt")' in card
    assert "/home/me" not in card
