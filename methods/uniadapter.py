"""UniAdapter: adapters beside the MLPs whose down-projection both towers share."""

from functools import partial
from itertools import zip_longest
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper
from methods.settings import Within
from methods.surgery import beside, sublayers


class SharedDown(nn.Module):
    """A bottleneck per tower; the down-projections agree in the narrower tower's channels."""

    def __init__(self, widths: list[int], narrow: int) -> None:
        super().__init__()
        self.norm = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.shared = nn.Linear(min(widths), narrow)
        # The wider tower's weights for the channels that the narrower one has not; else empty.
        self.extra = nn.ParameterList(
            torch.empty(narrow, width - min(widths)) for width in widths if width > min(widths)
        )
        self.up = nn.ModuleList(nn.Linear(narrow, width) for width in widths)
        nn.init.zeros_(self.shared.bias)
        for weight in self.extra:  # as nn.Linear would start a layer as wide as the wider tower
            nn.init.uniform_(weight, -(max(widths) ** -0.5), max(widths) ** -0.5)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, tower: int) -> Tensor:
        """`(B, N, D)` of one tower -> what to add, `(B, N, D)`."""
        tokens = self.norm[tower](tokens)
        common = self.shared.in_features
        weight = self.shared.weight
        if tokens.shape[-1] > common:
            weight = torch.cat([weight, self.extra[0]], dim=1)
        narrow = F.relu(F.linear(tokens, weight, self.shared.bias))
        change: Tensor = 0.1 * self.up[tower](narrow)
        return change


@register("uniadapter")
class UniAdapter(Method):
    """Adapters whose down-projection both towers share.

    In each block, beside norm and MLP: a norm, the shared down-projection, ReLU, an up-projection,
    factor 0.1.

    Settings: width of the bottleneck (128 is our choice). The paper's two towers are equally wide.
    If they are not (ViT-B/32: 768 and 512), the wider one has weights of its own for its further
    channels. The paper's query-based fusion is for a cross-modal encoder, which CLIP has not. The
    up-projections start at zero in both towers.
    """

    family = "Adapters"
    paper = Paper(
        "UniAdapter: Unified Parameter-Efficient Transfer Learning for Cross-modal Modeling",
        2023,
        "https://arxiv.org/abs/2302.06605",
    )
    lr = 1e-3

    def __init__(self, model: nn.Module, *, width: Annotated[int, Within(1)] = 128) -> None:
        super().__init__(model)
        towers = (self.image_tower, self.text_tower)
        self.adapters = nn.ModuleList()
        # Blocks of the same depth share a down-projection; those that only one tower has, do not.
        for blocks in zip_longest(*(tower.blocks for tower in towers)):
            present = [(t, b) for t, b in zip(towers, blocks, strict=True) if b is not None]
            adapter = SharedDown([tower.width for tower, _ in present], width)
            for index, (_, block) in enumerate(present):
                parts = sublayers(block)
                beside(block, parts.before_norm, parts.mlp, partial(adapter, tower=index))
            self.adapters.append(adapter)
