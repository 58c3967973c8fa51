"""Speed and memory of a training while it runs: images per second and peak memory."""

import gc
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from bench.measure.count import parts
from bench.measure.machine import foreign_cpu_seconds, process_bytes
from bench.messages import Event, Step
from bench.schema import Efficiency
from methods.base import Batch, Method

if TYPE_CHECKING:
    from bench.training.trainer import Trainer

Span = tuple[float, float]
BUSY = 0.05
"""A window in which others took more than this share of the CPUs is a busy one."""
QUIET_WINDOWS = 3
"""So many quiet windows are enough to leave the busy ones out."""


@dataclass
class _Window:
    """Some steps, and pairs of marks: when they began and ended; several pairs if it was paused."""

    images: int = 0
    steps: int = 0
    busy: bool = False
    marks: list[tuple[Any, Any]] = field(default_factory=list)


class Stopwatch:
    """Measures images per second over windows of steps, without waiting for the device.

    The ends of a window are CUDA events, which are read once the device has passed them. On a CPU,
    or with a `clock` (a function that returns seconds), they are times. The first `warmup` steps do
    not count. A run that is too short for a window gives one figure over all steps but the first. A
    pause (validation) is cut out of its window. `spans`: the windows, in `time.perf_counter`.
    On a CPU, windows in which other processes took CPU time are counted. They are left out if
    enough quiet ones remain.
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
        self.quiet: list[float] = []
        self.spans: list[Span] = []
        self._clock = clock or time.perf_counter
        self._events = device.type == "cuda" and clock is None
        self._closed: deque[_Window] = deque()
        self._warming: _Window | None = None
        self._open = _Window()
        self._start: Any = None
        self._opened = 0.0
        self._others = foreign_cpu_seconds if device.type == "cpu" and clock is None else None
        self._taken: float | None = None

    def step(self, images: int) -> None:
        """Count a step of so many images, which was just issued to the device."""
        if self._start is None:  # the first step, or the first after `stop`, has no mark before it
            self._start, self._opened = self._mark(), time.perf_counter()
            self._disturbed()
            return
        self._open.images += images
        self._open.steps += 1
        # The first window holds the warm-up, without the first step, which no mark precedes.
        cold = self._warming is None and self.warmup > 1
        if self._open.steps < (self.warmup - 1 if cold else self.window):
            return
        end = self._mark()
        self._open.marks.append((self._start, end))
        self._open.busy = self._disturbed()
        if cold:
            self._warming = self._open
        else:
            self._closed.append(self._open)
            self.spans.append((self._opened, time.perf_counter()))
        self._open, self._start, self._opened = _Window(), end, time.perf_counter()

    def stop(self) -> None:
        """Stop measuring and wait for the device; a window that is not full does not count."""
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

    def summary(self) -> Efficiency:
        """Median and interquartile range of the windows' images per second; stops the watch.

        The rate is None after a single step, the range is None with a single window.
        """
        self.stop()
        rates, left_out = self.rates, self.warmup
        busy = len(self.rates) - len(self.quiet)
        if busy and len(self.quiet) >= QUIET_WINDOWS:
            rates = self.quiet
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
            "busy_windows": busy,
            "disturbed": bool(busy) and rates is not self.quiet,
            "warmup_steps": left_out,
        }

    def _mark(self) -> Any:
        if not self._events:
            return self._clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _disturbed(self) -> bool:
        """Whether other processes took CPU time since the last call."""
        before, self._taken = self._taken, self._others() if self._others else None
        if before is None or self._taken is None:
            return False
        share = len(os.sched_getaffinity(0)) * (time.perf_counter() - self._opened)
        return self._taken - before > BUSY * share

    def _collect(self, wait: bool) -> None:
        if wait and self._events:
            torch.cuda.synchronize(self.device)
        while self._closed:
            last = self._closed[0].marks[-1][1]
            if self._events and not wait and not last.query():
                return  # the device is not there yet
            window = self._closed.popleft()
            self.rates.append(window.images / _seconds(window.marks))
            if not window.busy:
                self.quiet.append(self.rates[-1])


def _seconds(marks: list[tuple[Any, Any]]) -> float:
    """Time between pairs of marks, at least a nanosecond: a coarse clock may not have moved."""
    spans = (b - a if isinstance(a, float | int) else a.elapsed_time(b) / 1000 for a, b in marks)
    return max(float(sum(spans)), 1e-9)


def step_rate(trainer: "Trainer", batches: list[Batch], seconds: float) -> float | None:
    """Images per second of the real training step alone, on batches that are on the device already.

    On CUDA: ten steps of warm-up, then five windows of ten. On a CPU: at least two steps and about
    `seconds`, or up to four times as long if other processes take CPU time. It changes the weights,
    so call it when they are no longer needed.
    """
    cuda = trainer.device.type == "cuda"
    watch = Stopwatch(trainer.device, *((10, 10) if cuda else (1, 1)))
    images, began, steps = sum(len(batch.image_ids) for batch in batches), time.perf_counter(), 0
    trainer.method.train()

    def enough() -> bool:
        spent = time.perf_counter() - began
        if cuda or steps < 2:
            return steps >= 60
        return spent >= seconds and (len(watch.quiet) >= QUIET_WINDOWS or spent >= 4 * seconds)

    while not enough():
        trainer.step(batches)
        watch.step(images)
        watch.latest()
        steps += 1
    return watch.summary()["train_images_per_second"]


def crowded(efficiency: Efficiency) -> str | None:
    """A warning if other processes disturbed the measuring (from `Stopwatch.summary`)."""
    if not efficiency.get("disturbed"):
        return None
    return "other processes took CPU time while images/s were measured; run it again on an idle CPU"


class Memory:
    """Peak memory on a CUDA device; on a CPU every peak is None.

    Allocated bytes are those of tensors, without the CUDA context and libraries. `apart`: bytes on
    the device that are not part of what is measured (`bench.training.resident`); they are
    subtracted from peaks, but not from the driver's figure. `before`: the peaks until the last
    pause, or until the checkpoint of a training that was resumed.
    """

    def __init__(self, device: torch.device, apart: int = 0) -> None:
        self.device, self.cuda, self.apart = device, device.type == "cuda", apart
        self.before: dict[str, int] = {}

    def start(self) -> None:
        """Begin measuring on a clean slate. It waits for the device: never call it in the loop."""
        self.before = {}
        if self.cuda:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            torch.cuda.reset_accumulated_memory_stats(self.device)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside (validation); memory that it left cached stays reserved."""
        peaks = ("allocated_bytes.all.peak", "reserved_bytes.all.peak", "num_alloc_retries")
        self.before = {name: self._stat(name) or 0 for name in peaks}
        yield
        if self.cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    def read(self, method: Method, optimizer: torch.optim.Optimizer | None) -> Efficiency:
        """The peak of training and its parts; call it before anything is evaluated.

        activation_bytes is the rest of the peak. If the allocator had to retry, the peak was cut
        off by the size of the GPU.
        """
        known, peak = parts(method, optimizer), self.peak()
        return {
            "peak_memory_train_bytes": peak,
            "peak_memory_reserved_bytes": self._peak("reserved_bytes.all.peak"),
            "resident_bytes": self.apart,
            "driver_process_bytes": process_bytes(self.device),
            "allocator_retries": self._stat("num_alloc_retries"),
            "parameter_bytes": known.parameters,
            "gradient_bytes": known.gradients,
            "optimizer_bytes": known.optimizer,
            "activation_bytes": None if peak is None else max(0, peak - sum(known)),
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
        return max(now, self.before.get(name, 0))


class LiveMemory:
    """Memory so far, for the live progress: read once a second, without waiting for the device.

    On CUDA it is what the tables show, the most bytes allocated. On a CPU it is the memory of the
    whole process, most of which is Python and torch, while tables show what one step keeps for its
    backward pass.
    """

    def __init__(self) -> None:
        self._at = 0.0

    def added_to(self, event: Event) -> Event:
        """The event; if it is a step and a second has passed, with the memory used so far."""
        if not isinstance(event, Step) or time.monotonic() - self._at < 1:
            return event
        self._at = time.monotonic()
        if torch.cuda.is_available():
            return replace(event, peak_memory_bytes=torch.cuda.max_memory_allocated())
        if sys.platform == "win32":
            return event
        import resource  # not on Windows

        unit = 1 if sys.platform == "darwin" else 1024
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return replace(event, process_memory_bytes=most)


def shared(jobs: int, efficiency: Efficiency) -> Efficiency:
    """What a record says if `jobs` trials shared the device; empty for a single trial."""
    if jobs == 1:
        return {}
    note = f"{jobs} trials at once on one device: time and memory of this trial are not comparable"
    old = efficiency.get("warning")
    return {"jobs_per_device": jobs, "warning": f"{old}; {note}" if old else note}
