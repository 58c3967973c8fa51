"""How attention is computed: with which kernels, and without the copies that torch's module makes.

Legend: B batch, N tokens, D tower width, H heads.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

WRITTEN_OUT = ("_softmax", "_safe_softmax")
"""What is seen where the N x N weights are made in memory (a loss has `_log_softmax`)."""


class _Kernels(TorchDispatchMode):
    """Counts the attention operations that run inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it by its name."""
        name = func.overloadpacket.__name__
        if "scaled_dot_product" in name or "multi_head_attention" in name or name in WRITTEN_OUT:
            self.seen[name.removeprefix("_")] += 1
        return func(*args, **(kwargs or {}))


def attention_kernels(function: Callable[[], Any]) -> dict[str, int]:
    """How often each attention kernel runs in `function()`, by torch's name for it.

    `scaled_dot_product_*` are SDPA's fused kernels. `softmax` and `safe_softmax` mean that weights
    were written out: by a method's own attention, or by SDPA where it has no fused kernel (on a CPU
    with dropout). `native_multi_head_attention` is torch's "fast path", which
    `loading.load` switches off.
    """
    with _Kernels() as mode:
        function()
    return dict(sorted(mode.seen.items()))


class SelfAttention(nn.MultiheadAttention):
    """An `nn.MultiheadAttention` with the same weights and result, but faster self-attention.

    torch's own turns the tokens to `(N, B, D)` first and copies q, k and v, and in bfloat16 the
    product with its weights then takes a slow path on a CPU: a forward pass of the starter takes
    1.4 times as long. LoRA and other methods that open the attention never had these costs.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Any:
        """As `nn.MultiheadAttention`, which computes whatever is not plain self-attention."""
        plain = {"need_weights": False, "attn_mask": options.get("attn_mask")}
        if args or options != plain or not (query is key is value) or query.ndim != 3:
            return super().forward(query, key, value, *args, **options)
        projected = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = plain["attn_mask"]
        if mask is not None:
            if mask.ndim == 3:  # (B * H, N, N)
                mask = mask.unflatten(0, (len(query), -1))
            mask = mask.to(q.dtype)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(seen.transpose(1, 2).flatten(2)), None


def speed_up_attention(model: nn.Module) -> None:
    """Make each `nn.MultiheadAttention` of a model a `SelfAttention`; names and weights stay."""
    for module in model.modules():
        if type(module) is nn.MultiheadAttention:
            ordinary = module.in_proj_weight is not None and module.bias_k is None
            if ordinary and module.batch_first and not module.dropout:
                module.__class__ = SelfAttention
