"""The tables of a report: their columns, rows and cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench import UserError
from bench.recalls import KS, METRICS
from bench.report import significance
from bench.report.conditions import letters, spoilt
from bench.report.entry import JOULES, SPEED
from bench.report.group import Group
from bench.report.row import Row, Statistic
from bench.spec import nearest

MIB = 2.0**20
WORDS = {
    *("method", "setting", "backbone", "differs", "notes", "records", "data set", "tried"),
    *("val mR", "winner", "best mR", "not significantly lower", "least memory", "most images/s"),
}
"""Headings of the columns that hold words; all others hold numbers."""
CHANCE_IN_SCENE = {"rsitmd": 32.42, "rsicd": 14.53, "ucm": 46.88}
"""mR of knowing only the true scene of a query and ranking at random inside it (our count)."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: a text, perhaps with a spread (`± 0.3`) and a mark.

    mark: `best`, `second` or empty; code: shown as code; sign: footnote signs after the text; link:
    the name of a section.
    """

    text: str
    spread: str = ""
    mark: str = ""
    code: bool = False
    sign: str = ""
    link: str = ""


@dataclass(frozen=True)
class Column:
    """A field of the records as a column.

    title: the heading; path: the field; show: formats the number; better: 1 if more is better, -1
    if less is; unit: what the number is divided by; base: if given, the column shows the ratio to
    the mean of this row.
    """

    title: str
    path: str
    show: Callable[[float], str]
    better: int = 0
    unit: float = 1.0
    base: Row | None = None

    @property
    def name(self) -> str:
        """The heading without its unit, as `--columns` takes it."""
        return self.title if self.base else self.title.partition(",")[0]


@dataclass(frozen=True)
class Table:
    """Headings and rows of cells; breaks: the rows before which a gap is left."""

    heads: list[str]
    rows: list[list[Cell]]
    breaks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """A table with its title and with notes on what its marks and words mean.

    name: its name in a section, for files; differs: what the letters of the column `differs` mean;
    folded: hidden until the reader opens it, in forms that allow it; spread: what ± means, if cells
    have it.
    """

    name: str
    title: str
    table: Table
    notes: list[str] = field(default_factory=list)
    differs: str = ""
    folded: bool = False
    spread: str = "Mean ± sample standard deviation over n seeds."

    @property
    def words(self) -> str:
        """All that stands below the table."""
        return " ".join(filter(None, [*self.notes, self.differs]))


# How numbers are written.


def percent(value: float) -> str:
    """Recall, with the one decimal that test sets of some hundred images carry."""
    return f"{value:.1f}"


def signed(value: float) -> str:
    """A difference of recalls, in points: +2.5, -0.7, 0.0."""
    text = f"{value:+.1f}"
    return text if float(text) else "0.0"


def count(value: float) -> str:
    """A number of parameters: 0, 4,096, 12.3 k, 1.05 M."""
    if value >= 1e6:
        return f"{value / 1e6:.3g} M" if value < 1e9 else f"{value / 1e9:.3g} G"
    return f"{value / 1e3:.1f} k" if value >= 1e4 else f"{value:,.0f}"


def size(value: float) -> str:
    """A number of MiB."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def rate(value: float) -> str:
    """Things per second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio(value: float) -> str:
    """A ratio: `1.25×`."""
    return f"{value:.2f}×" if value >= 0.095 else f"{value:.1g}×"


# Columns.


def recalls(prefix: str = "") -> list[Column]:
    """mR, then the recalls it is the mean of; prefix `dup_` for the duplicate-aware ones."""
    titles = [f"{way} R@{k}" for way in ("i2t", "t2i") for k in KS] + ["mR"]
    names = zip(titles, METRICS, strict=True)
    *six, mean = (Column(title, f"metrics.test.{prefix}{n}", percent, 1) for title, n in names)
    return [mean, *six]


def costs(group: Group, base: Row | None = None) -> list[Column]:
    """What training costs on the group's device; memory and speed also as ratios to a row."""
    kept = "efficiency.saved_for_backward_bytes"
    per_step = 1 / group.recipe.accumulation  # what turns images of a micro-batch into a step's
    columns = [
        Column("trainable parameters", "efficiency.trainable_parameters", count),
        *([Column("batch", "data.batch_size", count, 0, per_step)] if group.recipe.memory else []),
        *([Column("steps", "efficiency.budget_steps", count)] if group.recipe.time else []),
        Column("memory, MiB", group.memory, size, -1, MIB),
        *_ratio("memory", group.memory, base),
        *([Column("kept for backward, MiB", kept, size, -1, MIB)] if group.cuda else []),
        Column("images/s", SPEED, rate, 1),
        *_ratio("images/s", SPEED, base),
        Column("epoch, s", "efficiency.epoch_seconds", rate, -1),
        Column("epoch and features, s", "efficiency.epoch_and_features_seconds", rate, -1),
        Column("features, MiB", "efficiency.feature_bytes", size, 0, MIB),
        Column("J/image", JOULES, size, -1),
    ]
    return _filled(columns, group)


def _ratio(title: str, path: str, base: Row | None) -> list[Column]:
    if base is None or not base.statistic(path):
        return []
    return [Column(f"{title} / {base.label}", path, ratio, base=base)]


def machine(group: Group) -> list[Column]:
    """Compute, and the state of the machine during the trials."""
    evaluation = [  # no speed with cached features, since nothing is encoded then
        Column("evaluation images/s", "efficiency.eval_images_per_second", rate),
        Column("evaluation captions/s", "efficiency.eval_captions_per_second", rate),
    ]
    columns = [
        Column("step images/s", "efficiency.step_images_per_second", rate),
        *([] if any(entry.cached_features for entry in group.ok) else evaluation),
        Column("forward GFLOPs/image", "efficiency.forward_flops_per_image", size, 0, 1e9),
        Column("backward GFLOPs/image", "efficiency.backward_flops_per_image", size, 0, 1e9),
        Column("reserved, MiB", "efficiency.peak_memory_reserved_bytes", size, 0, MIB),
        Column("process, MiB", "efficiency.driver_process_bytes", size, 0, MIB),
        Column("allocator retries", "efficiency.allocator_retries", count),
        Column("evaluation, MiB", "efficiency.peak_memory_eval_bytes", size, 0, MIB),
        Column("clock, MHz", "efficiency.gpu_clock_mhz_median", size),
        Column("lowest clock, MHz", "efficiency.gpu_clock_mhz_min", size),
        Column("power, W", "efficiency.gpu_power_watts_mean", size),
        Column("highest temperature, °C", "efficiency.gpu_temperature_celsius_max", size),
        Column("windows", "efficiency.windows", count),
        Column("images/s IQR", "efficiency.train_images_per_second_iqr", rate),
        Column("throttled windows", "efficiency.throttled_windows", rate),
        Column("busy windows", "efficiency.busy_windows", rate),
        Column("training, s", "efficiency.train_seconds", size),
        Column("trial, s", "efficiency.trial_seconds", size),
    ]
    return _filled(columns, group)


def _filled(columns: list[Column], group: Group) -> list[Column]:
    """The columns for which a row of the group has a number."""
    return [c for c in columns if any(row.values(c.path) for row in group.every)]


def named_columns(groups: list[Group], reference: str, names: Sequence[str]) -> list[list[Column]]:
    """The columns of each group that `--columns` names; raises UserError for unknown names.

    A group lacks a column if none of its trials has the number.
    """
    known = []
    for group in groups:
        columns = [*recalls(), *costs(group, group.row(reference)), *machine(group)]
        known.append({column.name.casefold(): column for column in columns})
    titles = list(dict.fromkeys(column.name for columns in known for column in columns.values()))
    for name in names:
        if not any(name.casefold() in columns for columns in known):
            raise UserError(
                f"no column is called {name!r}{nearest(name, titles)}; there are "
                f"{', '.join(titles)}"
            )
    keys = [name.casefold() for name in names]
    return [[columns[key] for key in keys if key in columns] for columns in known]


# Tables.


def recall_table(group: Group) -> Table:
    """The recall of each method, and bounds on it."""
    table = method_table(group, recalls())
    table.rows.extend(_bounds(group, table.heads))
    return table


def _bounds(group: Group, heads: list[str]) -> list[list[Cell]]:
    """Rows with the ceiling due to shared captions, and with chance if the true scene is given."""
    ceiling = {}
    for k in KS:
        values = group.values(f"metrics.test.ceiling_t2i_R@{k}")
        if values and values[0]:
            ceiling[f"t2i R@{k}"] = percent(values[0])
    known = {"ceiling: shared captions": ceiling}
    if group.scene_at_test == "oracle" and group.dataset in CHANCE_IN_SCENE:
        known["chance inside the true scene"] = {"mR": percent(CHANCE_IN_SCENE[group.dataset])}
    return [
        [Cell(title), *(Cell(figures.get(head, "–")) for head in heads[1:])]
        for title, figures in known.items()
        if figures.keys() & set(heads)
    ]


def method_table(group: Group, columns: list[Column], *, marked: bool = True) -> Table:
    """A row for each method; if none of its trials ended well, the first column says how."""
    marks = {
        column.title: significance.marks(group, column.path, column.better)
        for column in columns
        if marked and not column.base
    }
    lines = []
    for row in group.rows:
        cells = [cell_of(row, c, marks.get(c.title, {}).get(row.label, "")) for c in columns]
        if not row.ok and cells:
            cells[0] = Cell(row.states)
        lines.append((row, [seeds_of(row), *cells]))
    return with_differences(group, ["n", *(column.title for column in columns)], lines)


def with_differences(group: Group, heads: list[str], lines: list[tuple[Row, list[Cell]]]) -> Table:
    """A table of rows of a group, with a column `differs` if any row differs where it should not.

    It holds letters, which `bench.report.conditions.legend` explains.
    """
    letter = letters(group)
    rows = []
    for row, cells in lines:
        differs = [Cell(" ".join(letter[words] for words in row.differs))] if letter else []
        rows.append([Cell(row.label, code=True), *cells, *differs])
    return Table(["method", *heads, *(["differs"] if letter else [])], rows)


def seeds_of(row: Row) -> Cell:
    """How many trials ended well, and of how many."""
    return Cell(f"{len(row.ok)} of {len(row.entries)}" if row.not_ok else str(len(row.ok)))


def cell_of(row: Row, column: Column, mark: str = "") -> Cell:
    """The mean of a row's number over seeds with its sample standard deviation, or its ratio."""
    statistic = row.statistic(column.path)
    if statistic is None:
        return Cell("–")
    sign = spoilt(row, column.path)
    if column.base is not None:
        base = column.base.statistic(column.path)
        sign = sign or spoilt(column.base, column.path)
        if base is None or not base.mean:
            return Cell("–")
        return Cell(column.show(statistic.mean / base.mean), sign=sign)
    text = column.show(statistic.mean / column.unit)
    # Costs that hardly differ (bytes in the fourth digit, say) are shown without a spread.
    tiny = (statistic.std or 0) <= 1e-4 * abs(statistic.mean)
    same = column.path.startswith("efficiency.") and tiny
    if statistic.std is None or column.better == 0 or same:
        return Cell(text, mark=mark, sign=sign)
    decimals = len(text.partition(".")[2])
    return Cell(text, f"{statistic.std / column.unit:,.{decimals}f}", mark, sign=sign)


def recall_cell(values: list[float]) -> Cell:
    """Mean and sample standard deviation of recalls in percent."""
    statistic = Statistic.of(values)
    if statistic is None:
        return Cell("–")
    return Cell(percent(statistic.mean), "" if statistic.std is None else percent(statistic.std))
