"""A gate on each channel of the frozen final features: an example with the usual hooks.

Legend: B batch, L text length, E embedding width.
"""

import random
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from methods import register
from methods.base import Batch, Method, Paper, Sample, cosines, info_nce, unit
from methods.settings import Within

Frozen = tuple[Tensor]


@register("gate")
class Gate(Method):
    """A learned factor on each channel of both towers' final features.

    Settings: low_rank: width of a correction added to the gated feature, 0: none. drop: share of
    the words left out of a training caption. smooth: label smoothing that grows to this value.
    """

    # Shown by `bench methods gate`. None where there is no paper.
    paper: ClassVar[Paper | None] = None
    # The one value of the recipe that a method may state. `bench tune` searches around it.
    lr: ClassVar[float | None] = 3e-3
    # frozen_image/frozen_text hold all that is needed, so `--cache-features` works.
    frozen_features = True

    # A call with a number outside these ranges is refused before anything runs.
    def __init__(
        self,
        model: nn.Module,
        *,
        low_rank: Annotated[int, Within(0)] = 8,
        drop: Annotated[float, Within(0, 1, below=True)] = 0.1,
        smooth: Annotated[float, Within(0, 1)] = 0.1,
    ) -> None:
        super().__init__(model)  # every weight is frozen now, but the temperature
        self.drop, self.smooth, self.smoothing = drop, smooth, 0.0
        width = self.image_tower.output_dim
        self.gates = nn.Parameter(torch.ones(2, width))
        self.down = nn.Parameter(torch.randn(2, width, low_rank) / width**0.5)
        self.up = nn.Parameter(torch.zeros(2, low_rank, width))  # at first: the zero-shot backbone

    # Encoding: the same in training and evaluation, unit length.

    @torch.no_grad()
    def frozen_image(self, images: Tensor) -> Frozen:
        """`(B, 3, H, W)` -> final features `(B, E)`."""
        return (self.image_tower(images),)

    @torch.no_grad()
    def frozen_text(self, texts: Tensor) -> Frozen:
        """`(B, L)` -> final features `(B, E)`."""
        return (self.text_tower(texts),)

    def encode_image(self, images: Tensor | Frozen) -> Tensor:
        """`(B, 3, H, W)`, or what `frozen_image` gave -> `(B, E)`."""
        (feature,) = self.frozen_image(images) if isinstance(images, Tensor) else images
        return self._adapt(0, feature)

    def encode_text(self, texts: Tensor | Frozen) -> Tensor:
        """`(B, L)`, or what `frozen_text` gave -> `(B, E)`."""
        (feature,) = self.frozen_text(texts) if isinstance(texts, Tensor) else texts
        return self._adapt(1, feature)

    def _adapt(self, way: int, feature: Tensor) -> Tensor:
        gated = feature * self.gates[way] + feature @ self.down[way] @ self.up[way]
        return unit(gated)  # in float32, whatever the towers compute in

    # Training.

    def loss(self, batch: Batch) -> Tensor:
        """Symmetric InfoNCE, mixed with one whose targets are smoothed."""
        image, text = self.encode_image(batch.images), self.encode_text(batch.texts)
        logits = self.temperature() * cosines(image, text)
        # Cross-entropy with targets that give every pair the same weight.
        flat = -(logits.log_softmax(0).mean() + logits.log_softmax(1).mean()) / 2
        return (1 - self.smoothing) * info_nce(logits) + self.smoothing * flat

    def train_caption(self, caption: str, sample: Sample, rng: random.Random) -> str:
        """Leave out some words; `rng` is the trial's, so the same seed gives the same captions."""
        kept = [word for word in caption.split() if rng.random() >= self.drop]
        return " ".join(kept) or caption

    def on_step(self, step: int, steps: int) -> None:
        """The smoothing grows evenly over the training."""
        self.smoothing = self.smooth * step / steps

    def param_groups(self) -> list[dict[str, Any]]:
        """Gates are scales: not decayed, though they are a matrix here."""
        decayed = [self.down, self.up]
        return [
            {"params": decayed},
            {"params": [self.gates, self.logit_scale], "weight_decay": 0.0},
        ]
