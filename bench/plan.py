"""Memory and FLOPs of a trial, predicted without a GPU and without weights."""

import copy
import functools
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bench import backbone, meter
from bench.recipe import Recipe
from bench.rehearsal import LiveBytes, as_on_cuda, make_fake
from bench.train import Trainer, autocast, compute_type
from methods import registry
from methods.base import Batch, Method, NotApplicable

if TYPE_CHECKING:
    from rich.table import Table

    from bench.trial import Trial

CPU = torch.device("cpu")
CAPTIONS = 5
IMAGES = 10_000
"""Training images told to a method: enough for every queue to be whole."""
WORKSPACE = 2 * (2 * 4096 + 8 * 16) * 1024
"""cuBLAS's workspaces inside "allocated": one of forward, one of backward (Hopper: 2 x 32 MiB)."""
LIMIT = 65_536
"""No larger batch is looked for."""


@functools.lru_cache(maxsize=1)
def _backbone(spec: str) -> backbone.Backbone:
    """The architecture of a backbone, with random weights: nothing is fetched."""
    if spec.startswith(("hf-hub:", "local-dir:")):
        return backbone.load(spec)
    return backbone.load(f"{backbone.split_spec(spec)[0]}:none")


class Rehearsal:
    """A method's real training step on fake tensors (or, to check it, on real ones) on the CPU.

    What is modelled: parameters and buffers, gradients, optimiser states, every tensor that an
    operation of forward, backward, clipping and AdamW returns, as long as it lives, rounded up to
    512 bytes; autocast and dropout as on CUDA; attention that keeps queries, keys, values, output
    and the logsumexp, as CUDA's flash and memory-efficient kernels do; recomputation; the batch.
    What is not: scratch inside a kernel (backward of attention, convolution), the loader's
    augmentation, fragmentation, and the CUDA context.
    """

    def __init__(
        self, method: Method, recipe: Recipe, size: int, length: int, *, fake: bool = True
    ) -> None:
        self.method, self.size, self.length = method, size, length
        if recipe.precision in (
            "auto",
            "fp16",
        ):  # fp16's scaler asks for values; sizes are the same
            recipe = replace(recipe, precision="bf16")
        self.recipe, self.kind = recipe, compute_type(recipe.precision, CPU)
        towers = (method.image_tower, method.text_tower)
        for tower in towers:
            tower.checkpointing = recipe.checkpointing
        self.mode: Any = FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext()
        if fake:
            make_fake(method, self.mode)
        method.train()
        method.on_fit(IMAGES)
        method.on_epoch(0, 1)
        method.on_step(99, 100)  # whatever a schedule switches on is on
        self.trainer: Trainer | None = None
        if any(p.requires_grad for p in method.parameters()):
            self.trainer = Trainer(method, recipe, 1e-3, 100, CPU)
            for group in self.trainer.optimizer.param_groups:  # as on CUDA
                group["fused"], group["foreach"] = True, False
            self.peak(2)  # AdamW's states appear in the first step

    def batch(self, images: int) -> Batch:
        """A batch of so many images, none of which shares a caption."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.arange(images)
        fields = {
            "images": torch.randn(images, 3, self.size, self.size),
            "texts": torch.randint(1, 400, (images, self.length), generator=generator),
            "image_ids": rows,
            "caption_ids": rows * CAPTIONS,
            "caption_sets": torch.arange(images * CAPTIONS).view(images, CAPTIONS),
            "scenes": torch.zeros(images, dtype=torch.long),
        }
        return Batch(**fields)

    def peak(self, images: int) -> int:
        """Peak bytes of a training step (without training: of encoding a batch)."""
        with self.mode, as_on_cuda(), LiveBytes() as live:
            for tensor in self._resident():
                live.add(tensor)
            if self.trainer is not None:
                batches = [self.batch(images) for _ in range(self.recipe.accumulation)]
                self.trainer.step(batches)
                return live.peak
            batch = self.batch(images)
            with torch.no_grad(), autocast(self.kind, CPU):
                self.method.encode_image(batch.images)
                self.method.encode_text(batch.texts)
            return live.peak

    def parts(self) -> dict[str, int]:
        """Bytes of parameters, gradients and optimiser states."""
        return meter.parts(self.method, self.trainer.optimizer if self.trainer else None)

    def kept(self, images: int) -> int:
        """Bytes that autograd keeps for backward."""
        with self.mode, as_on_cuda():
            batch = self.batch(images)
            own = [*self.method.parameters(), *self.method.buffers()]
            with autocast(self.kind, CPU):
                return meter.saved_bytes(lambda: self.method.loss(batch), exclude=own)

    def flops(self, images: int) -> tuple[int, int]:
        """FLOPs of forward and backward (recomputation counts in the backward)."""
        with self.mode, as_on_cuda(), torch.set_grad_enabled(self.trainer is not None):
            batch = self.batch(images)

            def loss() -> Tensor:
                with autocast(self.kind, CPU):
                    return self.method.loss(batch)

            return meter.flops(loss, self.method.parameters())

    def _resident(self) -> list[Tensor]:
        states = self.trainer.optimizer.state.values() if self.trainer else ()
        tensors = [t for state in states for t in state.values() if isinstance(t, Tensor)]
        return [*self.method.parameters(), *self.method.buffers(), *tensors]


def predict(
    spec: str,
    method: str,
    settings: dict[str, Any],
    recipe: Recipe,
    *,
    context_length: int | None = None,
    gpu_memory: int | None = None,
    workspace: int = WORKSPACE,
) -> dict[str, Any]:
    """What a trial would need on a GPU: bytes, FLOPs per image, and, given `gpu_memory` bytes,
    whether it fits and the largest batch that does.

    `context_length`: tokens per text after trimming; None: the backbone's own. activation_bytes is
    the rest of the peak. Raises NotApplicable as the method does.
    """
    base = _backbone(spec)
    length = context_length or int(getattr(base.tokenizer, "context_length", None) or 77)
    torch.manual_seed(0)
    built = registry()[method](copy.deepcopy(base.model), **settings)
    rehearsal = Rehearsal(built, recipe, base.image_size, length)
    batch = recipe.batch_size
    peak = rehearsal.peak(batch) + workspace
    parts = rehearsal.parts()
    forward, backward = rehearsal.flops(batch)
    found = {
        "trainable_parameters": sum(p.numel() for p in built.parameters() if p.requires_grad),
        "total_parameters": sum(p.numel() for p in built.parameters()),
        "context_length": length,
        "batch_size": batch,
        "predicted_peak_bytes": peak,
        **parts,
        "activation_bytes": max(0, peak - sum(parts.values())),
        "saved_for_backward_bytes": rehearsal.kept(batch) if rehearsal.trainer else 0,
        "flops_forward_per_image": forward / batch,
        "flops_backward_per_image": backward / batch,
    }
    if gpu_memory is not None:
        found["fits"] = peak <= gpu_memory
        found["largest_batch"] = largest_batch(
            lambda images: rehearsal.peak(images) + workspace, gpu_memory, (batch, peak)
        )
    return found


def largest_batch(
    peak: Callable[[int], int], memory: int, known: tuple[int, int], limit: int = LIMIT
) -> int:
    """The largest batch whose `peak` bytes fit `memory`, near enough; 0 where not even 2 do.

    The peak grows with the batch, almost linearly, with a small square term (logits). So the line
    through the two nearest sizes known gives the next guess; it stops at a size that fits while the
    next sixty-fourth does not.
    """
    fits, over = (0, 0), (limit + 1, memory + 1)
    for first in (known, (max(2, known[0] // 2), 0)):
        size, used = first if first[1] else (first[0], peak(first[0]))
        fits, over = ((size, used), over) if used <= memory else (fits, (size, used))
        points = [known, (size, used)]
    for _ in range(8):
        (a, low), (b, high) = points[-2:]
        slope = max((high - low) / (b - a), 1) if a != b else 1.0
        guess = int(b + (memory - high) / slope)
        guess = min(max(guess, fits[0] + 1), over[0] - 1, limit)
        if over[0] - fits[0] <= max(1, fits[0] // 64) or guess < 2:
            break
        used = peak(guess)
        points.append((guess, used))
        fits, over = ((guess, used), over) if used <= memory else (fits, (guess, used))
    return fits[0]


@dataclass(frozen=True)
class Row:
    """One line of a plan: where, what, and either its figures or the reason why there are none."""

    dataset: str
    backbone: str
    call: str
    figures: dict[str, Any]
    reason: str | None = None


def plan(
    trials: "Iterable[Trial]",
    gpu_memory: int | None = None,
    context_length: Callable[["Trial"], int | None] = lambda trial: None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> list[Row]:
    """Predict each trial; those that differ only in seed or learning rate give one row.

    A method that cannot be built here, or whose step depends on values, gives a row with a reason.
    `progress` is told (rows done, rows in all, what is next).
    """
    distinct = {(t.dataset, t.backbone, t.method, str(t.settings), t.recipe): t for t in trials}
    order = sorted(distinct.values(), key=lambda t: t.backbone)  # one model in memory at a time
    rows: dict[int, Row] = {}
    for done, trial in enumerate(order):
        progress(done, len(order), f"{trial.call} on {trial.backbone}")
        place = (trial.dataset, trial.backbone, trial.call)
        try:
            length = context_length(trial)
            figures = predict(
                trial.backbone,
                trial.method,
                trial.settings,
                trial.recipe,
                context_length=length,
                gpu_memory=gpu_memory,
            )
            rows[id(trial)] = Row(*place, figures)
        except NotApplicable as error:
            rows[id(trial)] = Row(*place, {}, str(error))
        except torch._subclasses.fake_tensor.DataDependentOutputException as error:
            rows[id(trial)] = Row(*place, {}, f"its step depends on values ({error.func})")
    progress(len(order), len(order), "")
    return [rows[id(trial)] for trial in distinct.values()]


def table(rows: list[Row]) -> "Table":
    """The rows for a terminal: memory in MiB, FLOPs of one image forward and backward."""
    from rich.table import Table

    sized = any("fits" in row.figures for row in rows)
    names = ["data set", "backbone", "method", "trainable", "peak", "parameters", "gradients"]
    names += ["optimiser", "activations", "kept for backward", "GFLOPs/image"]
    names += ["fits", "largest batch"] if sized else []
    shown = Table(*names, caption="predicted; MiB, without the CUDA context")
    for column in shown.columns[3:]:
        column.justify = "right"
    for row in rows:
        f, place = row.figures, (row.dataset, row.backbone, row.call)
        if row.reason is not None:
            shown.add_row(*place, row.reason)
            continue
        keys = ("predicted_peak", "parameter", "gradient", "optimizer", "activation")
        sizes = [f[f"{key}_bytes"] / 2**20 for key in (*keys, "saved_for_backward")]
        work = [f[f"flops_{way}_per_image"] / 1e9 for way in ("forward", "backward")]
        cells = [f"{f['trainable_parameters']:,}", *(f"{size:,.0f}" for size in sizes)]
        cells.append(" + ".join(f"{flops:,.1f}" for flops in work))
        if sized:
            cells += ["yes" if f["fits"] else "no", f"{f['largest_batch']:,}"]
        shown.add_row(*place, *cells)
    return shown
