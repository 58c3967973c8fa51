"""What Ray and Slurm share: a trial that runs on another machine and reports from there."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.messages import Event, Progress, Step
from bench.sweeps import engine
from bench.sweeps.engine import Outcome
from bench.sweeps.forkserver import TrialProcess
from bench.sweeps.sweep import Plan
from bench.trial import Trial

REPORT_SECONDS = 1.0
"""A step without an evaluation is reported at most this often."""


@dataclass(frozen=True)
class Errand:
    """One trial for a worker, with the working folder and the environment variables it needs.

    The folder, the data, the image cache and the results must have the same paths on all machines,
    on a file system that they share.
    """

    plan: Plan
    trial: Trial
    folder: str
    variables: dict[str, str]

    @classmethod
    def of(cls, plan: Plan, trial: Trial) -> "Errand":
        """The errand of one trial of a plan, without the other trials."""
        kept = {k: v for k, v in os.environ.items() if k.startswith(("BENCH_", "HF_"))}
        return cls(replace(plan, trials=[trial]), trial, str(Path.cwd()), kept)

    def run(self, report: Progress, running: set[TrialProcess]) -> Outcome:
        """Run it in a process of its own, on the GPUs that CUDA_VISIBLE_DEVICES names here.

        `report` is called with its events; its process is in `running` while it runs.
        """
        os.chdir(self.folder)
        os.environ.update(self.variables)
        last_report = 0.0

        def reported(_: Trial, event: Event) -> None:
            nonlocal last_report
            is_plain_step = isinstance(event, Step) and event.evaluation is None
            if not is_plain_step or time.monotonic() - last_report >= REPORT_SECONDS:
                last_report = time.monotonic()
                report(event)

        device = os.environ.get("CUDA_VISIBLE_DEVICES") or "cpu"
        return engine.run_trial(self.plan, self.trial, device, running, reported)
