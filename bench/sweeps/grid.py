"""The points of a search: the learning rates and settings to try, and how the grid grows.

A point is a complete call, such as `lora(rank=16, lr=0.003)`, and is trained once for each seed.
"""

import itertools
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import UserError
from bench.spec import Call, complete, parse_calls, resolve
from methods import registry

if TYPE_CHECKING:
    from bench.trial import Trial

Space = dict[str, dict[str, list[Any]]]
"""Method -> setting (or lr) -> the values to try."""


@dataclass(frozen=True)
class Point:
    """A call that was tried, and its score on validation."""

    trial: "Trial"
    """Its trial of the first seed; the trials of the other seeds differ only in the seed."""
    score: float
    """Validation mR in percent, the mean over seeds; -1 if a trial did not end well."""
    diverged: bool = False

    def value(self, axis: str) -> Any:
        """Its learning rate, or one of its settings."""
        if axis == "lr":
            return self.trial.lr
        return complete(registry()[self.trial.method], self.trial.settings)[axis]


def space_of(calls: Iterable[str]) -> Space:
    """`lora(rank=[4, 8, 16])` -> what to try; raises UserError for a wrong name or value."""
    space: Space = {}
    for name, settings in (pair for call in calls for pair in parse_calls(call)):
        if name in space:
            raise UserError(f"--search names {name} twice; put all its settings into one call")
        if not settings:
            raise UserError(
                f"--search {name} names no setting; write for instance lora(rank=[4,8])"
            )
        for setting, values in settings.items():
            if (
                not isinstance(values, list)
                or not values
                or any(value in values[:place] for place, value in enumerate(values))
                or (setting == "lr" and None in values)
            ):
                raise UserError(
                    f"--search {name}({setting}=...) takes a list of different values, such as "
                    f"{setting}=[4, 8], not {values!r}"
                )
            if name in registry() and registry()[name].decides is not None:
                continue  # which settings there are depends on the call; `grid_of` checks them
            for value in values:
                resolve(name, {setting: value}, registry())
        space[name] = settings
    return space


def grid_of(
    base: "Trial", factors: Iterable[float], tried: dict[str, list[Any]]
) -> list[dict[str, Any]]:
    """All points of a call: the settings that it states, with each combination of values to try.

    Empty for a method that trains nothing.
    """
    method = registry()[base.method]
    if method.lr is None:
        return []
    stated, centre = stated_by(base), base.lr or base.recipe.lr or method.lr
    if method.decides is not None:
        stated = {method.decides: base.settings[method.decides], **stated}
    rates = tried.get("lr") or [_rounded(centre * factor) for factor in factors]
    if len({f"{rate:g}" for rate in rates}) < len(rates):  # as calls and records write them
        raise UserError(
            f"the learning rates to try for {base.call} are {', '.join(f'{r:g}' for r in rates)}, "
            "so some are the same; give --factors that differ more"
        )
    axes = {k: values for k, values in tried.items() if k != "lr" and k not in stated}
    for name, values in axes.items():
        for value in values:
            resolve(base.method, {**stated, name: value}, registry())
    return [
        {**stated, **dict(zip([*axes, "lr"], point, strict=True))}
        for point in itertools.product(*axes.values(), rates)
    ]


def stated_by(trial: "Trial") -> dict[str, Any]:
    """The settings that differ from the method's defaults: those that its call states."""
    defaults = dict(resolve(trial.method, {}, registry()).settings)
    return {k: v for k, v in trial.settings.items() if k not in defaults or v != defaults[k]}


def drawn(grid: list[Any], points: int, seed: tuple[Any, ...]) -> list[Any]:
    """Draw points from a grid without repetition, in the grid's order; decided by the seed."""
    places = random.Random(repr(seed)).sample(range(len(grid)), points)
    return [grid[place] for place in sorted(places)]


def axes_of(points: list[Point], settings: dict[str, Any]) -> dict[str, list[Any]]:
    """The values tried of the learning rate and of each setting that was searched.

    Numbers are sorted. `settings` are those of the call itself: a setting that has the same value
    there as in every point was not searched.
    """
    settings = complete(registry()[points[0].trial.method], settings)
    stated = dict.fromkeys(name for point in points for name in point.trial.settings)
    axes = {name: _values(points, name) for name in ("lr", *stated)}
    return {name: values for name, values in axes.items() if values != [settings.get(name)]}


def _values(points: list[Point], axis: str) -> list[Any]:
    values = list(dict.fromkeys(point.value(axis) for point in points))
    return sorted(values) if _are_numbers(values) else values


def beyond(points: list[Point], axes: dict[str, list[Any]]) -> dict[str, Call]:
    """For each axis with the best point at its edge, the call with the next value beyond that edge.

    Points that diverged or failed count as tried, so a best point next to one is not at the edge.
    If every point diverged, the next smaller learning rate is returned. Left out are axes without
    an order (texts, truth values) or with one value, and values that the method does not allow.
    """
    best = max(points, key=lambda point: point.score)
    if best.score < 0:
        if not all(point.diverged for point in points):
            return {}
        best, axes = min(points, key=lambda point: point.value("lr")), {"lr": axes["lr"]}
    calls = {axis: _next_call(best, axis, values) for axis, values in axes.items()}
    return {axis: call for axis, call in calls.items() if call is not None}


def _next_call(best: Point, axis: str, values: list[Any]) -> Call | None:
    if len(values) < 2 or not _are_numbers(values):
        return None
    value = best.value(axis)
    if value not in (values[0], values[-1]):
        return None
    last_but_one = values[1] if value == values[0] else values[-2]
    if (following := next_value(last_but_one, value)) is None:
        return None
    settings = {**stated_by(best.trial), "lr": best.trial.lr, axis: following}
    try:
        return resolve(best.trial.method, settings, registry())
    except UserError:  # out of the setting's range
        return None


def next_value(last_but_one: float, last: float) -> float | None:
    """The next number in the same ratio, or at the same distance if a ratio makes no sense.

    Whole numbers stay whole, others are rounded to three digits. None if there is no next number.
    Zero is never reached by a ratio, since it often means something else (`queue=0`: no queue), and
    negative numbers are tried only if the search had some.
    """
    ratio = min(last, last_but_one) > 0
    further = last * (last / last_but_one) if ratio else 2 * last - last_but_one
    whole = isinstance(last, int) and isinstance(last_but_one, int)
    value: float = round(further) if whole else _rounded(further)
    lies_beyond = (value - last) * (last - last_but_one) > 0
    if not lies_beyond or math.isinf(value) or (value <= 0 <= min(last, last_but_one)):
        return None
    return value


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
