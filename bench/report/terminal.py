"""The records in short, for a terminal of 80 to 100 columns."""

from typing import TYPE_CHECKING

from bench.label import Label
from bench.report.conditions import short_footnotes
from bench.report.groups import group_records
from bench.report.published import calibrations
from bench.report.tables import MIB, SPEED, Column, cell_of, count, percent, rate, seeds_of, size
from bench.report.tables import states as states_of

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def table(frame: "pd.DataFrame") -> "Table":
    """The records of a frame (bench.record.load), a table for each group."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    groups = group_records(frame)
    outer, notes = Table.grid(), dict[str, None]()
    for group in groups:
        inner = Table(
            title=group.title,
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        inner.add_column("method", min_width=12)
        memory = "peak MiB" if group.cuda else "kept MiB"
        for head in ("n", "i2t R@1", "t2i R@1", "mR", "trainable", memory, "images/s"):
            inner.add_column(head, justify="right", no_wrap=True)
        columns = [
            *(Column("", f"metrics.test.{name}", percent) for name in ("i2t_R@1", "t2i_R@1")),
            Column("", "metrics.test.mR", percent, 1),
            Column("", "efficiency.trainable_parameters", count),
            Column("", group.memory, size, 0, MIB),
            Column("", SPEED, rate),
        ]
        for row in group.rows:
            cells = [cell_of(row, column) for column in columns]
            words = [(f"{c.text} ± {c.spread}" if c.spread else c.text) + c.sign for c in cells]
            label = row.label if row.ok else f"{row.label}\n  {states_of(row)}"
            inner.add_row(Label(label), seeds_of(row).text.replace(" of ", "/"), *words)
        meaning = (
            "peak MiB: most memory allocated in training"
            if group.cuda
            else "kept MiB: what one training step keeps for its backward pass, not the RAM of the "
            "process; CPU figures, for trying out"
        )
        notes |= dict.fromkeys([meaning, *short_footnotes(group)])
        outer.add_row(inner)
    for note in notes:  # once for all groups
        outer.add_row(Text(note, style="dim"))
    for result in calibrations(groups):
        name, style = ("calibration", "green") if result.fits else ("warning", "yellow")
        outer.add_row(Text(f"{name}: {result}", style=style))
    return outer
