"""An image, a sentence and their features, exported with a model to check that it loads correctly.

Legend: D embedding width.
"""

from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image, fromarray
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench import synthetic
from bench.backbone import Backbone
from methods.base import Method, Sample

SENTENCE = "many planes in an airport"
IMAGE, FEATURES = "example.png", "example.safetensors"
CLOSE = 0.999
"""The lowest cosine with the exported feature of a correctly loaded model, in any dtype. A model
without the adapter's attention, or with another preprocessing, stays below."""
SAME = 1e-4
"""The most that rounding in float32 changes a feature of unit length when an adapter is merged."""


def write(out: Path, method: Method, base: Backbone) -> None:
    """Draw the image, and write its and the sentence's features."""
    picture().save(out / IMAGE)
    save_tensors(features(method, base), out / FEATURES)


def picture() -> Image:
    """A generated aerial image; not square, so that a wrong way of resizing shows."""
    return fromarray(synthetic.render(0, 160)[:104])


@torch.no_grad()
def features(method: Method, base: Backbone) -> dict[str, Tensor]:
    """Features of `image` and `text`, each `(1, D)`, as evaluation would ask for them."""
    caption = method.test_caption(SENTENCE, Sample("", (), "test"))
    method.eval()
    return {
        "image": method.encode_image(base.transform(picture())[None]),
        "text": method.encode_text(base.tokenizer([caption])),
    }


@torch.no_grad()
def difference(model: Any, base: Backbone, out: Path) -> float:
    """Largest difference between the features of an open_clip model and those in `out`."""
    known = load_file(out / FEATURES)
    image = model.encode_image(base.transform(picture())[None], normalize=True)
    text = model.encode_text(base.tokenizer([SENTENCE]), normalize=True)
    return float(max((image - known["image"]).abs().max(), (text - known["text"]).abs().max()))


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, the same bytes each time."""
    named = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    # Metadata of one entry, since the order of several would not always be the same.
    save_file(named, path, metadata={"format": "pt"})
