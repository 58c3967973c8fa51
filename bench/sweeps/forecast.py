"""What a sweep will take, before it runs: what is left, memory predicted, time as far as known."""

import statistics
from collections import Counter
from collections.abc import Callable
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

FREE = ("epochs", "steps", "time", "lr", "weight_decay", "warmup", "clip_norm")
"""What of a recipe does not change the time of a step."""
MEASURED = "at the start"
"""What a forecast says of steps that no record foretells."""
RECORDED = len("applicable,")
"""Letters of the widest word in the table's column of what is recorded."""
MEASURED_MEANS = "steps: measured at the start of each training where no record tells them"


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
    """Of a recipe that gives a memory: the batch that it comes to; None: another, or not known."""
    steps: int | str | None = None
    """Of a recipe that gives a time: the steps that it comes to, or MEASURED; None: another."""
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
    left = {trial.identity for trial in todo}
    # Only to learn how long trials take: `bench report` tells of records that cannot be read.
    read = record.read_all(record.paths(plan.results), left_out=lambda _: None)
    known = [document for _, document in read]
    predicted = {} if memory is None or not todo else _predicted(todo, plan.root, memory)
    lines = []
    for place, trials in groups.items():
        open_ = [trial for trial in trials if trial.identity in left]
        states = Counter(plan.status(t) or "no record" for t in trials)
        one = seconds(trials[0], known, device) if open_ else 0.0
        total = None if one is None else one * len(open_)
        row = predicted.get(place)
        figures = row.figures if row is not None else {}
        reason = row.reason if row is not None else None
        batch = figures.get("batch_size") if trials[0].recipe.memory is not None else None
        found = steps(trials[0], batch, known, device) if open_ else None
        peak = figures.get("predicted_peak_bytes")
        lines.append(Line(*place, states, len(open_), peak, total, batch, found, reason))
    return lines


def _predicted(
    trials: list[Trial], root: Path, progress: Callable[[int, int, str], None]
) -> "dict[tuple[str, str, str], Row]":
    """The rows of `bench plan`; batches are those of the device of this machine."""
    import torch

    from bench.measure import plan

    rows = plan.plan(trials, None, root, progress, torch.cuda.is_available())
    return {(r.dataset, r.backbone, r.call): r for r in rows}


def trains(trial: Trial) -> bool:
    """Whether its method trains anything."""
    known = registry()
    return trial.method not in known or known[trial.method].lr is not None


def steps(
    trial: Trial, batch: int | None, records: list[Record], device: str | None
) -> int | str | None:
    """How many steps a trial's time budget comes to, by the speed of records at the same batch.

    MEASURED where no record tells; None where its recipe gives no time, or nothing is trained.
    `batch`: what a recipe's memory comes to, None where that is not known or not given.
    """
    recipe = trial.recipe
    if recipe.time is None or not trains(trial):
        return None
    found: dict[str, list[float]] = {}
    for done in records:
        efficiency, where = done.get("efficiency", {}), kind_of(done)
        rate, size = efficiency.get("train_images_per_second"), _batch_of(done)
        if not rate or not size or done["status"] != "ok" or device not in (None, where):
            continue
        if _alike(trial, done, batch):
            left = recipe.time - (efficiency.get("feature_seconds") or 0.0)
            found.setdefault(where, []).append(left * rate / (size * recipe.accumulation))
    if len(found) != 1:
        return MEASURED
    return max(0, int(statistics.median(next(iter(found.values())))))


def _batch_of(done: Record) -> int | None:
    """Images in a training batch of a record, as far as it says."""
    size = done.get("data", {}).get("batch_size") or done["trial"]["recipe"].get("batch_size")
    return None if size is None else int(size)


def seconds(trial: Trial, records: list[Record], device: str | None) -> float | None:
    """How long a trial will take: the median of records that differ in seed, rate or length only.

    A training of another length counts in proportion to its steps. A time budget takes its time,
    and what such records took beside training. None where nothing is known.
    """
    budget = trial.recipe.time if trains(trial) else None
    found: dict[str, list[float]] = {}
    for done in records:
        where = kind_of(done)
        took = _scaled(trial, done) if budget is None else _beside(done, budget)
        if took is None or done["status"] != "ok" or device not in (None, where):
            continue
        if _alike(trial, done, None):
            found.setdefault(where, []).append(took)
    return statistics.median(next(iter(found.values()))) if len(found) == 1 else budget


def kind_of(done: Record) -> str:
    """The device of a record: its GPU's name or its CPU's model."""
    environment = done.get("environment", {})
    return str(environment.get("gpu") or environment.get("cpu"))


def _beside(done: Record, budget: float) -> float | None:
    """Seconds of a trial with a time budget, by what a record took beside its training."""
    efficiency, curve = done.get("efficiency", {}), done.get("curve")
    total = efficiency.get("trial_seconds")
    training = (curve[-1].get("train_seconds") if curve else None) or efficiency.get(
        "train_seconds"
    )
    return None if total is None or training is None else float(total - training + budget)


def _alike(trial: Trial, done: Record, batch: int | None) -> bool:
    """Whether a step of the record's trial takes as long as one of this trial.

    `batch`: this trial's, where its recipe gives a memory and the batch is known; None: as the
    recipe says.
    """
    own, other = asdict(trial), done["trial"]
    names = ("method", "settings", "cached_features")
    same = Path(other["dataset"]).stem == trial.dataset_name
    same &= portable(other["backbone"]) == portable(trial.backbone)
    fields = {**own["recipe"], **other["recipe"]}  # those that came after the record too
    same &= all(own[name] == other.get(name, own[name]) for name in names)
    free = {*FREE, "batch_size", "memory"} if batch is not None else set(FREE)
    same &= batch is None or _batch_of(done) == batch
    return same and all(
        own["recipe"].get(name) == value for name, value in fields.items() if name not in free
    )


def _scaled(trial: Trial, done: Record) -> float | None:
    """Seconds that the record's trial would take with as many steps as this one; None: unknown."""
    efficiency = done.get("efficiency", {})
    total, training = efficiency.get("trial_seconds"), efficiency.get("train_seconds")
    if total is None or not done.get("curve") or training is None:
        return None if total is None else float(total)
    last = done["curve"][-1]
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

    batches = any(line.batch is not None for line in lines)
    sized = shows_peak(lines)
    timed = any(line.steps is not None for line in lines)
    heads = ["method", "recorded", "left", *(["batch"] if batches else [])]
    heads += [*(["steps"] if timed else []), *(["peak, MiB"] if sized else []), "time left"]
    shown = Table(*heads, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    shown.title = f"{Path(lines[0].dataset).stem} · {portable(lines[0].backbone)}"
    # All but the first are as wide as they need be: rich narrows what is widest, and would break
    # calls within a word.
    said = [_recorded(line) for line in lines]
    shown.columns[1].width = max(len("recorded"), min(RECORDED, max(map(len, said))))
    for column in shown.columns[2:]:
        column.justify, column.no_wrap = "right", True
    for line, recorded in zip(lines, said, strict=True):
        cells: list[str | Label] = [
            Label(line.call),
            recorded,
            str(line.left) if line.left else "–",
        ]
        cells += [_figure(line.batch)] if batches else []
        cells += [_figure(line.steps)] if timed else []
        if sized:
            cells.append("–" if line.peak_bytes is None else f"{line.peak_bytes / 2**20:,.0f}")
        cells.append(_clock(line.seconds) if line.left else "–")
        shown.add_row(*cells)
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


def _figure(value: int | str | None) -> str:
    if isinstance(value, str):
        return value
    return "–" if value is None else f"{value:,}"


def total(lines: list[Line], slots: int) -> str:
    """A sentence on the time of the whole, with so many trials at once."""
    known = [line for line in lines if line.left and line.seconds is not None]
    unknown = sum(line.left for line in lines if line.left and line.seconds is None)
    if not known:
        return "time left: unknown, no record is of the same method, data, recipe and device"
    time = format_seconds(sum(line.seconds or 0.0 for line in known) / slots)
    at_once = f", {slots} at once" if slots > 1 else ""
    more = f"; {unknown} more of unknown length" if unknown else ""
    trials = counted(sum(line.left for line in known), "trial")
    return f"time left: about {time} for {trials}{at_once}{more}"
