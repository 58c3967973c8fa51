"""Self-attention of open_clip's towers, without the copies that torch's own module makes.

Legend: B batch, N tokens, D tower width, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(projected: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention of all heads: `(B, N, 3 D)`, queries, keys and values in a row, -> `(B, N, D)`.

    mask, as `nn.MultiheadAttention` has it: `(N, N)` or `(B * H, N, N)`, or any shape that
    broadcasts to `(B, H, N, N)`; added to the scores, or boolean and true where not to look.
    """
    q, k, v = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    if mask is not None:
        if mask.ndim == 3:
            mask = mask.unflatten(0, (-1, heads))
        # SDPA's boolean masks are true where to look.
        mask = ~mask if mask.dtype == torch.bool else mask.to(q.dtype)
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return seen.transpose(1, 2).flatten(2)


class SelfAttention(nn.MultiheadAttention):
    """An `nn.MultiheadAttention` with the same weights and outputs, but faster.

    torch's own turns the tokens to `(N, B, D)` and copies queries, keys and values. On a CPU in
    bfloat16 a forward pass of the starter's image tower then takes 1.2 times as long. LoRA, which
    has to open the attention (`methods.surgery`), would not pay for that; other methods would.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """`(B, N, D)` -> `(B, N, D)`, None; torch computes what is not plain self-attention."""
        special = need_weights or is_causal or key_padding_mask is not None or query.ndim != 3
        if special or not (query is key is value):
            options = (key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
            return super().forward(query, key, value, *options)
        projected = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        return self.out_proj(attend(projected, self.num_heads, attn_mask)), None


def speed_up(model: nn.Module) -> None:
    """Make each `nn.MultiheadAttention` in a model a `SelfAttention`; weights and names stay."""
    for module in model.modules():
        if type(module) is nn.MultiheadAttention and is_plain(module):
            module.__class__ = SelfAttention


def is_plain(attention: nn.MultiheadAttention) -> bool:
    """Whether an attention is batch-first, with one matrix for its inputs and without dropout."""
    one_matrix = attention.in_proj_weight is not None and attention.bias_k is None
    return attention.batch_first and one_matrix and not attention.dropout
