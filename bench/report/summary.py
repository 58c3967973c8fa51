"""The first table of a report: for each group the best method, and those not clearly worse."""

from bench.console import few
from bench.report.conditions import spoilt
from bench.report.entry import RECALL, SPEED
from bench.report.group import Group
from bench.report.row import Row
from bench.report.significance import ABOUT, beats, difference
from bench.report.tables import MIB, Cell, Column, Part, Table, cell_of, percent, rate, size

SHOWN = 5
"""Methods named in a cell."""


def summary(groups: list[Group]) -> Part:
    """A row for each group, and what the columns mean."""
    heads = ["records", "test images", "seeds", "methods", "best mR"]
    heads += ["not significantly lower", "least memory", "most images/s"]
    notes = [
        f"Not significantly lower: mR does not differ from the best by {ABOUT}; each method is "
        "tested against the best alone, without a correction for their number.",
        "Least memory and most images/s: of the methods that train.",
    ]
    return Part("summary", "Summary", Table(heads, [_line(group) for group in groups]), notes)


def _line(group: Group) -> list[Cell]:
    images = next(iter(group.values("data.counts.test")), 0)
    return [
        Cell(group.title, link=group.name),
        Cell(f"{images:,}" if images else "–"),
        Cell(str(group.seeds)),
        Cell(str(group.methods)),
        Cell(_best(group, Column("mR", RECALL, percent, 1))),
        Cell(_not_lower(group)),
        Cell(_best(group, Column("", group.memory, size, -1, MIB), " MiB")),
        Cell(_best(group, Column("", SPEED, rate, 1))),
    ]


def _sorted(group: Group, path: str, better: int) -> list[tuple[Row, float]]:
    """The rows with a trustworthy mean of a field, and that mean; the best first."""
    rows = [(row, s.mean) for row in group.rows if (s := row.statistic(path))]
    rows = [(row, mean) for row, mean in rows if not spoilt(row, path)]
    return sorted(rows, key=lambda pair: -better * pair[1])


def _best(group: Group, column: Column, unit: str = "") -> str:
    """The best method of those whose number is above 0, with the number."""
    for row, mean in _sorted(group, column.path, column.better):
        if mean > 0:
            cell = cell_of(row, column)
            return f"{row.label} {cell.text}{unit}" + (f" ± {cell.spread}" if cell.spread else "")
    return "–"


def _not_lower(group: Group) -> str:
    rows = [row for row, _ in _sorted(group, RECALL, 1)]
    if len(rows) < 2:
        return "–"
    if group.seeds < 2:
        return "one seed: not tested"
    best, *others = rows
    tested = [row for row in others if difference(best, row, RECALL)]
    level = few([row.label for row in tested if not beats(best, row, RECALL, 1)], SHOWN) or "none"
    alone = few([row.label for row in others if row not in tested], SHOWN)
    return f"{level}; too few seeds in common: {alone}" if alone else level
