"""How many seconds a training has spent on training itself; evaluation and checkpoints are not.

This is the time that learning curves are drawn over and that a recipe's `time` limits. What counts
is the time in training steps, waiting for their data included, and the building of cached features.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TrainingClock:
    """Counts seconds from `start` on, except inside `paused`.

    It never waits for the device, so on CUDA read it and pause it only where the device has been
    waited for anyway (a look at the loss, a checkpoint). `seconds` may start above 0: with cached
    features it starts with what building them took. `now` gives the time, in seconds.
    """

    def __init__(self, seconds: float = 0.0, now: Callable[[], float] = time.perf_counter) -> None:
        self._seconds, self._now = seconds, now
        self._since: float | None = None

    def start(self) -> None:
        """Count from now on."""
        self._since = self._now()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        running = 0.0 if self._since is None else self._now() - self._since
        return self._seconds + running

    def set(self, seconds: float) -> None:
        """Go on from so many seconds, those of the training whose checkpoint was loaded."""
        self._seconds = seconds
        if self._since is not None:
            self._since = self._now()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside."""
        self._seconds, self._since = self.seconds, None
        yield
        self.start()
