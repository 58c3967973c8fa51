"""Trials as a Slurm job array, through submitit; a job that is preempted goes on in a new one."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from subprocess import TimeoutExpired
from typing import Any

from bench import UserError
from bench.sweeps.engine import Outcome, Watcher
from bench.sweeps.forkserver import TrialProcess
from bench.sweeps.remote import Errand, Waiting, states
from bench.sweeps.sweep import Plan
from bench.trial import Trial

POLL_SECONDS = 0.5
SHORT = {
    "time": "timeout_min",
    "gpus": "gpus_per_node",
    "cpus": "cpus_per_task",
    "memory_gb": "mem_gb",
}
"""Our words for submitit's."""
USUAL = {"name": "bench", "timeout_min": 12 * 60, "gpus_per_node": 1, "cpus_per_task": 4}
GRACE_SECONDS = 45
"""For a trial to end by itself; submitit is told 90 seconds before Slurm ends the job."""
TIMEOUTS = 20
"""How often a trial may reach the time limit of its job and go on in another."""


class Attempt:
    """One trial in one job."""

    def __init__(self) -> None:
        self.running: set[TrialProcess] = set()

    def __call__(self, errand: Errand) -> Outcome:
        """What a job does; progress goes into its log as lines of JSON."""
        ending: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))

        def tell(state: dict[str, Any]) -> None:
            print(json.dumps(state), flush=True)

        tell({"host": socket.gethostname(), "pid": os.getpid()})
        outcome = errand.run(tell, self.running)
        if ending and outcome.status == "killed":
            signal.pause()  # Slurm is ending this job, and runs it again where it preempts it
        return outcome

    def checkpoint(self, errand: Errand) -> Any:
        """What submitit asks of a job that must make room: the trial, once more, in a new job."""
        import submitit

        for process in self.running:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutExpired):
                process.wait(GRACE_SECONDS)
        return submitit.helpers.DelayedSubmission(Attempt(), errand)


def options(words: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`--slurm` words -> which cluster (`slurm`, `local`), and the parameters as submitit has them.

    time (minutes or H:MM:SS), gpus, cpus, memory_gb, partition, account, qos, array_parallelism and
    whatever else submitit knows; a word that it does not know goes to sbatch as it is.
    """
    import submitit

    given = dict(words)
    cluster = str(given.pop("cluster", "slurm"))
    if cluster not in ("slurm", "local"):
        raise UserError(f"--slurm cluster is slurm, or local to try it out, not {cluster!r}")
    general = submitit.AutoExecutor._typed_parameters()
    special = submitit.SlurmExecutor._valid_parameters()
    found: dict[str, Any] = dict(USUAL)
    for name, value in given.items():
        name = SHORT.get(name, name)
        if name == "timeout_min":
            found[name] = _minutes(value)
        elif name in general:
            found[name] = _typed(name, general[name], value)
        elif name in special:
            found[f"slurm_{name}"] = value
        else:
            found.setdefault("slurm_additional_parameters", {})[name] = value
    if cluster == "local":
        found["gpus_per_node"] = found["gpus_per_node"] if "gpus" in given else 0
    return cluster, found


def _minutes(value: Any) -> int:
    whole = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d)(?::\d\d)?", str(value))
    if whole:
        return (int(whole[1] or 0) * 24 + int(whole[2])) * 60 + int(whole[3])
    if re.fullmatch(r"\d+", str(value)) and int(value) > 0:
        return int(value)
    raise UserError(f"--slurm time is minutes or H:MM:SS, not {value!r}")


def _typed(name: str, kind: type, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"--slurm {name} is a {kind.__name__}, not {value!r}") from None


def run(plan: Plan, todo: list[Trial], watcher: Watcher, words: dict[str, Any]) -> list[Outcome]:
    """Submit the trials as one array and wait for them; logs are in `.slurm` below the results.

    KeyboardInterrupt cancels the jobs and goes on to the caller. Raises UserError where Slurm takes
    no job.
    """
    import submitit

    cluster, parameters = options(words)
    folder = plan.results.resolve() / ".slurm"
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS)
        executor.update_parameters(**parameters)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise _refused(error) from None
    waiting, jobs = Waiting(plan, todo, watcher), dict[Any, _Log]()

    def submit(trials: list[Trial]) -> None:
        if not trials:
            return
        try:
            array = executor.map_array(Attempt(), [Errand.of(plan, trial) for trial in trials])
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise _refused(error) from None
        jobs.update((job, _Log(job, t, watcher)) for job, t in zip(array, trials, strict=True))

    try:
        while jobs or waiting.trials:
            submit(waiting.free())
            for job, log in list(jobs.items()):
                over = job.done()
                log.listen()
                if not over:
                    continue
                outcome = _outcome(job, jobs.pop(job).trial)
                log.start()
                waiting.ended(outcome)
                if outcome.status == "user_error":
                    return waiting.outcomes
            time.sleep(POLL_SECONDS if jobs or waiting.trials else 0)
    finally:
        for job in jobs:
            job.cancel(check=False)
    return waiting.outcomes


def _refused(error: Exception) -> UserError:
    why = " ".join(str(error).split())
    return UserError(f"Slurm takes no job ({why}); see `bench run --help` for --slurm")


class _Log:
    """A job's log, of which what is new is passed on."""

    def __init__(self, job: Any, trial: Trial, watcher: Watcher) -> None:
        self.job, self.trial, self.watcher = job, trial, watcher
        self.read, self.started = 0, False

    def start(self, host: str = "slurm") -> None:
        if not self.started:
            self.started = True
            self.watcher.started(self.trial, f"{host} job {self.job.job_id}")

    def listen(self) -> None:
        try:
            with self.job.paths.stdout.open("rb") as file:
                file.seek(self.read)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        for state in states(whole.decode("utf-8", "replace")):
            if "host" in state:
                self.start(state["host"])
            elif self.started:
                self.watcher.moved(self.trial, state)


def _outcome(job: Any, trial: Trial) -> Outcome:
    """How a job ended: what the trial said, or why it said nothing."""
    import submitit

    try:
        outcome = job.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        why = (str(error).strip().splitlines() or ["no reason given"])[0]
        return Outcome(trial, "killed", f"its job was lost: {why}; see {job.paths.stderr}")
    assert isinstance(outcome, Outcome)
    return outcome
