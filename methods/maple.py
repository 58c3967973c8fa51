"""MaPLe: learned text prompts, each mapped to image prompts by a linear layer."""

from typing import Annotated, ClassVar

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper, unit
from methods.prompts import new_prompts, prompted
from methods.settings import Within


@register("maple")
class MaPLe(Method):
    """Text prompts per block, and image prompts made of them.

    Text prompts before each of the first blocks; a linear layer per depth makes the image's.

    Settings: context, tokens per block (2), and depth (9) are the paper's. A tower with fewer
    blocks is prompted before all of them. Started from N(0, 0.02); the paper starts the first from
    the words "a photo of a", which captions lack. Image prompts enter after the tower's first
    norm; in the paper's code those before the first block pass through it.
    """

    family: ClassVar[str] = "Prompts"
    paper: ClassVar[Paper | None] = Paper(
        "MaPLe: Multi-modal Prompt Learning", 2022, "https://arxiv.org/abs/2210.03117"
    )
    lr: ClassVar[float | None] = 1e-3

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
        self.prompts = new_prompts(text, context, depth)
        self.coupling = nn.ModuleList(nn.Linear(text.width, image.width) for _ in range(depth))

    def encode_image(self, images: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, D)`, unit length."""
        pairs = zip(self.coupling, self.prompts, strict=True)
        mapped: list[Tensor] = [couple(prompt) for couple, prompt in pairs]
        return unit(prompted(self.image_tower, images, mapped))

    def encode_text(self, texts: Tensor) -> Tensor:
        """`(B, L)` -> `(B, D)`, unit length."""
        return unit(prompted(self.text_tower, texts, list(self.prompts)))
