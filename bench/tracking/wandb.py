"""Weights & Biases: a run for each trial, online or (WANDB_MODE=offline) in `./wandb`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import UserError
from bench.tracking.base import PROJECT, Ending, Figures, Run

OFFLINE = ("offline", "dryrun", "disabled")


def make(results: Path) -> "Wandb":
    """The tracker. Raises UserError without a login, since wandb would stop and ask for one."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or str(wandb.setup().settings.mode or "online")
    if mode not in OFFLINE and not _logged_in(wandb):
        raise UserError(
            "--log wandb: nobody is logged in to Weights & Biases; run `wandb login`, set "
            "WANDB_API_KEY, or set WANDB_MODE=offline to keep the runs in ./wandb"
        )
    return Wandb(wandb, mode)


def _logged_in(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except TypeError:  # an older version, whose login has no `prompt`
        return bool(wandb.api.api_key)


class Wandb:
    """Runs of Weights & Biases, several of which may be open at once."""

    name = "wandb"

    def __init__(self, wandb: Any, mode: str) -> None:
        self._wandb = wandb
        self._project = os.environ.get("WANDB_PROJECT", PROJECT)
        self.place = f"project {self._project}"
        if mode in OFFLINE:
            folder = Path(os.environ.get("WANDB_DIR", ".")) / "wandb"
            self.place += f", {mode}; `wandb sync {folder}/offline-run-*` sends it later"

    def begin(self, run: Run) -> "_Open":
        """See `Tracker`. The run's id is the trial's identity.

        wandb's own sampling of CPU and GPU is off, since it would disturb the measurement of speed.
        """
        opened = self._wandb.init(
            project=self._project,
            id=run.identity,
            name=run.name,
            group=os.environ.get("WANDB_RUN_GROUP", run.group),
            config=run.config,
            resume="allow" if run.resumed else None,
            reinit="create_new",
            settings={"silent": True, "console": "off", "x_disable_stats": True},
        )
        # wandb's own step count never goes back, but a trial that resumes repeats steps.
        opened.define_metric("step", hidden=True)
        opened.define_metric("*", step_metric="step")
        return _Open(opened)


@dataclass
class _Open:
    run: Any

    def log(self, step: int, figures: Figures) -> None:
        """See `Open`."""
        self.run.log({"step": step, **figures})

    def end(self, ending: Ending) -> None:
        """See `Open`."""
        self.run.summary.update({"status": ending.status, **ending.figures})
        if ending.record is not None:
            self.run.summary["record"] = str(ending.record)
        self.run.finish(exit_code=0 if ending.good else 1)
