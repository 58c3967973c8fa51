"""Tables of the searches of `bench tune`: budget, values tried and winner of each method."""

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from bench import UserError
from bench.recipe import batch_in_words, written
from bench.report.tables import Cell, Part, Table
from bench.schema import TunedFile, Winner
from bench.sweeps import tuned


def tables(results: Path, left_out: Callable[[str], None]) -> list[tuple[Path, str, Table]]:
    """File, budget and table of winners of each search (`tuned*.toml`) in `results`.

    `left_out` is called with a sentence for each file that cannot be read.
    """
    searches = []
    for path in sorted(results.glob("tuned*.toml")):
        try:
            search = tuned.read(path)
        except UserError as error:
            left_out(str(error))
            continue
        if missing := _missing(search):
            left_out(f"{path} has no {', no '.join(missing)}; `bench tune` writes the whole file")
            continue
        searches.append((path, budget(search), _table(search)))
    return searches


def _missing(search: TunedFile) -> list[str]:
    """What a table needs and a file lacks that was written by hand for `bench run --tuned`."""
    of_rows = [
        f"tuned.{number}.{name}"
        for number, row in enumerate(search["tuned"])
        for name in ("grid", "val_mR", "at_edge")
        if name not in row
    ]
    return [name for name in ("recipe", "seeds") if name not in search] + of_rows


def _table(search: TunedFile) -> Table:
    """A row for each winner; with the number of points if methods may differ in it."""
    winners = search["tuned"]
    heads = ["data set", "backbone", "method", "points", "tried", "val mR", "winner"]
    searched = tuned.budget_of(search)
    if searched.max_points == searched.points:
        heads.remove("points")
    return Table(heads, [[_cells(row)[head] for head in heads] for row in winners])


def _cells(row: Winner) -> dict[str, Cell]:
    scores = row["val_mR"]
    ends = edges(row)
    won = _listed({"lr": [row["lr"]], **{k: [v] for k, v in row.get("settings", {}).items()}}, ", ")
    return {
        "data set": Cell(row["dataset"]),
        "backbone": Cell(row["backbone"]),
        "method": Cell(row["call"], code=True),
        "points": Cell(str(len(scores))),
        "tried": Cell(_listed({"lr": row["grid"], **row.get("tried", {})}, "; ")),
        "val mR": Cell(", ".join("–" if value < 0 else f"{value:.1f}" for value in scores)),
        "best val mR": Cell(f"{max(scores):.1f}"),
        "winner": Cell(f"{won} (edge of the grid: {', '.join(ends)})" if ends else won),
    }


def _listed(values: dict[str, list[Any]], separator: str) -> str:
    """`lr 0.001, 0.003; rank 4, 8`."""
    return separator.join(
        f"{name} {', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in some)}"
        for name, some in values.items()
    )


def edges(row: Winner) -> list[str]:
    """The axes (lr, names of settings) along which the winner is the last value that was tried."""
    at_edge = ["lr"] if row["at_edge"] and len(row["grid"]) > 1 else []
    return [*at_edge, *row.get("settings_at_edge", [])]


def budget(search: TunedFile) -> str:
    """A sentence on how much was searched for each method."""
    searched = tuned.budget_of(search)
    recipe, seeds = searched.recipe, searched.seeds
    length = f"{recipe.epochs:g} epochs" if recipe.steps is None else f"{recipe.steps} steps"
    if recipe.time is not None:
        length = f"time={written('time', recipe.time)}"
    batch = f"at batch {batch_in_words([recipe.batch_size], recipe.accumulation)}"
    if recipe.memory is not None:
        batch = f"with memory={written('memory', recipe.memory)}"
    seed, most = searched.draw_seed, searched.max_points
    drawn = "" if seed is None else f", drawn (seed {seed}) from each grid"
    more = most != searched.points
    limit = f", up to {most} where the best lay at the edge of its grid" if more else ""
    names = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return (
        f"{searched.points} points for each method{drawn}{limit}, {names}, {length} {batch}; "
        f"the best validation mR wins, the test set is not looked at."
    )


def short_tables(rows: Iterable[Winner]) -> list[Part]:
    """The winners for a terminal: a table for each data set and backbone."""
    heads = ["method", "points", "tried", "best val mR", "winner"]
    places = groupby(rows, key=lambda row: f"{row['dataset']} · {row['backbone']}")
    return [
        Part("search", place, Table(heads, [[_cells(row)[head] for head in heads] for row in some]))
        for place, some in places
    ]
