"""Live progress of a sweep: a table of running trials on a terminal, lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn
from rich.table import Column, Table

from bench.sweeps.engine import Outcome, Watcher
from bench.trial import Trial


@dataclass
class Running:
    """What is known of a running trial."""

    began: float = field(default_factory=time.monotonic)
    training: tuple[float, int] | None = None
    """When its first step was seen, and which that was."""
    step: int = 0
    steps: int = 0
    rate: float | None = None
    peak_bytes: int = 0
    """Most bytes allocated on its GPU."""
    process_bytes: int = 0
    """Most RAM that its process held, where it trains on a CPU."""
    val_mR: float | None = None  # noqa: N815 (the field's name)
    stage: str = "starting"

    def moved(self, state: dict[str, Any]) -> None:
        """Take in what the trial reports."""
        self.stage = state.get("stage", self.stage)
        if "step" in state:
            self.step, self.steps, self.stage = state["step"], state["steps"], "training"
            self.training = self.training or (time.monotonic(), self.step)
            self.rate = state["images_per_second"]
            self.val_mR = state.get("val_mR", self.val_mR)
        self.peak_bytes = max(self.peak_bytes, state.get("peak_memory_bytes", 0))
        self.process_bytes = max(self.process_bytes, state.get("process_memory_bytes", 0))

    @property
    def share(self) -> float:
        """How much of its steps is done, 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    def seconds_left(self) -> float | None:
        """Of its training, validation included; None before there is a rate."""
        if self.training is None or self.step <= self.training[1]:
            return None
        began, first = self.training
        return (time.monotonic() - began) / (self.step - first) * (self.steps - self.step)

    def memory(self) -> str:
        """Its memory so far with what that is; empty before it is known."""
        if self.peak_bytes:
            return f"{self.peak_bytes / 2**30:.1f} GiB"
        return f"{self.process_bytes / 2**30:.1f} GiB RAM" if self.process_bytes else ""

    def words(self) -> dict[str, Any]:
        """Its figures with their units; empty where there is none yet."""
        left = self.seconds_left()
        return {
            "rate": "" if self.rate is None else f"{self.rate:,.0f} images/s",
            "memory": self.memory(),
            "left": "" if left is None else clock(left),
            "note": self.stage
            if self.stage != "training"
            else ("" if self.val_mR is None else f"mR {self.val_mR:.1f}"),
        }


class State:
    """The sweep so far: which trials run, how many ended, how long the rest may take."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.monotonic()
        self.running: dict[str, Running] = {}
        self.notes: set[tuple[str, str, str]] = set()

    def news(self, trial: Trial, state: dict[str, Any]) -> str | None:
        """A note to print, unless a trial on the same data and weights has said it.

        What follows from data and weights would else be printed for each trial of a sweep.
        """
        note = state.get("note")
        key = (trial.dataset, trial.backbone, str(note))
        if note is None or key in self.notes:
            return None
        self.notes.add(key)
        return f"{trial.name}: {note}"

    def finished(self) -> float:
        """Trials that ended, and the shares of those that run."""
        return self.done + sum(one.share for one in self.running.values())

    def seconds_left(self) -> float | None:
        """As if the rest went like what is done; None before a twentieth of a trial is."""
        done = self.finished()
        if done < 0.05:
            return None
        return (time.monotonic() - self.began) / done * (self.total - done)


class Live:
    """A table: a line for each running trial and one for the sweep."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.state = progress, State(total)
        self.tasks: dict[str, TaskID] = {}
        empty: dict[str, Any] = {"rate": "", "memory": "", "left": "", "note": f"0/{total}"}
        self.all = progress.add_task("all trials", total=total, **empty)

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        one = self.state.running[trial.identity] = Running()
        name = escape(f"{trial.name}, {device}")
        self.tasks[trial.identity] = self.progress.add_task(name, total=1.0, **one.words())

    def moved(self, trial: Trial, state: dict[str, Any]) -> None:
        """See `Watcher`."""
        if (note := self.state.news(trial, state)) is not None:
            self.progress.console.print(note, markup=False)
        one = self.state.running[trial.identity]
        one.moved(state)
        self.progress.update(self.tasks[trial.identity], completed=one.share, **one.words())
        self._sum()

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self.state.running.pop(outcome.trial.identity)
        self.state.done += outcome.status != "elsewhere"
        self.progress.remove_task(self.tasks.pop(outcome.trial.identity))
        self.progress.console.print(ending(outcome), markup=False)
        self._sum()

    def waits(self, trial: Trial) -> None:
        """See `Watcher`."""
        self.progress.console.print(waiting(trial), markup=False)

    def _sum(self) -> None:
        left = self.state.seconds_left()
        self.progress.update(
            self.all,
            completed=self.state.finished(),
            left="" if left is None else clock(left),
            note=f"{self.state.done}/{self.state.total}",
        )


class Lines:
    """A line when a trial starts, every 30 seconds, and when it ends."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.state = console, State(total)
        self.said: dict[str, float] = {}

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        self.said[trial.identity] = time.monotonic()
        self.state.running[trial.identity] = Running()
        self._print(f"start {trial.name} on {device}")

    def moved(self, trial: Trial, state: dict[str, Any]) -> None:
        """See `Watcher`."""
        if (note := self.state.news(trial, state)) is not None:
            self._print(note)
        one = self.state.running[trial.identity]
        one.moved(state)
        if "step" in state and time.monotonic() - self.said[trial.identity] > 30:
            self.said[trial.identity] = time.monotonic()
            words = one.words()
            left = f"{words['left']} left" if words["left"] else ""
            parts = [f"step {one.step}/{one.steps}", words["rate"], words["memory"], words["note"]]
            shown = ", ".join(part for part in [*parts, left] if part)
            self._print(f"  {trial.name}: {shown}")

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self.state.running.pop(outcome.trial.identity)
        self.state.done += outcome.status != "elsewhere"
        rest = self.state.seconds_left()
        left = f" (about {clock(rest)} left)" if rest else ""
        self._print(f"[{self.state.done}/{self.state.total}] {ending(outcome)}{left}")

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def waits(self, trial: Trial) -> None:
        """See `Watcher`."""
        self._print(waiting(trial))


def ending(outcome: Outcome) -> str:
    """One line on how a trial ended."""
    message = f": {outcome.why}" if outcome.message else ""
    return f"{outcome.status} {outcome.trial.name}{message}"


def waiting(trial: Trial) -> str:
    """One line on a trial that another sweep is running."""
    return f"{trial.name} is being run by another sweep; it is looked at again at the end"


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class _Titled(Progress):
    """Bars with titles over them, those that run last, so that the sweep's line is at the foot."""

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        whole = list(tasks)
        table = super().make_tasks_table([*whole[1:], *whole[:1]])
        table.show_header = True
        return table


@contextmanager
def watcher(console: Console, total: int) -> Iterator[Watcher]:
    """What shows a sweep's progress on this console."""
    if not console.is_terminal:
        yield Lines(console, total)
        return

    def column(name: str, head: str) -> TextColumn:
        place = Column(head, justify="right", no_wrap=True)
        return TextColumn(f"{{task.fields[{name}]}}", table_column=place)

    columns = (
        TextColumn("{task.description}", table_column=Column("trial", ratio=1, min_width=16)),
        BarColumn(bar_width=8),
        TextColumn("{task.percentage:>3.0f}%", table_column=Column(no_wrap=True)),
        column("rate", "rate"),
        column("memory", "memory"),
        column("left", "left"),
        column("note", "val"),
    )
    with _Titled(*columns, console=console, expand=True, transient=True) as progress:
        yield Live(progress, total)
