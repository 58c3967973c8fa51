"""What the tables of a report say: columns, rows, captions."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench import record
from bench.recalls import KS, METRICS
from bench.report.conditions import letters, spoilt
from bench.report.groups import JOULES, Group, Row
from bench.report.significance import ABOUT, Significance

if TYPE_CHECKING:
    import pandas as pd

MIB = 2.0**20
WORDS = {
    *("method", "setting", "backbone", "differs", "notes"),
    *("data set", "tried", "val mR", "winner"),
}
"""Headings of columns of words; all others hold figures."""
CHANCE_IN_SCENE = {"rsitmd": 32.42, "rsicd": 14.53, "ucm": 46.88}
"""mR of knowing only the true scene of a query and ranking at random inside it (our count)."""


@dataclass(frozen=True)
class Cell:
    """What stands in a table: a text, perhaps with a spread, a mark and in the type of code.

    `sign`: footnote marks behind it.
    """

    text: str
    spread: str = ""
    mark: str = ""  # best | second
    code: bool = False
    sign: str = ""


@dataclass(frozen=True)
class Column:
    """A number of the records: its heading, where it is, how it is written, which way is better."""

    title: str
    path: str
    show: Callable[[float], str]
    better: int = 0
    unit: float = 1.0


@dataclass(frozen=True)
class Table:
    """Headings and rows of cells; `spans`: headings over several columns, for LaTeX.

    `breaks`: rows before which a gap is left.
    """

    heads: list[str]
    rows: list[list[Cell]]
    spans: tuple[tuple[str, int], ...] = ()
    breaks: tuple[int, ...] = ()


# What the numbers are and how they are written.


def percent(value: float) -> str:
    """One decimal, as in the text; LaTeX and CSV have more."""
    return f"{value:.1f}"


def percent2(value: float) -> str:
    """Two decimals, as published tables have them."""
    return f"{value:.2f}"


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
    """So many times."""
    return f"{value:.2f}×" if value >= 0.095 else f"{value:.1g}×"


def recalls(prefix: str = "", show: Callable[[float], str] = percent) -> list[Column]:
    """The columns of recall; prefix `dup_` for the duplicate-aware one."""
    titles = [f"{way} R@{k}" for way in ("i2t", "t2i") for k in KS] + ["mR"]
    names = zip(titles, METRICS, strict=True)
    return [Column(title, f"metrics.test.{prefix}{name}", show, 1) for title, name in names]


def costs(one: Group) -> list[Column]:
    """The columns of cost that the group's device has."""
    kept = "efficiency.saved_for_backward_bytes"
    columns = [
        Column("trainable parameters", "efficiency.trainable_parameters", count),
        Column("memory, MiB", one.memory, size, -1, MIB),
        *([Column("kept for backward, MiB", kept, size, -1, MIB)] if one.cuda else []),
        Column("images/s", "efficiency.train_images_per_second", rate, 1),
        Column("step images/s", "efficiency.step_images_per_second", rate, 1),
        Column("evaluation images/s", "efficiency.eval_images_per_second", rate),
        Column("features, MiB", "efficiency.feature_bytes", size, 0, MIB),
        Column("epoch, s", "efficiency.epoch_seconds", rate, -1),
        Column("epoch and features, s", "efficiency.epoch_and_features_seconds", rate, -1),
        Column("evaluation captions/s", "efficiency.eval_captions_per_second", rate),
        Column("J/image", JOULES, size, -1),
    ]
    return [c for c in columns if any(row.values(c.path) for row in one.rows)]


# Tables.


def recall_table(
    one: Group, significance: Significance, prefix: str = "", show: Callable[[float], str] = percent
) -> Table:
    """Recall of each method; the ceiling, and chance where the true scene is told."""
    columns = recalls(prefix, show)
    table = _table(one, columns, significance, holes="mR")
    width = len(table.heads)
    ceiling = [_common(one, f"metrics.test.ceiling_t2i_R@{k}") for k in KS]
    if not prefix and any(ceiling):
        cells = [Cell(show(value)) if value else Cell("–") for value in ceiling]
        last = [Cell("–")] * (width - 8)
        table.rows.append([Cell("ceiling: shared captions"), *[Cell("–")] * 4, *cells, *last])
    if not prefix and one.scene_at_test == "oracle" and one.dataset in CHANCE_IN_SCENE:
        chance = [Cell("–")] * (width - 1)
        chance[7] = Cell(show(CHANCE_IN_SCENE[one.dataset]))
        table.rows.append([Cell("chance inside the true scene"), *chance])
    spans = (("", 2), ("i2t", 3), ("t2i", 3), ("", width - 8))
    return replace(table, spans=spans)


def cost_table(one: Group, significance: Significance, reference: str) -> Table:
    """What each method costs, and its ratio to the reference."""
    table = _table(one, costs(one), significance, holes="memory, MiB")
    base = one.row(reference)
    ratios = [("memory", one.memory), ("images/s", "efficiency.train_images_per_second")]
    for title, path in ratios:
        below = base.statistic(path) if base else None
        if base is None or below is None:
            continue
        place = len(table.heads) - (table.heads[-1] == "differs")
        table.heads.insert(place, f"{title} / {base.label}")
        for row, cells in zip(one.rows, table.rows, strict=True):
            above, sign = row.statistic(path), spoilt(row, path) or spoilt(base, path)
            text = ratio(above.mean / below.mean) if above else "–"
            cells.insert(place, Cell(text, sign=sign if above else ""))
    return table


MACHINE = (
    Column("GFLOPs/image, forward", "efficiency.forward_flops_per_image", size, 0, 1e9),
    Column("backward", "efficiency.backward_flops_per_image", size, 0, 1e9),
    Column("reserved, MiB", "efficiency.peak_memory_reserved_bytes", size, 0, MIB),
    Column("process, MiB", "efficiency.driver_process_bytes", size, 0, MIB),
    Column("allocator retries", "efficiency.allocator_retries", count),
    Column("evaluation, MiB", "efficiency.peak_memory_eval_bytes", size, 0, MIB),
    Column("clock, MHz", "efficiency.gpu_clock_mhz_median", size),
    Column("lowest", "efficiency.gpu_clock_mhz_min", size),
    Column("power, W", "efficiency.gpu_power_watts_mean", size),
    Column("highest °C", "efficiency.gpu_temperature_celsius_max", size),
    Column("windows", "efficiency.windows", count),
    Column("images/s IQR", "efficiency.train_images_per_second_iqr", rate),
    Column("throttled windows", "efficiency.throttled_windows", rate),
    Column("busy windows", "efficiency.busy_windows", rate),
    Column("training, s", "efficiency.train_seconds", size),
    Column("trial, s", "efficiency.trial_seconds", size),
)
"""What a trial did to its machine, and the machine to it."""


def machine_table(one: Group) -> Table:
    """Compute, memory as others count it, clock, power, heat, windows of measuring: means."""
    columns = [c for c in MACHINE if any(row.values(c.path) for row in one.rows)]
    rows = [[call_of(row), *(cell_of(row, c) for c in columns)] for row in one.rows if row.ok]
    return Table(["method", *(c.title for c in columns)], rows)


def _table(one: Group, columns: list[Column], significance: Significance, holes: str) -> Table:
    """One line per row; where no trial ended well, `holes` is the column that says how it ended."""
    marks = {column.path: significance.marks(one, column.path, column.better) for column in columns}
    letter = letters(one)
    rows = []
    for row in one.rows:
        cells = [cell_of(row, c, marks[c.path].get(row.label, "")) for c in columns]
        for place, column in enumerate(columns):
            if not row.ok and column.title == holes:
                cells[place] = Cell(states(row))
        tail = [Cell(" ".join(letter[part] for part in row.odd))] if letter else []
        rows.append([call_of(row), seeds_of(row), *cells, *tail])
    heads = ["method", "n", *(c.title for c in columns), *(["differs"] if letter else [])]
    return Table(heads, rows)


def call_of(row: Row) -> Cell:
    """A row's method call."""
    return Cell(row.label, code=True)


def states(row: Row) -> str:
    """How the trials of a row ended that did not end well."""
    return ", ".join(sorted({e.record["status"].replace("_", " ") for e in row.others}))


def seeds_of(row: Row) -> Cell:
    return Cell(f"{len(row.ok)} of {len(row.entries)}" if row.others else str(len(row.ok)))


def cell_of(row: Row, column: Column, mark: str = "") -> Cell:
    found = row.statistic(column.path)
    if found is None:
        return Cell("–")
    sign = spoilt(row, column.path)
    text = column.show(found.mean / column.unit)
    # A count of bytes that differs in the fourth digit has no spread to speak of.
    same = column.path.startswith("efficiency.") and (found.std or 0) <= 1e-4 * abs(found.mean)
    if found.std is None or column.better == 0 or same:
        return Cell(text, mark=mark, sign=sign)
    decimals = len(text.partition(".")[2])
    return Cell(text, f"{found.std / column.unit:,.{decimals}f}", mark, sign=sign)


def _common(one: Group, dotted: str) -> float | None:
    values = one.values(dotted)
    return float(values[0]) if values else None


# Words under the tables.


def caption(one: Group, significance: Significance, reference: str | None = None) -> str:
    """What a reader must know to read the group's tables."""
    seeds = sorted({entry.seed for entry in one.ok})
    recipe = one.recipe
    steps = recipe.get("steps")
    length = f"{steps} steps" if steps is not None else f"{recipe['epochs']:g} epochs"
    sizes = _common_dict(one, "data.counts")
    images = f"{sizes['test']:,} test images. " if sizes.get("test") else ""
    where = one.device if one.cuda else f"CPU ({(one.values('environment.cpu') or ['unknown'])[0]})"
    precision = " and ".join(map(str, one.values("efficiency.precision"))) or recipe["precision"]
    batch = f"{one.batch_size * recipe.get('accumulation', 1)}"
    if one.batch_size < recipe["batch_size"]:
        batch += f" (all training images; the recipe's {recipe['batch_size']} are more than those)"
    chosen = (
        "the step with the best validation mR is tested, once"
        if recipe["track"] == "train"
        else "trained on train and val, the last step is tested, nothing is selected"
    )
    memory = (
        "Memory: most bytes allocated by tensors in training (the CUDA context and library handles "
        "are outside)."
        if one.cuda
        else "Memory: bytes that autograd keeps for the backward of one step, since a CPU has no "
        "device peak; images/s are CPU figures, for trying out."
    )
    numbers = ", ".join(map(str, seeds))
    parts = [
        f"{images}{plural(len(seeds), 'seed')}{f' ({numbers})' if seeds else ''}; {where}, "
        f"{precision}; batch {batch}, {length}; {chosen}.",
        memory,
        "Mean ± sample standard deviation over n seeds; recall in percent.",
    ]
    if len(seeds) < 2:
        parts.append("With one seed no difference can be called significant: nothing is marked.")
    else:
        parts.append(
            f"Bold: better than the second (underlined) by {ABOUT}; two underlined and none bold: "
            "no significant difference."
        )
        if any(len(row.ok) == 1 for row in one.rows):
            parts.append("Where one of the two has a single seed nothing is marked.")
    base = one.row(reference) if reference else None
    if base:
        parts.append(f"Ratios refer to {base.label}.")
    if one.scene_at_test == "oracle":
        parts.append("The true scene of each query is told at test: oracle information.")
    if one.scene_at_test == "predicted":
        parts.append("The scene of each query at test is predicted by the untrained backbone.")
    if any(row.values(JOULES) for row in one.rows):
        parts.append("J/image: the GPU's energy in training, validation included.")
    if one.cached_features:
        beside = "; memory does not count them" if one.cuda else ""
        parts.append(f"Frozen features are cached, which means another augmentation{beside}.")
    if one.folded:
        counts = Counter(row.method for row in one.folded)
        more = " and ".join(f"{plural(n, 'more call')} of {m}" for m, n in sorted(counts.items()))
        parts.append(f"{more}: in the table of settings alone.")
    return " ".join(parts)


def _common_dict(one: Group, dotted: str) -> dict[str, Any]:
    return next((found for e in one.ok if (found := e.get(dotted))), {})


def plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def counted(frame: "pd.DataFrame") -> str:
    """How many records there are, by status."""
    counts = Counter(frame["status"]) if len(frame) else Counter()
    order = [*(s for s in record.STATUSES if s in counts), *sorted(counts.keys() - record.STATUSES)]
    states = ", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in order)
    return f"{plural(len(frame), 'record')}: {states or 'none'}"


def not_ok(one: Group) -> list[str]:
    """One line for each trial that did not end well."""
    lines = []
    for row in one.every:
        for entry in row.others:
            words = " ".join(str(entry.record.get("message") or "").split())[:200]
            status = entry.record["status"].replace("_", " ")
            lines.append(f"{row.label}, seed {entry.seed}: {status}{f': {words}' if words else ''}")
    return lines
