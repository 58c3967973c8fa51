"""The recipe's `frozen=bf16`: frozen weights of the backbone held in bfloat16."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bench import UserError
from bench.recipe import Recipe
from methods.base import Method

CAST = (nn.Linear, nn.Conv2d, nn.MultiheadAttention, nn.Embedding)
"""Modules whose weight matrices are held in bfloat16."""


def weights(method: Method) -> Iterator[nn.Parameter]:
    """The frozen weight matrices of the backbone, each once; none where all of it is trained.

    Those that autocast casts to bfloat16 in every step (linear layers, attention, convolution), and
    the embedding tables. Norms, biases, positions and the small bare projections stay in float32:
    they are few bytes, and autocast computes with them in float32.
    """
    seen: set[int] = set()
    for module in method.model.modules():
        for name in ("weight", "in_proj_weight"):
            weight = getattr(module, name, None) if isinstance(module, CAST) else None
            if isinstance(weight, nn.Parameter) and not weight.requires_grad:
                if id(weight) not in seen:
                    yield weight
                seen.add(id(weight))


def hold(method: Method, recipe: Recipe, dtype: torch.dtype) -> int:
    """Apply the recipe's `frozen` to a method whose `requires_grad` flags are final.

    Returns how many parameters are now held in bfloat16. Under bf16 autocast the outputs are bit
    for bit those of float32 weights, except that word embeddings are rounded. Raises UserError if
    the computation (`dtype`) is not in bfloat16.
    """
    if recipe.frozen != "bf16":
        return 0
    if dtype != torch.bfloat16:
        raise UserError(
            f"frozen=bf16 goes with bf16 computation and this trial computes in "
            f"{str(dtype).removeprefix('torch.')}: add --recipe precision=bf16 or leave it out"
        )
    count = 0
    for weight in weights(method):
        weight.data = weight.data.bfloat16()
        count += weight.numel()
    for module in method.model.modules():
        if isinstance(module, nn.Embedding) and module.weight.dtype == torch.bfloat16:
            # Autocast leaves embeddings alone: continue in float32, as with a float32 table.
            module.register_forward_hook(_in_float32)
    return count


def _in_float32(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.float()
