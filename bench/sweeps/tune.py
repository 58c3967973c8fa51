"""An equal search for each method, of learning rate and settings, judged on validation; a TOML."""

import itertools
import random
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from bench import UserError, record
from bench.recipe import Recipe
from bench.record import atomically
from bench.spec import nearest, parse_calls, portable, resolve

if TYPE_CHECKING:
    from bench.sweeps.sweep import Plan
    from bench.trial import Trial
    from methods.base import Method

FACTORS = (0.3, 1.0, 3.0)
Methods = Mapping[str, "type[Method]"]
Space = dict[str, dict[str, list[Any]]]
"""Method -> setting (or lr) -> the values to try."""


@dataclass(frozen=True)
class Search:
    """The trials of a search, and for each the trial whose call it is a point of."""

    plan: "Plan"
    bases: "list[Trial]"
    grids: dict[tuple[str, str, str], int]
    """How many points each call's grid has; the search takes the same number of each."""
    points: int
    draw_seed: int

    @property
    def drawn(self) -> bool:
        """Whether some grid is larger than what is taken of it."""
        return any(size > self.points for size in self.grids.values())

    @property
    def budget(self) -> dict[str, Any]:
        """What every method got: recipe, seeds, points, and the seed where points are drawn."""
        recipe = {k: v for k, v in vars(self.plan.trials[0].recipe).items() if v is not None}
        seeds = sorted({trial.seed for trial in self.plan.trials})
        drawn = {"draw_seed": self.draw_seed} if self.drawn else {}
        return {"recipe": recipe, "seeds": seeds, "points": self.points, **drawn}


def space_of(calls: Iterable[str], known: Methods) -> Space:
    """`lora(rank=[4, 8, 16])` -> what to try; raises UserError for a wrong name or value."""
    space: Space = {}
    for name, given in (pair for call in calls for pair in parse_calls(call)):
        if name in space:
            raise UserError(f"--search names {name} twice; put all its settings into one call")
        if not given:
            raise UserError(
                f"--search {name} names no setting; write for instance lora(rank=[4,8])"
            )
        for setting, values in given.items():
            if not isinstance(values, list) or not values or _repeated(values):
                raise UserError(
                    f"--search {name}({setting}=...) takes a list of different values, such as "
                    f"{setting}=[4, 8], not {values!r}"
                )
            for value in values:
                resolve(name, {setting: value}, dict(known))
        space[name] = given
    return space


def _repeated(values: list[Any]) -> bool:
    return any(value in values[:place] for place, value in enumerate(values))


def widen(
    plan: "Plan",
    known: Methods,
    factors: Iterable[float] = FACTORS,
    space: Space | None = None,
    trials: int | None = None,
    draw_seed: int = 0,
) -> Search:
    """The same number of points for each call that trains: its learning rates x its settings.

    Rates are `factors` times the call's own rate, else its method's, or what `space` lists; a
    setting that the call states is left as it is. Of a grid larger than `trials` (None: the
    smallest grid) so many points are drawn, by `draw_seed` and the call. Each point's call is
    complete, so that it has a record of its own. Raises UserError where nothing trains, a grid is
    too small or `space` names a method that the plan does not.
    """
    space = space or {}
    for name in space:
        names = {trial.method for trial in plan.trials}
        if name not in names:
            raise UserError(f"--search names {name!r}, --methods does not{nearest(name, names)}")
    bases: dict[tuple[str, str, str], Trial] = {}
    for trial in plan.trials:
        base = bases.setdefault(place_of(trial), trial)
        if base.call != trial.call:
            raise UserError(
                f"{base.call} and {trial.call} differ in their rate only; name one as the centre"
            )
    grids = {
        place: grid
        for place, base in bases.items()
        if (grid := _grid(base, known, tuple(factors), space.get(base.method, {})))
    }
    if not grids:
        raise UserError("none of these methods trains anything, so there is nothing to search")
    smallest = min(grids, key=lambda place: len(grids[place]))
    points = trials or len(grids[smallest])
    if points > len(grids[smallest]):
        raise UserError(
            f"the grid of {smallest[2]} has {len(grids[smallest])} points, fewer than --trials "
            f"{points}; give more --factors, or --search more of its settings"
        )
    chosen = {place: _drawn(grid, points, (draw_seed, *place)) for place, grid in grids.items()}
    widened, of = [], []
    for base in plan.trials:
        for point in chosen.get(place_of(base), []):
            call = resolve(base.method, point, dict(known))
            settings = dict(call.settings)
            widened.append(replace(base, call=call.text, settings=settings, lr=call.lr))
            of.append(base)
    sizes = {place: len(grid) for place, grid in grids.items()}
    return Search(replace(plan, trials=widened), of, sizes, points, draw_seed)


def _grid(
    base: "Trial", known: Methods, factors: tuple[float, ...], tried: dict[str, list[Any]]
) -> list[dict[str, Any]]:
    """All points of a call: what it states, with a learning rate and each setting to try."""
    stated, centre = _stated(base, known), base.lr or known[base.method].lr
    if centre is None:
        return []
    rates = tried.get("lr") or [float(f"{centre * factor:.3g}") for factor in factors]
    axes = {k: values for k, values in tried.items() if k != "lr" and k not in stated}
    names = [*axes, "lr"]
    return [
        {**stated, **dict(zip(names, point, strict=True))}
        for point in itertools.product(*axes.values(), rates)
    ]


def _stated(trial: "Trial", known: Methods) -> dict[str, Any]:
    """The settings that differ from the method's defaults: those that its call states."""
    usual = dict(resolve(trial.method, {}, dict(known)).settings)
    return {k: v for k, v in trial.settings.items() if v != usual[k]}


def _drawn(grid: list[Any], points: int, seed: tuple[Any, ...]) -> list[Any]:
    """So many of the grid, in its order; the same for the same seed."""
    places = random.Random(repr(seed)).sample(range(len(grid)), points)
    return [grid[place] for place in sorted(places)]


def winners(search: Search) -> tuple[list[dict[str, Any]], list[str]]:
    """For each call the points, their validation mR (mean over seeds) and the best of them.

    A point with a trial that did not end well has the mR -1 and cannot win; also returns the calls
    of which no point is left. Raises UserError where that is all of them.
    """
    found: dict[tuple[str, str, str], dict[str, list[tuple[Trial, float]]]] = {}
    for trial, base in zip(search.plan.trials, search.bases, strict=True):
        points = found.setdefault(place_of(base), {})
        score = _score(trial.path(search.plan.results))
        points.setdefault(trial.call, []).append((trial, score))
    rows: list[dict[str, Any]] = []
    without: list[str] = []
    usual = {place_of(b): b.settings for b in search.bases}
    for (dataset, backbone, call), points in found.items():
        scores = {text: [score for _, score in done] for text, done in points.items()}
        means = {text: min(s) if min(s) < 0 else sum(s) / len(s) for text, s in scores.items()}
        best = max(means, key=lambda text: means[text])
        if means[best] < 0:
            without.append(f"{call} on {dataset} {backbone}")
            continue
        row: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "call": call}
        trials = {text: done[0][0] for text, done in points.items()}
        rows.append(
            row
            | _winner(usual[_place(row)], trials, means, best)
            | {"grid_size": search.grids[_place(row)]}
        )
    if not rows:
        raise UserError(f"no trial of {', '.join(without)} ended well; see {search.plan.results}")
    return rows, without


def _winner(
    usual: dict[str, Any], trials: "dict[str, Trial]", means: dict[str, float], best: str
) -> dict[str, Any]:
    """What a row says beside its call: rate and settings that won, all that was tried.

    `usual`: the settings of the call itself; what never left them was not searched.
    """
    rates = [trial.lr for trial in trials.values()]
    row: dict[str, Any] = {"lr": trials[best].lr}
    tried = {
        name: values
        for name in usual
        if (values := list(dict.fromkeys(t.settings[name] for t in trials.values())))
        != [usual[name]]
    }
    won = {name: trials[best].settings[name] for name in tried}
    if tried:
        row |= {"settings": won, "tried": tried, "points": list(trials)}
    row |= {"grid": list(dict.fromkeys(rates)), "val_mR": [round(v, 3) for v in means.values()]}
    row["at_edge"] = row["lr"] in (min(row["grid"]), max(row["grid"]))
    if tried:
        row["settings_at_edge"] = [name for name in tried if _at_edge(won[name], tried[name])]
    return row


def _at_edge(value: Any, values: list[Any]) -> bool:
    """Whether a number is the least or largest tried; texts and truth values have no edge."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and value in (min(values), max(values))


def plain_call(trial: "Trial") -> str:
    """The call without its learning rate."""
    return re.sub(r"\(lr=[^,)]+\)$", "", re.sub(r", lr=[^,)]+\)$", ")", trial.call))


def place_of(trial: "Trial") -> tuple[str, str, str]:
    """What a row of winners is about: data set, backbone and call without learning rate."""
    return trial.dataset_name, portable(trial.backbone), plain_call(trial)


def _score(path: Path) -> float:
    if not path.exists():
        return -1.0
    done = record.read(path)
    recall = done.get("metrics", {}).get("val", {}).get("mR")
    return float(recall) if done["status"] == "ok" and recall is not None else -1.0


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return Path(row["dataset"]).stem, portable(row["backbone"]), row["call"]


def others(search: Search, path: Path) -> list[dict[str, Any]]:
    """The winners of other calls that a file holds, which `save` is to keep; none where none is.

    Raises UserError where they are of another budget: one file holds one search.
    """
    if not path.exists():
        return []
    said = read(path)
    rows, ours = said["tuned"], search.budget
    known = {field.name for field in fields(Recipe)}
    recipe = Recipe(**{k: v for k, v in said.get("recipe", {}).items() if k in known})
    theirs = {
        "recipe": {k: v for k, v in vars(recipe).items() if v is not None},
        "seeds": said.get("seeds"),
        "points": said["points"] if "points" in said else len(rows[0]["grid"]),
        **({"draw_seed": said["draw_seed"]} if "draw_seed" in said else {}),
    }
    for what in {**theirs, **ours}:
        if theirs.get(what) != ours.get(what):
            raise UserError(
                f"{path} holds the winners of a search with another {what.replace('_', ' ')}; "
                "write these to another file: --out"
            )
    return [row for row in rows if _place(row) not in search.grids]


NONE = "None"
"""A setting of None in a list of values: TOML has no null."""


def save(rows: list[dict[str, Any]], search: Search, path: Path) -> None:
    """Write the winners with the grid and the budget, as TOML."""
    head = "# Chosen on validation by `bench tune`; the same number of trials for each method.\n"
    document = {**search.budget, "tuned": [_without_none(row) for row in rows]}
    text = head + tomli_w.dumps(document)
    atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def _without_none(row: dict[str, Any]) -> dict[str, Any]:
    """A row that TOML can hold: settings of None are listed by name, for TOML has no null."""
    settings = row.get("settings") or {}
    absent = [name for name, value in settings.items() if value is None]
    tried = {
        name: [NONE if value is None else value for value in values]
        for name, values in (row.get("tried") or {}).items()
    }
    written = {name: value for name, value in row.items() if value not in (None, {})}
    if settings:
        written["settings"] = {k: v for k, v in settings.items() if v is not None}
    if absent:
        written["settings_none"] = absent
    if tried:
        written["tried"] = tried
    return written


def read(path: Path) -> dict[str, Any]:
    """What `save` wrote, also in its older form without settings; raises UserError."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        for row in said["tuned"]:
            row["dataset"], row["backbone"], _ = _place(row)
            row["lr"], row["settings"] = float(row["lr"]), dict(row.get("settings", {}))
            row["settings"] |= dict.fromkeys(row.pop("settings_none", []))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = str(error)
    except (KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
    else:
        return said
    raise UserError(f"{path} holds no learning rates ({why}); `bench tune` makes such a file")


def apply(plan: "Plan", path: Path, known: Methods) -> "tuple[Plan, list[str]]":
    """The plan with the winners where a call names no rate, and the calls that have no winner.

    A setting that won becomes part of the call; where that makes two trials one, it is run once.
    Raises UserError for a file that is none, or that names settings which the method lacks.
    """
    rows = {_place(row): row for row in read(path)["tuned"]}
    trials: dict[str, Trial] = {}
    without: list[str] = []
    for trial in plan.trials:
        row = rows.get(place_of(trial))
        if trial.lr is None and row is None and known[trial.method].lr is not None:
            without.append("{2} on {0} {1}".format(*place_of(trial)))
        if trial.lr is None and row is not None:
            trial = replace(trial, lr=row["lr"])
            if row["settings"]:
                given = {**_stated(trial, known), **row["settings"]}
                call = resolve(trial.method, given, dict(known))
                trial = replace(trial, call=call.text, settings=dict(call.settings))
        trials.setdefault(trial.identity, trial)
    return replace(plan, trials=list(trials.values())), list(dict.fromkeys(without))
