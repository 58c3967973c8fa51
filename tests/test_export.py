"""An exported adapter loads back, by the code on its own card, and gives the same features."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from bench import UserError, backbone
from bench.trained.export import export
from methods.base import Method
from methods.surgery import open_attention
from methods.towers import image_tower, text_tower
from tests.helpers.close import close
from tests.helpers.trained import trained


def snippets(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def execute(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    names: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "README.md", "exec"), names)
    return names


@torch.no_grad()
def features(method: Method) -> tuple[torch.Tensor, torch.Tensor]:
    """Of some images and of the sentence on the card."""
    words = backbone.load("starter").tokenizer(["many planes in an airport"])
    return method.encode_image(pictures()), method.encode_text(words)


def pictures() -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("method", ["cmer", "coop"])
def test_an_adapter_loads_by_the_code_on_its_card(
    method: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted = trained(tiny, method)
    written = export(path, tiny / "out")
    assert [p.name for p in written] == ["README.md", "adapter.safetensors", "record.json"]
    (code,) = snippets(tiny / "out")
    names = execute(code, tiny / "out", monkeypatch)
    image, text = features(fitted)
    close(names["text"], text)
    with torch.no_grad():
        close(names["method"].encode_image(pictures()), image)
    fresh = type(fitted)(backbone.load("starter").model)
    assert not torch.allclose(features(fresh)[1], text, atol=1e-3)  # the adapter matters


@pytest.mark.parametrize("settings", [{}, {"targets": "mlp", "dora": True}])
def test_lora_loads_with_peft(
    settings: dict[str, Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted = trained(tiny, "lora", **settings)
    folder = tiny / "out"
    names = {p.name for p in export(path, folder)}
    assert {"adapter_model.safetensors", "adapter_config.json"} < names
    ours, peft = snippets(folder)
    assert ("open_attention" in peft) == (settings == {})
    image, text = features(fitted)
    close(execute(ours, folder, monkeypatch)["text"], text)
    loaded = execute(peft, folder, monkeypatch)
    close(loaded["text"], text)
    with torch.no_grad():
        again = loaded["model"].encode_image(pictures(), normalize=True)
    close(again, image)


def test_lora_loads_with_peft_s_inject_adapter(tiny: Path) -> None:
    from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict

    path, fitted = trained(tiny, "lora", rank=4)
    export(path, tiny / "out")
    model = backbone.load("starter").model
    for tower in (image_tower(model), text_tower(model)):
        open_attention(tower)
    inject_adapter_in_model(PeftConfig.from_pretrained(str(tiny / "out")), model)
    state = load_file(tiny / "out" / "adapter_model.safetensors")
    bare = {name.removeprefix("base_model.model."): tensor for name, tensor in state.items()}
    assert not set_peft_model_state_dict(model, bare).unexpected_keys
    with torch.no_grad():
        image = F.normalize(model.eval().encode_image(pictures()), dim=-1)
    close(image, features(fitted)[0])


def test_the_card_tells_metrics_settings_and_licences(tiny: Path) -> None:
    path, fitted = trained(tiny, "lora", rank=4)
    export(path, tiny / "out")
    card = (tiny / "out" / "README.md").read_text()
    count = sum(p.numel() for p in fitted.parameters() if p.requires_grad)
    for words in ("lora(rank=4)", "12.50", "| rank | `4` |", "| lr | `0.001` |", f"{count:,} par"):
        assert words in card
    assert "8 train, 4 val, 4 test" in card
    assert "RSICD, which states no licence" in card
    assert str(tiny) not in card  # no folder of somebody's machine
    config = json.loads((tiny / "out" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 4)
    assert config["base_model_name_or_path"] == "starter"


def test_the_same_record_gives_the_same_bytes(tiny: Path) -> None:
    path, _ = trained(tiny, "lora", rank=2)
    first, second = export(path, tiny / "a"), export(path, tiny / "b")
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
