"""What a tracker is told about a trial, and what it has to offer: two small protocols."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.record import GOOD
from bench.spec import portable
from bench.trial import Trial

PROJECT = "cmer-bench"
"""The project or experiment of all runs, where the user's own variables name no other."""
Value = str | int | float | bool
Figures = dict[str, float]
"""Numbers by name; a slash groups them: `train/loss`, `val/mR`, `test/i2t_R@1`."""


@dataclass(frozen=True)
class Run:
    """A trial as a tracker shows it: a run of its own.

    `identity` is the trial's (16 hex digits), by which a run is found again when the trial goes on.
    `resumed`: the trial goes on from a checkpoint, so the run that it had goes on too; otherwise it
    begins anew, even if a trial of the same identity was tracked before. `folder` is a relative
    path of its own, for trackers that write files.
    """

    identity: str
    name: str
    group: str
    folder: Path
    config: dict[str, Value]
    resumed: bool
    step: int
    """The first step that it will report."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended: its status, its final figures, and where its record is, if it has one."""

    status: str
    figures: Figures
    record: Path | None

    @property
    def good(self) -> bool:
        """Whether the trial ended as it should."""
        return self.status in GOOD


class Open(Protocol):
    """A run that is open in a tracker."""

    def log(self, step: int, figures: Figures) -> None:
        """Take figures of one step; steps only grow."""

    def end(self, ending: Ending) -> None:
        """Take the final figures and close the run."""


class Tracker(Protocol):
    """A tracker, checked and ready. Its methods are all called from one thread, which they may
    block; what they raise ends the run in this tracker and nothing else."""

    name: str
    place: str
    """Where to look at the runs, a phrase for people."""

    def begin(self, run: Run) -> Open:
        """Open a run, or the one that this trial had before."""


def run_of(trial: Trial, step: int, resumed: bool) -> Run:
    """What a tracker is told when a trial begins to train at a step."""
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
    named: dict[str, Any] = {
        "method": trial.method,
        "call": trial.call,
        "dataset": trial.dataset_name,
        "backbone": portable(trial.backbone),
        "seed": trial.seed,
        "identity": trial.identity,
        "lr": trial.lr,
        "cached_features": trial.cached_features,
    }
    named |= {f"settings.{name}": value for name, value in trial.settings.items()}
    named |= {f"recipe.{name}": value for name, value in asdict(trial.recipe).items()}
    named |= {f"defines.{name}": value for name, value in trial.defines.items()}
    return {
        name: value if isinstance(value, Value) else str(value)
        for name, value in named.items()
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
"""What trials report while they run, and what trackers call it."""
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


def live_figures(state: dict[str, Any]) -> Figures:
    """The figures of a message or of a point of a record's curve, as trackers call them."""
    return {
        name: float(state[key])
        for key, name in LIVE.items()
        if isinstance(state.get(key), int | float)
    }


def final_figures(document: dict[str, Any]) -> Figures:
    """All recalls of a record's splits, and what the training cost."""
    splits = document.get("metrics") or {}
    found = {f"{name}/{key}": value for name, some in splits.items() for key, value in some.items()}
    costs = document.get("efficiency") or {}
    found |= {f"final/{name}": costs[name] for name in COST if name in costs}
    return {name: float(value) for name, value in found.items() if value is not None}
