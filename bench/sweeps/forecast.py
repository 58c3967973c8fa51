"""What a sweep will take, before it runs: what is left, memory predicted, time as far as known."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import record
from bench.console import counted
from bench.label import Label
from bench.schema import Record
from bench.spec import portable
from bench.sweeps.sweep import Plan
from bench.trial import Trial
from bench.units import format_clock, format_seconds
from methods import registry

if TYPE_CHECKING:
    from rich.table import Table

    from bench.measure.plan import Row

SAME_STEP = ("epochs", "steps", "time", "lr", "weight_decay", "warmup", "clip_norm")
"""What of a recipe does not change the time of a step."""
MEASURED = "at the start"
"""What a forecast says of steps that no record foretells."""
MEASURED_MEANS = "steps: measured at the start of each training where no record tells them"
Records = Iterable[Record]


@dataclass(frozen=True)
class Line:
    """All seeds of one method on one data set and backbone."""

    dataset: str
    backbone: str
    call: str
    states: Counter[str]
    left: int
    peak_bytes: int | None
    """Predicted for a GPU; None: not asked for, or not predictable."""
    seconds: float | None
    """What is left of it, one trial after the other; None: not known."""
    batch: int | None = None
    """The batch that the recipe's memory comes to; None: it gives none, or that is not known."""
    steps: int | str | None = None
    """The steps that the recipe's time comes to, or MEASURED; None: it gives none."""
    reason: str | None = None
    """Why its memory cannot be predicted, such as that not even two images fit; None: it can."""


def forecast(
    plan: Plan,
    todo: list[Trial],
    device: str | None,
    memory: Callable[[int, int, str], None] | None,
) -> list[Line]:
    """One line per data set, backbone and method of a plan.

    `device`: as records name it (a GPU's name, a CPU's model), None: whatever the records are of,
    if that is one. `memory`: predict it, and tell this how far it is; None: leave it out.
    """
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in plan.trials:
        groups.setdefault((trial.dataset, trial.backbone, trial.call), []).append(trial)
    to_run = {trial.identity for trial in todo}
    # `bench report` tells of records that cannot be read; here they are only passed over.
    read = record.read_all(record.paths(plan.results), left_out=lambda _: None)
    records = [document for _, document in read]
    predicted = _predicted(todo, plan.root, memory) if memory is not None and todo else {}
    lines = []
    for place, trials in groups.items():
        first, left = trials[0], sum(trial.identity in to_run for trial in trials)
        row = predicted.get(place)
        figures = row.figures if row is not None else {}
        batch = figures.get("batch_size") if first.recipe.memory is not None else None
        each = seconds(first, records, device) if left else 0.0
        lines.append(
            Line(
                *place,
                states=Counter(plan.status(trial) or "no record" for trial in trials),
                left=left,
                peak_bytes=figures.get("predicted_peak_bytes"),
                seconds=None if each is None else each * left,
                batch=batch,
                steps=steps(first, batch, records, device) if left else None,
                reason=row.reason if row is not None else None,
            )
        )
    return lines


def _predicted(
    trials: list[Trial], root: Path, progress: Callable[[int, int, str], None]
) -> "dict[tuple[str, str, str], Row]":
    """The rows of `bench plan`; batches are those of the device of this machine."""
    import torch

    from bench.measure import plan

    rows = plan.plan(trials, None, root, progress, torch.cuda.is_available())
    return {(r.dataset, r.backbone, r.call): r for r in rows}


def _trains(trial: Trial) -> bool:
    known = registry()
    return trial.method not in known or known[trial.method].lr is not None


def steps(
    trial: Trial, batch: int | None, records: Records, device: str | None
) -> int | str | None:
    """How many steps a trial's time budget comes to, by the speed of records at the same batch.

    MEASURED if no record tells; None if its recipe gives no time, or nothing is trained. `batch`:
    what a recipe's memory comes to, None if that is not known or not given.
    """
    recipe = trial.recipe
    if recipe.time is None or not _trains(trial):
        return None
    counts: list[tuple[str, float | None]] = []
    for done in _like(trial, records, device, batch):
        efficiency = done.get("efficiency", {})
        rate, size = efficiency.get("train_images_per_second"), _batch_of(done)
        if rate and size:
            left = recipe.time - (efficiency.get("feature_seconds") or 0.0)
            counts.append((device_of(done), left * rate / (size * recipe.accumulation)))
    median = _median_of_one_device(counts)
    return MEASURED if median is None else max(0, int(median))


def seconds(trial: Trial, records: Records, device: str | None) -> float | None:
    """How long a trial will take: the median of records that differ in seed, rate or length only.

    A training of another length counts in proportion to its steps. A time budget takes its time,
    and what such records took beside training. None if nothing is known.
    """
    budget = trial.recipe.time if _trains(trial) else None
    times = [(device_of(r), _took(trial, r, budget)) for r in _like(trial, records, device)]
    median = _median_of_one_device(times)
    return budget if median is None else median


def _median_of_one_device(values: list[tuple[str, float | None]]) -> float | None:
    """The median of values by device; None if there are none, or of several devices."""
    known = [(device, value) for device, value in values if value is not None]
    if len({device for device, _ in known}) != 1:
        return None
    return statistics.median(value for _, value in known)


def device_of(done: Record) -> str:
    """The device of a record: its GPU's name or its CPU's model."""
    environment = done.get("environment", {})
    return str(environment.get("gpu") or environment.get("cpu"))


def _batch_of(done: Record) -> int | None:
    """Images in a training batch of a record, as far as it says."""
    size = done.get("data", {}).get("batch_size") or done["trial"]["recipe"].get("batch_size")
    return None if size is None else int(size)


def _like(
    trial: Trial, records: Records, device: str | None, batch: int | None = None
) -> Iterator[Record]:
    """The records of trials in which a step takes as long as in this one.

    `batch`: this trial's, if its recipe gives a memory and the batch is known; None: as the recipe
    says.
    """
    recipe = asdict(trial.recipe)
    ignored = {*SAME_STEP, *(("batch_size", "memory") if batch is not None else ())}
    for done in records:
        other = done["trial"]
        theirs = {**recipe, **other["recipe"]}  # older records lack the newer fields
        if (
            done["status"] == "ok"
            and device in (None, device_of(done))
            and Path(other["dataset"]).stem == trial.dataset_name
            and portable(other["backbone"]) == portable(trial.backbone)
            and other["method"] == trial.method
            and other["settings"] == trial.settings
            and other.get("cached_features", trial.cached_features) == trial.cached_features
            and batch in (None, _batch_of(done))
            and all(recipe.get(name) == theirs[name] for name in theirs.keys() - ignored)
        ):
            yield done


def _took(trial: Trial, done: Record, budget: float | None) -> float | None:
    """Seconds of a trial by those of a record: its own training, and the rest as it was there.

    The training takes its time budget, or what its number of steps took in the record.
    """
    efficiency, curve = done.get("efficiency", {}), done.get("curve")
    total, training = efficiency.get("trial_seconds"), efficiency.get("train_seconds")
    if budget is not None:
        training = (curve[-1].get("train_seconds") if curve else None) or training
        return None if total is None or training is None else float(total - training + budget)
    if total is None or training is None or not curve:
        return total
    last = curve[-1]
    length = float(trial.recipe.steps or trial.recipe.epochs * last["step"] / last["epoch"])
    return float(total + training * (length / last["step"] - 1))


def shows_peak(lines: list[Line]) -> bool:
    """Whether a table has room and reason for the peak: a memory budget says as much itself."""
    budgeted = any(line.batch is not None for line in lines)
    return not budgeted and any(line.peak_bytes is not None for line in lines)


def table(lines: list[Line]) -> "Table":
    """The lines of one data set and backbone, for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    columns: dict[str, list[str]] = {"recorded": [_recorded(line) for line in lines]}
    columns["left"] = [_figure(line.left or None) for line in lines]
    if any(line.batch is not None for line in lines):
        columns["batch"] = [_figure(line.batch) for line in lines]
    if any(line.steps is not None for line in lines):
        columns["steps"] = [_figure(line.steps) for line in lines]
    if shows_peak(lines):
        mib = [None if line.peak_bytes is None else line.peak_bytes / 2**20 for line in lines]
        columns["peak, MiB"] = [_figure(value) for value in mib]
    columns["time left"] = [_clock(line.seconds) if line.left else "–" for line in lines]
    shown = Table("method", box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    shown.title = f"{Path(lines[0].dataset).stem} · {portable(lines[0].backbone)}"
    # All but the method are as wide as they need be: rich narrows what is widest, and would break
    # calls within a word. The longest word of what is recorded is `not applicable,`.
    width = min(len("applicable,"), max(map(len, columns["recorded"])))
    shown.add_column("recorded", width=max(len("recorded"), width))
    for head in list(columns)[1:]:
        shown.add_column(head, justify="right", no_wrap=True)
    for line, *cells in zip(lines, *columns.values(), strict=True):
        shown.add_row(Label(line.call), *cells)
    return shown


def _recorded(line: Line) -> str:
    """`2 ok, 1 out of memory`, or a dash."""
    states = [(s, n) for s, n in line.states.items() if s != "no record"]
    return ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in states) or "–"


def _clock(seconds: float | None) -> str:
    """As narrow as it can be: `1:20:00`, `5:00`, `0.2 s`."""
    if seconds is None:
        return "unknown"
    return format_clock(seconds) if seconds >= 10 else format_seconds(seconds)


def _figure(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return "–" if value is None else f"{value:,.0f}"


def total(lines: list[Line], slots: int) -> str:
    """A sentence on the time of the whole, with so many trials at once."""
    known = [line for line in lines if line.left and line.seconds is not None]
    unknown = sum(line.left for line in lines if line.seconds is None)
    if not known:
        return "time left: unknown, no record is of the same method, data, recipe and device"
    time = format_seconds(sum(line.seconds or 0.0 for line in known) / slots)
    at_once = f", {slots} at once" if slots > 1 else ""
    more = f"; {unknown} more of unknown length" if unknown else ""
    trials = counted(sum(line.left for line in known), "trial")
    return f"time left: about {time} for {trials}{at_once}{more}"
