"""What a report says, before it is written in any form: its sections and their tables."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench import record
from bench.report import published, robustness, searches, transfer
from bench.report.ablation import ablation_tables
from bench.report.conditions import (
    conditions,
    cost_words,
    footnotes,
    legend,
    machine_words,
    not_ok,
    off_budget,
    replaced,
)
from bench.report.groups import SEEN, Group, slug
from bench.report.reached import reach_table
from bench.report.significance import ABOUT, Significance
from bench.report.summary import summary
from bench.report.tables import (
    Column,
    Table,
    costs,
    machine,
    method_table,
    named_columns,
    plural,
    recall_table,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Part:
    """A table: its name in the section, what it shows, and what its marks and words mean.

    differs: what the letters of the column `differs` mean. folded: for the reader to open, where
    the form allows it.
    """

    name: str
    title: str
    table: Table
    notes: list[str] = field(default_factory=list)
    differs: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A group of records, or what is told of several: conditions, tables, pictures.

    conditions: what a reader of the tables must know; origin: machine, commits and the like, which
    a paper leaves out; wrong: trials that did not end well; subject: what captions name.
    """

    name: str
    title: str
    parts: list[Part]
    conditions: list[str] = field(default_factory=list)
    origin: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    subject: str = ""


@dataclass(frozen=True)
class Contents:
    """A report: how many records there are, warnings, a summary and sections."""

    counts: str
    warnings: list[str]
    summary: Part | None
    sections: list[Section]


def contents(
    frame: "pd.DataFrame",
    groups: list[Group],
    significance: Significance,
    reference: str,
    drawn: dict[str, list[Path]],
    columns: Sequence[str] = (),
    left_out: Sequence[str] = (),
) -> Contents:
    """What a report of some records says.

    reference: the method or call that ratios refer to; drawn: the files of each group's plots;
    columns: names of the columns of one table that stands for recall and cost; left_out: sentences
    on records that cannot be read. They stand among the warnings at the top, with those on other
    files.
    """
    left_out = list(left_out)
    sections = [
        _group(group, significance, reference, drawn.get(group.name, []), columns)
        for group in groups
    ]
    sections += _published(groups)
    if significance.results is not None:
        sections += _searches(significance.results, left_out.append)
        for group in groups:
            left_out += robustness.left_out(group, significance.results)
            left_out += transfer.left_out(group, significance.results)
    warnings = [*(f"left out: {text}" for text in left_out), *published.calibration(groups)]
    table, notes = summary(groups, significance)
    part = Part("summary", "Summary", table, notes) if groups else None
    return Contents(counted(frame), warnings, part, sections)


def counted(frame: "pd.DataFrame") -> str:
    """How many records there are, by status."""
    counts = Counter(map(str, frame["status"])) if len(frame) else Counter()
    order = [*(s for s in record.STATUSES if s in counts), *sorted(counts.keys() - record.STATUSES)]
    states = ", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in order)
    return f"{plural(len(frame), 'record')}: {states or 'none'}"


def _group(
    group: Group,
    significance: Significance,
    reference: str,
    drawn: list[Path],
    columns: Sequence[str],
) -> Section:
    base = group.row(reference)
    known_costs = costs(group, base)
    parts: list[Part] = []

    def add(
        name: str, title: str, table: Table, *, more: Sequence[str] = (), folded: bool = False
    ) -> None:
        notes = [*_notes(table, group), *more]
        differs = legend(group) if "differs" in table.heads else ""
        parts.append(Part(name, title, table, notes, differs, folded))

    if columns:
        known = named_columns(group, base)
        which = [known[name.casefold()] for name in columns if name.casefold() in known]
        table = method_table(group, which, significance)
        add("table", "Recall in percent, and cost", table, more=_words(which, known_costs, group))
    else:
        add("recall", "Recall on the test set, in percent", recall_table(group, significance))
        table = method_table(group, known_costs, significance)
        add("cost", "What training costs", table, more=cost_words(group))
    if found := reach_table(group, reference):
        title, table, notes = found
        add("reach", title, table, more=notes)
    for method, title, table in ablation_tables(group, significance):
        add(f"settings-{slug(method)}", title, table)
    for number, (title, table) in enumerate(robustness.tables(group, significance.results)):
        add(("severity", "corruption")[number], title, table)
    for dataset, title, table in transfer.tables(group, significance.results):
        add(f"transfer-{slug(dataset)}", title, table)
    if any(row.values("metrics.test.dup_mR") for row in group.rows):
        title = "Recall when every image that carries the very caption counts as right, in percent"
        add("duplicates", title, recall_table(group, significance, "dup_"), folded=True)
    if group.ok:
        title = "Compute and machine, means over seeds"
        table = method_table(group, machine(group), significance, marked=False)
        add("machine", title, table, folded=True)
    return Section(
        group.name,
        group.title,
        parts,
        conditions(group),
        [f"Machine: {machine_words(group)}.", *filter(None, [off_budget(group), replaced(group)])],
        not_ok(group),
        drawn,
        subject=group.title,
    )


def _words(columns: list[Column], known_costs: list[Column], group: Group) -> list[str]:
    """What memory and speed mean, where a chosen column is one of them."""
    return cost_words(group) if any(column in known_costs for column in columns) else []


def _notes(table: Table, group: Group) -> list[str]:
    """What the marks in a table mean."""
    cells = [cell for row in table.rows for cell in row]
    marks = {cell.mark for cell in cells}
    signs = "".join(cell.sign for cell in cells)
    notes = []
    if any(cell.spread for cell in cells):
        notes.append("Mean ± sample standard deviation over n seeds.")
    if "second" in marks:
        notes.append(
            f"Bold: best, and better than the second (underlined) by {ABOUT}. Two underlined and "
            "none bold: the best two, with no significant difference."
        )
    elif group.seeds == 1:
        notes.append("With one seed no difference can be called significant: nothing is marked.")
    if " *" in signs:
        notes.append(f"*: significant by {ABOUT}, with Holm's correction for the table.")
    notes += [note for sign, note in footnotes(group).items() if sign in signs or sign == SEEN]
    if any(row[0].text.startswith("ceiling") for row in table.rows):
        notes.append("Ceiling: no model can exceed it, because test images share captions.")
    return notes


def _published(groups: list[Group]) -> list[Section]:
    about = (
        "Other backbones and protocols are other tasks: read each row with its notes.",
        "Ours: means over seeds; the others: as printed at the source.",
    )
    found = []
    for dataset in sorted({group.dataset for group in groups}):
        if beside := published.beside_ours(groups, dataset):
            table, notes = beside
            title = f"Published results on {dataset}, recall in percent"
            part = Part("table", title, table, notes, folded=True)
            section = Section(f"published-{slug(dataset)}", f"Published on {dataset}", [part])
            section.conditions.extend(about)
            found.append(section)
    return found


def _searches(results: Path, left_out: Callable[[str], None]) -> list[Section]:
    found = []
    for path, budget, table in searches.tables(results, left_out):
        title = f"Search of learning rate and settings, {path.stem}"
        part = Part("table", title, table)
        said = [budget, f"From {path.name}."]
        found.append(Section(f"search-{slug(path.stem)}", f"Search: {path.stem}", [part], said))
    return found
