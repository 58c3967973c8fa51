"""Independent vision-language prompts: learned tokens in both towers, before every block."""

from typing import Annotated

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper, unit
from methods.prompts import new_prompts, prompted
from methods.settings import Within


@register("vlprompt")
class VLPrompt(Method):
    """Learned tokens in the blocks of both towers, apart.

    Each block has tokens of its own. MaPLe's paper compares with this as independent prompting.

    Settings: image_prompts and text_prompts, tokens per block (10 each: our choice); depth: how
    many of the first blocks have tokens, 0 for all. They start from N(0, 0.02) as in CoOp and
    MaPLe.
    """

    family = "Prompts"
    paper = Paper("MaPLe: Multi-modal Prompt Learning", 2022, "https://arxiv.org/abs/2210.03117")
    lr = 1e-3

    def __init__(
        self,
        model: nn.Module,
        *,
        image_prompts: Annotated[int, Within(1)] = 10,
        text_prompts: Annotated[int, Within(1)] = 10,
        depth: Annotated[int, Within(0)] = 0,
    ) -> None:
        super().__init__(model)
        self.image_prompts = new_prompts(self.image_tower, image_prompts, depth)
        self.text_prompts = new_prompts(self.text_tower, text_prompts, depth)

    def encode_image(self, images: Tensor) -> Tensor:
        return unit(prompted(self.image_tower, images, list(self.image_prompts)))

    def encode_text(self, texts: Tensor) -> Tensor:
        return unit(prompted(self.text_tower, texts, list(self.text_prompts)))
