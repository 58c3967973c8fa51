"""Which kernels compute attention: fused ones, or matrix products with a softmax between them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

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
