"""`bench run`: train and test methods, one process per trial, and record what they reach."""

import itertools
import shlex
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench import UserError, record
from bench.commands.framework import option
from bench.commands.options import AGAIN, FILES, TRAINING, TrainOptions
from bench.commands.sweeping import (
    announce_backbones,
    planned_with_engine,
    ready_weights,
    report_failures,
    run_trials,
)
from bench.console import console, counted, from_here, predicting, say
from bench.sweeps import tuned as tuned_

if TYPE_CHECKING:
    from rich.console import Console

    from bench.sweeps.engine import Outcome
    from bench.sweeps.engine_choice import Engine
    from bench.sweeps.sweep import Plan
    from bench.trained.under_corruption import Condition
    from bench.trial import Trial

ROBUSTNESS = "Testing on corrupted images"


@dataclass(frozen=True, kw_only=True)
class RunOptions(TrainOptions):
    """The options of `bench run`."""

    tuned: Path | None = option(
        "Learning rates and settings that `bench tune` found.", metavar="FILE.toml", panel=TRAINING
    )
    results: Path | None = option(
        "Folder of the records. Default: results.", metavar="DIR", panel=FILES
    )
    dry_run: bool = option(
        "Only say what is recorded, what is left, and the memory and time it will take.",
        panel=AGAIN,
        default=False,
    )
    no_memory: bool = option(
        "With --dry-run: leave out the predicted memory, which takes a while.",
        panel=AGAIN,
        default=False,
    )
    rerun: bool = option(
        "Run all trials again; the old records are kept as *.replaced.", panel=AGAIN, default=False
    )
    corrupt: str | None = option(
        "Test the trained methods on corrupted images too: blur,noise,cloud,jpeg,haze.",
        metavar="LIST",
        panel=ROBUSTNESS,
    )
    severity: str | None = option(
        "How strongly they are corrupted, 1 to 5. Default: 1,3,5.", metavar="LIST", panel=ROBUSTNESS
    )


def run(options: RunOptions) -> None:
    """Train and test every method on every data set, backbone and seed; skip what is recorded.

    Each trial runs in a process of its own and ends as one JSON record.
    """
    if options.rerun and options.retry_failed:
        raise UserError("--rerun runs the failed trials again too; leave out --retry-failed")
    if options.no_memory and not options.dry_run:
        raise UserError("--no-memory is an option of the dry run; give --dry-run with it")
    config = options.config()
    if options.severity is not None and not config.corrupt:
        raise UserError("--severity is an option of --corrupt; give --corrupt with it")
    conditions: list[Condition] = []
    if config.corrupt:
        from bench.trained import under_corruption

        conditions = under_corruption.conditions(config.corrupt, config.severity)
    if config.tuned is not None:
        tuned_.read(config.tuned)  # raises UserError now, and not after data are fetched
    plan, engine = planned_with_engine(config, options.dry_run, options.yes)
    screen = console()
    announce_backbones(screen, config)
    if config.tuned is not None:
        plan, notes = tuned_.apply(plan, config.tuned)
        for note in notes:
            say(screen, note)
    todo = plan.todo(options.rerun, options.retry_failed)
    say(screen, _state_of(plan, todo, options.rerun))
    if options.dry_run:
        ready_weights(screen, plan, todo, download=False)
        _print_forecast(screen, plan, todo, engine, memory=not options.no_memory)
        if conditions:
            count = counted(len(conditions), "condition")
            say(screen, f"then each is tested under {count} of corrupted images")
        return
    outcomes = run_trials(screen, plan, todo, engine, log=config.log) if todo else []
    _print_results(screen, plan)
    failed = report_failures(screen, todo, outcomes)
    failed_before = _earlier_failures(screen, plan, outcomes)
    if not todo:
        say(screen, "nothing to do: every trial is recorded; --rerun runs them again")
    unmeasured = _run_corrupted(screen, plan, conditions, engine) if conditions else False
    if any(plan.status(trial) == "ok" for trial in plan.trials):
        folder = [] if config.results == Path("results") else ["--results", str(config.results)]
        command = shlex.join(["bench", "report", *folder])
        say(screen, f"tables, plots and a web page of all records: {command}")
    raise typer.Exit(1 if failed or failed_before or unmeasured else 0)


def _earlier_failures(screen: "Console", plan: "Plan", outcomes: "list[Outcome]") -> "list[Trial]":
    """The trials that did not end well in an earlier run and were not repeated in this one."""
    ran = {outcome.trial.identity for outcome in outcomes}
    failed = [
        t
        for t in plan.trials
        if t.identity not in ran and plan.status(t) not in record.FINISHED_STATUSES
    ]
    if failed:
        trials = counted(len(failed), "earlier trial")
        say(screen, f"{trials} did not end well; --retry-failed runs what failed again")
    return failed


def _state_of(plan: "Plan", todo: "list[Trial]", rerun: bool) -> str:
    """How many trials are recorded, and how many are to run."""
    trials = counted(len(plan.trials), "trial")
    recorded, place = plan.recorded(), from_here(plan.results)
    if rerun and recorded:
        return f"{trials}: all run again; {recorded} recorded in {place} are kept as *.replaced"
    return f"{trials}: {recorded} recorded in {place}, {len(todo)} to run"


def _run_corrupted(
    screen: "Console", plan: "Plan", conditions: "list[Condition]", engine: "Engine"
) -> bool:
    """Test the trained methods on corrupted images, a process for each; returns if any failed."""
    from bench.report import robustness, terminal
    from bench.report.grouping import group_records
    from bench.trained import under_corruption

    def pending() -> "list[tuple[Trial, list[Condition]]]":
        return under_corruption.todo(plan.trials, plan.results, conditions)

    work = pending()
    trials = [trial for trial, _ in work]
    evaluations = sum(len(missing) for _, missing in work)
    say(screen, f"corrupted test images: {counted(evaluations, 'evaluation')} to do")
    outcomes = []
    if work:
        corrupt = {trial.identity: list(map(astuple, missing)) for trial, missing in work}
        tests = replace(plan, corrupt=corrupt, time_limit=None)
        outcomes = run_trials(screen, tests, trials, engine, lambda: [t for t, _ in pending()])
    own = [trial.path(plan.results) for trial in plan.trials]
    for group in group_records(record.load(plan.results, only=own)):
        for part in robustness.tables(group, plan.results):
            screen.print(terminal.short(part))
    return report_failures(screen, trials, outcomes)


def _print_forecast(
    screen: "Console", plan: "Plan", todo: "list[Trial]", engine: "Engine", memory: bool
) -> None:
    from bench.sweeps import forecast

    with predicting() as move:
        lines = forecast.forecast(plan, todo, engine.device_name(), move if memory else None)
    places = itertools.groupby(lines, key=lambda line: (line.dataset, line.backbone))
    tables = [list(place) for _, place in places]
    for place in tables:
        screen.print(forecast.table(place))
    for line in lines:
        if line.reason is not None:
            say(screen, f"{line.call} on {Path(line.dataset).stem}: {line.reason}")
    if any(line.steps == forecast.MEASURED for line in lines):
        say(screen, forecast.MEASURED_MEANS)
    parts = plan.trials[0].recipe.accumulation
    if parts > 1 and any(line.batch is not None for line in lines):
        say(screen, f"batch: the images of a step, in {parts} micro-batches")
    if any(map(forecast.shows_peak, tables)):
        say(screen, "peak: predicted for a GPU, without the CUDA context")
    if todo:
        say(screen, forecast.total(lines, engine.at_once()))


def _print_results(screen: "Console", plan: "Plan") -> None:
    from bench.report import terminal
    from bench.report.grouping import group_records

    own = [trial.path(plan.results) for trial in plan.trials]
    if groups := group_records(record.load(plan.results, only=own)):
        screen.print(terminal.table(groups))
