"""A training step never waits for the device: no value is asked for, nothing is copied to it."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode

from bench.contract import tiny_batch
from bench.recipe import Recipe
from bench.training.batches import crop_and_flip, normalise
from bench.training.trainer import Trainer
from methods import registry
from tests.helpers import fake_cuda
from tests.helpers.training import TRAINED, built

CPU = torch.device("cpu")
ASKING = {"_local_scalar_dense", "nonzero", "is_nonzero", "item", "equal", "masked_select"}
ASKING |= {"_unique2", "unique_dim", "unique_consecutive", "bincount"}


class Asked(TorchDispatchMode):
    """Collects operations whose result's value or shape the host has to know."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in ASKING:
            self.found.append(name)
        if name.startswith(("index", "_index")):
            masks = (Tensor, torch.bool)
            given = args[1] if isinstance(args[1], list | tuple) else ()
            self.found += [name for i in given if (type(i), getattr(i, "dtype", None)) == masks]
        return func(*args, **(kwargs or {}))


class Crossed(TorchDispatchMode):
    """Collects operations that take or give tensors of two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree.tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        if len({t.device.type for t in tensors}) > 1:
            self.found.append(str(func))
        return result


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, "bf16") for name in TRAINED]
    + [(name, "fp16") for name in ("cmer", "full", "lora")],  # whose scaler is another path
)
def test_no_training_step_asks_for_a_value(name: str, precision: str) -> None:
    """Forward, backward, unscaling, clipping and AdamW, for each method."""
    method = built(name)
    trainer = Trainer(method, Recipe(precision=precision, accumulation=2), 1e-3, 10, CPU)
    method.on_fit(64)
    with Asked() as asked:
        method.on_epoch(0, 1)
        method.on_step(9, 10)
        trainer.step([tiny_batch(), tiny_batch()])
    assert asked.found == []
    assert trainer.optimizer.defaults["fused"]


@pytest.mark.parametrize("name", registry())
def test_no_loss_brings_anything_to_the_device(name: str) -> None:
    """A tensor that a loss makes on the host would be copied, and meet another device.

    And autocast, as CUDA has it, leaves no two number formats that an operation refuses.
    """
    method, mode = built(name), FakeTensorMode()
    batch = fake_cuda.placed(method, tiny_batch(), mode)
    method.on_fit(64)
    method.on_step(9, 10)
    with mode, Crossed() as crossed, fake_cuda.autocast():
        assert method.loss(batch).device == fake_cuda.CUDA
    assert crossed.found == []


def test_pixels_are_normalised_without_a_copy() -> None:
    with FakeTensorMode():
        pixels = torch.empty(2, 8, 8, 3, dtype=torch.uint8, device=fake_cuda.CUDA)
        normalise(pixels, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))  # the first brings the constants
        with Crossed() as crossed:
            normalise(pixels, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert crossed.found == []
    with Asked() as asked:
        crop_and_flip(torch.zeros(2, 3, 8, 8), torch.Generator())
    assert asked.found == []
