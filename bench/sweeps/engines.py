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
from bench.trial import Trial

ENGINES = ("local", "ray", "slurm")
OWN = {
    "gpus": ("local",),
    "jobs_per_gpu": ("local", "ray"),
    "ray_address": ("ray",),
    "slurm": ("slurm",),
}
"""Options that only some engines take."""


NEEDS = {"ray": "ray", "slurm": "submitit"}
"""Optional packages; the extra is called like the engine."""


@dataclass(frozen=True)
class Engine:
    """Where trials run: on this machine, on a Ray cluster or through Slurm."""

    name: str
    devices: tuple[str, ...] = ()
    """The GPUs of this machine that the local engine uses; none: the CPU."""
    jobs_per_gpu: int = 1
    ray_address: str | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    """What --slurm says."""
    warning: str | None = None
    """What the user should know before the sweep starts."""

    def check(self, results: Path) -> None:
        """Raise UserError where no trial could run: no cluster answers, or no record be written."""
        try:
            record.probe(results)
        except record.NoRoom as error:
            raise UserError(str(error)) from None
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
        slots = [device for _ in range(self.jobs_per_gpu) for device in self.devices or ("cpu",)]
        return engine.run(plan, todo, slots, watcher)

    def at_once(self) -> int:
        """How many trials run at the same time; 1 where a cluster decides."""
        return self.jobs_per_gpu * max(1, len(self.devices)) if self.name == "local" else 1

    def device_kind(self) -> str | None:
        """What records call the device of a trial; None where a cluster decides."""
        if self.name != "local":
            return None
        from bench.measure.machine import environment

        found = environment()
        return str((found["gpu"] if self.devices else None) or found["cpu"])


def engine_of(options: dict[str, Any]) -> Engine:
    """The engine that the options (keys as in a sweep file) name.

    Raises UserError where they contradict each other, name a GPU that is not there, or need a
    package that is not.
    """
    name = options.get("engine", "local")
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise UserError(f"there is no engine {name!r}{nearest(name, ENGINES)}; known: {known}")
    for option, engines in OWN.items():
        if option in options and name not in engines:
            word = option.replace("_", "-")
            right = " or ".join(engines)
            raise UserError(f"--{word} is for the engine {right}, not for {name}; leave it out")
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        raise UserError(
            f"--engine {name} needs {NEEDS[name]}, which is not installed: "
            f"pip install 'cmer-bench[{name}]'"
        )
    devices, warning = _devices(options.get("gpus")) if name == "local" else ((), None)
    jobs, address = options.get("jobs_per_gpu", 1), options.get("ray_address")
    return Engine(name, devices, jobs, address, options.get("slurm", {}), warning)


def _devices(wanted: str | None) -> tuple[tuple[str, ...], str | None]:
    """The GPUs that `--gpus` names, all visible ones without it, and a warning where there are none
    although the machine has some; raises UserError.
    """
    words = [] if wanted is None else [w.strip() for w in wanted.split(",") if w.strip()]
    if words == ["none"]:
        return (), None
    visible = gpus.visible()
    if wanted is None or words == ["all"]:
        reason = None if visible else gpus.why_none()
        if words and not visible:
            why = reason or "this machine has no NVIDIA GPU"
            raise UserError(f"--gpus all: no GPU can be used, for {why}")
        return tuple(visible), None if reason is None else f"training on the CPU: {reason}"
    missing = [word for word in words if word not in visible]
    if not words or missing or len(set(words)) < len(words):
        seen = f"visible are {', '.join(visible)}"
        if not visible:
            seen = f"no GPU can be used ({gpus.why_none() or 'this machine has no NVIDIA GPU'})"
        raise UserError(
            f"--gpus is all, none or different visible GPUs such as 0,1, not {wanted!r}; {seen}"
        )
    return tuple(words), None
