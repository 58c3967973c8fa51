"""What a tracker is told about a trial, and the two small protocols that it implements."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.record import GOOD
from bench.schema import Record
from bench.spec import portable
from bench.trial import Trial

PROJECT = "cmer-bench"
"""The project (or experiment) of all runs, unless the user's variables name another one."""
Value = str | int | float | bool
Figures = dict[str, float]
"""Numbers by name; a slash groups them: `train/loss`, `val/mR`, `test/i2t_R@1`."""


@dataclass(frozen=True)
class Run:
    """A trial as a tracker shows it: one run.

    `identity` is the trial's (16 hex digits); the run is found by it when the trial resumes.
    `resumed`: the trial resumes from a checkpoint, so its earlier run continues. Otherwise a new
    run begins, even if a trial of this identity was tracked before. `folder` is a relative path for
    this run alone, for trackers that write files.
    """

    identity: str
    name: str
    group: str
    folder: Path
    config: dict[str, Value]
    resumed: bool
    step: int
    """The first step that will be reported."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended: its status, its final figures, and where its record is, if it has one."""

    status: str
    figures: Figures
    record: Path | None

    @property
    def good(self) -> bool:
        """Whether the trial counts as finished."""
        return self.status in GOOD


class Open(Protocol):
    """A run that is open in a tracker."""

    def log(self, step: int, figures: Figures) -> None:
        """Take the figures of one step; steps never go back."""

    def end(self, ending: Ending) -> None:
        """Take the final figures and close the run."""


class Tracker(Protocol):
    """A tracker, checked and ready. All its methods are called from one thread, which they may
    block. An error that they raise ends the run in this tracker, and nothing else."""

    name: str
    place: str
    """Where to look at the runs, as a phrase for people."""

    def begin(self, run: Run) -> Open:
        """Open a new run, or the earlier one of a trial that resumes."""


def run_of(trial: Trial, step: int, resumed: bool) -> Run:
    """The run of a trial that begins, or resumes, at a step."""
    place = f"{trial.dataset_name} {portable(trial.backbone)}"
    return Run(
        trial.identity,
        f"{trial.name} ({trial.identity[:8]})",
        place,
        trial.path(Path()).with_suffix(""),
        config_of(trial),
        resumed,
        step,
    )


def config_of(trial: Trial) -> dict[str, Value]:
    """What defines a trial, flat: `method`, `seed`, `settings.rank`, `recipe.batch_size`, ..."""
    config: dict[str, Any] = {
        "method": trial.method,
        "call": trial.call,
        "dataset": trial.dataset_name,
        "backbone": portable(trial.backbone),
        "seed": trial.seed,
        "identity": trial.identity,
        "lr": trial.lr,
        "cached_features": trial.cached_features,
    }
    config |= {f"settings.{name}": value for name, value in trial.settings.items()}
    config |= {f"recipe.{name}": value for name, value in asdict(trial.recipe).items()}
    config |= {f"defines.{name}": value for name, value in trial.defines.items()}
    return {
        name: value if isinstance(value, Value) else str(value)
        for name, value in config.items()
        if value is not None
    }


LIVE = {
    "loss": "train/loss",
    "lr": "train/lr",
    "epoch": "train/epoch",
    "val_mR": "val/mR",
    "images_per_second": "cost/images_per_second",
    "peak_memory_bytes": "cost/peak_memory_bytes",
    "process_memory_bytes": "cost/process_memory_bytes",
}
"""The figures that trials report while they run, and their names in trackers."""
COST = (
    "train_images_per_second",
    "step_images_per_second",
    "peak_memory_train_bytes",
    "saved_for_backward_bytes",
    "trainable_parameters",
    "train_seconds",
    "trial_seconds",
)
"""Figures of a record's `efficiency` that trackers get at the end."""


def live_figures(values: Mapping[str, object]) -> Figures:
    """The figures of a training step, or of a point of a record's curve, by tracker name."""
    found = ((name, values.get(key)) for key, name in LIVE.items())
    return {name: float(value) for name, value in found if isinstance(value, int | float)}


def final_figures(record: Record) -> Figures:
    """All recalls of a record's splits, and what the training cost."""
    splits = record.get("metrics", {})
    figures = {
        f"{split}/{name}": float(value)
        for split, recalls in splits.items()
        for name, value in recalls.items()
    }
    costs: Mapping[str, object] = record.get("efficiency", {})
    found = ((f"final/{name}", costs.get(name)) for name in COST)
    return figures | {name: float(value) for name, value in found if isinstance(value, int | float)}
