"""The contents of a report, independent of its formats: its sections and their tables."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from bench import record
from bench.console import counted
from bench.report import conditions, published, robustness, searches, transfer
from bench.report.ablation import ablation_tables
from bench.report.difference import difference_table
from bench.report.group import SEEN, Group, slug
from bench.report.reached import reach_table
from bench.report.significance import ABOUT
from bench.report.summary import summary
from bench.report.tables import Column, Part, costs, machine, method_table, recall_table, recalls

ABOVE_PLOTS = ("recall", "difference", "cost", "table")
"""Tables, by name, that stand before the plots of their section; the others follow them."""


@dataclass(frozen=True)
class Section:
    """A section on a group of records, on published results, or on a search."""

    name: str
    title: str
    parts: list[Part]
    conditions: list[str] = field(default_factory=list)
    """What a reader of the tables must know."""
    origin: list[str] = field(default_factory=list)
    """Machine, commits and the like, which a paper leaves out."""
    wrong: list[str] = field(default_factory=list)
    """Trials that did not end well."""
    pictures: list[Path] = field(default_factory=list)
    subject: str = ""
    """The group that the captions of LaTeX tables name; empty for none."""

    @property
    def above(self) -> list[Part]:
        """The tables before the plots."""
        return [part for part in self.parts if part.name in ABOVE_PLOTS]

    @property
    def below(self) -> list[Part]:
        """The tables after the plots."""
        return [part for part in self.parts if part.name not in ABOVE_PLOTS]


@dataclass(frozen=True)
class Contents:
    """A report: how many records there are, warnings, a summary and sections."""

    counts: str
    warnings: list[str]
    summary: Part
    sections: list[Section]


def contents(
    frame: pd.DataFrame,
    groups: list[Group],
    results: Path,
    reference: str,
    drawn: dict[str, list[Path]],
    columns: list[list[Column]] | None = None,
    left_out: Sequence[str] = (),
) -> Contents:
    """The contents of the report of some records.

    reference: the method or call that others are compared with; drawn: the files of each group's
    plots; columns: for each group the columns of one table that stands for those of recall and
    cost; left_out: sentences on records that cannot be read, which become warnings.
    """
    unreadable = list(left_out)
    sections = []
    for number, group in enumerate(groups):
        chosen = columns[number] if columns else None
        parts = _tables(group, results, reference, chosen, unreadable.append)
        cpu = (group.values("environment.cpu") or ["unknown"])[0]
        computer = group.device if group.cuda else f"CPU ({cpu})"
        section = Section(
            group.name,
            group.title,
            [_with_notes(part, group) for part in parts],
            conditions.conditions(group),
            [
                f"Machine: {computer}.",
                *filter(None, [conditions.off_budget(group), conditions.replaced(group)]),
            ],
            conditions.not_ok(group),
            drawn.get(group.name, []),
            group.title,
        )
        sections.append(section)
    sections += _published(groups)
    for path, budget, table in searches.tables(results, unreadable.append):
        title = f"Search of learning rate and settings, {path.stem}"
        about = [budget, f"From {path.name}."]
        parts = [Part("table", title, table)]
        sections.append(Section(f"search-{slug(path.stem)}", f"Search: {path.stem}", parts, about))
    off = [f"{result.sentence}." for result in published.calibrations(groups) if not result.fits]
    warnings = [*(f"left out: {text}" for text in unreadable), *off]
    return Contents(_counts(frame), warnings, summary(groups), sections)


def _counts(frame: pd.DataFrame) -> str:
    counts = Counter(map(str, frame["status"])) if len(frame) else Counter()
    order = [*(s for s in record.STATUSES if s in counts), *sorted(counts.keys() - record.STATUSES)]
    states = ", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in order)
    return f"{counted(len(frame), 'record')}: {states or 'none'}"


def _tables(
    group: Group,
    results: Path,
    reference: str,
    chosen: list[Column] | None,
    left_out: Callable[[str], None],
) -> list[Part]:
    """The tables of a group; chosen: the columns of one table instead of recall and cost."""
    cost_columns, about_costs = costs(group, group.row(reference)), conditions.cost_words(group)
    # Right after the recalls, since most readers ask whether a method is as good as the reference.
    difference = filter(None, [difference_table(group, reference)])
    if chosen is not None:
        notes = about_costs if any(column in cost_columns for column in chosen) else []
        table = method_table(group, chosen)
        parts = [Part("table", "Recall in percent, and cost", table, notes), *difference]
    else:
        parts = [
            Part("recall", "Recall on the test set, in percent", recall_table(group)),
            *difference,
            Part("cost", "What training costs", method_table(group, cost_columns), about_costs),
        ]
    parts += filter(None, [reach_table(group, reference)])
    parts += ablation_tables(group)
    parts += robustness.tables(group, results, left_out)
    parts += transfer.tables(group, results, left_out)
    if any(row.values("metrics.test.dup_mR") for row in group.rows):
        title = "Recall when every image that carries the very caption counts as right, in percent"
        table = method_table(group, recalls("dup_"))
        parts.append(Part("duplicates", title, table, folded=True))
    if group.ok:
        table = method_table(group, machine(group), marked=False)
        title = "Compute and machine, means over seeds"
        parts.append(Part("machine", title, table, folded=True))
    return parts


def _with_notes(part: Part, group: Group) -> Part:
    """Add notes on the marks that occur in a table."""
    differs = conditions.legend(group) if "differs" in part.table.heads else ""
    return replace(part, notes=[*_notes(part, group), *part.notes], differs=differs)


def _notes(part: Part, group: Group) -> list[str]:
    """What the marks in a table mean."""
    cells = [cell for row in part.table.rows for cell in row]
    marks = {cell.mark for cell in cells}
    signs = "".join(cell.sign for cell in cells)
    notes = []
    if any(cell.spread for cell in cells):
        notes.append(part.spread)
    if "second" in marks:
        notes.append(
            f"Bold: best, and better than the second (underlined) by {ABOUT}. Two underlined and "
            "none bold: the best two, with no significant difference."
        )
    elif group.seeds == 1:
        notes.append("With one seed no difference can be called significant: nothing is marked.")
    if " *" in signs:
        notes.append(f"*: significant by {ABOUT}, with Holm's correction for the table.")
    footnotes = conditions.footnotes(group)
    notes += [note for sign, note in footnotes.items() if sign in signs or sign == SEEN]
    if any(row[0].text.startswith("ceiling") for row in part.table.rows):
        notes.append("Ceiling: no model can exceed it, because test images share captions.")
    return notes


def _published(groups: list[Group]) -> list[Section]:
    about = [
        "Other backbones and protocols are other tasks: read each row with its notes.",
        "Ours: means over seeds; the others: as printed at the source.",
    ]
    sections = []
    for dataset in sorted({group.dataset for group in groups}):
        if part := published.beside_ours(groups, dataset):
            name, title = f"published-{slug(dataset)}", f"Published on {dataset}"
            sections.append(Section(name, title, [part], about))
    return sections
