"""Live progress of a sweep: a table of running trials on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.console import counted, from_here, say
from bench.label import Label
from bench.messages import Event, Note, Stage, Step
from bench.spec import portable
from bench.sweeps.engine import Outcome, Watcher
from bench.trial import Trial
from bench.units import format_bytes, format_clock

LINE_SECONDS = 30.0
"""In a file, a running trial gets a line this often."""


@dataclass
class Running:
    """What is known of a running trial."""

    name: str = ""
    last_line_at: float = 0.0
    """When `Lines` last printed a line on it."""
    stage: str = "starting"
    first_step: tuple[float, int] | None = None
    """When the first step was reported, and its number (above 1 if the trial resumed)."""
    step: int = 0
    steps: int = 0
    rate: float | None = None
    memory_bytes: int = 0
    on_gpu: bool = False
    """Whether `memory_bytes` is memory of a GPU; otherwise it is the RAM of the process."""
    val_mR: float | None = None  # noqa: N815 (the field's name)

    def update(self, event: Event) -> None:
        """Take over what the trial has reported."""
        if isinstance(event, Stage):
            self.stage = event.stage
        if not isinstance(event, Step):
            return
        self.step, self.steps, self.stage = event.step, event.steps, "training"
        self.first_step = self.first_step or (time.monotonic(), self.step)
        self.rate = event.images_per_second
        if event.evaluation is not None:
            self.val_mR = event.evaluation.get("val_mR", self.val_mR)
        on_gpu, in_ram = event.peak_memory_bytes, event.process_memory_bytes
        self.on_gpu = self.on_gpu or on_gpu is not None
        self.memory_bytes = max(self.memory_bytes, on_gpu or in_ram or 0)

    @property
    def share(self) -> float:
        """How much of its steps is done, 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    def figures(self) -> dict[str, str]:
        """Rate, memory, validation and time left; empty if not known yet."""
        left = ""
        if self.first_step is not None and self.step > self.first_step[1]:
            began, first = self.first_step
            per_step = (time.monotonic() - began) / (self.step - first)
            left = format_clock(per_step * (self.steps - self.step))
        return {
            "rate": "" if self.rate is None else f"{self.rate:,.0f}",
            "memory": format_bytes(self.memory_bytes) if self.memory_bytes else "",
            "val": "" if self.val_mR is None else f"{self.val_mR:.1f}",
            "left": left,
        }

    def sentence(self) -> str:
        """Its figures with their units: `step 20/40, 1,234 images/s, 3 GiB, val mR 45.7`."""
        units = {
            "rate": "{} images/s",
            "memory": "{}" if self.on_gpu else "{} RAM",
            "val": "val mR {}",
            "left": "{} left",
        }
        known = [units[name].format(text) for name, text in self.figures().items() if text]
        return ", ".join([f"step {self.step}/{self.steps}", *known])


class Progress(Watcher):
    """What terminal and file have in common: the state of the sweep, and notes on its trials."""

    def __init__(self, console: Console, trials: Sequence[Trial], more: int = 0) -> None:
        self.console, self.total, self.done = console, len(trials), 0
        self.more = more
        """How many trials may be added at most: a search grows while it runs."""
        self.began = time.monotonic()
        self.names = short_names(trials)
        self.running: dict[str, Running] = {}
        self._notes: set[tuple[str, str]] = set()

    def started(self, trial: Trial, device: str) -> None:
        name = self.names[trial.identity] + ("" if device == "cpu" else f" on {device}")
        self.running[trial.identity] = Running(name, time.monotonic())

    def reported(self, trial: Trial, event: Event) -> None:
        self.running[trial.identity].update(event)
        if isinstance(event, Note):
            place = trial.identity if event.of_trial else f"{trial.dataset} {trial.backbone}"
            if (place, event.note) not in self._notes:
                self._notes.add((place, event.note))
                say(self.console, f"{trial.name}: {event.note}")

    def ended(self, outcome: Outcome) -> None:
        del self.running[outcome.trial.identity]
        self.done += outcome.status != "elsewhere"

    def waits(self, trial: Trial) -> None:
        say(self.console, f"{trial.name} is being run by another sweep; its turn comes at the end")

    def finished(self) -> float:
        """How many trials are done; a running one counts by its share of steps."""
        return self.done + sum(running.share for running in list(self.running.values()))

    def time_left(self) -> str:
        """The time left if the rest goes as fast; empty until 5% of a trial is done."""
        done = self.finished()
        if done < 0.05 or done >= self.total:
            return ""
        return format_clock((time.monotonic() - self.began) / done * (self.total - done))


class Screen(Progress):
    """A table on a terminal: a row for each running trial and one for the sweep."""

    def __init__(self, console: Console, trials: Sequence[Trial], more: int = 0) -> None:
        super().__init__(console, trials, more)
        self.live = Live(console=console, get_renderable=self.table, transient=True)

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        say(self.console, ending(outcome))

    def table(self) -> Table:
        """How the trials stand now.

        Three columns at the right stay empty for the ^C that the terminal shows when the sweep is
        stopped. In a full line it would wrap, and a line of the table would stay on the screen.
        """
        trials = list(self.running.values())
        width = max(40, self.console.width - 3)
        table = Table(box=None, width=width, padding=(0, 1, 0, 0))
        table.add_column("trial", min_width=16, max_width=max(16, min(width - 46, width // 2)))
        table.add_column(ratio=1, min_width=8)
        in_ram = any(trial.memory_bytes and not trial.on_gpu for trial in trials)
        for head in ("", "images/s", "RAM" if in_ram else "memory", "left", "val mR"):
            table.add_column(head, justify="right", no_wrap=True)
        for trial in trials:
            figures = trial.figures()
            what: RenderableType = ProgressBar(1.0, trial.share)
            if trial.stage != "training":
                what = Text(trial.stage, style="dim")
            share = f"{trial.share:.0%}" if trial.stage == "training" else ""
            cells = [figures[name] for name in ("rate", "memory", "left", "val")]
            table.add_row(Label(trial.name), what, share, *cells)
        more = f", up to {self.more} more" if self.more else ""
        name = f"{self.done} of {counted(self.total, 'trial')} done{more}"
        done = self.finished() / max(1, self.total)
        bar = ProgressBar(1.0, done)
        table.add_row(Label(name), bar, f"{done:.0%}", "", "", self.time_left(), "")
        return table


class Lines(Progress):
    """Lines in a file or pipe: when a trial starts, every 30 seconds, and when it ends."""

    def started(self, trial: Trial, device: str) -> None:
        super().started(trial, device)
        say(self.console, f"start {trial.name} on {device}")

    def reported(self, trial: Trial, event: Event) -> None:
        super().reported(trial, event)
        running = self.running[trial.identity]
        if isinstance(event, Step) and time.monotonic() - running.last_line_at > LINE_SECONDS:
            running.last_line_at = time.monotonic()
            say(self.console, f"  {trial.name}: {running.sentence()}")

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        left = "" if outcome.status == "user_error" else self.time_left()
        rest = f" (about {left} left)" if left else ""
        say(self.console, f"[{self.done}/{self.total}] {ending(outcome)}{rest}")


def short_names(trials: Sequence[Trial]) -> dict[str, str]:
    """A short name for each trial of a sweep, by identity.

    It holds the call, and data set, backbone and seed only where trials differ in them.
    """
    parts = {
        trial.identity: (
            trial.dataset_name,
            portable(trial.backbone),
            trial.call,
            f"seed {trial.seed}",
        )
        for trial in trials
    }
    differ = [len(set(column)) > 1 for column in zip(*parts.values(), strict=True)]
    shown = [differ[0], differ[1], True, differ[3]] if parts else []
    return {
        identity: " ".join(word for word, show in zip(words, shown, strict=True) if show)
        for identity, words in parts.items()
    }


def ending(outcome: Outcome) -> str:
    """One line on how a trial ended: `ok ucm starter lora seed 0: val mR 29.1, test mR 27.7, 3:12`.

    Without the message of a `user_error`, which is printed in full at the end of the sweep.
    """
    parts = [] if outcome.status == "user_error" else [outcome.why]
    if outcome.val_mR is not None:
        parts.append(f"val mR {outcome.val_mR:.1f}")
    if outcome.test_mR is not None:
        parts.append(f"test mR {outcome.test_mR:.1f}")
    if outcome.seconds is not None:
        parts.append(format_clock(outcome.seconds))
    if outcome.record is not None:
        parts.append(from_here(outcome.record))
    shown = ", ".join(part for part in parts if part)
    line = f"{outcome.status.replace('_', ' ')} {outcome.trial.name}"
    return f"{line}: {shown}" if shown else line


@contextmanager
def watcher(console: Console, trials: Sequence[Trial], more: int = 0) -> Iterator[Watcher]:
    """The watcher that shows progress on this console; `more`: trials that may be added."""
    if not console.is_terminal:
        yield Lines(console, trials, more)
        return
    screen = Screen(console, trials, more)
    with screen.live:
        yield screen
