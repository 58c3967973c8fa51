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
from bench.sweeps.engine import Outcome, Waiting, Watcher
from bench.sweeps.remote import Errand
from bench.sweeps.sweep import Plan
from bench.trial import Trial

POLL_SECONDS = 0.2
STORE_BYTES = 100 * 2**20
"""The object store of a local cluster; a trial and its reports are a few kilobytes."""
PATIENCE_SECONDS = 25
"""How long a cluster may take to answer; Ray itself would try for minutes, then end the process."""
PROBE = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
except Exception as error:
    print((str(error).strip().splitlines() or [type(error).__name__])[0])
    raise SystemExit(1)
"""


def connect(address: str | None) -> Any:
    """Ray itself, connected: to a cluster (`auto`, `ray://host:10001`), or to a new one here.

    It sends no usage statistics and prints no logs of its workers. Raises UserError if the cluster
    does not answer or none can be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its default to be; no notice
    import ray

    check(address)
    address = _address(address)
    here: dict[str, Any] = {}
    if address == "local":
        here = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **here)
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        place = "here" if here else f"at {address}"
        remedy = ""
        if "AF_UNIX" in str(error):  # its sockets lie below the temporary folder
            remedy = "; the temporary folder has too long a name: set RAY_TMPDIR=/tmp"
        raise UserError(f"Ray could not be started {place}: {brief(error)}{remedy}") from None
    return ray


def check(address: str | None) -> None:
    """Raise UserError if a cluster is named and does not answer."""
    address = _address(address)
    if address != "local" and (why := _silence(address)) is not None:
        raise UserError(
            f"no Ray cluster answers at {address} ({why}); start one with `ray start --head`, set "
            "RAY_AUTH_MODE=token if it asks for one, or leave --ray-address out to use this machine"
        )


def _address(given: str | None) -> str:
    return given or os.environ.get("RAY_ADDRESS") or "local"


@functools.cache
def _silence(address: str) -> str | None:
    """Why no cluster answers at an address; None: one does.

    It is tried in a process of its own, which can be ended when it hangs.
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

    A task starts the trial in a fresh process. A worker that is lost loses its trial alone.
    KeyboardInterrupt ends the running trials and goes on to the caller.
    """
    ray = connect(address)
    try:
        return _run(ray, Waiting(plan, todo, watcher), jobs_per_gpu)
    finally:
        ray.shutdown()


def _run(ray: Any, waiting: Waiting, jobs_per_gpu: int) -> list[Outcome]:
    from ray.util.queue import Queue

    gpu = 1 / jobs_per_gpu if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpu, max_retries=0)(_work)
    messages = Queue(actor_options={"num_cpus": 0})
    tasks: dict[Any, Trial] = {}
    started: set[str] = set()
    watcher = waiting.watcher

    def listen() -> None:
        running = {trial.identity: trial for trial in tasks.values()}
        for identity, event in messages.get_nowait_batch(messages.size()):
            if isinstance(event, Placed):
                started.add(identity)
                watcher.started(running[identity], event.host)
            elif identity in started:  # not the last words of a worker that was lost
                watcher.moved(running[identity], event)

    try:
        while tasks or waiting.trials:
            while (trial := waiting.take()) is not None:
                tasks[remote.remote(Errand.of(waiting.plan, trial), messages)] = trial
            if not tasks:  # all that is left is being run by another sweep
                time.sleep(POLL_SECONDS)
                continue
            done, _ = ray.wait(list(tasks), timeout=POLL_SECONDS)
            listen()
            for task in done:
                trial = tasks.pop(task)
                outcome = _outcome(ray, task, trial)
                if trial.identity not in started:
                    watcher.started(trial, "ray")
                started.discard(trial.identity)
                waiting.ended(outcome)
                if outcome.status == "user_error":
                    return waiting.outcomes
    finally:
        for task in tasks:
            ray.cancel(task, force=True)
    return waiting.outcomes


def _outcome(ray: Any, task: Any, trial: Trial) -> Outcome:
    try:
        outcome = ray.get(task)
    except ray.exceptions.RayError as error:
        why = (str(error).strip().splitlines() or ["no reason given"])[-1]
        return Outcome(trial, "killed", f"its worker was lost: {why}")
    assert isinstance(outcome, Outcome)
    return outcome


def _work(errand: Errand, messages: Any) -> Outcome:
    """What a worker does."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus:  # one thread is Ray's rule for a task with one CPU; a trial on a GPU has its node's
        os.environ.pop("OMP_NUM_THREADS", None)
    identity = errand.trial.identity
    messages.put((identity, Placed(f"{socket.gethostname()} {f'GPU {gpus}' if gpus else 'cpu'}")))
    return errand.run(lambda event: messages.put((identity, event)), set())
