"""Recall on the test sets of other data sets than the one trained on: a table for each."""

from pathlib import Path

from bench.report.groups import Group
from bench.report.tables import Cell, Table, recall_cell, recalls
from bench.trained import transfer
from bench.trained.transfer import Transfer


def results_of(group: Group, results: Path | None) -> dict[str, dict[str, list[Transfer]]]:
    """By data set and row label the results of each seed, all on the same state of the test set.

    Where the test set was another one for some of them, those of the latest are taken.
    """
    found: dict[str, dict[str, list[Transfer]]] = {}
    for row in group.every if results is not None else []:
        for entry in row.ok:
            assert results is not None
            for dataset, result in transfer.known(results / entry.path, entry.record).items():
                found.setdefault(dataset, {}).setdefault(row.label, []).append(result)
    same: dict[str, dict[str, list[Transfer]]] = {}
    for dataset, rows in found.items():
        latest = max((r for some in rows.values() for r in some), key=lambda r: r.finished)
        kept = {
            label: [r for r in some if r.test_set == latest.test_set]
            for label, some in rows.items()
        }
        same[dataset] = {label: some for label, some in kept.items() if some}
    return dict(sorted(same.items()))


SHORT = ("i2t R@1", "t2i R@1", "mR")
"""Columns that fit a terminal beside the method's name."""


def left_out(group: Group, results: Path) -> list[str]:
    """A sentence for each file beside the group's records that is no such result."""
    said: list[str] = []
    for entry in (entry for row in group.every for entry in row.ok):
        transfer.known(results / entry.path, entry.record, said.append)
    return said


def tables(
    group: Group,
    results: Path | None,
    *,
    short: bool = False,
) -> list[tuple[str, str, Table]]:
    """For each data set that methods of the group were tested on: its name, heading and table.

    `short`: with the columns that fit a terminal.
    """
    return [
        (dataset, _about(group, dataset, rows), _table(group, rows, short))
        for dataset, rows in results_of(group, results).items()
    ]


def _about(group: Group, dataset: str, rows: dict[str, list[Transfer]]) -> str:
    some = [result for results in rows.values() for result in results]
    shared = max((result.shared or 0 for result in some), default=0)
    leak = (
        f"; {shared} of them share captions with images trained on, so part of this is no transfer"
        if shared
        else ""
    )
    return (
        f"Transfer to {dataset}: trained on {group.dataset}, recall on the {some[0].test_images:,} "
        f"test images of {dataset}{leak}"
    )


def _table(group: Group, rows: dict[str, list[Transfer]], short: bool) -> Table:
    columns = [column for column in recalls() if not short or column.title in SHORT]
    heads = ["method", "n", *(column.title for column in columns), f"mR on {group.dataset}"]
    lines = []
    for row in sorted(
        (r for r in group.every if r.label in rows), key=lambda r: -_mr(rows[r.label])
    ):
        results = rows[row.label]
        names = [column.path.rpartition(".")[2] for column in columns]
        own = recall_cell(list(row.values("metrics.test.mR").values()))
        cells = [recall_cell([result.metrics[name] for result in results]) for name in names]
        lines.append([Cell(row.label, code=True), Cell(str(len(results))), *cells, own])
    return Table(heads, lines)


def _mr(results: list[Transfer]) -> float:
    return sum(result.metrics["mR"] for result in results) / len(results)
