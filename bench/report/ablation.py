"""Settings of a method, one changed at a time: what each costs and gains against the default."""

import json
import re
import statistics
from dataclasses import dataclass, replace
from typing import Any

from bench.report.entry import RECALL, VALIDATION
from bench.report.group import Group, slug
from bench.report.row import Row
from bench.report.significance import LEVEL, difference, differences
from bench.report.tables import Cell, Part, Table, cell_of, costs, recalls, seeds_of, signed
from bench.trained import paired

MANY = 6
"""A method with so many calls besides its default has only two rows in the main tables: its default
and the best on validation. The others are in its table of settings alone."""
COLUMNS = ("mR", "i2t R@1", "t2i R@1", "memory, MiB", "images/s", "trainable parameters")

Settings = dict[str, Any]


@dataclass(frozen=True)
class Ablation:
    """The default of a method, and its other calls with the settings they change."""

    method: str
    base: Row
    changed: list[tuple[Settings, Row]]

    @property
    def title(self) -> str:
        """What the table shows."""
        own = _settings(self.base)
        names = sorted({name for settings, _ in self.changed for name in settings})
        default = ", ".join(f"{name}={own[name]!r}" for name in names if name in own)
        title = f"Settings of {self.method}, one changed at a time"
        title += f"; default: {default}" if default else ""
        several = any(len(settings) > 1 for settings, _ in self.changed)
        return title + ("; last, what changes several" if several else "")


def ablations(group: Group) -> list[Ablation]:
    """One for each method that has its default and another call in the group.

    The learning rate counts as a setting. If several rows have the default settings, the default is
    the one from which most other calls differ in a single setting. Under an equal training time
    rows with cached features stand beside the others; they are left out, since caching is no
    setting of the method.
    """
    chosen = []
    comparable = [r for r in group.every if r.entries[0].cached_features == group.cached_features]
    for method in sorted({row.method for row in comparable}):
        rows = [row for row in comparable if row.method == method]
        candidates = [
            Ablation(method, base, [(_changes(base, row), row) for row in rows if row is not base])
            for base in rows
            if _without_lr(base) == method
        ]
        if candidates and len(rows) > 1:
            chosen.append(max(candidates, key=lambda a: sum(len(s) == 1 for s, _ in a.changed)))
    return chosen


def _without_lr(row: Row) -> str:
    """The call of a row without its learning rate, which comes last."""
    call = re.sub(r"lr=[^,)]+\)$", ")", row.entries[0].trial["call"])
    return call.replace(", )", ")").removesuffix("()")


def _settings(row: Row) -> Settings:
    rates = [entry.lr for entry in row.entries if entry.lr is not None]
    return {**row.entries[0].trial["settings"], "lr": rates[0] if rates else None}


def _changes(base: Row, row: Row) -> Settings:
    """Settings that differ from the base's; a setting that an older record lacks does not count."""
    default, own = _settings(base), _settings(row)
    return {k: v for k, v in own.items() if json.dumps(v) != json.dumps(default.get(k, v))}


def fold(group: Group) -> Group:
    """The group with the rows of methods that have many calls moved to `folded`."""
    folded: list[Row] = []
    for ablation in ablations(group):
        rows = [row for _, row in ablation.changed]
        if len(rows) >= MANY:
            scores = [(s.mean, row) for row in rows if (s := row.statistic(VALIDATION))]
            best = max(scores, key=lambda pair: pair[0])[1] if scores else None
            folded += [row for row in rows if row is not best]
    if not folded:
        return group
    return replace(group, rows=[row for row in group.rows if row not in folded], folded=folded)


def ablation_tables(group: Group) -> list[Part]:
    """For each method with several calls a table: the default first, then by setting.

    Calls that change several settings at once come last. A `*` says that the difference is
    significant by a paired t-test over seeds, corrected (Holm) for the number of calls in the table
    that could be tested.
    """
    return [
        Part(f"settings-{slug(ablation.method)}", ablation.title, _table(ablation, group))
        for ablation in ablations(group)
    ]


def _table(ablation: Ablation, group: Group) -> Table:
    known = {column.title: column for column in [*recalls(), *costs(group)]}
    mr, *others = (known[title] for title in COLUMNS if title in known)
    base, changed = ablation.base, sorted(ablation.changed, key=_order)
    names = [_name(settings) for settings, _ in changed]
    breaks = [n + 1 for n, name in enumerate(names) if n == 0 or name != names[n - 1]]
    heads = ["setting", "n", "mR", "mR - default", *(column.title for column in others)]
    rows = []
    tests = [difference(row, base, RECALL) for _, row in changed]
    p_values = paired.holm([test.p if test else None for test in tests])
    for (settings, row), p in zip([({}, base), *changed], [None, *p_values], strict=True):
        words = ", ".join(f"{k}={v!r}" for k, v in sorted(settings.items())) or row.label
        setting = Cell("default" if row is base else words, code=True)
        change = Cell("") if row is base else _difference(row, base, p is not None and p < LEVEL)
        recall = cell_of(row, mr) if row.ok else Cell(row.states)
        figures = [cell_of(row, column) for column in others]
        rows.append([setting, seeds_of(row), recall, change, *figures])
    return Table(heads, rows, breaks=tuple(breaks))


def _name(settings: Settings) -> str:
    """The name of the one setting that is changed; `~`, which sorts last, for several."""
    return next(iter(settings)) if len(settings) == 1 else "~"


def _order(changed: tuple[Settings, Row]) -> tuple[str, bool, float, str]:
    """Sorts calls by the name of the setting, then by its value, numbers before words."""
    settings, row = changed
    value = next(iter(settings.values())) if len(settings) == 1 else row.label
    number = isinstance(value, int | float)
    return _name(settings), not number, float(value) if number else 0.0, str(value)


def _difference(row: Row, base: Row, significant: bool) -> Cell:
    """The mean difference of mR over the seeds that two rows share."""
    if not (changes := differences(row, base, RECALL)):
        return Cell("–")
    return Cell(signed(statistics.fmean(changes)), sign=" *" if significant else "")
