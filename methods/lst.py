"""LST: ladder side tuning, thin transformer blocks beside the frozen ones."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Paper
from methods.frozen_towers import OnStates
from methods.settings import Within
from methods.towers import Tower


class SideBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens `(B, N, d)`, mask `(B, 1, 1, N)` bool, True for tokens to look at."""
        split = self.qkv(self.norm_attention(tokens)).unflatten(-1, (3, self.heads, -1))
        q, k, v = split.permute(2, 0, 3, 1, 4)  # each (B, heads, N, d / heads)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        tokens = tokens + self.out(seen.transpose(1, 2).flatten(2))
        out: Tensor = tokens + self.mlp(self.norm_mlp(tokens))
        return out


class Ladder(nn.Module):
    """Side blocks of width D / reduction; before each, a gate mixes in the frozen hidden states."""

    def __init__(self, tower: Tower, reduction: int) -> None:
        super().__init__()
        # As many heads as CLIP's towers have, 64 channels each; the width is a multiple of that.
        blocks, heads = len(tower.blocks), max(1, tower.width // 64)
        width = max(1, tower.width // reduction // heads) * heads
        self.down = nn.ModuleList(nn.Linear(tower.width, width) for _ in range(blocks + 1))
        self.gate = nn.Parameter(torch.zeros(blocks))
        self.blocks = nn.ModuleList(SideBlock(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, tower.width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Sequence[Tensor], share: Tensor, real: Tensor | None) -> Tensor:
        """L + 1 hidden states `(B, N, D)` -> what to add to the pooled feature, `(B, D)`.

        share `(B, N)`: of each token in what is pooled; real `(B, N)`: which are no padding.
        """
        mask = None if real is None else real[:, None, None]
        side = self.down[0](states[0])
        for index, block in enumerate(self.blocks):
            gate = torch.sigmoid(self.gate[index] / 0.1).to(side.dtype)  # 0.1: a temperature
            side = gate * self.down[index + 1](states[index + 1]) + (1 - gate) * side
            side = block(side, mask)
        # Pool the side states as the tower pools its own (class token, end token or mean).
        summary = (share.to(side.dtype)[:, None] @ side)[:, 0]
        change: Tensor = self.up(self.norm(summary))
        return change


@register("lst")
class LST(OnStates):
    """A ladder of small blocks beside each frozen tower.

    No gradient enters a tower.

    Settings: reduction: the side blocks have width D / reduction. From the paper: the reduction of
    8, the gates sigmoid(alpha / 0.1), one up-projection, and thin transformer blocks as the side
    network. Ours: the side blocks start at random (the paper prunes the backbone's weights), no
    layer is dropped, the up-projection starts at zero and adds to the pooled feature, and the
    text's side blocks look both ways.
    """

    family = "Side branches"
    paper = Paper(
        "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning",
        2022,
        "https://arxiv.org/abs/2206.06522",
    )
    lr = 1e-3

    def __init__(self, model: nn.Module, *, reduction: Annotated[int, Within(1)] = 8) -> None:
        super().__init__(model)
        self.image_side = Ladder(self.image_tower, reduction)
        self.text_side = Ladder(self.text_tower, reduction)
