"""`bench tune`: search each method's learning rate and settings, with the same budget for all."""

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import UserError
from bench.commands.options import FILES, RunOptions
from bench.commands.sweeping import (
    announce_backbones,
    planned_with_engine,
    report_failures,
    run_trials,
)
from bench.console import console, counted, say

if TYPE_CHECKING:
    from bench.sweeps.sweepfile import SweepConfig

SEARCH = "The search"


def tune(
    options: RunOptions,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the search's records. Default: tuning.",
            rich_help_panel=FILES,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="File for the winners. Default: tuned.toml.",
            rich_help_panel=FILES,
        ),
    ] = None,
    factors: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Learning rates to try, as factors on each method's own. Default: 0.3,1,3.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CALL",
            help="Settings to try as well: 'lora(rank=[4,8,16])'; repeatable.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Points to try for each method, drawn from its grid of rates and settings. "
            "Default: the size of the smallest grid.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    draw_seed: Annotated[
        int | None,
        typer.Option(
            metavar="SEED", min=0, help="Seed of that draw. Default: 0.", rich_help_panel=SEARCH
        ),
    ] = None,
) -> None:
    """Search each method's learning rate (and settings) on validation, equally for all methods."""
    from bench.sweeps import forkserver

    forkserver.warm_up()
    from bench.report.searches import search_table
    from bench.sweeps import tune as tune_
    from methods import registry

    config = options.config(searching=True, results=results)
    plan, engine = planned_with_engine(config, yes=options.yes)
    said = config.search
    searched = tune_.widen(
        plan,
        registry(),
        said.get("factors", tune_.FACTORS) if factors is None else _factors(factors),
        tune_.space_of(search or said.get("settings", []), registry()),
        said.get("trials") if trials is None else trials,
        said.get("draw_seed", 0) if draw_seed is None else draw_seed,
    )
    out = out or config.tuned or Path("tuned.toml")
    others = tune_.others(searched, out)
    todo, screen = searched.plan.todo(False, options.retry_failed), console()
    announce_backbones(screen, plan)
    methods = counted(len(searched.grids), "method")
    points = counted(searched.points, "point") + (" drawn from each grid" * searched.drawn)
    count = counted(len(searched.plan.trials), "trial")
    say(screen, f"{count} ({methods} x {points}): {len(todo)} to run")
    outcomes = run_trials(screen, searched.plan, todo, engine, log=config.log) if todo else []
    failed = report_failures(screen, todo, outcomes)
    rows, without = tune_.winners(searched)
    tune_.save([*others, *rows], searched, out)
    screen.print(search_table(rows, f"in {out}"))
    for what in without:
        say(screen, f"no trial of {what} ended well: it has no winner")
    say(screen, f"train with the winners: {_next_command(options.sweep, config, out)}")
    raise typer.Exit(1 if failed or without else 0)


def _next_command(sweep: Path | None, config: "SweepConfig", out: Path) -> str:
    """The command that uses the winners."""
    words = ["bench", "run"]
    if sweep is not None:
        words.append(str(sweep))
    else:
        words += ["--methods", config.methods, "--dataset", ",".join(config.datasets)]
        if config.backbones:
            words += ["--backbone", ",".join(config.backbones)]
        for plugin in config.plugins:
            words += ["--plugin", str(plugin)]
        if config.data_root is not None:
            words += ["--data-root", str(config.data_root)]
    return shlex.join([*words, "--tuned", str(out)])


def _factors(text: str) -> list[float]:
    """`0.3,1,3` -> numbers; raises UserError."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < f < math.inf for f in found) or len(set(found)) < len(found):
        raise UserError(f"--factors are different numbers above 0 with commas, not {text!r}")
    return found
