"""Small models of other makes (ConvNeXt, EVA, CoCa, ...), and methods as if they were trained."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from open_clip import CoCa, CustomTextCLIP
from open_clip.hf_model import HFTextEncoder
from open_clip.timm_model import TimmModel
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem, HybridEmbed
from torch import Tensor, nn

from bench.contract import TEXT, VISION, tiny_batch, tiny_model
from methods.base import Method

WITH_BLOCKS = ("open_clip", "hf", "timm")
"""The kinds of `tiny_model` whose towers both have blocks that methods can work on."""


def stirred(method: Method, scale: float = 0.1) -> Method:
    """The method with noise on all that it trains, as if it had been trained, in eval mode."""
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn(parameter.shape, generator=source)
    return method.eval()


@torch.no_grad()
def features(method: Method) -> Tensor:
    """What a method makes of the images and texts of `tiny_batch`: `(2, B, D)`."""
    batch = tiny_batch()
    return torch.stack([method.encode_image(batch.images), method.encode_text(batch.texts)])


def with_timm(trunk: nn.Module, width: int = 32, text: dict[str, Any] | None = None) -> nn.Module:
    """timm's image model in open_clip's adapter; `width`: of what it gives, projected if not 32."""
    model: Any = CustomTextCLIP(embed_dim=32, vision_cfg=VISION, text_cfg=TEXT | (text or {}))
    model.visual = TimmModel("test_vit", embed_dim=32, image_size=32, pool="", proj="none")
    model.visual.trunk = trunk
    if width != 32:
        model.visual.head = nn.Sequential(nn.Dropout(0.0), nn.Linear(width, 32, bias=False))
    assert isinstance(model, nn.Module)
    return model


def convnext() -> nn.Module:
    """convnext_base_w and its kin."""
    trunk = ConvNeXt(depths=(1, 1, 2, 1), dims=(16, 16, 32, 48), num_classes=0)
    return with_timm(trunk, width=48)


def swin() -> nn.Module:
    """swin_base_patch4_window7_224."""
    sizes: dict[str, Any] = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2)}
    return with_timm(
        SwinTransformer(img_size=32, patch_size=4, window_size=4, num_classes=32, **sizes)
    )


def eva(**settings: Any) -> nn.Module:
    """timm's EVA transformer, of which EVA01, EVA02 and the Perception Encoder are variants."""
    sizes: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
    return with_timm(Eva(img_size=32, patch_size=8, num_classes=32, **sizes, **settings))


EVA02: dict[str, Any] = {
    "global_pool": "token",
    "qkv_fused": False,
    "swiglu_mlp": True,
    "scale_mlp": True,
    "scale_attn_inner": True,
    "use_rot_pos_emb": True,
    "ref_feat_shape": (4, 4),
}
PERCEPTION: dict[str, Any] = {
    "global_pool": "map",
    "attn_type": "rope",
    "use_pre_transformer_norm": True,
    "use_rot_pos_emb": True,
    "ref_feat_shape": (4, 4),
    "rope_grid_offset": 1.0,
    "rope_grid_indexing": "xy",
    "attn_pool_num_heads": 2,
    "attn_pool_mlp_ratio": 2.0,
}


def mobileclip() -> nn.Module:
    """MobileCLIP-S1: FastViT, and a text tower that looks both ways."""
    trunk = FastVit(
        layers=(1, 1, 1, 1),
        embed_dims=(8, 16, 16, 32),
        mlp_ratios=(2, 2, 2, 2),
        token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
        pos_embs=(None, None, None, None),
        num_classes=32,
    )
    return with_timm(trunk, text={"no_causal_mask": True})


def coca() -> nn.Module:
    """coca_ViT-B-32: attentional pooling, a class token after the text, a text decoder."""
    decoder = {"context_length": 48, "vocab_size": 100, "width": 48, "heads": 2, "layers": 1}
    pooling = {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 8}
    model = CoCa(
        embed_dim=32,
        multimodal_cfg=decoder,
        text_cfg={**TEXT, "embed_cls": True, "output_tokens": True},
        vision_cfg={**VISION, **pooling, "output_tokens": True},
    )
    assert isinstance(model, nn.Module)
    return model


def hugging_face(config: str, pooler: str, **settings: Any) -> nn.Module:
    """A text tower of Hugging Face's other than BERT, as in nllb-clip and mt5-base-ViT-B-32."""
    import transformers

    model: Any = CustomTextCLIP(embed_dim=32, vision_cfg=VISION, text_cfg=TEXT)
    made = getattr(transformers, config)(vocab_size=100, d_model=48, pad_token_id=0, **settings)
    model.text = HFTextEncoder(
        "", output_dim=32, config=made, pooler_type=pooler, proj_type="linear"
    )
    model.text.transformer = model.text.transformer.encoder
    assert isinstance(model, nn.Module)
    return model


MT5 = {"d_kv": 24, "d_ff": 96, "num_layers": 2, "num_heads": 2}
M2M: dict[str, int] = {
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 64,
}
CLOSED: dict[str, Callable[[], nn.Module]] = {
    "resnet": partial(tiny_model, "resnet"),
    "convnext": convnext,
    "swin": swin,
    "eva01": partial(eva, global_pool="token"),
    "eva02": partial(eva, **EVA02),
    "perception encoder": partial(eva, **PERCEPTION),
    "mobileclip": mobileclip,
    "coca": coca,
    "mt5": partial(hugging_face, "MT5Config", "mean_pooler", **MT5),
    "nllb": partial(hugging_face, "M2M100Config", "cls_pooler", **M2M),
}
"""Makes of which a tower is closed: methods see its features, and not its blocks."""


def mobileclip_b() -> nn.Module:
    """MobileCLIP-B: timm's plain vision transformer after a convolutional stem."""
    strides: dict[str, Any] = {"stride": (4, 2, 2), "kernel_size": (4, 2, 2), "padding": 0}
    stem = ConvStem(channels=(16, 16, 64), act_layer=nn.GELU, **strides)
    sizes: dict[str, Any] = {"embed_dim": 64, "depth": 2, "num_heads": 2}
    trunk = VisionTransformer(
        img_size=32,
        patch_size=1,
        num_classes=32,
        no_embed_class=True,
        embed_layer=partial(HybridEmbed, backbone=stem, proj=False),
        **sizes,
    )
    return with_timm(trunk)


def vitamin() -> nn.Module:
    """ViTamin-S: timm's plain vision transformer after convolutional stages, with a gated MLP."""
    from timm.models import vitamin

    norm = vitamin.VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6)
    stages = vitamin.VitCfg((16, 32, 64), (1, 1, 1), stem_width=16, conv_cfg=norm, head_type="1d")
    sizes: dict[str, Any] = {"embed_dim": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
    trunk = VisionTransformer(
        img_size=32,
        patch_size=1,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        mlp_layer=vitamin.GeGluMlp,
        embed_layer=partial(HybridEmbed, backbone=vitamin.MbConvStages(stages), proj=False),
        **sizes,
    )
    return with_timm(trunk, width=64)


EVERY = {**CLOSED, "mobileclip-b": mobileclip_b, "vitamin": vitamin}
"""Those, and makes that are timm's plain vision transformer behind other embeddings."""


@functools.cache
def original(make: str) -> nn.Module:
    """A model of that make, the same at each call: copy it before you change it."""
    if make in ("mt5", "nllb"):
        pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EVERY[make]().eval()
