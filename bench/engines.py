"""Which engine runs a sweep: its options checked against each other, then the choice."""

from dataclasses import dataclass
from typing import Any

from bench import UserError, engine
from bench.engine import Outcome, Watcher
from bench.spec import nearest
from bench.sweep import Plan
from bench.trial import Trial

ENGINES = ("local",)
OWN = {"gpus": ("local",), "jobs_per_gpu": ("local",)}
"""Options that only some engines take."""


@dataclass(frozen=True)
class Engine:
    """A place where trials run: this machine's `devices` (none: its CPU)."""

    name: str
    devices: tuple[str, ...] = ()
    jobs_per_gpu: int = 1

    def run(self, plan: Plan, todo: list[Trial], watcher: Watcher) -> list[Outcome]:
        """Run the trials; KeyboardInterrupt ends the running ones and goes on to the caller."""
        slots = [device for _ in range(self.jobs_per_gpu) for device in self.devices or ("cpu",)]
        return engine.run(plan, todo, slots, watcher)

    def at_once(self) -> int:
        """How many trials run at the same time."""
        return self.jobs_per_gpu * max(1, len(self.devices))

    def device_kind(self) -> str | None:
        """What records call the device of a trial; None where another machine decides."""
        from bench.machine import environment

        found = environment()
        return str((found["gpu"] if self.devices else None) or found["cpu"])


def engine_of(options: dict[str, Any]) -> Engine:
    """The engine that the options (keys as in a sweep file) name.

    Raises UserError where they contradict each other or name a GPU that is not there.
    """
    name = options.get("engine", "local")
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise UserError(f"there is no engine {name!r}{nearest(name, ENGINES)}; known: {known}")
    for option, engines in OWN.items():
        if option in options and name not in engines:
            word = option.replace("_", "-")
            raise UserError(
                f"--{word} is for --engine {' or '.join(engines)}, not for {name}; leave it out"
            )
    return Engine(name, _devices(options.get("gpus")), options.get("jobs_per_gpu", 1))


def _devices(wanted: str | None) -> tuple[str, ...]:
    """The GPUs that `--gpus` names, all visible ones without it; raises UserError."""
    if wanted is not None and wanted.strip() == "none":
        return ()
    visible = engine.gpus()
    if wanted is None:
        return tuple(visible)
    named = [word.strip() for word in wanted.split(",") if word.strip()]
    missing = [word for word in named if word not in visible]
    if not named or missing or len(set(named)) < len(named):
        seen = f"visible are {', '.join(visible)}" if visible else "no GPU is visible"
        raise UserError(f"--gpus names different visible GPUs or none, not {wanted!r}; {seen}")
    return tuple(named)
