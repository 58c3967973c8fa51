"""MRS-Adapter (PE-RSITR): one small module shared by all blocks of both towers."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Batch, Method, Paper, cosines, info_nce, unit
from methods.settings import Within
from methods.surgery import beside, sublayers
from methods.towers import Tower


class SharedAdapter(nn.Module):
    """Down from each tower's width, up in two parts: the tower's own and one that both share."""

    def __init__(self, image: int, text: int, width: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(size, width) for size in (image, text))
        share = min(64, image // 2, text // 2)  # 64 in the paper's code
        self.up = nn.ModuleList(nn.Linear(width, size - share) for size in (image, text))
        self.shared = nn.Linear(width, share)
        self.dropout = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():  # only `down` does not start at zero
            if name.endswith("bias") or not name.startswith("down"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, tower: int) -> Tensor:
        """`(B, N, D)` of tower 0 (image) or 1 (text) -> what to add, `(B, N, D)`."""
        narrow = self.dropout(F.relu(self.down[tower](tokens)))
        return torch.cat([self.up[tower](narrow), self.shared(narrow)], dim=-1)


@register("mrs_adapter")
class MRSAdapter(Method):
    """One adapter shared by all blocks of both towers.

    It runs beside the norm and MLP of each block.

    Settings: width (64) and dropout (0.5) are the paper's. loss: infonce, or the paper's hybrid
    multimodal contrastive loss (hmmc): a hinge with margin 0.2 on the hardest negative, both ways,
    image against text and each modality against a second view of itself, which has dropout 0.2
    on its embedded tokens. Sums as in the paper's code, so hmmc grows with the batch.
    """

    family = "Adapters"
    paper = Paper(
        "Parameter-Efficient Transfer Learning for Remote Sensing Image-Text Retrieval",
        2023,
        "https://arxiv.org/abs/2308.12509",
    )
    lr = 1e-3
    margin = 0.2
    view_dropout = 0.2

    def __init__(
        self,
        model: nn.Module,
        *,
        width: Annotated[int, Within(1)] = 64,
        dropout: Annotated[float, Within(0, 1, below=True)] = 0.5,
        loss: Literal["infonce", "hmmc"] = "infonce",
    ) -> None:
        super().__init__(model)
        towers = (self.image_tower, self.text_tower)
        self.adapter = SharedAdapter(towers[0].width, towers[1].width, width, dropout)
        for index, tower in enumerate(towers):
            for block in tower.blocks:
                parts = sublayers(block)
                beside(block, parts.before_norm, parts.mlp, partial(self.adapter, tower=index))
        self.hmmc = loss == "hmmc"
        if self.hmmc:
            self.logit_scale.requires_grad_(False)  # a hinge has no temperature

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE, or the sum of three hinges."""
        image, text = self.encode_image(batch.images), self.encode_text(batch.texts)
        if not self.hmmc:
            return info_nce(self.temperature() * cosines(image, text))
        other_image = self._view(self.image_tower, batch.images)
        other_text = self._view(self.text_tower, batch.texts)
        pairs = ((image, text), (image, other_image), (text, other_text))
        return torch.stack([hardest_hinge(a, b, self.margin) for a, b in pairs]).sum()

    def _view(self, tower: Tower, inputs: Tensor) -> Tensor:
        """A second view, its embedded tokens under dropout. `(B, D)`, unit length"""
        hidden = tower.embed(inputs)
        hidden = replace(hidden, tokens=F.dropout(hidden.tokens, self.view_dropout))
        return unit(tower.finish(hidden))


def hardest_hinge(a: Tensor, b: Tensor, margin: float) -> Tensor:
    """Sum over rows and columns of [margin + hardest wrong - right]+ of unit vectors `(B, D)`."""
    scores = cosines(a, b)
    right = scores.diag()
    wrong = scores - 4 * torch.eye(len(scores), device=scores.device)  # below any cosine
    rows = (margin + wrong.amax(dim=1) - right).clamp(min=0)
    columns = (margin + wrong.amax(dim=0) - right).clamp(min=0)
    return rows.sum() + columns.sum()
