"""An image, a sentence and their features beside an export: who loads it can see that it is right.

Legend: D embedding width.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench import synthetic
from bench.backbone import Backbone
from bench.data.resize import Pixels
from methods.base import Method, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

SENTENCE = "many planes in an airport"
IMAGE, FEATURES = "example.png", "example.safetensors"
CLOSE = 0.999
"""Cosine with the known feature that a right model reaches, whatever number format it computes in;
one without the adapter's attention, or with another preprocessing, does not."""
SAME = 1e-4
"""Largest difference that rounding in float32 makes in a feature of unit length, where an adapter
changes weights by much."""


def write(out: Path, method: Method, base: Backbone) -> None:
    """Draw the image, and write its and the sentence's features, `(1, D)`, unit length."""
    from PIL.Image import fromarray
    from safetensors.torch import save_file

    image = fromarray(picture())
    image.save(out / IMAGE)
    pair = features(method, base, image)
    named = {"image": pair[0].contiguous(), "text": pair[1].contiguous()}
    save_file(named, out / FEATURES, metadata={"format": "pt"})


@torch.no_grad()
def apart(model: Any, base: Backbone, out: Path) -> float:
    """Largest difference of a model's features from the example's; `model` encodes as open_clip's.

    Reads image and features from the folder `out`.
    """
    from PIL.Image import open as open_image
    from safetensors.torch import load_file

    known = load_file(out / FEATURES)
    with open_image(out / IMAGE) as image:
        found = {"image": model.encode_image(base.transform(image)[None], normalize=True)}
    found["text"] = model.encode_text(base.tokenizer([SENTENCE]), normalize=True)
    return max(float((feature - known[what]).abs().max()) for what, feature in found.items())


def picture() -> Pixels:
    """An aerial picture, drawn; not square, so that a wrong way of resizing shows."""
    return synthetic.render(0, 160)[:104]


@torch.no_grad()
def features(method: Method, base: Backbone, image: "Image") -> tuple[Tensor, Tensor]:
    """Features of an image and of the sentence, each `(1, D)`, as evaluation would ask for them."""
    words = method.test_caption(SENTENCE, Sample("", (), "test"))
    method.eval()
    return (
        method.encode_image(base.transform(image)[None]),
        method.encode_text(base.tokenizer([words])),
    )
