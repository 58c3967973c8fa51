"""Adapters: a small bottleneck in every block of both towers, in series or parallel to the MLP."""

from functools import partial
from typing import Annotated

from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper
from methods.settings import Within
from methods.surgery import after, beside, sublayers


class Bottleneck(nn.Module):
    """Down, a non-linearity, up; the up-projection starts at zero. `(B, N, D)` -> `(B, N, D)`"""

    def __init__(self, width: int, narrow: int, activation: nn.Module, scale: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, narrow)
        self.activation = activation
        self.up = nn.Linear(narrow, width)
        self.scale = scale
        # With `up` at zero nothing is added, so training starts from the pretrained features.
        for weight in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """What to add to the tokens."""
        change: Tensor = self.up(self.activation(self.down(tokens)))
        return change if self.scale == 1 else change * self.scale  # spares a copy of the tokens


@register("adapter")
class Adapter(Method):
    """Bottlenecks after attention and MLP of each block.

    Settings: width of the bottleneck (64 as in both papers); parallel: instead of two bottlenecks
    (Houlsby et al. 2019) one beside the MLP, on the MLP's input, with ReLU and factor 0.1
    (AdaptFormer, Chen et al. 2022, arXiv 2205.13535). Both start at exactly zero, Houlsby's paper
    near it; the norms stay frozen.
    """

    family = "Adapters"
    paper = Paper(
        "Parameter-Efficient Transfer Learning for NLP", 2019, "https://arxiv.org/abs/1902.00751"
    )
    lr = 1e-3

    def __init__(
        self, model: nn.Module, *, width: Annotated[int, Within(1)] = 64, parallel: bool = False
    ) -> None:
        super().__init__(model)
        self.adapters = nn.ModuleList()
        for tower in (self.image_tower, self.text_tower):
            for block in tower.blocks:
                parts = sublayers(block)
                if parallel:  # AdaptFormer
                    branch = Bottleneck(tower.width, width, nn.ReLU(), 0.1)
                    beside(block, parts.before_mlp, parts.mlp, branch)
                    self.adapters.append(branch)
                    continue
                for part in (parts.attention, parts.mlp):  # Houlsby et al.
                    series = Bottleneck(tower.width, width, nn.GELU(), 1.0)
                    # `partial` and not a lambda: `copy.deepcopy` of the method copies it.
                    after(part, partial(residual, series))
                    self.adapters.append(series)


def residual(module: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens plus what a module makes of them: `(B, N, D)` -> `(B, N, D)`."""
    changed: Tensor = tokens + module(tokens)
    return changed
