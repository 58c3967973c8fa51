"""Backbones of every make: each method trains and evaluates on it, or says why it cannot."""

import copy

import pytest
import torch

from bench.contract import tiny_batch
from bench.measure.count import saved_bytes
from bench.measure.rehearsal import Rehearsal
from bench.recipe import Recipe
from bench.training import compiled, frozen
from bench.training.trainer import Trainer
from methods import registry
from methods.base import Method, NotApplicable
from methods.closed_towers import Closed
from methods.known_towers import image_tower, text_tower
from tests.helpers.close import close
from tests.helpers.makes import CLOSED, EVERY, features, original

CPU = torch.device("cpu")
ANYWHERE = ("zeroshot", "linear", "clip_adapter", "bitfit", "full")
"""Methods that run on any tower, as the message of those that do not says."""


def built(name: str, make: str) -> Method:
    torch.manual_seed(0)
    return registry()[name](copy.deepcopy(original(make)))


@pytest.mark.parametrize("make", EVERY)
def test_zeroshot_is_the_models_own_features(make: str) -> None:
    model, batch, method = original(make), tiny_batch(), built("zeroshot", make).eval()
    with torch.no_grad():
        own = [
            model.encode_image(batch.images, normalize=True),
            model.encode_text(batch.texts, normalize=True),
        ]
    close(features(method), torch.stack(own))


@pytest.mark.parametrize("make", EVERY)
def test_every_method_trains_and_evaluates_or_says_why_not(make: str) -> None:
    left_out: dict[str, str] = {}
    for name, cls in registry().items():
        try:
            method = built(name, make)
        except NotApplicable as error:
            left_out[name] = str(error)
            continue
        before = features(method.eval())
        if cls.lr is not None:
            training = Trainer(method, Recipe(precision="bf16"), 1e-2, 10, CPU)
            method.on_fit(64)
            method.train()
            assert training.step([tiny_batch()]).isfinite(), name
            assert not torch.equal(features(method.eval()), before), name
        torch.testing.assert_close(
            features(method).norm(dim=-1), torch.ones(2, 6), atol=1e-5, rtol=0
        )
    assert all(why.startswith("it needs the blocks of the ") for why in left_out.values())
    assert not left_out.keys() & set(ANYWHERE)
    assert bool(left_out) == (make in CLOSED)


@pytest.mark.parametrize("make", CLOSED)
def test_what_is_left_out_names_methods_that_run(make: str) -> None:
    with pytest.raises(NotApplicable) as said:
        built("lora", make)
    assert all(name in str(said.value) for name in ANYWHERE)
    assert str(said.value).count(";") == 1  # one sentence


@pytest.mark.parametrize("make", CLOSED)
def test_checkpointing_gives_the_same_gradients_and_keeps_less(make: str) -> None:
    batch, gradients, kept = tiny_batch(), [], []
    method = built("full", make).train()
    for checkpointing in (False, True, False):
        method.zero_grad()
        method.image_tower.checkpointing = method.text_tower.checkpointing = checkpointing
        assert method.image_tower.checkpointing is checkpointing
        method.loss(batch).backward()
        gradients.append([p.grad.clone() for p in method.parameters() if p.grad is not None])
        side = method.encode_image if isinstance(method.image_tower, Closed) else method.encode_text
        inputs = batch.images if isinstance(method.image_tower, Closed) else batch.texts
        kept.append(saved_bytes(lambda f=side, x=inputs: f(x), [*method.parameters(), inputs]))
    for plain, recomputed, _ in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)
    assert kept[1] < 0.7 * kept[0]
    assert kept[2] == kept[0]  # switched off again


@pytest.mark.parametrize("make", CLOSED)
def test_frozen_weights_in_bfloat16(make: str) -> None:
    plain, half = built("linear", make).eval(), built("linear", make).eval()
    assert frozen.hold(half, Recipe(frozen="bf16", precision="bf16"), torch.bfloat16) > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cosines = (features(half) * features(plain)).sum(dim=-1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize("make", [make for make in CLOSED if make != "nllb"])
def test_what_it_needs_is_predicted(make: str) -> None:
    """Not of NLLB, whose text tower asks for values; `bench plan` says so."""
    rehearsal = Rehearsal(built("full", make), Recipe(precision="fp32"), 32, 48)
    weights = sum(p.numel() * p.element_size() for p in original(make).parameters())
    assert rehearsal.peak(8) > 3 * weights  # weights, gradients and two moments of AdamW
    assert min(rehearsal.flops(8)) > 0


@pytest.mark.parametrize("make", ["resnet", "coca"])
def test_it_compiles(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    method = built("full", make).train()
    plain = features(copy.deepcopy(method))
    compiled.wrap(method, CPU)
    compiled.warm_up(method, tiny_batch(), [], torch.float32, CPU)
    torch.testing.assert_close(features(method), plain, atol=1e-4, rtol=1e-4)


def test_batch_norms_keep_their_statistics() -> None:
    method = built("full", "resnet").train()
    before = {n: b.clone() for n, b in method.model.named_buffers()}
    method.loss(tiny_batch()).backward()
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(b, before[n]) for n, b in method.model.named_buffers())


def test_a_text_decoder_is_left_alone() -> None:
    for name in ("full", "bitfit"):
        method = built(name, "coca")
        trained = {n for n, p in method.named_parameters() if p.requires_grad}
        assert not [n for n in trained if "text_decoder" in n]
        assert any(n.startswith("model.visual") for n in trained)
        assert any(n.startswith("model.text.") for n in trained)


def test_a_prompt_in_the_text_leaves_a_resnet_as_it_is() -> None:
    method = built("coop", "resnet")
    assert isinstance(image_tower(method.model), Closed)
    assert not isinstance(text_tower(method.model), Closed)
    assert method.loss(tiny_batch()).isfinite()
