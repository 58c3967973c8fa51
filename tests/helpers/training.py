"""Methods on a small model, ready for a training step."""

import pytest
import torch

from bench import contract
from methods import registry
from methods.base import Method, NotApplicable

TRAINED = sorted(name for name, cls in registry().items() if cls.lr is not None)
"""The methods that train something."""


def built(name: str, device: str = "cpu") -> Method:
    """A method on open_clip's small model, in the last step of a training."""
    torch.manual_seed(1)
    try:
        method = registry()[name](contract.tiny_model("open_clip")).to(device)
    except NotApplicable as reason:
        pytest.skip(str(reason))
    method.train()
    method.on_fit(100)
    method.on_epoch(0, 1)
    method.on_step(99, 100)
    return method
