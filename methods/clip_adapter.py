"""CLIP-Adapter: a bottleneck on each tower's final feature, mixed with it."""

from typing import Annotated

from torch import Tensor, nn

from methods import register
from methods.base import Paper
from methods.frozen_towers import OnFeatures
from methods.settings import Within


@register("clip_adapter")
class ClipAdapter(OnFeatures):
    """A small network on the final features, mixed with them.

    A bottleneck A of two bias-free layers with ReLU gives ratio A(f) + (1 - ratio) f.

    Settings: reduction (4) and ratio (0.2) are the paper's. The paper's best variant adapts the
    image only; here both towers are adapted.
    """

    family = "On the final features"
    paper = Paper(
        "CLIP-Adapter: Better Vision-Language Models with Feature Adapters",
        2021,
        "https://arxiv.org/abs/2110.04544",
    )
    lr = 1e-3

    def __init__(
        self,
        model: nn.Module,
        *,
        reduction: Annotated[int, Within(1)] = 4,
        ratio: Annotated[float, Within(0, 1)] = 0.2,
    ) -> None:
        super().__init__(model)
        self.ratio = ratio
        self.image_adapter = bottleneck(self.image_tower.output_dim, reduction)
        self.text_adapter = bottleneck(self.text_tower.output_dim, reduction)

    def map_image(self, feature: Tensor) -> Tensor:
        return self._mix(feature, self.image_adapter)

    def map_text(self, feature: Tensor) -> Tensor:
        return self._mix(feature, self.text_adapter)

    def _mix(self, feature: Tensor, adapter: nn.Module) -> Tensor:
        mixed: Tensor = self.ratio * adapter(feature) + (1 - self.ratio) * feature
        return mixed


def bottleneck(width: int, reduction: int) -> nn.Sequential:
    """Down and up, each followed by ReLU, as in the authors' code."""
    narrow = max(1, width // reduction)
    return nn.Sequential(
        nn.Linear(width, narrow, bias=False),
        nn.ReLU(),
        nn.Linear(narrow, width, bias=False),
        nn.ReLU(),
    )
