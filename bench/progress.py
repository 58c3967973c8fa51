"""Live progress of a sweep: bars on a terminal, a line at a time elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from bench.engine import Outcome, Watcher
from bench.trial import Trial


def _name(trial: Trial) -> str:
    return f"{trial.dataset} {trial.call} seed {trial.seed}"


class Bars:
    """One bar for the sweep and one for each running trial, with rate and time left."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.all = progress.add_task("all trials", total=total, rate="", note="")
        self.tasks: dict[str, TaskID] = {}

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        self.tasks[trial.identity] = self.progress.add_task(
            f"{_name(trial)} on {device}", total=None, rate="", note="starting"
        )

    def moved(self, trial: Trial, state: dict[str, Any]) -> None:
        """See `Watcher`."""
        task = self.tasks[trial.identity]
        if "note" in state:
            self.progress.console.print(f"{_name(trial)}: {state['note']}", markup=False)
        if "stage" in state:
            self.progress.update(task, note=state["stage"])
        if "step" in state:
            rate = state["images_per_second"]
            self.progress.update(
                task,
                completed=state["step"],
                total=state["steps"],
                rate="" if rate is None else f"{rate:,.0f} images/s",
            )
            if "val_mR" in state:
                self.progress.update(task, note=f"val mR {state['val_mR']:.1f}")

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self.progress.remove_task(self.tasks.pop(outcome.trial.identity))
        if outcome.status != "elsewhere":
            self.progress.advance(self.all)
        self.progress.console.print(ending(outcome), markup=False)

    def waits(self, trial: Trial) -> None:
        """See `Watcher`."""
        self.progress.console.print(waiting(trial), markup=False)


class Lines:
    """A line when a trial starts, every 30 seconds, and when it ends."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.done = console, total, 0
        self.said: dict[str, float] = {}

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        self.said[trial.identity] = time.monotonic()
        self.console.print(f"start {_name(trial)} on {device}")

    def moved(self, trial: Trial, state: dict[str, Any]) -> None:
        """See `Watcher`."""
        if "note" in state:
            self.console.print(f"{_name(trial)}: {state['note']}", markup=False)
        if "step" in state and time.monotonic() - self.said[trial.identity] > 30:
            self.said[trial.identity] = time.monotonic()
            rate = state["images_per_second"]
            speed = "" if rate is None else f", {rate:,.0f} images/s"
            place = f"step {state['step']}/{state['steps']}"
            self.console.print(f"  {_name(trial)}: {place}{speed}")

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self.done += outcome.status != "elsewhere"
        self.console.print(f"[{self.done}/{self.total}] {ending(outcome)}", markup=False)

    def waits(self, trial: Trial) -> None:
        """See `Watcher`."""
        self.console.print(waiting(trial), markup=False)


def ending(outcome: Outcome) -> str:
    """One line on how a trial ended."""
    message = f": {outcome.message}" if outcome.message else ""
    return f"{outcome.status} {_name(outcome.trial)}{message}"


def waiting(trial: Trial) -> str:
    """One line on a trial that another sweep is running."""
    return f"{_name(trial)} is being run by another sweep; it is looked at again at the end"


@contextmanager
def watcher(console: Console, total: int) -> Iterator[Watcher]:
    """What shows a sweep's progress on this console."""
    if not console.is_terminal:
        yield Lines(console, total)
        return
    columns = (
        TextColumn("{task.description}", table_column=None),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress, total)
