"""The first table of a report: for each group the best method, and those not clearly worse."""

from bench.report.conditions import spoilt
from bench.report.groups import Group, Row
from bench.report.significance import ABOUT, LEVEL, Significance
from bench.report.tables import MIB, SPEED, Cell, Column, Table, cell_of, percent, rate, size

SHOWN = 5
"""Methods named in a cell."""
RECALL = Column("mR", "metrics.test.mR", percent, 1)


def summary(groups: list[Group], significance: Significance) -> tuple[Table, list[str]]:
    """A row for each group, and what the columns mean."""
    heads = ["records", "test images", "seeds", "methods", "best mR"]
    heads += ["not significantly lower", "least memory", "most images/s"]
    rows = [_row(group, significance) for group in groups]
    notes = [
        f"Not significantly lower: mR does not differ from the best by {ABOUT}; each method is "
        "tested against the best alone, without a correction for their number.",
        "Least memory and most images/s: of the methods that train.",
    ]
    return Table(heads, rows), notes


def _row(group: Group, significance: Significance) -> list[Cell]:
    images = next((counts["test"] for e in group.ok if (counts := e.get("data.counts"))), None)
    memory = Column("", group.memory, size, -1, MIB)
    speed = Column("", SPEED, rate, 1)
    return [
        Cell(group.title, link=group.name),
        Cell(f"{images:,}" if images else "–"),
        Cell(str(group.seeds)),
        Cell(str(group.methods)),
        Cell(_best(group, RECALL)),
        Cell(_level(group, significance)),
        Cell(_best(group, memory, " MiB")),
        Cell(_best(group, speed)),
    ]


def _sorted(group: Group, column: Column) -> list[Row]:
    """The rows that have a number that counts, the best first."""
    rows = [(s.mean, row) for row in group.rows if (s := row.statistic(column.path))]
    rows = [(mean, row) for mean, row in rows if not spoilt(row, column.path)]
    return [row for _, row in sorted(rows, key=lambda pair: -column.better * pair[0])]


def _best(group: Group, column: Column, unit: str = "") -> str:
    for row in _sorted(group, column):
        found = row.statistic(column.path)
        if found and found.mean > 0:
            cell = cell_of(row, column)
            return f"{row.label} {cell.text}{unit}" + (f" ± {cell.spread}" if cell.spread else "")
    return "–"


def _level(group: Group, significance: Significance) -> str:
    """The methods whose mR is not significantly lower than the best."""
    rows = _sorted(group, RECALL)
    if len(rows) < 2:
        return "–"
    if group.seeds < 2:
        return "one seed: not tested"
    best, *others = rows
    tests = [(row.label, significance.p_value(best, row, RECALL.path)) for row in others]
    level = [label for label, p in tests if p is None or p >= LEVEL]
    more = len(level) - SHOWN
    return ", ".join(level[:SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"
