"""Where trials run: a queue over the visible GPUs (or the CPU), one process per trial."""

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import lock
from bench.messages import End, Event, event_from_json
from bench.sweeps import forkserver
from bench.sweeps.forkserver import TrialProcess
from bench.sweeps.sweep import Plan
from bench.trial import Trial
from bench.trial_process import give_up

GRACE_SECONDS = 60.0
"""How long a trial over its time limit has to end by itself before its process is killed."""
LOOK_SECONDS = 1.0
"""How often to look whether another sweep has finished a trial that this one waits for."""


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
    val_mR: float | None = None  # noqa: N815 (the field's name)
    """Mean recall on the validation split, percent; a search chooses by it."""

    @property
    def why(self) -> str:
        """The message in a line; the record has all of it."""
        first, more, _ = (self.message or "").strip().partition("\n")
        return f"{first} ..." if more else first


class Watcher:
    """Follows a sweep: its methods are called while trials run. This base class does nothing."""

    def started(self, trial: Trial, device: str) -> None:
        """A trial has started on a device."""

    def reported(self, trial: Trial, event: Event) -> None:
        """A running trial has reported a stage, a step or a note."""

    def ended(self, outcome: Outcome) -> None:
        """A trial has ended."""

    def waits(self, trial: Trial) -> None:
        """Another sweep is running the trial, so it waits at the end of the queue."""


class TrialQueue:
    """The trials that have yet to start, and the outcomes of those that ended.

    Every engine takes its trials from here and reports back how they ended. A trial that another
    sweep is running stays in the queue until that sweep is done with it.
    """

    def __init__(self, plan: Plan, todo: list[Trial], watcher: Watcher) -> None:
        self.plan, self.watcher = plan, watcher
        self.trials = deque(todo)
        self.outcomes: list[Outcome] = []
        self._announced: set[str] = set()
        self._next_look = 0.0
        self._mutex = threading.Lock()  # the local engine has a thread for each device

    def take(self) -> Trial | None:
        """The next trial that can start; None if there is none at the moment."""
        with self._mutex:
            if time.monotonic() < self._next_look:
                return None
            for _ in range(len(self.trials)):  # once around the queue
                trial = self.trials.popleft()
                if lock.busy(trial.path(self.plan.results)):
                    self.trials.append(trial)
                    if trial.identity not in self._announced:
                        self._announced.add(trial.identity)
                        self.watcher.waits(trial)
                elif record := self.plan.overtaken(trial):  # another sweep has run it by now
                    self.watcher.started(trial, "another sweep")
                    self.ended(Outcome(trial, record["status"], record.get("message")))
                else:
                    return trial
            self._next_look = time.monotonic() + LOOK_SECONDS
        return None

    def ended(self, outcome: Outcome) -> None:
        """Note how a trial ended; one that another sweep has just begun goes back in the queue."""
        if outcome.status == "elsewhere":
            self.trials.append(outcome.trial)
        else:
            self.outcomes.append(outcome)
        self.watcher.ended(outcome)


def run(plan: Plan, todo: list[Trial], devices: list[str], watcher: Watcher) -> list[Outcome]:
    """Run the trials, one at a time on each device; no devices: on the CPU.

    Ctrl-C ends the running trials, leaves the rest and raises KeyboardInterrupt. An exception in a
    watcher is raised here too, once the running trials have ended.
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
    if workers.errors:
        raise workers.errors[0]
    return workers.queue.outcomes


class _Workers:
    """The threads of a sweep, one for each device, and what they share."""

    def __init__(self, plan: Plan, todo: list[Trial], watcher: Watcher) -> None:
        self.plan, self.watcher = plan, watcher
        self.queue = TrialQueue(plan, todo, watcher)
        self.errors: list[BaseException] = []
        self._running: set[TrialProcess] = set()
        self._stop, self._interrupted = threading.Event(), threading.Event()

    def work(self, device: str) -> None:
        """Run trials on a device until none is left."""
        try:
            while self.queue.trials and not self._stop.is_set():
                trial = self.queue.take()
                if trial is None:
                    self._stop.wait(0.1)
                else:
                    self._run(trial, device)
        except BaseException as error:  # `run` raises it: an exception in a thread is lost
            self.errors.append(error)
            self._stop.set()

    def interrupt(self) -> None:
        """End the running trials and start no other."""
        self._stop.set()
        self._interrupted.set()
        for process in list(self._running):
            process.send_signal(signal.SIGTERM)

    def _run(self, trial: Trial, device: str) -> None:
        self.watcher.started(trial, device)
        try:
            outcome = run_trial(self.plan, trial, device, self._running, self.watcher.reported)
        except Exception as error:  # the other trials go on
            outcome = Outcome(trial, "killed", f"{type(error).__name__}: {error}")
        if self._interrupted.is_set() and outcome.status == "killed":
            return  # `interrupt` killed it, so it still counts as left to run
        self.queue.ended(outcome)
        if outcome.status == "user_error":
            self._stop.set()


def run_trial(
    plan: Plan,
    trial: Trial,
    device: str,
    running: set[TrialProcess],
    reported: Callable[[Trial, Event], None],
) -> Outcome:
    """Run a trial in a process of its own and return how it ended.

    While it runs, its process is in `running`, and `reported` is called with each event.
    """
    visible = "" if device == "cpu" else device
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible, "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process, stdin, stdout = forkserver.start_trial(environment, errors)
        running.add(process)
        # The trial watches its own time limit; the timer is for one that hangs.
        limit, killed = (plan.time_limit or 0) + GRACE_SECONDS, threading.Event()
        timer = threading.Timer(limit, _kill, [process, killed])
        timer.daemon = True
        if plan.time_limit is not None:
            timer.start()
        end: End | None = None
        with contextlib.suppress(BrokenPipeError):  # the process has ended already
            stdin.write(plan.job(trial).to_json() + "\n")
            stdin.flush()  # not closed: a closed stdin tells the trial that the sweep is gone
            for line in stdout:
                event = event_from_json(line)
                if isinstance(event, End):
                    end = event
                elif event is not None:
                    reported(trial, event)
        code = process.wait()
        timer.cancel()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        stdout.close()
        running.discard(process)
        if end is not None:
            return Outcome(trial, **vars(end))
        if killed.is_set():
            return Outcome(trial, *give_up(trial, plan.results, limit))
        path = trial.path(plan.results)
        with contextlib.suppress(OSError):
            if path.parent.is_dir():
                with lock.held(path):  # giving the lock back removes what a killed trial left
                    pass
        errors.seek(0)
        return Outcome(trial, "killed", _cause(code, errors.read()))


def _kill(process: TrialProcess, killed: threading.Event) -> None:
    """Kill a trial's process and what it started, unless it has ended."""
    if process.poll() is None:
        killed.set()  # first, since whoever waits for the process looks at it next
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _cause(code: int, errors: str) -> str:
    """Why a process ended without reporting an end, with the last line that it printed."""
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        how += " (a machine that runs out of memory does that)"
    return "; ".join([f"its process ended with {how}", *errors.strip().splitlines()[-1:]])
