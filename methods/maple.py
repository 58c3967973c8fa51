"""MaPLe: learned text prompts, each mapped to image prompts by a linear layer."""

from typing import Annotated

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper, unit
from methods.prompts import new_prompts, prompted
from methods.settings import Within


@register("maple")
class MaPLe(Method):
    """Text prompts per block, and image prompts made of them.

    A linear layer for each depth turns text prompts into image prompts.

    Settings: context, tokens per block (2), and depth, how many blocks have prompts (9): both the
    paper's. A tower with fewer blocks has prompts before all of them. Prompts start from
    N(0, 0.02); the paper starts the first from the words "a photo of a", which captions lack. Image
    prompts enter after the tower's first norm; in the paper's code those before the first block
    pass through it.
    """

    family = "Prompts"
    paper = Paper("MaPLe: Multi-modal Prompt Learning", 2022, "https://arxiv.org/abs/2210.03117")
    lr = 1e-3

    def __init__(
        self,
        model: nn.Module,
        *,
        context: Annotated[int, Within(1)] = 2,
        depth: Annotated[int, Within(1)] = 9,
    ) -> None:
        super().__init__(model)
        text, image = self.text_tower, self.image_tower
        depth = min(depth, len(text.blocks), len(image.blocks))
        self.prompts = new_prompts(text, context, depth)  # (depth, context, D of the text)
        self.coupling = nn.ModuleList(nn.Linear(text.width, image.width) for _ in range(depth))

    def encode_image(self, images: Tensor) -> Tensor:
        pairs = zip(self.coupling, self.prompts, strict=True)
        mapped: list[Tensor] = [couple(prompt) for couple, prompt in pairs]
        return unit(prompted(self.image_tower, images, mapped))

    def encode_text(self, texts: Tensor) -> Tensor:
        return unit(prompted(self.text_tower, texts, list(self.prompts)))
