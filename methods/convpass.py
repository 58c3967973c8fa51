"""Convpass: small convolutions beside attention and MLP of each block.

From the paper and its code, which are about image towers: each block gets a bypass beside the
attention and one beside the MLP, on the same normalised input. A bypass is a 1x1 convolution down
to 8 channels, QuickGELU, a 3x3 convolution over the grid of patches (the class token goes through
it as an image of one pixel), QuickGELU, dropout 0.1, and a 1x1 convolution up that starts at zero.
The 3x3 kernel starts as the identity. A factor on the bypass is chosen for each task.

Ours: in the text tower the convolution runs over 3 neighbouring words, with padding set to zero, or
with text='none' the tower is left as it is. The factor is 1 unless you set it.
"""

from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from methods import register
from methods.base import Method, Paper, unit
from methods.settings import Within
from methods.surgery import attention_name, beside, sublayers


def quick_gelu(tokens: Tensor) -> Tensor:
    """CLIP's fast approximation of GELU."""
    return tokens * torch.sigmoid(1.702 * tokens)


class Bypass(nn.Module):
    """What is added to the output of attention or MLP; `words`: for a sequence, not a grid."""

    def __init__(self, size: int, width: int, scale: float, dropout: float, words: bool) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        self.conv: nn.Conv1d | nn.Conv2d
        self.conv = (nn.Conv1d if words else nn.Conv2d)(width, width, 3, padding=1)
        self.dropout, self.scale = nn.Dropout(dropout), scale
        nn.init.xavier_uniform_(self.down.weight)
        for part in (self.down.bias, self.conv.weight, self.conv.bias, *self.up.parameters()):
            assert part is not None
            nn.init.zeros_(part)
        with torch.no_grad():  # the kernel starts as the identity: only its centre is not zero
            centre = self.conv.weight[..., 1] if words else self.conv.weight[..., 1, 1]
            centre.copy_(torch.eye(width))

    def image(self, tokens: Tensor, prefix: int) -> Tensor:
        """`(B, N, D)` -> `(B, N, D)`; the first `prefix` tokens are not patches."""
        narrow = quick_gelu(self.down(tokens))
        patches = narrow[:, prefix:]
        side = round(patches.shape[1] ** 0.5)
        grid = patches.transpose(1, 2).unflatten(2, (side, -1))
        parts = [self.conv(grid).flatten(2).transpose(1, 2)]
        if prefix:  # the class token has no neighbours: it is convolved as an image of one pixel
            alone = narrow[:, :prefix]
            pixels = alone.flatten(0, 1)[..., None, None]
            parts.insert(0, self.conv(pixels).flatten(1).view_as(alone))
        return self._up(torch.cat(parts, dim=1))

    def words(self, tokens: Tensor, real: Tensor | None) -> Tensor:
        """`(B, N, D)` -> `(B, N, D)`; `real` `(B, N)` says which tokens are words (None: all)."""
        narrow = quick_gelu(self.down(tokens))
        if real is not None:  # padding must not reach the last words
            narrow = narrow * real[..., None]
        return self._up(self.conv(narrow.transpose(1, 2)).transpose(1, 2))

    def _up(self, narrow: Tensor) -> Tensor:
        change: Tensor = self.scale * self.up(self.dropout(quick_gelu(narrow)))
        return change


@register("convpass")
class Convpass(Method):
    """Small convolutions beside attention and MLP.

    Each block gets one bypass beside the attention and one beside the MLP: a projection down, a 3x3
    convolution over the grid of patches, a projection up.

    Settings: width (8) and dropout (0.1) are the paper's. scale: a factor on the bypass; the paper
    chooses it for each task, our default is 1. text: conv (a convolution over 3 neighbouring words)
    or none; it is ours, since the paper is about images.
    """

    family = "Adapters"
    paper = Paper(
        "Convolutional Bypasses Are Better Vision Transformer Adapters",
        2022,
        "https://arxiv.org/abs/2207.07039",
    )
    lr = 1e-3  # the paper's

    def __init__(
        self,
        model: nn.Module,
        *,
        width: Annotated[int, Within(1)] = 8,
        scale: Annotated[float, Within(0, above=True)] = 1.0,
        dropout: Annotated[float, Within(0, 1, below=True)] = 0.1,
        text: Literal["conv", "none"] = "conv",
    ) -> None:
        super().__init__(model)
        self.text = text
        self.real: Tensor | None = None
        self.bypasses = nn.ModuleList()
        for tower in (self.image_tower, *([self.text_tower] if text == "conv" else [])):
            words = tower is self.text_tower
            for block in tower.blocks:
                parts = sublayers(block)
                attention = getattr(block, attention_name(block))
                for start, end in ((attention, parts.attention), (parts.before_mlp, parts.mlp)):
                    bypass = Bypass(tower.width, width, scale, dropout, words)
                    branch = partial(bypass.image, prefix=tower.prefix)
                    beside(block, start, end, partial(self._words, bypass) if words else branch)
                    self.bypasses.append(bypass)

    def _words(self, bypass: Bypass, tokens: Tensor) -> Tensor:
        return bypass.words(tokens, self.real)

    def encode_text(self, texts: Tensor) -> Tensor:
        if self.text == "none":
            return super().encode_text(texts)
        tower = self.text_tower
        hidden = tower.embed(texts)
        self.real = tower.real(hidden)  # the bypasses' hooks read it
        return unit(tower.finish(hidden))
