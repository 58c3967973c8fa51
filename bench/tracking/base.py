"""What trackers are told about trials, and what a tracker has to implement."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.record import FINISHED_STATUSES, flatten
from bench.schema import Record
from bench.spec import portable
from bench.trial import Trial

PROJECT = "cmer-bench"
"""The project (or experiment) of all runs, unless the user's environment names another one."""
Value = str | int | float | bool
Figures = dict[str, float]
"""Numbers by name; a slash groups them: `train/loss`, `val/mR`, `test/i2t_R@1`."""


@dataclass(frozen=True)
class Run:
    """A trial as trackers show it, from when its training begins."""

    trial: Trial
    step: int
    """The first step that will be reported."""
    resumed: bool
    """Whether the trial resumes from a checkpoint. If so, its earlier run in the tracker, found by
    the trial's identity, continues; if not, a new run begins, even for a trial tracked before."""

    @property
    def name(self) -> str:
        """The trial's name and the start of its identity; together they are unique."""
        return f"{self.trial.name} ({self.trial.identity[:8]})"

    @property
    def group(self) -> str:
        """Runs of one group are worth comparing."""
        return f"{self.trial.dataset_name} {portable(self.trial.backbone)}"

    @property
    def config(self) -> dict[str, Value]:
        """What defines the trial, flat: `method`, `seed`, `settings.rank`, `recipe.steps`, ..."""
        fields = asdict(self.trial) | {"identity": self.trial.identity}
        fields |= {"dataset": self.trial.dataset_name, "backbone": portable(self.trial.backbone)}
        return {
            name: value if isinstance(value, Value) else str(value)
            for name, value in flatten(fields).items()
            if value is not None
        }


class StepFigures(NamedTuple):
    """Figures of one training step; steps never go back."""

    step: int
    figures: Figures


@dataclass(frozen=True)
class Ending:
    """How a trial ended: its status, its final figures, and its record, if it has one."""

    status: str
    figures: Figures
    record: Path | None

    @property
    def good(self) -> bool:
        """Whether the trial counts as finished."""
        return self.status in FINISHED_STATUSES


class OpenRun(Protocol):
    """A run that is open in a tracker.

    It is opened and used in a thread of its tracker, which it may block. An error that it raises
    ends the run in this tracker and nothing else.
    """

    def log(self, step: int, figures: Figures) -> None:
        """Show the figures of a step."""

    def end(self, ending: Ending) -> None:
        """Show the final figures and close the run."""


@dataclass(frozen=True)
class Tracker:
    """A tracker, ready to use."""

    name: str
    place: str
    """Where the user can look at the runs, in words."""
    begin: Callable[[Run], OpenRun]
    """Opens a new run, or the earlier one of a trial that resumes."""


LIVE = {
    "loss": "train/loss",
    "lr": "train/lr",
    "epoch": "train/epoch",
    "val_mR": "val/mR",
    "images_per_second": "cost/images_per_second",
    "peak_memory_bytes": "cost/peak_memory_bytes",
    "process_memory_bytes": "cost/process_memory_bytes",
}
"""Figures that trials report while they run, and their names in trackers."""
COST = (
    "train_images_per_second",
    "step_images_per_second",
    "peak_memory_train_bytes",
    "saved_for_backward_bytes",
    "trainable_parameters",
    "train_seconds",
    "trial_seconds",
)
"""Figures of a record's `efficiency` that trackers get when the trial has ended."""


def live_figures(values: Mapping[str, object]) -> Figures:
    """The figures of a training step or of an evaluation, by their names in trackers."""
    figures = {name: values.get(key) for key, name in LIVE.items()}
    return {name: float(v) for name, v in figures.items() if isinstance(v, int | float)}


def final_figures(record: Record) -> Figures:
    """All recalls of a record, and what the training cost."""
    figures = {
        f"{split}/{name}": float(value)
        for split, recalls in record.get("metrics", {}).items()
        for name, value in recalls.items()
    }
    costs: Mapping[str, object] = record.get("efficiency", {})
    final = {f"final/{name}": costs.get(name) for name in COST}
    return figures | {name: float(v) for name, v in final.items() if isinstance(v, int | float)}
