"""Which records a user means: a file, a folder, or a folder's name below the results folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from bench import UserError, at_home, record
from bench.report.group import Group
from bench.report.grouping import group_records
from bench.report.row import Row
from bench.spec import nearest


@dataclass(frozen=True)
class Choice:
    """The records of one method call that were made under the same conditions, by seed."""

    group: Group
    row: Row
    records: dict[int, Path]

    @property
    def conditions(self) -> str:
        """What sets these records apart from others of the same method, for `--conditions`."""
        return " · ".join(filter(None, [*self.group.special, self.row.apart])) or "defaults"

    @property
    def place(self) -> str:
        """Device and backbone, which `--conditions` takes too: they may be all that differs."""
        return f"{self.group.device} · {self.group.backbone}"

    @property
    def seeds(self) -> str:
        """The seeds that ended well."""
        return ", ".join(map(str, self.records))


def one(where: str, results: Path, seed: int | None = None, conditions: str | None = None) -> Path:
    """The one record that `where` names: its file, or a folder that holds just one (of that seed).

    Raises UserError if it names none or several; the error lists them.
    """
    path = locate(where, results)
    if path.is_file():
        return path
    matches = choices(path, seed, conditions)
    records = _files(matches)
    if len(records) == 1:
        return records[0]
    how = _how_to_choose(matches)
    if len(matches) == 1:
        how = f"one for each of the seeds {matches[0].seeds}; choose: --seed"
    raise UserError(f"{path} holds {len(records)} records; {how}")


def several(
    where: str,
    results: Path,
    seed: int | None = None,
    conditions: str | None = None,
    left_out: list[str] | None = None,
) -> list[Path]:
    """All records that `where` names: a file, or those of a folder that a report would show.

    For each record of a folder that cannot be read, a sentence is added to `left_out`. Raises
    UserError if `where` names no record.
    """
    path = locate(where, results)
    return [path] if path.is_file() else _files(choices(path, seed, conditions, left_out))


def _files(matches: list[Choice]) -> list[Path]:
    return sorted(path for choice in matches for path in choice.records.values())


def pair(
    a: str, b: str, results: Path, seed: int | None = None, conditions: str | None = None
) -> tuple[list[Path], list[Path], list[str]]:
    """The records of `a` and of `b` to compare, paired by seed, and notes for the user.

    `a` and `b` each name a record or a folder. From folders, all seeds that both have are taken, or
    `seed` alone; `conditions` chooses if a folder holds records of several. Raises UserError if it
    is not clear which records to compare.
    """
    notes: list[str] = []
    paths = [locate(where, results) for where in (a, b)]
    sides = [choices(path, seed, conditions, notes) for path in paths]
    notes = [f"left out: {note}" for note in notes]
    common = set.intersection(*({choice.group.digest for choice in side} for side in sides))
    if common:
        sides = [[choice for choice in side if choice.group.digest in common] for side in sides]
    for path, side in zip(paths, sides, strict=True):
        if len(side) > 1:
            raise UserError(f"{path} holds records of {len(side)} kinds; {_how_to_choose(side)}")
    [first], [second] = sides
    notes += [f"left out: {trial}" for side in sides for trial in _failed(side[0].row)]
    if not common:
        titles = [f"{choice.row.label}, {choice.group.title}" for choice in (first, second)]
        notes.append(f"recorded under different conditions: A {titles[0]}; B {titles[1]}")
    if all(path.is_file() for path in paths):
        return _files([first]), _files([second]), notes
    seeds = sorted(first.records.keys() & second.records.keys())
    if not seeds:
        raise UserError(
            f"{a} has the seeds {first.seeds} and {b} {second.seeds}: none in common, so they "
            "cannot be paired; run the missing ones, or give one record of each"
        )
    if alone := sorted(first.records.keys() ^ second.records.keys()):
        notes.append(f"left out: seeds {', '.join(map(str, alone))}, which only one of them has")
    return [first.records[s] for s in seeds], [second.records[s] for s in seeds], notes


def locate(where: str, results: Path) -> Path:
    """The file or folder of that name, here or below the results folder; raises UserError."""
    for path in (at_home(where), results / where):
        if path.exists():
            return path
    known = [str(path.parent.relative_to(results)) for path in record.paths(results)]
    raise UserError(
        f"there is no file or folder {where}, here or below {results}{nearest(where, known)}; give "
        "a record (seed*.json), or a folder of records such as ucm/starter/cmer; --results says "
        "below which folder"
    )


def choices(
    path: Path,
    seed: int | None = None,
    conditions: str | None = None,
    left_out: list[str] | None = None,
) -> list[Choice]:
    """The records in a folder as a report groups them, or those of a file; UserError for none.

    `seed` and `conditions` narrow down those of a folder. A sentence on each record that cannot
    be read is added to `left_out`.
    """
    left_out = [] if left_out is None else left_out
    folder, only = path, None
    if path.is_file():
        record.read(path)  # raises an error if it is no record
        folder, only, seed, conditions = path.parent, [path], None, None
    groups = group_records(record.load(folder, only=only, left_out=left_out.append))
    matches = [
        Choice(group, row, {entry.seed: folder / entry.path for entry in row.ok})
        for group in groups
        for row in group.rows
        if row.ok
    ]
    if not matches:
        failed = [trial for group in groups for row in group.rows for trial in _failed(row)]
        why = "; ".join([*failed, *left_out]) or "it holds no seed*.json"
        raise UserError(f"{path} has no record of a trial that ended well: {why}")
    if conditions is not None:
        matches = _under(conditions, matches, folder)
    return matches if seed is None else _of_seed(seed, matches, folder)


def _failed(row: Row) -> list[str]:
    return [f"{row.label} seed {e.seed} ({e.status})" for e in row.not_ok]


def _under(conditions: str, matches: list[Choice], folder: Path) -> list[Choice]:
    """The choices that were made under these conditions; if some have no others, these alone."""

    def words(text: str) -> set[str]:
        return {word.strip() for word in text.replace("·", ",").split(",") if word.strip()}

    given = words(conditions)
    fitting = [c for c in matches if given <= words(c.conditions) | words(c.place)]
    if not fitting:
        how = _how_to_choose(matches)
        raise UserError(f"{folder} has nothing recorded with {conditions}; {how}")
    exact = [c for c in fitting if given - words(c.place) == words(c.conditions)]
    return exact or fitting


def _of_seed(seed: int, matches: list[Choice], folder: Path) -> list[Choice]:
    kept = [replace(c, records={seed: c.records[seed]}) for c in matches if seed in c.records]
    if not kept:
        seeds = sorted({number for choice in matches for number in choice.records})
        raise UserError(
            f"{folder} has no record of seed {seed} that ended well; it has seeds "
            f"{', '.join(map(str, seeds))}"
        )
    return kept


def _how_to_choose(matches: list[Choice]) -> str:
    """How to choose among several: by folder if there are several, else by conditions."""
    folders = sorted({str(path.parent) for path in _files(matches)})
    if len(folders) > 1:
        more = " and so on" if len(folders) > 8 else ""
        return f"give the folder of one method: {', '.join(folders[:8])}{more}"
    names = [choice.conditions for choice in matches]
    if len(set(names)) < len(names):
        names = [f"{choice.conditions} · {choice.place}" for choice in matches]
    return "choose with " + " or ".join(f"--conditions '{name}'" for name in names)
