"""VPT: learned prompt tokens in the image tower."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import Method, Paper


@register("vpt")
class VPT(Method):
    """Learned tokens after the class token; the text tower stays as it is.

    Settings: prompts, how many tokens (50 as in the paper's ViT-B experiments); depth: deep, fresh
    ones before each block, or shallow, before the first only. Started from N(0, 0.02), about the
    spread of the paper's uniform distribution at ViT-B; its dropout on prompts is left out.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Visual Prompt Tuning", 2022, "https://arxiv.org/abs/2203.12119"
    )
    lr: ClassVar[float | None] = 1e-3

    def __init__(
        self, model: nn.Module, *, prompts: int = 50, depth: Literal["deep", "shallow"] = "deep"
    ) -> None:
        super().__init__(model)
        layers = len(self.image_tower.blocks) if depth == "deep" else 1
        self.prompts = nn.Parameter(torch.empty(layers, prompts, self.image_tower.width))
        nn.init.normal_(self.prompts, std=0.02)

    def encode_image(self, images: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, D)`, unit length."""
        tower = self.image_tower
        hidden = tower.embed(images, self.prompts[0])
        for index in range(len(tower.blocks)):
            if 0 < index < len(self.prompts):
                hidden = tower.replace_prompts(hidden, self.prompts[index])
            hidden = tower.block(index, hidden)
        return F.normalize(tower.project(tower.pool(hidden)), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Tensor) -> Tensor:
        """`(B, L)` -> `(B, D)`, unit length; nothing is kept for backward."""
        return super().encode_text(texts)
