"""MLflow: a run for each trial, on MLFLOW_TRACKING_URI or in a local store."""

import os
import time
from pathlib import Path

from bench.tracking.base import PROJECT, Ending, Figures, Run, Tracker

IDENTITY = "bench.identity"
"""The tag by which the run of a trial is found again."""
LONGEST = 500
"""Longest parameter, in letters, that every store of MLflow accepts."""


def make(results: Path) -> Tracker:
    """The tracker. The server is not asked anything yet, because it may be slow to answer."""
    import mlflow

    return Tracker("mlflow", f"experiment {_name()} on {mlflow.get_tracking_uri()}", MlflowRun)


def _name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)


class MlflowRun:
    """A run, through MLflow's client, which has no state that trials would share."""

    def __init__(self, run: Run) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client, self.step = MlflowClient(), 0
        experiment = self.client.get_experiment_by_name(_name())
        if experiment is None:
            number = self.client.create_experiment(_name())
        else:
            number = experiment.experiment_id
        identity = run.trial.identity
        if run.resumed:
            earlier = self.client.search_runs(
                [number],
                f"tags.`{IDENTITY}` = '{identity}'",
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
            if earlier:
                self.id = earlier[0].info.run_id
                self.client.update_run(self.id, status="RUNNING")
                return
        tags = {IDENTITY: identity, "bench.group": run.group}
        self.id = self.client.create_run(number, tags=tags, run_name=run.name).info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in run.config.items()]
        self.client.log_batch(self.id, params=params)

    def log(self, step: int, figures: Figures) -> None:
        """MLflow takes no @ in a name: `test/i2t_R@1` becomes `test/i2t_R_at_1`."""
        from mlflow.entities import Metric

        self.step, now = step, int(1000 * time.time())
        metrics = [
            Metric(name.replace("@", "_at_"), value, now, step) for name, value in figures.items()
        ]
        self.client.log_batch(self.id, metrics=metrics)

    def end(self, ending: Ending) -> None:
        """The final figures belong to the last step."""
        self.log(self.step, ending.figures)
        self.client.set_tag(self.id, "bench.status", ending.status)
        if ending.record is not None:
            self.client.set_tag(self.id, "bench.record", str(ending.record))
        stopped = "KILLED" if ending.status in ("killed", "stopped", "timeout") else "FAILED"
        self.client.set_terminated(self.id, "FINISHED" if ending.good else stopped)
