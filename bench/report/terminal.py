"""Tables for a terminal of 80 to 100 columns: a summary of records, and tables of a report."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bench.console import plain_table
from bench.label import Label
from bench.report.conditions import footnotes, replaced
from bench.report.entry import RECALL, SPEED
from bench.report.group import Group
from bench.report.published import calibrations
from bench.report.tables import (
    MIB,
    WORDS,
    Column,
    Part,
    cell_of,
    count,
    percent,
    rate,
    seeds_of,
    size,
)


def table(groups: Sequence[Group]) -> Table:
    """A table for each group of records."""
    outer, notes = Table.grid(), dict[str, None]()
    for group in groups:
        columns = [
            Column("i2t R@1", "metrics.test.i2t_R@1", percent),
            Column("t2i R@1", "metrics.test.t2i_R@1", percent),
            Column("mR", RECALL, percent, 1),
            Column("trainable", "efficiency.trainable_parameters", count),
            Column("peak MiB" if group.cuda else "kept MiB", group.memory, size, 0, MIB),
            Column("images/s", SPEED, rate),
        ]
        inner = plain_table(title=group.title)
        inner.add_column("method", min_width=12)
        for head in ("n", *(column.title for column in columns)):
            inner.add_column(head, justify="right", no_wrap=True)
        for row in group.rows:
            cells = [cell_of(row, column) for column in columns]
            words = [(f"{c.text} ± {c.spread}" if c.spread else c.text) + c.sign for c in cells]
            label = row.label if row.ok else f"{row.label}\n  {row.states}"
            inner.add_row(Label(label), seeds_of(row).text.replace(" of ", "/"), *words)
        meaning = (
            "peak MiB: most memory allocated in training"
            if group.cuda
            else "kept MiB: what one training step keeps for its backward pass, not the RAM of the "
            "process; CPU figures, for trying out"
        )
        signs = footnotes(group, name_trials=False).values()
        notes |= dict.fromkeys(filter(None, [meaning, *signs, replaced(group)]))
        outer.add_row(inner)
    for note in notes:  # after all groups, so that each note is printed once
        outer.add_row(Text(note, style="dim"))
    for fits, sentence in calibrations(groups):
        name, style = ("calibration", "green") if fits else ("warning", "yellow")
        outer.add_row(Text(f"{name}: {sentence}", style=style))
    return outer


def short(part: Part) -> Table:
    """A table of a report for a terminal: means without their spread."""
    shown = plain_table(title=part.title)
    for head in part.table.heads:
        shown.add_column(head, justify="left" if head in WORDS else "right", overflow="fold")
    for cells in part.table.rows:
        shown.add_row(*(Text(cell.text) for cell in cells))  # rich would hide `[own lr]`
    return shown
