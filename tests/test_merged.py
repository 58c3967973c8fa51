"""Methods merged into plain weights: the untouched architecture gives the very same features."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contract import tiny_batch, tiny_model
from methods import registry
from methods.base import Method, NotApplicable
from tests.helpers.close import close
from tests.helpers.makes import CLOSED, WITH_BLOCKS, features, original, stirred

MERGED: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("bitfit", {}),
    ("linear", {}),
    ("lora", {}),
    ("lora", {"dora": True}),
    ("lora", {"targets": "attn"}),
    ("lora", {"rslora": True, "targets": "mlp"}),
    ("ia3", {}),
    ("vera", {"rank": 16}),
    ("peft", {"kind": "oft"}),
    ("ssf", {}),
]
NAMES = {name for name, _ in MERGED} | {"zeroshot"}
ELSEWHERE = ("full", "bitfit", "linear")
"""Methods that can be merged into towers whose blocks are not known."""


def built(name: str, settings: dict[str, Any], model: Callable[[], nn.Module]) -> Method:
    torch.manual_seed(0)
    return stirred(registry()[name](model(), **settings), scale=0.05)


@torch.no_grad()
def own(model: Any) -> Tensor:
    """What the untouched architecture gives."""
    batch = tiny_batch()
    return torch.stack(
        [
            model.encode_image(batch.images, normalize=True),
            model.encode_text(batch.texts, normalize=True),
        ]
    )


def check(name: str, settings: dict[str, Any], model: Callable[[], nn.Module]) -> None:
    method, plain = built(name, settings, model), model()
    wanted, scale = features(method), float(method.temperature().detach())
    assert (wanted - own(plain)).abs().max() > 1e-3
    plain.load_state_dict(method.merged_state(), strict=True)
    close(own(plain), wanted)
    assert float(plain.logit_scale.detach().exp()) == pytest.approx(scale)  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("kind", WITH_BLOCKS)
@pytest.mark.parametrize(("name", "settings"), MERGED)
def test_merged_weights_give_the_same_features(
    name: str, settings: dict[str, Any], kind: str
) -> None:
    if (name, kind) == ("linear", "timm"):
        with pytest.raises(NotApplicable, match="image tower does not end with a linear map"):
            built(name, settings, lambda: tiny_model(kind)).merged_state()
        return
    check(name, settings, lambda: tiny_model(kind))


@pytest.mark.parametrize("make", CLOSED)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_merged_weights_of_other_makes_give_the_same_features(name: str, make: str) -> None:
    check(name, {}, lambda: copy.deepcopy(original(make)))


@pytest.mark.parametrize("name", sorted(set(registry()) - NAMES))
def test_what_no_weights_stand_for_says_so(name: str) -> None:
    with pytest.raises(NotApplicable, match="no weights of the plain backbone"):
        registry()[name](tiny_model()).merged_state()
