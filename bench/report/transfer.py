"""Recall on the test sets of data sets other than the one trained on: a table for each."""

import statistics
from collections.abc import Callable
from pathlib import Path

from bench.report.entry import RECALL
from bench.report.group import Group, slug
from bench.report.tables import Cell, Part, Table, recall_cell, recalls
from bench.schema import TransferFields
from bench.trained import transfer

SHORT = ("i2t R@1", "t2i R@1", "mR")
"""Columns that fit a terminal beside the method's name."""


def tables(
    group: Group,
    results: Path,
    left_out: Callable[[str], None] = lambda _: None,
    *,
    short: bool = False,
) -> list[Part]:
    """A table for each data set that methods of the group were tested on; short: for a terminal.

    `left_out` gets a sentence on each file that cannot be read as such a result.
    """
    by_dataset: dict[str, dict[str, list[TransferFields]]] = {}  # data set, then label of the row
    for row in group.every:
        for entry in row.ok:
            measured = transfer.results_of(results / entry.path, entry.record, left_out)
            for dataset, result in measured.items():
                by_label = by_dataset.setdefault(dataset, {})
                by_label.setdefault(row.label, []).append(result)
    return [
        _part(group, dataset, _latest(by_label), short)
        for dataset, by_label in sorted(by_dataset.items())
    ]


def _latest(by_label: dict[str, list[TransferFields]]) -> dict[str, list[TransferFields]]:
    """The results on the latest state of the test set, which may have changed in between."""
    latest = max((r for some in by_label.values() for r in some), key=lambda r: r["finished"])
    state = transfer.state_of_test_set(latest)
    return {
        label: same
        for label, some in by_label.items()
        if (same := [r for r in some if transfer.state_of_test_set(r) == state])
    }


def _part(
    group: Group, dataset: str, by_label: dict[str, list[TransferFields]], short: bool
) -> Part:
    results = [result for some in by_label.values() for result in some]
    shared = [number for result in results if (number := result["shared"]) is not None]
    tests = results[0]["test_images"]
    title = (
        f"Transfer to {dataset}: trained on {group.dataset}, recall on the {tests:,} test images "
        f"of {dataset}"
    )
    if not shared:
        title += "; whether some of them share captions with images trained on is not known"
    elif max(shared):
        title += (
            f"; {max(shared)} of them share captions with images trained on, so part of this is no "
            "transfer"
        )
    columns = [column for column in recalls() if not short or column.title in SHORT]
    rows = [row for row in group.every if row.label in by_label]
    lines = []
    for row in sorted(rows, key=lambda r: -statistics.fmean(_values("mR", by_label[r.label]))):
        results = by_label[row.label]
        names = [column.path.rpartition(".")[2] for column in columns]
        cells = [recall_cell(_values(name, results)) for name in names]
        seeds = {result["seed"] for result in results}
        own = recall_cell([mr for seed, mr in row.values(RECALL).items() if seed in seeds])
        lines.append([Cell(row.label, code=True), Cell(str(len(results))), *cells, own])
    heads = ["method", "n", *(column.title for column in columns), f"mR on {group.dataset}"]
    return Part(f"transfer-{slug(dataset)}", title, Table(heads, lines))


def _values(name: str, results: list[TransferFields]) -> list[float]:
    return [result["metrics"][name] for result in results]
