"""UniPT: a parallel branch that lets the frozen output look back at every frozen layer."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Paper
from methods.frozen_towers import OnStates
from methods.settings import Within
from methods.towers import Tower


class LookBack(nn.Module):
    """The last layer's summary asks each layer's tokens; a gate weighs the layers' answers."""

    def __init__(self, tower: Tower, reduction: int) -> None:
        super().__init__()
        narrow = max(1, tower.width // reduction)
        self.down = nn.ModuleList(
            nn.Linear(tower.width, narrow) for _ in range(len(tower.blocks) + 1)
        )
        self.ask = nn.Linear(tower.width, narrow)
        self.gate = nn.Linear(narrow, 1, bias=False)  # a bias would cancel out in the softmax
        self.up = nn.Linear(narrow, tower.width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: list[Tensor], share: Tensor, real: Tensor | None) -> Tensor:
        """L + 1 hidden states `(B, N, D)` -> what to add to the pooled feature, `(B, D)`.

        share `(B, N)`: of each token in what is pooled; real `(B, N)`: which are no padding.
        """
        share = share.to(states[-1].dtype)[:, None]  # (B, 1, N): times states, what is pooled
        if real is None:
            real = torch.ones_like(share[:, 0], dtype=torch.bool)
        keep = real[:, None].to(share.dtype)
        query = self.ask(F.relu(share @ states[-1]))  # (B, 1, d)
        answers, trust = [], []
        for state, down in zip(states, self.down, strict=True):
            tokens = down(F.relu(state))  # (B, N, d)
            # Attention with ReLU for softmax: weights sum to one, or are all zero.
            weights = F.normalize(F.relu(query @ tokens.transpose(1, 2)) * keep, p=1, dim=-1)
            answers.append(weights @ tokens + share.to(tokens.dtype) @ tokens)
            mean = (keep / keep.sum(dim=-1, keepdim=True)).to(tokens.dtype) @ tokens
            # How far a layer's answer is to be trusted, by its mean token and the query.
            trust.append(self.gate(query * mean))
        weighed = torch.cat(trust, dim=1).softmax(dim=1) * torch.cat(answers, dim=1)
        change: Tensor = self.up(F.relu(weighed.sum(dim=1)))
        return change


@register("unipt")
class UniPT(OnStates):
    """Attention over all layers, beside the frozen towers.

    The summary of the last layer attends to each layer, with ReLU instead of softmax; no gradient
    enters a tower.

    Settings: reduction: the branch has width D / reduction (2 is the paper's). Ours: the
    up-projection starts at zero and adds to the pooled feature; the gate has no bias.
    """

    family = "Side branches"
    paper = Paper(
        "UniPT: Universal Parallel Tuning for Transfer Learning with Efficient Parameter and "
        "Memory",
        2023,
        "https://arxiv.org/abs/2308.14316",
    )
    lr = 1e-3

    def __init__(self, model: nn.Module, *, reduction: Annotated[int, Within(1)] = 2) -> None:
        super().__init__(model)
        self.image_side = LookBack(self.image_tower, reduction)
        self.text_side = LookBack(self.text_tower, reduction)
