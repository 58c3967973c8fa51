"""Linear probe for retrieval: one linear map on each frozen final feature."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper


@register("linear")
class Linear(Method):
    """A square, bias-free map on each tower's final feature, started at the identity."""

    paper: ClassVar[Paper | None] = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr: ClassVar[float | None] = 1e-3
    frozen_features = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        width = self.image_tower.output_dim
        self.image_map = nn.Linear(width, width, bias=False)
        self.text_map = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.image_map.weight)
        nn.init.eye_(self.text_map.weight)

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
        return F.normalize(self.image_map(feature), dim=-1)

    def encode_text(self, texts: Tensor | tuple[Tensor]) -> Tensor:
        """`(B, L)`, or what `frozen_text` gave -> `(B, D)`, unit length."""
        (feature,) = self.frozen_text(texts) if isinstance(texts, Tensor) else texts
        return F.normalize(self.text_map(feature), dim=-1)
