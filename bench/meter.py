"""Stopwatch, peak memory, bytes kept for backward and FLOPs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Images per second in windows of steps, without synchronising in the step.

    On CUDA a window's ends are events, read when the next one has passed; elsewhere wall clock.
    """

    def __init__(self, device: torch.device, window: int = 10, warmup: int = 10) -> None:
        self.device, self.window, self.warmup = device, window, warmup
        self.rates: list[float] = []
        self._steps = self._images = 0
        self._start: float | None = None

    def step(self, images: int) -> None:
        """Count one step of so many images."""
        self._steps += 1
        if self._start is None:
            self._start = time.perf_counter()
            self._images = 0
            return
        self._images += images
        if self._steps % self.window == 0:
            self.stop()
            self._start = time.perf_counter()

    def stop(self) -> None:
        """Close the window under way."""
        if self._start is not None and self._images:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.rates.append(self._images / (time.perf_counter() - self._start))
        self._images, self._start = 0, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside (validation)."""
        self.stop()
        yield
        self._start = time.perf_counter()

    def latest(self) -> float | None:
        """The last window's images per second."""
        return self.rates[-1] if self.rates else None
