"""Live progress of a sweep: a table of running trials on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from bench.console import counted, from_here, say
from bench.label import Label
from bench.messages import Event, Note, Stage, Step
from bench.spec import portable
from bench.sweeps.engine import Outcome, Watcher
from bench.trial import Trial
from bench.units import format_bytes, format_clock


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

    def moved(self, event: Event) -> None:
        """Take in what the trial reports."""
        if isinstance(event, Stage):
            self.stage = event.stage
        if isinstance(event, Step):
            self.step, self.steps, self.stage = event.step, event.steps, "training"
            self.training = self.training or (time.monotonic(), self.step)
            self.rate = event.images_per_second
            if event.look is not None:
                self.val_mR = event.look.get("val_mR", self.val_mR)
            self.peak_bytes = max(self.peak_bytes, event.peak_memory_bytes or 0)
            self.process_bytes = max(self.process_bytes, event.process_memory_bytes or 0)

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
            return format_bytes(self.peak_bytes)
        return f"{format_bytes(self.process_bytes)} RAM" if self.process_bytes else ""

    def cells(self) -> dict[str, Any]:
        """Its figures for the live table; empty where there is none yet."""
        left = self.seconds_left()
        return {
            "rate": "" if self.rate is None else f"{self.rate:,.0f}",
            "memory": self.memory().removesuffix(" RAM"),
            "left": "" if left is None else format_clock(left),
            "val": "" if self.val_mR is None else f"{self.val_mR:.1f}",
            "stage": "" if self.stage == "training" else self.stage,
        }

    def sentence(self) -> str:
        """Its figures with their units: `step 20/40, 1,234 images/s, 3.0 GiB, val mR 45.7`."""
        left = self.seconds_left()
        parts = [
            f"step {self.step}/{self.steps}",
            "" if self.rate is None else f"{self.rate:,.0f} images/s",
            self.memory(),
            "" if self.val_mR is None else f"val mR {self.val_mR:.1f}",
            "" if left is None else f"{format_clock(left)} left",
        ]
        return ", ".join(part for part in parts if part)


class State:
    """The sweep so far: which trials run, how many ended, how long the rest may take."""

    def __init__(self, total: int, more: int = 0) -> None:
        self.total, self.done, self.began = total, 0, time.monotonic()
        self.more = more
        """How many trials may follow at most: a search adds some where it is not at its end."""
        self.running: dict[str, Running] = {}
        self.notes: set[tuple[str, str]] = set()

    def news(self, trial: Trial, event: Event) -> str | None:
        """A note to print, unless a trial on the same data and weights has said it already."""
        if not isinstance(event, Note):
            return None
        place = trial.identity if event.of_trial else f"{trial.dataset} {trial.backbone}"
        if (place, event.note) in self.notes:
            return None
        self.notes.add((place, event.note))
        return f"{trial.name}: {event.note}"

    def finished(self) -> float:
        """Trials that ended, and the shares of those that run."""
        return self.done + sum(one.share for one in self.running.values())

    def seconds_left(self, more: int = 0) -> float | None:
        """As if the rest went like what is done; None before a twentieth of a trial is.

        `more`: trials that follow these.
        """
        done = self.finished()
        if done < 0.05:
            return None
        return (time.monotonic() - self.began) / done * (self.total + more - done)

    def time_left(self) -> str:
        """` (about 4:38 left)`, ` (about 4:38 left, 7:10 at most)`, or nothing."""
        rest, most = self.seconds_left(), self.seconds_left(self.more) if self.more else None
        parts = [f"about {format_clock(rest)} left"] if rest else []
        parts += [f"{format_clock(most)} {'' if rest else 'left '}at most"] if most else []
        return f" ({', '.join(parts)})" if parts else ""


class Shown:
    """What a terminal and a file have in common: how the sweep stands, and notes on its trials."""

    def __init__(self, console: Console, trials: Sequence[Trial], more: int = 0) -> None:
        self.console, self.state = console, State(len(trials), more)

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        self.state.running[trial.identity] = Running()

    def moved(self, trial: Trial, event: Event) -> None:
        """See `Watcher`."""
        if (note := self.state.news(trial, event)) is not None:
            say(self.console, note)
        self.state.running[trial.identity].moved(event)

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self.state.running.pop(outcome.trial.identity)
        self.state.done += outcome.status != "elsewhere"

    def waits(self, trial: Trial) -> None:
        """See `Watcher`."""
        what = "is being run by another sweep; it is looked at again at the end"
        say(self.console, f"{trial.name} {what}")


class Live(Shown):
    """A table on a terminal: a row for each running trial and one for the sweep."""

    def __init__(self, console: Console, trials: Sequence[Trial], more: int = 0) -> None:
        super().__init__(console, trials, more)
        self.names = short_names(trials)
        self.columns = _columns()
        self.progress = _Titled(*self.columns.values(), console=console, transient=True)
        self.tasks: dict[str, TaskID] = {}
        self.all = self.progress.add_task("", total=len(trials), **EMPTY)
        self._update_total()

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        super().started(trial, device)
        name = self.names[trial.identity] + ("" if device == "cpu" else f" on {device}")
        head = "RAM" if device.endswith("cpu") else "memory"
        self.columns["memory"].get_table_column().header = head
        cells = self.state.running[trial.identity].cells()
        self.tasks[trial.identity] = self.progress.add_task(name, total=1.0, **cells)

    def moved(self, trial: Trial, event: Event) -> None:
        """See `Watcher`."""
        super().moved(trial, event)
        running = self.state.running[trial.identity]
        task = self.tasks[trial.identity]
        self.progress.update(task, completed=running.share, **running.cells())
        self._update_total()

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        super().ended(outcome)
        self.progress.remove_task(self.tasks.pop(outcome.trial.identity))
        say(self.console, ending(outcome))
        self._update_total()

    def _update_total(self) -> None:
        left = self.state.seconds_left()
        more = f", up to {self.state.more} more" if self.state.more else ""
        self.progress.update(
            self.all,
            description=f"{self.state.done} of {counted(self.state.total, 'trial')} done{more}",
            completed=self.state.finished(),
            left="" if left is None else format_clock(left),
        )


class Lines(Shown):
    """Lines in a file or pipe: one when a trial starts, every 30 seconds, and when it ends."""

    def __init__(self, console: Console, trials: Sequence[Trial], more: int = 0) -> None:
        super().__init__(console, trials, more)
        self.spoke: dict[str, float] = {}
        """When each running trial last had a line."""

    def started(self, trial: Trial, device: str) -> None:
        """See `Watcher`."""
        super().started(trial, device)
        self.spoke[trial.identity] = time.monotonic()
        say(self.console, f"start {trial.name} on {device}")

    def moved(self, trial: Trial, event: Event) -> None:
        """See `Watcher`."""
        super().moved(trial, event)
        if isinstance(event, Step) and time.monotonic() - self.spoke[trial.identity] > 30:
            self.spoke[trial.identity] = time.monotonic()
            sentence = self.state.running[trial.identity].sentence()
            say(self.console, f"  {trial.name}: {sentence}")

    def ended(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        super().ended(outcome)
        left = "" if outcome.status == "user_error" else self.state.time_left()
        say(self.console, f"[{self.state.done}/{self.state.total}] {ending(outcome)}{left}")


def short_names(trials: Sequence[Trial]) -> dict[str, str]:
    """What tells each trial of a sweep from the others, by identity.

    Only the method where data set, backbone and seed are the same for all.
    """
    parts: dict[str, Callable[[Trial], str]] = {
        "dataset": lambda trial: trial.dataset_name,
        "backbone": lambda trial: portable(trial.backbone),
        "seed": lambda trial: f"seed {trial.seed}",
    }
    differ = {name: len({part(trial) for trial in trials}) > 1 for name, part in parts.items()}
    names = {}
    for trial in trials:
        words = [parts[name](trial) for name in ("dataset", "backbone") if differ[name]]
        words += [trial.call, *([parts["seed"](trial)] if differ["seed"] else [])]
        names[trial.identity] = " ".join(words)
    return names


def ending(outcome: Outcome) -> str:
    """One line on how a trial ended: `ok ucm starter lora seed 0: mR 27.7, 3:12, res/.../s.json`.

    What a user has to mend stands at the end of the sweep, in full.
    """
    parts = [] if outcome.status == "user_error" else [outcome.why]
    if outcome.test_mR is not None:
        parts.append(f"mR {outcome.test_mR:.1f}")
    if outcome.seconds is not None:
        parts.append(format_clock(outcome.seconds))
    if outcome.record is not None:
        parts.append(from_here(outcome.record))
    shown = ", ".join(part for part in parts if part)
    return f"{outcome.status.replace('_', ' ')} {outcome.trial.name}{': ' * bool(shown)}{shown}"


class _Titled(Progress):
    """Bars with titles over them; the sweep's line is at the foot.

    Three columns at the right stay empty: there the terminal shows ^C when the sweep is stopped. In
    a full line it would begin a new one, and rich would leave a line of the table behind.
    """

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        whole = list(tasks)
        table = super().make_tasks_table([*whole[1:], *whole[:1]])
        table.show_header = True
        if hasattr(self, "live"):  # the constructor of Progress makes a table before there is one
            width = max(40, self.console.width - 3)
            table.width, table.columns[0].max_width = width, max(16, min(width - 46, width // 2))
        return table


class _Name(ProgressColumn):
    """The name of a trial, not broken within a word."""

    max_refresh = None

    def render(self, task: Task) -> Label:
        return Label(task.description)


class _BarOrStage(BarColumn):
    """A bar as wide as there is room, or, while nothing is trained, what the trial does instead."""

    def render(self, task: Task) -> Any:
        stage: str = task.fields["stage"]
        return Text(stage, style="dim") if stage else super().render(task)


class _Share(TextColumn):
    """The share of the steps that is done; nothing while none is trained."""

    def render(self, task: Task) -> Text:
        return Text("") if task.fields["stage"] else super().render(task)


EMPTY: dict[str, Any] = {"rate": "", "memory": "", "left": "", "val": "", "stage": ""}


def _columns() -> dict[str, ProgressColumn]:
    def cell(name: str, head: str) -> TextColumn:
        place = Column(head, justify="right", no_wrap=True)
        return TextColumn(f"{{task.fields[{name}]}}", justify="right", table_column=place)

    return {
        "name": _Name(table_column=Column("trial", min_width=16)),
        "bar": _BarOrStage(bar_width=None, table_column=Column(ratio=1, min_width=8)),
        "share": _Share("{task.percentage:>3.0f}%", table_column=Column(no_wrap=True)),
        "rate": cell("rate", "images/s"),
        "memory": cell("memory", "memory"),
        "left": cell("left", "left"),
        "val": cell("val", "val mR"),
    }


@contextmanager
def watcher(console: Console, trials: Sequence[Trial], more: int = 0) -> Iterator[Watcher]:
    """What shows a sweep's progress on this console; `more`: trials that may follow these."""
    if not console.is_terminal:
        yield Lines(console, trials, more)
        return
    live = Live(console, trials, more)
    with live.progress:
        yield live
