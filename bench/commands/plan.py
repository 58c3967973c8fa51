"""`bench plan`: what each trial would need on a GPU, predicted."""

import itertools
import json
from dataclasses import asdict
from typing import Annotated

import typer

from bench.commands.options import SweepOptions
from bench.commands.sweeping import planned
from bench.console import console, say
from bench.units import parse_bytes


def plan(
    options: SweepOptions,
    gpu_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory of the GPU, such as 24GiB: say what fits, and the largest batch that "
            "does.",
        ),
    ] = None,
    parts: Annotated[
        bool,
        typer.Option("--parts", help="Show what the peak consists of: weights, activations, ..."),
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON, with more figures, instead of a table.")
    ] = False,
) -> None:
    """Predict memory and compute of each method on a GPU; needs neither GPU nor weights."""
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    from bench.measure import plan as plan_
    from bench.measure import plan_table

    limit = None if gpu_memory is None else parse_bytes(gpu_memory, "the GPU memory")
    config = options.config()
    trials = planned(config, rehearse=True)
    with Progress(
        SpinnerColumn("line"),
        "{task.description}",
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("predicting")

        def move(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=f"predicting {what}")

        rows = plan_.plan(trials.trials, limit, trials.root, move)
    if json_:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    screen = console()
    for _, place in itertools.groupby(rows, key=lambda row: (row.dataset, row.backbone)):
        group = list(place)
        say(screen, plan_table.header(group, limit))
        if any(row.reason is None for row in group):
            screen.print(plan_table.table(group, parts))
        for line in plan_table.legend(group, config.recipe, parts):
            say(screen, line)
