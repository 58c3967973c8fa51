"""A GPU that is not there: tensors without data on it, CUDA's autocast, its fused attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from methods.base import Batch, Method

CUDA = torch.device("cuda:0")


def placed(method: Method, batch: Batch, mode: FakeTensorMode) -> Batch:
    """The batch on the GPU, and the method too, in place. What runs there runs inside `mode`."""
    known: dict[int, tuple[Tensor, Tensor]] = {}

    def there(tensor: Tensor) -> Tensor:
        fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA)
        trained = tensor.requires_grad
        return nn.Parameter(fake, trained) if isinstance(tensor, nn.Parameter) else fake

    with mode:
        for part in method.modules():
            for tensors in (part._parameters, part._buffers):
                for key, tensor in tensors.items():
                    if tensor is not None:
                        known.setdefault(id(tensor), (tensor, there(tensor)))
                        tensors[key] = known[id(tensor)][1]
        return Batch(**{f.name: there(getattr(batch, f.name)) for f in fields(Batch)})


@contextmanager
def autocast() -> Iterator[None]:
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


def fused_attention() -> Any:
    """Inside it SDPA takes the kernel that it takes under autocast on a GPU."""
    return mock.patch.object(F, "scaled_dot_product_attention", _fused)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    half, aten = torch.bfloat16, torch.ops.aten
    q, k, v = (tensor.to(half) for tensor in (query, key, value))
    if attn_mask is None:
        flash: Tensor = aten._scaled_dot_product_flash_attention(q, k, v)[0]
        return flash
    bias = attn_mask
    if bias.dtype == torch.bool:
        bias = torch.zeros_like(bias, dtype=half).masked_fill(~bias, float("-inf"))
    bias = bias.to(half).expand(*q.shape[:3], k.shape[2])
    efficient: Tensor = aten._scaled_dot_product_efficient_attention(q, k, v, bias, True)[0]
    return efficient
