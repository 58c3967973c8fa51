"""Linear probe for retrieval: one linear map on each frozen final feature."""

from typing import ClassVar

from torch import Tensor, nn

from methods import register
from methods.base import Paper
from methods.frozen_towers import OnFeatures


@register("linear")
class Linear(OnFeatures):
    """A linear map on the final feature of each tower.

    A square, bias-free map on each tower's final feature, started at the identity.
    """

    family: ClassVar[str] = "On the final features"
    paper: ClassVar[Paper | None] = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr: ClassVar[float | None] = 1e-3

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        width = self.image_tower.output_dim
        self.image_map = nn.Linear(width, width, bias=False)
        self.text_map = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.image_map.weight)
        nn.init.eye_(self.text_map.weight)

    def map_image(self, feature: Tensor) -> Tensor:
        """`(B, E)` -> `(B, E)`."""
        mapped: Tensor = self.image_map(feature)
        return mapped

    def map_text(self, feature: Tensor) -> Tensor:
        """`(B, E)` -> `(B, E)`."""
        mapped: Tensor = self.text_map(feature)
        return mapped
