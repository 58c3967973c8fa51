"""Trials as a Slurm job array, through submitit; a job that is preempted goes on in a new one."""

import contextlib
import os
import re
import signal
import socket
import time
from subprocess import TimeoutExpired
from typing import Any

from bench import UserError
from bench.messages import Event, Placed, event_from_json, event_to_json
from bench.sweeps.engine import Outcome, Watcher
from bench.sweeps.forkserver import TrialProcess
from bench.sweeps.remote import Errand, Waiting
from bench.sweeps.sweep import Plan
from bench.trial import Trial

POLL_SECONDS = 0.5
SHORT = {
    "time": "timeout_min",
    "gpus": "gpus_per_node",
    "cpus": "cpus_per_task",
    "memory_gb": "mem_gb",
}
"""Our names of options, and submitit's."""
DEFAULTS = {"name": "bench", "timeout_min": 12 * 60, "gpus_per_node": 1, "cpus_per_task": 4}
OURS = {
    "array": "bench makes the array, one job a trial; limit how many run at once with "
    "array_parallelism=N",
    "output": "logs are written to .slurm in the results folder",
    "error": "logs are written to .slurm in the results folder",
}
"""Options of sbatch that the engine sets itself, and why."""
GPU_WORDS = ("gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket")
"""Options that ask for GPUs, beside `gres=gpu:...`."""
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

        def tell(event: Event) -> None:
            print(event_to_json(event), flush=True)

        tell(Placed(socket.gethostname(), os.getpid()))
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

    time (as sbatch takes it), gpus (2, or a100:2), cpus, memory_gb, partition, account, qos,
    array_parallelism and whatever else submitit knows; a word that it does not know goes to sbatch
    as it is. Raises UserError.
    """
    import submitit

    given = {name.replace("-", "_"): value for name, value in words.items()}
    cluster = str(given.pop("cluster", "slurm"))
    if cluster not in ("slurm", "local"):
        raise UserError(f"--slurm cluster is slurm, or local to try it out, not {cluster!r}")
    asked = _check_words(given)
    general = submitit.AutoExecutor._typed_parameters()
    special = submitit.SlurmExecutor._valid_parameters()
    parameters: dict[str, Any] = dict(DEFAULTS)
    more: dict[str, Any] = {}
    for word, value in given.items():
        name = SHORT.get(word, word)
        if name == "timeout_min":
            parameters[name] = minutes(value)
        elif name == "gpus_per_node" and ":" in str(value):  # a type of GPU: a100:2
            parameters[name] = _typed(word, int, str(value).rpartition(":")[2])
            more["gpus-per-node"] = value
        elif name in general or name == "array_parallelism":
            parameters[name] = _typed(word, general.get(name, int), value)
        elif name in special:
            parameters[f"slurm_{name}"] = True if str(value).lower() == "true" else value
        else:
            more[name] = value
    if "array_parallelism" in parameters:
        parameters["slurm_array_parallelism"] = parameters.pop("array_parallelism")
    if not {"gpus", "gpus_per_node"} & set(asked) and (asked or cluster == "local"):
        parameters["gpus_per_node"] = 0 if cluster == "local" else None
    if cluster == "slurm" and "gpus-per-node" in more:
        parameters["gpus_per_node"] = None
    if more:
        parameters["slurm_additional_parameters"] = more
    return cluster, {name: value for name, value in parameters.items() if value is not None}


def _check_words(given: dict[str, Any]) -> list[str]:
    """The words that ask for GPUs, at most one; raises UserError for words that contradict."""
    for word, value in given.items():
        if word in OURS:
            raise UserError(f"--slurm {word} cannot be given: {OURS[word]}")
        more = re.search(r",\s*([a-z][\w-]*=.*)", str(value))
        if more and word not in ("export", "comment"):
            first = str(value)[: more.start()]
            raise UserError(
                f"give --slurm once for each option: --slurm {word}={first} --slurm {more[1]}"
            )
    asked = [word for word in GPU_WORDS if word in given]
    if _asks_for_gpus(given.get("gres")):
        asked.append("gres")
    if len(asked) > 1:
        raise UserError(f"--slurm {' and '.join(asked)} both ask for GPUs; give one of them")
    return asked


def _asks_for_gpus(gres: Any) -> bool:
    """Whether `gres=gpu:a100:1,lscratch:20` names GPUs."""
    return any(word.partition(":")[0].strip() == "gpu" for word in str(gres or "").split(","))


_TIME = re.compile(
    r"(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?"
    r"|(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)"
    r"|(?P<mm>\d+)(?::(?P<ss>\d+))?"
)


def minutes(value: Any) -> int:
    """A time limit as sbatch takes it, in minutes, seconds rounded up; raises UserError.

    The forms are MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM and D-HH:MM:SS: `30:00` is half an hour.
    """
    found = _TIME.fullmatch(str(value).strip())
    if found is None:
        raise UserError(
            f"--slurm time is MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS as for sbatch, "
            f"not {value!r}"
        )
    part = {name: int(digits or 0) for name, digits in found.groupdict().items()}
    hours = part["days"] * 24 + part["hours"] + part["h"]
    seconds = (hours * 60 + part["minutes"] + part["m"] + part["mm"]) * 60
    seconds += part["seconds"] + part["s"] + part["ss"]
    if not seconds:
        raise UserError(f"--slurm time is more than 0, not {value!r}; give the limit of one job")
    return -(-seconds // 60)


def _typed(name: str, kind: type, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        words = {int: "a whole number", float: "a number"}
        raise UserError(f"--slurm {name} is {words.get(kind, kind)}, not {value!r}") from None


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
        for line in whole.decode("utf-8", "replace").splitlines():
            event = event_from_json(line)
            if isinstance(event, Placed):
                self.start(event.host)
            elif event is not None and self.started:
                self.watcher.moved(self.trial, event)


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
