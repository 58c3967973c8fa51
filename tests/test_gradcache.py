"""Gradients a chunk at a time are those of the whole batch, for every method, at less memory."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from bench import contract
from bench.measure.rehearsal import Rehearsal
from bench.recipe import Recipe
from bench.training import gradcache
from bench.training.gradcache import Encode
from bench.training.trainer import Trainer
from methods.base import Method
from tests.helpers.training import TRAINED, built

SIZE, CHUNK = 7, 3
"""Seven pairs in chunks of three: the last chunk is short."""


def gradients(method: Method) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
    method.zero_grad()
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_are_those_of_the_whole_batch(name: str) -> None:
    batch = contract.tiny_batch(SIZE)
    batch.images = batch.images.double()

    # The same features with the graph of every chunk kept: what chunking may not change. Dropout
    # draws the same in both, for the chunks are encoded in the same order.
    whole = built(name).double()
    torch.manual_seed(5)
    features = [
        torch.cat([encode(part) for part in gradcache.chunks(inputs, CHUNK)])
        for encode, inputs in ((whole.encode_image, batch.images), (whole.encode_text, batch.texts))
    ]
    with gradcache._given(whole, batch, features):
        loss = whole.loss(batch)
    loss.backward()
    expected, drawn = gradients(whole), torch.get_rng_state()

    chunked = built(name).double()
    torch.manual_seed(5)
    found_loss = gradcache.backward(chunked, batch, CHUNK, nullcontext, lambda loss: loss)
    found = gradients(chunked)
    torch.testing.assert_close(found_loss, loss.detach())
    # In float64 the other order of the sums leaves differences far below these bounds. Where a
    # method computes in float32 by itself (unit length, logits), they are larger.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), drawn)  # the same random numbers were used up
    assert "encode_image" not in vars(chunked)

    # Without dropout it is the plain loss's gradient, too.
    plain = built(name).double()
    torch.manual_seed(6)
    before = torch.get_rng_state()
    plain.loss(batch).backward()
    if torch.equal(before, torch.get_rng_state()):
        torch.testing.assert_close(gradients(plain), found, rtol=1e-4, atol=1e-6)


def test_steps_train_alike() -> None:
    trained = []
    for chunk in (0, CHUNK):
        method = built("lora")
        recipe = Recipe(batch_size=SIZE, precision="fp32", gradcache=chunk, accumulation=2)
        trainer = Trainer(method, recipe, 1e-3, 3, torch.device("cpu"))
        for _ in range(3):
            trainer.step([contract.tiny_batch(SIZE)] * 2)
        trained.append(method.own_state())
    # AdamW divides by the gradient's size, so that rounding of a tiny gradient is a visible step.
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-2, atol=2e-4)


def test_kept_bytes_are_a_chunks() -> None:
    method = built("lora")
    own = [*method.parameters(), *method.buffers()]
    kept = {
        (images, chunk): gradcache.kept(
            method, contract.tiny_batch(images), chunk, nullcontext, own
        )
        for images, chunk in [(8, 8), (8, 2), (16, 2)]
    }
    assert kept[8, 2] < 0.4 * kept[8, 8]
    assert kept[16, 2] < 1.2 * kept[8, 2]


def test_counting_kept_bytes_encodes_no_more_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole batch at once may not fit the GPU, and the training would be lost after its end."""
    method, sizes = built("lora"), list[int]()

    def noting(real: Encode) -> Encode:
        def encode(inputs: Tensor) -> Tensor:
            sizes.append(len(inputs))
            return real(inputs)

        return encode

    for name in ("encode_image", "encode_text"):
        monkeypatch.setattr(method, name, noting(getattr(method, name)))
    assert gradcache.kept(method, contract.tiny_batch(SIZE), CHUNK, nullcontext, []) > 0
    assert set(sizes) == {CHUNK}


@pytest.mark.parametrize("name", ["lora", "cmer"])
def test_the_prediction_counts_one_chunk_at_a_time(name: str) -> None:
    def rehearsal(fake: bool, **recipe: object) -> Rehearsal:
        settings = {"precision": "bf16", **recipe}
        return Rehearsal(built(name), Recipe(**settings), 32, 12, fake=fake)

    peak = rehearsal(True, gradcache=4).peak(32)
    assert peak == pytest.approx(rehearsal(False, gradcache=4).peak(32), rel=0.01)
    whole = rehearsal(True)
    if name == "lora":
        assert peak < 0.7 * whole.peak(32)
    forward, backward = rehearsal(True, gradcache=4).flops(32)
    plain = whole.flops(32)
    # The logits of a chunk are fewer; on the tiny model that is a few percent.
    assert forward == pytest.approx(plain[0], rel=0.05)
    assert backward == pytest.approx(plain[0] + plain[1], rel=0.05)
