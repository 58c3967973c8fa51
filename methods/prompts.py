"""Learned tokens in a tower, before its first or several blocks: what prompt methods share."""

import torch
from torch import Tensor, nn

from methods.towers import Tower


def new_prompts(tower: Tower, count: int, depth: int) -> nn.Parameter:
    """Prompts `(depth, count, D)` from N(0, 0.02); depth 0 means every block."""
    layers = min(depth, len(tower.blocks)) if depth else len(tower.blocks)
    return nn.Parameter(0.02 * torch.randn(layers, count, tower.width))


def prompted(tower: Tower, inputs: Tensor, prompts: list[Tensor]) -> Tensor:
    """The tower with prompts `(n, D)` before each of its first blocks -> `(B, E)`."""
    hidden = tower.embed(inputs, prompts[0])
    for index in range(len(tower.blocks)):
        # Deep prompts take the place of those that the block before let through. After the last
        # depth the prompts of that depth stay in.
        if 0 < index < len(prompts):
            hidden = tower.replace_prompts(hidden, prompts[index])
        hidden = tower.block(index, hidden)
    return tower.project(tower.pool(hidden))
