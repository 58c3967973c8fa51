"""LoRA: low-rank updates of the linear layers of both towers, through peft."""

from typing import Annotated

from torch import nn

from methods import register
from methods.base import Paper
from methods.injected import Injected
from methods.settings import Within
from methods.surgery import Part


@register("lora")
class LoRA(Injected):
    """Low-rank updates of the linear layers of both towers.

    Settings: rank; alpha, the update's factor being alpha / rank, or alpha / sqrt(rank) with rslora
    (Kalajdzievski 2023); targets; dropout before the down-projection; dora (Liu et al. 2024). The
    paper adapts query and value only; all linear layers and alpha = 2 rank are today's custom.
    Where query, key and value are one layer (open_clip, timm), they share one down-projection, as
    in peft's own wrapper of `nn.MultiheadAttention`.
    """

    family = "Low-rank updates"
    paper = Paper(
        "LoRA: Low-Rank Adaptation of Large Language Models",
        2021,
        "https://arxiv.org/abs/2106.09685",
    )
    lr = 1e-3

    def __init__(
        self,
        model: nn.Module,
        *,
        rank: Annotated[int, Within(1)] = 8,
        alpha: Annotated[int, Within(1)] = 16,
        targets: Part = "attn+mlp",
        dropout: Annotated[float, Within(0, 1, below=True)] = 0.0,
        dora: bool = False,
        rslora: bool = False,
    ) -> None:
        from peft import LoraConfig  # slow to import

        super().__init__(model)
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=self.linear_names(targets),
            lora_dropout=dropout,
            use_dora=dora,
            use_rslora=rslora,
        )
        self.inject(config)
