"""How soon methods reach a validation recall: the best mR by seconds of training, and a table."""

import statistics
from dataclasses import dataclass

from bench.report.conditions import memory_words, spoilt
from bench.report.entry import SPEED, Entry
from bench.report.group import Group
from bench.report.row import Row
from bench.report.tables import (
    MIB,
    Cell,
    Column,
    Part,
    cell_of,
    percent,
    rate,
    recall_cell,
    seeds_of,
    size,
    with_differences,
)

SHARES = (90, 95, 100)
"""Percent of the reference's validation mR; the table shows the cost of reaching each."""
FEWEST_EVALUATIONS = 3
"""With fewer evaluations in a training, the time of reaching a recall would be too coarse."""


@dataclass(frozen=True)
class Point:
    """The best validation mR, in percent, after so many seconds of training."""

    seconds: float
    best: float


@dataclass(frozen=True)
class Course:
    """The progress of a row's trials: for each seed, a point for each evaluation.

    computed: whether some seconds are not recorded and were computed from the training speed.
    """

    seeds: list[list[Point]]
    computed: bool

    @property
    def mean(self) -> list[Point]:
        """Means over seeds at the first evaluation, at the second, and so on.

        If seeds have different numbers of evaluations, only those that all seeds have.
        """
        return [
            Point(statistics.fmean(p.seconds for p in same), statistics.fmean(p.best for p in same))
            for same in zip(*self.seeds, strict=False)
        ]

    @property
    def best(self) -> list[float]:
        """The best validation mR of each seed."""
        return [points[-1].best for points in self.seeds]

    def seconds_to(self, recall: float) -> float | None:
        """Seconds until the mean first reached a recall (percent); None if it never did."""
        enough = recall - 1e-9 * abs(recall)  # sums of the same numbers may differ in a last digit
        return next((point.seconds for point in self.mean if point.best >= enough), None)


def courses(rows: list[Row]) -> dict[str, Course]:
    """The courses of rows, by label. Rows without validation recall or time are left out."""
    by_label = {}
    for row in rows:
        trials = [(entry, points) for entry in row.ok if (points := _points(entry))]
        if trials:
            computed = any(_recorded(entry) is None for entry, _ in trials)
            by_label[row.label] = Course([points for _, points in trials], computed)
    return by_label


def _points(entry: Entry) -> list[Point]:
    """The points of a trial; none if one of its evaluations lacks the recall, since means over
    seeds are taken at each evaluation."""
    best: list[float] = []
    for evaluation in entry.record.get("curve", []):
        recall = evaluation.get("val_mR")
        if recall is None:
            return []
        best.append(max([recall, *best[-1:]]))
    return [Point(*pair) for pair in zip(_recorded(entry) or _computed(entry), best, strict=False)]


def _recorded(entry: Entry) -> list[float] | None:
    """Seconds of training at each evaluation; None if the record lacks any."""
    curve = entry.record.get("curve", [])
    seconds = [evaluation.get("train_seconds") or 0.0 for evaluation in curve]
    return seconds if all(each > 0 for each in seconds) else None


def _computed(entry: Entry) -> list[float]:
    """Seconds at each evaluation, computed from the training speed; empty without a speed.

    Building cached features counts as training.
    """
    images_per_second = entry.efficiency.get("train_images_per_second") or 0.0
    if images_per_second <= 0:
        return []
    features = entry.efficiency.get("feature_seconds") or 0.0
    images = entry.images_per_step
    steps = [evaluation["step"] for evaluation in entry.record.get("curve", [])]
    return [features + step * images / images_per_second for step in steps]


@dataclass(frozen=True)
class Reach:
    """What it costs to reach shares of a goal: the validation mR of a reference."""

    reference: str
    goal: float
    courses: dict[str, Course]

    def seconds(self, label: str) -> list[float | None]:
        """The time that a row took to each of SHARES; None if it was never reached."""
        return [self.courses[label].seconds_to(self.goal * share / 100) for share in SHARES]


def reach(group: Group, reference: str) -> Reach | None:
    """The costs in a group; None with fewer than two methods that were evaluated often enough.

    reference: a method or call; if it has no course, the best row is the reference.
    """
    known = {
        label: course
        for label, course in courses(group.every).items()
        if len(course.mean) >= FEWEST_EVALUATIONS
    }
    if len(known) < 2:
        return None
    named = group.row(reference)
    best = max(known, key=lambda label: known[label].mean[-1].best)
    label = named.label if named and named.label in known else best
    return Reach(label, known[label].mean[-1].best, known)


def reach_table(group: Group, reference: str) -> Part | None:
    """The table of `reach`, with the memory of each method; None if `reach` gives none."""
    costs = reach(group, reference)
    if costs is None:
        return None
    memory = Column("memory, MiB", group.memory, size, 0, MIB)
    lines = []
    for row in group.rows:
        if row.label in costs.courses:
            lines.append((row, [*_figures(row, costs), cell_of(row, memory)]))
        elif not row.ok:
            none = [Cell("–")] * (2 + len(SHARES))
            lines.append((row, [seeds_of(row), Cell(row.states), *none]))
    shares = [f"seconds to {share}%" for share in SHARES]
    heads = ["n", "best val mR", f"val mR / {costs.reference}", *shares, memory.title]
    table = with_differences(group, heads, lines)
    named = group.row(reference)
    goal = f"the validation mR of {costs.reference}"
    if named is None or named.label != costs.reference:
        goal = f"the best validation mR, that of {costs.reference},"
    title = f"What 90, 95 and 100% of {goal} cost"
    return Part("reach", title, table, [*_notes(costs), memory_words(group)])


def _figures(row: Row, costs: Reach) -> list[Cell]:
    course, sign = costs.courses[row.label], spoilt(row, SPEED)
    share = 100 * course.mean[-1].best / costs.goal if costs.goal else 0.0
    n, total = len(course.seeds), len(row.entries)
    return [
        Cell(f"{n} of {total}" if n < total else str(n)),
        recall_cell(course.best),
        Cell(f"{percent(share)}%"),
        *(
            Cell("–") if seconds is None else Cell(rate(seconds), sign=sign)
            for seconds in costs.seconds(row.label)
        ),
    ]


def _notes(costs: Reach) -> list[str]:
    counts = sorted({len(course.mean) for course in costs.courses.values()})
    notes = [
        f"Seconds of training until a method first reached that share of the validation mR of "
        f"{costs.reference}, {percent(costs.goal)}; –: never reached. Recall is known at "
        f"{' or '.join(map(str, counts))} evaluations in a training, so these are the seconds of "
        "an evaluation. At each one the best mR so far is averaged over seeds. Seconds include the "
        "building of cached features, but neither evaluation nor set-up."
    ]
    if any(course.computed for course in costs.courses.values()):
        notes.append(
            "For records without such seconds they are computed from the measured rate: step × "
            "batch / images/s."
        )
    return notes
