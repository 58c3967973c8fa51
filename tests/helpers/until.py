"""Waiting in tests: for something to be so, however slow or busy the machine is."""

import time
from collections.abc import Callable

PATIENCE = 600
"""Seconds after which something counts as hung. No test may fail because a machine is slow."""


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, f"still not so after {PATIENCE} s"
        time.sleep(0.01)
