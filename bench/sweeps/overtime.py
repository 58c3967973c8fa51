"""Kill the process of a trial that is over its time limit and does not end by itself."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.sweeps.forkserver import TrialProcess

GRACE = 60.0
"""Seconds that a trial over its limit has to end by itself before its process is killed."""


@contextmanager
def killed_after(process: TrialProcess, limit: float | None) -> Iterator[list[float]]:
    """Kill a trial's process, and what it started, when it is over its limit and does not end.

    Yields a list that then holds after how many seconds.
    """
    killed: list[float] = []

    def kill() -> None:
        assert limit is not None
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                killed.append(limit + GRACE)

    timer = threading.Timer((limit or 0) + GRACE, kill)
    timer.daemon = True
    if limit is not None:
        timer.start()
    try:
        yield killed
    finally:
        timer.cancel()
