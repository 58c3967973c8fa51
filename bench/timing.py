"""Keeping a training within its time: how long steps should take and do take, what is left."""

import math
from dataclasses import dataclass, field

from bench.schedule import Schedule

TOLERANCE = 0.015
"""A training that is foreseen to end within this share of its time is left as it is."""
Mark = tuple[int, float, float]
"""Steps done, their place in the schedule (0 .. 1), and the training seconds at that moment."""


@dataclass(frozen=True)
class Pace:
    """Seconds of a step at places spread evenly over the schedule, measured before the training."""

    seconds: tuple[float, ...]

    def mean(self, begin: float = 0.0, end: float = 1.0) -> float:
        """Seconds of a step, on average over a part of the schedule."""
        if end <= begin:
            return self.seconds[min(int(begin * len(self.seconds)), len(self.seconds) - 1)]
        total = 0.0
        for number, seconds in enumerate(self.seconds):
            lower, upper = number / len(self.seconds), (number + 1) / len(self.seconds)
            total += seconds * max(0.0, min(end, upper) - max(begin, lower))
        return total / (end - begin)


@dataclass
class Timing:
    """A time budget at work: says after each look at validation how many steps are left.

    time: the budget in seconds; most: steps that there may be at most. `marks` are the moments of
    the looks, the start first; they are kept in checkpoints.
    """

    time: float
    pace: Pace
    most: int | None = None
    marks: list[Mark] = field(default_factory=list)

    def mark(self, schedule: Schedule, step: int, seconds: float) -> None:
        """Note the training seconds at a step."""
        self.marks.append((step, schedule.place(step) / schedule.planned, seconds))

    def correct(self, schedule: Schedule) -> bool:
        """Stretch the schedule where it would not end within the time; whether it did so.

        How much slower or faster the machine is than when its pace was measured is the mean of two
        figures: since the mark before and since the start.
        """
        step, place, seconds = self.marks[-1]
        planned = schedule.steps - step
        if planned < 1 or len(self.marks) < 2:
            return False
        factor = (self._factor(self.marks[0]) + self._factor(self.marks[-2])) / 2
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
        """How many times as long steps took since a mark as they should have."""
        (step, place, seconds), (end_step, end_place, end) = mark, self.marks[-1]
        expected = (end_step - step) * self.pace.mean(place, end_place)
        return max(end - seconds, 1e-9) / expected
