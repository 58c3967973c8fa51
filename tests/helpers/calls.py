"""A measure of work that is the same on every machine, however slow or busy: calls of functions."""

import cProfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def calls(function: Callable[..., Any], *given: Any) -> int:
    """How many functions written in Python are called while this one runs."""
    profile = cProfile.Profile(builtins=False)
    with suppress(SystemExit):  # how a command ends
        profile.runcall(function, *given)
    return sum(entry.callcount for entry in profile.getstats())
