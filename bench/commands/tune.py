"""`bench tune`: search each method's learning rate and settings, with the same budget for all."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench import UserError
from bench.commands.framework import option
from bench.commands.options import AGAIN, FILES, TrainOptions
from bench.commands.sweeping import (
    announce_backbones,
    planned_with_engine,
    ready_weights,
    report_failures,
    run_trials,
)
from bench.console import console, counted, from_here, say
from bench.disk import demand_writable
from bench.recipe import INSTEAD, Recipe, applying, written
from bench.sweeps import grid, tuned
from bench.sweeps import tune as tune_
from bench.units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from bench.schema import Winner
    from bench.sweeps.engine import Outcome
    from bench.sweeps.engine_choice import Engine
    from bench.sweeps.sweep import Plan
    from bench.sweeps.tune import Search
    from bench.trial import Trial

SEARCH = "The search"


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainOptions):
    """The options of `bench tune`. None: what the sweep file says, or the default."""

    results: Path | None = option(
        "Folder of the search's records. Default: tuning.", metavar="DIR", panel=FILES
    )
    out: Path | None = option(
        "File for the winners. Default: tuned.toml.", metavar="FILE.toml", panel=FILES
    )
    factors: str | None = option(
        "Learning rates to try, as factors on each method's own. Default: 0.3,1,3.",
        metavar="LIST",
        panel=SEARCH,
    )
    settings: list[str] | None = option(
        "Settings to try as well: 'lora(rank=[4,8,16])'; repeatable.",
        "--search",
        metavar="CALL",
        panel=SEARCH,
    )
    trials: int | None = option(
        "Points that each method starts with, drawn from its grid of rates and settings. "
        "Default: the size of the smallest grid.",
        metavar="N",
        min=1,
        panel=SEARCH,
    )
    max_points: int | None = option(
        "Points that each method may have at most. While the best one lies at the edge "
        "of the grid, the next value in the same ratio is tried as well. Default: two "
        "thirds more than at the start, 5 for a grid of 3.",
        metavar="N",
        min=1,
        panel=SEARCH,
    )
    draw_seed: int | None = option(
        "Seed of the draw of --trials. Default: 0.", metavar="SEED", min=0, panel=SEARCH
    )
    dry_run: bool = option(
        "Only say what is recorded, what is left at least and at most, and the time.",
        panel=AGAIN,
        default=False,
    )


def tune(options: TuneOptions) -> None:
    """Search each method's learning rate (and settings) on validation, equally for all methods."""
    config = options.config(searching=True)
    plan, engine = planned_with_engine(config, options.dry_run, options.yes)
    wanted = config.search
    search = tune_.widen(
        plan,
        wanted.get("factors", tune_.FACTORS),
        grid.space_of(wanted.get("settings", [])),
        wanted.get("trials"),
        wanted.get("draw_seed", 0),
        wanted.get("max_points"),
    )
    search.resume()
    out = options.out or config.tuned or Path("tuned.toml")
    tuned.other_winners(search, out)  # raises UserError now, and not after the search
    if not options.dry_run:
        demand_writable(out)
    screen = console()
    announce_backbones(screen, config)
    todo = search.plan.todo(False, options.retry_failed)
    say(screen, _state_of(search, todo))
    if options.dry_run:
        ready_weights(screen, search.plan, todo, download=False)
        _print_forecast(screen, search, todo, engine)
        return
    outcomes = _run(screen, search, engine, options.retry_failed, config.log)
    begun = {trial.identity: trial for trial in [*todo, *(o.trial for o in outcomes)]}
    failed = report_failures(screen, list(begun.values()), outcomes)
    rows, without = search.winners()
    if rows:
        # Read again: another search may have written its winners meanwhile.
        tuned.save([*tuned.other_winners(search, out), *rows], search, out)
        _print_winners(screen, rows, search, out)
        _print_next(screen, options, plan, out)
    for name in without:
        say(screen, f"no point of {name} ended well, so it has no winner")
    raise typer.Exit(1 if failed or without else 0)


def _state_of(search: "Search", todo: "list[Trial]") -> str:
    """How many trials the search has, how many of them are to run, and how many may follow."""
    methods = len({searched.subject.call for searched in search.searched})
    places, seeds = len(search.searched) // methods, len(search.budget.seeds)
    drawn = " drawn from each grid" if search.drawn else ""
    parts = [counted(methods, "method"), counted(search.start, "point") + drawn]
    if places > 1:
        parts.append(f"{places} pairs of data set and backbone")
    if seeds > 1:
        parts.append(counted(seeds, "seed"))
    grown = len(search.plan.trials) - methods * places * search.start * seeds
    beyond = f", and {grown} beyond them" if grown else ""
    recorded = search.plan.recorded()
    done = f"{recorded} recorded in {from_here(search.plan.results)}, {len(todo)} to run"
    trials = counted(len(search.plan.trials), "trial")
    more = ""
    if search.more > 0:
        more = f"; up to {search.more} more where the best lies at the edge of its grid"
    return f"{trials} ({' x '.join(parts)}{beyond}): {done}{more}"


def _run(
    screen: "Console", search: "Search", engine: "Engine", retry_failed: bool, log: str = ""
) -> "list[Outcome]":
    """Run the search to its end, letting it grow; returns how the trials ended that ran.

    Each trial is started once at most, so that the search ends even if one always fails.
    """
    outcomes: dict[str, Outcome] = {}
    while True:
        todo = [t for t in search.plan.todo(False, retry_failed) if t.identity not in outcomes]
        if todo:
            first = not outcomes
            ran = run_trials(
                screen, search.plan, todo, engine, log=log, prepare=first, more=search.more
            )
            outcomes |= {outcome.trial.identity: outcome for outcome in ran}
            refused = [outcome for outcome in ran if outcome.status == "user_error"]
            if not ran or not all(o.trial.call in search.beyond_settings for o in refused):
                break
            for outcome in refused:
                say(screen, f"{outcome.trial.call} cannot be tried: {outcome.why}")
                outcomes[outcome.trial.identity] = replace(outcome, status="not_applicable")
            if refused:  # a user error ends the sweep, so go on with the rest
                continue
        grown = search.grow()
        if not grown:
            break
        say(screen, f"{', '.join(grown)}: the next value beyond the edge of the grid is tried")
    return list(outcomes.values())


def _print_forecast(
    screen: "Console", search: "Search", todo: "list[Trial]", engine: "Engine"
) -> None:
    """Say how long the search takes at least and at most, as far as records tell."""
    from bench.sweeps import forecast

    if not todo:
        return
    lines = forecast.forecast(search.plan, todo, engine.device_name(), None)
    say(screen, forecast.total(lines, engine.at_once()))
    known = [line.seconds for line in lines if line.left]
    if search.more and all(seconds is not None for seconds in known):
        each = sum(seconds or 0.0 for seconds in known) / sum(line.left for line in lines)
        more = each * search.more / engine.at_once()
        say(screen, f"and up to {format_seconds(more)} more where grids grow")


def _print_winners(screen: "Console", rows: "list[Winner]", search: "Search", out: Path) -> None:
    """Print the table of winners; for those at the edge of their grid, say what to do."""
    from bench.report import searches, terminal

    for part in searches.short_tables(rows):
        screen.print(terminal.short(part))
    say(screen, f"the winners are in {out}")
    if any(searches.edges(row) for row in rows):
        say(
            screen,
            "edge of the grid: the best is the last value that was tried, so a better one may lie "
            f"beyond it; the same command with --max-points {search.max_points + 2} looks further",
        )


def _print_next(screen: "Console", options: TrainOptions, plan: "Plan", out: Path) -> None:
    """Print the command that trains with the winners; say so if it trains longer or shorter."""
    following = options.for_run()
    if any(trial.lr is not None for trial in plan.trials):  # --tuned leaves a stated rate alone
        calls = dict.fromkeys(tune_.subject_of(trial).call for trial in plan.trials)
        following = replace(following, methods=[",".join(calls)])
    say(screen, "train with the winners:")
    screen.print(_command(following, out), markup=False, highlight=False, soft_wrap=True)
    try:
        now, before = _length(following.config().recipe), _length(plan.trials[0].recipe)
    except UserError as error:  # the sweep file may ask of the run what it does not of the search
        say(screen, f"it needs a change first: {error}")
        return
    if now != before:
        say(
            screen,
            f"this trains with {now}, and the search had {before}; add --recipe {before} to train "
            "as long as the search did",
        )


def _command(options: TrainOptions, out: Path) -> str:
    return shlex.join(["bench", "run", *options.words(), "--tuned", str(out)])


def _length(recipe: Recipe) -> str:
    """How long a training is, as `--recipe` takes it: `epochs=30`, `steps=200` or `time=10m`."""
    names = INSTEAD["the length of the training"]
    return next(f"{k}={written(k, v)}" for k, v in applying(recipe).items() if k in names)
