"""Which kind of `Tower` shows the image or text tower of a model: open_clip's, timm's, closed."""

from typing import Any, cast

from torch import nn

from methods.closed_towers import Closed
from methods.foreign_towers import HuggingFaceText, TimmImage
from methods.towers import OpenClipImage, OpenClipText, Tower, UnknownBlocks


def image_tower(model: nn.Module) -> Tower:
    """The image tower of an open_clip model; `Closed` for a make whose blocks are not known."""
    visual = cast(Any, model).visual
    try:
        if hasattr(visual, "transformer") and hasattr(visual, "conv1"):
            return OpenClipImage(visual)
        if hasattr(visual, "trunk"):
            return TimmImage(visual)
    except UnknownBlocks as error:
        return Closed(model, "image", str(error))
    return Closed(model, "image", f"those of a {type(visual).__name__} are not known")


def text_tower(model: nn.Module) -> Tower:
    """The text tower of an open_clip model; `Closed` for a make whose blocks are not known."""
    text = getattr(model, "text", model)
    try:
        if hasattr(text, "token_embedding") and hasattr(text, "transformer"):
            return OpenClipText(model)
        if hasattr(text, "transformer") and hasattr(text, "pooler"):
            return HuggingFaceText(text)
    except UnknownBlocks as error:
        return Closed(model, "text", str(error))
    return Closed(model, "text", f"those of a {type(text).__name__} are not known")
