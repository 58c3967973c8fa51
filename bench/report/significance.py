"""Whether the best of a column is better than the second beyond chance.

The test is Student's paired t over seeds, from the records alone, so that the same records get the
same marks everywhere. It asks whether other trainings would agree on the same test images; whether
other test images would is for `bench compare`, which has what each query found.
"""

from pathlib import Path

from bench import paired
from bench.report.conditions import spoilt
from bench.report.groups import Group, Row

LEVEL = 0.05
ABOUT = "Student's paired t over seeds at 95%, on these test images"


class Significance:
    """Paired tests between the rows of a group; `results` is the folder of their records."""

    def __init__(self, results: Path | None) -> None:
        self.results = results

    def marks(self, one: Group, path: str, better: int) -> dict[str, str]:
        """Labels of the rows to be marked `best` or `second`.

        Where the difference is not significant both of them are `second`; nothing is marked where
        one of them has a single seed or is not comparable (bench.report.conditions).
        """
        if not better:
            return {}
        found = [(r, s) for r in one.rows if (s := r.statistic(path))]
        found.sort(key=lambda pair: -better * pair[1].mean)
        if len(found) < 2 or any(s.n < 2 or spoilt(row, path) for row, s in found[:2]):
            return {}
        best, second = found[0][0], found[1][0]
        p = self.p_value(best, second, path)
        sure = p is not None and p < LEVEL and found[0][1].mean != found[1][1].mean
        level = [row.label for row, s in found[1:] if s.mean == found[1][1].mean]
        return {best.label: "best" if sure else "second", **dict.fromkeys(level, "second")}

    def p_value(self, a: Row, b: Row, path: str) -> float | None:
        """Two-sided p of a number's difference over the seeds that two rows share; None where they
        share fewer than two."""
        first, second = a.values(path), b.values(path)
        seeds = sorted(first.keys() & second.keys())
        return paired.t_test([first[seed] - second[seed] for seed in seeds])
