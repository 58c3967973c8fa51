"""Equal budgets: how many steps fit a recipe's `time`, and what is recorded of both budgets.

`bench.measure.fitting_batch` finds the batch that fits a recipe's `memory`. Batch and steps are
worked out once, before training begins. Training then runs as if the recipe had given them.
"""

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, repeat

from bench import units
from bench.measure import pace
from bench.recipe import Recipe
from bench.schema import Efficiency
from bench.training.batches import Loader, TrainSplit
from bench.training.features import Features, all_captions, frozen_batch
from bench.training.schedule import Pace, Timing, planned_epochs
from methods.base import Batch, Method, NotApplicable

SHARE = 0.01
"""Measuring how long a step takes may take this share of the time budget; it does not count."""
FEWEST = 3
"""A time budget must be enough for this many steps."""
MISSED = 0.03
"""A trial whose training misses its time budget by more than this share gets a warning."""
AHEAD = 1.25
"""Features are cached before it is known how many steps fit. They are cached for this many times
the steps that would fit if no step waited for its data, so that there are always enough."""
CAPTIONS = 20_000
"""How many captions are read to find out how long the texts of a batch are."""


@dataclass
class BudgetChoice:
    """The batch and the steps that fit a recipe's budgets; None where there is no such budget.

    The checkpoint keeps them, so that a killed trial resumes with the same batch and steps.
    """

    batch_size: int | None = None
    predicted_bytes: int | None = None
    """The bytes predicted for this batch."""
    steps: int | None = None
    pace: list[float] | None = None
    """Seconds of a step over the schedule, as measured (see `Pace`)."""
    most: int | None = None
    """The largest number of steps allowed, since captions are cached for these only."""

    def settled(self, recipe: Recipe) -> Recipe:
        """The recipe with batch and steps in place of `memory` and `time`, as far as known."""
        if recipe.memory is not None and self.batch_size is not None:
            recipe = replace(recipe, memory=None, batch_size=self.batch_size)
        if recipe.time is not None and self.steps is not None:
            recipe = replace(recipe, time=None, steps=self.steps)
        return recipe

    def epochs(self, recipe: Recipe, split: TrainSplit) -> int:
        """How many epochs training may reach: steps may still become more, up to `most`."""
        if self.most is not None and self.steps is not None:
            recipe = replace(recipe, steps=max(self.steps, self.most))
        return planned_epochs(recipe, split.batches_per_epoch(recipe.batch_size))

    def timing(self, time: float | None) -> Timing | None:
        """The `Timing` that keeps training within its time budget; None without one."""
        if time is None:
            return None
        assert self.pace is not None
        return Timing(time, Pace(tuple(self.pace)), self.most)

    def summary(self, recipe: Recipe, steps: int, used: float) -> Efficiency:
        """What a trial records about the budgets of its recipe: what was planned, what was used."""
        recorded: Efficiency = {}
        if recipe.memory is not None:
            assert self.predicted_bytes is not None
            recorded["budget_predicted_bytes"] = self.predicted_bytes
        if recipe.time is not None:
            assert self.pace is not None
            assert self.steps is not None
            recorded["budget_steps"] = steps
            recorded["budget_planned_steps"] = self.steps
            recorded["budget_step_seconds"] = Pace(tuple(self.pace)).mean()
            recorded["budget_seconds_used"] = used
            recorded["budget_warning"] = missed(recipe.time, used)
        return recorded


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
    return planned_epochs(replace(recipe, time=None, steps=steps), _per_epoch(loader))


def choose_steps(
    chosen: BudgetChoice,
    method: Method,
    loader: Loader,
    recipe: Recipe,
    lr: float,
    spent: float,
    epochs: int | None,
) -> None:
    """Work out how many steps fit the recipe's `time`, and note it in `chosen`.

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
    chosen.steps, chosen.pace, chosen.most = steps, list(measured.seconds), most


def missed(time: float | None, used: float | None) -> str | None:
    """A warning if training ended too far from its time budget, else None; both in seconds."""
    if time is None or used is None or abs(used / time - 1) <= MISSED:
        return None
    return f"time budget missed by {100 * (used / time - 1):+.0f}%"


def _per_epoch(loader: Loader) -> int:
    return loader.split.batches_per_epoch(loader.batch_size)


def _measured(
    method: Method, batches: Iterator[Batch], loader: Loader, recipe: Recipe, lr: float
) -> Pace:
    assert recipe.time is not None
    images, seconds = len(loader.split.rows), SHARE * recipe.time
    return pace.measure(method, batches, recipe, lr, images, loader.device, seconds)


def _apart(loader: Loader) -> Loader:
    """A copy of the loader to measure with, whose texts are as long as in training.

    The length of texts grows with the captions met so far. In a copy, measuring cannot change it.
    """
    separate = copy.copy(loader)
    separate.table = loader.table.copy()
    separate.table.add(list(islice(all_captions(separate, 1), CAPTIONS)))
    return separate


def _endless(loader: Loader) -> Generator[Batch]:
    """The batches of the first epoch, over and over."""
    while True:
        yield from loader.epoch(0)
