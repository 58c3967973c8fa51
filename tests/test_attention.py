"""Attention goes through SDPA: in every make of tower, in training and in evaluation."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bench.backbone.attention import attention_kernels
from bench.contract import tiny_batch, tiny_model
from bench.training.trainer import autocast
from methods import registry
from methods.known_towers import image_tower, text_tower
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
