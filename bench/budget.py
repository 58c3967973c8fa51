"""Equal budgets: how many steps fit a recipe's `time`, and what is recorded of both budgets.

`bench.measure.fitting_batch` finds the batch that fits a recipe's `memory`. Both are worked out
once, before training begins, and kept in the trial's checkpoint, so that a killed trial resumes
with the same batch and steps. Training then runs as if the recipe had given these.
"""

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice, repeat
from typing import Any

from bench import units
from bench.batches import Loader, TrainSplit
from bench.features import Features, all_words, frozen_batch
from bench.measure import pace
from bench.recipe import Recipe
from bench.schedule import planned_epochs
from bench.schema import Efficiency
from bench.timing import Pace, Timing
from methods.base import Batch, Method, NotApplicable

SHARE = 0.01
"""Measuring how long a step takes may take this share of the time budget; it does not count."""
FEWEST = 3
"""A time budget must be enough for this many steps."""
MISSED = 0.03
"""A trial whose training misses its time budget by more than this share gets a warning."""
AHEAD = 1.25
"""Cached features are made before it is known how many steps fit, so they must be enough for more.
They are made for this many times the steps that would fit if no step waited for its data."""
WORDS = 20_000
"""How many captions are looked at to find out how long the texts of a batch are."""


def foreseen_epochs(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    lr: float,
    features: Features | None,
) -> int:
    """How many epochs to prepare captions for: more than the recipe's `time` can hold.

    With cached features this follows from the speed on one batch that stays in memory.
    """
    if features is None:
        return 10  # needed only for the length of the longest text, which hardly grows after that
    with closing(_endless(_apart(loader))) as batches:
        batch = frozen_batch(method, next(batches), features.dtype, loader.device)
    fastest = _measured(method, repeat(batch), loader, recipe, lr).mean()
    assert recipe.time is not None
    steps = math.ceil(AHEAD * recipe.time / fastest)
    return planned_epochs(_with_steps(recipe, steps), _per_epoch(loader))


def steps_within(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    lr: float,
    spent: float,
    epochs: int | None,
) -> dict[str, Any]:
    """How many steps fit the recipe's `time`, and what `timing` needs.

    spent: seconds of the budget that caching features has used. epochs: how many epochs of captions
    are cached, which limits the steps; None: no limit. Raises NotApplicable if the time is too
    short.
    """
    assert recipe.time is not None
    with closing(_endless(_apart(loader))) as batches:
        measured = _measured(method, batches, loader, recipe, lr)
    each = measured.mean()
    most = None if epochs is None else epochs * _per_epoch(loader) // recipe.accumulation
    steps = math.floor((recipe.time - spent) / each)
    steps = steps if most is None else min(steps, most)
    if steps < FEWEST:
        before = f" after the {spent:.3g} s of caching features" if spent else ""
        raise NotApplicable(
            f"time={units.exact_seconds(recipe.time)} is too short{before}: a training step "
            f"takes {each:.3g} s, so that {max(steps, 0)} fit; give at least "
            f"{units.exact_seconds(math.ceil(spent + FEWEST * each))}"
        )
    return {"steps": steps, "pace": list(measured.seconds), "most": most}


def timing(recipe: Recipe, fixed: dict[str, Any]) -> Timing | None:
    """The object that keeps training within the recipe's `time`; None if the recipe gives none."""
    if recipe.time is None:
        return None
    return Timing(recipe.time, Pace(tuple(fixed["pace"])), fixed["most"])


def epochs(recipe: Recipe, split: TrainSplit, fixed: dict[str, Any]) -> int:
    """How many epochs training may reach, once its steps are known.

    With a time budget the steps may still become more, up to the limit that `steps_within` gave.
    """
    if fixed.get("most") is not None:
        recipe = replace(recipe, steps=max(fixed["steps"], fixed["most"]))
    return planned_epochs(recipe, split.batches_per_epoch(recipe.batch_size))


def settled(recipe: Recipe, fixed: dict[str, Any]) -> Recipe:
    """The recipe with batch and steps in place of `memory` and `time`, as far as they are known."""
    if recipe.memory is not None and "batch_size" in fixed:
        recipe = replace(recipe, memory=None, batch_size=fixed["batch_size"])
    if recipe.time is not None and "steps" in fixed:
        recipe = _with_steps(recipe, fixed["steps"])
    return recipe


def summary(recipe: Recipe, fixed: dict[str, Any], steps: int, used: float) -> Efficiency:
    """What a trial records about its budgets: what was planned, and what was used."""
    recorded: Efficiency = {}
    if recipe.memory is not None:
        recorded["budget_predicted_bytes"] = fixed["predicted_bytes"]
    if recipe.time is not None:
        recorded["budget_steps"] = steps
        recorded["budget_planned_steps"] = fixed["steps"]
        recorded["budget_step_seconds"] = Pace(tuple(fixed["pace"])).mean()
        recorded["budget_seconds_used"] = used
        recorded["budget_warning"] = missed(recipe.time, used)
    return recorded


def missed(time: float | None, used: float | None) -> str | None:
    """A warning if training ended too far from its time budget, else None; both in seconds."""
    if time is None or used is None or abs(used / time - 1) <= MISSED:
        return None
    return f"time budget missed by {100 * (used / time - 1):+.0f}%"


def _with_steps(recipe: Recipe, steps: int) -> Recipe:
    return replace(recipe, time=None, steps=steps)


def _per_epoch(loader: Loader) -> int:
    return loader.split.batches_per_epoch(loader.batch_size)


def _measured(
    method: Method, batches: Iterator[Batch], loader: Loader, recipe: Recipe, lr: float
) -> Pace:
    assert recipe.time is not None
    images, enough = len(loader.split.rows), SHARE * recipe.time
    return pace.measure(method, batches, recipe, lr, images, loader.device, enough)


def _apart(loader: Loader) -> Loader:
    """A copy of the loader to measure with, whose texts are as long as in training.

    The length of texts grows with the captions met so far. In a copy, measuring cannot change it.
    """
    separate = copy.copy(loader)
    separate.table = loader.table.copy()
    separate.table.add(list(islice(all_words(separate, 1), WORDS)))
    return separate


def _endless(loader: Loader) -> Generator[Batch]:
    """The batches of the first epoch, over and over."""
    while True:
        yield from loader.epoch(0)
