"""Trials as Ray tasks, on a cluster or on one started here for the sweep."""

import logging
import os
import socket
import time
from typing import Any

from bench import UserError
from bench.sweeps.engine import Outcome, Watcher
from bench.sweeps.remote import Errand, Waiting
from bench.sweeps.sweep import Plan
from bench.trial import Trial

POLL_SECONDS = 0.2
STORE_BYTES = 100 * 2**20
"""The object store of a local cluster: a trial is told in a few kilobytes."""


def connect(address: str | None) -> Any:
    """Ray itself, connected: to a cluster (`auto`, `ray://host:10001`), or to a new one here.

    It says nothing about its use to anybody and prints no logs of its workers. Raises UserError
    where the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its default to be; no notice
    import ray

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(here if address == "local" else {}),
        )
    except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"no Ray cluster answers at {address} ({why}); start one with `ray start --head`, set "
            "RAY_AUTH_MODE=token if it asks for one, or leave --ray-address out to use this machine"
        ) from None
    return ray


def run(
    plan: Plan, todo: list[Trial], watcher: Watcher, address: str | None, jobs_per_gpu: int
) -> list[Outcome]:
    """Run the trials as tasks, each with a GPU (or its share of one) where the cluster has any.

    A task starts the trial in a fresh process. A worker that is lost loses its trial alone.
    KeyboardInterrupt ends the running trials and goes on to the caller.
    """
    ray = connect(address)
    try:
        return _run(ray, plan, todo, watcher, jobs_per_gpu)
    finally:
        ray.shutdown()


def _run(
    ray: Any, plan: Plan, todo: list[Trial], watcher: Watcher, jobs_per_gpu: int
) -> list[Outcome]:
    from ray.util.queue import Queue

    gpu = 1 / jobs_per_gpu if ray.cluster_resources().get("GPU") else 0
    task = ray.remote(num_cpus=1, num_gpus=gpu, max_retries=0)(_attempt)
    news = Queue(actor_options={"num_cpus": 0})
    tasks: dict[Any, Trial] = {}
    waiting = Waiting(plan, todo, watcher)
    known = {trial.identity: trial for trial in todo}
    started: set[str] = set()

    def listen() -> None:
        for identity, state in news.get_nowait_batch(news.size()):
            if "host" in state:
                started.add(identity)
                watcher.started(known[identity], state["host"])
            elif identity in started:  # not what a lost worker said last
                watcher.moved(known[identity], state)

    try:
        while tasks or waiting.trials:
            for trial in waiting.free():
                tasks[task.remote(Errand.of(plan, trial), news)] = trial
            if not tasks:
                time.sleep(POLL_SECONDS)
                continue
            ended, _ = ray.wait(list(tasks), timeout=POLL_SECONDS)
            listen()
            for one in ended:
                trial = tasks.pop(one)
                outcome = _outcome(ray, one, trial)
                if trial.identity not in started:
                    watcher.started(trial, "ray")
                started.discard(trial.identity)
                waiting.ended(outcome)
                if outcome.status == "user_error":
                    return waiting.outcomes
    finally:
        for one in tasks:
            ray.cancel(one, force=True)
    return waiting.outcomes


def _outcome(ray: Any, task: Any, trial: Trial) -> Outcome:
    try:
        outcome = ray.get(task)
    except ray.exceptions.RayError as error:
        why = (str(error).strip().splitlines() or ["no reason given"])[-1]
        return Outcome(trial, "killed", f"its worker was lost: {why}")
    assert isinstance(outcome, Outcome)
    return outcome


def _attempt(errand: Errand, news: Any) -> Outcome:
    """What a worker does."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus:  # one thread is Ray's rule for a task with one CPU; a trial on a GPU has its node's
        os.environ.pop("OMP_NUM_THREADS", None)
    identity = errand.trial.identity
    news.put((identity, {"host": f"{socket.gethostname()} {f'GPU {gpus}' if gpus else 'cpu'}"}))
    return errand.run(lambda state: news.put((identity, state)), set())
