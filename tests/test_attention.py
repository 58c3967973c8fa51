"""Attention goes through SDPA: in every make of tower, in training and in evaluation."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bench import backbone
from bench.backbone.attention import SelfAttention, attention_kernels
from bench.contract import tiny_batch, tiny_model
from bench.training.trainer import autocast
from methods import registry
from methods.known_towers import image_tower, text_tower
from tests.helpers.close import close
from tests.helpers.makes import WITH_BLOCKS

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def sdpa() -> Iterator[None]:
    """As after `backbone.load`; torch's own choice again afterwards."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


def fused(found: dict[str, int]) -> bool:
    return bool(found) and all(name.startswith("scaled_dot_product") for name in found)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", WITH_BLOCKS)
def test_every_make_of_tower(kind: str, training: bool, precision: torch.dtype) -> None:
    if kind == "hf":
        pytest.importorskip("transformers")
    model, batch = tiny_model(kind).train(training), tiny_batch()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # with dropout a CPU has no fused kernel; CUDA has
    image, text = image_tower(model), text_tower(model)
    with torch.set_grad_enabled(training), autocast(precision, CPU):
        for tower, inputs in ((image, batch.images), (text, batch.texts)):
            found = attention_kernels(lambda tower=tower, inputs=inputs: tower(inputs))
            assert fused(found), found
            assert sum(found.values()) >= len(tower.blocks)


@pytest.mark.parametrize("name", ["full", "lora", "linear", "adapter", "vpt"])
def test_a_training_step(name: str) -> None:
    method = registry()[name](tiny_model("open_clip")).train()
    found = attention_kernels(lambda: method.loss(tiny_batch()))
    assert fused(found), found
    assert sum(found.values()) == len(method.image_tower.blocks) + len(method.text_tower.blocks)


@torch.no_grad()
def test_the_meter_sees_what_is_not_fused() -> None:
    attention, tokens = nn.MultiheadAttention(32, 2, batch_first=True).eval(), torch.randn(2, 5, 32)
    written_out = attention_kernels(lambda: attention(tokens, tokens, tokens, need_weights=True))
    assert written_out == {"softmax": 1}
    torch.backends.mha.set_fastpath_enabled(True)
    shut = attention_kernels(lambda: attention(tokens, tokens, tokens, need_weights=False))
    assert shut == {"native_multi_head_attention": 1}


@torch.no_grad()
@pytest.mark.parametrize("mask", [None, "square", "per head"])
def test_fast_self_attention_is_that_of_torch(mask: str | None) -> None:
    plain = nn.MultiheadAttention(32, 2, batch_first=True).eval()
    nn.init.normal_(plain.in_proj_bias)  # it starts at zero, as does the other bias
    nn.init.normal_(plain.out_proj.bias)
    fast = SelfAttention(32, 2, batch_first=True).eval()
    fast.load_state_dict(plain.state_dict())
    tokens, future = torch.randn(3, 5, 32), torch.full((5, 5), float("-inf")).triu(1)
    masks: dict[str | None, Tensor | None] = {None: None, "square": future}
    masks["per head"] = torch.stack([future, *[torch.zeros(5, 5)] * 5])
    for given in ((tokens,) * 3, (tokens, tokens + 1, tokens)):  # the second looks elsewhere
        found, wanted = (
            attention(*given, need_weights=False, attn_mask=masks[mask])[0]
            for attention in (fast, plain)
        )
        close(found, wanted)


def test_a_loaded_backbone_has_the_fast_attention() -> None:
    modules = list(backbone.load("starter:none").model.modules())
    assert {type(m) for m in modules if isinstance(m, nn.MultiheadAttention)} == {SelfAttention}
