"""Whether the best of a column is better than the second beyond chance."""

from pathlib import Path
from typing import Any

import numpy as np

from bench import UserError
from bench.report.conditions import spoilt
from bench.report.groups import Entry, Group, Row, Statistic
from bench.trained import compare

T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Two-sided 95% points of Student's t for 1 to 30 degrees of freedom."""


class Significance:
    """Whether the best of a column is better than the second beyond chance."""

    def __init__(self, results: Path | None) -> None:
        self.results = results
        self._hits: dict[tuple[str, str], np.ndarray[Any, Any] | None] = {}
        self._lows: dict[tuple[str, ...], tuple[list[float], list[float]] | None] = {}

    def words(self, one: Group) -> str:
        """By what test the group's recalls are compared."""
        there = {self._of(entry) is not None for entry in one.ok}
        queries = "recalls: bootstrap over seeds and test images with their captions"
        seeds = "Student's t over seeds, for the ranks of queries are not beside the records"
        if there == {True}:
            return f"{queries}; costs: Student's t over seeds"
        return f"{queries} where their ranks are there, else {seeds}" if True in there else seeds

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
        sure = self.better(best, second, path, better)
        level = [row.label for row, s in found[1:] if s.mean == found[1][1].mean]
        return {best.label: "best" if sure else "second", **dict.fromkeys(level, "second")}

    def better(self, best: Row, second: Row, path: str, sign: int = 1) -> bool:
        """A paired test at 95%: bootstrap over seeds and images where the ranks of queries are
        there, else Student's t over seeds; False with fewer than two seeds in common.
        """
        a, b = best.values(path), second.values(path)
        seeds = sorted(a.keys() & b.keys())
        if len(seeds) < 2:
            return False
        metric = path.removeprefix("metrics.test.")
        prefix, name = "dup_" * metric.startswith("dup_"), metric.removeprefix("dup_")
        if name in compare.METRICS:
            interval = self._interval(best, second, seeds, prefix)
            if interval is not None:
                return bool(interval[0][compare.METRICS.index(name)] > 0)
        differences = [sign * (a[seed] - b[seed]) for seed in seeds]
        found = Statistic.of(differences)
        assert found is not None
        assert found.std is not None
        critical = T_95[min(len(seeds) - 1, len(T_95)) - 1]
        return bool(found.mean > critical * found.std / len(seeds) ** 0.5)

    def _interval(
        self, best: Row, second: Row, seeds: list[int], prefix: str
    ) -> tuple[list[float], list[float]] | None:
        """Of each of compare.METRICS, 95% interval of best - second; None without ranks."""
        pairs = [[e for e in row.ok if e.seed in seeds] for row in (best, second)]
        key = (prefix, *(entry.path for pair in pairs for entry in pair))
        if key not in self._lows:
            hits = [[self._of(entry, prefix) for entry in pair] for pair in pairs]
            arrays = [[h for h in pair if h is not None] for pair in hits]
            whole = len(arrays[0]) == len(arrays[1]) == len(seeds)
            self._lows[key] = None
            if whole and len({array.shape for pair in arrays for array in pair}) == 1:
                low, high = compare.bootstrap(np.stack(arrays[0]) - np.stack(arrays[1]), 2000)
                self._lows[key] = low.tolist(), high.tolist()
        return self._lows[key]

    def _of(self, entry: Entry, prefix: str = "") -> "np.ndarray[Any, Any] | None":
        """Hits of each test image; None where no ranks lie beside the record.

        prefix: `dup_` for images and captions that carry the very sentence.
        """
        key = entry.path, prefix
        if key not in self._hits:
            self._hits[key] = None
            if self.results is not None:
                try:
                    ways = (f"{prefix}i2t", f"{prefix}t2i")
                    ranks = compare.load_ranks(self.results / entry.path, ways)
                    found = {way.removeprefix(prefix): of for way, of in ranks.items()}
                    self._hits[key] = compare.hits(found)
                except (UserError, ValueError):  # no ranks: the test over seeds alone serves
                    pass
        return self._hits[key]
