"""The state of all generators of random numbers: taken, and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of Python, numpy, torch and the device, as plain values and tensors.

    Plain, because checkpoints hold them and are loaded without running code.
    """
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [str(name), [int(key) for key in keys], *rest],
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go back to what `random_states` returned."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["device"], device)


@contextmanager
def same_random_states(device: torch.device) -> Iterator[None]:
    """Continue afterwards as if nothing had been drawn inside."""
    before = random_states(device)
    try:
        yield
    finally:
        set_random_states(before, device)
