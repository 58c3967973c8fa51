"""Full fine-tuning: every weight of both towers and the temperature."""

from typing import ClassVar

from torch import nn

from methods import register
from methods.base import Method, Paper


@register("full")
class Full(Method):
    """Full fine-tuning of both towers and the temperature."""

    paper: ClassVar[Paper | None] = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr: ClassVar[float | None] = 1e-5

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.model.requires_grad_(True)
        if (bias := getattr(model, "logit_bias", None)) is not None:
            bias.requires_grad_(False)  # SigLIP's; it cancels out in the softmax of InfoNCE
