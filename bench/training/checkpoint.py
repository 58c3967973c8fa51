"""The checkpoint of a training: with it a killed trial resumes where it stopped, bit for bit.

Of the method it saves parameters and buffers. Everything else that a method sets while it trains it
must set in its hooks (`on_fit`, `on_epoch`, `on_step`), which are called again after resuming.
"""

import hashlib
import inspect
import time
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import bench
import methods
from bench.measure.meter import Memory, Stopwatch
from bench.messages import Note, Progress
from bench.randomness import random_states, set_random_states
from bench.record import atomically
from bench.training.budget import BudgetChoice
from bench.training.limits import Clock
from methods.base import Method

if TYPE_CHECKING:
    from bench.training.trainer import Trainer

SHARE = 0.01
"""Checkpoints take no more than this share of a training's time."""


class Checkpointer:
    """Writes and reads the checkpoint of one trial.

    every: seconds between two checkpoints; 0: one after each step. clock: when the trial's time is
    over, a checkpoint is written and the trial ends. A checkpoint that is damaged, or was written
    for another trial or by another code, torch or device, is renamed to `*.checkpoint.aside` with a
    note to the user.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        every: float,
        clock: Clock,
        progress: Progress = lambda _: None,
    ) -> None:
        self.path, self.identity, self.every = path, identity, every
        self.clock, self.progress = clock, progress
        self.resumed = 0
        self.chosen = BudgetChoice()
        """The batch and steps of a trial with budgets: they must be the same after resuming."""
        self._made_by: dict[str, str] = {}
        self._loaded: dict[str, Any] | None = None
        self._wrote, self._cost = time.perf_counter(), 0.0
        self._last_note = ""

    def open(self, method: type[Method], device: torch.device) -> None:
        """Load the trial's checkpoint if there is one: `chosen` now, the rest in `restore`."""
        self._made_by = {
            "trial": self.identity,
            "code": code(method),  # now: the files may be changed while this training runs
            "torch": str(torch.__version__),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        }
        self._loaded = self._read()
        if self._loaded is not None:
            self.chosen = BudgetChoice(**self._loaded["chosen"])

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        # A slow disk: if a checkpoint takes a second, the next one comes after 100 seconds.
        wait = max(self.every, self._cost / SHARE) if self.every else 0.0
        return self.clock.over() or time.perf_counter() - self._wrote >= wait

    def save(
        self, trainer: "Trainer", watch: Stopwatch, memory: Memory, state: dict[str, Any]
    ) -> None:
        """Write a checkpoint; `state` is the training loop's own, of plain values and tensors.

        Call it while `watch` and `memory` are paused. Ends the trial if its time is over (see
        `Clock.check`). If the disk is full, training goes on without the checkpoint.
        """
        began = time.perf_counter()
        watch.latest()  # reads the windows that are complete
        document = {
            "made_by": self._made_by,
            "chosen": asdict(self.chosen),
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
        except (OSError, RuntimeError) as error:  # torch turns an OSError into a RuntimeError
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            note = f"no checkpoint could be written ({reason}); training goes on"
            if note != self._last_note:
                self.progress(Note(note, of_trial=True))
            self._last_note = note
        self._wrote = time.perf_counter()
        self._cost = self._wrote - began
        self.clock.check()

    def restore(
        self, trainer: "Trainer", watch: Stopwatch, memory: Memory
    ) -> dict[str, Any] | None:
        """Put everything back and return the `state` that was saved; None without a checkpoint.

        Call it after `open` and right before the first step, since it sets the random states.
        """
        self.clock.saves = True
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return None
        trainer.method.load_own_state(loaded["own_state"])
        trainer.optimizer.load_state_dict(loaded["optimizer"])
        trainer.rates.load_state_dict(loaded["schedule"])
        trainer.scaler.load_state_dict(loaded["scaler"])
        watch.rates[:], watch.quiet[:] = loaded["rates"]
        memory.before = loaded["peaks"]
        self.clock.before += loaded["seconds"]
        self.resumed = loaded["resumed"] + 1
        set_random_states(loaded["random"], trainer.device)
        state: dict[str, Any] = loaded["state"]
        note = f"goes on after step {state['step']}, from its checkpoint"
        self.progress(Note(note, of_trial=True))
        return state

    def done(self) -> None:
        """The training is over: a signal no longer waits for a checkpoint."""
        self.clock.saves = False

    def _read(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        try:
            # torch would load a file with damaged tensors: it does not compare their checksums.
            with zipfile.ZipFile(self.path) as archive:
                broken = archive.testzip()
            if broken is not None:
                raise zipfile.BadZipFile(f"{broken} is damaged")
            loaded: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            made_by = loaded["made_by"]
            differing = [name for name, own in self._made_by.items() if made_by.get(name) != own]
            if not differing:
                return loaded
            reason = f"is of another {' and '.join(differing)}"
        except Exception as error:  # a damaged file can lead to anything
            reason = f"cannot be read ({type(error).__name__})"
        aside = self.path.with_name(f"{self.path.name}.aside")
        self.path.replace(aside)
        note = f"the checkpoint {reason}; it is set aside as {aside.name} and the trial starts over"
        self.progress(Note(note, of_trial=True))
        return None


NOT_TRAINING = ("commands", "fetch", "report", "sweeps", "synthetic", "tracking", "trained")
"""Folders of `bench` whose code takes no part in a training."""


def code(method: type[Method]) -> str:
    """Hash of the code that trains (`bench`, `methods` and the method's own file): 16 hex digits.

    Changed code may train differently, so a checkpoint is used only by the code that wrote it.
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
