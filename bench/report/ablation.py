"""Settings of a method, one changed at a time: what each costs and gains against the default."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from bench import paired
from bench.report.groups import Group, Row
from bench.report.significance import LEVEL, Significance
from bench.report.tables import (
    Cell,
    Column,
    Table,
    cell_of,
    costs,
    percent,
    recalls,
    seeds_of,
    states,
)

MANY = 6
"""From this many calls besides its default on, a method is shown outside its table of settings with
its default and its best call on validation alone."""
COLUMNS = ("mR", "i2t R@1", "t2i R@1", "memory, MiB", "images/s", "trainable parameters")
PLACE = 3
"""Index of the column with the difference, just behind mR."""
RECALL = "metrics.test.mR"


@dataclass(frozen=True)
class Ablation:
    """The default of a method, and its other calls with the settings they change."""

    method: str
    base: Row
    changed: list[tuple[dict[str, Any], Row]]

    @property
    def usual(self) -> dict[str, Any]:
        """The default of every setting that some call changes."""
        names = sorted({name for settings, _ in self.changed for name in settings})
        own = _settings(self.base)
        return {name: own[name] for name in names if name in own}


def ablations(one: Group) -> list[Ablation]:
    """One for each method that has its default and another call in the group.

    The learning rate counts as a setting. Of several rows with the default settings that one is the
    default from which most others differ in one setting alone. Rows with cached features that stand
    beside the others (under an equal time) are left out: what they change is no setting.
    """
    found = []
    alike = [row for row in one.every if row.entries[0].cached_features == one.cached_features]
    for method in sorted({row.method for row in alike}):
        rows = [row for row in alike if row.method == method]
        choices = [
            Ablation(method, base, [(_changes(base, row), row) for row in rows if row is not base])
            for base in rows
            if _plain(base) == method
        ]
        if choices and len(rows) > 1:
            found.append(max(choices, key=lambda a: sum(len(s) == 1 for s, _ in a.changed)))
    return found


def _plain(row: Row) -> str:
    """The call without its learning rate."""
    call = re.sub(r"lr=[^,)]+\)$", ")", str(row.entries[0].get("trial.call")))
    return call.replace(", )", ")").removesuffix("()")


def _settings(row: Row) -> dict[str, Any]:
    first = row.entries[0]
    rates = [entry.lr for entry in row.entries if entry.lr is not None]
    return {**first.get("trial.settings"), "lr": rates[0] if rates else None}


def _changes(base: Row, row: Row) -> dict[str, Any]:
    """Settings that are not the base's; one that an older record has not is as in the base."""
    usual, own = _settings(base), _settings(row)
    return {k: v for k, v in own.items() if json.dumps(v) != json.dumps(usual.get(k, v))}


def fold(one: Group) -> Group:
    """The group with the rows of methods that have many calls moved to `folded`."""
    away: list[Row] = []
    for ablation in ablations(one):
        rows = [row for _, row in ablation.changed]
        if len(rows) < MANY:
            continue
        scores = [(s.mean, row) for row in rows if (s := row.statistic("metrics.val.mR"))]
        best = max(scores, key=lambda pair: pair[0])[1] if scores else None
        away += [row for row in rows if row is not best]
    if not away:
        return one
    return replace(one, rows=[row for row in one.rows if row not in away], folded=away)


def ablation_tables(group: Group, significance: Significance) -> list[tuple[str, str, Table]]:
    """For each method with several calls: its name, what the table says, and the table.

    The default first, then by setting; calls that change several settings at once last. A `*`: the
    difference is significant by a paired t-test over seeds, corrected (Holm) for the number of
    calls in the table that could be tested.
    """
    return [
        (found.method, _about(found), _table(found, group, significance))
        for found in ablations(group)
    ]


def _about(ablation: Ablation) -> str:
    usual = ", ".join(f"{k}={v!r}" for k, v in ablation.usual.items())
    about = f"Settings of {ablation.method}, one changed at a time"
    about += f"; default: {usual}" if usual else ""
    if any(len(settings) > 1 for settings, _ in ablation.changed):
        about += "; last, what changes several"
    return about


def _table(ablation: Ablation, group: Group, significance: Significance) -> Table:
    every = {column.title: column for column in [*recalls(), *costs(group)]}
    columns = [every[title] for title in COLUMNS if title in every]
    changed = sorted(ablation.changed, key=_place)
    kinds = [_kind(settings) for settings, _ in changed]
    breaks = [n + 1 for n, kind in enumerate(kinds) if n == 0 or kind != kinds[n - 1]]
    lines = [_line(Cell("default", code=True), ablation.base, Cell(""), columns)]
    tests = [significance.p_value(row, ablation.base, RECALL) for _, row in changed]
    for (settings, row), p in zip(changed, paired.holm(tests), strict=True):
        words = ", ".join(f"{k}={v!r}" for k, v in sorted(settings.items())) or row.label
        change = difference(row, ablation.base, p is not None and p < LEVEL)
        lines.append(_line(Cell(words, code=True), row, change, columns))
    heads = ["setting", "n", *(column.title for column in columns)]
    heads.insert(PLACE, "mR - default")
    return Table(heads, lines, breaks=tuple(breaks))


def _line(first: Cell, row: Row, change: Cell, columns: list[Column]) -> list[Cell]:
    cells = [first, seeds_of(row), *(cell_of(row, column) for column in columns)]
    cells.insert(PLACE, change)
    if not row.ok:
        cells[PLACE - 1] = Cell(states(row))
    return cells


def _kind(settings: dict[str, Any]) -> str:
    """The one setting changed; several are sorted behind every name."""
    return next(iter(settings)) if len(settings) == 1 else "~"


def _place(changed: tuple[dict[str, Any], Row]) -> tuple[str, bool, float, str]:
    settings, row = changed
    value = next(iter(settings.values())) if len(settings) == 1 else row.label
    number = isinstance(value, int | float)
    return _kind(settings), not number, float(value) if number else 0.0, str(value)


def difference(row: Row, base: Row, sure: bool) -> Cell:
    """mR of a row less that of another over the seeds they share; `*` where that is `sure`."""
    a, b = row.values(RECALL), base.values(RECALL)
    seeds = a.keys() & b.keys()
    if not seeds:
        return Cell("–")
    change = sum(a[seed] - b[seed] for seed in seeds) / len(seeds)
    return Cell(("+" if change >= 0 else "") + percent(change), sign=" *" if sure else "")
