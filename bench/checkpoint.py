"""A training's checkpoint: with it a killed trial goes on bit for bit where it stopped.

Of the method it keeps parameters and buffers; whatever else a method sets while it trains, it sets
in its hooks (`on_fit`, `on_epoch`, `on_step`), which are called again when a trial goes on.
"""

import hashlib
import inspect
import json
import random
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import bench
import methods
from bench.limits import Clock
from bench.measure.meter import Memory, Stopwatch
from bench.messages import Note, Progress
from bench.record import atomically
from methods.base import Method

if TYPE_CHECKING:
    from bench.trainer import Trainer

SHARE = 0.01
"""Checkpoints take no more than this share of a training's time."""


class Checkpointer:
    """Writes and reads the checkpoint of one trial.

    every: seconds between two; 0: after each step. clock: when a trial's time is over, a checkpoint
    is written and the trial ends. A checkpoint that is damaged, or of another trial, code, torch or
    device, is renamed to `*.checkpoint.aside`, and `say` gets a message.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        every: float,
        clock: Clock,
        say: Progress = lambda _: None,
    ) -> None:
        self.path, self.identity, self.every = path, identity, every
        self.clock, self.say = clock, say
        self.resumed = 0
        self.fixed: dict[str, Any] = {}
        """Plain values that were fixed before training began, and are the same after resuming."""
        self._kept: dict[str, Any] | None = None
        self._wrote, self._cost = time.perf_counter(), 0.0
        self._said = ""

    def open(self, method: type[Method], device: torch.device) -> None:
        """Look for a checkpoint of the trial; where there is one, `fixed` is taken from it."""
        self._kept = self._read(method, device)
        self.fixed = {} if self._kept is None else self._kept["fixed"]

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        wait = max(self.every, self._cost / SHARE) if self.every else 0.0
        return self.clock.over() or time.perf_counter() - self._wrote >= wait

    def save(
        self, trainer: "Trainer", watch: Stopwatch, memory: Memory, state: dict[str, Any]
    ) -> None:
        """Write a checkpoint; `state` is the training loop's own, of plain values and tensors.

        Call it while `watch` and `memory` pause. Then raises what `clock` raises. A full disk is no
        reason to end a training.
        """
        began = time.perf_counter()
        watch.latest()  # windows that the device has passed
        document = {
            "made_by": self._maker(type(trainer.method), trainer.device),
            "fixed": self.fixed,
            "state": state,
            "own_state": trainer.method.own_state(),
            "optimizer": trainer.optimizer.state_dict(),
            "schedule": trainer.rates.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "random": random_states(trainer.device),
            "rates": [watch.rates, watch.quiet],
            "peaks": memory.before,
            "seconds": self.clock.seconds(),
            "resumed": self.resumed,
        }
        try:
            atomically(self.path, lambda partial: torch.save(document, partial))
        except (OSError, RuntimeError) as error:  # torch's own writer says RuntimeError
            first = getattr(error, "strerror", None) or str(error).splitlines()[0]
            note = f"no checkpoint could be written ({first}); training goes on"
            if note != self._said:
                self.say(Note(note, of_trial=True))
            self._said = note
        self._wrote = time.perf_counter()
        self._cost = self._wrote - began
        self.clock.check()

    def restore(
        self, trainer: "Trainer", watch: Stopwatch, memory: Memory
    ) -> dict[str, Any] | None:
        """Put everything back as it was; returns the `state` that was saved, None at a new start.

        Call it after `open`, and last before the first step, for it sets the random states.
        """
        self.clock.saves = True
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        trainer.method.load_own_state(kept["own_state"])
        trainer.optimizer.load_state_dict(kept["optimizer"])
        trainer.rates.load_state_dict(kept["schedule"])
        trainer.scaler.load_state_dict(kept["scaler"])
        watch.rates[:], watch.quiet[:] = kept["rates"]
        memory.before = kept["peaks"]
        self.clock.before += kept["seconds"]
        self.resumed = kept["resumed"] + 1
        set_random_states(kept["random"], trainer.device)
        state: dict[str, Any] = kept["state"]
        self.say(Note(f"goes on after step {state['step']}, from its checkpoint", of_trial=True))
        return state

    def done(self) -> None:
        """The training is over: a signal no longer waits for a checkpoint."""
        self.clock.saves = False

    def remove(self) -> None:
        """Take the checkpoint away, and one that was set aside."""
        self.path.unlink(missing_ok=True)
        self._aside().unlink(missing_ok=True)

    def _read(self, method: type[Method], device: torch.device) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:
                broken = archive.testzip()
            if broken is not None:
                raise zipfile.BadZipFile(f"{broken} is damaged")
            kept: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            now = self._maker(method, device)
            odd = [name for name, value in now.items() if kept["made_by"].get(name) != value]
            reason = f"is of another {' and '.join(odd)}" if odd else None
        except Exception as error:  # a damaged file can lead to anything
            reason = f"cannot be read ({type(error).__name__})"
        if reason is None:
            return kept
        self.path.replace(self._aside())
        note = f"the checkpoint {reason}; it is set aside as {self._aside().name}"
        self.say(Note(f"{note} and the trial starts over", of_trial=True))
        return None

    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.aside")

    def _maker(self, method: type[Method], device: torch.device) -> dict[str, str]:
        cuda = device.type == "cuda"
        return {
            "trial": self.identity,
            "code": code(method),
            "torch": str(torch.__version__),
            "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        }


NOT_TRAINING = ("commands", "fetch", "report", "sweeps", "synthetic", "tracking", "trained")
"""Folders of `bench` whose code a training does not run."""


def code(method: type[Method]) -> str:
    """Hash of the code that trains: `bench`, `methods` and the file of the method: 16 hex digits.

    Another state of this code may train another way, so its checkpoints are not gone on from.
    """
    files = {Path(inspect.getfile(method)).resolve()}
    for package in (bench, methods):
        folder = Path(inspect.getfile(package)).resolve().parent
        paths = folder.rglob("*.py")
        files |= {p for p in paths if p.relative_to(folder).parts[0] not in NOT_TRAINING}
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def plain(values: Any) -> Any:
    """Numbers, texts, lists and dicts as Python's own, bit for bit."""
    return json.loads(json.dumps(values))


# Random states: of Python, numpy, torch and the device.


def random_states(device: torch.device) -> dict[str, Any]:
    """The state of every generator of random numbers, in plain values and tensors."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [str(kind), [int(key) for key in keys], *rest],
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go back to what `random_states` gave."""
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["device"], device)
