"""Tables of the searches of `bench tune`: budget, values tried and winner of each method."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, schema
from bench.recipe import Recipe, written
from bench.report.tables import Cell, Table
from bench.sweeps import tuned

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def tables(results: Path, left_out: Callable[[str], None]) -> list[tuple[Path, str, Table]]:
    """File, budget and winners of each search whose TOML (`tuned*.toml`) lies in `results`.

    `left_out` is called with a sentence for each file that cannot be read.
    """
    found = []
    for path in sorted(results.glob("tuned*.toml")):
        try:
            said = tuned.read(path)
        except UserError as error:
            left_out(str(error))
            continue
        if (fault := schema.fault_in_search(said)) is not None:
            left_out(f"{path} is not the whole file of a search: {fault}; `bench tune` writes one")
            continue
        found.append((path, budget(said), _table(said)))
    return found


def _table(said: dict[str, Any]) -> Table:
    """A row for each winner; with its number of points where methods may differ in that."""
    counts = [len(row["val_mR"]) for row in said["tuned"]]
    heads = ["data set", "backbone", "method", "tried", "val mR", "winner"]
    rows = [_row(row) for row in said["tuned"]]
    if said.get("max_points", 0) > said.get("points", 0) or len(set(counts)) > 1:
        heads.insert(3, "points")
        for row, count in zip(rows, counts, strict=True):
            row.insert(3, Cell(str(count)))
    return Table(heads, rows)


def budget(said: dict[str, Any]) -> str:
    """A sentence or two on how much was searched for each method."""
    recipe, seeds = {**asdict(Recipe()), **said["recipe"]}, said["seeds"]
    each, limit = _points(said)
    length = f"{recipe['epochs']:g} epochs"
    if recipe["steps"] is not None:
        length = f"{recipe['steps']} steps"
    if recipe["time"] is not None:
        length = f"time={written('time', recipe['time'])}"
    batch = f"at batch {recipe['batch_size']}"
    if recipe["memory"] is not None:
        batch = f"with memory={written('memory', recipe['memory'])}"
    drawn = f", drawn (seed {said['draw_seed']}) from each grid" if "draw_seed" in said else ""
    names = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return (
        f"{each} points for each method{drawn}{limit}, {names}, {length} {batch}; "
        f"the best validation mR wins, the test set is not looked at."
    )


def _points(said: dict[str, Any]) -> tuple[str, str]:
    """How many points each method had at the start, and how many it could have at most."""
    start, most = said.get("points"), said.get("max_points")
    if start is None or most in (None, start):
        return " or ".join(map(str, sorted({len(row["val_mR"]) for row in said["tuned"]}))), ""
    return str(start), f", up to {most} where the best lay at the edge of its grid"


def tried(row: dict[str, Any]) -> str:
    """`lr 0.001, 0.003; rank 4, 8`."""
    axes = {"lr": row["grid"], **row.get("tried", {})}
    return "; ".join(f"{name} {_values(values)}" for name, values in axes.items())


def winner(row: dict[str, Any]) -> str:
    """`lr 0.003, rank 8 (edge of the grid: lr)`."""
    won = ", ".join(f"{k} {_values([v])}" for k, v in {"lr": row["lr"], **_settings(row)}.items())
    ends = edges(row)
    return f"{won} (edge of the grid: {', '.join(ends)})" if ends else won


def edges(row: dict[str, Any]) -> list[str]:
    """In what the winner is still the last value that was tried: lr, names of settings."""
    at_edge = ["lr"] if row["at_edge"] and len(row["grid"]) > 1 else []
    return [*at_edge, *row.get("settings_at_edge", [])]


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
        "method",
        "points",
        "tried",
        "best val mR",
        "winner",
        box=box.SIMPLE_HEAD,
        caption=where,
    )
    place = None
    for row in rows:
        if place != (row["dataset"], row["backbone"]):
            place = (row["dataset"], row["backbone"])
            table.add_row(f"[bold]{row['dataset']} · {row['backbone']}[/]")
        cells = (str(len(row["val_mR"])), tried(row), f"{max(row['val_mR']):.1f}", winner(row))
        table.add_row(row["call"], *cells)
    return table
