"""What Ray and Slurm share: a trial told to another machine, its progress told back."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench import lock
from bench.messages import Event, Progress, Step
from bench.sweeps import engine
from bench.sweeps.engine import Outcome, Watcher
from bench.sweeps.forkserver import TrialProcess
from bench.sweeps.sweep import Plan
from bench.trial import Trial


class Waiting:
    """Trials that are yet to be sent to a machine: each when no other sweep is at work on it."""

    def __init__(self, plan: Plan, todo: list[Trial], watcher: Watcher) -> None:
        self.plan, self.trials, self.watcher = plan, list(todo), watcher
        self.outcomes: list[Outcome] = []
        """Of trials that another sweep has done meanwhile."""
        self._told: set[str] = set()
        self._looked = 0.0

    def free(self) -> list[Trial]:
        """Those to be sent now; they wait no longer. Looked at once a second."""
        if not self.trials or time.monotonic() - self._looked < 1.0:
            return []
        found, waiting = [], []
        for trial in self.trials:
            if lock.busy(trial.path(self.plan.results)):
                waiting.append(trial)
                if trial.identity not in self._told:
                    self.watcher.waits(trial)
                self._told.add(trial.identity)
            elif done := self.plan.overtaken(trial):
                self.watcher.started(trial, "another sweep")
                self.ended(Outcome(trial, done["status"], done["message"]))
            else:
                found.append(trial)
        self.trials, self._looked = waiting, time.monotonic()
        return found

    def ended(self, outcome: Outcome) -> None:
        """Take note of an end; a trial that another sweep had begun waits again."""
        self.watcher.ended(outcome)
        if outcome.status == "elsewhere":
            self.trials.append(outcome.trial)
        else:
            self.outcomes.append(outcome)


@dataclass(frozen=True)
class Errand:
    """One trial for a worker: what it is, from which folder and with which variables it is run.

    The folder, the data, the image cache and the results are at the same paths everywhere: on a
    file system that the machines share.
    """

    plan: Plan
    trial: Trial
    folder: str
    variables: dict[str, str]

    @classmethod
    def of(cls, plan: Plan, trial: Trial) -> "Errand":
        """The errand of one trial of a plan; it carries no other trial."""
        alone = replace(
            plan,
            trials=[trial],
            results=plan.results.resolve(),
            root=plan.root.resolve(),
            plugins=[path.resolve() for path in plan.plugins],
        )
        kept = {k: v for k, v in os.environ.items() if k.startswith(("BENCH_", "HF_"))}
        return cls(alone, trial, str(Path.cwd()), kept)

    def run(self, tell: Progress, running: set[TrialProcess], interval: float = 1.0) -> Outcome:
        """Run it in a process of its own, on the GPUs that CUDA_VISIBLE_DEVICES names here.

        `tell` gets what the trial reports, but of steps without an evaluation only one every
        `interval` seconds. `running` holds the process while there is one.
        """
        os.chdir(self.folder)
        os.environ.update(self.variables)
        told = 0.0

        def moved(_: Trial, event: Event) -> None:
            nonlocal told
            bare = isinstance(event, Step) and event.look is None
            if bare and time.monotonic() - told < interval:
                return
            told = time.monotonic()
            tell(event)

        device = os.environ.get("CUDA_VISIBLE_DEVICES") or "cpu"
        return engine._run_one(self.plan, self.trial, device, running, moved)
