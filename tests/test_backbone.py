"""Weights: local checkpoints in the forms people have them, and what is refused."""

from pathlib import Path

import pytest
import torch

from bench import UserError, backbone


def state() -> dict[str, torch.Tensor]:
    return backbone.load("starter").model.state_dict()


def test_a_local_checkpoint_is_the_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state().items()}}, path)
    found = backbone.load(f"starter:{path}")
    assert found.weights_sha256 == backbone.load("starter").weights_sha256
    assert backbone.load("starter:none").weights_sha256 != found.weights_sha256
    assert backbone.weights_identity(f"starter:{path}").startswith("sha256:")


def test_another_architecture_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "wrong.pt"
    torch.save({k: v[:1] for k, v in state().items() if v.ndim}, path)
    with pytest.raises(UserError, match="cannot be loaded"):
        backbone.load(f"starter:{path}")


class Code:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return print, ("code ran",)


def test_code_in_a_checkpoint_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Code()}, path)
    with pytest.raises(UserError, match="cannot be loaded"):
        backbone.load(f"starter:{path}")
    assert "code ran" not in capsys.readouterr().out


def test_the_starter_is_small_and_its_unseen_tokens_are_zero() -> None:
    assert (backbone.STARTER / "starter.safetensors").stat().st_size < 12e6
    table = backbone.starter_state()["token_embedding.weight"]
    assert table.shape == (49408, 128)
    assert (table == 0).all(dim=1).sum() > 40_000


def test_the_towers_are_the_models_own() -> None:
    from methods.towers import image_tower, text_tower

    found = backbone.load("starter")
    images = torch.rand(2, 3, 64, 64)
    texts = found.tokenizer(["many planes are parked", "a pond"])
    with torch.no_grad():
        for tower, inputs, whole in (
            (image_tower(found.model), images, found.model.encode_image(images)),
            (text_tower(found.model), texts, found.model.encode_text(texts)),
        ):
            assert torch.allclose(tower(inputs), whole, atol=1e-5)
