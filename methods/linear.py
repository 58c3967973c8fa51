"""Linear probe for retrieval: one linear map on each frozen final feature."""

from typing import Literal

import torch
from torch import Tensor, nn

from methods import register
from methods.base import NotApplicable, Paper
from methods.frozen_towers import OnFeatures
from methods.surgery import last_map, plain_state


@register("linear")
class Linear(OnFeatures):
    """A linear map on the final feature of each tower.

    The maps are square, have no bias and start as the identity.
    """

    family = "On the final features"
    paper = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr = 1e-3

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        width = self.image_tower.output_dim
        self.image_map = nn.Linear(width, width, bias=False)
        self.text_map = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.image_map.weight)
        nn.init.eye_(self.text_map.weight)

    @torch.no_grad()
    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: each map times the last matrix of its tower."""
        sides: tuple[Literal["image", "text"], ...] = ("image", "text")
        for side, weight in zip(sides, (self.image_map.weight, self.text_map.weight), strict=True):
            last = last_map(self.model, side)  # a layer W x + b, or the matrix W of x W
            if last is None:
                raise NotApplicable(
                    f"the {side} tower does not end with a linear map that one could be merged into"
                )
            if isinstance(last, nn.Linear):
                last.weight.copy_(weight @ last.weight)
                if last.bias is not None:
                    last.bias.copy_(weight @ last.bias)
            else:
                last.copy_(last @ weight.t())
        return plain_state(self.model)

    def map_image(self, feature: Tensor) -> Tensor:
        mapped: Tensor = self.image_map(feature)
        return mapped

    def map_text(self, feature: Tensor) -> Tensor:
        mapped: Tensor = self.text_map(feature)
        return mapped
