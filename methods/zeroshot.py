"""Zero-shot: the backbone as it is, no training."""

from typing import ClassVar

from methods import register
from methods.base import Paper
from methods.frozen_towers import OnFeatures


@register("zeroshot")
class ZeroShot(OnFeatures):
    """The pretrained backbone as it is; nothing is trained."""

    family: ClassVar[str] = "Whole model"
    paper: ClassVar[Paper | None] = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr: ClassVar[float | None] = None
