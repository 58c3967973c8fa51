"""What corrupted images cost: mR by severity and by corruption, as tables and one plot.

Cells are means over seeds of the mean over conditions. A trial that lacks a condition which others
in the table have does not count there, because means of different conditions are not comparable.
"""

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.corrupt import CORRUPTIONS
from bench.report.figure import blank, looks
from bench.report.groups import Group
from bench.report.tables import Cell, Part, Table, recall_cell
from bench.trained import under_corruption
from bench.trained.under_corruption import Condition

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Trial(NamedTuple):
    """mR of one trial on the clean test images and under each condition."""

    clean: float
    under: dict[Condition, float]


class Measured(NamedTuple):
    """The results of a group: the trials of each row that has any, by label, and the conditions."""

    trials: dict[str, list[Trial]]
    conditions: list[Condition]

    def of_severity(self, severity: int) -> list[Condition]:
        """The conditions of a severity."""
        return [c for c in self.conditions if c.severity == severity]

    def of_corruption(self, corruption: str) -> list[Condition]:
        """The conditions of a corruption."""
        return [c for c in self.conditions if c.corruption == corruption]

    @property
    def severities(self) -> list[int]:
        """The severities that were measured."""
        return sorted({c.severity for c in self.conditions})

    @property
    def corruptions(self) -> list[str]:
        """The corruptions that were measured, in the order of `bench.corrupt`."""
        return list(dict.fromkeys(c.corruption for c in self.conditions))


def measured(group: Group, results: Path, left_out: Callable[[str], None]) -> Measured:
    """Read the results beside a group's records; `left_out` gets a sentence on unreadable ones."""
    trials: dict[str, list[Trial]] = {}
    for row in group.rows:
        for entry in row.ok:
            known = under_corruption.known(results / entry.path, entry.record, left_out)
            if known:
                clean = next(iter(known.values()))["clean"]["mR"]
                under = {condition: each["metrics"]["mR"] for condition, each in known.items()}
                trials.setdefault(row.label, []).append(Trial(clean, under))
    order = list(CORRUPTIONS)
    conditions = {c for some in trials.values() for trial in some for c in trial.under}
    key = lambda c: (order.index(c.corruption), c.severity)  # noqa: E731
    return Measured(trials, sorted(conditions, key=key))


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
    """By severity and by corruption; empty if nothing was measured."""
    found = measured(group, results, left_out)
    if not found.trials:
        return []
    about = f"mR on corrupted test images by severity (mean of {', '.join(found.corruptions)}), and"
    heads = [*(f"severity {severity}" for severity in found.severities), "lost", "lost of clean"]
    columns = [found.of_severity(severity) for severity in found.severities]
    lines = [[*line, *_lost(trials, found)] for trials, line in _lines(found, columns)]
    parts = [Part("severity", f"{about} what is lost", _table(heads, lines))]
    if len(found.corruptions) > 1:
        severities = ", ".join(map(str, found.severities))
        about = f"mR on corrupted test images by corruption (mean of severities {severities})"
        columns = [found.of_corruption(corruption) for corruption in found.corruptions]
        lines = [line for _, line in _lines(found, columns)]
        parts.append(Part("corruption", about, _table(found.corruptions, lines)))
    return parts


def _table(heads: list[str], lines: list[list[Cell]]) -> Table:
    return Table(["method", "n", "mR clean", *heads], lines)


def _lines(
    found: Measured, columns: list[list[Condition]]
) -> Iterable[tuple[list[Trial], list[Cell]]]:
    """For each method its trials, and its line with a mean for each column's conditions."""
    for label, trials in found.trials.items():
        clean = recall_cell([trial.clean for trial in trials])
        means = [recall_cell(_means(trials, conditions)) for conditions in columns]
        yield trials, [Cell(label, code=True), Cell(str(len(trials))), clean, *means]


def _lost(trials: list[Trial], found: Measured) -> list[Cell]:
    """The mR lost over all conditions, in points and as a share of the mR on clean images."""
    whole = [trial for trial in trials if all(c in trial.under for c in found.conditions)]
    means = _means(whole, found.conditions)
    losses = [trial.clean - mean for trial, mean in zip(whole, means, strict=True)]
    clean = statistics.fmean(trial.clean for trial in trials)
    share = f"{100 * statistics.fmean(losses) / clean:.0f}%" if losses and clean else "–"
    return [recall_cell(losses), Cell(share)]


def severity_curves(group: Group, results: Path) -> "Figure | None":
    """mR against severity, a panel for each corruption; None without two severities."""
    found = measured(group, results, lambda _: None)
    if len(found.severities) < 2:
        return None
    rows = [row for row in group.rows if row.label in found.trials]
    look = looks(rows)
    columns = min(4, len(rows))
    foot = 0.62 + 0.17 * -(-len(rows) // columns)
    count = len(found.corruptions)
    width = max(1.7 * count + 0.8, 5.0)
    figure = blank(width, 2.9 + foot, f"{group.title}; mean over seeds", foot=foot, head=0.4)
    figure.subplots_adjust(wspace=0.12)
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, corruption in zip(panels, found.corruptions, strict=True):
        for label, trials in found.trials.items():
            points = [(0, statistics.fmean(trial.clean for trial in trials))]
            for condition in found.of_corruption(corruption):
                if values := _means(trials, [condition]):
                    points.append((condition.severity, statistics.fmean(values)))
            shown = look[label]
            x, y = zip(*points, strict=True)
            style = shown.marker_style(4.5)
            axes.plot(x, y, color=shown.colour, linewidth=1.1, label=shown.name, **style)
        axes.set_title(corruption, fontsize=9)
        axes.set_xticks([0, *found.severities])
    panels[0].set_ylim(0, None)
    panels[0].set_ylabel("mR on test (%)")
    panels[count // 2].set_xlabel("severity (0: clean)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=columns, frameon=False, fontsize=7.5)
    return figure
