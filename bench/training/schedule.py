"""The course of a training from the first step to the last: learning rate, evaluations, time.

`Schedule` says when training ends and what happens at which step. With a time budget, `Timing`
compares the clock with it after each evaluation and changes how many steps are left.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction

from bench.recipe import Recipe

TOLERANCE = 0.015
"""Nothing is corrected while training is expected to miss its time by less than this share."""
Mark = tuple[int, float, float]
"""Steps done, their place in the schedule (0 to 1), and the training seconds at that moment."""


def learning_rate(step: float, steps: int, warmup: float) -> float:
    """Factor on the peak learning rate: linear warm-up, then cosine to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class Schedule:
    """The plan of a training: how many steps, and the learning rate and evaluations along the way.

    Under a time budget the rest of the plan is stretched or shortened when the machine becomes
    faster or slower; the learning rate continues without a jump and still ends at zero. `planned`:
    steps at the beginning; `steps`: steps as of now. Called with a step, it gives the factor on the
    learning rate, as torch's LambdaLR wants it, which also saves these attributes in checkpoints.
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

    def evaluation_steps(self) -> set[int]:
        """The steps since the last change after which there is an evaluation on validation."""
        rest = Fraction(self.steps - self.since) / Fraction(self.planned - self.since_place)
        steps = {self.steps}  # the last step always has one
        for number in range(1, self.evaluations + 1):
            place = self.planned * number / self.evaluations - Fraction(self.since_place)
            steps.add(self.since + round(float(place * rest)))
        return {step for step in steps if step > self.since}


def planned_steps(recipe: Recipe, batches_per_epoch: int) -> int:
    """Optimiser steps of a whole training; a recipe's `time` must have become steps before."""
    assert recipe.time is None, "bench.training.budget.BudgetChoice.settled turns it into steps"
    if recipe.steps is not None:
        return recipe.steps
    return max(1, round(recipe.epochs * batches_per_epoch / recipe.accumulation))


def planned_epochs(recipe: Recipe, batches_per_epoch: int) -> int:
    """Epochs that these steps take, the last one perhaps in part."""
    steps = planned_steps(recipe, batches_per_epoch)
    return math.ceil(steps * recipe.accumulation / batches_per_epoch)


@dataclass(frozen=True)
class Pace:
    """Seconds of a step at places spread evenly over the schedule, measured before training."""

    seconds: tuple[float, ...]

    def mean(self, begin: float = 0.0, end: float = 1.0) -> float:
        """Mean seconds of a step over a part of the schedule; `begin` and `end` are from 0 to 1."""
        if end <= begin:
            return self.seconds[min(int(begin * len(self.seconds)), len(self.seconds) - 1)]
        total = 0.0
        for number, seconds in enumerate(self.seconds):
            lower, upper = number / len(self.seconds), (number + 1) / len(self.seconds)
            total += seconds * max(0.0, min(end, upper) - max(begin, lower))
        return total / (end - begin)


@dataclass
class Timing:
    """A time budget at work: after each evaluation it decides how many steps are left.

    time: the budget in seconds; most: the largest number of steps allowed. `marks`: the start and
    the evaluations so far, which checkpoints keep.
    """

    time: float
    pace: Pace
    most: int | None = None
    marks: list[Mark] = field(default_factory=list)

    def mark(self, schedule: Schedule, step: int, seconds: float) -> None:
        """Note the training seconds at a step."""
        self.marks.append((step, schedule.place(step) / schedule.planned, seconds))

    def correct(self, schedule: Schedule) -> bool:
        """Change the number of steps left if training would miss its time; whether it did so.

        Compared with the measured pace, the machine is slower by a factor that is estimated twice,
        since the previous mark and since the start, and averaged.
        """
        step, place, seconds = self.marks[-1]
        planned = schedule.steps - step
        if planned < 1 or len(self.marks) < 2:
            return False
        factor = (self._factor(self.marks[0]) + self._factor(self.marks[-2])) / 2
        # Since the previous mark: how the machine is now. Since the start: less noise.
        each, left = factor * self.pace.mean(place, 1.0), self.time - seconds
        if abs(planned * each - left) <= TOLERANCE * self.time:
            return False
        fitting = max(1, math.floor(left / each))
        if self.most is not None:
            fitting = max(1, min(fitting, self.most - step))
        if fitting == planned:
            return False
        schedule.stretch(step, fitting)
        return True

    def _factor(self, mark: Mark) -> float:
        """Seconds that the steps since a mark took, divided by what the measured pace foretold."""
        (step, place, seconds), (end_step, end_place, end) = mark, self.marks[-1]
        expected = (end_step - step) * self.pace.mean(place, end_place)
        return max(end - seconds, 1e-9) / expected
