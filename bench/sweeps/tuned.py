"""The file that a search writes: a TOML with the winner of each call, for `bench run --tuned`."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from bench import UserError
from bench.recipe import Recipe
from bench.record import atomically
from bench.spec import HIGHEST_RATE, portable, resolve
from bench.sweeps.grid import stated_by
from bench.sweeps.tune import Place, Search, place_of
from methods import registry

if TYPE_CHECKING:
    from bench.sweeps.sweep import Plan
    from bench.trial import Trial

NONE = "None"
"""How None is written in a list of values, since TOML has no null."""


def other_winners(search: Search, path: Path) -> list[dict[str, Any]]:
    """The winners in a file that this search does not replace; empty if there is no file.

    Raises UserError if they come from a search with another budget: one file, one budget.
    """
    if not path.exists():
        return []
    document = read(path)
    own = {searched.place for searched in search.searched}
    rows = [row for row in document["tuned"] if _place(row) not in own]
    if not rows:
        return []
    before, now = budget_of(document), search.budget
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise UserError(
                f"{path} holds the winners of a search with another {name.replace('_', ' ')}; "
                "write these to another file: --out"
            )
    return rows


def budget_of(document: dict[str, Any]) -> dict[str, Any]:
    """The budget of the search in a file, as `Search.budget` gives it.

    Older files do not state the number of points: then each grid had as many as its row lists.
    """
    known = {field.name for field in fields(Recipe)}
    recipe = Recipe(**{k: v for k, v in document.get("recipe", {}).items() if k in known})
    points = (
        document["points"] if "points" in document else len(document["tuned"][0].get("grid", []))
    )
    return {
        "recipe": {k: v for k, v in vars(recipe).items() if v is not None},
        "seeds": document.get("seeds"),
        "points": points,
        "max_points": document.get("max_points", points),
        **({"draw_seed": document["draw_seed"]} if "draw_seed" in document else {}),
    }


def save(rows: list[dict[str, Any]], search: Search, path: Path) -> None:
    """Write the winners with the grid and the budget, as TOML."""
    head = "# Chosen on validation by `bench tune`; the same limit of trials for each method.\n"
    text = head + tomli_w.dumps({**search.budget, "tuned": list(map(_without_none, rows))})
    atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def _without_none(row: dict[str, Any]) -> dict[str, Any]:
    """A row that TOML can hold: since TOML has no null, settings of None are listed by name."""
    row = {name: value for name, value in row.items() if value not in (None, {})}
    settings = row.get("settings", {})
    if None in settings.values():
        row["settings"] = {k: v for k, v in settings.items() if v is not None}
        row["settings_none"] = [k for k, v in settings.items() if v is None]
    if "tried" in row:
        row["tried"] = {
            name: [NONE if value is None else value for value in values]
            for name, values in row["tried"].items()
        }
    return row


def read(path: Path) -> dict[str, Any]:
    """Read a file that `save` wrote, now or in an earlier version; raises UserError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        dict(document.get("recipe", {}))  # raises an error if it is no table
        for row in document["tuned"]:
            row["dataset"], row["backbone"], _ = _place(row)
            row["lr"], row["settings"] = float(row["lr"]), dict(row.get("settings", {}))
            list(row.get("grid", []))  # raises an error if it is no list
            if not 0 < row["lr"] <= HIGHEST_RATE:
                raise ValueError(f"the lr of {row['call']} is {row['lr']:g}")
            row["settings"] |= dict.fromkeys(row.pop("settings_none", []))
    except OSError as error:
        why = error.strerror or str(error)
    except (UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        why = str(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
    else:
        return document
    raise UserError(f"{path} holds no learning rates ({why}); `bench tune` makes such a file")


def apply(plan: "Plan", path: Path) -> "tuple[Plan, list[str]]":
    """Put the winners into the calls of a plan that state no learning rate.

    Settings that won become part of the call; trials that thereby become equal are run once. Also
    returns the calls without a winner. Raises
    UserError for a file that cannot be read or that has settings which the method lacks.
    """
    rows = {_place(row): row for row in read(path)["tuned"]}
    trials: dict[str, Trial] = {}
    without: list[str] = []
    for trial in plan.trials:
        row = rows.get(place_of(trial))
        if trial.lr is None and row is not None:
            trial = replace(trial, lr=row["lr"])
            if row["settings"]:
                call = resolve(trial.method, {**stated_by(trial), **row["settings"]}, registry())
                trial = replace(trial, call=call.text, settings=dict(call.settings))
        elif trial.lr is None and registry()[trial.method].lr is not None:
            without.append("{2} on {0} {1}".format(*place_of(trial)))
        trials.setdefault(trial.identity, trial)
    return replace(plan, trials=list(trials.values())), list(dict.fromkeys(without))


def _place(row: Mapping[str, Any]) -> Place:
    return Path(row["dataset"]).stem, portable(row["backbone"]), row["call"]
