"""Find the architecture of open_clip for a file of weights that does not fit the given one."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.backbone.names import QUICK

Traits = dict[str, Any]
"""Sizes in which two-tower models with open_clip's own towers differ."""


def traits(state: Mapping[str, Tensor]) -> Traits:
    """The sizes of a model, as far as the shapes of its tensors tell."""
    state = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    found: Traits = {}

    def size(key: str, tensor: str, dimension: int) -> None:
        if tensor in state and state[tensor].ndim > dimension:
            found[key] = int(state[tensor].shape[dimension])

    size("text width", "token_embedding.weight", 1)
    size("vocabulary", "token_embedding.weight", 0)
    size("embedding width", "text_projection", 1)
    if blocks := _blocks(state, r"transformer\.resblocks\.(\d+)\."):
        found["text blocks"] = blocks
    if "visual.layer1.0.conv1.weight" in state:
        found["image blocks"] = tuple(
            _blocks(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)
        )
        size("image width", "visual.layer1.0.conv1.weight", 0)
    elif blocks := _blocks(state, r"visual\.transformer\.resblocks\.(\d+)\."):
        found["image blocks"] = blocks
        size("image width", "visual.conv1.weight", 0)
        size("patch size", "visual.conv1.weight", 2)
        if "visual.positional_embedding" in state and "patch size" in found:
            side = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
            found["image size"] = side * found["patch size"]
    return found


def _blocks(state: Mapping[str, Tensor], pattern: str) -> int:
    numbers = [int(m[1]) for m in (re.match(pattern, name) for name in state) if m]
    return max(numbers, default=-1) + 1


def _of_config(config: Mapping[str, Any]) -> Traits:
    image, text = config["vision_cfg"], config["text_cfg"]
    layers = image.get("layers")
    found: Traits = {
        "text width": text.get("width"),
        "vocabulary": text.get("vocab_size"),
        "embedding width": config["embed_dim"],
        "text blocks": text.get("layers"),
        "image blocks": tuple(layers) if isinstance(layers, list) else layers,
        "image width": image.get("width"),
        "patch size": image.get("patch_size"),
        "image size": image.get("image_size"),
    }
    return {key: value for key, value in found.items() if value is not None}


def nearest_architecture(state: Mapping[str, Tensor], wanted: str) -> str | None:
    """`its tensors are those of ViT-L-14`, or the nearest and how it differs; None if unclear.

    Among architectures of the same sizes the one with the activation of `wanted` is named.
    """
    import open_clip

    mine = traits(state)
    if len(mine) < 4 or "image blocks" not in mine:
        return None
    quick = wanted.endswith(QUICK)
    best: tuple[tuple[int, bool, int], str, list[str]] | None = None
    for name in open_clip.list_models():
        other = _of_config(open_clip.get_model_config(name))
        differ = [key for key in mine if other.get(key) != mine[key]]
        rank = (len(differ), name.endswith(QUICK) != quick, len(name))
        if best is None or rank < best[0]:
            best = (rank, name, differ)
    if best is None:
        return None
    _, name, differ = best
    if name.removesuffix(QUICK) == wanted.removesuffix(QUICK):
        return None
    if not differ:
        return f"its tensors are those of {name}"
    if len(differ) > len(mine) // 2:
        return None
    sizes = ", ".join(f"{key} {mine[key]}" for key in differ)
    return f"the nearest architecture is {name}, but the file has {sizes}"
