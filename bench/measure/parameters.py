"""How many parameters a method trains on ViT-B/32, counted without a single weight in memory."""

import copy
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from methods.base import Method

REFERENCE = "ViT-B-32"


def trainable(cls: "type[Method]", **settings: Any) -> int | None:
    """Trainable parameters on the reference backbone; None where the method cannot be built so."""
    import torch

    try:
        with torch.device("meta"):  # tensors with a shape and nothing in them
            method = cls(copy.deepcopy(_towers()), **settings)
    except Exception:  # a plug-in's constructor may raise anything
        return None
    return sum(p.numel() for p in method.parameters() if p.requires_grad)


@functools.cache
def _towers() -> "nn.Module":
    import open_clip
    import torch

    config = open_clip.get_model_config(REFERENCE)
    assert config is not None
    with torch.device("meta"):
        model: nn.Module = open_clip.CLIP(**config)
    return model


def rounded(count: int) -> str:
    """`3.49 M`, `171 k` or `0`."""
    for size, unit in ((10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g} {unit}"
    return str(count)
