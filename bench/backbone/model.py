"""What the rest of the code sees of a pretrained model: towers, tokenizer, preprocessing, hash."""

from __future__ import annotations  # torch is needed for the types alone, and takes a second

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class Backbone:
    """A pretrained two-tower model with what belongs to it: tokenizer, image size, normalisation.

    weights_sha256: `state_hash` of the model as it was loaded.
    """

    name: str
    weights: str
    model: nn.Module
    tokenizer: Callable[[list[str]], Tensor]
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    pad_id: int | None
    weights_sha256: str
    parameters: int
    notes: tuple[str, ...] = ()
    """What was assumed or changed in loading, e.g. an activation that is not the weights' own."""
    datasets: tuple[str, ...] = ()
    """Cards whose training split is known to be among what the weights were trained on."""
