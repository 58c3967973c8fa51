"""Checkpoint files: wrapped and prefixed in any way, a CLIPModel's names, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from bench import UserError, backbone
from bench.backbone import checkpoint, loading
from bench.backbone.ready import make_ready
from bench.backbone.spec import Spec
from bench.backbone.starter import STARTER
from tests.helpers.close import close
from tests.helpers.hub_server import hub_of_this_process

SIZES = {"vision": {"layers": 2, "width": 64, "patch_size": 16, "image_size": 32}}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 3}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a small architecture that is registered as `small` (and `small-quickgelu`)."""
    folder = tmp_path_factory.mktemp("configs")
    for name, more in (
        ("small", {}),
        ("small-quickgelu", {"quick_gelu": True}),
        ("small-large-images", {"vision_cfg": {**SIZES["vision"], "image_size": 64}}),
        ("small-wide", {"text_cfg": {**TEXT, "width": 128, "heads": 2}}),
    ):
        config = {"embed_dim": 32, "vision_cfg": SIZES["vision"], "text_cfg": TEXT, **more}
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(1)
    state: dict[str, torch.Tensor] = loading.create(Spec("small", "none")).state_dict()
    return {name: torch.randn_like(tensor) * 0.05 for name, tensor in state.items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def notes_of(spec: str, state: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Load a backbone and compare its weights with `state`; returns its notes."""
    base = backbone.load(spec)
    loaded = base.model.state_dict()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in state.items())
    return base.notes


@pytest.mark.parametrize(
    ("prefix", "wrap"),
    [
        ("", lambda s: s),
        ("module.", lambda s: {"state_dict": s, "epoch": 3}),
        ("module.model.", lambda s: {"model": s, "optimizer": {"state": {0: {"a": s}}}}),
        ("_orig_mod.module.clip.", lambda s: {"model_state_dict": s}),
        ("model._orig_mod.", lambda s: {"model": {"state_dict": s}}),
        ("net.backbone.clip_model.", lambda s: {"weights": s}),
    ],
)
def test_wrapping_and_prefixes_in_any_order_and_depth(
    small: dict[str, torch.Tensor], tmp_path: Path, prefix: str, wrap: Any
) -> None:
    extra = {f"{prefix}attn_mask": torch.zeros(77, 77), f"{prefix}input_resolution": torch.ones(())}
    state = {f"{prefix}{name}": tensor for name, tensor in small.items()}
    path = saved(tmp_path / "mine.pt", wrap({**state, **extra}))
    assert notes_of(f"small:{path}", small)[0].startswith("mine.pt does not say whether")


def test_a_tower_that_was_compiled_alone(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = {name.replace("visual.", "visual._orig_mod."): t for name, t in small.items()}
    notes_of(f"small:{saved(tmp_path / 'mine.pt', state)}", small)


def test_tensors_beside_the_model_are_left_out_and_named(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    state = {f"model.{name}": tensor for name, tensor in small.items()}
    path = saved(tmp_path / "mine.pt", {**state, "criterion.margin": torch.ones(())})
    base = backbone.load(f"small:{path}")
    assert base.notes[0] == "1 tensors outside 'model.' were left out: criterion.margin"


def test_of_two_models_in_a_file_the_usual_one_is_taken_else_none(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    def two(first: str, second: str) -> Path:
        other = {f"{second}{name}": tensor * 2 for name, tensor in small.items()}
        own = {f"{first}{name}": tensor for name, tensor in small.items()}
        return saved(tmp_path / "mine.pt", {**other, **own})

    notes_of(f"small:{two('model.', 'average.')}", small)
    with pytest.raises(UserError, match=r"holds 2 models \('student.', 'teacher.'\)"):
        backbone.load(f"small:{two('student.', 'teacher.')}")


def test_positions_of_another_image_size_are_interpolated_and_noted(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    base = backbone.load(f"small-large-images:{saved(tmp_path / 'mine.pt', small)}")
    assert base.image_size == 64
    assert base.notes[0].startswith("image positions were interpolated from 5 to 17")
    positions = {"positional_embedding": small["positional_embedding"][:60]}
    base = backbone.load(f"small:{saved(tmp_path / 'mine.pt', {**small, **positions})}")
    assert base.notes[0].startswith("text positions were interpolated from 60 to 77")


# A CLIPModel of transformers.


def clip_model(activation: str) -> Any:
    transformers = pytest.importorskip("transformers")
    shared = {"num_attention_heads": 1, "hidden_act": activation, "projection_dim": 32}
    shared |= {"hidden_size": 64, "intermediate_size": 256}
    text = {"num_hidden_layers": 3, "vocab_size": 49408, "max_position_embeddings": 77}
    text |= {"bos_token_id": 49406, "eos_token_id": 49407}
    vision = {"num_hidden_layers": 2, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(
        text_config=shared | text, vision_config=shared | vision, projection_dim=32
    )
    torch.manual_seed(2)
    model = transformers.CLIPModel(config).eval()
    for parameter in model.parameters():  # biases and norms too, which begin as zeros and ones
        nn.init.normal_(parameter, std=0.2)
    return model


def unit(features: Any) -> torch.Tensor:
    found = features if isinstance(features, torch.Tensor) else features.pooler_output
    return nn.functional.normalize(found, dim=-1)


@pytest.mark.parametrize(
    ("activation", "name", "prefix"),
    [("quick_gelu", "small-quickgelu", ""), ("gelu", "small", "module.clip.")],
)
@torch.no_grad()
def test_a_clip_model_of_transformers_gives_the_same_features(
    small: dict[str, torch.Tensor], tmp_path: Path, activation: str, name: str, prefix: str
) -> None:
    theirs = clip_model(activation)
    state = {f"{prefix}{k}": v for k, v in theirs.state_dict().items()}
    path = saved(tmp_path / "pytorch_model.bin", state)
    base = backbone.load(f"{name}:{path}")
    images = torch.randn(4, 3, 32, 32)
    tokens = base.tokenizer(["many planes are parked", "a pond", "a bridge over a river", "sea"])
    for own, other in (
        (base.model.encode_image(images), theirs.get_image_features(pixel_values=images)),
        (base.model.encode_text(tokens), theirs.get_text_features(input_ids=tokens)),
    ):
        close(unit(own), unit(other))
    assert torch.equal(base.model.logit_scale, theirs.logit_scale)


def test_the_activation_of_a_clip_model_is_in_the_config_beside_it(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    theirs = clip_model("gelu")
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    assert make_ready(f"small:{path}", print).notes == ()
    with pytest.raises(UserError, match=rf"did you mean small:{path}\?"):
        make_ready(f"small-quickgelu:{path}", print)
    (note,) = backbone.load(f"small-quickgelu:{path}").notes  # a record of old can be restored
    assert "was trained with GELU (known from: config.json beside it)" in note


def test_on_the_hub_that_config_is_fetched_too(
    small: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = clip_model("quick_gelu")
    theirs.save_pretrained(tmp_path)
    names = ("config.json", "model.safetensors")
    files = {f"clip/{name}": (tmp_path / name).read_bytes() for name in names}
    with hub_of_this_process(monkeypatch, tmp_path / "hub") as server:
        server.add_repo("owner/clip", files)
        with pytest.raises(UserError, match="did you mean small-quickgelu:hf:owner/clip/clip/mod"):
            make_ready("small:hf:owner/clip/clip/model.safetensors", print)
        spec = "small-quickgelu:hf:owner/clip/clip/model.safetensors"
        assert make_ready(spec, print).notes == ()


# What does not fit.


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"epoch": 3, "config": {"a": 1}}, r"holds no tensors by name \(its keys are epoch, confi"),
        ([torch.ones(3)], "holds no tensors by name;"),
        ({"fc.weight": torch.ones(3, 4), "fc.bias": torch.ones(3)}, "the file has fc.weight, fc.b"),
        (
            {"token_embedding.weight": torch.ones(9, 768)},
            r"1 tensor of another shape \(token_embedding.weight: \(9, 768\) in the file, ",
        ),
        ("half of it", r"tensors missing \(positional_embedding, text_projection"),
        ("a logit bias", r"1 tensor unknown to it \(logit_bias\)"),
        (b"", r"cannot be read \(EOFError\)"),
        (b"<html>not found</html>", "is damaged, or holds more than tensors"),
    ],
)
def test_other_files_are_one_sentence(
    small: dict[str, torch.Tensor], tmp_path: Path, content: Any, says: str
) -> None:
    if content == "half of it":
        content = {k: v for k, v in small.items() if k.startswith("visual")}
    elif content == "a logit bias":
        content = {**small, "logit_bias": torch.zeros(())}
    path = tmp_path / "mine.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=says) as found:
        backbone.load(f"small:{path}")
    assert "\n" not in str(found.value)


def test_a_cut_safetensors_is_one_sentence(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(STARTER.joinpath("starter.safetensors").read_bytes()[:9999])
    with pytest.raises(UserError, match=r"cannot be read \(.*\); it is damaged"):
        backbone.load(f"small:{path}")


class Code:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return print, ("code ran",)


def test_code_in_a_checkpoint_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "evil.pt", {"state_dict": Code()})
    with pytest.raises(UserError, match="holds more than tensors"):
        backbone.load(f"starter:{path}")
    assert "code ran" not in capsys.readouterr().out


def test_openais_own_archives_are_read_and_have_quickgelu(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    class Archive(nn.Module):
        """Of half precision, with three sizes among its tensors, as OpenAI's."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    module, tensors = Archive(), {name: tensor.half() for name, tensor in small.items()}
    sizes = {name: torch.tensor(1) for name in checkpoint.OPENAI_MARKS}
    for name, tensor in {**tensors, **sizes}.items():
        *folders, last = name.split(".")
        place: nn.Module = module
        for folder in folders:
            if not hasattr(place, folder):
                place.add_module(folder, Archive())
            place = place.get_submodule(folder)
        place.register_buffer(last, tensor)
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.trace(module, torch.zeros(1)).save(str(path))  # type: ignore[no-untyped-call]
    assert notes_of(f"small-quickgelu:{path}", tensors) == ()
    with pytest.raises(
        UserError, match=rf"OpenAI's own archive.*did you mean small-quickgelu:{path}"
    ):
        make_ready(f"small:{path}", print)


# The activation.


def test_a_file_that_says_nothing_of_its_activation_is_noted(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = saved(tmp_path / "mine.pt", small)
    (note,) = backbone.load(f"small-quickgelu:{path}").notes
    assert note.endswith("QuickGELU is assumed, as small-quickgelu has it (small has GELU)")
    wide = saved(tmp_path / "w.pt", loading.create(Spec("small-wide", "none")).state_dict())
    assert backbone.load(f"small-wide:{wide}").notes == ()


def test_a_file_that_the_table_knows_is_told_from_its_name(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    from bench.backbone import activation, names

    path = saved(tmp_path / "RemoteCLIP-ViT-B-32.pt", small)
    found = checkpoint.read(path, loading.create_without_memory(Spec("small", "none")))
    known = names.known_weights(f"ViT-B-32:{path}")
    assert activation.note("ViT-B-32-quickgelu", found, known) is None
    note = activation.note("ViT-B-32", found, known)
    assert note is not None
    assert "recalls will be too low; ViT-B-32-quickgelu has QuickGELU" in note
