"""Searches of learning rate and settings, told: budget, grid and winner of each method."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, schema
from bench.recipe import Recipe
from bench.report.tables import Cell, Table
from bench.sweeps import tune

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def tables(results: Path, left_out: Callable[[str], None]) -> list[tuple[Path, str, Table]]:
    """Of each search whose TOML (`tuned*.toml`) lies in `results`: file, budget and winners.

    `left_out` is told, in a sentence, of each file that cannot be read.
    """
    heads = ["data set", "backbone", "method", "tried", "val mR", "winner"]
    found = []
    for path in sorted(results.glob("tuned*.toml")):
        try:
            said = tune.read(path)
        except UserError as error:
            left_out(str(error))
            continue
        if (fault := schema.fault_in_search(said)) is not None:
            left_out(f"{path} is not the whole file of a search: {fault}; `bench tune` writes one")
            continue
        found.append((path, budget(said), Table(heads, [_row(row) for row in said["tuned"]])))
    return found


def budget(said: dict[str, Any]) -> str:
    """A sentence or two on how much was searched for each method."""
    recipe, seeds = {**asdict(Recipe()), **said["recipe"]}, said["seeds"]
    points = sorted({len(row["val_mR"]) for row in said["tuned"]})
    each = " or ".join(map(str, points))
    steps = recipe.get("steps")
    length = f"{steps} steps" if steps is not None else f"{recipe['epochs']:g} epochs"
    drawn = f", drawn (seed {said['draw_seed']}) from each grid" if "draw_seed" in said else ""
    names = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return (
        f"{each} points for each method{drawn}, {names}, {length} at batch {recipe['batch_size']}; "
        "the best validation mR wins, the test set is not looked at."
    )


def tried(row: dict[str, Any]) -> str:
    """`lr 0.001, 0.003; rank 4, 8`."""
    axes = {"lr": row["grid"], **row.get("tried", {})}
    return "; ".join(f"{name} {_values(values)}" for name, values in axes.items())


def winner(row: dict[str, Any]) -> str:
    """`lr 0.003, rank 8 (edge of the grid: lr)`."""
    won = ", ".join(f"{k} {_values([v])}" for k, v in {"lr": row["lr"], **_settings(row)}.items())
    edges = ["lr"] * bool(row["at_edge"] and len(row["grid"]) > 1)
    edges += row.get("settings_at_edge", [])
    return f"{won} (edge of the grid: {', '.join(edges)})" if edges else won


def _settings(row: dict[str, Any]) -> dict[str, Any]:
    return dict(row.get("settings") or {})


def _values(values: Iterable[Any]) -> str:
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)


def _row(row: dict[str, Any]) -> list[Cell]:
    score = ", ".join("–" if value < 0 else f"{value:.1f}" for value in row["val_mR"])
    place = [Cell(row["dataset"]), Cell(row["backbone"]), Cell(row["call"], code=True)]
    return [*place, Cell(tried(row)), Cell(score), Cell(winner(row))]


def search_table(rows: list[dict[str, Any]], where: str) -> "RichTable":
    """The winners for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table as RichTable

    table = RichTable(
        "method", "tried", "best val mR", "winner", box=box.SIMPLE_HEAD, caption=where
    )
    place = None
    for row in rows:
        if place != (row["dataset"], row["backbone"]):
            place = (row["dataset"], row["backbone"])
            table.add_row(f"[bold]{row['dataset']} · {row['backbone']}[/]")
        table.add_row(row["call"], tried(row), f"{max(row['val_mR']):.1f}", winner(row))
    return table
