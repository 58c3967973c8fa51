"""Trials as a Slurm job array, through submitit; a preempted job is continued by a new one."""

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from subprocess import TimeoutExpired
from typing import Any

from bench import UserError
from bench.messages import Event, Placed, event_from_json, event_to_json
from bench.sweeps.engine import Outcome, TrialQueue, Watcher
from bench.sweeps.forkserver import TrialProcess
from bench.sweeps.remote import Errand
from bench.sweeps.sweep import Plan
from bench.trial import Trial

POLL_SECONDS = 0.5
SHORT = {
    "time": "timeout_min",
    "gpus": "gpus_per_node",
    "cpus": "cpus_per_task",
    "memory_gb": "mem_gb",
}
"""Short names of options, and what submitit calls them."""
DEFAULTS = {"name": "bench", "timeout_min": 12 * 60, "gpus_per_node": 1, "cpus_per_task": 4}
OURS = {
    "array": "bench makes the array, one job a trial; limit how many run at once with "
    "array_parallelism=N",
    "output": "logs are written to .slurm in the results folder",
    "error": "logs are written to .slurm in the results folder",
}
"""Options of sbatch that the user cannot set, and why."""
GPU_OPTIONS = ("gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket")
"""Options that ask for GPUs, beside `gres=gpu:...`."""
GRACE_SECONDS = 45
"""How long a trial has to save a checkpoint; Slurm warns 90 seconds before it ends the job."""
TIMEOUTS = 20
"""How often a trial may reach the time limit of its job and continue in another."""


class Attempt:
    """One trial in one job."""

    def __init__(self) -> None:
        self.running: set[TrialProcess] = set()

    def __call__(self, errand: Errand) -> Outcome:
        """Runs in the job: one trial, whose events are printed to the job's log, a line each."""
        terminated: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: terminated.append(number))

        def report(event: Event) -> None:
            print(event_to_json(event), flush=True)

        report(Placed(socket.gethostname(), os.getpid()))
        outcome = errand.run(report, self.running)
        if terminated and outcome.status == "killed":
            signal.pause()  # Slurm ends this job; returning now would count the trial as killed
        return outcome

    def checkpoint(self, errand: Errand) -> Any:
        """Called by submitit before Slurm ends the job: resubmit the trial as a new job."""
        import submitit

        for process in self.running:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutExpired):
                process.wait(GRACE_SECONDS)
        return submitit.helpers.DelayedSubmission(Attempt(), errand)


def options(given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The options of `--slurm` as the cluster (`slurm`, `local`) and the parameters of submitit.

    time (as sbatch takes it), gpus (2, or a100:2), cpus, memory_gb, partition, account, qos,
    array_parallelism and whatever else submitit knows; an option that it does not know goes to
    sbatch as it is. Raises UserError.
    """
    import submitit

    given = {name.replace("-", "_"): value for name, value in given.items()}
    cluster = str(given.pop("cluster", "slurm"))
    if cluster not in ("slurm", "local"):
        raise UserError(f"--slurm cluster is slurm, or local to try it out, not {cluster!r}")
    _check(given)
    types = {**submitit.AutoExecutor._typed_parameters(), "array_parallelism": int}
    own = submitit.SlurmExecutor._valid_parameters()
    asks_for_gpus = _asks_for_gpus(given)
    parameters: dict[str, Any] = dict(DEFAULTS)
    if cluster == "local":
        parameters["gpus_per_node"] = 0
    elif asks_for_gpus:
        del parameters["gpus_per_node"]
    sbatch: dict[str, Any] = {}
    for option, value in given.items():
        name = SHORT.get(option, option)
        if name == "timeout_min":
            parameters[name] = minutes(value)
        elif name == "gpus_per_node" and ":" in str(value):  # a type of GPU: a100:2
            count = _typed(option, int, str(value).rpartition(":")[2])
            if cluster == "local":
                parameters[name] = count
            sbatch["gpus-per-node"] = value
        elif name in types:
            prefix = "slurm_" if name == "array_parallelism" else ""
            parameters[prefix + name] = _typed(option, types[name], value)
        elif name in own:
            parameters[f"slurm_{name}"] = True if str(value).lower() == "true" else value
        else:
            sbatch[name] = value
    if sbatch:
        parameters["slurm_additional_parameters"] = sbatch
    return cluster, parameters


def _check(given: dict[str, Any]) -> None:
    """Raise UserError for options that contradict each other or that the engine sets itself."""
    for option, value in given.items():
        if option in OURS:
            raise UserError(f"--slurm {option} cannot be given: {OURS[option]}")
        # A second option in the value, as in `--slurm partition=gpu,time=60`?
        more = re.search(r",\s*([a-z][\w-]*=.*)", str(value))
        if more and option not in ("export", "comment"):
            first = str(value)[: more.start()]
            raise UserError(
                f"give --slurm once for each option: --slurm {option}={first} --slurm {more[1]}"
            )
    if len(gpus := _asks_for_gpus(given)) > 1:
        raise UserError(f"--slurm {' and '.join(gpus)} both ask for GPUs; give one of them")


def _asks_for_gpus(given: dict[str, Any]) -> list[str]:
    """The options that ask for GPUs, such as `gres=gpu:a100:1,lscratch:20`."""
    resources = str(given.get("gres", "")).split(",")
    asking = [option for option in GPU_OPTIONS if option in given]
    if any(resource.partition(":")[0].strip() == "gpu" for resource in resources):
        asking.append("gres")
    return asking


def minutes(value: Any) -> int:
    """A time limit as sbatch takes it, in minutes, seconds rounded up; raises UserError.

    The forms are MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM and D-HH:MM:SS: `30:00` is half an hour.
    """
    days, dash, clock = str(value).strip().rpartition("-")
    numbers = clock.split(":")
    parts = [*numbers, *([days] if dash else [])]
    if not all(re.fullmatch(r"\d{1,9}", part) for part in parts) or len(numbers) > 3:
        raise UserError(
            f"--slurm time is MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS as for sbatch, "
            f"not {str(value)[:99]!r}"
        )
    if not dash and len(numbers) < 3:
        numbers.insert(0, "0")  # no hours
    hours, mins, seconds = map(int, [*numbers, "0", "0"][:3])
    total = ((int(days or 0) * 24 + hours) * 60 + mins) * 60 + seconds
    if not total:
        raise UserError(f"--slurm time is more than 0, not {value!r}; give the limit of one job")
    return -(-total // 60)


def _typed(option: str, wanted: type, value: Any) -> Any:
    try:
        return wanted(value)
    except ValueError:
        names = {int: "a whole number", float: "a number"}
        raise UserError(f"--slurm {option} is {names.get(wanted, wanted)}, not {value!r}") from None


def run(plan: Plan, todo: list[Trial], watcher: Watcher, given: dict[str, Any]) -> list[Outcome]:
    """Submit the trials as one array and wait for them; logs are in `.slurm` below the results.

    Ctrl-C cancels the jobs and raises KeyboardInterrupt. Raises UserError if Slurm accepts no job.
    """
    import submitit

    cluster, parameters = options(given)
    folder = plan.results.resolve() / ".slurm"
    queue, logs = TrialQueue(plan, todo, watcher), list[_Log]()
    try:
        with _refusal_as_user_error():
            executor = submitit.AutoExecutor(
                folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS
            )
            executor.update_parameters(**parameters)
        while logs or queue.trials:
            ready = list(iter(queue.take, None))
            if ready:
                with _refusal_as_user_error():
                    jobs = executor.map_array(
                        Attempt(), [Errand.of(plan, trial) for trial in ready]
                    )
                logs += [_Log(job, t, watcher) for job, t in zip(jobs, ready, strict=True)]
            for log in list(logs):
                done = log.job.done()  # asked first, so that the last lines are read below
                log.listen()
                if done:
                    logs.remove(log)
                    log.start()
                    outcome = _outcome(log.job, log.trial)
                    queue.ended(outcome)
                    if outcome.status == "user_error":
                        return queue.outcomes
            time.sleep(POLL_SECONDS if logs or queue.trials else 0)
    finally:
        for log in logs:
            log.job.cancel(check=False)
    return queue.outcomes


@contextlib.contextmanager
def _refusal_as_user_error() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"Slurm takes no job ({why}); see `bench run --help` for --slurm") from None


class _Log:
    """Follows the log of a job and passes on to the watcher what the trial writes into it."""

    def __init__(self, job: Any, trial: Trial, watcher: Watcher) -> None:
        self.job, self.trial, self.watcher = job, trial, watcher
        self.read, self.started = 0, False

    def start(self, host: str = "slurm") -> None:
        """Tell the watcher that the trial has started; only the first call does."""
        if not self.started:
            self.started = True
            self.watcher.started(self.trial, f"{host} job {self.job.job_id}")

    def listen(self) -> None:
        """Pass on the complete lines that were written since the last call."""
        try:
            with self.job.paths.stdout.open("rb") as file:
                file.seek(self.read)
                text = file.read()
        except OSError:
            return
        complete = text[: text.rfind(b"\n") + 1]
        self.read += len(complete)
        for line in complete.decode("utf-8", "replace").splitlines():
            event = event_from_json(line)  # None: submitit writes other lines into it
            if isinstance(event, Placed):
                self.start(event.host)
            elif event is not None and self.started:
                self.watcher.reported(self.trial, event)


def _outcome(job: Any, trial: Trial) -> Outcome:
    """The outcome that a job returned, or why it returned none."""
    import submitit

    try:
        outcome = job.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        why = (str(error).strip().splitlines() or ["no reason given"])[0]
        return Outcome(trial, "killed", f"its job was lost: {why}; see {job.paths.stderr}")
    assert isinstance(outcome, Outcome)
    return outcome
