"""One optimiser step: precision, loss, gradients, update. `bench.training.train` repeats it."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.recipe import Recipe
from bench.training import gradcache
from bench.training.schedule import Schedule
from methods.base import Batch, Method


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast: the recipe's; for `auto` the best one that the device supports."""
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            precision = "bf16" if native else "fp16"
        else:
            precision = "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to `dtype`; does nothing if that is float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def deterministic(only: bool) -> None:
    """Allow deterministic algorithms only, or all of them.

    With `only`, an operation without such an algorithm raises RuntimeError. Call it before CUDA
    starts, since cuBLAS reads its setting then.
    """
    if only:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(only)
    torch.backends.cudnn.deterministic = only


class Trainer:
    """Optimiser, schedule and one step. Training, measuring and predicting memory all use it."""

    def __init__(self, method: Method, recipe: Recipe, lr: float, steps: int, device: torch.device):
        self.method, self.recipe, self.device = method, recipe, device
        self.dtype = compute_dtype(recipe.precision, device)
        self.autocast = partial(autocast, self.dtype, device)
        groups = method.param_groups()
        self.parameters = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(
            groups, lr=lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.schedule = Schedule(steps, recipe.warmup, recipe.evaluations)
        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.schedule)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def step(self, batches: list[Batch]) -> Tensor:
        """One optimiser step over its micro-batches; the mean loss, left on the device."""
        total = torch.zeros((), device=self.device)
        for batch in batches:
            total += self._backward(batch, len(batches))
        # The scaler acts with float16 only; then gradients must be clipped at their true size.
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.rates.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _backward(self, batch: Batch, parts: int) -> Tensor:
        """Add the gradients of one of `parts` micro-batches. Returns its share of the loss."""
        if self.recipe.gradcache:
            scale = lambda loss: self.scaler.scale(loss / parts)  # noqa: E731
            chunk = self.recipe.gradcache
            return gradcache.backward(self.method, batch, chunk, self.autocast, scale) / parts
        with self.autocast():
            loss = self.method.loss(batch) / parts
        self.scaler.scale(loss).backward()
        return loss.detach()


def pass_through(method: Method, batch: Batch, dtype: torch.dtype, device: torch.device) -> None:
    """Forward and backward pass of a batch without an optimiser step; gradients are cleared."""
    method.train()
    with autocast(dtype, device):
        loss = method.loss(batch)
    loss.backward()
    method.zero_grad()
