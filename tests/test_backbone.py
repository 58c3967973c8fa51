"""Weights: local checkpoints in the forms people have them, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

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


def test_openais_own_archives_are_read(tmp_path: Path) -> None:
    class Archive(nn.Module):
        """Of half precision, with three sizes among its tensors, as OpenAI's."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    module, tensors = Archive(), {k: v.half() for k, v in state().items()}
    for name, tensor in {**tensors, "vocab_size": torch.tensor(49408)}.items():
        *folders, last = name.split(".")
        place: nn.Module = module
        for folder in folders:
            if not hasattr(place, folder):
                place.add_module(folder, Archive())
            place = place.get_submodule(folder)
        place.register_buffer(last, tensor)
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.trace(module, torch.zeros(1)).save(str(path))  # type: ignore[no-untyped-call]
    loaded = backbone.load(f"starter:{path}").model.state_dict()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("other shapes", r"1 tensor is of another shape \(positional_embedding: \(77, 3\)"),
        ("half of it", r"tensors are missing \(positional_embedding, text_projection"),
        ("a logit bias", r"1 tensor is unknown to it \(logit_bias\)"),
        ("a cut safetensors", r"cannot be read \(.*\); it is damaged"),
        ("nothing", r"cannot be read \(EOFError\)"),
        ("a page", "is damaged, or holds more than tensors"),
    ],
)
def test_what_is_no_checkpoint_of_it_is_one_sentence(tmp_path: Path, kind: str, says: str) -> None:
    path, whole = tmp_path / "wrong.pt", state()
    if kind == "other shapes":
        torch.save({**whole, "positional_embedding": torch.zeros(77, 3)}, path)
    elif kind == "half of it":
        torch.save({k: v for k, v in whole.items() if k.startswith("visual")}, path)
    elif kind == "a logit bias":
        torch.save({**whole, "logit_bias": torch.zeros(())}, path)
    elif kind == "a cut safetensors":
        path = path.with_suffix(".safetensors")
        path.write_bytes(backbone.STARTER.joinpath("starter.safetensors").read_bytes()[:9999])
    else:
        path.write_text("" if kind == "nothing" else "<html>not found</html>")
    with pytest.raises(UserError, match=says) as found:
        backbone.load(f"starter:{path}")
    assert "\n" not in str(found.value)


class Code:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return print, ("code ran",)


def test_code_in_a_checkpoint_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Code()}, path)
    with pytest.raises(UserError, match="holds more than tensors"):
        backbone.load(f"starter:{path}")
    assert "code ran" not in capsys.readouterr().out


def test_the_starter_is_small_and_its_unseen_tokens_are_zero() -> None:
    assert (backbone.STARTER / "starter.safetensors").stat().st_size < 12e6
    table = backbone.starter_state()["token_embedding.weight"]
    assert table.shape == (49408, 128)
    assert (table == 0).all(dim=1).sum() > 40_000


def test_the_towers_are_the_models_own() -> None:
    from methods.known_towers import image_tower, text_tower

    found = backbone.load("starter")
    images = torch.rand(2, 3, 64, 64)
    texts = found.tokenizer(["many planes are parked", "a pond"])
    with torch.no_grad():
        for tower, inputs, whole in (
            (image_tower(found.model), images, found.model.encode_image(images)),
            (text_tower(found.model), texts, found.model.encode_text(texts)),
        ):
            assert torch.allclose(tower(inputs), whole, atol=1e-5)
