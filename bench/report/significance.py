"""Whether the best method of a column is better than the second by more than chance.

The test is Student's paired t over seeds. It asks whether other trainings would come to the same
result on the same test images. Whether other test images would is asked by `bench compare`, which
reads the rank of each query. Here only records are read, so that the same records get the same
marks on every machine.
"""

from bench.report.conditions import spoilt
from bench.report.group import Group
from bench.report.row import Row
from bench.trained import paired

LEVEL = 0.05
ABOUT = "Student's paired t over seeds at 95%, on these test images"


def differences(a: Row, b: Row, path: str) -> list[float]:
    """A field of row a minus that of b, for each seed that both have."""
    first, second = a.values(path), b.values(path)
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def difference(a: Row, b: Row, path: str) -> paired.TTest | None:
    """The mean of `differences` with its test; None with fewer than two seeds."""
    return paired.t_test(differences(a, b, path))


def beats(a: Row, b: Row, path: str, better: int) -> bool:
    """Whether row a is better than row b by more than chance, on the seeds that both have.

    better: 1 if more is better, -1 if less is.
    """
    test = difference(a, b, path)
    return test is not None and test.p < LEVEL and test.mean * better > 0


def marks(group: Group, path: str, better: int) -> dict[str, str]:
    """The marks `best` and `second` in a column, by the labels of the rows.

    If the difference is not significant, both rows are `second`. Nothing is marked if one of the
    two has a single seed or a figure that cannot be compared (see `conditions.spoilt`).

    better: 1 if more is better, -1 if less is, 0 if neither.
    """
    ranked = [(row, s) for row in group.rows if (s := row.statistic(path))]
    ranked.sort(key=lambda pair: -better * pair[1].mean)
    top = ranked[:2]
    if not better or len(top) < 2 or any(s.n < 2 or spoilt(row, path) for row, s in top):
        return {}
    (best, _), (second, next_most) = top
    mark = "best" if beats(best, second, path, better) else "second"
    seconds = [row.label for row, s in ranked[1:] if s.mean == next_most.mean]
    return {best.label: mark, **dict.fromkeys(seconds, "second")}
