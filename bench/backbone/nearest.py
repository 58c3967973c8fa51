"""Find the architecture of open_clip for a file of weights that does not fit the given one."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.backbone.names import QUICK

Traits = dict[str, Any]
"""Sizes in which two-tower models with open_clip's own towers differ."""
SIZES = {
    "text width": ("token_embedding.weight", 1),
    "vocabulary": ("token_embedding.weight", 0),
    "embedding width": ("text_projection", 1),
    "image width": ("visual.layer1.0.conv1.weight", 0),
    "patch size": ("visual.conv1.weight", 2),
}
"""The tensors, and their dimensions, that tell the sizes. A ResNet has no patches, but stages."""


def traits(state: Mapping[str, Tensor]) -> Traits:
    """The sizes of a model, as far as the shapes of its tensors tell."""
    state = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    is_resnet = "visual.layer1.0.conv1.weight" in state
    tensors = SIZES if is_resnet else SIZES | {"image width": ("visual.conv1.weight", 0)}
    sizes: Traits = {
        trait: int(state[name].shape[dimension])
        for trait, (name, dimension) in tensors.items()
        if name in state and state[name].ndim > dimension
    }
    stages = tuple(_blocks(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    blocks = _blocks(state, r"visual\.transformer\.resblocks\.(\d+)\.")
    sizes["image blocks"] = stages if is_resnet else blocks
    sizes["text blocks"] = _blocks(state, r"transformer\.resblocks\.(\d+)\.")
    if is_resnet:
        sizes.pop("patch size", None)
    elif "visual.positional_embedding" in state and "patch size" in sizes:
        side = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
        sizes["image size"] = side * sizes["patch size"]
    return {trait: size for trait, size in sizes.items() if size}


def _blocks(state: Mapping[str, Tensor], pattern: str) -> int:
    numbers = [int(match[1]) for name in state if (match := re.match(pattern, name))]
    return max(numbers, default=-1) + 1


def _of_config(config: Mapping[str, Any]) -> Traits:
    image, text = config["vision_cfg"], config["text_cfg"]
    layers = image.get("layers")
    return {
        "text width": text.get("width"),
        "vocabulary": text.get("vocab_size"),
        "embedding width": config["embed_dim"],
        "text blocks": text.get("layers"),
        "image blocks": tuple(layers) if isinstance(layers, list) else layers,
        "image width": image.get("width"),
        "patch size": image.get("patch_size"),
        "image size": image.get("image_size"),
    }


def nearest_architecture(state: Mapping[str, Tensor], wanted: str) -> str | None:
    """`its tensors are those of ViT-L-14`, or the nearest and how it differs; None if unclear.

    Among architectures of the same sizes the one with the activation of `wanted` is named.
    """
    import open_clip

    own = traits(state)
    if len(own) < 4 or "image blocks" not in own:
        return None
    ranked = []
    for name in open_clip.list_models():
        other = _of_config(open_clip.get_model_config(name))
        differ = [trait for trait in own if other[trait] != own[trait]]
        odd = name.endswith(QUICK) != wanted.endswith(QUICK)
        ranked.append((len(differ), odd, len(name), name, differ))
    *_, name, differ = min(ranked)
    if name.removesuffix(QUICK) == wanted.removesuffix(QUICK) or len(differ) > len(own) // 2:
        return None
    if not differ:
        return f"its tensors are those of {name}"
    sizes = ", ".join(f"{trait} {own[trait]}" for trait in differ)
    return f"the nearest architecture is {name}, but the file has {sizes}"
