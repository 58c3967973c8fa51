"""How many seconds have gone into training itself, without evaluation and checkpoints.

This is the time that learning curves are drawn over and that a recipe's `time` limits. It counts
training steps, including waiting for their data, and building cached features.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager


def now() -> float:
    """Seconds on a clock that never goes back; tests replace it by one that they move."""
    return time.perf_counter()


class TrainingClock:
    """Counts seconds from `start` on, except inside `paused`.

    It never waits for the device. So on CUDA, read or pause it only where the device has been
    waited for anyway (an evaluation, a checkpoint). `seconds`: where to begin; with cached features
    that is the time that building them took.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def start(self) -> None:
        """Count from now on."""
        self._since = now()

    def stop(self) -> None:
        """Stop counting."""
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        running = 0.0 if self._since is None else now() - self._since
        return self._seconds + running

    def set(self, seconds: float) -> None:
        """Start with the seconds that a training had used when its checkpoint was written."""
        self._seconds = seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside."""
        running = self._since is not None
        self.stop()
        yield
        if running:
            self.start()
