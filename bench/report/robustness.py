"""What corrupted images cost: mR by severity and by corruption, as tables and one plot.

Cells are means over seeds of the mean over conditions. A trial that lacks one of these conditions
is left out of the cell, because means over different conditions cannot be compared.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.data.corrupt import CORRUPTIONS
from bench.report.figure import blank, method_styles
from bench.report.group import Group
from bench.report.tables import Cell, Part, Table, recall_cell
from bench.trained import under_corruption
from bench.trained.under_corruption import Condition

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Trial(NamedTuple):
    """mR of one trial on the clean test images and under each condition."""

    clean: float
    under: dict[Condition, float]


Measured = dict[str, list[Trial]]
"""The trials of each row of a group that were measured, by label."""


def measured(group: Group, results: Path, left_out: Callable[[str], None]) -> Measured:
    """Read the results beside a group's records; `left_out` gets a sentence on unreadable ones."""
    by_row: Measured = {}
    for row in group.rows:
        for entry in row.ok:
            tested = under_corruption.results_of(results / entry.path, entry.record, left_out)
            if tested:
                clean = next(iter(tested.values()))["clean"]["mR"]
                under = {condition: test["metrics"]["mR"] for condition, test in tested.items()}
                by_row.setdefault(row.label, []).append(Trial(clean, under))
    return by_row


def _conditions(by_row: Measured) -> tuple[dict[int, list[Condition]], dict[str, list[Condition]]]:
    """The conditions of each severity, and those of each corruption."""
    conditions = {c for trials in by_row.values() for trial in trials for c in trial.under}
    corruptions = [name for name in CORRUPTIONS if any(c.corruption == name for c in conditions)]
    severities = sorted({c.severity for c in conditions})
    return (
        {s: [c for c in sorted(conditions) if c.severity == s] for s in severities},
        {name: [c for c in sorted(conditions) if c.corruption == name] for name in corruptions},
    )


def _means(trials: list[Trial], conditions: list[Condition]) -> list[float]:
    """The mean mR of each trial that has all the conditions."""
    return [
        statistics.fmean(trial.under[c] for c in conditions)
        for trial in trials
        if all(c in trial.under for c in conditions)
    ]


def tables(
    group: Group, results: Path, left_out: Callable[[str], None] = lambda _: None
) -> list[Part]:
    """Two tables, by severity and by corruption; none if nothing was measured."""
    by_row = measured(group, results, left_out)
    if not by_row:
        return []
    by_severity, by_corruption = _conditions(by_row)
    names, severities = ", ".join(by_corruption), ", ".join(map(str, by_severity))
    about = f"mR on corrupted test images by severity (mean of {names}), and what is lost"
    heads = {
        _head(f"severity {s}", [c.corruption for c in some], len(by_corruption)): some
        for s, some in by_severity.items()
    }
    table = _table(by_row, heads)
    table.heads.extend(["lost", "lost of clean"])
    every = [condition for some in by_corruption.values() for condition in some]
    for cells, trials in zip(table.rows, by_row.values(), strict=True):
        cells.extend(_lost(trials, every))
    parts = [Part("severity", about, table)]
    if len(by_corruption) > 1:
        about = f"mR on corrupted test images by corruption (mean of severities {severities})"
        heads = {
            _head(name, [c.severity for c in some], len(by_severity)): some
            for name, some in by_corruption.items()
        }
        parts.append(Part("corruption", about, _table(by_row, heads)))
    return parts


def _head(words: str, over: Sequence[object], most: int) -> str:
    """The heading of a column of means; if it has fewer conditions than others, it names them."""
    return words if len(over) == most else f"{words} ({', '.join(map(str, over))})"


def _table(by_row: Measured, columns: Mapping[str, list[Condition]]) -> Table:
    """For each method its mR on clean images, and the mean under the conditions of each column."""
    rows = []
    for label, trials in by_row.items():
        clean = recall_cell([trial.clean for trial in trials])
        means = [recall_cell(_means(trials, conditions)) for conditions in columns.values()]
        rows.append([Cell(label, code=True), Cell(str(len(trials))), clean, *means])
    return Table(["method", "n", "mR clean", *columns], rows)


def _lost(trials: list[Trial], every: list[Condition]) -> list[Cell]:
    """The mR lost over all conditions, in points and as a share of the mR on clean images."""
    complete = [trial for trial in trials if trial.under.keys() >= set(every)]
    losses = [trial.clean - _means([trial], every)[0] for trial in complete]
    clean = statistics.fmean(trial.clean for trial in complete) if complete else 0.0
    share = f"{100 * statistics.fmean(losses) / clean:.0f}%" if clean else "–"
    return [recall_cell(losses), Cell(share)]


def severity_curves(group: Group, results: Path) -> "Figure | None":
    """mR against severity, a panel for each corruption; None without two severities."""
    by_row = measured(group, results, lambda _: None)
    by_severity, by_corruption = _conditions(by_row)
    if len(by_severity) < 2:
        return None
    rows = [row for row in group.rows if row.label in by_row]
    styles = method_styles(rows)
    columns = min(4, len(rows))
    foot = 0.62 + 0.17 * -(-len(rows) // columns)
    count = len(by_corruption)
    width = max(1.7 * count + 0.8, 5.0)
    figure = blank(width, 2.9 + foot, f"{group.title}; mean over seeds", foot=foot, head=0.4)
    figure.subplots_adjust(wspace=0.12)
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, (corruption, conditions) in zip(panels, by_corruption.items(), strict=True):
        for label, trials in by_row.items():
            points = [(0, statistics.fmean(trial.clean for trial in trials))]
            for condition in conditions:
                if values := _means(trials, [condition]):
                    points.append((condition.severity, statistics.fmean(values)))
            style = styles[label]
            x, y = zip(*points, strict=True)
            axes.plot(x, y, label=style.name, **style.line_style(4.5))
        axes.set_title(corruption, fontsize=9)
        axes.set_xticks([0, *by_severity])
    panels[0].set_ylim(0, None)
    panels[0].set_ylabel("mR on test (%)")
    panels[count // 2].set_xlabel("severity (0: clean)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=columns, frameon=False, fontsize=7.5)
    return figure
