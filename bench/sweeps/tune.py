"""The same search of learning rate and settings for every method, judged on validation alone.

Each method starts with the same number of points. While the best point of a method lies at the
edge of its grid, the next value beyond it is tried as well, up to a limit that is the same for all.
The points follow from the records, so a search that was stopped continues where it was.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, record
from bench.spec import Call, nearest, portable, resolve
from bench.sweeps import grid
from bench.sweeps.grid import Methods, Point, Space

if TYPE_CHECKING:
    from bench.sweeps.sweep import Plan
    from bench.trial import Trial

FACTORS = (0.3, 1.0, 3.0)
GROWTH = 2 / 3
"""How much a grid may grow unless --max-points says otherwise: by two thirds, from 3 to 5."""
Place = tuple[str, str, str]
"""What is searched: data set, backbone and call without its learning rate."""


@dataclass(frozen=True)
class Search:
    """The trials of a search, and for each trial the base trial whose call is searched."""

    plan: "Plan"
    bases: "list[Trial]"
    grids: dict[Place, int]
    """How many points the grid of each call has; the search starts with the same number of each."""
    points: int
    """Points of each method at the start."""
    max_points: int
    """Points of each method at most."""
    draw_seed: int
    known: Methods
    open: frozenset[Place]
    """The calls whose grids may still grow."""
    beyond_settings: frozenset[str] = frozenset()
    """Calls with a setting that the search added to those of the user. The method may refuse it (a
    width that does not divide), which then counts as a failed point."""

    @property
    def drawn(self) -> bool:
        """Whether some grid is larger than the number of points drawn from it."""
        return any(size > self.points for size in self.grids.values())

    @property
    def budget(self) -> dict[str, Any]:
        """What every method gets: recipe, seeds, points, and the seed if points are drawn."""
        recipe = {k: v for k, v in vars(self.plan.trials[0].recipe).items() if v is not None}
        seeds = sorted({trial.seed for trial in self.plan.trials})
        points = {"points": self.points, "max_points": self.max_points}
        return {
            "recipe": recipe,
            "seeds": seeds,
            **points,
            **({"draw_seed": self.draw_seed} if self.drawn else {}),
        }

    @property
    def base_trials(self) -> "list[Trial]":
        """The trials that the user asked for, each once; their calls are searched."""
        return list({base.identity: base for base in self.bases}.values())

    @property
    def more(self) -> int:
        """The most trials that can follow: if every grid that may grow reaches the limit."""
        trials, seeds = Counter(map(place_of, self.bases)), Counter(map(place_of, self.base_trials))
        return sum(seeds[place] * self.max_points - trials[place] for place in self.open)

    @property
    def done(self) -> bool:
        """Whether each of its trials has a record."""
        return all(trial.path(self.plan.results).exists() for trial in self.plan.trials)


def widen(
    plan: "Plan",
    known: Methods,
    factors: Iterable[float] = FACTORS,
    space: Space | None = None,
    trials: int | None = None,
    draw_seed: int = 0,
    max_points: int | None = None,
) -> Search:
    """The same number of points for each call that trains: its learning rates x its settings.

    Rates are those in `space`, or `factors` times the rate of the call (else of its method). A
    setting that the call states is left as it is. From a grid larger than `trials` (None: the size
    of the smallest grid) that many points are drawn, by `draw_seed` and the call. `max_points`: how
    far `grow` may go. Raises UserError if nothing trains, a grid is too small, the limit is below
    the start, or `space` names a method that the plan does not.
    """
    space = space or {}
    bases = _bases(plan, space)
    found = {
        place: grid.grid_of(base, known, tuple(factors), space.get(base.method, {}))
        for place, base in bases.items()
    }
    grids = {place: points for place, points in found.items() if points}
    points = _points(grids, trials)
    usual = points + math.ceil(points * GROWTH) if points > 1 else 1  # one point has no ends
    limit = usual if max_points is None else max_points
    if limit < points:
        raise UserError(
            f"--max-points {limit} is less than the {points} points that each method starts with; "
            "give at least as many, or fewer --factors"
        )
    chosen = {place: grid.drawn(g, points, (draw_seed, *place)) for place, g in grids.items()}
    calls = {
        place: [resolve(bases[place].method, point, dict(known)) for point in some]
        for place, some in chosen.items()
    }
    pairs = [(base, call) for base in plan.trials for call in calls.get(place_of(base), [])]
    sizes = {place: len(points) for place, points in grids.items()}
    return Search(
        plan=replace(plan, trials=[_called(base, call) for base, call in pairs]),
        bases=[base for base, _ in pairs],
        grids=sizes,
        points=points,
        max_points=limit,
        draw_seed=draw_seed,
        known=known,
        open=frozenset(sizes),
    )


def _bases(plan: "Plan", space: Space) -> "dict[Place, Trial]":
    """The first trial of each call; raises UserError if two differ only in their rate."""
    for name in space:
        names = {trial.method for trial in plan.trials}
        if name not in names:
            raise UserError(f"--search names {name!r}, --methods does not{nearest(name, names)}")
    bases: dict[Place, Trial] = {}
    for trial in plan.trials:
        base = bases.setdefault(place_of(trial), trial)
        if base.call != trial.call:
            raise UserError(
                f"{base.call} and {trial.call} differ in their rate only; name one as the centre"
            )
    return bases


def _points(grids: dict[Place, list[dict[str, Any]]], trials: int | None) -> int:
    """How many points each method starts with; raises UserError if a grid is too small."""
    if not grids:
        raise UserError("none of these methods trains anything, so there is nothing to search")
    smallest = min(grids, key=lambda place: len(grids[place]))
    size = len(grids[smallest])
    if trials is not None and trials > size:
        raise UserError(
            f"the grid of {smallest[2]} has {size} points, fewer than --trials {trials}; "
            "give more --factors, or --search more of its settings"
        )
    return trials or size


def _called(base: "Trial", call: Call) -> "Trial":
    """The trial with another call and that call's rate, which has a record of its own."""
    return replace(base, call=call.text, settings=dict(call.settings), lr=call.lr)


def points_of(search: Search) -> dict[Place, list[Point]]:
    """Every point of each call, with its result as far as it is recorded."""
    tried: dict[Place, dict[str, list[Trial]]] = {}
    for trial, base in zip(search.plan.trials, search.bases, strict=True):
        tried.setdefault(place_of(base), {}).setdefault(trial.call, []).append(trial)
    return {
        place: [_point(trials, search.plan.results) for trials in calls.values()]
        for place, calls in tried.items()
    }


def _point(trials: "list[Trial]", results: Path) -> Point:
    ended = [_ending(trial.path(results)) for trial in trials]
    scores = [score for score, _ in ended]
    mean = min(scores) if min(scores) < 0 else sum(scores) / len(scores)
    return Point(trials[0], mean, diverged=any(diverged for _, diverged in ended))


def _ending(path: Path) -> tuple[float, bool]:
    """The validation mR of a record (-1 if there is none), and whether the trial diverged."""
    if not path.exists():
        return -1.0, False
    done = record.read(path)
    recall = done.get("metrics", {}).get("val", {}).get("mR")
    if done["status"] != "ok" or recall is None:
        return -1.0, done["status"] == "diverged"
    return float(recall), False


def grow(search: Search) -> tuple[Search, list[str]]:
    """The search with the next points beyond the best ones, and the calls whose grids grew.

    If the best point of a call lies at the edge of several axes, the grid grows along each of them,
    the learning rate first, as far as the limit allows.
    """
    bases: dict[Place, list[Trial]] = {}
    for base in search.base_trials:
        bases.setdefault(place_of(base), []).append(base)
    pairs: list[tuple[Trial, Call]] = []
    grown, beyond_settings = list[Place](), set(search.beyond_settings)
    for place, points in points_of(search).items():
        axes = grid.axes_of(points, bases[place][0].settings)
        further = grid.beyond(points, axes, search.known)
        taken = list(further.items())[: search.max_points - len(points)]
        pairs += [(base, call) for base in bases[place] for _, call in taken]
        beyond_settings |= {call.text for axis, call in taken if axis != "lr"}
        grown += [place] * bool(taken)
    wider = replace(
        search,
        plan=replace(
            search.plan, trials=search.plan.trials + [_called(base, call) for base, call in pairs]
        ),
        bases=search.bases + [base for base, _ in pairs],
        open=frozenset(grown),
        beyond_settings=frozenset(beyond_settings),
    )
    return wider, list(dict.fromkeys(call for _, _, call in grown))


def resumed(search: Search) -> Search:
    """The search as far as it had grown when it was run before, which its records tell."""
    while search.done:
        search, grown = grow(search)
        if not grown:
            break
    return search


def winners(search: Search) -> tuple[list[dict[str, Any]], list[str]]:
    """For each call the points, their validation mR (mean over seeds) and the best of them.

    A point with a trial that did not end well gets the mR -1 and cannot win. Also returns the calls
    without any point that can win. Raises UserError if these are all of them.
    """
    rows: list[dict[str, Any]] = []
    without: list[str] = []
    bases = {place_of(base): base for base in search.bases}
    for place, points in points_of(search).items():
        dataset, backbone, call = place
        if max(point.score for point in points) < 0:
            without.append(f"{call} on {dataset} {backbone}")
            continue
        row: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "call": call}
        won = _winner(points, bases[place].settings, search.known)
        rows.append(row | won | {"grid_size": search.grids[place]})
    if not rows:
        raise UserError(f"no trial of {', '.join(without)} ended well; see {search.plan.results}")
    return rows, without


def _winner(points: list[Point], usual: dict[str, Any], known: Methods) -> dict[str, Any]:
    """The rest of a row of winners: the rate and settings that won, and all that was tried.

    `usual`: the settings of the call itself.
    """
    axes = grid.axes_of(points, usual)
    further = grid.beyond(points, axes, known)
    tried = {name: values for name, values in axes.items() if name != "lr"}
    if not tried:
        points = sorted(points, key=lambda point: point.value("lr"))
    best = max(points, key=lambda point: point.score)
    row: dict[str, Any] = {"lr": best.value("lr")}
    if tried:
        won = {name: best.value(name) for name in tried}
        row |= {"settings": won, "tried": tried, "points": [p.trial.call for p in points]}
    row |= {"grid": axes["lr"], "val_mR": [round(point.score, 3) for point in points]}
    row["at_edge"] = "lr" in further
    if tried:
        row["settings_at_edge"] = [name for name in tried if name in further]
    return row


def plain_call(trial: "Trial") -> str:
    """The call without its learning rate."""
    return re.sub(r"\(lr=[^,)]+\)$", "", re.sub(r", lr=[^,)]+\)$", ")", trial.call))


def place_of(trial: "Trial") -> Place:
    """What a row of winners is about: data set, backbone and call without learning rate."""
    return trial.dataset_name, portable(trial.backbone), plain_call(trial)
