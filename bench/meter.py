"""What a training costs: images per second, peak memory; `count` and `machine` give the rest."""

import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from bench.count import flops, parts, saved_bytes
from bench.machine import GpuSampler, busy_warning, environment, process_bytes
from methods.base import Batch, Method

if TYPE_CHECKING:
    from bench.train import Trainer

__all__ = [
    "GpuSampler",
    "Memory",
    "Stopwatch",
    "busy_warning",
    "environment",
    "flops",
    "parts",
    "saved_bytes",
    "step_rate",
]

Span = tuple[float, float]


@dataclass
class _Window:
    """So many images in the time between pairs of marks (several pairs where it was paused)."""

    images: int = 0
    steps: int = 0
    marks: list[tuple[Any, Any]] = field(default_factory=list)


class Stopwatch:
    """Images per second in windows of steps, without synchronising in the step.

    On CUDA a window's ends are events, read when the device has passed them; elsewhere, and where a
    `clock` is given (a function to seconds), they are times. The first `warmup` steps are left out;
    a run too short for a window gives one figure over all steps but the first. A pause (validation)
    is cut out of the window under way. `spans` are the windows in `time.perf_counter` seconds.
    """

    def __init__(
        self,
        device: torch.device,
        window: int = 10,
        warmup: int = 10,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.device, self.window, self.warmup = device, window, max(1, warmup)
        self.rates: list[float] = []
        self.spans: list[Span] = []
        self._clock = clock or time.perf_counter
        self._events = device.type == "cuda" and clock is None
        self._closed: deque[_Window] = deque()
        self._warming: _Window | None = None
        self._open = _Window()
        self._start: Any = None
        self._opened = 0.0

    def step(self, images: int) -> None:
        """Count one step of so many images, just issued."""
        if self._start is None:  # the first step, or the first after `stop`: no mark before it
            self._start, self._opened = self._mark(), time.perf_counter()
            return
        self._open.images += images
        self._open.steps += 1
        cold = self._warming is None and self.warmup > 1
        if self._open.steps < (self.warmup - 1 if cold else self.window):
            return
        end = self._mark()
        self._open.marks.append((self._start, end))
        if cold:
            self._warming = self._open
        else:
            self._closed.append(self._open)
            self.spans.append((self._opened, time.perf_counter()))
        self._open, self._start, self._opened = _Window(), end, time.perf_counter()

    def stop(self) -> None:
        """End the measuring and wait for the device; a window not yet full does not count."""
        if self._start is not None:
            self._open.marks.append((self._start, self._mark()))
            self._start = None
        self._collect(wait=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside (validation)."""
        started = self._start is not None
        if started:
            self._open.marks.append((self._start, self._mark()))
        yield
        if started:
            self._start = self._mark()

    def latest(self) -> float | None:
        """The last window's images per second; None before there is one."""
        self._collect(wait=False)
        return self.rates[-1] if self.rates else None

    def summary(self) -> dict[str, Any]:
        """Median and interquartile range of the windows' images per second; stops the watch.

        None where nothing was measured: the rate after a single step, the range with one window.
        """
        self.stop()
        rates, left_out = self.rates, self.warmup
        if not rates:  # too short a run: everything after the first step is the one window
            warming = self._warming or _Window()
            images = warming.images + self._open.images
            marks = warming.marks + self._open.marks
            rates, left_out = [images / _seconds(marks)] if images else [], 1
        quarters = statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else None
        return {
            "train_images_per_second": statistics.median(rates) if rates else None,
            "train_images_per_second_iqr": quarters[2] - quarters[0] if quarters else None,
            "windows": len(rates),
            "warmup_steps": left_out,
        }

    def _mark(self) -> Any:
        if not self._events:
            return self._clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _collect(self, wait: bool) -> None:
        if wait and self._events:
            torch.cuda.synchronize(self.device)
        while self._closed:
            last = self._closed[0].marks[-1][1]
            if self._events and not wait and not last.query():
                return
            window = self._closed.popleft()
            self.rates.append(window.images / _seconds(window.marks))


def _seconds(marks: list[tuple[Any, Any]]) -> float:
    """Time between pairs of marks; a coarse clock that did not move counts as a nanosecond."""
    spans = (b - a if isinstance(a, float | int) else a.elapsed_time(b) / 1000 for a, b in marks)
    return max(float(sum(spans)), 1e-9)


def step_rate(trainer: "Trainer", batches: list[Batch], seconds: float = 3.0) -> float | None:
    """Images per second of the real step on batches resident on the device, without the loader.

    On CUDA ten steps of warm-up and five windows of ten, elsewhere steps for about `seconds` (at
    least two). Trains on: call it when the weights are no longer needed.
    """
    cuda = trainer.device.type == "cuda"
    watch = Stopwatch(trainer.device, *((10, 10) if cuda else (1, 2)))
    images, began, steps = sum(len(batch.images) for batch in batches), time.perf_counter(), 0
    trainer.method.train()
    while steps < (60 if cuda else 2) or (not cuda and time.perf_counter() - began < seconds):
        trainer.step(batches)
        watch.step(images)
        steps += 1
    rate: float | None = watch.summary()["train_images_per_second"]
    return rate


class Memory:
    """Peak memory of a CUDA device; every peak is None elsewhere.

    Allocated bytes are those of tensors: the CUDA context and library handles are outside. `apart`
    are bytes allocated before `start` and until after the reading that are no part of what is
    measured (`bench.resident`): peaks leave them out. Only what the driver says has them in it.
    """

    def __init__(self, device: torch.device, apart: int = 0) -> None:
        self.device, self.cuda, self.apart = device, device.type == "cuda", apart
        self._before: dict[str, int] = {}

    def start(self) -> None:
        """Begin a measurement, on a clean slate; never inside the loop."""
        gc.collect()
        self._before = {}
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            torch.cuda.reset_accumulated_memory_stats(self.device)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside (validation); what it leaves cached stays reserved."""
        peaks = ("allocated_bytes.all.peak", "reserved_bytes.all.peak")
        self._before = {name: self._stat(name) or 0 for name in peaks}
        yield
        if self.cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    def read(self, method: Method, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
        """Training's peak and its parts; read it before anything is evaluated.

        activation_bytes is the rest of the peak. A peak after retries of the allocator is no peak.
        """
        known = parts(method, optimizer)
        peak = self.peak()
        return {
            "peak_memory_train_bytes": peak,
            "peak_memory_reserved_bytes": self._peak("reserved_bytes.all.peak"),
            "resident_bytes": self.apart,
            "driver_process_bytes": process_bytes(self.device),
            "allocator_retries": self._stat("num_alloc_retries"),
            **known,
            "activation_bytes": None if peak is None else max(0, peak - sum(known.values())),
        }

    def peak(self) -> int | None:
        """Most bytes allocated since `start`, outside pauses."""
        return self._peak("allocated_bytes.all.peak")

    def _peak(self, name: str) -> int | None:
        stat = self._stat(name)
        return None if stat is None else max(0, stat - self.apart)

    def _stat(self, name: str) -> int | None:
        if not self.cuda:
            return None
        torch.cuda.synchronize(self.device)
        now = int(torch.cuda.memory_stats(self.device).get(name, 0))
        return max(now, self._before.get(name, 0))
