"""A training step never waits for the device: no value is asked for, nothing is copied to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode

from bench.batches import crop_and_flip, normalise
from bench.contract import tiny_batch, tiny_model
from bench.recipe import Recipe
from bench.train import Trainer
from methods import registry
from methods.base import Batch, Method, NotApplicable

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
METHODS = registry()
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


def build(name: str) -> Method:
    try:
        return METHODS[name](tiny_model()).train()
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.lr is not None])
def test_no_step_asks_for_a_value(name: str, precision: str) -> None:
    """Forward, backward, unscaling, clipping and AdamW, for each method."""
    method = build(name)
    trainer = Trainer(method, Recipe(precision=precision, accumulation=2), 1e-3, 10, CPU)
    method.on_fit(64)
    with Asked() as asked:
        method.on_epoch(0, 1)
        method.on_step(9, 10)
        trainer.step([tiny_batch(), tiny_batch()])
    assert asked.found == []
    assert trainer.optimizer.defaults["fused"]


def on_cuda(tensor: Tensor) -> Tensor:
    """A tensor without data that takes itself for one on a GPU; inside a FakeTensorMode."""
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA)
    return nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


@contextmanager
def autocast_on_cuda() -> Iterator[None]:
    """To bfloat16, with CUDA's own list of operations; `torch.autocast` asks for a GPU."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("name", METHODS)
def test_no_loss_brings_anything_to_the_device(name: str) -> None:
    """A tensor that a loss makes on the host would be copied, and meet another device.

    And autocast, as CUDA has it, leaves no two number formats that an operation refuses.
    """
    method, real, mode, known = build(name), tiny_batch(), FakeTensorMode(), {}
    with mode:
        for part in method.modules():
            for tensors in (part._parameters, part._buffers):
                for key, tensor in tensors.items():
                    if tensor is not None:
                        known.setdefault(id(tensor), (tensor, on_cuda(tensor)))
                        tensors[key] = known[id(tensor)][1]
        batch = Batch(**{f.name: on_cuda(getattr(real, f.name)) for f in fields(Batch)})
    method.on_fit(64)
    method.on_step(9, 10)
    with mode, Crossed() as crossed, autocast_on_cuda():
        assert method.loss(batch).device == CUDA
    assert crossed.found == []


def test_pixels_are_normalised_without_a_copy() -> None:
    with FakeTensorMode():
        pixels = torch.empty(2, 8, 8, 3, dtype=torch.uint8, device=CUDA)
        normalise(pixels, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))  # the first brings the constants
        with Crossed() as crossed:
            normalise(pixels, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert crossed.found == []
    with Asked() as asked:
        crop_and_flip(torch.zeros(2, 3, 8, 8), torch.Generator())
    assert asked.found == []
