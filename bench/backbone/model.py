"""A pretrained model as the rest of the code sees it: towers, tokenizer, preprocessing, hash."""

from __future__ import annotations  # torch is needed for the types alone, and takes a second

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.backbone.preprocess import Preprocess
from bench.data.resize import fit

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor, nn


@dataclass
class Backbone:
    """A pretrained two-tower model with what belongs to it: tokenizer and preprocessing.

    image_size: the side of the square images that it takes; weights_sha256: `state_hash` of the
    model as it was loaded; notes: what was assumed or changed in loading, such as the activation;
    datasets: cards whose training split the weights are known to have been trained on.
    """

    name: str
    weights: str
    model: nn.Module
    tokenizer: Callable[[list[str]], Tensor]
    image_size: int
    preprocess: Preprocess
    pad_id: int | None
    weights_sha256: str
    parameters: int
    notes: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    def transform(self, image: Picture) -> Tensor:
        """A Pillow image of any shape -> what the image tower takes, `(3, S, S)`."""
        import torch

        from bench.training.batches import normalise

        preprocess = self.preprocess
        pixels = fit(image.convert("RGB"), self.image_size, preprocess.resize)
        batch = torch.from_numpy(pixels.copy())[None]
        return normalise(batch, preprocess.mean, preprocess.std)[0]
