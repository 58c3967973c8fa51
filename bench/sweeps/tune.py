"""The same search of learning rate and settings for every method, judged on validation alone.

Each method starts with the same number of points. While the best point of a method lies at the
edge of its grid, the next value beyond it is tried as well, up to a limit that is the same for all.
The points follow from the records, so a search that was stopped continues where it was.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import UserError, record
from bench.recipe import Recipe
from bench.spec import Call, nearest, portable, resolve
from bench.sweeps import grid
from bench.sweeps.grid import Point, Space
from methods import registry

if TYPE_CHECKING:
    from bench.schema import Winner
    from bench.sweeps.sweep import Plan
    from bench.trial import Trial

FACTORS = (0.3, 1.0, 3.0)
GROWTH = 2 / 3
"""How much a grid may grow unless --max-points says otherwise: by two thirds (3 points to 5)."""


class Subject(NamedTuple):
    """What one search is about."""

    dataset: str
    backbone: str
    call: str
    """The call without its learning rate."""

    def __str__(self) -> str:
        return f"{self.call} on {self.dataset} {self.backbone}"


@dataclass
class Searched:
    """The search of one call on one data set and backbone."""

    subject: Subject
    bases: "list[Trial]"
    """The trials that the user asked for, one for each seed; each point is a variant of these."""
    grid_size: int
    """How many points the whole grid has, of which some may be drawn."""
    calls: list[Call]
    """The points so far."""
    may_grow: bool = True
    beyond_settings: set[str] = field(default_factory=set)
    """Calls with a value of a setting that the search chose. The method may refuse it (a width that
    does not divide), which counts as a failed point and not as an error of the user."""

    def trials(self, call: Call) -> "list[Trial]":
        """The trials of a point, each of which has a record of its own."""
        settings = dict(call.settings)
        return [replace(b, call=call.text, settings=settings, lr=call.lr) for b in self.bases]

    def points(self, results: Path) -> list[Point]:
        """Every point, with its score if that is recorded."""
        return [_point(self.trials(call), results) for call in self.calls]

    def grow(self, results: Path, max_points: int) -> bool:
        """Add the next points beyond the best one, up to the limit; returns whether it added any.

        If the best point lies at the edge of several axes, the grid grows along each of them, the
        learning rate first.
        """
        points = self.points(results)
        further = grid.beyond(points, grid.axes_of(points, self.bases[0].settings))
        added = list(further.items())[: max_points - len(points)]
        self.calls += [call for _, call in added]
        self.beyond_settings |= {call.text for axis, call in added if axis != "lr"}
        self.may_grow = bool(added)
        return self.may_grow

    def winner(self, results: Path) -> "Winner | None":
        """The row of `tuned.toml`: the best point and all that was tried; None if no point can win.

        A point with a trial that did not end well gets the mR -1 and cannot win.
        """
        points = self.points(results)
        if max(point.score for point in points) < 0:
            return None
        axes = grid.axes_of(points, self.bases[0].settings)
        further = grid.beyond(points, axes)
        tried = {name: values for name, values in axes.items() if name != "lr"}
        if not tried:
            points.sort(key=lambda point: float(point.value("lr")))
        best = max(points, key=lambda point: point.score)  # of equal ones the smallest rate
        row: Winner = {
            "dataset": self.subject.dataset,
            "backbone": self.subject.backbone,
            "call": self.subject.call,
            "lr": best.value("lr"),
            "grid": axes["lr"],
            "val_mR": [round(point.score, 3) for point in points],
            "at_edge": "lr" in further,
            "grid_size": self.grid_size,
        }
        if tried:
            row["settings"] = {name: best.value(name) for name in tried}
            row["settings_at_edge"] = [name for name in tried if name in further]
            row["tried"] = tried
            row["points"] = [point.trial.call for point in points]
        return row


@dataclass(frozen=True)
class Budget:
    """What every method gets in a search."""

    recipe: Recipe
    seeds: list[int]
    points: int
    """Points of each method at the start."""
    max_points: int
    draw_seed: int | None
    """The seed with which points were drawn; None: whole grids are searched."""


@dataclass
class Search:
    """The searches of all calls; `plan` holds their trials."""

    plan: "Plan"
    searched: list[Searched]
    start: int
    """Points of each call at the start."""
    max_points: int
    """Points of each call at most."""
    draw_seed: int

    def __post_init__(self) -> None:
        self._update_plan()

    def _update_plan(self) -> None:
        trials = [
            t
            for searched in self.searched
            for call in searched.calls
            for t in searched.trials(call)
        ]
        self.plan = replace(self.plan, trials=trials)

    @property
    def drawn(self) -> bool:
        """Whether some grid is larger than the number of points drawn from it."""
        return any(searched.grid_size > self.start for searched in self.searched)

    @property
    def budget(self) -> Budget:
        """What every method gets."""
        seeds = sorted({trial.seed for trial in self.plan.trials})
        drawn = self.draw_seed if self.drawn else None
        return Budget(self.plan.trials[0].recipe, seeds, self.start, self.max_points, drawn)

    @property
    def more(self) -> int:
        """The most trials that can follow: if every grid that may grow reaches the limit."""
        return sum(
            len(searched.bases) * (self.max_points - len(searched.calls))
            for searched in self.searched
            if searched.may_grow
        )

    @property
    def beyond_settings(self) -> set[str]:
        """Calls that a method may refuse, because the search chose their settings."""
        return set().union(*(searched.beyond_settings for searched in self.searched))

    def grow(self) -> list[str]:
        """Add the next points beyond the best ones; returns the calls whose grids grew."""
        results, limit = self.plan.results, self.max_points
        grown = [
            searched.subject.call for searched in self.searched if searched.grow(results, limit)
        ]
        self._update_plan()
        return list(dict.fromkeys(grown))

    def resume(self) -> None:
        """Grow as far as an earlier run of the same search did, as its records tell."""
        while all(trial.path(self.plan.results).exists() for trial in self.plan.trials):
            if not self.grow():
                break

    def winners(self) -> "tuple[list[Winner], list[str]]":
        """A row for each call, as `bench.sweeps.tuned` saves it; and the calls without a winner."""
        rows = {searched.subject: searched.winner(self.plan.results) for searched in self.searched}
        without = [str(subject) for subject, row in rows.items() if row is None]
        return [row for row in rows.values() if row is not None], without


def widen(
    plan: "Plan",
    factors: Iterable[float] = FACTORS,
    space: Space | None = None,
    trials: int | None = None,
    draw_seed: int = 0,
    max_points: int | None = None,
) -> Search:
    """The search of each call that trains, over the grid of its learning rates and settings.

    Rates are those in `space`, or `factors` times the rate of the call (else of its method). A
    setting that the call states is left as it is. All calls start with the same number of points,
    `trials` (None: the size of the smallest grid); from a larger grid these are drawn at random, by
    `draw_seed` and the call. `max_points`: how far `grow` may go. Raises UserError if
    nothing trains, validation images are trained on, a grid is too small, the limit is below the
    start, or `space` names a method that the plan does not.
    """
    if any(trial.recipe.track != "train" for trial in plan.trials):
        raise UserError(
            "a search is judged by the validation images, and track=train+val trains on them; give "
            "it --recipe track=train"
        )
    space = space or {}
    bases = _bases(plan, space)
    grids = {
        subject: grid.grid_of(seeds[0], tuple(factors), space.get(seeds[0].method, {}))
        for subject, seeds in bases.items()
    }
    grids = {subject: points for subject, points in grids.items() if points}
    start = _start(grids, trials)
    limit = max_points
    if limit is None:
        limit = start + math.ceil(start * GROWTH) if start > 1 else 1  # one point has no ends
    if limit < start:
        raise UserError(
            f"--max-points {limit} is less than the {start} points that each method starts with; "
            "give at least as many, or fewer --factors"
        )
    searched = []
    for subject, points in grids.items():
        chosen = grid.drawn(points, start, (draw_seed, *subject))
        calls = [resolve(bases[subject][0].method, point, registry()) for point in chosen]
        searched.append(Searched(subject, bases[subject], len(points), calls))
    return Search(plan, searched, start, limit, draw_seed)


def _bases(plan: "Plan", space: Space) -> "dict[Subject, list[Trial]]":
    """The trials of each call, one for each seed.

    Raises UserError if two calls differ only in their rate, and for two data sets or backbones of
    one name, which would be taken for seeds of one search.
    """
    for name in space:
        names = {trial.method for trial in plan.trials}
        if name not in names:
            raise UserError(f"--search names {name!r}, --methods does not{nearest(name, names)}")
    bases: dict[Subject, list[Trial]] = {}
    for trial in plan.trials:
        seeds = bases.setdefault(subject_of(trial), [])
        seeds.append(trial)
        if seeds[0].call != trial.call:
            raise UserError(
                f"{seeds[0].call} and {trial.call} differ only in the learning rate, which is "
                "searched; name one of them"
            )
        if trial.seed in (other.seed for other in seeds[:-1]):
            raise UserError(
                f"two data sets called {trial.dataset_name}, or two files of weights called "
                f"{portable(trial.backbone)}, cannot be searched at once; rename one of them, or "
                "search one after the other, each with its own --out"
            )
    return bases


def _start(grids: dict[Subject, list[dict[str, Any]]], trials: int | None) -> int:
    """How many points each method starts with; raises UserError if a grid is too small."""
    if not grids:
        raise UserError("none of these methods trains anything, so there is nothing to search")
    smallest = min(grids, key=lambda subject: len(grids[subject]))
    size = len(grids[smallest])
    if trials is not None and trials > size:
        raise UserError(
            f"the grid of {smallest.call} has {size} points, fewer than --trials {trials}; "
            "give more --factors, or --search more of its settings"
        )
    return trials or size


def _point(trials: "list[Trial]", results: Path) -> Point:
    ends = [_result(trial.path(results)) for trial in trials]
    scores = [score for score, _ in ends]
    mean = -1.0 if min(scores) < 0 else sum(scores) / len(scores)  # -1: a trial did not end well
    return Point(trials[0], mean, diverged=any(diverged for _, diverged in ends))


def _result(path: Path) -> tuple[float, bool]:
    """The validation mR of a record (-1 if there is none), and whether the trial diverged."""
    if not path.exists():
        return -1.0, False
    document = record.read(path)
    recall = document.get("metrics", {}).get("val", {}).get("mR")
    if document["status"] != "ok" or recall is None:
        return -1.0, document["status"] == "diverged"
    return float(recall), False


def subject_of(trial: "Trial") -> Subject:
    call = re.sub(r", lr=[^,)]+\)$", ")", trial.call)  # lora(rank=4, lr=0.01) -> lora(rank=4)
    call = re.sub(r"\(lr=[^,)]+\)$", "", call)  # lora(lr=0.01) -> lora
    return Subject(trial.dataset_name, portable(trial.backbone), call)
