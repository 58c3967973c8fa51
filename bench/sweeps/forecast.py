"""What a sweep will take: the trials left, their predicted memory, and the time if it is known."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, record
from bench.console import counted, plain_table
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

NOT_STEP_TIME = ("epochs", "steps", "time", "lr", "weight_decay", "warmup", "clip_norm")
"""Fields of a recipe that do not change how long a step takes."""
MEASURED = "at the start"
"""Shown instead of a number of steps if no record tells the speed."""
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
    """Predicted peak memory on a GPU; None: not asked for, or not predictable."""
    seconds: float | None
    """Time of the trials left, one after the other; None: not known."""
    batch: int | None = None
    """Images in a step of the batch that fits the recipe's memory budget; None: no such budget, or
    not known."""
    steps: int | str | None = None
    """The steps that fit the recipe's time budget, or MEASURED; None: no such budget."""
    reason: str | None = None
    """Why its memory cannot be predicted (not even two images fit, say); None: it can."""


def forecast(
    plan: Plan,
    todo: list[Trial],
    device: str | None,
    memory: Callable[[int, int, str], None] | None,
) -> list[Line]:
    """One line per data set, backbone and method of a plan.

    `device`: a GPU's name or a CPU's model, as records have it; None: the device of the records, if
    all have the same. `memory`: called with the progress of predicting memory; None: predict none.
    """
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in plan.trials:
        groups.setdefault((trial.dataset, trial.backbone, trial.call), []).append(trial)
    to_run = {trial.identity for trial in todo}
    # `bench report` warns of records that cannot be read; here they are skipped in silence.
    read = record.read_all(record.paths(plan.results), left_out=lambda _: None)
    records = [document for _, document in read]
    predicted = _predicted(todo, plan.root, memory) if memory is not None and todo else {}
    lines = []
    for key, trials in groups.items():
        first, left = trials[0], sum(trial.identity in to_run for trial in trials)
        row = predicted.get(key)
        figures = row.figures if row is not None else {}
        batch = figures.get("batch_size") if first.recipe.memory is not None else None
        each = seconds(first, records, device) if left else 0.0
        lines.append(
            Line(
                *key,
                states=Counter(_state(plan, trial) for trial in trials),
                left=left,
                peak_bytes=figures.get("predicted_peak_bytes"),
                seconds=None if each is None else each * left,
                batch=None if batch is None else batch * first.recipe.accumulation,
                steps=steps(first, batch, records, device) if left else None,
                reason=row.reason if row is not None else None,
            )
        )
    return lines


def _state(plan: "Plan", trial: Trial) -> str:
    """What is recorded of a trial; a record that cannot be read is one that --rerun replaces."""
    try:
        return plan.status(trial) or "no record"
    except UserError:
        return "damaged"


def _predicted(
    trials: list[Trial], root: Path, progress: Callable[[int, int, str], None]
) -> "dict[tuple[str, str, str], Row]":
    """The rows of `bench plan`, with the batches that fit the device of this machine."""
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
    """How many steps fit a trial's time budget, by the speed of records at the same batch.

    MEASURED if no record tells; None without a time budget, or if nothing is trained. `batch`: the
    batch that fits the recipe's memory budget; None: no such budget, or not known.
    """
    recipe = trial.recipe
    if recipe.time is None or not _trains(trial):
        return None
    counts: list[tuple[str, float | None]] = []
    for done in _comparable(trial, records, device, batch):
        efficiency = done.get("efficiency", {})
        rate, size = efficiency.get("train_images_per_second"), _batch_of(done)
        if rate and size:
            left = recipe.time - (efficiency.get("feature_seconds") or 0.0)
            counts.append((device_of(done), left * rate / (size * recipe.accumulation)))
    median = _median_of_one_device(counts)
    return MEASURED if median is None else max(0, int(median))


def seconds(trial: Trial, records: Records, device: str | None) -> float | None:
    """How long a trial will take: the median of records that differ in seed, rate or length only.

    A training of another length counts in proportion to its steps. With a time budget the training
    takes that time, and everything else as long as in the records. None if nothing is known.
    """
    budget = trial.recipe.time if _trains(trial) else None
    similar = _comparable(trial, records, device)
    times = [(device_of(r), _seconds_by(trial, r, budget)) for r in similar]
    median = _median_of_one_device(times)
    return budget if median is None else median


def _median_of_one_device(values: list[tuple[str, float | None]]) -> float | None:
    """The median of (device, value) pairs; None if there are none, or several devices."""
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


def _comparable(
    trial: Trial, records: Records, device: str | None, batch: int | None = None
) -> Iterator[Record]:
    """The records of trials in which a step takes as long as in this one.

    `batch`: the batch of this trial if it follows from a memory budget; None: the recipe's.
    """
    recipe = asdict(trial.recipe)
    ignored = {*NOT_STEP_TIME, *(("batch_size", "memory") if batch is not None else ())}
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


def _seconds_by(trial: Trial, done: Record, budget: float | None) -> float | None:
    """Seconds that a trial will take, judged by the record of another.

    The training takes its time budget, or as long as so many steps took in the record; everything
    else takes as long as in the record.
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
    """Whether a table has a column for the peak; with a memory budget that is the budget."""
    budgeted = any(line.batch is not None for line in lines)
    return not budgeted and any(line.peak_bytes is not None for line in lines)


def table(lines: list[Line]) -> "Table":
    """The lines of one data set and backbone, for a terminal of 80 columns."""
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
    title = f"{Path(lines[0].dataset).stem} · {portable(lines[0].backbone)}"
    shown = plain_table("method", title=title)
    # Rich narrows the widest column first and would break a method's call within a word, so the
    # other columns get a fixed width. The longest word in `recorded` is `applicable,`.
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
    """A duration in few letters: `1:20:00`, `5:00`, `0.2 s`."""
    if seconds is None:
        return "unknown"
    return format_clock(seconds) if seconds >= 10 else format_seconds(seconds)


def _figure(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return "–" if value is None else f"{value:,.0f}"


def total(lines: list[Line], slots: int) -> str:
    """A sentence on the total time left if `slots` trials run at once."""
    known = [line for line in lines if line.left and line.seconds is not None]
    unknown = sum(line.left for line in lines if line.seconds is None)
    if not known:
        return "time left: unknown, no record is of the same method, data, recipe and device"
    time = format_seconds(sum(line.seconds or 0.0 for line in known) / slots)
    at_once = f", {slots} at once" if slots > 1 else ""
    more = f"; {unknown} more of unknown length" if unknown else ""
    trials = counted(sum(line.left for line in known), "trial")
    return f"time left: about {time} for {trials}{at_once}{more}"
