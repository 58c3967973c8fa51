"""The towers' view must be exactly the model's own computation, for every make."""

from typing import Any

import pytest
import torch
from open_clip import CustomTextCLIP
from open_clip.hf_model import HFTextEncoder
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bench.contract import TEXT, VISION, tiny_batch, tiny_model
from methods.known_towers import image_tower, text_tower
from tests.helpers.close import close
from tests.helpers.makes import WITH_BLOCKS


def hugging_face(kind: str, pooler: str) -> nn.Module:
    """An open_clip model with a small text tower of that kind; token 0 pads."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "vocab_size": 100, "max_position_embeddings": 50}
    config = getattr(transformers, kind)(**sizes, pad_token_id=0)
    torch.manual_seed(0)
    model: Any = CustomTextCLIP(embed_dim=32, vision_cfg=VISION, text_cfg=TEXT)
    model.text = HFTextEncoder(
        "", output_dim=32, config=config, pooler_type=pooler, proj_type="linear"
    )
    assert isinstance(model, nn.Module)
    return model.eval()


def open_clip_variant(text: dict[str, Any] | None = None, **vision: Any) -> nn.Module:
    """open_clip's own towers with other choices."""
    torch.manual_seed(0)
    model = CustomTextCLIP(
        embed_dim=32, vision_cfg={**VISION, **vision}, text_cfg={**TEXT, **(text or {})}
    )
    assert isinstance(model, nn.Module)
    return model.eval()


def timm_variant(**settings: Any) -> nn.Module:
    """A timm vision transformer with other choices."""
    model: Any = tiny_model("timm")
    torch.manual_seed(0)
    base = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}
    model.visual.trunk = VisionTransformer(**base, num_classes=0, **settings)
    assert isinstance(model, nn.Module)
    return model.eval()


MODELS = {
    **{kind: lambda kind=kind: tiny_model(kind) for kind in WITH_BLOCKS},
    "bert, mean": lambda: hugging_face("BertConfig", "mean_pooler"),
    "bert, class token through its pooler": lambda: hugging_face("BertConfig", "cls_pooler"),
    "roberta, mean": lambda: hugging_face("RobertaConfig", "mean_pooler"),
    "xlm-roberta, class token": lambda: hugging_face(
        "XLMRobertaConfig", "cls_last_hidden_state_pooler"
    ),
    "average pooling": lambda: open_clip_variant(pool_type="avg"),
    "average pooling before the norm": lambda: open_clip_variant(
        pool_type="avg", final_ln_after_pool=True
    ),
    "end token by id": lambda: open_clip_variant({"pool_type": "eos", "eos_id": 99}),
    "timm, class and register tokens": lambda: timm_variant(reg_tokens=2, global_pool="token"),
    "timm, average": lambda: timm_variant(global_pool="avg"),
}


def own(model: Any, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """The model's own features."""
    return model.encode_image(images), model.encode_text(texts)


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest) -> nn.Module:
    """One model of each make."""
    found = MODELS[request.param]()
    assert isinstance(found, nn.Module)
    return found


def test_features_and_gradients_are_the_models_own(model: nn.Module) -> None:
    batch = tiny_batch()
    image, text = own(model, batch.images, batch.texts)
    seen, read = image_tower(model)(batch.images), text_tower(model)(batch.texts)
    assert seen.shape[1] == image_tower(model).output_dim
    assert read.shape[1] == text_tower(model).output_dim
    close(seen, image)
    close(read, text)
    parameters = [p for p in model.parameters() if p.ndim]
    expected = torch.autograd.grad(image.sum() + text.sum(), parameters, allow_unused=True)
    found = torch.autograd.grad(seen.sum() + read.sum(), parameters, allow_unused=True)
    for a, b in zip(expected, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            close(b, a, scale=10)  # sums over the batch and all patches


def test_trimming_the_text_changes_nothing_where_it_is_said_so(model: nn.Module) -> None:
    tower, texts = text_tower(model), tiny_batch().texts
    if not getattr(tower, "trimmable", False):
        pytest.skip("not trimmable")
    longest = int((texts != 0).sum(dim=1).max())
    assert longest < texts.shape[1]
    close(tower(texts[:, :longest]), tower(texts))


def test_bidirectional_text_towers_are_not_trimmable() -> None:
    assert not getattr(text_tower(tiny_model("timm")), "trimmable", True)


def test_checkpointing_gives_the_same_gradients(model: nn.Module) -> None:
    batch, gradients = tiny_batch(), []
    parameters = list(model.parameters())
    for checkpointing in (False, True):
        image, text = image_tower(model), text_tower(model)
        image.checkpointing = text.checkpointing = checkpointing
        loss = image(batch.images).sum() + text(batch.texts).sum()
        gradients.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            close(a, b, scale=10)


def test_image_prompts_are_inserted_replaced_and_left_out_of_the_patches(model: nn.Module) -> None:
    tower, images = image_tower(model), tiny_batch().images
    plain, first = tower.embed(images), torch.randn(4, tower.width)
    prompted = tower.embed(images, first)
    assert prompted.tokens.shape[1] == plain.tokens.shape[1] + 4
    assert torch.equal(tower.patches(prompted), tower.patches(plain))
    inserted = prompted.tokens[:, tower.prefix : tower.prefix + 4]
    assert torch.equal(inserted, first.expand(len(images), -1, -1))
    second = torch.randn(4, tower.width)
    replaced = tower.replace_prompts(prompted, second)
    assert torch.equal(replaced.tokens, tower.embed(images, second).tokens)
    assert tower.pool(tower.run_block(0, replaced)).shape == (len(images), tower.width)


def test_text_prompts_keep_the_words_and_the_pooled_token(model: nn.Module) -> None:
    tower, texts = text_tower(model), tiny_batch().texts[:, :20]
    plain, prompted = tower.embed(texts), tower.embed(texts, torch.randn(4, tower.width))
    assert prompted.tokens.shape[1] == plain.tokens.shape[1] + 4
    assert torch.equal(tower.real(prompted).sum(dim=1), tower.real(plain).sum(dim=1) + 4)
    if plain.pooled is not None and prompted.pooled is not None:
        assert torch.equal(prompted.pooled, plain.pooled + 4)
    replaced = tower.replace_prompts(prompted, torch.zeros(4, tower.width))
    assert replaced.tokens[:, 1:5].abs().sum() == 0
    assert torch.equal(replaced.tokens[:, 5:], prompted.tokens[:, 5:])
    assert torch.equal(replaced.tokens[:, :1], prompted.tokens[:, :1])


def test_a_text_that_no_longer_fits_keeps_its_end_token() -> None:
    tower, texts = text_tower(tiny_model("open_clip")), tiny_batch().texts
    texts = texts.clone()
    texts[0, :-1], texts[0, -1] = 5, 99  # as long as the positions
    hidden = tower.embed(texts, torch.randn(6, tower.width))
    assert hidden.tokens.shape[1] == TEXT["context_length"]
    assert hidden.pooled is not None
    assert hidden.pooled[0] == TEXT["context_length"] - 1
