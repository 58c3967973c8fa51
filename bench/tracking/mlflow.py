"""MLflow: a run for each trial, on MLFLOW_TRACKING_URI or in a local store."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.tracking.base import PROJECT, Ending, Figures, Run

IDENTITY = "bench.identity"
"""The tag by which the run of a trial is found again."""
LONGEST = 500
"""Longest parameter, in letters, that every store of MLflow accepts."""


def make(results: Path) -> "Mlflow":
    """The tracker; see `bench.tracking.base.Tracker`."""
    return Mlflow()


class Mlflow:
    """Runs of MLflow, through its client, which has no state that trials would share."""

    name = "mlflow"

    def __init__(self) -> None:
        import mlflow

        self._experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        self.place = f"experiment {self._experiment} on {mlflow.get_tracking_uri()}"
        self._client: Any = None

    def begin(self, run: Run) -> "_Open":
        """See `Tracker`. For a trial that resumes, the newest run of its identity continues."""
        from mlflow.entities import Param

        experiment, client = self._connect(), self._client
        known = []
        if run.resumed:
            known = client.search_runs(
                [experiment],
                f"tags.`{IDENTITY}` = '{run.identity}'",
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
        if known:
            client.update_run(known[0].info.run_id, status="RUNNING")
            return _Open(client, known[0].info.run_id)
        tags = {IDENTITY: run.identity, "bench.group": run.group}
        made = client.create_run(experiment, tags=tags, run_name=run.name).info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in run.config.items()]
        client.log_batch(made, params=params)
        return _Open(client, made)

    def _connect(self) -> str:
        """The id of the experiment, which is created if it does not exist."""
        from mlflow import MlflowClient

        self._client = self._client or MlflowClient()
        known = self._client.get_experiment_by_name(self._experiment)
        if known is None:
            return str(self._client.create_experiment(self._experiment))
        return str(known.experiment_id)


@dataclass
class _Open:
    client: Any
    run: str
    step: int = 0

    def log(self, step: int, figures: Figures) -> None:
        """See `Open`."""
        from mlflow.entities import Metric

        self.step, now = step, int(1000 * time.time())
        metrics = [Metric(_name(key), value, now, step) for key, value in figures.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def end(self, ending: Ending) -> None:
        """See `Open`."""
        self.log(self.step, ending.figures)
        self.client.set_tag(self.run, "bench.status", ending.status)
        if ending.record is not None:
            self.client.set_tag(self.run, "bench.record", str(ending.record))
        stopped = "KILLED" if ending.status in ("killed", "stopped", "timeout") else "FAILED"
        self.client.set_terminated(self.run, "FINISHED" if ending.good else stopped)


def _name(key: str) -> str:
    """`test/i2t_R@1` -> `test/i2t_R_at_1`: MLflow takes no @ in a name."""
    return key.replace("@", "_at_")
