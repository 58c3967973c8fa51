"""VeRA: low-rank updates of shared frozen random matrices, with learned vectors, through peft."""

from typing import Annotated

from torch import nn

from methods import register
from methods.base import Paper
from methods.injected import Injected
from methods.settings import Within
from methods.surgery import Part


@register("vera")
class VeRA(Injected):
    """Frozen random matrices with learned scaling vectors.

    All layers share one pair of frozen random matrices; each learns two vectors of factors.

    Settings: rank (256 is the paper's for ViT-B), targets. The matrices come from a fixed key, so
    they are not saved.
    """

    family = "Low-rank updates"
    paper = Paper(
        "VeRA: Vector-based Random Matrix Adaptation", 2023, "https://arxiv.org/abs/2310.11454"
    )
    lr = 1e-2

    def __init__(
        self,
        model: nn.Module,
        *,
        rank: Annotated[int, Within(1)] = 256,
        targets: Part = "attn+mlp",
    ) -> None:
        from peft import VeraConfig  # slow to import

        super().__init__(model)
        self.inject(VeraConfig(r=rank, target_modules=self.linear_names(targets)))
