"""A pretrained model as the rest of the code sees it: towers, tokenizer, preprocessing, hash."""

from __future__ import annotations  # torch is needed for the types alone, and takes a second

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.backbone.preprocess import Preprocess
from bench.data.resize import CLIP, Resize

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor, nn


@dataclass
class Backbone:
    """A pretrained two-tower model with what belongs to it: tokenizer and preprocessing.

    image_size: the side of the square images that it takes; resize: how they become square; mean
    and std: of each channel, for values from 0 to 1; weights_sha256: `state_hash` of the model as
    it was loaded.
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
    """What was assumed or changed in loading, such as the activation."""
    datasets: tuple[str, ...] = ()
    """Cards whose training split the weights are known to have been trained on."""
    resize: Resize = CLIP

    @property
    def preprocess(self) -> Preprocess:
        """How images are prepared, as one object."""
        return Preprocess(self.resize, tuple(self.mean), tuple(self.std))

    @preprocess.setter
    def preprocess(self, wanted: Preprocess) -> None:
        self.resize, self.mean, self.std = wanted.resize, wanted.mean, wanted.std

    def transform(self, image: Picture) -> Tensor:
        """A Pillow image of any shape -> what the image tower takes, `(3, S, S)`."""
        import torch

        from bench.batches import normalise
        from bench.data.resize import fit

        pixels = torch.from_numpy(fit(image.convert("RGB"), self.image_size, self.resize).copy())
        return normalise(pixels[None], self.mean, self.std)[0]
