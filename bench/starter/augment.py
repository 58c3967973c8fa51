"""Random changes of images and captions, which make more of the few pairs that RSICD has."""

import math
import random
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_AREA = 0.35
"""The smallest share of the image that a crop may have."""
COLOUR = 0.3
"""Saturation and contrast are multiplied by 1 - COLOUR to 1 + COLOUR."""
SCENE, TWO_CAPTIONS, DROPPED_WORDS = 0.15, 0.2, 0.1
"""Probabilities: a scene label instead of a caption, a second caption after the first, and for each
word that it is left out."""
TEMPLATES = (
    "a remote sensing image of {}",
    "an aerial photo of {}",
    "{} in a satellite image",
    "{}",
)


def views(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Random crops of normalised images, turned, mirrored and recoloured.

    `(B, 3, H, W)` -> `(B, 3, size, size)`. Seen from above an image has no upright side, so all
    eight turns and mirrorings are equally likely.
    """
    n = len(images)
    u = torch.rand(8, n, generator=generator)
    area = MIN_AREA + (1 - MIN_AREA) * u[0]
    aspect = torch.exp((2 * u[1] - 1) * math.log(4 / 3))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    width_signed = width * torch.where(u[4] < 0.5, -1.0, 1.0)
    height_signed = height * torch.where(u[5] < 0.5, -1.0, 1.0)
    turned = u[6] < 0.5  # x and y exchanged: with both mirrorings this gives all eight positions
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.where(turned, 0.0, width_signed)
    theta[:, 0, 1] = torch.where(turned, width_signed, 0.0)
    theta[:, 1, 1] = torch.where(turned, 0.0, height_signed)
    theta[:, 1, 0] = torch.where(turned, height_signed, 0.0)
    theta[:, 0, 2] = (2 * u[2] - 1) * (1 - width)
    theta[:, 1, 2] = (2 * u[3] - 1) * (1 - height)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    crops = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return _recoloured(crops, generator)


def _recoloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Saturation, contrast and brightness, changed at random for each image."""
    shift = COLOUR * (torch.rand(3, len(images), generator=generator) * 2 - 1)
    saturation, contrast, brightness = shift.view(3, -1, 1, 1, 1)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    recoloured: Tensor = (images - mean) * (1 + contrast) + mean + 0.8 * brightness
    return recoloured


def text(captions: Sequence[str], scene: str | None, rng: random.Random) -> str:
    """What one image is called in one step: a caption or two with words left out, or its scene."""
    if scene and rng.random() < SCENE:
        return rng.choice(TEMPLATES).format(spoken(scene))
    caption = rng.choice(captions)
    if rng.random() < TWO_CAPTIONS:
        caption = f"{caption.rstrip(' .')} . {rng.choice(captions)}"
    words = caption.split()
    if len(words) > 4:
        words = [word for word in words if rng.random() > DROPPED_WORDS] or words
    return " ".join(words)


def spoken(scene: str) -> str:
    """A scene label as words: "DenseResidential" is "dense residential"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", scene).lower()
