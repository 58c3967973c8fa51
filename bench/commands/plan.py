"""`bench plan`: what each trial would need on a GPU, predicted."""

import itertools
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench import record
from bench.commands.framework import option
from bench.commands.options import SweepOptions
from bench.console import console, predicting, say
from bench.units import parse_bytes

if TYPE_CHECKING:
    from bench.measure.plan import Row
    from bench.sweeps.sweep import Plan


@dataclass(frozen=True, kw_only=True)
class PlanOptions(SweepOptions):
    """The options of `bench plan`."""

    gpu_memory: str | None = option(
        "Memory of the GPU, such as 24GiB: say what fits, and the largest batch that does.",
        metavar="SIZE",
    )
    parts: bool = option("Show what the peak consists of: weights, activations, ...", default=False)
    json: bool = option("Print JSON, with more figures, instead of a table.", default=False)


def plan(options: PlanOptions) -> None:
    """Predict memory and compute of each method on a GPU; needs neither GPU nor weights."""
    from bench.measure import plan as plan_
    from bench.measure import plan_table
    from bench.sweeps import forecast, sweep

    memory = options.gpu_memory
    limit = None if memory is None else parse_bytes(memory, "the GPU memory")
    config = options.config()
    planned = sweep.plan(config, rehearse=True)
    with predicting() as move:
        rows = plan_.plan(planned.trials, limit, planned.root, move)
    steps = _steps(planned, rows)
    if options.json:
        rows_with_steps = [
            asdict(row) | ({"steps": steps[_key(row)]} if steps else {}) for row in rows
        ]
        print(json.dumps(rows_with_steps, indent=1))
        return
    screen = console()
    for _, same in itertools.groupby(rows, key=lambda row: (row.dataset, row.backbone)):
        group = list(same)
        say(screen, plan_table.header(group, limit))
        if any(row.reason is None for row in group):
            steps_of = {row.call: steps.get(_key(row)) for row in group}
            screen.print(plan_table.table(group, options.parts, steps_of))
        if forecast.MEASURED in steps.values():
            say(screen, forecast.MEASURED_MEANS)
        for line in plan_table.legend(group, config.recipe, options.parts):
            say(screen, line)


def _key(row: "Row") -> tuple[str, str, str]:
    return row.dataset, row.backbone, row.call


def _steps(plan: "Plan", rows: "list[Row]") -> "dict[tuple[str, str, str], int | str | None]":
    """The steps that fit the recipe's time budget, by the speed of records; empty without one."""
    from bench.sweeps import forecast

    trials = {(t.dataset, t.backbone, t.call): t for t in plan.trials}
    if all(trial.recipe.time is None for trial in trials.values()):
        return {}
    read = record.read_all(record.paths(plan.results), left_out=lambda _: None)
    known = [document for _, document in read]
    return {
        _key(row): forecast.steps(
            trials[_key(row)],
            row.figures.get("batch_size") if trials[_key(row)].recipe.memory else None,
            known,
            None,
        )
        for row in rows
    }
