"""A trained model for Python users: encode images and texts of your own, and search.

Legend: B images or texts, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image as Picture
from torch import Tensor

from bench import UserError, at_home, brief, data
from bench.data import cache
from bench.data.resize import Pixels, fit
from bench.schema import Record
from bench.trained.restore import restore


@dataclass(frozen=True)
class Match:
    """One answer of a search."""

    score: float
    """Cosine similarity."""
    index: int
    """The index of the image in what was searched."""
    image: str | Path | Picture | None
    """The image as it was passed; None if features were passed."""


class TrainedModel:
    """A trained model as `bench.load` returns it.

    `record` is the record as a dict, `call` the method with its settings, such as `lora(rank=16)`.
    """

    def __init__(self, path: Path, device: str | None = None, backbone: str | None = None) -> None:
        """Rebuild the model of a record; see `bench.load`."""
        try:
            torch.empty(0, device=device or "cpu")
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"the device {device!r} cannot be used: {brief(error)}") from None
        self._restored = restore(path, device, backbone)
        self.record: Record = self._restored.record
        self.call: str = self._restored.trial.call_today
        try:
            self._scale = data.card(self._restored.trial.dataset).scale
        except UserError:  # the user's own card is not here; most data sets need no scale
            self._scale = None

    def __repr__(self) -> str:
        trial = self._restored.trial
        return f"<{self.call} on {trial.backbone}, trained on {trial.dataset_name}>"

    def encode_images(self, images: Sequence[str | Path | Picture], batch_size: int = 64) -> Tensor:
        """Image files or Pillow images -> features `(B, D)`, unit length, float32, on the CPU.

        Images of any size; they are resized and cropped as the benchmark does for evaluation.
        Raises UserError for a file that cannot be read, or a Pillow image of more than 8 bits.
        """
        _demand_list(images, "images")
        blocks = []
        for start in range(0, len(images), batch_size):
            pixels = np.stack([self._pixels(image) for image in images[start : start + batch_size]])
            blocks.append(self._restored.encode_images(pixels, batch_size))
        return torch.cat(blocks)

    def encode_texts(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Texts -> features `(B, D)`, unit length, float32, on the CPU."""
        _demand_list(texts, "texts")
        return self._restored.encode_texts(texts, batch_size)

    def search(
        self, text: str, images: Sequence[str | Path | Picture] | Tensor, top: int = 10
    ) -> list[Match]:
        """The `top` images nearest to a text, best first.

        `images` are files or Pillow images, or their features from `encode_images`: so a collection
        that is searched often is encoded once.
        """
        features = images if isinstance(images, Tensor) else self.encode_images(images)
        scores = features @ self.encode_texts([text])[0]
        best = torch.sort(scores, descending=True, stable=True).indices[:top].tolist()
        given = [None] * len(images) if isinstance(images, Tensor) else images
        return [Match(float(scores[i]), i, given[i]) for i in best]

    def _pixels(self, image: str | Path | Picture) -> Pixels:
        base = self._restored.backbone
        if isinstance(image, str | Path):
            path = at_home(image)
            return cache.decode(path, base.image_size, self._scale, base.preprocess.resize)
        if image.mode.startswith(("I", "F")):  # in RGB nearly all of its values would be white
            raise UserError(
                f"a Pillow image of mode {image.mode} has more than 8 bits; give its file instead, "
                "or convert it to 8 bits"
            )
        return fit(image.convert("RGB"), base.image_size, base.preprocess.resize)


def _demand_list(values: Any, noun: str) -> None:
    """Raise UserError for a single text or image, which is easily passed, and for an empty list."""
    if isinstance(values, str | Path) or not isinstance(values, Sequence) or not len(values):
        raise UserError(f"give the {noun} as a list with at least one, not {values!r}")
