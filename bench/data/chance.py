"""The recall of a random order, which is high on a test set of few images."""

import math
from collections.abc import Sequence

from methods.sample import Sample

KS = (1, 5, 10)
FEW = 100
"""With fewer test images, R@10 of a random order is above 10%."""


def recall(test: Sequence[Sample]) -> dict[str, float]:
    """Expected strict recall under a random order, percent: i2t_R@1 .. t2i_R@10 and mR."""
    images, captions = len(test), sum(len(s.captions) for s in test)
    if not images or not captions:
        return {}
    recalls = {}
    for k in KS:
        drawn = min(k, captions)
        misses = [
            math.comb(captions - len(s.captions), drawn) / math.comb(captions, drawn) for s in test
        ]
        recalls[f"i2t_R@{k}"] = 100 * (1 - math.fsum(misses) / images)
    recalls |= {f"t2i_R@{k}": 100 * min(k / images, 1) for k in KS}
    return {**recalls, "mR": math.fsum(recalls.values()) / len(recalls)}


def notes(test: Sequence[Sample]) -> tuple[str, ...]:
    """A warning for a test set so small that recall says little; else empty."""
    chance = recall(test)
    if not chance or len(test) >= FEW:
        return ()
    t2i = " / ".join(f"{chance[f't2i_R@{k}']:.0f}" for k in KS)
    return (
        f"the test set has {len(test)} images, so a random order already reaches text-to-image R@1 "
        f"/ R@5 / R@10 of {t2i} and mR {chance['mR']:.0f}; compare methods by R@1 or take more "
        "test images",
    )
