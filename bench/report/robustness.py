"""What corrupted images cost: mR by severity and by corruption, as tables and one plot.

Cells are means over seeds of the mean over conditions. A method that lacks a condition which others
in the table have gets no number there: means of different conditions are not comparable.
"""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.corrupt import CORRUPTIONS
from bench.report.figure import blank, looks
from bench.report.groups import Group, Row
from bench.report.tables import Cell, Table, recall_cell
from bench.trained import under_corruption
from bench.trained.under_corruption import Condition

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table as RichTable

Curve = dict[Condition, float]
"""mR of one trial by condition."""


class Measured:
    """The results under corruption of a group of records, by row and seed."""

    def __init__(self, group: Group, results: Path) -> None:
        self.rows: list[Row] = []
        self.left_out: list[str] = []
        """A sentence on each result that cannot be read."""
        self.clean: dict[str, list[float]] = {}
        self.curves: dict[str, list[Curve]] = {}
        for row in group.rows:
            found = [
                under_corruption.known(results / entry.path, entry.record, self.left_out.append)
                for entry in row.ok
            ]
            found = [each for each in found if each]
            if found:
                self.rows.append(row)
                first = [next(iter(each.values())) for each in found]
                self.clean[row.label] = [each["clean"]["mR"] for each in first]
                self.curves[row.label] = [
                    {condition: each["metrics"]["mR"] for condition, each in by.items()}
                    for by in found
                ]
        every = {c for curves in self.curves.values() for curve in curves for c in curve}
        order = list(CORRUPTIONS)
        self.conditions = sorted(every, key=lambda c: (order.index(c.corruption), c.severity))
        self.severities = sorted({c.severity for c in every})
        self.corruptions = [name for name in order if any(c.corruption == name for c in every)]

    def mean(self, row: Row, chosen: Iterable[Condition]) -> list[float]:
        """For each seed that has all the chosen conditions, the mean of their mR."""
        which = list(chosen)
        return [
            statistics.fmean(curve[c] for c in which)
            for curve in self.curves[row.label]
            if all(c in curve for c in which)
        ]

    def at(self, severity: int) -> list[Condition]:
        """The conditions of a severity."""
        return [c for c in self.conditions if c.severity == severity]

    def of(self, corruption: str) -> list[Condition]:
        """The conditions of a corruption."""
        return [c for c in self.conditions if c.corruption == corruption]

    def losses(self, row: Row) -> list[float]:
        """mR lost over all conditions, for each seed that has them all."""
        pairs = zip(self.clean[row.label], self.curves[row.label], strict=True)
        return [
            clean - statistics.fmean(curve[c] for c in self.conditions)
            for clean, curve in pairs
            if all(c in curve for c in self.conditions)
        ]


def left_out(group: Group, results: Path) -> list[str]:
    """A sentence on each result under corruption of the group that cannot be read."""
    return Measured(group, results).left_out


def tables(group: Group, results: Path | None) -> list[tuple[str, Table]]:
    """By severity and by corruption, each with its heading; empty where nothing was measured."""
    measured = None if results is None else Measured(group, results)
    if measured is None or not measured.rows:
        return []
    names = ", ".join(measured.corruptions)
    steps = ", ".join(map(str, measured.severities))
    found = []
    by_severity = []
    by_corruption = []
    for row in measured.rows:
        losses, clean = measured.losses(row), statistics.fmean(measured.clean[row.label])
        lost = Cell(f"{100 * statistics.fmean(losses) / clean:.0f}%" if losses and clean else "–")
        head = [Cell(row.label, code=True), Cell(str(len(measured.curves[row.label])))]
        head.append(recall_cell(measured.clean[row.label]))
        severe = [recall_cell(measured.mean(row, measured.at(s))) for s in measured.severities]
        by_severity.append([*head, *severe, recall_cell(losses), lost])
        kinds = [recall_cell(measured.mean(row, measured.of(c))) for c in measured.corruptions]
        by_corruption.append([*head, *kinds])
    heads = ["method", "n", "mR clean"]
    steps_ = [f"severity {s}" for s in measured.severities]
    about = f"mR on corrupted test images by severity (mean of {names}), and what is lost"
    found.append((about, Table([*heads, *steps_, "lost", "lost of clean"], by_severity)))
    if len(measured.corruptions) > 1:
        about = f"mR on corrupted test images by corruption (mean of severities {steps})"
        found.append((about, Table([*heads, *measured.corruptions], by_corruption)))
    return found


def console_table(about: str, table: Table) -> "RichTable":
    """A table for a terminal of 80 columns: means without their spread."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    made = RichTable(
        title=about, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for place, head in enumerate(table.heads):
        made.add_column(head, justify="right" if place else "left", overflow="fold")
    for cells in table.rows:
        made.add_row(*(cell.text for cell in cells))
    return made


def severity_curves(group: Group, results: Path) -> "Figure | None":
    """mR against severity, a panel for each corruption; None without two severities."""
    measured = Measured(group, results)
    if not measured.rows or len(measured.severities) < 2:
        return None
    look = looks(measured.rows)
    columns = min(4, len(measured.rows))
    foot = 0.62 + 0.17 * -(-len(measured.rows) // columns)
    count = len(measured.corruptions)
    width = max(1.7 * count + 0.8, 5.0)
    figure = blank(width, 2.9 + foot, f"{group.title}; mean over seeds", foot=foot, head=0.4)
    figure.subplots_adjust(wspace=0.12)
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, corruption in zip(panels, measured.corruptions, strict=True):
        for row in measured.rows:
            points = [(0, statistics.fmean(measured.clean[row.label]))]
            for condition in measured.of(corruption):
                if values := measured.mean(row, [condition]):
                    points.append((condition.severity, statistics.fmean(values)))
            shown = look[row.label]
            x, y = zip(*points, strict=True)
            style = shown.marker_style(4.5)
            axes.plot(x, y, color=shown.colour, linewidth=1.1, label=shown.name, **style)
        axes.set_title(corruption, fontsize=9)
        axes.set_xticks([0, *measured.severities])
    panels[0].set_ylim(0, None)
    panels[0].set_ylabel("mR on test (%)")
    panels[count // 2].set_xlabel("severity (0: clean)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=columns, frameon=False, fontsize=7.5)
    return figure
