"""A trial's time: how long it has run, over all its parts, and what ends one that runs too long."""

import signal
import time

from bench.units import format_seconds


class TimeLimit(Exception):
    """A trial is over its time limit."""


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
                f"it ran longer than its limit of {format_seconds(self.limit)}; a longer "
                "--time-limit with --retry-failed goes on where it stopped"
            )

    def stop(self, *_: object) -> None:
        """The handler of the signal: at once, or, while training, after a checkpoint."""
        self.stopped = True
        if not self.saves:
            self.check()
