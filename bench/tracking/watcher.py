"""Passes what running trials report on to trackers.

It works in the process of the sweep, on the messages that trials send anyway, so it cannot slow
down the training. Each tracker has its own thread, so one that is slow, hangs or fails
delays neither the trials nor the other trackers.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import UserError, brief, record
from bench.messages import Event, Stage, Step
from bench.schema import Record
from bench.sweeps.engine import Outcome, Watcher
from bench.tracking.base import (
    Ending,
    Figures,
    OpenRun,
    Run,
    StepFigures,
    Tracker,
    final_figures,
    live_figures,
)
from bench.trial import Trial

PATIENCE_SECONDS = 60.0
"""How long a finished sweep waits for a tracker that is still sending."""
SILENCE_SECONDS = 20.0
"""How long it waits for a tracker that gets nothing done, because its server does not answer."""
Say = Callable[[str], None]
Message = Run | StepFigures | Ending


class Feed:
    """One tracker and the thread that talks to it."""

    def __init__(self, tracker: Tracker, say: Say) -> None:
        self.tracker, self._say = tracker, say
        self._open: dict[str, OpenRun] = {}
        self._failed = False
        self._queue: queue.SimpleQueue[tuple[str, Message] | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        """When the tracker began what it is doing now; None: it is idle."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, identity: str, message: Message) -> None:
        """Queue a message for the thread: open a trial's run, show a step in it, or close it."""
        self._queue.put((identity, message))

    def close(self) -> None:
        """Tell the thread that nothing more will come."""
        self._queue.put(None)

    def wait(self, patience: float, silence: float) -> None:
        """Wait for the tracker: at most `patience` seconds, or `silence` for a single message."""
        until = time.monotonic() + patience
        while self._thread.is_alive():
            now, since = time.monotonic(), self._busy_since
            if now > until or (since is not None and now > since + silence):
                self._say(
                    f"{self.tracker.name} does not answer or is too slow, so it did not get "
                    "everything; the records are complete"
                )
                return
            self._thread.join(timeout=0.05)

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            self._busy_since = time.monotonic()
            identity, message = item
            try:
                self._pass_on(identity, message)
            except BaseException as error:  # also SystemExit, which some trackers raise
                self._open.pop(identity, None)
                if not self._failed:
                    self._failed = True
                    reason = brief(error)
                    self._say(f"{self.tracker.name} failed ({reason}); the trials go on without it")
            self._busy_since = None

    def _pass_on(self, identity: str, message: Message) -> None:
        if isinstance(message, Run):
            self._open[identity] = self.tracker.begin(message)
        elif identity in self._open:  # its run did not fail
            if isinstance(message, StepFigures):
                self._open[identity].log(message.step, message.figures)
            else:
                self._open.pop(identity).end(message)


@dataclass
class _Tracked:
    begun: bool = False
    step: int = 0
    """The last step that was passed on."""
    costs: Figures = field(default_factory=dict)
    """The latest speed and memory, which trials report once a second."""


class Tracking(Watcher):
    """A watcher that passes everything to another watcher, and figures to trackers.

    A run begins with the first step of a trial, or with the test if nothing is trained. A trial
    that another sweep is running gets no run.
    """

    def __init__(self, inner: Watcher, trackers: Sequence[Tracker], say: Say) -> None:
        self._inner = inner
        self._feeds = [Feed(tracker, say) for tracker in trackers]
        self._trials: dict[str, _Tracked] = {}

    def started(self, trial: Trial, device: str) -> None:
        self._inner.started(trial, device)
        self._trials[trial.identity] = _Tracked()

    def reported(self, trial: Trial, event: Event) -> None:
        self._inner.reported(trial, event)
        tracked = self._trials[trial.identity]
        if isinstance(event, Stage) and event.stage in ("measuring", "testing"):
            # Measuring comes after training: without a step before, the trial has resumed from a
            # checkpoint of its last step.
            self._begin(trial, 1, event.stage == "measuring")
        if isinstance(event, Step):
            self._begin(trial, event.step, event.step > 1)
            tracked.costs |= live_figures(vars(event))
            if event.evaluation is not None:
                self._log(trial, event.step, tracked.costs | live_figures(event.evaluation))

    def ended(self, outcome: Outcome) -> None:
        self._inner.ended(outcome)
        trial, document = outcome.trial, _read(outcome.record)
        figures: Figures = {}
        if document is not None:
            self._begin(trial, 1, resumed=False)
            for point in document.get("curve", []):  # the messages on some may have been lost
                self._log(trial, point["step"], live_figures(point))
            figures = final_figures(document)
        if self._trials.pop(trial.identity).begun:
            self._send(trial.identity, Ending(outcome.status, figures, outcome.record))

    def waits(self, trial: Trial) -> None:
        self._inner.waits(trial)

    def close(self, patience: float = PATIENCE_SECONDS, silence: float = SILENCE_SECONDS) -> None:
        """End the runs of trials that were stopped, and wait for the trackers."""
        for identity, tracked in self._trials.items():
            if tracked.begun:
                self._send(identity, Ending("stopped", {}, None))
        for feed in self._feeds:
            feed.close()
        for feed in self._feeds:
            feed.wait(patience, silence)

    def _begin(self, trial: Trial, step: int, resumed: bool) -> None:
        """Begin the run of a trial, unless it has one."""
        tracked = self._trials[trial.identity]
        if not tracked.begun:
            tracked.begun = True
            self._send(trial.identity, Run(trial, step, resumed))

    def _log(self, trial: Trial, step: int, figures: Figures) -> None:
        tracked = self._trials[trial.identity]
        if step > tracked.step:  # a trial that resumes repeats steps
            tracked.step = step
            self._send(trial.identity, StepFigures(step, figures))

    def _send(self, identity: str, message: Message) -> None:
        for feed in self._feeds:
            feed.send(identity, message)


def _read(path: Path | None) -> Record | None:
    """A trial's record; None if there is none or it cannot be read from here."""
    if path is None:
        return None
    try:
        return record.read(path)
    except (UserError, OSError):
        return None


@contextmanager
def tracking(inner: Watcher, trackers: Sequence[Tracker], say: Say) -> Iterator[Watcher]:
    """The watcher, extended to tell the trackers; unchanged if there are none."""
    if not trackers:
        yield inner
        return
    watcher = Tracking(inner, trackers, say)
    try:
        yield watcher
    finally:
        watcher.close()
