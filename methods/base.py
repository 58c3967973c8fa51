"""What a method is: an `nn.Module` around a frozen backbone, and the parts every method shares.

Legend: B batch, L text length, D embedding width, C captions per image, Q queue length.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.known_towers import image_tower, text_tower
from methods.sample import Sample as Sample  # part of this interface, as NotApplicable is
from methods.settings import Setting
from methods.towers import NotApplicable as NotApplicable


class Paper(NamedTuple):
    """Where a method comes from: `title`, `year`, `link`."""

    title: str
    year: int
    link: str


@dataclass
class Batch:
    """One training batch, on the device.

    images `(B, 3, H, W)` normalised; texts `(B, L)` token ids; image_ids `(B,)` row of the image in
    the training split; caption_ids `(B,)` id of the sentence; caption_sets `(B, C)` ids of *all*
    captions of each image, padded with -1 (two equal sentences have one id); scenes `(B,)` scene
    id, -1 where unknown. With cached features images and texts are what `frozen_image` and
    `frozen_text` gave.
    """

    images: Tensor
    texts: Tensor
    image_ids: Tensor
    caption_ids: Tensor
    caption_sets: Tensor
    scenes: Tensor


def share_caption(a: Tensor, b: Tensor) -> Tensor:
    """Which images share a sentence: caption sets `(A, C)`, `(B, C)` -> bool `(A, B)`."""
    # One caption of `a` at a time: all at once would take C times the memory, (A, C, B, C).
    same = torch.zeros(len(a), *b.shape, dtype=torch.bool, device=a.device)
    for ids in a.where(a >= 0, -2).unbind(dim=1):  # padding is -1 in b and -2 here: never equal
        same |= ids[:, None, None] == b
    return same.any(dim=2)


def unit(feature: Tensor) -> Tensor:
    """Scale features `(..., D)` to unit length, in float32.

    Under bf16 autocast a tower gives bfloat16, in which lengths would be off by up to 0.4%.
    """
    return F.normalize(feature.float(), dim=-1)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Products of unit vectors `(A, D)` and `(B, D)`, in float32 also under autocast: `(A, B)`.

    A bfloat16 has two to three digits. A cosine rounded to them and multiplied by a temperature of
    100 is off by up to 0.2, which changes the gradient of the loss by percents.
    """
    with torch.autocast(a.device.type, enabled=False):
        return a.float() @ b.float().t()


def info_nce(logits: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of `(B, B)` logits whose diagonal is right; `ignore` entries do not count.

    `ignore` is bool `(B, B)`; its diagonal is never ignored.
    """
    logits = logits.float()
    if ignore is not None:
        ignore = ignore & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(ignore, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


class Method(nn.Module):
    """A way of fitting the backbone. Keyword-only constructor arguments are its settings.

    The constructor inserts, wraps or thaws; every weight of `model` arrives here and is frozen.
    Trainable means saved means counted: one set, by `requires_grad`.
    """

    family: ClassVar[str] = "Methods of your own"
    """Heading under which `bench methods` lists it."""
    paper: ClassVar[Paper | None] = None
    lr: ClassVar[float | None] = 1e-3
    """Learning rate, the one recipe value a method may state; None: nothing is trained. A paper's
    rate belongs to its batch and optimiser: unless a method's file says so, the rate is ours."""
    scene_at_test: str = "none"
    """`none`, `oracle` or `predicted`; anything but none is tabled apart."""
    frozen_features: ClassVar[bool] = False
    """Whether `frozen_image`/`frozen_text` give all that is needed from the frozen towers: nested
    tensors whose first dimension is B (or None), which the encode functions take in the place of
    images and texts, so that they can be cached."""
    decides: ClassVar[str | None] = None
    """The setting that decides which `further_settings` there are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.model.eval()  # no dropout in the backbone, also while the method trains
        self.image_tower = image_tower(model)
        self.text_tower = text_tower(model)
        if self.lr is not None:
            self.logit_scale.requires_grad_(True)

    # Settings are checked before anything is built.

    @classmethod
    def further_settings(cls, given: Mapping[str, Any]) -> dict[str, Setting]:
        """Settings beyond the constructor's named ones, by name, for a call with those given.

        The constructor takes them as keyword arguments of any name. One that has its default is
        left out of the record. May raise `Refused`.
        """
        return {}

    @classmethod
    def alternatives(cls) -> dict[str, str | None]:
        """Each value of the setting `decides`: why it cannot be used, or None."""
        return {}

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise `Refused` where settings, each right by itself, do not go together."""

    @property
    def logit_scale(self) -> nn.Parameter:
        """Logarithm of the inverse temperature, the backbone's own parameter."""
        scale = self.model.logit_scale
        assert isinstance(scale, nn.Parameter)
        return scale

    def temperature(self) -> Tensor:
        """Factor on the cosine similarity, at most 100 (CLIP).

        The parameter itself is bounded, as in CLIP's training: released weights stand at the bound,
        where a clamp of the factor would let no gradient through and the factor stay for ever.
        """
        with torch.no_grad():
            self.logit_scale.clamp_(max=math.log(100.0))
        return self.logit_scale.exp()

    def train(self, mode: bool = True) -> "Method":
        """As `nn.Module.train`, but the backbone's own dropout stays off."""
        super().train(mode)
        self.model.eval()
        return self

    # What the method is about.

    def encode_image(self, images: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, D)`, unit length."""
        return unit(self.image_tower(images))

    def encode_text(self, texts: Tensor) -> Tensor:
        """`(B, L)` token ids -> `(B, D)`, unit length."""
        return unit(self.text_tower(texts))

    def loss(self, batch: Batch) -> Tensor:
        """Scalar loss of one batch: symmetric InfoNCE with the backbone's temperature."""
        image, text = self.encode_image(batch.images), self.encode_text(batch.texts)
        return info_nce(self.temperature() * cosines(image, text))

    # What the shared loop asks for.

    def param_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups over the trainable parameters; vectors and scalars are not decayed."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        matrices = [p for p in trainable if p.ndim >= 2]
        vectors = [p for p in trainable if p.ndim < 2]  # biases, norms, gates, the temperature
        groups: list[dict[str, Any]] = [
            {"params": matrices},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def train_caption(self, caption: str, sample: Sample, rng: random.Random) -> str:
        """The caption as this method wants to train on it; default: unchanged."""
        return caption

    def test_caption(self, caption: str, sample: Sample) -> str:
        """The caption as this method wants to be asked; default: unchanged.

        `sample.scene` is None unless `scene_at_test` asks for it.
        """
        return caption

    # A killed training goes on from a checkpoint, which holds parameters and buffers. Attributes of
    # another kind that change while it trains must be set here: these are then called again.

    def on_fit(self, images: int) -> None:
        """Called once before training, with the number of training images."""

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Called before each epoch, and when a killed training resumes in one; for schedules."""

    def on_step(self, step: int, steps: int) -> None:
        """Called before each step; for schedules."""

    # What is saved.

    def own_state(self) -> dict[str, Tensor]:
        """Exactly the trainable parameters and the method's own buffers, by name, detached."""
        own: dict[str, Tensor] = {n: p for n, p in self.named_parameters() if p.requires_grad}
        # The backbone's buffers (position numbers, masks) come with the backbone.
        own |= {n: b for n, b in self.named_buffers() if not n.startswith("model.")}
        return {name: tensor.detach() for name, tensor in own.items()}

    @torch.no_grad()
    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `own_state` gave; raises ValueError when names or shapes differ."""
        own = self.own_state()
        shapes = {name: tensor.shape for name, tensor in own.items()}
        saved = {name: tensor.shape for name, tensor in state.items()}
        if shapes != saved:
            odd = sorted(n for n in shapes | saved if shapes.get(n) != saved.get(n))
            raise ValueError(
                f"the saved state is of another method or setting; it differs in {odd}"
            )
        for name, tensor in state.items():
            own[name].copy_(tensor)

    def merged_state(self) -> dict[str, Tensor]:
        """The weights of a plain backbone that gives this method's very features, by their names.

        Call it on a method that is not needed any more: its weights may be changed. Raises
        NotApplicable where no weights of the backbone can do that; by default that is so.
        """
        raise NotApplicable("it computes something that no weights of the plain backbone stand for")
