"""`bench plan`: memory and FLOPs of a trial, predicted without a GPU and without weights."""

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from bench import UserError, backbone, brief, data
from bench.measure import fitting_batch
from bench.measure.rehearsal import WORKSPACE, Rehearsal, predictable
from bench.recipe import Recipe
from methods import registry
from methods.base import Method, NotApplicable, Sample

if TYPE_CHECKING:
    from bench.trial import Trial

LIMIT = 65_536
"""The largest batch that is considered."""


@functools.lru_cache(maxsize=1)
def _backbone(spec: str) -> backbone.Backbone:
    """A backbone with random weights, so that nothing has to be downloaded."""
    if spec.startswith(("hf-hub:", "local-dir:")):
        return backbone.load(spec)
    return backbone.load(f"{backbone.split_spec(spec)[0]}:none")


class Prediction(TypedDict, total=False):
    """What a trial would need on a GPU."""

    trainable_parameters: int
    total_parameters: int
    context_length: int
    """Tokens of a text."""
    batch_size: int
    images_per_step: int
    """Images in a step: with accumulation, those of several micro-batches of `batch_size`."""
    predicted_peak_bytes: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    """The rest of the peak."""
    saved_for_backward_bytes: int
    forward_flops_per_image: float
    backward_flops_per_image: float
    fits: bool
    """Whether the peak fits the GPU; absent where no GPU is given."""
    largest_batch: int
    """The largest batch that fits it."""


@predictable()
def predict(
    spec: str,
    method: str,
    settings: dict[str, Any],
    recipe: Recipe,
    *,
    context_length: int | None = None,
    gpu_memory: int | None = None,
    workspace: int = WORKSPACE,
    training: "Training | None" = None,
    cached: bool = False,
) -> Prediction:
    """What a trial would need on a GPU: bytes, FLOPs per image, and, given `gpu_memory` bytes,
    whether it fits and the largest batch that does.

    `context_length`: tokens per text; None: the backbone's own. `training`: the training split,
    needed for the batch if the recipe gives a `memory`. `cached`: training uses cached features,
    whose own bytes do not count. Raises NotApplicable as the method does.
    """
    base = _backbone(spec)
    cls = registry()[method]
    cached = cached and cls.frozen_features
    if recipe.memory is not None and cls.lr is not None:
        recipe = _with_batch(recipe, base, cls, settings, training or Training(), cached)
    length = context_length or fitting_batch.context_length(base)
    torch.manual_seed(0)
    built = cls(copy.deepcopy(base.model), **settings)
    rehearsal = Rehearsal(built, recipe, base.image_size, length, cached=cached)
    batch = recipe.batch_size
    peak = rehearsal.peak(batch) + workspace
    parts = rehearsal.parts()
    forward, backward = rehearsal.flops(batch)
    prediction: Prediction = {
        "trainable_parameters": sum(p.numel() for p in built.parameters() if p.requires_grad),
        "total_parameters": sum(p.numel() for p in built.parameters()),
        "context_length": length,
        "batch_size": batch,
        "images_per_step": batch * recipe.accumulation,
        "predicted_peak_bytes": peak,
        "parameter_bytes": parts.parameters,
        "gradient_bytes": parts.gradients,
        "optimizer_bytes": parts.optimizer,
        "activation_bytes": max(0, peak - sum(parts)),
        "saved_for_backward_bytes": rehearsal.kept(batch) if rehearsal.trainer else 0,
        "forward_flops_per_image": forward / batch,
        "backward_flops_per_image": backward / batch,
    }
    if gpu_memory is not None:
        prediction["fits"] = peak <= gpu_memory
        prediction["largest_batch"] = largest_batch(
            lambda images: rehearsal.peak(images) + workspace, gpu_memory, (batch, peak)
        )
    return prediction


def _with_batch(
    recipe: Recipe,
    base: backbone.Backbone,
    method: type[Method],
    settings: dict[str, Any],
    training: "Training",
    cached: bool,
) -> Recipe:
    """The recipe with the batch that fits its `memory`."""
    size, _ = fitting_batch.batch_within(
        base,
        method,
        settings,
        recipe,
        training.samples,
        images=training.images,
        cuda=training.cuda,
        cached=cached,
    )
    return replace(recipe, memory=None, batch_size=size)


def largest_batch(
    peak: Callable[[int], int], memory: int, known: tuple[int, int], limit: int = LIMIT
) -> int:
    """The largest batch whose `peak` bytes fit into `memory`, to one percent of the memory.

    `known`: one batch and its peak. Returns 0 if not even two images fit, and at most `limit`. The
    peak grows almost linearly with the batch (but for the logits, a small square term), so a line
    through the last two sizes gives the next guess. It ends in few steps; each takes seconds.
    """
    # All the way `fits` is the largest size known to fit, `over` the smallest known not to.
    fits, over = (known[0], limit + 1) if known[1] <= memory else (0, known[0])
    (size, used), guess = known, known[0] // 2 if known[0] > 3 else known[0] + 2
    for _ in range(10):
        before, (size, used) = (size, used), (guess, peak(guess))
        fits, over = (max(fits, size), over) if used <= memory else (fits, min(over, size))
        if over - fits <= 1 or 0 <= memory - used <= memory // 100:
            break
        slope = (used - before[1]) / (size - before[0])
        guess = int(size + (memory - used) / slope) if slope > 0 else limit
        guess = min(max(guess, fits + 1), over - 1)
        if guess < 2:
            break
    return fits


@dataclass(frozen=True)
class Training:
    """The facts about a training split that decide which batch fits a recipe's `memory`.

    cuda: the peak on a GPU has to fit; if False, the bytes that are kept for the backward pass.
    """

    samples: tuple[Sample, ...] = ()
    images: int = LIMIT
    cuda: bool = True


@functools.cache
def _samples(dataset: str, root: Path | None) -> Sequence[Sample]:
    """All images of a data set with their captions; none if they are not there."""
    try:
        return data.load(data.card(dataset), root, images=False).samples if root else ()
    except UserError:
        return ()


@functools.cache
def training_of(dataset: str, root: Path | None, track: str, cuda: bool) -> Training:
    """The training split of a data set, or, if it is not there, its size as the card says."""
    splits = ("train", "val") if track == "train+val" else ("train",)
    counted = sum(data.card(dataset).counts.get(split, 0) for split in splits)
    samples = tuple(
        sample
        for sample in _samples(dataset, root)
        if sample.split in splits and any(map(data.spoken_form, sample.captions))
    )
    return Training(samples, len(samples) or counted or LIMIT, cuda)


@functools.cache
def _longest_caption(dataset: str, spec: str, root: Path | None) -> int | None:
    """Tokens of the longest caption in any split; None as in `fitting_batch.text_length`."""
    captions = [caption for sample in _samples(dataset, root) for caption in sample.captions]
    return fitting_batch.text_length(_backbone(spec), captions)


@dataclass(frozen=True)
class Row:
    """One line of a plan: a method on a data set, and its figures or why there are none."""

    dataset: str
    backbone: str
    call: str
    figures: Prediction
    reason: str | None = None
    length_of: str = ""
    """Where the length of the texts comes from."""


def plan(
    trials: "Iterable[Trial]",
    gpu_memory: int | None = None,
    root: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
    cuda: bool = True,
) -> list[Row]:
    """Predict each trial; trials that differ only in seed or learning rate give one row.

    A method that cannot be built, or whose step looks at the values of tensors, gives a row with
    the reason. `root`: where data sets are; texts are then as long as theirs. `progress` is called
    with the rows done, all rows, and what comes next. `cuda`: see Training.
    """
    distinct = {
        (t.dataset, t.backbone, t.method, str(t.settings), t.recipe, t.cached_features): t
        for t in trials
    }
    order = sorted(distinct.values(), key=lambda t: t.backbone)  # one model in memory at a time
    rows: dict[int, Row] = {}
    for done, trial in enumerate(order):
        progress(done, len(order), f"{trial.call} on {trial.backbone}")
        place = (trial.dataset, trial.backbone, trial.call)
        try:
            length = _longest_caption(trial.dataset, trial.backbone, root)
            figures = predict(
                trial.backbone,
                trial.method,
                trial.settings,
                trial.recipe,
                context_length=length,
                gpu_memory=gpu_memory,
                training=training_of(trial.dataset, root, trial.recipe.track, cuda),
                cached=trial.cached_features > 0,
            )
            length_of = "the longest caption" if length else "as long as the backbone takes"
            rows[id(trial)] = Row(*place, figures, length_of=length_of)
        except (NotApplicable, UserError) as error:
            rows[id(trial)] = Row(*place, {}, str(error))
        except Exception as error:  # a plug-in's method may raise anything
            why = brief(f"{type(error).__name__}: {error}")
            rows[id(trial)] = Row(*place, {}, f"{why}; `bench validate {trial.method}` tells more")
    progress(len(order), len(order), "")
    return [rows[id(trial)] for trial in distinct.values()]
