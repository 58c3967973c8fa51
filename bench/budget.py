"""Equal budgets: the steps that fit a recipe's `time`; its `memory` is `measure/fitting_batch`'s.

Both are found once, before a trial's training begins, and kept in its checkpoint, so that a killed
trial goes on as it began. The training itself then runs with a batch and a number of steps, as if
the recipe had given those.
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
from bench.timing import Pace, Timing
from methods.base import Batch, Method, NotApplicable

SHARE = 0.01
"""Share of a time budget that is spent, outside it, on measuring how long a step takes."""
FEWEST = 3
"""With fewer steps than these there is no training to speak of."""
MISSED = 0.03
"""A training that ends farther than this share from its budget is marked."""
AHEAD = 1.25
"""Captions are cached for so many times the steps that fit at the speed of a batch that is there
already, which real batches hardly reach."""
WORDS = 20_000
"""Captions that are enough to know how long the texts of a batch are."""


def foreseen_epochs(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    lr: float,
    features: Features | None,
) -> int:
    """More epochs than the recipe's `time` can hold, for which captions are cached.

    With cached features the speed is measured on one batch that stays where it is.
    """
    if features is None:
        return 10  # for the length of texts alone, which hardly grows after that
    with closing(_endless(_apart(loader))) as batches:
        batch = frozen_batch(method, next(batches), features.kind, loader.device)
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
    """How many steps fit the recipe's `time` after the `spent` seconds, and what `timing` needs.

    epochs: those whose captions are cached, which the steps do not leave; None: any. Raises
    NotApplicable where the time is too short.
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
    """What keeps a training within the recipe's `time`; None where it gives none."""
    if recipe.time is None:
        return None
    return Timing(recipe.time, Pace(tuple(fixed["pace"])), fixed["most"])


def epochs(recipe: Recipe, split: TrainSplit, fixed: dict[str, Any]) -> int:
    """Epochs that the training may reach into, where its steps are known.

    Those of a time budget may become more on the way, up to the number that was foreseen.
    """
    if fixed.get("most") is not None:
        recipe = replace(recipe, steps=max(fixed["steps"], fixed["most"]))
    return planned_epochs(recipe, split.batches_per_epoch(recipe.batch_size))


def settled(recipe: Recipe, fixed: dict[str, Any]) -> Recipe:
    """The recipe with a batch and steps in the place of `memory` and `time`, as far as found."""
    if recipe.memory is not None and "batch_size" in fixed:
        recipe = replace(recipe, memory=None, batch_size=fixed["batch_size"])
    if recipe.time is not None and "steps" in fixed:
        recipe = _with_steps(recipe, fixed["steps"])
    return recipe


def summary(recipe: Recipe, fixed: dict[str, Any], steps: int, used: float) -> dict[str, Any]:
    """What a trial records of its budgets: what was found before, and what was used."""
    found: dict[str, Any] = {}
    if recipe.memory is not None:
        found["budget_predicted_bytes"] = fixed["predicted_bytes"]
    if recipe.time is not None:
        found["budget_steps"] = steps
        found["budget_planned_steps"] = fixed["steps"]
        found["budget_step_seconds"] = Pace(tuple(fixed["pace"])).mean()
        found["budget_seconds_used"] = used
        found["budget_warning"] = missed(recipe.time, used)
    return found


def missed(time: float | None, used: float | None) -> str | None:
    """A sentence where a training ended too far from its budget; both in seconds."""
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
    """A loader with the same batches, texts as long as in training, that changes no other.

    How long texts are follows from the captions met so far, and that must not come from measuring.
    """
    own = copy.copy(loader)
    own.table = loader.table.copy()
    own.table.add(list(islice(all_words(own, 1), WORDS)))
    return own


def _endless(loader: Loader) -> Generator[Batch]:
    """The batches of the first epoch over and over."""
    while True:
        yield from loader.epoch(0)
