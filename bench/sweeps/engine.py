"""Where trials run: a queue over the visible GPUs (or the CPU), one process per trial."""

import contextlib
import os
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import lock
from bench.messages import End, Event, event_from_json
from bench.sweeps import forkserver, overtime
from bench.sweeps.forkserver import TrialProcess
from bench.sweeps.sweep import Plan
from bench.trial import Trial
from bench.trial_process import give_up


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: a status of its record, or `killed` or `user_error` without one."""

    trial: Trial
    status: str
    message: str | None = None
    record: Path | None = None
    test_mR: float | None = None  # noqa: N815 (the field's name)
    """Mean recall on the test set, percent."""
    seconds: float | None = None
    """How long the trial took."""

    @classmethod
    def of(cls, trial: Trial, end: End) -> "Outcome":
        """From the last message of a trial's process."""
        return cls(trial, **vars(end))

    @property
    def why(self) -> str:
        """The message in a line; the record has all of it."""
        first, more, _ = (self.message or "").strip().partition("\n")
        return f"{first} ..." if more else first


class Watcher(Protocol):
    """What is told while trials run."""

    def started(self, trial: Trial, device: str) -> None:
        """A trial's process has started on a device."""

    def moved(self, trial: Trial, event: Event) -> None:
        """A trial reports a stage, a step or a note."""

    def ended(self, outcome: Outcome) -> None:
        """A trial's process has ended."""

    def waits(self, trial: Trial) -> None:
        """Another sweep is running the trial, so it waits at the end of the queue."""


def run(plan: Plan, todo: list[Trial], devices: list[str], watcher: Watcher) -> list[Outcome]:
    """Run the trials, one at a time on each device; no devices: on the CPU.

    Ctrl-C ends the running trials and leaves the rest; KeyboardInterrupt goes on to the caller. So
    does what a watcher raises, when the trials that run have ended.
    """
    workers = _Workers(plan, todo, watcher)
    threads = [
        threading.Thread(target=workers.work, args=(device,), daemon=True)
        for device in devices or ["cpu"]
    ]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.1)
    except KeyboardInterrupt:
        workers.interrupt()
        raise
    finally:
        for thread in threads:
            thread.join(timeout=10)
    if workers.broken:
        raise workers.broken[0]
    return workers.outcomes


class _Workers:
    """What the threads of a sweep share: one thread for each device, all take from one queue."""

    def __init__(self, plan: Plan, todo: list[Trial], watcher: Watcher) -> None:
        self.plan, self.watcher = plan, watcher
        self.waiting: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        for trial in todo:
            self.waiting.put(trial)
        self.outcomes: list[Outcome] = []
        self.broken: list[BaseException] = []
        self._running: set[TrialProcess] = set()
        self._stop, self._interrupted = threading.Event(), threading.Event()
        self._put_back: set[str] = set()
        """Identities of the trials that another sweep was running when their turn came."""

    def work(self, device: str) -> None:
        """Run trials on a device until none is left; what is raised is kept in `broken`."""
        try:
            while not self._stop.is_set():
                try:
                    trial = self.waiting.get_nowait()
                except queue.Empty:
                    return
                if lock.busy(trial.path(self.plan.results)):
                    self._wait_for_another_sweep(trial)
                else:
                    self._run(trial, device)
        except BaseException as error:  # `run` raises it: an exception in a thread is lost
            self.broken.append(error)
            self._stop.set()

    def interrupt(self) -> None:
        """End the running trials and start no other."""
        self._stop.set()
        self._interrupted.set()
        for process in list(self._running):
            process.send_signal(signal.SIGTERM)

    def _wait_for_another_sweep(self, trial: Trial) -> None:
        self.waiting.put(trial)
        if trial.identity in self._put_back:  # everything else is under way or done
            self._stop.wait(1.0)
        else:
            self._put_back.add(trial.identity)
            self.watcher.waits(trial)

    def _run(self, trial: Trial, device: str) -> None:
        self.watcher.started(trial, device)
        try:
            outcome = _run_one(self.plan, trial, device, self._running, self.watcher.moved)
        except Exception as error:  # the other trials go on
            outcome = Outcome(trial, "killed", f"{type(error).__name__}: {error}")
        if self._interrupted.is_set() and outcome.status == "killed":
            return  # by us: it is among the trials that are left
        if outcome.status == "elsewhere":  # another sweep began it in this very moment
            self.waiting.put(trial)
        elif not self._interrupted.is_set():
            self.outcomes.append(outcome)
        self.watcher.ended(outcome)
        if outcome.status == "user_error":
            self._stop.set()


def _run_one(
    plan: Plan,
    trial: Trial,
    device: str,
    running: set[TrialProcess],
    moved: Callable[[Trial, Event], None],
) -> Outcome:
    visible = "" if device == "cpu" else device
    # A trial has its GPU alone and gives no thread of its own to what it only imports.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible, "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process, stdin, stdout = forkserver.start_trial(environment, errors)
        running.add(process)
        end: End | None = None
        over: list[float] = []
        try:
            stdin.write(plan.job(trial).to_json() + "\n")
            stdin.flush()  # left open: the trial ends when it closes
            with overtime.killed_after(process, plan.time_limit) as over:
                for line in stdout:
                    event = event_from_json(line)
                    if isinstance(event, End):
                        end = event
                    elif event is not None:
                        moved(trial, event)
                code = process.wait()
        except BrokenPipeError:  # it has ended
            code = process.wait()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        stdout.close()
        running.discard(process)
        if end is not None:
            return Outcome.of(trial, end)
        if over:
            return Outcome(trial, *give_up(trial, plan.results, over[0]))
        errors.seek(0)
        tail = errors.read().strip().splitlines()[-1:]
        _tidy(trial.path(plan.results))
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            how += " (a machine that runs out of memory does that)"
        return Outcome(trial, "killed", "; ".join([f"its process ended with {how}", *tail]))


def _tidy(path: Path) -> None:
    """Take away what a killed trial left: its lock, files that it had begun."""
    if path.parent.is_dir():
        with contextlib.suppress(OSError), lock.held(path):
            pass
