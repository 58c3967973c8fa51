"""Which records a user means: a file, a folder, or a folder's name below the results folder."""

from dataclasses import dataclass
from pathlib import Path

from bench import UserError, at_home, record
from bench.report.groups import Group, Row, group_records
from bench.spec import nearest


@dataclass(frozen=True)
class Choice:
    """The records of one method call under the same conditions, by seed.

    `group` is the same for records that stand in one table of a report, `conditions` says which
    these are; `failed` are trials that did not end well.
    """

    label: str
    group: str
    title: str
    conditions: str
    records: dict[int, Path]
    failed: tuple[str, ...] = ()


def one(where: str, results: Path, seed: int | None = None, conditions: str | None = None) -> Path:
    """The one record that `where` names: its file, or a folder that holds one (of that seed).

    Raises UserError where it names none or several; it lists them.
    """
    path = locate(where, results)
    if path.is_file():
        return path
    found = _narrowed(choices(path), path, seed, conditions)
    records = sorted(file for choice in found for file in choice.records.values())
    if len(records) == 1:
        return records[0]
    if len(found) == 1:
        seeds = ", ".join(map(str, found[0].records))
        raise UserError(f"{path} holds a record for each of the seeds {seeds}; choose: --seed")
    raise UserError(f"{path} holds {len(records)} records; {_listed(found)}")


def several(
    where: str, results: Path, seed: int | None = None, conditions: str | None = None
) -> list[Path]:
    """All records that `where` names: a file, or those of a folder that a report would show.

    Raises UserError where it names none.
    """
    path = locate(where, results)
    if path.is_file():
        return [path]
    found = _narrowed(choices(path), path, seed, conditions)
    return sorted(file for choice in found for file in choice.records.values())


def pair(
    a: str, b: str, results: Path, seed: int | None = None, conditions: str | None = None
) -> tuple[list[Path], list[Path], list[str]]:
    """The records to compare, those of the same seed at the same place, and notes for the user.

    `a` and `b` each name a record or a folder; of a folder all seeds that both have are taken, or
    `seed` alone. `conditions` chooses where a folder holds records of several kinds (steps and so
    on). Raises UserError where the choice is not clear.
    """
    places = [locate(where, results) for where in (a, b)]
    notes: list[str] = []
    sides = [
        _file(path) if path.is_file() else _narrowed(choices(path, notes), path, seed, conditions)
        for path in places
    ]
    notes = [f"left out: {note}" for note in notes]
    common = {c.group for c in sides[0]} & {c.group for c in sides[1]}
    if common:
        sides = [[choice for choice in side if choice.group in common] for side in sides]
    for path, side in zip(places, sides, strict=True):
        if len(side) > 1:
            raise UserError(f"{path} holds records of {len(side)} kinds; {_listed(side)}")
    first, second = (side[0] for side in sides)
    notes += [f"left out: {trial}" for side in sides for trial in side[0].failed]
    if not common:
        notes.append(f"recorded under different conditions: A {first.title}; B {second.title}")
    if all(path.is_file() for path in places):
        return list(first.records.values()), list(second.records.values()), notes
    seeds = sorted(first.records.keys() & second.records.keys())
    if not seeds:
        raise UserError(
            f"{a} has the seeds {_numbers(first)} and {b} {_numbers(second)}: none in common, so "
            "they cannot be paired; run the missing ones, or give one record of each"
        )
    alone = sorted(first.records.keys() ^ second.records.keys())
    if alone:
        notes.append(f"left out: seeds {', '.join(map(str, alone))}, which only one of them has")
    return [first.records[s] for s in seeds], [second.records[s] for s in seeds], notes


def locate(where: str, results: Path) -> Path:
    """The file or folder of that name, here or below the results folder; raises UserError."""
    for path in (at_home(where), results / where):
        if path.exists():
            return path
    known = [str(path.parent.relative_to(results)) for path in record.paths(results)]
    what = "a record (seed*.json), or a folder of records such as ucm/starter/cmer"
    raise UserError(
        f"there is no file or folder {where}, here or below {results}{nearest(where, known)}; give "
        f"{what}; --results says below which folder"
    )


def choices(folder: Path, left_out: list[str] | None = None) -> list[Choice]:
    """What a folder holds, as a report would show it; raises UserError where that is nothing.

    A sentence on each record that cannot be read is added to `left_out`.
    """
    left_out = [] if left_out is None else left_out
    frame = record.load(folder, left_out=left_out.append)
    found = [
        _choice(table, row, folder)
        for table in group_records(frame)
        for row in table.rows
        if row.ok
    ]
    if found:
        return found
    failed = [
        trial for table in group_records(frame) for row in table.rows for trial in _failed(row)
    ]
    why = "; ".join([*failed, *left_out]) or "it holds no seed*.json"
    raise UserError(f"{folder} has no record of a trial that ended well: {why}")


def _choice(table: Group, row: Row, folder: Path) -> Choice:
    return Choice(
        row.label,
        table.digest,
        f"{row.label}, {table.title}",
        " · ".join(table.special) or "defaults",
        {entry.seed: folder / entry.path for entry in row.ok},
        _failed(row),
    )


def _failed(row: Row) -> tuple[str, ...]:
    return tuple(f"{row.label} seed {e.seed} ({e.record['status']})" for e in row.others)


def _file(path: Path) -> list[Choice]:
    """The choice of one record's file, whatever else its folder holds."""
    document = record.read(path)
    import pandas as pd

    frame = pd.DataFrame([{"path": path.name, "record": document}])
    [table] = group_records(frame)
    [row] = table.rows
    found = _choice(table, row, path.parent)
    return [
        Choice(row.label, found.group, found.title, found.conditions, {row.entries[0].seed: path})
    ]


def _narrowed(
    found: list[Choice], folder: Path, seed: int | None, conditions: str | None
) -> list[Choice]:
    """Those of the seed and the conditions; raises UserError where none is."""
    if conditions is not None:
        wanted = set(_words(conditions))
        fitting = [c for c in found if wanted <= set(_words(c.conditions))]
        exact = [c for c in fitting if wanted == set(_words(c.conditions))]
        if not fitting:
            raise UserError(f"{folder} has nothing recorded with {conditions}; {_listed(found)}")
        found = exact or fitting
    if seed is None:
        return found
    kept = [
        Choice(c.label, c.group, c.title, c.conditions, {seed: c.records[seed]})
        for c in found
        if seed in c.records
    ]
    if not kept:
        seeds = sorted({number for choice in found for number in choice.records})
        raise UserError(
            f"{folder} has no record of seed {seed} that ended well; it has seeds "
            f"{', '.join(map(str, seeds))}"
        )
    return kept


def _words(conditions: str) -> list[str]:
    return [word.strip() for word in conditions.replace("·", ",").split(",") if word.strip()]


def _numbers(choice: Choice) -> str:
    return ", ".join(map(str, sorted(choice.records)))


def _listed(found: list[Choice]) -> str:
    """How to choose among several: by conditions where these differ, else by folder."""
    if len({choice.label for choice in found}) > 1:
        folders = sorted({str(p.parent) for c in found for p in c.records.values()})
        return f"give the folder of one method: {', '.join(folders[:8])}" + (
            " and so on" if len(folders) > 8 else ""
        )
    listed = " or ".join(f"--conditions '{choice.conditions}'" for choice in found)
    return f"choose with {listed}"
