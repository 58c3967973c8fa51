"""Passes what running trials report on to trackers.

It works in the process of the sweep, on the messages that each trial sends anyway; the process that
trains knows nothing of it. Each tracker has its own thread, so a tracker that is slow, hangs or
fails delays neither the trials nor the other trackers.
"""

import queue
import threading
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
    Open,
    Run,
    Tracker,
    final_figures,
    live_figures,
    run_of,
)
from bench.trial import Trial

PATIENCE_SECONDS = 60.0
"""How long a sweep waits at its end for trackers that are still sending."""
Say = Callable[[str], None]


class Feed:
    """One tracker and the thread that talks to it."""

    def __init__(self, tracker: Tracker, say: Say) -> None:
        self.tracker, self._say = tracker, say
        self._open: dict[str, Open] = {}
        self._failed = False
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def begin(self, run: Run) -> None:
        """Ask the thread to open a run."""

        def work() -> None:
            self._open[run.identity] = self.tracker.begin(run)

        self._work.put(lambda: self._safely(run.identity, work))

    def log(self, identity: str, step: int, figures: Figures) -> None:
        """Ask the thread to pass on figures of an open run."""

        def work() -> None:
            if identity in self._open:
                self._open[identity].log(step, figures)

        self._work.put(lambda: self._safely(identity, work))

    def end(self, identity: str, ending: Ending) -> None:
        """Ask the thread to close a run."""

        def work() -> None:
            if identity in self._open:
                self._open.pop(identity).end(ending)

        self._work.put(lambda: self._safely(identity, work))

    def close(self) -> None:
        """Tell the thread that nothing more will come."""
        self._work.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until the tracker has taken everything, for at most so many seconds."""
        self._thread.join(timeout=seconds)
        if self._thread.is_alive():
            self._say(
                f"{self.tracker.name} has not taken everything within {seconds:.0f} s and is left "
                "behind; the records are complete"
            )

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _safely(self, identity: str, work: Callable[[], None]) -> None:
        """Do it. An error ends the run in this tracker; the first one of a sweep is reported."""
        try:
            work()
        except BaseException as error:  # also SystemExit, which some trackers raise
            self._open.pop(identity, None)
            if not self._failed:
                self._failed = True
                reason = brief(error)
                self._say(f"{self.tracker.name} failed ({reason}); the trials go on without it")


@dataclass
class _Tracked:
    """What is known of a running trial."""

    begun: bool = False
    step: int = 0
    """The last step that was passed on."""
    costs: Figures = field(default_factory=dict)
    """The latest speed and memory, which trials report once a second."""


class Tracking:
    """A watcher that passes everything to another watcher, and figures to trackers.

    A run begins with the first step of a trial, or with the test if the method is not trained. A
    trial that another sweep is running gets no run.
    """

    def __init__(self, inner: Watcher, trackers: Sequence[Tracker], say: Say) -> None:
        self._inner = inner
        self._feeds = [Feed(tracker, say) for tracker in trackers]
        self._trials: dict[str, _Tracked] = {}

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        self._inner.started(trial, device)
        self._trials[trial.identity] = _Tracked()

    def moved(self, trial: Trial, event: Event) -> None:
        """See `Watcher`."""
        self._inner.moved(trial, event)
        tracked = self._trials[trial.identity]
        if not tracked.begun and isinstance(event, Step):
            self._begin(trial, event.step, event.step > 1)
        if not tracked.begun and event in (Stage("measuring"), Stage("testing")):
            # "measuring" without a step before: it resumed from a checkpoint of its last step.
            self._begin(trial, 1, event == Stage("measuring"))
        if not isinstance(event, Step):
            return
        tracked.costs |= live_figures(vars(event))
        if event.look is not None and event.step > tracked.step:
            tracked.step = event.step
            for feed in self._feeds:
                feed.log(trial.identity, event.step, tracked.costs | live_figures(event.look))

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self._inner.ended(outcome)
        trial, document = outcome.trial, _read(outcome.record)
        if document and not self._trials[trial.identity].begun:  # none of its messages arrived
            self._begin(trial, 1, False)
        tracked = self._trials.pop(trial.identity)
        if not tracked.begun:
            return
        figures: Figures = {}
        if document is not None:
            figures = final_figures(document)
            for look in document.get("curve", []):
                if look["step"] > tracked.step:  # its message did not arrive
                    for feed in self._feeds:
                        feed.log(trial.identity, look["step"], live_figures(look))
        self._end(trial.identity, Ending(outcome.status, figures, outcome.record))

    def waits(self, trial: Trial) -> None:
        """See `Watcher`."""
        self._inner.waits(trial)

    def close(self, patience: float = PATIENCE_SECONDS) -> None:
        """End the runs of trials that were stopped, and wait for the trackers."""
        for identity, tracked in list(self._trials.items()):
            if tracked.begun:
                self._end(identity, Ending("stopped", {}, None))
        for feed in self._feeds:
            feed.close()
        for feed in self._feeds:
            feed.wait(patience)

    def _begin(self, trial: Trial, step: int, resumed: bool) -> None:
        self._trials[trial.identity].begun = True
        run = run_of(trial, step, resumed)
        for feed in self._feeds:
            feed.begin(run)

    def _end(self, identity: str, ending: Ending) -> None:
        for feed in self._feeds:
            feed.end(identity, ending)


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
