"""A row of a report: the trials of one method call, a trial for each seed, and means over them."""

import statistics
from dataclasses import dataclass, field
from functools import cached_property

from bench.report.entry import RECALL, Entry


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation (ddof 1; None for one value) of n values."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: list[float]) -> "Statistic | None":
        """None for no values."""
        if not values:
            return None
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), std, len(values))


@dataclass
class Row:
    """The trials of one method call in a group, in the order of their seeds."""

    call: str
    """The method call, as it would be written today."""
    entries: list[Entry]
    differs: list[str] = field(default_factory=list)
    """What differs from the rest of the group and should not, such as `torch 2.11.0`."""
    replaced: list[Entry] = field(default_factory=list)
    """Trials that the report leaves out: older ones, of a seed that was run again or at an earlier
    learning rate of the method, and ones that ended before their training."""
    apart: str = ""
    """What sets the row apart from others of the same call, such as `own lr`; may be empty."""

    @property
    def label(self) -> str:
        """The call and, in brackets, what sets the row apart."""
        return f"{self.call} [{self.apart}]" if self.apart else self.call

    @property
    def method(self) -> str:
        return self.entries[0].trial["method"]

    @cached_property
    def ok(self) -> list[Entry]:
        """The trials that ended well."""
        return [entry for entry in self.entries if entry.ok]

    @property
    def not_ok(self) -> list[Entry]:
        """The trials that did not end well."""
        return [entry for entry in self.entries if not entry.ok]

    @property
    def states(self) -> str:
        """The statuses of the trials that did not end well."""
        return ", ".join(sorted({entry.status for entry in self.not_ok}))

    def values(self, dotted: str) -> dict[int, float]:
        """A field of the trials that ended well, by seed; trials without it are left out."""
        numbers = {entry.seed: entry.get(dotted) for entry in self.ok}
        return {seed: float(number) for seed, number in numbers.items() if number is not None}

    @cached_property
    def _statistics(self) -> dict[str, Statistic | None]:
        """The statistics computed so far, by field: tables and plots ask for the same ones."""
        return {}

    def statistic(self, dotted: str) -> Statistic | None:
        """Mean and standard deviation over seeds; None if no trial has the number."""
        if dotted not in self._statistics:
            self._statistics[dotted] = Statistic.of(list(self.values(dotted).values()))
        return self._statistics[dotted]

    @property
    def trains(self) -> bool:
        """Whether anything is trained (unknown counts as yes); a failed trial may not say."""
        told = self.ok or self.entries
        return any(entry.efficiency.get("trainable_parameters") != 0 for entry in told)

    @property
    def order(self) -> tuple[bool, float, str]:
        """Sorts rows by falling mR; rows without a trial that ended well come last."""
        recall = self.statistic(RECALL)
        return not self.ok, -(recall.mean if recall else 0.0), self.label
