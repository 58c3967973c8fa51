"""Rename the tensors of a `CLIPModel` of transformers as open_clip names them."""

import re

import torch
from torch import Tensor

TOP = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # transformers' own spelling
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "visual_projection.weight": "visual.proj",
}
BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
TRANSPOSED = ("visual.proj", "text_projection")
"""Matrices in open_clip that are linear layers, hence transposed, in transformers."""
LAYER = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
QKV = re.compile(r"self_attn\.([qkv])_proj")


def is_name(name: str) -> bool:
    """Whether a tensor is called so in a `CLIPModel`."""
    return name in TOP or LAYER.fullmatch(name) is not None


def is_clip(state: dict[str, Tensor]) -> bool:
    """Whether a state is that of a `CLIPModel`."""
    marks = ("vision_model.embeddings.patch_embedding", "visual_projection", "text_projection")
    return all(f"{mark}.weight" in state for mark in marks)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a `CLIPModel` under open_clip's names; unknown names are kept.

    Query, key and value of an attention become one tensor, in this order.
    """
    tensors: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        layer = LAYER.fullmatch(name)
        if layer is None:
            new = TOP.get(name, name)
            tensors[new] = tensor.T.contiguous() if new in TRANSPOSED else tensor
            continue
        tower = "visual." if layer[1] == "vision" else ""
        block = f"{tower}transformer.resblocks.{layer[2]}"
        if qkv := QKV.fullmatch(layer[3]):
            parts.setdefault(f"{block}.attn.in_proj_{layer[4]}", {})[qkv[1]] = tensor
        else:
            tensors[f"{block}.{BLOCK.get(layer[3], layer[3])}.{layer[4]}"] = tensor
    for name, three in parts.items():
        if set(three) == {"q", "k", "v"}:
            tensors[name] = torch.cat([three["q"], three["k"], three["v"]])
        else:
            tensors |= {f"{name}.{key}": tensor for key, tensor in three.items()}
    return tensors
