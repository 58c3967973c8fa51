"""Methods that only need the output of a frozen tower, so that it can be computed once and kept."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from methods.base import Method, unit
from methods.towers import Tower


class OnFeatures(Method):
    """A method on the towers' final features: it says how `map_image` and `map_text` change them.

    Unchanged by default.
    """

    frozen_features = True

    def map_image(self, feature: Tensor) -> Tensor:
        """Final image feature `(B, E)`, not of unit length -> the method's, `(B, E)`."""
        return feature

    def map_text(self, feature: Tensor) -> Tensor:
        """Final text feature `(B, E)`, not of unit length -> the method's, `(B, E)`."""
        return feature

    @torch.no_grad()
    def frozen_image(self, images: Tensor) -> tuple[Tensor]:
        """`(B, 3, H, W)` -> final features `(B, E)`."""
        return (self.image_tower(images),)

    @torch.no_grad()
    def frozen_text(self, texts: Tensor) -> tuple[Tensor]:
        """`(B, L)` -> final features `(B, E)`."""
        return (self.text_tower(texts),)

    def encode_image(self, images: Tensor | tuple[Tensor]) -> Tensor:
        """`(B, 3, H, W)`, or what `frozen_image` gave -> `(B, E)`, unit length."""
        (feature,) = self.frozen_image(images) if isinstance(images, Tensor) else images
        return unit(self.map_image(feature))

    def encode_text(self, texts: Tensor | tuple[Tensor]) -> Tensor:
        """`(B, L)`, or what `frozen_text` gave -> `(B, E)`, unit length."""
        (feature,) = self.frozen_text(texts) if isinstance(texts, Tensor) else texts
        return unit(self.map_text(feature))


States = tuple[Tensor, list[Tensor], Tensor, Tensor | None]
"""What a side branch sees of a tower: pooled feature `(B, D)`; L + 1 hidden states `(B, N, D)`;
share `(B, N)` of each token in what is pooled; real `(B, N)`: which are no padding (None: all)."""


class OnStates(Method):
    """A side branch beside each tower, on all its hidden states; no gradient enters a tower.

    A branch takes states, share and real of `States` and gives `(B, D)`, which is added to the
    pooled feature before the frozen projection.
    """

    frozen_features = True
    image_side: nn.Module
    text_side: nn.Module

    def frozen_image(self, images: Tensor) -> States:
        """`(B, 3, H, W)` -> what the branch sees of the image tower."""
        return (*seen(self.image_tower, images)[:3], None)

    def frozen_text(self, texts: Tensor) -> States:
        """`(B, L)` -> what the branch sees of the text tower."""
        return seen(self.text_tower, texts)

    def encode_image(self, images: Tensor | States) -> Tensor:
        """`(B, 3, H, W)`, or what `frozen_image` gave -> `(B, E)`, unit length."""
        known = self.frozen_image(images) if isinstance(images, Tensor) else images
        return beside(self.image_tower, self.image_side, known)

    def encode_text(self, texts: Tensor | States) -> Tensor:
        """`(B, L)`, or what `frozen_text` gave -> `(B, E)`, unit length."""
        known = self.frozen_text(texts) if isinstance(texts, Tensor) else texts
        return beside(self.text_tower, self.text_side, known)


@torch.no_grad()
def seen(tower: Tower, inputs: Tensor) -> States:
    """One pass through a frozen tower; nothing is kept for backward."""
    hidden = tower.states(inputs)
    last = hidden[-1]
    # The summary is a weighted sum of the tokens. Of unit vectors in their place it is the weights.
    each = torch.eye(last.tokens.shape[1], device=inputs.device).expand(len(inputs), -1, -1)
    share = tower.summary(replace(last, tokens=each))
    return tower.pool(last), [state.tokens for state in hidden], share, tower.real(last)


def beside(tower: Tower, side: nn.Module, known: States) -> Tensor:
    """The pooled feature with what the side branch adds, projected -> `(B, E)`, unit length."""
    feature, states, share, real = known
    return unit(tower.project(feature + side(states, share, real)))
