"""Weights & Biases: a run for each trial, online or (WANDB_MODE=offline) in `./wandb`."""

import os
import shlex
from pathlib import Path

from bench import UserError
from bench.tracking.base import PROJECT, Ending, Figures, Run, Tracker

OFFLINE = ("offline", "dryrun", "disabled")


def make(results: Path) -> Tracker:
    """The tracker. Raises UserError without a login, since wandb would stop and ask for one."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or str(wandb.setup().settings.mode or "online")
    place = f"project {_project()}"
    if mode in OFFLINE:
        folder = shlex.quote(str(Path(os.environ.get("WANDB_DIR", ".")) / "wandb"))
        place += f", {mode}"
        if mode != "disabled":
            place += f"; `wandb sync {folder}/offline-run-*` sends it later"
    elif not wandb.login(prompt=False, verify=False):
        raise UserError(
            "--log wandb: nobody is logged in to Weights & Biases; run `wandb login`, set "
            "WANDB_API_KEY, or set WANDB_MODE=offline to keep the runs in ./wandb"
        )
    return Tracker("wandb", place, WandbRun)


def _project() -> str:
    return os.environ.get("WANDB_PROJECT", PROJECT)


class WandbRun:
    """A run, several of which may be open at once. Its id is the trial's identity.

    wandb's own sampling of CPU and GPU is off, since it would disturb the measurement of speed.
    """

    def __init__(self, run: Run) -> None:
        import wandb

        self.run = wandb.init(
            project=_project(),
            id=run.trial.identity,
            name=run.name,
            group=os.environ.get("WANDB_RUN_GROUP", run.group),
            config=run.config,
            resume="allow" if run.resumed else None,
            reinit="create_new",
            settings={"silent": True, "console": "off", "x_disable_stats": True},
        )
        # wandb's own step count never goes back, but a trial that resumes repeats steps.
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")

    def log(self, step: int, figures: Figures) -> None:
        self.run.log({"step": step, **figures})

    def end(self, ending: Ending) -> None:
        """The final figures are the run's summary."""
        self.run.summary.update({"status": ending.status, **ending.figures})
        if ending.record is not None:
            self.run.summary["record"] = str(ending.record)
        self.run.finish(exit_code=0 if ending.good else 1)
