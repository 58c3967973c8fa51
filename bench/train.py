"""The one training loop: nothing else in the project trains."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import count, islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bench import gradcache
from bench.batches import Loader
from bench.checkpoint import Keeper, plain
from bench.measure.attention import attention_kernels
from bench.measure.meter import GpuSampler, Memory, Stopwatch, flops, saved_bytes, step_rate
from bench.measure.training_clock import TrainingClock
from bench.recipe import Recipe
from bench.schedule import Schedule
from bench.timing import Timing
from methods.base import Batch, Method

Progress = Callable[[dict[str, Any]], None]


class Diverged(ArithmeticError):
    """The loss or a similarity became NaN or infinite."""


def compute_type(precision: str, device: torch.device) -> torch.dtype:
    """Autocast's number format: what the recipe says, `auto` by what the device computes in."""
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            precision = "bf16" if native else "fp16"
        else:
            precision = "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def autocast(kind: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to `kind`; nothing where that is float32."""
    return nullcontext() if kind == torch.float32 else torch.autocast(device.type, dtype=kind)


def deterministic(only: bool) -> None:
    """Allow only deterministic algorithms, or all; an operation that has none raises RuntimeError.

    Call it before CUDA starts, for that is when cuBLAS reads its setting.
    """
    if only:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(only)
    torch.backends.cudnn.deterministic = only
    if only:
        torch.backends.cudnn.benchmark = False


class Trainer:
    """Optimiser, schedule and one step; what `fit`, the meters and the prediction all run."""

    def __init__(self, method: Method, recipe: Recipe, lr: float, steps: int, device: torch.device):
        self.method, self.recipe, self.device = method, recipe, device
        self.kind = compute_type(recipe.precision, device)
        groups = method.param_groups()
        self.parameters = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(
            groups, lr=lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.plan = Schedule(steps, recipe.warmup, recipe.evaluations)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.plan)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.kind == torch.float16)

    def step(self, batches: list[Batch]) -> Tensor:
        """One optimiser step over its micro-batches; the mean loss, left on the device."""
        total = torch.zeros((), device=self.device)
        for batch in batches:
            total += self._backward(batch, len(batches))
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _backward(self, batch: Batch, parts: int) -> Tensor:
        """Add the gradients of one of `parts` micro-batches; its share of the loss."""
        if self.recipe.gradcache:
            scale = lambda loss: self.scaler.scale(loss / parts)  # noqa: E731
            chunk = self.recipe.gradcache
            return gradcache.backward(self.method, batch, chunk, self.autocast, scale) / parts
        with self.autocast():
            loss = self.method.loss(batch) / parts
        self.scaler.scale(loss).backward()
        return loss.detach()

    def autocast(self) -> AbstractContextManager[Any]:
        """Autocast as the recipe's precision says."""
        return autocast(self.kind, self.device)


class LossLog:
    """The losses since the last look at validation, left on the device: reading one would wait.

    They are copied into one tensor that is allocated before the first step. A list of them would
    keep a few bytes of every step, in the middle of the memory that the step had and gave back: a
    CPU's allocator could not put the next step's large tensors there, and took 5 MiB a step more.
    """

    def __init__(self, plan: Schedule, device: torch.device) -> None:
        """`plan`: says after which steps `mean` is asked for."""
        places = [plan.since, *sorted(plan.looks())]
        self._losses = torch.zeros(max(b - a for a, b in pairwise(places)), device=device)
        self._count = 0

    def add(self, loss: Tensor) -> None:
        """Note the loss of one step, a scalar."""
        self._losses[self._count].copy_(loss)
        self._count += 1

    def since_look(self) -> Tensor:
        """The losses since the last look, a view."""
        return self._losses[: self._count]

    def restore(self, losses: Tensor) -> None:
        """Take over what `since_look` gave before a checkpoint."""
        self._count = len(losses)
        self.since_look().copy_(losses)

    def mean(self) -> float:
        """The mean since the last look, waiting for the device; the next look begins here."""
        mean = float(self.since_look().mean())
        self._count = 0
        return mean


@dataclass
class Fitted:
    """What training left: the best state on validation, the learning curve, what it cost."""

    best_state: dict[str, Tensor]
    best_step: int
    curve: list[dict[str, float]] = field(default_factory=list)
    efficiency: dict[str, Any] = field(default_factory=dict)


def planned_steps(recipe: Recipe, batches_per_epoch: int) -> int:
    """Optimiser steps of a whole training; a recipe's `time` must have become steps by then."""
    assert recipe.time is None, "bench.budget.settled turns it into steps"
    if recipe.steps is not None:
        return recipe.steps
    return max(1, round(recipe.epochs * batches_per_epoch / recipe.accumulation))


def planned_epochs(recipe: Recipe, batches_per_epoch: int) -> int:
    """Epochs that those steps reach into."""
    steps = planned_steps(recipe, batches_per_epoch)
    return math.ceil(steps * recipe.accumulation / batches_per_epoch)


def fit(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    lr: float,
    validate: Callable[[], float] | None,
    progress: Progress = lambda _: None,
    keeper: Keeper | None = None,
    clock: TrainingClock | None = None,
    timing: Timing | None = None,
) -> Fitted:
    """Train; keep the state with the best validation mR (without `validate`: the last one).

    With a `keeper` it writes checkpoints, and goes on from the one that is there. `clock` counts
    the seconds of training; it comes with those that were spent before the first step. `timing`
    keeps them within a budget, by changing the number of steps on the way where it must.
    Raises Diverged when the loss is not finite at a look (every validation and at the end).
    """
    device = loader.device
    per_epoch = loader.split.batches_per_epoch(recipe.batch_size)
    trainer = Trainer(method, recipe, lr, planned_steps(recipe, per_epoch), device)
    plan = trainer.plan
    window = 10 if device.type == "cuda" else 5
    watch, memory = Stopwatch(device, window, window), Memory(device, loader.resident_bytes)
    memory.start()
    fitted = Fitted({}, 0)
    epochs = planned_epochs(recipe, per_epoch)
    images = loader.split.batch_size(recipe.batch_size) * recipe.accumulation
    step, best, started = 0, -1.0, time.perf_counter()
    clock = clock or TrainingClock()
    method.on_fit(len(loader.split.rows))
    method.train()
    kept = None if keeper is None else keeper.restore(trainer, watch, memory)
    looks = plan.looks()
    losses = LossLog(plan, device)
    if kept is not None:
        step, best = kept["step"], kept["best"]
        losses.restore(kept["losses"])
        fitted = Fitted(kept["best_state"], kept["best_step"], kept["curve"])
        started -= kept["seconds"]
        clock.set(kept["training_seconds"])
        loader.table.length = max(loader.table.length, kept["text_length"])
    if timing is not None:
        timing.marks = [tuple(mark) for mark in kept["marks"]] if kept is not None else []
        if not timing.marks:
            timing.mark(plan, step, clock.seconds)
    begun = step
    batches = _stream(method, loader, epochs, step * recipe.accumulation)

    def keep() -> None:
        if keeper is None or not keeper.due():
            return
        # Pausing `memory` waits for a GPU, so that the clock stops when the last step is done.
        with memory.paused(), watch.paused(), clock.paused():
            loop = {
                "step": step,
                "best": float(best),
                "losses": losses.since_look().clone(),
                "best_state": fitted.best_state,
                "best_step": fitted.best_step,
                "curve": plain(fitted.curve),
                "seconds": time.perf_counter() - started,
                "training_seconds": clock.seconds,
                "marks": [list(mark) for mark in timing.marks] if timing is not None else [],
                "text_length": loader.text_length,
            }
            keeper.save(trainer, watch, memory, loop)

    with GpuSampler(device) as sampler:
        clock.start()
        while step < plan.steps:
            if step > begun:
                keep()
            method.on_step(int(plan.place(step)), plan.planned)
            step += 1
            losses.add(trainer.step(list(islice(batches, recipe.accumulation))))
            watch.step(images)
            if step not in looks:
                progress({"step": step, "steps": plan.steps, "images_per_second": watch.latest()})
                continue
            with memory.paused(), watch.paused(), clock.paused():
                loss = losses.mean()
                if not math.isfinite(loss):
                    raise Diverged(
                        f"the loss is {loss} before step {step}; try a smaller learning rate"
                    )
                point = {
                    "step": step,
                    "epoch": step * recipe.accumulation / per_epoch,
                    "loss": loss,
                    "lr": lr * plan(step - 1),
                    "train_seconds": clock.seconds,
                }
                if validate is not None:
                    point["val_mR"] = validate()
                    method.train()
                fitted.curve.append(point)
                score = point.get("val_mR", float(step))
                if score > best:
                    best, fitted.best_step = score, step
                    fitted.best_state = {k: v.cpu().clone() for k, v in method.own_state().items()}
                if timing is not None:
                    timing.mark(plan, step, clock.seconds)
                    if timing.correct(plan):
                        looks, losses = plan.looks(), LossLog(plan, device)
            rate = watch.latest()
            progress({"step": step, "steps": plan.steps, "images_per_second": rate, **point})
        clock.stop()
        keep()
    seconds = time.perf_counter() - started
    fitted.efficiency = {
        **watch.summary(),
        **memory.read(method, trainer.optimizer),
        **sampler.summary(watch.spans),
        "train_seconds": seconds,
        "gpu_hours": seconds / 3600 if device.type == "cuda" else None,
        **({} if timing is None else {"budget_corrections": plan.changes}),
    }
    if keeper is not None:
        keeper.done()
        if keeper.resumed and "gpu_energy_joules" in fitted.efficiency:
            fitted.efficiency["gpu_energy_joules"] = None  # the earlier parts' is not known
    progress({"stage": "measuring"})
    fitted.efficiency |= _measure(trainer, next(iter(loader.epoch(epochs))))
    loader.release()
    return fitted


def pass_through(method: Method, batch: Batch, kind: torch.dtype, device: torch.device) -> None:
    """Forward and backward of a batch without a step; no gradient is left."""
    method.train()
    with autocast(kind, device):
        loss = method.loss(batch)
    loss.backward()
    method.zero_grad()


def _measure(trainer: Trainer, batch: Batch) -> dict[str, Any]:
    """What one step costs on a resident batch: bytes kept for backward, FLOPs, images/s."""
    method, chunk = trainer.method.train(), trainer.recipe.gradcache
    part = gradcache.first_chunk(batch, chunk) if chunk else batch
    images = len(part.image_ids)

    def loss() -> Tensor:
        with trainer.autocast():
            return method.loss(part)

    given = [t for t in (batch.images, batch.texts) if isinstance(t, Tensor)]  # not: features
    own = [*method.parameters(), *method.buffers(), *given]
    # Operations are counted as they are called, and a compiled function calls none.
    eager = torch.compiler.set_stance("force_eager") if trainer.recipe.compile else nullcontext()
    with eager:
        forward, backward = flops(loss, trainer.parameters)
        kernels = attention_kernels(loss)
    if chunk:  # the second forward pass counts in the backward, as recomputation does
        backward += forward
        kept = gradcache.kept(method, batch, chunk, trainer.autocast, own)
    else:
        kept = saved_bytes(loss, own)
    return {
        "saved_for_backward_bytes": kept,
        "forward_flops_per_image": forward / images,
        "backward_flops_per_image": backward / images,
        "attention_kernels": kernels,
        "step_images_per_second": step_rate(trainer, [batch]),
    }


def _stream(method: Method, loader: Loader, epochs: int, done: int) -> Iterator[Batch]:
    """All batches after the first `done`; the method is told of each epoch before its batches."""
    begun, first = divmod(done, loader.split.batches_per_epoch(loader.batch_size))
    for epoch in count(begun):  # without end: a time budget may hold more steps than planned
        method.on_epoch(epoch, max(epochs, epoch + 1))
        yield from loader.epoch(epoch, first)
        first = 0
