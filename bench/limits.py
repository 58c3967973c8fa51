"""A trial's time: how long it has run, over all its parts, and what ends one that runs too long."""

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench import UserError

if TYPE_CHECKING:
    from bench.sweeps.forkserver import TrialProcess

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
GRACE = 60.0
"""Seconds that a trial over its limit has to end by itself before its process is killed."""


class TimeLimit(Exception):
    """A trial is over its time limit."""


def seconds(text: str, option: str) -> float:
    """`2h`, `1h30m`, `45s` or `90` (minutes) as seconds; raises UserError."""
    words = re.findall(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)?", text.strip().lower())
    if not words or "".join(n + u for n, u in words) != re.sub(r"\s", "", text.lower()):
        raise UserError(f"{option} is a time such as 2h, 1h30m or 90 (minutes), not {text!r}")
    return sum(float(number) * UNITS[unit or "m"] for number, unit in words)


def spoken(seconds: float) -> str:
    """Seconds as people say them: `1h30m`, `45s`."""
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    return "".join(f"{n}{unit}" for n, unit in parts if n) or f"{seconds:.3g}s"


class Clock:
    """What ends a trial from within: its time limit, or a signal that asks it to stop.

    `before`: seconds that its earlier parts ran, before it was stopped and started again.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit, self.before, self.saves, self.stopped = limit, 0.0, False, False
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Since the trial began, without the time in which it did not run."""
        return self.before + time.perf_counter() - self._started

    def over(self) -> bool:
        """Whether the trial has to end."""
        return self.stopped or (self.limit is not None and self.seconds() > self.limit)

    def check(self) -> None:
        """Raise TimeLimit, or SystemExit after a signal, when the trial has to end."""
        if self.stopped:
            raise SystemExit(128 + signal.SIGTERM)
        if self.limit is not None and self.over():
            raise TimeLimit(
                f"it ran longer than its limit of {spoken(self.limit)}; a longer --time-limit "
                "with --retry-failed goes on where it stopped"
            )

    def stop(self, *_: object) -> None:
        """The handler of the signal: at once, or, while training, after a checkpoint."""
        self.stopped = True
        if not self.saves:
            self.check()


@contextmanager
def killed_after(process: "TrialProcess", limit: float | None) -> Iterator[list[float]]:
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
