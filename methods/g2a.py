"""G2A: gated global attention adapters after each block, the adapters of MPS-CLIP.

From the authors' published code (the paper's abstract only names the adapter): after each block of
both towers, a projection down to 128, GELU, self-attention with 8 heads, a linear layer; then a
block of global attention: self-attention on normalised tokens with sinusoidal positions, added and
normalised, and an MLP with a depthwise convolution over 5 neighbouring tokens; a gate, the sigmoid
of one learned number that starts at 0.6; a projection up that starts at zero. The result is added.

Ours: this is the adapter alone. The paper's keywords, segmented subimages, perspectives and losses
are left out, since they need a language model and a segmentation model. Of the regularisation the
dropout of 0.1 is kept; stochastic depth and dropout of attention weights are left out. In the text
tower the adapters do not see padding; in the authors' code they do.
"""

import math
from functools import partial
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper, unit
from methods.harma import additive_mask, attention
from methods.settings import Within


def positions(count: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions `(count, width)`."""
    place = torch.arange(count, device=like.device, dtype=torch.float32)[:, None]
    even = torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
    angle = place * torch.exp(even * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class GlobalAttention(nn.Module):
    """Attention over all tokens, then an MLP that mixes each with its neighbours."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention(width)
        self.inner = nn.Linear(width, 2 * width, bias=False)
        self.near = nn.Conv1d(2 * width, 2 * width, 5, padding=2, groups=2 * width)
        self.outer = nn.Linear(2 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, real: Tensor | None, mask: Tensor | None) -> Tensor:
        """`(B, N, d)`, words `(B, N)`, additive mask `(B, 1, 1, N)` -> `(B, N, d)`"""
        # Norm, then positions: the attention sees where a token is, the residual sum does not.
        placed = self.before(tokens) + positions(tokens.shape[1], tokens.shape[2], tokens)
        seen, _ = self.attention(placed, attn_mask=mask)
        tokens = tokens + self.after(tokens + self.dropout(seen))
        wide = self.inner(tokens)
        if real is not None:  # the convolution must not mix padding into the last words
            wide = wide * real[..., None]
        wide = self.near(wide.transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = tokens + self.dropout(self.outer(self.dropout(F.relu(wide))))
        return mixed


class G2Adapter(nn.Module):
    """Down, attention, global attention, gate, up; the up-projection starts at zero."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        self.attention, self.mix = attention(width), nn.Linear(width, width)
        self.whole = GlobalAttention(width, dropout)
        self.gate = nn.Parameter(torch.tensor(0.6))
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor, real: Tensor | None, mask: Tensor | None) -> Tensor:
        """`(B, N, D)`, words `(B, N)`, additive mask `(B, 1, 1, N)` -> `(B, N, D)`"""
        seen, _ = self.attention(F.gelu(self.down(tokens)), attn_mask=mask)
        changed: Tensor = self.gate.sigmoid() * self.whole(self.mix(seen), real, mask)
        adapted: Tensor = tokens + self.up(changed)
        return adapted


@register("g2a")
class G2A(Method):
    """Gated global attention after each block (MPS-CLIP).

    The adapters of MPS-CLIP alone, one after each block of both towers, as in the authors' code.
    The paper's subimages, perspectives and losses are left out.

    Settings: width of the adapters (128) and dropout (0.1) are those of the authors' code.
    """

    family = "Adapters"
    paper = Paper(
        "Multi-Perspective Subimage CLIP with Keyword Guidance for Remote Sensing Image-Text "
        "Retrieval",
        2026,
        "https://arxiv.org/abs/2601.18190",
    )
    lr = 4e-4  # HarMA's, which is built alike; the authors use 4e-5, batch 64

    def __init__(
        self,
        model: nn.Module,
        *,
        width: Annotated[int, Within(8, step=8)] = 128,
        dropout: Annotated[float, Within(0, 1, below=True)] = 0.1,
    ) -> None:
        super().__init__(model)
        self.real: Tensor | None = None
        self.text_mask: Tensor | None = None
        self.adapters = nn.ModuleList()
        for tower in (self.image_tower, self.text_tower):
            for block in tower.blocks:
                adapter = G2Adapter(tower.width, width, dropout)
                of_text = tower is self.text_tower
                block.register_forward_hook(partial(self._adapted, adapter, of_text))
                self.adapters.append(adapter)

    def _adapted(
        self, adapter: G2Adapter, text: bool, _block: nn.Module, _inputs: object, output: Any
    ) -> Any:
        """The block's output, adapted; BERT's may be a tuple whose first entry are the tokens."""
        tokens = output[0] if isinstance(output, tuple) else output
        adapted = (
            adapter(tokens, self.real, self.text_mask) if text else adapter(tokens, None, None)
        )
        return (adapted, *output[1:]) if isinstance(output, tuple) else adapted

    def encode_text(self, texts: Tensor) -> Tensor:
        tower = self.text_tower
        hidden = tower.embed(texts)
        self.real = tower.real(hidden)  # the adapters' hooks read both
        self.text_mask = additive_mask(self.real)
        return unit(tower.finish(hidden))
