"""The clock of a trial: counts its seconds, also across resumptions, and ends it at its limit."""

import signal
import time

from bench.units import format_seconds


class TimeLimit(Exception):
    """A trial has run longer than its time limit."""


class Clock:
    """Ends a trial from within: when its time limit is over, or after a signal to stop.

    `before`: seconds that the trial ran before it was stopped and resumed. `saves`: training is
    under way, so a stop waits for the next checkpoint.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit, self.before, self.saves, self.stopped = limit, 0.0, False, False
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Seconds that the trial has run."""
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
        """Handle the signal: stop at once, or, while training, after a checkpoint."""
        self.stopped = True
        if not self.saves:
            self.check()
