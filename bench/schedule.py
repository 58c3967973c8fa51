"""Where a training is on its way from the first step to the last: learning rate and evaluations."""

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
    """The plan of a training of so many steps. Its rest may be stretched while the training runs.

    A recipe with a time budget needs that where the machine becomes faster or slower. The learning
    rate goes on from where it was, without a jump, and still ends at zero. `planned` are the steps
    at the beginning, `steps` those of now; `place` says how far a step is in the plan. Called with
    a step it gives the factor on the learning rate, as torch's LambdaLR wants it; that also keeps
    these attributes in checkpoints.
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
        """How far it is in the plan after so many steps: 0 .. `planned`, no whole number after a
        change."""
        if not self.changes:
            return step
        rest = (self.planned - self.since_place) / max(1, self.steps - self.since)
        return self.since_place + (step - self.since) * rest

    def stretch(self, step: int, left: int) -> None:
        """After `step` let so many more steps (at least one) stand for the rest of the plan."""
        self.since_place = self.place(step)
        self.since, self.steps = step, step + left
        self.changes += 1

    def looks(self) -> set[int]:
        """The steps still to come, since the last change, after which validation is looked at."""
        rest = Fraction(self.steps - self.since) / Fraction(self.planned - self.since_place)
        found = {self.steps}
        for number in range(1, self.evaluations + 1):
            place = self.planned * number / self.evaluations - Fraction(self.since_place)
            found.add(self.since + round(float(place * rest)))
        return {step for step in found if step > self.since}


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
