"""The message of a trial that ran out of memory: its peak, and a batch that should fit."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from bench.recipe import Recipe
from bench.schema import Efficiency
from bench.units import format_bytes
from methods import registry

if TYPE_CHECKING:
    from bench.trial import Trial


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the GPU or the machine ran out of memory."""
    # The second is what cuBLAS and cuDNN say; CUDA itself: "CUDA error: out of memory".
    signs = ("can't allocate memory", "_ALLOC_FAILED", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    )


def recomputation_helps(method: str, recipe: Recipe) -> bool:
    """Whether `checkpointing=true` would save memory that the recipe does not save already."""
    # Towers without a backward pass keep nothing that could be recomputed.
    return not (recipe.checkpointing or registry()[method].frozen_features)


def usable_memory() -> int | None:
    """Bytes of the GPU that a trial can use: what is free and what this process holds already."""
    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved()


def explain(
    error: BaseException, trial: "Trial", context_length: int | None, resident: int = 0
) -> tuple[str, Efficiency]:
    """The record's message and efficiency figures; call it when the model's memory is free again.

    `resident`: bytes of training images that lay on the GPU. Without a GPU, or if predicting fails,
    no batch is named. It never raises.
    """
    message = next(iter(str(error).splitlines()), "") or type(error).__name__
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    figures: Efficiency = {"peak_memory_train_bytes": None}
    if peak is not None:
        figures["peak_memory_train_bytes"] = max(0, peak - resident)
        message += f" Its peak was {format_bytes(peak)}."
    largest = _largest_batch(trial, context_length, resident)
    if largest is not None:
        figures["largest_batch_predicted"] = largest
        batch = f"--batch-size {largest} (now {trial.recipe.batch_size})"
        message += f" Predicted to fit this GPU: {batch if largest else 'not even a batch of 2'}."
        if recomputation_helps(trial.method, trial.recipe):
            message += " --recipe checkpointing=true needs less."
    return message, figures


def _largest_batch(trial: "Trial", context_length: int | None, resident: int) -> int | None:
    try:
        limit = usable_memory()
        if limit is None:
            return None
        from bench.measure import plan

        prediction = plan.predict(
            trial.backbone,
            trial.method,
            trial.settings,
            replace(trial.recipe, lr=trial.lr or trial.recipe.lr),
            context_length=context_length,
            gpu_memory=limit - resident,
        )
        return prediction["largest_batch"]
    except Exception:  # whatever hinders a prediction, the record is written
        return None
