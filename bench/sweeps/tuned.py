"""The file that a search writes: a TOML with the winner of each call, for `bench run --tuned`."""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import tomli_w

from bench import UserError
from bench.recipe import Recipe, applying
from bench.record import atomically
from bench.spec import portable, resolve
from bench.sweeps.grid import stated_by
from bench.sweeps.tune import Budget, Search, Subject, subject_of
from methods import registry

if TYPE_CHECKING:
    from bench.schema import TunedFile, Winner
    from bench.sweeps.sweep import Plan
    from bench.trial import Trial

NONE = "None"
"""How None is written in a list of values, since TOML has no null."""


def other_winners(search: Search, path: Path) -> "list[Winner]":
    """The winners in a file that this search does not replace; empty if there is no file.

    Raises UserError if they come from a search with another budget: one file, one budget.
    """
    if not path.exists():
        return []
    document = read(path)
    own = {searched.subject for searched in search.searched}
    rows = [row for row in document["tuned"] if _subject(row) not in own]
    before, now = vars(budget_of(document)), vars(search.budget)
    for name in now if rows else ():
        if before[name] != now[name]:
            what = f"{'other' if name.endswith('s') else 'another'} {name.replace('_', ' ')}"
            raise UserError(
                f"{path} holds the winners of a search with {what}; write these to another file: "
                "--out"
            )
    return rows


def budget_of(document: "TunedFile") -> Budget:
    """The budget of the search in a file.

    Older files do not state the number of points: then each grid had as many as its row lists.
    """
    known, rows = {field.name for field in fields(Recipe)}, document["tuned"]
    recipe = Recipe(**{k: v for k, v in document.get("recipe", {}).items() if k in known})
    points = document.get("points", len(rows[0].get("grid", [])) if rows else 0)
    return Budget(
        recipe,
        document.get("seeds", []),
        points,
        document.get("max_points", points),
        document.get("draw_seed"),
    )


def save(rows: "list[Winner]", search: Search, path: Path) -> None:
    """Write the winners with the grid and the budget, as TOML."""
    head = "# Chosen on validation by `bench tune`; the same limit of trials for each method.\n"
    budget = {**vars(search.budget), "recipe": applying(search.budget.recipe)}
    stated = {name: value for name, value in budget.items() if value is not None}
    text = head + tomli_w.dumps({**stated, "tuned": list(map(_without_none, rows))})
    atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def _without_none(row: "Winner") -> "Winner":
    """A row that TOML can hold: since TOML has no null, settings of None are listed by name."""
    row = row.copy()
    settings = row.pop("settings", {})
    if stated := {name: value for name, value in settings.items() if value is not None}:
        row["settings"] = stated
    if none := [name for name, value in settings.items() if value is None]:
        row["settings_none"] = none
    if "tried" in row:
        row["tried"] = {
            name: [NONE if value is None else value for value in values]
            for name, values in row["tried"].items()
        }
    return row


def read(path: Path) -> "TunedFile":
    """Read a file that `save` wrote, now or in an earlier version; raises UserError."""
    from bench import schema

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        faults = schema.faults_in_tuned_file(document)
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        faults = [getattr(error, "strerror", None) or str(error)]
    if faults:
        raise UserError(
            f"{path} cannot be used as a file of learning rates: {'; '.join(faults)}; `bench tune` "
            "writes such a file"
        )
    for row in document["tuned"]:
        if row["dataset"].endswith(".toml"):  # a card; other names may hold a dot of their own
            row["dataset"] = Path(row["dataset"]).stem
        row["backbone"] = portable(row["backbone"])
        row["settings"] = row.get("settings", {}) | dict.fromkeys(row.pop("settings_none", []))
    subjects = [_subject(row) for row in document["tuned"]]
    if twice := [subject for subject in subjects if subjects.count(subject) > 1]:
        raise UserError(f"{path} has two winners for {twice[0]}; remove one of them")
    return cast("TunedFile", document)


def apply(plan: "Plan", path: Path) -> "tuple[Plan, list[str]]":
    """Put the winners into the calls of a plan that state no learning rate.

    Settings that won become part of the call; trials that thereby become equal are run once. Also
    returns a sentence on each call whose learning rate may surprise the user. Raises UserError for
    a file that cannot be read or that has settings which the method lacks.
    """
    rows = {_subject(row): row for row in read(path)["tuned"]}
    trials: dict[str, Trial] = {}
    notes: list[str] = []
    for trial in plan.trials:
        subject = subject_of(trial)
        row = rows.get(subject)
        if trial.lr is not None and row is not None:
            notes.append(
                f"{trial.call} states its learning rate, so the winner in {path} is not used"
            )
        elif row is not None:
            if trial.recipe.lr is not None:
                rates = f"{row['lr']:g} of {path} and not {trial.recipe.lr:g} of the recipe"
                notes.append(f"{subject}: the learning rate is {rates}")
            trial = replace(trial, lr=row["lr"])
            if row["settings"]:
                call = resolve(trial.method, {**stated_by(trial), **row["settings"]}, registry())
                trial = replace(trial, call=call.text, settings=dict(call.settings))
        elif trial.lr is None and registry()[trial.method].lr is not None:
            rate = "default" if trial.recipe.lr is None else "the recipe's"
            notes.append(f"{path} has no winner for {subject}; {rate} learning rate used")
        trials.setdefault(trial.identity, trial)
    return replace(plan, trials=list(trials.values())), list(dict.fromkeys(notes))


def _subject(row: "Winner") -> Subject:
    return Subject(row["dataset"], row["backbone"], row["call"])
