"""The course of a training from the first step to the last: learning rate and evaluations."""

import math
from fractions import Fraction

from bench.recipe import Recipe


def learning_rate(step: float, steps: int, warmup: float) -> float:
    """Factor on the peak learning rate: linear warm-up, then cosine to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class Schedule:
    """The plan of a training. What is left of it may be stretched while the training runs.

    A time budget needs that when the machine becomes faster or slower. The learning rate then
    continues without a jump and still ends at zero. `planned`: steps at the beginning; `steps`:
    steps as of now; `place`: where a step is in the original plan. Called with a step, it gives the
    factor on the learning rate, as torch's LambdaLR wants it; LambdaLR also saves these attributes
    in checkpoints.
    """

    def __init__(self, steps: int, warmup: float, evaluations: int = 1) -> None:
        self.planned = self.steps = steps
        self.warmup, self.evaluations = warmup, evaluations
        self.changes = 0
        self.since, self.since_place = 0, 0.0
        """The step of the last change, and its place in the plan."""

    def __call__(self, step: int) -> float:
        """The factor on the peak learning rate."""
        return learning_rate(self.place(step), self.planned, self.warmup)

    def place(self, step: int) -> float:
        """The place in the original plan after so many steps: 0 to `planned`, after a change
        perhaps a fraction."""
        if not self.changes:
            return step
        rest = (self.planned - self.since_place) / max(1, self.steps - self.since)
        return self.since_place + (step - self.since) * rest

    def stretch(self, step: int, left: int) -> None:
        """Let the rest of the plan take `left` more steps (at least one) after `step`."""
        self.since_place = self.place(step)
        self.since, self.steps = step, step + left
        self.changes += 1

    def looks(self) -> set[int]:
        """The steps since the last change after which there is an evaluation on validation."""
        rest = Fraction(self.steps - self.since) / Fraction(self.planned - self.since_place)
        steps = {self.steps}
        for number in range(1, self.evaluations + 1):
            place = self.planned * number / self.evaluations - Fraction(self.since_place)
            steps.add(self.since + round(float(place * rest)))
        return {step for step in steps if step > self.since}


def planned_steps(recipe: Recipe, batches_per_epoch: int) -> int:
    """Optimiser steps of a whole training; a recipe's `time` must have become steps before."""
    assert recipe.time is None, "bench.budget.settled turns it into steps"
    if recipe.steps is not None:
        return recipe.steps
    return max(1, round(recipe.epochs * batches_per_epoch / recipe.accumulation))


def planned_epochs(recipe: Recipe, batches_per_epoch: int) -> int:
    """Epochs that these steps take, the last one perhaps in part."""
    steps = planned_steps(recipe, batches_per_epoch)
    return math.ceil(steps * recipe.accumulation / batches_per_epoch)
