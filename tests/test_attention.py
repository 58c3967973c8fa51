"""Attention goes through SDPA: in every make of tower, in training and in evaluation."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bench import backbone
from bench.backbone.attention import attention_kernels
from bench.contract import tiny_batch, tiny_model
from bench.training.trainer import autocast
from methods import registry
from methods.attention import SelfAttention, speed_up
from methods.known_towers import image_tower, text_tower
from tests.helpers.close import close
from tests.helpers.makes import WITH_BLOCKS

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("sdpa")


def fused(found: dict[str, int]) -> bool:
    return bool(found) and all(name.startswith("scaled_dot_product") for name in found)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", WITH_BLOCKS)
def test_towers_use_fused_kernels(kind: str, training: bool, precision: torch.dtype) -> None:
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
def test_training_steps_use_fused_kernels(name: str) -> None:
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


def torch_and_ours() -> tuple[nn.MultiheadAttention, nn.MultiheadAttention]:
    plain = nn.MultiheadAttention(32, 2, batch_first=True)
    nn.init.normal_(plain.in_proj_bias)  # it starts at zero, as does the other bias
    nn.init.normal_(plain.out_proj.bias)
    ours = copy.deepcopy(plain)
    speed_up(ours)
    assert type(ours) is SelfAttention
    return plain, ours


FUTURE = torch.ones(5, 5, dtype=torch.bool).triu(1)
ADDED = torch.zeros(5, 5).masked_fill(FUTURE, float("-inf"))
MASKS = {
    "none": None,
    "boolean": FUTURE,
    "added": ADDED,
    "for each head": torch.stack([ADDED, *[torch.zeros(5, 5)] * 5]),
    "boolean for each head": torch.stack([FUTURE, *[~torch.ones_like(FUTURE)] * 5]),
}


@pytest.mark.parametrize("mask", MASKS)
def test_self_attention_is_that_of_torch(mask: str) -> None:
    tokens = torch.randn(3, 5, 32)
    results = []
    for attention in torch_and_ours():
        inputs = tokens.clone().requires_grad_()
        output, weights = attention(
            inputs, inputs, inputs, need_weights=False, attn_mask=MASKS[mask]
        )
        assert weights is None
        output.square().sum().backward()
        gradients = [inputs.grad, *(weight.grad for weight in attention.parameters())]
        results.append([output, *gradients])
    for found, wanted in zip(*results, strict=True):
        close(found, wanted, scale=10)  # gradients are sums over all tokens


@pytest.mark.parametrize("mask", ["none", "added"])
def test_torch_compile_takes_it_in_one_piece(mask: str) -> None:
    _, ours = torch_and_ours()
    given, tokens = MASKS[mask], torch.randn(3, 5, 32)

    def attention(tokens: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = ours(tokens, tokens, tokens, need_weights=False, attn_mask=given)[0]
        return output

    close(torch.compile(attention, fullgraph=True, backend="eager")(tokens), attention(tokens))


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"need_weights": True},
        {"need_weights": False, "key_padding_mask": FUTURE[:3]},
        {"need_weights": False, "attn_mask": ADDED, "is_causal": True},
    ],
)
def test_what_is_not_plain_self_attention_is_left_to_torch(options: dict[str, Any]) -> None:
    tokens = torch.randn(3, 5, 32)
    found, wanted = (each(tokens, tokens, tokens, **options) for each in torch_and_ours())
    close(found[0], wanted[0])
    assert (found[1] is None) == (wanted[1] is None)
    elsewhere = [
        each(tokens, tokens + 1, tokens, need_weights=False)[0] for each in torch_and_ours()
    ]
    close(*elsewhere)


@pytest.mark.parametrize("options", [{"dropout": 0.1}, {"batch_first": False}, {"kdim": 16}])
def test_other_attention_stays_as_it_is(options: dict[str, Any]) -> None:
    attention = nn.MultiheadAttention(32, 2, **({"batch_first": True} | options))
    speed_up(attention)
    assert type(attention) is nn.MultiheadAttention


def test_every_attention_of_a_loaded_backbone_is_ours() -> None:
    modules = list(backbone.load("starter:none").model.modules())
    assert {type(m) for m in modules if isinstance(m, nn.MultiheadAttention)} == {SelfAttention}
