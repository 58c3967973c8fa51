"""Trials as Ray tasks, on a cluster or on one started here for the sweep."""

import functools
import logging
import os
import re
import socket
import subprocess
import sys
import time
from typing import Any

from bench import UserError, brief
from bench.messages import Placed
from bench.sweeps.engine import Outcome, TrialQueue, Watcher
from bench.sweeps.remote import Errand
from bench.sweeps.sweep import Plan
from bench.trial import Trial

POLL_SECONDS = 0.2
STORE_BYTES = 100 * 2**20
"""The object store of a local cluster; a trial and its reports are a few kilobytes."""
PATIENCE_SECONDS = 25
"""How long a cluster may take to answer; Ray would try for minutes, then end this process."""
PROBE = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
except Exception as error:
    print((str(error).strip().splitlines() or [type(error).__name__])[0])
    raise SystemExit(1)
"""


def connect(address: str | None) -> Any:
    """The module `ray`, connected to a cluster (`auto`, `ray://host:10001`) or to a new one here.

    Usage statistics and the logs of workers are off. Raises UserError if the cluster
    does not answer or none can be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a notice
    import ray

    check(address)
    address = _address(address)
    local: dict[str, Any] = {}
    if address == "local":
        local = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        place = "here" if local else f"at {address}"
        remedy = ""
        if "AF_UNIX" in str(error):  # its sockets lie below the temporary folder
            remedy = "; the temporary folder has too long a name: set RAY_TMPDIR=/tmp"
        raise UserError(f"Ray could not be started {place}: {brief(error)}{remedy}") from None
    return ray


def check(address: str | None) -> None:
    """Raise UserError if a cluster is named and does not answer."""
    address = _address(address)
    if address != "local" and (why := _why_unreachable(address)) is not None:
        raise UserError(
            f"no Ray cluster answers at {address} ({why}); start one with `ray start --head`, set "
            "RAY_AUTH_MODE=token if it asks for one, or leave --ray-address out to use this machine"
        )


def _address(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


@functools.cache
def _why_unreachable(address: str) -> str | None:
    """Why no cluster answers at an address; None: one does.

    First try the port, then Ray itself, in a process of its own that can be killed if it hangs.
    """
    place = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d+)", address)
    if place is not None:
        try:
            socket.create_connection((place[1], int(place[2])), timeout=5).close()
        except (OSError, OverflowError) as error:
            return brief(getattr(error, "strerror", None) or error)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, address],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE_SECONDS} s"
    if done.returncode == 0:
        return None
    return brief(done.stdout.strip() or f"the attempt ended with exit code {done.returncode}")


def run(
    plan: Plan, todo: list[Trial], watcher: Watcher, address: str | None, jobs_per_gpu: int
) -> list[Outcome]:
    """Run the trials as tasks, each with a GPU (or its share of one) if the cluster has any.

    A task starts its trial in a fresh process, so a lost worker costs only that trial. Ctrl-C ends
    the running trials and raises KeyboardInterrupt.
    """
    ray = connect(address)
    try:
        return _run(ray, TrialQueue(plan, todo, watcher), jobs_per_gpu)
    finally:
        ray.shutdown()


def _run(ray: Any, queue: TrialQueue, jobs_per_gpu: int) -> list[Outcome]:
    from ray.util.queue import Queue

    gpu = 1 / jobs_per_gpu if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpu, max_retries=0)(_work)
    messages = Queue(actor_options={"num_cpus": 0})
    tasks: dict[Any, Trial] = {}
    started: set[str] = set()
    watcher = queue.watcher

    def listen() -> None:
        running = {trial.identity: trial for trial in tasks.values()}
        for identity, event in messages.get_nowait_batch(messages.size()):
            if identity not in running:
                continue  # of a worker that was lost, and still sends
            if isinstance(event, Placed):
                started.add(identity)
                watcher.started(running[identity], event.host)
            elif identity in started:  # late messages of a lost worker are ignored
                watcher.reported(running[identity], event)

    try:
        while tasks or queue.trials:
            while (trial := queue.take()) is not None:
                tasks[remote.remote(Errand.of(queue.plan, trial), messages)] = trial
            if not tasks:  # another sweep is running all that is left
                time.sleep(POLL_SECONDS)
                continue
            done, _ = ray.wait(list(tasks), timeout=POLL_SECONDS)
            listen()
            for task in done:
                trial = tasks.pop(task)
                outcome = _outcome(ray, task, trial)
                if trial.identity not in started:  # a watcher wants a start before an end
                    watcher.started(trial, "ray")
                started.discard(trial.identity)
                queue.ended(outcome)
                if outcome.status == "user_error":
                    return queue.outcomes
    finally:
        for task in tasks:
            ray.cancel(task, force=True)
    return queue.outcomes


def _outcome(ray: Any, task: Any, trial: Trial) -> Outcome:
    try:
        outcome = ray.get(task)
    except ray.exceptions.RayError as error:
        why = (str(error).strip().splitlines() or ["no reason given"])[-1]
        return Outcome(trial, "killed", f"its worker was lost: {why}")
    assert isinstance(outcome, Outcome)
    return outcome


def _work(errand: Errand, messages: Any) -> Outcome:
    """Runs in a Ray worker: one trial, whose events go into the queue `messages`."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus:  # Ray sets it to 1 for a task with one CPU; a trial on a GPU may use more threads
        os.environ.pop("OMP_NUM_THREADS", None)
    identity = errand.trial.identity
    messages.put((identity, Placed(f"{socket.gethostname()} {f'GPU {gpus}' if gpus else 'cpu'}")))
    return errand.run(lambda event: messages.put((identity, event)), set())
