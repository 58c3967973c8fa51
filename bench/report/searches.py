"""Tables of the searches of `bench tune`: budget, values tried and winner of each method."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from bench import UserError, schema
from bench.recipe import Recipe, written
from bench.report.tables import Cell, Part, Table
from bench.schema import Search, Winner
from bench.sweeps import tuned


def tables(results: Path, left_out: Callable[[str], None]) -> list[tuple[Path, str, Table]]:
    """File, budget and table of winners of each search (`tuned*.toml`) in `results`.

    `left_out` is called with a sentence for each file that cannot be read.
    """
    searches = []
    for path in sorted(results.glob("tuned*.toml")):
        try:
            document = tuned.read(path)
        except UserError as error:
            left_out(str(error))
            continue
        if (fault := schema.fault_in_search(document)) is not None:
            left_out(f"{path} is not the whole file of a search: {fault}; `bench tune` writes one")
            continue
        search = cast(Search, document)
        searches.append((path, budget(search), _table(search)))
    return searches


def _table(search: Search) -> Table:
    """A row for each winner; with the number of points if methods may differ in it."""
    winners = search["tuned"]
    heads = ["data set", "backbone", "method", "points", "tried", "val mR", "winner"]
    may_grow = search.get("max_points", 0) > search.get("points", 0)
    if not may_grow and len({len(row["val_mR"]) for row in winners}) == 1:
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


def budget(search: Search) -> str:
    """A sentence on how much was searched for each method."""
    recipe, seeds = Recipe(**{**asdict(Recipe()), **search["recipe"]}), search["seeds"]
    length = f"{recipe.epochs:g} epochs" if recipe.steps is None else f"{recipe.steps} steps"
    if recipe.time is not None:
        length = f"time={written('time', recipe.time)}"
    batch = f"at batch {recipe.batch_size}"
    if recipe.memory is not None:
        batch = f"with memory={written('memory', recipe.memory)}"
    seed = search.get("draw_seed")
    drawn = "" if seed is None else f", drawn (seed {seed}) from each grid"
    start, most = search.get("points"), search.get("max_points")
    points, limit = str(start), f", up to {most} where the best lay at the edge of its grid"
    if start is None or most in (None, start):
        counts = sorted({len(row["val_mR"]) for row in search["tuned"]})
        points, limit = " or ".join(map(str, counts)), ""
    names = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return (
        f"{points} points for each method{drawn}{limit}, {names}, {length} {batch}; "
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
