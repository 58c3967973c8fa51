"""Zero-shot: the backbone as it is, no training."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from methods import register
from methods.base import Method, Paper


@register("zeroshot")
class ZeroShot(Method):
    """The backbone as it is; nothing is trained."""

    paper: ClassVar[Paper | None] = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr: ClassVar[float | None] = None
    frozen_features = True

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
        return F.normalize(feature, dim=-1)

    def encode_text(self, texts: Tensor | tuple[Tensor]) -> Tensor:
        """`(B, L)`, or what `frozen_text` gave -> `(B, D)`, unit length."""
        (feature,) = self.frozen_text(texts) if isinstance(texts, Tensor) else texts
        return F.normalize(feature, dim=-1)
