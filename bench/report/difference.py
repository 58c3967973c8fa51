"""Is a method as good as the reference? The difference of mR, paired by seed, with its interval."""

from dataclasses import dataclass

from bench.report.entry import RECALL, VALIDATION
from bench.report.group import Group
from bench.report.row import Row
from bench.report.significance import difference
from bench.report.tables import Cell, Part, percent, signed, with_differences
from bench.trained.paired import TTest


@dataclass(frozen=True)
class Difference:
    """A method's mR minus that of the reference, on validation and on test.

    reference: its label; seeds: how many ended well for both. A test is None if there are fewer
    than two, or if one of their records lacks the number.
    """

    reference: str
    seeds: int
    validation: TTest | None
    test: TTest | None


def difference_of(row: Row, group: Group, reference: str) -> Difference | None:
    """The difference of a row to the reference, a method or call; None if one of them is missing,
    or if they are the same."""
    base = group.row(reference)
    if base is None or base is row or not row.ok:
        return None
    seeds = len({entry.seed for entry in row.ok} & {entry.seed for entry in base.ok})
    tests = [difference(row, base, path) for path in (VALIDATION, RECALL)]
    complete = [test if test and test.n == seeds else None for test in tests]
    return Difference(base.label, seeds, *complete)


def difference_table(group: Group, reference: str) -> Part | None:
    """A table of the differences; None if no method has two seeds in common with the reference."""
    rows = [(row, each) for row in group.rows if (each := difference_of(row, group, reference))]
    if not any(each.validation or each.test for _, each in rows):
        return None
    lines = [(row, [Cell(str(d.seeds)), _cell(d.validation), _cell(d.test)]) for row, d in rows]
    return Part(
        "difference",
        f"Difference to {rows[0][1].reference}, paired by seed, in points of mR",
        with_differences(group, ["seeds in common", "validation mR", "test mR"], lines),
        spread=(
            "Mean difference ± half of its 95% interval, by Student's t over the seeds in common "
            "and on these images. With few seeds the interval is wide."
        ),
    )


def _cell(test: TTest | None) -> Cell:
    return Cell(signed(test.mean), percent(test.half_width)) if test else Cell("–")
