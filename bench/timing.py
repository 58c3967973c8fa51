"""Keeping training within its time: how long steps should take, how long they do, what is left."""

import math
from dataclasses import dataclass, field

from bench.schedule import Schedule

TOLERANCE = 0.015
"""Nothing is corrected while training is expected to miss its time by less than this share."""
Mark = tuple[int, float, float]
"""Steps done, their place in the schedule (0 to 1), and the training seconds at that moment."""


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
