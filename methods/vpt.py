"""VPT: learned prompt tokens in the image tower."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper, unit
from methods.prompts import new_prompts, prompted
from methods.settings import Within


@register("vpt")
class VPT(Method):
    """Learned tokens in the blocks of the image tower.

    They stand after the class token; the text tower stays as it is.

    Settings: prompts, how many tokens (50 as in the paper's ViT-B experiments); depth: deep (other
    tokens in each block) or shallow (before the first block only). They start from N(0, 0.02),
    about the spread of the paper's uniform distribution at ViT-B. The paper's dropout on prompts is
    left out.
    """

    family = "Prompts"
    paper = Paper("Visual Prompt Tuning", 2022, "https://arxiv.org/abs/2203.12119")
    lr = 1e-3

    def __init__(
        self,
        model: nn.Module,
        *,
        prompts: Annotated[int, Within(1)] = 50,
        depth: Literal["deep", "shallow"] = "deep",
    ) -> None:
        super().__init__(model)
        layers = 0 if depth == "deep" else 1  # 0: all blocks
        self.prompts = new_prompts(self.image_tower, prompts, layers)

    def encode_image(self, images: Tensor) -> Tensor:
        return unit(prompted(self.image_tower, images, list(self.prompts)))

    @torch.no_grad()
    def encode_text(self, texts: Tensor) -> Tensor:
        """`(B, L)` -> `(B, D)`, unit length; nothing is kept for backward."""
        return super().encode_text(texts)
