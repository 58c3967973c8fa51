"""CoOp: learned context vectors before the words of a caption, in the text tower."""

from typing import Annotated

import torch
from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper, unit
from methods.prompts import prompted
from methods.settings import Within


@register("coop")
class CoOp(Method):
    """Learned vectors before the words; image tower frozen.

    They stand after the text's start token.

    Settings: context, how many vectors. 16, and the start from N(0, 0.02), are the paper's.
    """

    family = "Prompts"
    paper = Paper(
        "Learning to Prompt for Vision-Language Models", 2021, "https://arxiv.org/abs/2109.01134"
    )
    lr = 2e-3  # the paper's, which trains with SGD

    def __init__(self, model: nn.Module, *, context: Annotated[int, Within(1)] = 16) -> None:
        super().__init__(model)
        # One context for all captions; the paper also has one per class, which retrieval lacks.
        self.context = nn.Parameter(torch.empty(context, self.text_tower.width))
        nn.init.normal_(self.context, std=0.02)

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, D)`, unit length; nothing is kept for backward."""
        return super().encode_image(images)

    def encode_text(self, texts: Tensor) -> Tensor:
        """`(B, L)` -> `(B, D)`, unit length; a long text loses words at its end to the context."""
        return unit(prompted(self.text_tower, texts, [self.context]))
