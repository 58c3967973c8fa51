"""Zero-shot: the backbone as it is, no training."""

from methods import register
from methods.base import Paper
from methods.frozen_towers import OnFeatures


@register("zeroshot")
class ZeroShot(OnFeatures):
    """The pretrained backbone as it is; nothing is trained."""

    family = "Whole model"
    paper = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )
    lr = None
