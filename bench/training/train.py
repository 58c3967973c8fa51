"""The one training loop: nothing else in the project trains, but for the starter's pretraining.

`fit` trains a method on a loader's batches, evaluates it on validation along the way, keeps
the best state, writes checkpoints, and reports what the training cost.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count, islice

import torch
from torch import Tensor

from bench.backbone.attention import attention_kernels
from bench.measure.count import flops
from bench.measure.machine import GpuSampler
from bench.measure.meter import Memory, Stopwatch, step_rate
from bench.measure.oom import is_out_of_memory
from bench.measure.training_clock import TrainingClock
from bench.messages import Note, Progress, Stage, Step
from bench.recipe import Recipe
from bench.schema import CurvePoint, Efficiency
from bench.training import gradcache
from bench.training.batches import Loader
from bench.training.checkpoint import Checkpointer
from bench.training.schedule import Mark, Timing, planned_epochs, planned_steps
from bench.training.trainer import Trainer
from methods.base import Batch, Method


class Diverged(ArithmeticError):
    """The loss or a similarity became NaN or infinite."""


@dataclass
class TrainState:
    """How far a training is, and at its end the result.

    Checkpoints save it as it is, and a killed training resumes from it. Times are in seconds.
    """

    step: int = 0
    best: float = -1.0
    """The best score so far: validation mR, or the last step where nothing is validated."""
    best_step: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    loss_sum: float = 0.0
    """Of the steps since the last evaluation."""
    seconds: float = 0.0
    """Since the start, evaluation included."""
    training_seconds: float = 0.0
    marks: list[Mark] = field(default_factory=list)
    """Of `bench.training.schedule.Timing`; none without a time budget."""
    text_length: int = 0
    """Tokens of the longest text met so far."""
    efficiency: Efficiency = field(default_factory=Efficiency)
    """What the training cost; empty until it is over."""


def fit(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    lr: float,
    validate: Callable[[], float] | None,
    progress: Progress = lambda _: None,
    checkpointer: Checkpointer | None = None,
    clock: TrainingClock | None = None,
    timing: Timing | None = None,
) -> TrainState:
    """Train and keep the state with the best validation mR (without `validate`: the last one).

    checkpointer: writes checkpoints, and resumes from the one that it has opened. clock: counts the
    seconds of training; those spent before the first step are on it already. timing: keeps these
    seconds within a budget, by changing the number of steps along the way if it must. Raises
    Diverged if the loss is not finite at an evaluation.
    """
    clock = clock or TrainingClock()
    training = Training(method, loader, recipe, lr, validate, progress, checkpointer, clock, timing)
    return training.run()


@dataclass
class Training:
    """A training under way; see `fit`, which starts it, for the fields."""

    method: Method
    loader: Loader
    recipe: Recipe
    lr: float
    validate: Callable[[], float] | None
    progress: Progress
    checkpointer: Checkpointer | None
    clock: TrainingClock
    timing: Timing | None

    def __post_init__(self) -> None:
        loader, recipe = self.loader, self.recipe
        device = loader.device
        self.per_epoch = loader.split.batches_per_epoch(recipe.batch_size)
        self.epochs = planned_epochs(recipe, self.per_epoch)
        self.images = loader.split.batch_size(recipe.batch_size) * recipe.accumulation
        steps = planned_steps(recipe, self.per_epoch)
        self.trainer = Trainer(self.method, recipe, self.lr, steps, device)
        self.schedule = self.trainer.schedule
        window = 10 if device.type == "cuda" else 5
        self.watch = Stopwatch(device, window, window)
        self.memory = Memory(device, loader.resident_bytes)
        # The sum since the last evaluation. It stays on the device, because reading it makes the
        # loop wait. A list of losses would be many small tensors in the memory that steps have
        # freed, which a CPU's allocator could then not reuse: memory grew by 5 MiB a step.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.state = TrainState()

    def run(self) -> TrainState:
        """Train from the start or a checkpoint to the end."""
        state, schedule = self.state, self.schedule
        self.memory.start()
        self._begin()
        begun = state.step
        batches = _stream(self.method, self.loader, self.epochs, begun * self.recipe.accumulation)
        with GpuSampler(self.loader.device) as sampler:
            self.clock.start()
            while state.step < schedule.steps:
                if state.step > begun:
                    self._save()
                self._step(batches)
            self.clock.stop()
            self._save()
        state.efficiency = self._costs(sampler)
        return state

    def _begin(self) -> None:
        """Set everything to the start of the training, or to where its checkpoint was written."""
        state = self.state
        self.started = time.perf_counter()
        self.method.on_fit(len(self.loader.split.rows))
        self.method.train()
        kept = None
        if self.checkpointer is not None:
            kept = self.checkpointer.restore(self.trainer, self.watch, self.memory)
        self.evaluation_steps = self.schedule.evaluation_steps()
        if kept is not None:
            vars(state).update(kept)
            self.loss_sum.fill_(state.loss_sum)
            self.started -= state.seconds  # as if the training had never been stopped
            self.clock.set(state.training_seconds)
            self.loader.table.length = max(self.loader.table.length, state.text_length)
        if self.timing is not None:
            self.timing.marks = list(state.marks)
            if not state.marks:
                self.timing.mark(self.schedule, state.step, self.clock.seconds)

    def _step(self, batches: Iterator[Batch]) -> None:
        state, schedule = self.state, self.schedule
        self.method.on_step(int(schedule.place(state.step)), schedule.planned)
        state.step += 1
        self.loss_sum += self.trainer.step(list(islice(batches, self.recipe.accumulation)))
        self.watch.step(self.images)
        point = self._evaluate() if state.step in self.evaluation_steps else None
        self.progress(Step(state.step, schedule.steps, self.watch.latest(), point))

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Measure nothing inside.

        `memory` is paused first, which waits for the GPU: the clock must stop after the last step.
        """
        with self.memory.paused(), self.watch.paused(), self.clock.paused():
            yield

    def _evaluate(self) -> CurvePoint:
        """Read the loss, evaluate, keep the best state. Returns a point of the learning curve."""
        state = self.state
        with self._paused():
            steps = state.step - (state.curve[-1]["step"] if state.curve else 0)
            loss = float(self.loss_sum) / steps
            self.loss_sum.zero_()
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} before step {state.step}; try a smaller learning rate"
                )
            point: CurvePoint = {
                "step": state.step,
                "epoch": state.step * self.recipe.accumulation / self.per_epoch,
                "loss": loss,
                "lr": self.lr * self.schedule(state.step - 1),
                "train_seconds": self.clock.seconds,
            }
            score = float(state.step)  # without validation the last state counts as the best
            if self.validate is not None:
                point["val_mR"] = score = self.validate()
                self.method.train()
            state.curve.append(point)
            if score > state.best:
                state.best, state.best_step = score, state.step
                own = self.method.own_state()
                state.best_state = {name: tensor.cpu().clone() for name, tensor in own.items()}
            if self.timing is not None:
                self.timing.mark(self.schedule, state.step, self.clock.seconds)
                if self.timing.correct(self.schedule):
                    self.evaluation_steps = self.schedule.evaluation_steps()
        return point

    def _save(self) -> None:
        """Write a checkpoint if one is due."""
        if self.checkpointer is None or not self.checkpointer.due():
            return
        state = self.state
        with self._paused():
            state.loss_sum = float(self.loss_sum)
            state.seconds = time.perf_counter() - self.started
            state.training_seconds = self.clock.seconds
            state.marks = [] if self.timing is None else list(self.timing.marks)
            state.text_length = self.loader.text_length
            self.checkpointer.save(self.trainer, self.watch, self.memory, vars(state))

    def _costs(self, sampler: GpuSampler) -> Efficiency:
        """What the training and one step of it cost; measuring a step trains a little more."""
        seconds = time.perf_counter() - self.started
        costs: Efficiency = {
            **self.watch.summary(),
            **self.memory.read(self.method, self.trainer.optimizer),
            **sampler.summary(self.watch.spans),
            "train_seconds": seconds,
            "gpu_hours": seconds / 3600 if self.loader.device.type == "cuda" else None,
        }
        if self.timing is not None:
            costs["budget_corrections"] = self.schedule.changes
        if self.checkpointer is not None:
            self.checkpointer.done()
            if self.checkpointer.resumed and "gpu_energy_joules" in costs:
                costs["gpu_energy_joules"] = None  # unknown for the part before the checkpoint
        self.progress(Stage("measuring"))
        # A batch of the epoch after the last, which no step was trained on.
        batch = next(iter(self.loader.epoch(self.epochs)))
        try:
            costs |= step_costs(self.trainer, batch, min(3.0, seconds))
        except Exception as error:
            # Operations are counted on code that is not compiled, which needs more memory.
            if not is_out_of_memory(error):
                raise
            note = "there was not enough memory to measure what a step costs; the training is kept"
            self.progress(Note(note, of_trial=True))
        self.loader.release()
        return costs


def step_costs(trainer: Trainer, batch: Batch, seconds: float) -> Efficiency:
    """What one step costs, on a batch in memory: bytes kept for backward, FLOPs, images/s.

    seconds: how long to measure the speed on a CPU, no longer than the training itself took.
    """
    method, chunk = trainer.method.train(), trainer.recipe.gradcache
    part = gradcache.first_chunk(batch, chunk) if chunk else batch
    images = len(part.image_ids)

    def loss() -> Tensor:
        with trainer.autocast():
            return method.loss(part)

    # Cached features are nested tensors, which are left out.
    inputs = [t for t in (batch.images, batch.texts) if isinstance(t, Tensor)]
    own = [*method.parameters(), *method.buffers(), *inputs]
    # FLOPs are counted operation by operation, which compiled code would hide.
    eager = torch.compiler.set_stance("force_eager") if trainer.recipe.compile else nullcontext()
    with eager:
        forward, backward = flops(loss, trainer.parameters)
        kernels = attention_kernels(loss)
    if chunk:  # the second forward pass counts in the backward, as recomputation does
        backward += forward
    return {
        "saved_for_backward_bytes": gradcache.kept(method, batch, chunk, trainer.autocast, own),
        "forward_flops_per_image": forward / images,
        "backward_flops_per_image": backward / images,
        "attention_kernels": kernels,
        "step_images_per_second": step_rate(trainer, [batch], seconds),
    }


def _stream(method: Method, loader: Loader, epochs: int, done: int) -> Iterator[Batch]:
    """All batches after the first `done`; calls the method's `on_epoch` at each epoch."""
    begun, first = divmod(done, loader.split.batches_per_epoch(loader.batch_size))
    for epoch in count(begun):  # no end: a time budget may allow more steps than planned
        method.on_epoch(epoch, max(epochs, epoch + 1))
        yield from loader.epoch(epoch, first)
        first = 0
