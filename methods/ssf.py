"""SSF: a learned scale and shift after every linear layer and norm of both towers' blocks."""

import torch
from torch import Tensor, nn

from methods import register
from methods.base import Method, NotApplicable, Paper
from methods.surgery import after, open_attention, plain_state


class ScaleShift(nn.Module):
    """`scale * x + shift` per channel, started as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, D)` -> `(B, N, D)`"""
        # Not addcmul, for which CUDA's autocast keeps a float32 copy of the tokens for backward.
        return (tokens * self.scale + self.shift).to(tokens.dtype)


@register("ssf")
class SSF(Method):
    """Learned scales and shifts after each layer.

    They act on the output of each linear layer and each norm of the blocks. They start at exactly
    1 and 0; the paper draws scales from N(1, 0.02) and shifts from N(0, 0.02). The patch embedding,
    which the paper also scales, is left alone.
    """

    family = "Scales and biases"
    paper = Paper(
        "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning",
        2022,
        "https://arxiv.org/abs/2210.08823",
    )
    lr = 1e-3

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.layers = nn.ModuleList()
        self.places: list[nn.Module] = []
        """The backbone's layers whose outputs `layers` scale and shift."""
        for tower in (self.image_tower, self.text_tower):
            open_attention(tower)  # else the attention's layers are never called
            for module in tower.blocks.modules():
                if isinstance(module, nn.Linear):
                    layer = ScaleShift(module.out_features)
                elif isinstance(module, nn.LayerNorm):
                    layer = ScaleShift(module.normalized_shape[-1])
                else:
                    continue
                after(module, layer)
                self.layers.append(layer)
                self.places.append(module)

    @torch.no_grad()
    def merged_state(self) -> dict[str, Tensor]:
        """See `Method.merged_state`: s (W x + b) + t is (s W) x + (s b + t)."""
        for place, layer in zip(self.places, self.layers, strict=True):
            weight, bias = place.weight, place.bias
            if not isinstance(weight, nn.Parameter) or not isinstance(bias, nn.Parameter):
                raise NotApplicable("the backbone has layers without a bias that a shift could be")
            assert isinstance(layer, ScaleShift)
            # Scale each row of a matrix, or each entry where a norm's weight is a vector.
            weight.mul_(layer.scale.view(-1, *[1] * (weight.ndim - 1)))
            bias.mul_(layer.scale).add_(layer.shift)
        return plain_state(self.model)
