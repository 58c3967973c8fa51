"""Which engine runs a sweep: its options checked against each other, then the choice."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import UserError, record
from bench.measure import gpus
from bench.spec import nearest
from bench.sweeps import engine, engine_ray, engine_slurm
from bench.sweeps.engine import Outcome, Watcher
from bench.sweeps.sweep import Plan
from bench.sweeps.sweepfile import EngineOptions
from bench.trial import Trial

ENGINES = ("local", "ray", "slurm")
TAKEN_BY = {
    "gpus": ("local",),
    "jobs_per_gpu": ("local", "ray"),
    "ray_address": ("ray",),
    "slurm": ("slurm",),
}
"""The engines that take an option; options that are not here are for every engine."""
NEEDS = {"ray": "ray", "slurm": "submitit"}
"""The optional package of an engine; the extra that installs it has the name of the engine."""

MOST_JOBS = 1000
"""Trials at once on a device; each has a thread here and a process."""


@dataclass(frozen=True)
class Engine:
    """Where trials run: on this machine, on a Ray cluster or through Slurm."""

    name: str
    devices: tuple[str, ...] = ()
    """The GPUs of this machine that the local engine uses; none: the CPU."""
    jobs_per_gpu: int = 1
    ray_address: str | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    """The options of `--slurm`, by name."""
    warning: str | None = None
    """What the user should know before the sweep starts."""

    def check(self, results: Path) -> None:
        """Raise UserError if trials could not run or their records could not be written."""
        record.probe(results)
        if self.name == "ray":
            engine_ray.check(self.ray_address)

    def run(self, plan: Plan, todo: list[Trial], watcher: Watcher) -> list[Outcome]:
        """Run the trials; KeyboardInterrupt ends the running ones and goes on to the caller.

        Raises UserError as `check` does.
        """
        self.check(plan.results)
        if self.name == "ray":
            return engine_ray.run(plan, todo, watcher, self.ray_address, self.jobs_per_gpu)
        if self.name == "slurm":
            return engine_slurm.run(plan, todo, watcher, self.slurm)
        return engine.run(plan, todo, [*(self.devices or ["cpu"])] * self.jobs_per_gpu, watcher)

    def at_once(self) -> int:
        """How many trials run at the same time; 1 where a cluster decides."""
        return self.jobs_per_gpu * max(1, len(self.devices)) if self.name == "local" else 1

    def device_name(self) -> str | None:
        """What records call the device of a trial; None where a cluster decides."""
        if self.name != "local":
            return None
        from bench.measure.machine import environment

        machine = environment()
        return str((machine["gpu"] if self.devices else None) or machine["cpu"])


def engine_of(options: EngineOptions) -> Engine:
    """The engine that the options name.

    Raises UserError if they contradict each other, name a GPU that does not exist, or need a
    package that is not installed.
    """
    name = options.get("engine", "local")
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise UserError(f"there is no engine {name!r}{nearest(name, ENGINES)}; known: {known}")
    for option, engines in TAKEN_BY.items():
        if option in options and name not in engines:
            raise UserError(
                f"--{option.replace('_', '-')} is for the engine {' or '.join(engines)}, "
                f"not for {name}; leave it out"
            )
    if (jobs := options.get("jobs_per_gpu", 1)) > MOST_JOBS:
        raise UserError(f"--jobs-per-gpu is at most {MOST_JOBS}, not {jobs}")
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        raise UserError(
            f"--engine {name} needs {NEEDS[name]}, which is not installed: "
            f"pip install 'cmer-bench[{name}]'"
        )
    devices, warning = _devices(options.get("gpus")) if name == "local" else ((), None)
    address, slurm = options.get("ray_address"), options.get("slurm", {})
    if name == "slurm":
        engine_slurm.options(slurm)  # raises UserError now, and not after images are decoded
    return Engine(name, devices, jobs, address, slurm, warning)


def _devices(text: str | None) -> tuple[tuple[str, ...], str | None]:
    """The GPUs that `--gpus` names; without it, all visible ones.

    Also returns a warning if the machine has GPUs but none can be used. Raises UserError.
    """
    words = [] if text is None else [word.strip() for word in text.split(",") if word.strip()]
    if words == ["none"]:
        return (), None
    visible = gpus.visible()
    reason = None if visible else gpus.why_none()
    if text is None:
        return tuple(visible), None if reason is None else f"training on the CPU: {reason}"
    if not visible:
        why = reason or "this machine has no NVIDIA GPU"
        raise UserError(f"--gpus {text}: no GPU can be used: {why}")
    if words == ["all"]:
        return tuple(visible), None
    if not words or not set(words) <= set(visible) or len(set(words)) < len(words):
        raise UserError(
            f"--gpus is all, none or different visible GPUs such as 0,1, not {text!r}; "
            f"visible are {', '.join(visible)}"
        )
    return tuple(words), None
