"""What a step keeps and computes, counted on any device: bytes for backward, FLOPs, parts."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from methods.base import Method

# torch 2.11 knows the FLOPs of attention on CUDA only: a CPU's kernels count as these do.
for _way in ("", "_backward"):
    _name, _aten = "_scaled_dot_product_flash_attention", torch.ops.aten
    _counted = flop_registry[getattr(_aten, f"{_name}{_way}")]
    flop_registry.setdefault(getattr(_aten, f"{_name}_for_cpu{_way}"), _counted)


class _Kept:
    """A tensor that autograd keeps; dead as soon as the graph is."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # with its graph it would keep itself alive


def saved_bytes(function: Callable[[], Any], exclude: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps for the backward of `function()`, each storage counted once.

    Storages of `exclude` (parameters, buffers, inputs) are left out. What is kept and freed again
    inside `function` does not count.
    """
    kept: WeakSet[_Kept] = WeakSet()

    def pack(tensor: Tensor) -> _Kept:
        holder = _Kept(tensor)
        kept.add(holder)
        return holder

    with saved_tensors_hooks(pack, lambda holder: holder.tensor):
        result = function()
    sizes = storages(holder.tensor for holder in kept)
    left_out = storages(exclude)
    del result  # held until here, so that the graph was alive while it was counted
    return sum(size for key, size in sizes.items() if key not in left_out)


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes of each distinct storage under living tensors; a sparse tensor has two."""
    used = (part.untyped_storage() for tensor in tensors for part in _dense(tensor))
    # By the address of the storage in C++: views share it, and Python's objects for it come and go.
    return {storage._cdata: storage.nbytes() for storage in used}


def _dense(tensor: Tensor) -> tuple[Tensor, ...]:
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    return (tensor,)


def flops(function: Callable[[], Tensor], parameters: Iterable[Tensor]) -> tuple[int, int]:
    """FLOPs of a scalar `function()` and of its backward to the trainable `parameters`.

    Counts matrix products, convolutions and attention (one multiplication and addition: two FLOPs).
    """
    trainable = [p for p in parameters if p.requires_grad]
    with FlopCounterMode(display=False) as forward:
        loss = function()
    if not loss.requires_grad:
        return forward.get_total_flops(), 0
    with FlopCounterMode(display=False) as backward:
        torch.autograd.grad(loss, trainable, allow_unused=True)
    return forward.get_total_flops(), backward.get_total_flops()


class Parts(NamedTuple):
    """Bytes of parameters and buffers, of the gradients, and of the optimiser's states."""

    parameters: int
    gradients: int
    optimizer: int


def parts(method: Method, optimizer: torch.optim.Optimizer | None) -> Parts:
    """What a method and its optimiser hold between steps."""
    states = optimizer.state.values() if optimizer is not None else ()
    tensors = [t for state in states for t in state.values() if isinstance(t, Tensor)]
    trainable = [p for p in method.parameters() if p.requires_grad]
    return Parts(
        sum(storages([*method.parameters(), *method.buffers()]).values()),
        sum(p.numel() * p.element_size() for p in trainable),
        sum(storages(tensors).values()),
    )
