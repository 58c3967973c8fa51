"""Frozen weights held in bfloat16: what that changes and what not, for every method."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bench import UserError
from bench.contract import KINDS, tiny_batch, tiny_model
from bench.measure.rehearsal import Rehearsal
from bench.recipe import Recipe
from bench.trained.restore import restore
from bench.training import frozen
from bench.training.trainer import Trainer
from methods import registry
from methods.base import Method, NotApplicable
from tests.helpers.trained import trained

HALF = Recipe(frozen="bf16", precision="bf16")
METHODS = registry()


def build(name: str, kind: str = "open_clip") -> Method:
    torch.manual_seed(1)
    try:
        return METHODS[name](tiny_model(kind))
    except NotApplicable as reason:
        pytest.skip(str(reason))


@torch.no_grad()
def encoded(method: Method) -> list[torch.Tensor]:
    batch = tiny_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return [method.eval().encode_image(batch.images), method.encode_text(batch.texts)]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_beside_weights_in_bf16(name: str) -> None:
    method = build(name)
    held = frozen.hold(method, HALF, torch.bfloat16)
    own = {n: p for n, p in method.named_parameters() if p.requires_grad}
    assert all(p.dtype == torch.float32 for p in own.values())
    assert held == sum(p.numel() for p in method.parameters() if p.dtype == torch.bfloat16)
    assert (held == 0) == (name == "full")
    before = {n: p.clone() for n, p in own.items()}
    for rate in (1e-2, 1e-2) if own else ():  # two steps: what starts at zero holds others back
        loss = Trainer(method.train(), HALF, rate, 10, torch.device("cpu")).step([tiny_batch()])
        assert bool(loss.isfinite())
    assert all(not torch.equal(before[n], p) for n, p in own.items() if p.ndim > 1)
    again = build(name)
    frozen.hold(again, HALF, torch.bfloat16)
    again.load_own_state(method.own_state())
    # Here and below bit for bit: the same numbers in the same shapes, cast before or in autocast.
    assert all(map(torch.equal, encoded(method), encoded(again)))


@pytest.mark.usefixtures("sdpa")  # the fast path of a CPU ignores autocast
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_rounds_the_same_weights_anyway(kind: str) -> None:
    plain, half = build("zeroshot", kind), build("zeroshot", kind)
    with torch.no_grad():  # words that bfloat16 holds exactly: nothing else is rounded
        for module in [*plain.modules(), *half.modules()]:
            if isinstance(module, nn.Embedding):
                module.weight.copy_(module.weight.bfloat16())
    assert frozen.hold(half, HALF, torch.bfloat16) > 0
    assert all(map(torch.equal, encoded(plain), encoded(half)))


def test_the_prediction_counts_weights_in_bfloat16() -> None:
    def peak(recipe: Recipe) -> int:
        return Rehearsal(build("cmer"), recipe, 32, 16).peak(8)

    saved = sum(p.numel() for p in frozen.weights(build("cmer"))) * 2
    assert peak(Recipe(precision="bf16")) - peak(HALF) == pytest.approx(saved, rel=0.02)


def test_computation_in_float32_is_refused() -> None:
    with pytest.raises(UserError, match="precision=bf16"):
        frozen.hold(build("linear"), Recipe(frozen="bf16"), torch.float32)


def test_a_restored_method_holds_what_was_trained(tiny: Path) -> None:
    path, _ = trained(tiny, "linear", recipe=HALF)
    again = restore(path)
    assert any(p.dtype == torch.bfloat16 for p in again.method.parameters())
    assert again.dtype == torch.bfloat16
