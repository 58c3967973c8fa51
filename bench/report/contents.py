"""What a report says, before it is written in any form: its sections and their tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import published, robustness, searches, transfer
from bench.report.ablation import ablation_tables
from bench.report.conditions import footnotes, legend
from bench.report.groups import Group
from bench.report.significance import Significance
from bench.report.tables import (
    Table,
    caption,
    cost_table,
    counted,
    machine_table,
    not_ok,
    percent,
    plural,
    recall_table,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Part:
    """A table, its name in the section, and what it says (nothing where the section says it).

    `folded`: to be opened by the reader where the form allows it.
    """

    name: str
    about: str
    table: Table
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A group of records, or what is told of several: words, tables, pictures.

    `parts` whose `about` is empty come first, then `notes`, `wrong` (trials that did not end
    well) and `pictures`, then the other parts. `file`: the LaTeX file it belongs to. `source`: the
    file that it tells of.
    """

    name: str
    title: str
    about: str
    parts: list[Part]
    file: str
    source: str = ""
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Contents:
    """A report: how many records there are, warnings, sections."""

    counts: str
    warnings: list[str]
    sections: list[Section]


def contents(
    frame: "pd.DataFrame",
    groups: list[Group],
    significance: Significance,
    reference: str,
    drawn: dict[str, list[Path]],
    show: Callable[[float], str] = percent,
    warnings: Sequence[str] = (),
) -> Contents:
    """What a report of some records says.

    `drawn`: the plots' files of each group; `show` writes a recall; `warnings` stand at the top.
    Files that cannot be read are left out with a warning.
    """
    warnings = list(warnings)
    sections = [
        _group(one, significance, reference, drawn.get(one.name, []), show) for one in groups
    ]
    sections += _published(groups, show)
    if significance.results is not None:
        sections += _searches(significance.results, warnings.append)
        for one in groups:
            warnings += robustness.left_out(one, significance.results)
            warnings += transfer.left_out(one, significance.results)
    warnings += published.calibration(groups)
    return Contents(counted(frame), warnings, sections)


def _group(
    one: Group,
    significance: Significance,
    reference: str,
    drawn: list[Path],
    show: Callable[[float], str],
) -> Section:
    parts = [
        Part("recall", "", recall_table(one, significance, show=show)),
        Part("cost", "", cost_table(one, significance, reference)),
    ]
    for number, (about, table) in enumerate(ablation_tables(one, significance, show), 1):
        parts.append(Part(f"settings{number}", about, table))
    for number, (about, table) in enumerate(robustness.tables(one, significance.results, show), 1):
        parts.append(Part(f"corrupted{number}", about, table))
    for number, (about, table) in enumerate(transfer.tables(one, significance.results, show), 1):
        parts.append(Part(f"transfer{number}", about, table))
    if any(row.values("metrics.test.dup_mR") for row in one.rows):
        about = "Duplicate-aware recall (images that carry the very caption count as right)"
        table = recall_table(one, significance, "dup_", show)
        parts.append(Part("duplicates", about, table, folded=True))
    if one.ok:
        about = "Compute and machine: FLOPs, memory, clock, power, windows (means over seeds)"
        parts.append(Part("machine", about, machine_table(one), folded=True))
    file = f"{one.dataset}-{one.backbone}"
    for character in ":/":
        file = file.replace(character, "_")
    return Section(
        one.name,
        one.title,
        caption(one, significance, reference),
        parts,
        file.replace(" ", "-"),
        notes=[note for note in (legend(one), *footnotes(one)) if note],
        wrong=not_ok(one),
        pictures=drawn,
    )


def _published(groups: list[Group], show: Callable[[float], str]) -> list[Section]:
    about = (
        "Other backbones and protocols are other tasks: read each row with its notes. Ours: means "
        "over seeds; the others: as printed at the source."
    )
    found = []
    for dataset in sorted({one.dataset for one in groups}):
        if beside := published.beside_ours(groups, dataset, show):
            table, legend = beside
            part = Part("published", plural(len(table.rows), "row"), table, folded=True)
            title, name = f"Published on {dataset}", f"published-{dataset}"
            found.append(Section(name, title, about, [part], name, notes=[legend]))
    return found


def _searches(results: Path, left_out: Callable[[str], None]) -> list[Section]:
    found = []
    for path, budget, table in searches.tables(results, left_out):
        part, name = Part("search", "", table), f"search-{path.stem}"
        found.append(Section(name, f"Search: {path.stem}", budget, [part], name, source=path.name))
    return found
