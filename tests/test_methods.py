"""Every registered method keeps the contract on every kind of towers, and is its paper's."""

import copy
import gc
import inspect
import itertools
import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bench.contract import KINDS, check_method, tiny_batch, tiny_model
from bench.measure import parameters
from methods import registry
from methods.base import Method, unit
from methods.harma import adaptive_triplet
from methods.mrs_adapter import hardest_hinge
from tests.helpers.close import close
from tests.helpers.makes import WITH_BLOCKS, features, stirred

METHODS = registry()


def build(name: str, kind: str = "open_clip", **settings: Any) -> Method:
    """A method on a small model."""
    torch.manual_seed(0)
    return METHODS[name](tiny_model(kind), **settings)


def step(method: Method, count: int = 2) -> None:
    """Optimise a little, so that what starts at zero no longer is."""
    optimizer = torch.optim.AdamW(method.param_groups(), lr=1e-2)
    for seed in range(count):
        method.loss(tiny_batch(seed=seed)).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_contract(name: str, kind: str) -> None:
    results = check_method(METHODS[name], kinds=(kind,))
    assert not [result for result in results if result.passed is False]
    if all(result.passed is None for result in results):
        pytest.skip(results[0].reason)


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("lora", {"targets": "attn"}),
    ("lora", {"targets": "mlp", "dropout": 0.1}),
    ("lora", {"dora": True}),
    ("lora", {"rslora": True}),
    ("vpt", {"depth": "shallow"}),
    ("vlprompt", {"depth": 2}),
    ("adapter", {"parallel": True}),
    ("mrs_adapter", {"dropout": 0.0}),
    ("mrs_adapter", {"loss": "hmmc"}),
    ("clip_adapter", {"reduction": 2, "ratio": 0.5}),
    ("harma", {"loss": "infonce+triplet"}),
    ("vera", {"targets": "mlp", "rank": 16}),
    ("uniadapter", {"width": 8}),
    ("unipt", {"reduction": 4}),
    ("convpass", {"text": "none", "scale": 0.1}),
    ("convpass", {"dropout": 0.0}),
    ("g2a", {"width": 16, "dropout": 0.0}),
    ("cmer", {"focus": "topk"}),
    ("cmer", {"focus": "relu"}),
    ("cmer", {"focus": "none", "text_taps": "all"}),
    ("cmer", {"text_taps": "none", "queue": 0}),
]


@pytest.mark.parametrize(
    ("name", "settings", "kind"),  # the kinds in turn, to save time
    [(*call, kind) for call, kind in zip(SETTINGS, itertools.cycle(WITH_BLOCKS), strict=False)],
)
def test_contract_with_other_settings(name: str, settings: dict[str, Any], kind: str) -> None:
    results = check_method(METHODS[name], settings, kinds=(kind,))
    assert not [result for result in results if result.passed is False]


@pytest.mark.parametrize("name", [n for n, cls in METHODS.items() if cls.lr is not None])
def test_the_loss_falls_on_one_batch(name: str) -> None:
    method, batch = build(name), tiny_batch(8)
    batch.texts[1, 1] += 1  # otherwise the first two texts could not be told apart
    method.on_fit(8)
    optimizer = torch.optim.AdamW(method.param_groups(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = method.train().loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < 0.9 * losses[0]


# What is the same as the backbone before training.


ELSEWHERE = {"coop", "vpt", "vlprompt", "maple", "clip_adapter"}
"""Methods that start at random: with prompts among the tokens, or a bottleneck in the output."""
STARTS: list[tuple[str, dict[str, Any]]] = [(n, {}) for n in METHODS if n not in ELSEWHERE]
STARTS += [("lora", {"dora": True}), ("adapter", {"parallel": True})]


@pytest.mark.parametrize("kind", WITH_BLOCKS)
@pytest.mark.parametrize(("name", "settings"), STARTS)
def test_starts_as_the_backbone(name: str, settings: dict[str, Any], kind: str) -> None:
    batch, method, plain = (
        tiny_batch(),
        build(name, kind, **settings).eval(),
        build("zeroshot", kind),
    )
    with torch.no_grad():
        for encode, inputs in (("encode_image", batch.images), ("encode_text", batch.texts)):
            ours, theirs = getattr(method, encode)(inputs), getattr(plain, encode)(inputs)
            close(ours, theirs)


# Parameter counts at ViT-B/32.


def ladder(tower: int, side: int) -> int:
    """LST beside one tower: projections of 13 states, gates, 12 transformer blocks, norm, up."""
    block = 12 * side**2 + 13 * side
    return 13 * (tower + 1) * side + 12 + 12 * block + 2 * side + (side + 1) * tower


def branch(tower: int, side: int, heads: int, score: bool) -> int:
    """CMER beside one tower: 7 taps (projection, gate, MLP, a look at the tokens), norm, up.

    A look: norm, query, key, one value per head; with a `score` for each token of an image."""
    mlp = 2 * side + 8 * side**2 + 5 * side
    look = 2 * side + (2 + heads) * side**2 + (side + 1 if score else 0)
    return 7 * (tower * side + 1 + mlp + look) + 2 * side + side * tower


COUNTS: list[tuple[str, dict[str, Any], int]] = [
    ("zeroshot", {}, 0),
    ("linear", {}, 2 * 512 * 512),
    ("full", {}, 151_277_313 - 1),  # open_clip's own figure, with the temperature
    ("coop", {}, 16 * 512),
    ("vpt", {}, 460_800),
    ("vpt", {"depth": "shallow"}, 50 * 768),
    ("vlprompt", {}, 12 * 10 * (768 + 512)),
    ("maple", {}, 9 * (2 * 512 + 512 * 768 + 768)),
    ("clip_adapter", {}, 262_144),
    ("mrs_adapter", {}, 161_088),
    ("adapter", {}, 2 * 12 * (64 * 2 * (768 + 512) + 2 * 64 + 768 + 512)),
    ("adapter", {"parallel": True}, 12 * (64 * 2 * (768 + 512) + 2 * 64 + 768 + 512)),
    # Rank 8 on in_proj (D, 3D), out_proj (D, D) and the MLP (D, 4D and 4D, D) of 12 blocks each.
    ("lora", {}, 12 * 8 * (4 + 2 + 5 + 5) * (768 + 512)),
    ("lora", {"targets": "attn"}, 12 * 8 * 6 * (768 + 512)),
    ("harma", {}, 5_934_397 - 1),  # published, with the temperature
    ("ia3", {}, 12 * (3 + 4) * (768 + 512)),
    # Norms 2, in_proj 3, out_proj 1, MLP 4 and 1, a scale and a shift each.
    ("ssf", {}, 12 * 2 * (2 + 3 + 1 + 4 + 1) * (768 + 512)),
    # In each block the biases of in_proj 3, out_proj 1, MLP 4 and 1, norms 2; three norms around.
    ("bitfit", {}, 12 * (3 + 1 + 4 + 1 + 2) * (768 + 512) + 2 * 768 + 512),
    ("vera", {}, 12 * (2 * 4 * 256 + (3 + 1 + 4 + 1) * (768 + 512))),
    # Beside attention and MLP: down, up, a kernel of 3x3 (image) or 3 (text) between 8 channels.
    ("convpass", {}, 24 * (2 * 8 * (768 + 512) + 768 + 512 + 2 * 16 + (9 + 3) * 8**2)),
    ("convpass", {"text": "none"}, 24 * (2 * 8 * 768 + 768 + 16 + 9 * 8**2)),
    # Down and up; 13 d^2: attention twice (4 each), a linear layer, an MLP (4); vectors are 26 d,
    # and there is a gate.
    ("g2a", {}, 12 * (2 * 128 * (768 + 512) + 768 + 512 + 2 * (13 * 128**2 + 26 * 128 + 1))),
    # A rotation by 32 * 31 / 2 angles for each 32 inputs: in_proj, out_proj, fc have D, proj 4 D.
    ("peft", {}, 12 * (3 + 4) * (768 + 512) * 31 // 2),
    ("uniadapter", {}, 12 * (3 * (768 + 512) + 128 * (2 * (768 + 512) - 512) + 128)),
    ("lst", {}, ladder(768, 96) + ladder(512, 64)),
    ("cmer", {}, branch(768, 96, 3, score=True) + branch(512, 64, 2, score=False)),
    ("unipt", {}, sum(14 * (d * d // 2 + d // 2) + d * d // 2 + d + d // 2 for d in (768, 512))),
]


@pytest.mark.parametrize(("name", "settings", "count"), COUNTS)
def test_parameter_count_at_vit_b_32(name: str, settings: dict[str, Any], count: int) -> None:
    """COUNTS leaves out the temperature, which every method that trains has too."""
    temperature = 0 if METHODS[name].lr is None else 1
    assert parameters.trainable(METHODS[name], **settings) == count + temperature


def test_the_parameters_of_every_method_are_counted() -> None:
    assert {name for name, _, _ in COUNTS} == METHODS.keys()


def test_a_method_that_cannot_be_built_has_no_count() -> None:
    class Broken(Method):
        def __init__(self, model: nn.Module) -> None:
            raise RuntimeError("not today")

    assert parameters.trainable(Broken) is None


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (999, "999"), (8193, "8.19 k"), (999_900, "1 M"), (151_277_313, "151 M")],
)
def test_counts_are_rounded_to_three_digits(count: int, words: str) -> None:
    assert parameters.rounded(count) == words


def test_every_method_has_a_family_and_a_line_that_fits() -> None:
    for name, cls in METHODS.items():
        first = (inspect.getdoc(cls) or "").partition("\n")[0]
        assert 10 < len(first) <= 80 - 24, name
        assert cls.family != Method.family, name


# LoRA.


def test_lora_reaches_attention_under_autocast() -> None:
    method, batch = build("lora", targets="attn"), tiny_batch()
    step(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        method.loss(batch).backward()
    own = {n: p for n, p in method.named_parameters() if "lora_" in n}
    assert len(own) == 2 * 2 * 6  # two matrices for each of two layers in six blocks
    assert all(p.grad is not None and p.grad.any() for p in own.values())


# Unit length and logits are in float32, whatever autocast says.


LOSSES = [(name, {}) for name, cls in METHODS.items() if cls.lr is not None]
LOSSES += [("harma", {"loss": "infonce+triplet"}), ("cmer", {"queue_start": 0.0})]


@pytest.mark.parametrize(("name", "settings"), LOSSES)
def test_autocast_changes_neither_logits_nor_their_gradient(
    name: str, settings: dict[str, Any]
) -> None:
    """Given the same features. In bfloat16 the gradient would be off by some percent."""
    batch = tiny_batch(8)
    source = torch.Generator().manual_seed(3)
    pair = [unit(torch.randn(8, 32, generator=source)).requires_grad_() for _ in range(2)]
    found = []
    for kind in (torch.float32, torch.bfloat16):
        method: Any = build(name, **settings)
        method.encode_image, method.encode_text = (lambda _, f=f: f for f in pair)
        method.logit_scale.data.fill_(math.log(100))
        method.on_fit(64)
        with torch.autocast("cpu", dtype=kind, enabled=kind != torch.float32):
            for _ in range(2):  # CMER's queue is empty at first
                loss = method.loss(batch)
        found.append(torch.autograd.grad(loss, [*pair, method.logit_scale]))
    for plain, rounded in zip(*found, strict=True):
        torch.testing.assert_close(rounded, plain, atol=1e-6, rtol=1e-5)


def test_hinges_do_not_change_under_autocast_either() -> None:
    a, b = (unit(torch.randn(8, 32)).requires_grad_() for _ in range(2))
    plain = hardest_hinge(a, b, 0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = hardest_hinge(a, b, 0.2)
    torch.testing.assert_close(rounded, plain, atol=1e-6, rtol=1e-5)


# Where nothing may be kept for backward.


def kept(method: Method, encode: str, inputs: Tensor) -> list[Tensor]:
    """Tensors that autograd keeps."""
    tensors: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        getattr(method.train(), encode)(inputs)
    return tensors


@pytest.mark.parametrize("kind", WITH_BLOCKS)
def test_prompts_of_one_tower_keep_nothing_of_the_other(kind: str) -> None:
    batch = tiny_batch()
    assert not kept(build("vpt", kind), "encode_text", batch.texts)
    assert not kept(build("coop", kind), "encode_image", batch.images)


@pytest.mark.parametrize("kind", WITH_BLOCKS)
@pytest.mark.parametrize("name", [n for n, cls in METHODS.items() if hasattr(cls, "frozen_image")])
def test_side_branches_keep_nothing_of_the_frozen_towers(name: str, kind: str) -> None:
    method, batch = build(name, kind), tiny_batch()
    assert not kept(method, "frozen_image", batch.images)
    assert not kept(method, "frozen_text", batch.texts)


# The rest.


def test_hmmc_is_the_hinge_on_the_hardest_negative() -> None:
    image, text = (
        torch.eye(3),
        torch.tensor([[0.8, 0.6, 0], [0, 1, 0], [0.0, 0.5, math.sqrt(0.75)]]),
    )
    # Right: 0.8, 1, 0.866. Hardest wrong per image: 0, 0.6, 0; per text: 0.6, 0, 0.5.
    expected = 0 + 0 + 0 + 0 + 0 + 0
    assert hardest_hinge(image, text, 0.2).item() == pytest.approx(expected, abs=1e-6)
    # With margin 0.5: image 1 misses by 0.1; text 0 by 0.3, text 2 by 0.5 + 0.5 - 0.866.
    expected = 0.1 + 0.3 + (1 - math.sqrt(0.75))
    assert hardest_hinge(image, text, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_adaptive_triplet_weighs_each_violation() -> None:
    scores = torch.tensor([[0.5, 0.4], [0.2, 0.9]])
    costs = [0.2 + 0.4 - 0.5, 0, 0, 0]  # image 0 with text 1; the rest keep the margin
    expected = sum((1 - math.exp(-cost)) ** 2 * cost for cost in costs) / 2
    assert adaptive_triplet(scores).item() == pytest.approx(expected, rel=1e-4)


TEXTS = [(name, {}) for name in METHODS] + [("cmer", {"text_taps": "all"})]


@pytest.mark.parametrize("kind", ["open_clip", "hf"])  # those whose texts are trimmed
@pytest.mark.parametrize(("name", "settings"), TEXTS)
def test_padding_after_a_text_changes_nothing(
    name: str, settings: dict[str, Any], kind: str
) -> None:
    method, texts = stirred(build(name, kind, **settings)), tiny_batch().texts
    with torch.no_grad():
        short = method.encode_text(texts[:, :24])
        close(method.encode_text(texts), short)


@pytest.mark.parametrize("name", [n for n, cls in METHODS.items() if cls.lr is not None])
def test_a_copy_is_a_method_of_its_own(name: str) -> None:
    method = build(name).eval()
    before, other = features(method), stirred(copy.deepcopy(method))
    assert torch.equal(features(method), before)
    assert not torch.equal(features(other), before)


def test_the_temperature_comes_down_from_its_bound() -> None:
    """Where released weights stand, and where a step may have gone beyond it."""
    method = build("linear")
    for start in (math.log(100), 5.0):
        with torch.no_grad():
            method.logit_scale.fill_(start)
        assert float(method.temperature().detach()) == pytest.approx(100)
        method.zero_grad()
        method.loss(tiny_batch()).backward()
        assert method.logit_scale.grad is not None
        assert method.logit_scale.grad > 0


def test_maple_moves_the_image_through_the_text_prompts() -> None:
    method: Any = build("maple")
    image = method.encode_image(tiny_batch().images)
    (gradient,) = torch.autograd.grad(image.sum(), [method.prompts])
    assert gradient.abs().sum(dim=(1, 2)).gt(0).all()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_leave_no_tensor_behind(checkpointing: bool) -> None:
    """With checkpointing a block is computed again, but only until its backward has enough."""
    seen: list[weakref.ref[Tensor]] = []
    method: Any = build("mrs_adapter")
    method.image_tower.checkpointing = checkpointing
    method.adapter.register_forward_hook(
        lambda _module, inputs, output: seen.extend([weakref.ref(inputs[0]), weakref.ref(output)])
    )
    method.encode_image(tiny_batch().images).sum().backward()
    gc.collect()
    assert len(seen) > 2 * 3 if checkpointing else len(seen) == 2 * 3
    assert all(reference() is None for reference in seen)
