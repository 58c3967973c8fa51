"""HarMA: adapters with attention after each MLP, each pair of towers' sharing a smaller one."""

from functools import partial
from itertools import zip_longest
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Batch, Method, Paper, cosines, info_nce, unit
from methods.settings import Within
from methods.surgery import OpenAttention, after, sublayers


def attention(width: int) -> OpenAttention:
    """Self-attention with 8 heads."""
    return OpenAttention(nn.MultiheadAttention(width, 8, batch_first=True))


def additive_mask(real: Tensor) -> Tensor:
    """Which tokens are words, bool `(B, N)` -> a mask for attention `(B, 1, 1, N)`: 0 or -inf."""
    padding = ~real[:, None, None]
    return torch.zeros_like(padding, dtype=torch.float32).masked_fill_(padding, float("-inf"))


class MiniAdapter(nn.Module):
    """What the two towers share in a layer: down to a half, attention mixed in by a gate, up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, width // 2), nn.Linear(width // 2, width)
        self.attention = attention(width // 2)
        self.gate = nn.Parameter(torch.tensor(0.6))
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """`(B, N, d)`, additive mask `(B, 1, 1, N)` -> `(B, N, d)`"""
        narrow = self.down(tokens)
        seen, _ = self.attention(narrow, attn_mask=mask)
        # lerp(a, b, g) = (1 - g) a + g b
        mixed: Tensor = tokens + self.up(torch.lerp(narrow, seen, self.gate.sigmoid()))
        return mixed


class MultimodalAdapter(nn.Module):
    """One tower's adapter in a layer: down, attention, the shared part, the same attention, up."""

    def __init__(self, size: int, width: int, shared: MiniAdapter | None) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        self.attention, self.shared = attention(width), shared
        self.inner_gate = nn.Parameter(torch.tensor(0.6))
        self.gate = nn.Parameter(torch.tensor(0.6))
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """`(B, N, D)`, additive mask `(B, 1, 1, N)` -> `(B, N, D)`"""
        narrow = F.gelu(self.down(tokens))
        seen, _ = self.attention(narrow, attn_mask=mask)
        if self.shared is not None:
            seen = self.shared(seen, mask)
        seen, _ = self.attention(seen, attn_mask=mask)  # the same weights a second time
        mixed = torch.lerp(seen, narrow, self.inner_gate.sigmoid())
        changed: Tensor = tokens + self.gate.sigmoid() * self.up(mixed)
        return changed


@register("harma")
class HarMA(Method):
    """Adapters after each MLP, partly shared by both towers.

    The two adapters of one depth, one in each tower, share a smaller one.

    Settings: width of the adapters (128) and loss: infonce, or infonce plus the paper's adaptive
    triplet loss (margin 0.2, each term weighted by (1 - exp(-term))^2, summed and halved). Width,
    gates, number of heads (8) and the start at zero are those of the paper's code. Ours: in the
    text tower the adapters do not attend to padding.
    """

    family = "Adapters"
    paper = Paper(
        "Efficient Remote Sensing with Harmonized Transfer Learning and Modality Alignment",
        2024,
        "https://arxiv.org/abs/2404.18253",
    )
    lr = 4e-4  # the paper's

    def __init__(
        self,
        model: nn.Module,
        *,
        width: Annotated[int, Within(16, step=16)] = 128,
        loss: Literal["infonce", "infonce+triplet"] = "infonce",
    ) -> None:
        super().__init__(model)
        self.triplet = "triplet" in loss
        self.text_mask: Tensor | None = None
        towers = (self.image_tower, self.text_tower)
        self.adapters = nn.ModuleList()
        # Block by block in both towers at once. Where one has more blocks than the other (ViT-L:
        # 24 and 12), the adapters of the rest share nothing.
        for image, text in zip_longest(*(tower.blocks for tower in towers)):
            shared = MiniAdapter(width) if image is not None and text is not None else None
            for index, block in enumerate((image, text)):
                if block is not None:
                    adapter = MultimodalAdapter(towers[index].width, width, shared)
                    after(sublayers(block).mlp, partial(self._adapt, adapter, index == 1))
                    self.adapters.append(adapter)

    def _adapt(self, adapter: MultimodalAdapter, text: bool, tokens: Tensor) -> Tensor:
        adapted: Tensor = adapter(tokens, self.text_mask if text else None)
        return adapted

    def encode_text(self, texts: Tensor) -> Tensor:
        tower = self.text_tower
        hidden = tower.embed(texts)
        self.text_mask = additive_mask(tower.real(hidden))  # the adapters' hooks read it
        return unit(tower.finish(hidden))

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE, with the adaptive triplet loss where that is set."""
        image, text = self.encode_image(batch.images), self.encode_text(batch.texts)
        scores = cosines(image, text)
        loss = info_nce(self.temperature() * scores)
        return loss + adaptive_triplet(scores) if self.triplet else loss


def adaptive_triplet(scores: Tensor, margin: float = 0.2, gamma: float = 2.0) -> Tensor:
    """Hinge over all negatives of `(B, B)` similarities, hard ones weighted up."""
    right = scores.diag()
    wrong = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    total = torch.zeros((), device=scores.device)
    for anchor in (right[:, None], right[None, :]):  # image to text, text to image
        cost = (margin + scores - anchor).clamp(min=0) * wrong
        total = total + ((1 - torch.exp(-cost)) ** gamma * cost).sum()
    return total / 2
