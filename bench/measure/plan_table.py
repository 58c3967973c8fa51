"""The screen of `bench plan`: what was assumed, a row for each method, what the columns mean."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.console import plain_table
from bench.label import Label
from bench.measure.oom import recomputation_helps
from bench.measure.parameters import rounded
from bench.measure.plan import Prediction, Row
from bench.recipe import Recipe, batch_in_words
from bench.spec import portable
from bench.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

SIZES = {
    "weights": "parameter_bytes",
    "gradients": "gradient_bytes",
    "optimiser": "optimizer_bytes",
    "activations": "activation_bytes",
    "kept": "saved_for_backward_bytes",
}
"""Columns of `--parts`, and where their bytes stand in a row's figures."""


def header(rows: list[Row], gpu_memory: int | None) -> str:
    """What the prediction assumes: data, backbone, batch, length of the texts, the GPU."""
    words = [Path(rows[0].dataset).stem, portable(rows[0].backbone)]
    predicted = [row for row in rows if row.reason is None]
    if predicted:
        figures = predicted[0].figures
        sizes = {row.figures["batch_size"] for row in predicted}
        parts = figures["images_per_step"] // figures["batch_size"]
        words.append(f"batch {batch_in_words(sizes, parts)}")
        words.append(f"text {figures['context_length']} tokens ({predicted[0].length_of})")
    if gpu_memory is not None:
        words.append(f"GPU {format_bytes(gpu_memory)}")
    return " \u00b7 ".join(words)


def table(
    rows: list[Row], parts: bool = False, steps: dict[str, int | str | None] | None = None
) -> "Table":
    """The rows of one data set and backbone, for a terminal of 80 columns.

    `steps` by call, where the recipe gives a time: a number, or words where it is not known.
    `parts`: what the peak consists of, instead of the work and the largest batch.
    """
    predicted = [row for row in rows if row.reason is None]
    unit, size = _unit(predicted)
    sized = any("fits" in row.figures for row in predicted)
    steps = {call: count for call, count in (steps or {}).items() if count is not None}
    differ = len({row.figures["batch_size"] for row in predicted}) > 1
    names = ["method", "trains", *(["batch"] if differ else []), *(["steps"] if steps else [])]
    names.append(f"peak {unit}")
    names += ["fits"] if sized else []
    names += SIZES if parts else (["largest batch"] if sized else []) + ["GFLOPs/image"]
    shown = plain_table(*names)
    for column in shown.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for row in predicted:
        figures = row.figures
        cells: list[str | Label] = [Label(row.call), rounded(figures["trainable_parameters"])]
        cells += [f"{figures['images_per_step']:,}"] if differ else []
        cells += [_steps(steps.get(row.call))] if steps else []
        cells.append(_number(figures["predicted_peak_bytes"] / size))
        if sized:
            cells.append("yes" if figures["fits"] else "no")
        if parts:
            by_name: Mapping[str, Any] = figures
            cells += [_number(by_name[name] / size) for name in SIZES.values()]
        else:
            work = figures["forward_flops_per_image"] + figures["backward_flops_per_image"]
            cells += [_batch(figures)] if sized else []
            cells.append(_number(work / 1e9))
        shown.add_row(*cells)
    return shown


def legend(rows: list[Row], recipe: Recipe, parts: bool = False) -> list[str]:
    """What the columns mean, what would need less memory, and what cannot be predicted, and why."""
    predicted = [row for row in rows if row.reason is None]
    lines = []
    if predicted:
        lines.append(
            "trains: trainable parameters. peak: most memory in training, predicted, without the "
            "CUDA context (about 0.5 GiB more)."
        )
    if predicted and parts:
        lines.append(
            "peak = weights + gradients + optimiser + activations; kept: what a step keeps for its "
            "backward pass."
        )
    elif predicted:
        lines.append(
            "GFLOPs/image: forward and backward pass of an image with its caption. --parts shows "
            "what the peak consists of."
        )
    if recipe.accumulation > 1 and any("fits" in row.figures for row in predicted) and not parts:
        lines.append("largest batch: images in a micro-batch, as --batch-size takes them.")
    lines += _advice(predicted, recipe)
    return lines + [f"{row.call}: {row.reason}" for row in rows if row.reason is not None]


def _advice(rows: list[Row], recipe: Recipe) -> list[str]:
    lines = []
    unit, size = _unit(rows)
    for row in rows:
        peak = row.figures["predicted_peak_bytes"]
        frozen = row.figures["parameter_bytes"] - 4 * row.figures["trainable_parameters"]
        if recipe.frozen == "fp32" and recipe.precision in ("auto", "bf16") and frozen > 0.4 * peak:
            lines.append(
                f"Of the {_number(peak / size)} {unit} of {row.call} "
                f"{_number(frozen / size)} are frozen weights: --recipe frozen=bf16 halves those."
            )
            break
    over = [row.call for row in rows if row.figures.get("fits") is False]
    helped = [call for call in over if recomputation_helps(call.partition("(")[0], recipe)]
    if helped:
        lines.append(
            f"{helped[0]} does not fit: --recipe checkpointing=true needs less memory and more "
            "time."
        )
    return lines


def _unit(rows: list[Row]) -> tuple[str, int]:
    """GiB where some peak is that large, else MiB; and how many bytes that is."""
    largest = max((row.figures["predicted_peak_bytes"] for row in rows), default=0)
    return ("GiB", 2**30) if largest >= 2**30 else ("MiB", 2**20)


def _number(value: float) -> str:
    """With one decimal below 100, thousands apart."""
    if value and value < 0.05:
        return "<0.1"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def _steps(steps: int | str | None) -> str:
    if isinstance(steps, str):
        return steps
    return "–" if steps is None else f"{steps:,}"


def _batch(figures: Prediction) -> str:
    largest = figures["largest_batch"]
    return f"{largest:,}" if largest else "none"
