"""CLIP-Adapter: a bottleneck on each tower's final feature, mixed with it."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper


@register("clip_adapter")
class ClipAdapter(Method):
    """A two-layer bottleneck with ReLU on the final features, bias-free, mixed in by a fixed ratio.

    Settings: reduction (4) and ratio (0.2) are the paper's: ratio A(f) + (1 - ratio) f. Its best
    variant adapts the image only; here both towers are adapted.
    """

    paper: ClassVar[Paper | None] = Paper(
        "CLIP-Adapter: Better Vision-Language Models with Feature Adapters",
        2021,
        "https://arxiv.org/abs/2110.04544",
    )
    lr: ClassVar[float | None] = 1e-3
    frozen_features = True

    def __init__(self, model: nn.Module, *, reduction: int = 4, ratio: float = 0.2) -> None:
        super().__init__(model)
        self.ratio = ratio
        self.image_adapter = bottleneck(self.image_tower.output_dim, reduction)
        self.text_adapter = bottleneck(self.text_tower.output_dim, reduction)

    @torch.no_grad()
    def frozen_image(self, images: Tensor) -> tuple[Tensor]:
        """`(B, 3, H, W)` -> final features `(B, D)`."""
        return (self.image_tower(images),)

    @torch.no_grad()
    def frozen_text(self, texts: Tensor) -> tuple[Tensor]:
        """`(B, L)` -> final features `(B, D)`."""
        return (self.text_tower(texts),)

    def encode_image(self, images: Tensor | tuple[Tensor]) -> Tensor:
        """`(B, 3, H, W)`, or what `frozen_image` gave -> `(B, D)`, unit length."""
        (feature,) = self.frozen_image(images) if isinstance(images, Tensor) else images
        return self._mix(feature, self.image_adapter)

    def encode_text(self, texts: Tensor | tuple[Tensor]) -> Tensor:
        """`(B, L)`, or what `frozen_text` gave -> `(B, D)`, unit length."""
        (feature,) = self.frozen_text(texts) if isinstance(texts, Tensor) else texts
        return self._mix(feature, self.text_adapter)

    def _mix(self, feature: Tensor, adapter: nn.Module) -> Tensor:
        mixed = self.ratio * adapter(feature) + (1 - self.ratio) * feature
        return F.normalize(mixed, dim=-1)


def bottleneck(width: int, reduction: int) -> nn.Sequential:
    """Down and up, each followed by ReLU."""
    narrow = width // reduction
    return nn.Sequential(
        nn.Linear(width, narrow, bias=False),
        nn.ReLU(),
        nn.Linear(narrow, width, bias=False),
        nn.ReLU(),
    )
