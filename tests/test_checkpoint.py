"""Checkpoint files: wrapped and prefixed in any way, a CLIPModel's names, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench import UserError, backbone
from bench.backbone import checkpoint, loading, nearest
from bench.backbone.spec import Spec
from tests.helpers.hub_server import HubServer

SIZES = {"vision": {"layers": 2, "width": 64, "patch_size": 16, "image_size": 32}}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 3}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a small architecture that is registered as `small` (and `small-quickgelu`)."""
    import open_clip

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


def same(spec: str, state: dict[str, torch.Tensor]) -> bool:
    loaded = backbone.load(spec).model.state_dict()
    return all(torch.equal(loaded[name], tensor.float()) for name, tensor in state.items())


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
    assert same(f"small:{path}", small)
    assert backbone.load(f"small:{path}").notes[0].startswith("mine.pt does not say whether")


def test_a_tower_that_was_compiled_alone(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = {name.replace("visual.", "visual._orig_mod."): t for name, t in small.items()}
    assert same(f"small:{saved(tmp_path / 'mine.pt', state)}", small)


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

    assert same(f"small:{two('model.', 'average.')}", small)
    with pytest.raises(UserError, match=r"holds 2 models \('student.', 'teacher.'\)"):
        backbone.load(f"small:{two('student.', 'teacher.')}")


def test_safetensors_are_read(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({f"module.{k}": v for k, v in small.items()}, tmp_path / "mine.safetensors")
    assert same(f"small:{tmp_path / 'mine.safetensors'}", small)


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


def clip_model(activation: str = "quick_gelu", **vision: int) -> Any:
    transformers = pytest.importorskip("transformers")
    shared = {"num_attention_heads": 1, "hidden_act": activation, "projection_dim": 32}
    config = transformers.CLIPConfig(
        text_config={
            **shared,
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "vocab_size": 49408,
            "max_position_embeddings": 77,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
        },
        vision_config={
            **shared,
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "image_size": 32,
            "patch_size": 16,
            **vision,
        },
        projection_dim=32,
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
        assert (unit(own) - unit(other)).abs().max() < 1e-6
    assert torch.equal(base.model.logit_scale, theirs.logit_scale)


def test_the_activation_of_a_clip_model_is_in_the_config_beside_it(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    from bench.backbone.ready import make_ready

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
    from huggingface_hub import constants

    from bench.backbone.ready import make_ready

    theirs = clip_model("quick_gelu")
    theirs.save_pretrained(tmp_path)
    names = ("config.json", "model.safetensors")
    files = {f"clip/{name}": (tmp_path / name).read_bytes() for name in names}
    with HubServer() as server:
        server.add_repo("owner/clip", files)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        with pytest.raises(UserError, match="did you mean small-quickgelu:hf:owner/clip/clip/mod"):
            make_ready("small:hf:owner/clip/clip/model.safetensors", print)
        spec = "small-quickgelu:hf:owner/clip/clip/model.safetensors"
        assert make_ready(spec, print).notes == ()


# What does not fit.


def test_the_nearest_architecture_is_named(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.pt", small)
    with pytest.raises(UserError, match=r"its tensors are those of small$"):
        backbone.load(f"ViT-B-32:{path}")
    with pytest.raises(UserError, match=r"its tensors are those of small-quickgelu$"):
        backbone.load(f"ViT-B-32-quickgelu:{path}")


def test_every_architecture_of_open_clips_own_towers_is_nearest_to_itself() -> None:
    import open_clip

    for name in ("ViT-B-16", "ViT-L-14-336-quickgelu", "RN50", "RN101-quickgelu", "ViT-H-14"):
        state = loading.create_without_memory(Spec(name, "none")).state_dict()
        wanted = "ViT-B-32-quickgelu" if name.endswith("quickgelu") else "ViT-B-32"
        said = nearest.nearest_architecture(state, wanted)
        found = (said or "").removeprefix("its tensors are those of ")
        mine, other = (open_clip.get_model_config(one) for one in (name, found))
        assert mine["vision_cfg"] == other["vision_cfg"], said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"epoch": 3, "config": {"a": 1}}, r"holds no tensors by name \(its keys are epoch, confi"),
        ([torch.ones(3)], "holds no tensors by name;"),
        ({"fc.weight": torch.ones(3, 4), "fc.bias": torch.ones(3)}, "the file has fc.weight, fc.b"),
    ],
)
def test_other_files_are_one_sentence(
    small: dict[str, torch.Tensor], tmp_path: Path, content: Any, says: str
) -> None:
    with pytest.raises(checkpoint.Misfit, match=says) as found:
        backbone.load(f"small:{saved(tmp_path / 'mine.pt', content)}")
    assert "\n" not in str(found.value)


# The activation.


def test_a_file_that_says_nothing_of_its_activation_is_noted(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = saved(tmp_path / "mine.pt", small)
    (note,) = backbone.load(f"small-quickgelu:{path}").notes
    assert note.endswith("QuickGELU is assumed, as small-quickgelu has it (small has GELU)")
    assert backbone.load(f"small-wide:{saved(tmp_path / 'w.pt', wide())}").notes == ()


def wide() -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = loading.create(Spec("small-wide", "none")).state_dict()
    return state


def test_a_file_that_the_table_knows_is_told_from_its_name(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    from bench.backbone import activation, names

    path = saved(tmp_path / "RemoteCLIP-ViT-B-32.pt", small)
    found = checkpoint.read(path)
    known = names.known_weights(f"ViT-B-32:{path}")
    assert activation.note("ViT-B-32-quickgelu", found, known) is None
    note = activation.note("ViT-B-32", found, known)
    assert note is not None
    assert "recalls will be too low; ViT-B-32-quickgelu has QuickGELU" in note


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("ViT-B-32:openai", r"did you mean ViT-B-32-quickgelu:openai\?"),
        ("RN50:cc12m", r"did you mean RN50-quickgelu:cc12m\?"),
        ("ViT-L-14-quickgelu:laion2b_s32b_b82k", r"did you mean ViT-L-14:laion2b_s32b_b82k\?"),
    ],
)
def test_a_tag_of_the_other_activation_is_refused_before_anything_runs(
    spec: str, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        backbone.check(spec)
