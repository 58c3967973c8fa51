"""The contract finds what is wrong with a method, and says it."""

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import CHECKS, KINDS, Result, check_method, tiny_batch
from methods.base import Batch, Method, NotApplicable


class Good(Method):
    """A vector added to each image feature; what the faulty ones below are variants of."""

    def __init__(self, model: nn.Module, *, start: float = 0.1) -> None:
        super().__init__(model)
        self.shift = nn.Parameter(torch.full((self.image_tower.output_dim,), start))

    def encode_image(self, images: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, D)`"""
        with torch.no_grad():
            feature = self.image_tower(images)
        return F.normalize(self.change(feature), dim=-1)

    def change(self, feature: Tensor) -> Tensor:
        """`(B, D)` -> `(B, D)`"""
        return feature + self.shift


class NotFinite(Good):
    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch) * float("nan")


class NotScalar(Good):
    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch)[None]


class Unused(Good):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.unused = nn.Parameter(torch.zeros(3))


class Groupless(Good):
    def param_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.logit_scale]}]


class MovesBackbone(Good):
    def loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            next(self.model.visual.parameters()).add_(1e-3)  # type: ignore[union-attr, operator]
        return super().loss(batch)


class Forgets(Good):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.seen = 0.0

    def change(self, feature: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return super().change(feature) + self.seen * torch.arange(feature.shape[1])


class Long(Good):
    def encode_image(self, images: Tensor) -> Tensor:
        return 2 * super().encode_image(images)


class Moody(Good):
    def change(self, feature: Tensor) -> Tensor:
        feature = super().change(feature)
        return feature * (1 + torch.arange(feature.shape[1])) if self.training else feature


class Gregarious(Good):
    def change(self, feature: Tensor) -> Tensor:
        return super().change(feature) - feature.mean(dim=0)


class Rounded(Good):
    def change(self, feature: Tensor) -> Tensor:
        return super().change(feature).to(feature.dtype)  # bfloat16 under autocast


class NoAutocast(Good):
    def change(self, feature: Tensor) -> Tensor:
        return super().change(feature.half().float() @ torch.eye(feature.shape[1]).double())


class Unseeded(Good):
    count: ClassVar[int] = 0

    def change(self, feature: Tensor) -> Tensor:
        type(self).count += 1
        return super().change(feature) + 1e-3 * self.count


class StaleCache(Good):
    frozen_features = True

    def frozen_image(self, images: Tensor) -> tuple[Tensor]:
        return (torch.zeros(len(images), self.image_tower.output_dim),)

    def frozen_text(self, texts: Tensor) -> tuple[Tensor]:
        return (self.text_tower(texts),)

    def encode_image(self, images: Tensor | tuple[Tensor]) -> Tensor:
        if isinstance(images, Tensor):
            return super().encode_image(images)
        return F.normalize(self.change(images[0]), dim=-1)

    def encode_text(self, texts: Tensor | tuple[Tensor]) -> Tensor:
        return F.normalize(
            self.text_tower(texts) if isinstance(texts, Tensor) else texts[0], dim=-1
        )


class Picky(Good):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if not hasattr(model, "text"):
            raise NotApplicable("picky needs a text tower of its own")


class Broken(Good):
    def __init__(self, model: nn.Module) -> None:
        raise ZeroDivisionError("oh")


def failures(cls: type[Method], settings: dict[str, Any] | None = None) -> dict[str, str]:
    """Names and reasons of the failed checks on open_clip's own towers."""
    results = check_method(cls, settings, kinds=("open_clip",))
    return {r.name: r.reason for r in results if r.passed is False}


def test_a_good_method_passes_everything() -> None:
    results = check_method(Good)
    assert not [r for r in results if r.passed is False]
    assert {r.kind for r in results} == set(KINDS)
    assert [r.name for r in results if r.kind == "hf"] == list(CHECKS)


def test_settings_reach_the_constructor() -> None:
    assert failures(Good, {"start": 0.5}) == {}
    (result,) = check_method(Good, {"begin": 0.5}, kinds=("open_clip",))
    assert result.passed is False
    assert "begin" in result.reason


@pytest.mark.parametrize(
    ("cls", "check", "words"),
    [
        (NotFinite, "finite loss", "nan"),
        (NotScalar, "finite loss", "must be a scalar"),
        (Unused, "gradient for each trainable parameter", "unused"),
        (Groupless, "optimiser groups", "each trainable parameter once"),
        (MovesBackbone, "frozen weights untouched", "model.visual"),
        (Forgets, "own state round trip", "keep all that is learned"),
        (Long, "unit length", "not 1"),
        (Moody, "same in training and evaluation", "differently"),
        (Gregarious, "independent of the batch", "depends on its batch"),
        (NoAutocast, "bf16 autocast", "dtype"),
        (Rounded, "bf16 autocast", "methods.base.unit"),
        (Unseeded, "deterministic by seed", "one seed differ"),
        (StaleCache, "cached features", "must equal"),
    ],
)
def test_a_fault_is_found_and_named(cls: type[Method], check: str, words: str) -> None:
    found = failures(cls)
    assert check in found
    assert words in found[check]


def test_where_a_method_does_not_apply_it_is_left_out() -> None:
    results = check_method(Picky, kinds=("open_clip", "hf"))
    assert results[0] == Result("open_clip", "applies", None, "picky needs a text tower of its own")
    assert {r.kind for r in results[1:]} == {"hf"}


def test_a_constructor_that_raises_is_a_failure() -> None:
    (result,) = check_method(Broken, kinds=("open_clip",))
    assert result.passed is False
    assert result.reason == "the constructor raises ZeroDivisionError: oh"


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_method(Good, kinds=("open_clip",))
    tiny_batch()
    assert torch.equal(torch.rand(3), expected)
