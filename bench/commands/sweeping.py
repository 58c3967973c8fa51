"""What `bench run` and `bench tune` share: plan the trials, run them, say how they ended."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench import UserError
from bench.console import complain, console, counted, from_here, say, warn
from bench.record import FINISHED_STATUSES, STATUSES
from bench.spec import portable
from bench.sweeps import forkserver
from bench.units import DOWNLOADS, format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from bench.sweeps.engine import Outcome
    from bench.sweeps.engine_choice import Engine
    from bench.sweeps.sweep import Plan
    from bench.sweeps.sweepfile import SweepConfig
    from bench.trial import Trial


def planned_with_engine(
    config: "SweepConfig", dry_run: bool = False, yes: bool | None = None
) -> "tuple[Plan, Engine]":
    """The trials of a sweep, and the engine for them.

    dry_run: the annotations must be there, but the images may be missing. Otherwise `yes`: fetch a
    data set that is missing; False: ask a user at a terminal, None: do not ask.
    """
    if not dry_run:
        forkserver.warm_up()  # it imports in the background while this process plans
    from bench.fetch import fetching
    from bench.sweeps import sweep
    from bench.sweeps.engine_choice import engine_of
    from bench.tracking import choose

    choose.check(config.log)
    engine = engine_of(config.engine)
    if engine.warning is not None:
        warn(console(), engine.warning)
    make = partial(sweep.plan, config, images=not dry_run)
    if dry_run or yes is None:
        return make(), engine
    return fetching.with_data(make, yes, console()), engine


def announce_backbones(screen: "Console", config: "SweepConfig") -> None:
    """Say which backbones the trials have, and for which data sets each is the default."""
    from bench import backbone
    from bench.sweeps.sweep import backbones_of

    lines: dict[str, list[str]] = {}
    for name, words in backbones_of(config).items():
        for word in words:
            spec = backbone.expand(word)
            short, long = portable(word), portable(spec)
            title = short if short == long else f"{short} ({long})"
            lines.setdefault(title, []).append(Path(name).stem)
    for title, datasets in lines.items():
        default = "" if config.backbones else f", the default of {', '.join(datasets)}"
        say(screen, f"backbone: {title}{default}")


def ready_weights(
    screen: "Console", plan: "Plan", todo: "list[Trial]", download: bool = True
) -> None:
    """Check the weights of all trials to run, once, before anything else is done for them.

    Missing weights are downloaded, or with `download=False` only announced. Raises UserError.
    """
    from bench.backbone.ready import make_ready

    for spec in dict.fromkeys(trial.backbone for trial in todo):
        try:
            ready = make_ready(spec, lambda text: say(screen, text), download=download)
        except UserError as error:
            verb = "is" if len(todo) == 1 else "are"
            left = f"Nothing was run: {counted(len(todo), 'trial')} {verb} left."
            raise UserError(f"{error}\n\n{left}") from None
        if ready.to_download != 0:
            missing = ready.to_download  # None: the size is not known
            size = "" if missing is None else f", {format_bytes(missing, DOWNLOADS)}"
            say(screen, f"the weights of {portable(spec)} will be downloaded{size}")
        for note in ready.notes:
            say(screen, f"note: {note}")


def run_trials(
    screen: "Console",
    plan: "Plan",
    todo: "list[Trial]",
    engine: "Engine",
    left_over: "Callable[[], list[Trial]] | None" = None,
    log: str = "",
    prepare: bool = True,
    more: int = 0,
) -> "list[Outcome]":
    """Run trials and show their progress; after Ctrl-C say what is left, and exit with 130.

    `left_over` tells which trials are left; None: those without a new record. `log`: trackers.
    prepare=False: weights and images are known to be ready. `more`: how many trials may be added.
    """
    from bench.sweeps.progress import watcher
    from bench.tracking import choose
    from bench.tracking.watcher import tracking

    trackers = choose.trackers(log, plan.results)
    if prepare:
        engine.check(plan.results)  # before images are decoded, which takes minutes
        ready_weights(screen, plan, todo)
        _build_caches(screen, plan, todo)
        for tracker in trackers:
            say(screen, f"{tracker.name}: {tracker.place}")
    with (
        watcher(screen, todo, more) as progress,
        tracking(progress, trackers, partial(say, screen)) as watching,
    ):
        try:
            return engine.run(plan, todo, watching)
        except KeyboardInterrupt:
            left = [t for t in todo if not plan.overtaken(t)] if left_over is None else left_over()
    say(screen, f"stopped; {counted(len(left), 'trial')} left, the same command goes on with:")
    for trial in left:
        say(screen, f"  {trial.name}")
    raise typer.Exit(130)


def report_failures(screen: "Console", todo: "list[Trial]", outcomes: "list[Outcome]") -> bool:
    """Name the trials that did not end well; returns whether there are any.

    If the user has to mend something before any trial can run, print that and exit with 2.
    """
    bad = [outcome for outcome in outcomes if outcome.status not in FINISHED_STATUSES]
    if unusable := [outcome for outcome in bad if outcome.status == "user_error"]:
        complain(f"bench: {unusable[0].message}")
        left = len(todo) - len([o for o in outcomes if o.status != "user_error"])
        ran = "nothing was run" if left == len(todo) else "the rest was not run"
        say(screen, f"{ran}: {counted(left, 'trial')} left")
        raise typer.Exit(2)
    for outcome in bad:
        reason = outcome.why if outcome.record is None else from_here(outcome.record)
        say(screen, f"{outcome.status.replace('_', ' ')} {outcome.trial.name}: {reason}")
    if bad:
        say(screen, _count(bad))
    return bool(bad)


def _count(bad: "list[Outcome]") -> str:
    """How many trials did not end well, with which status, and what to do."""
    statuses = Counter(outcome.status for outcome in bad)
    words = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in statuses.most_common())
    again = "the same command runs again what is not recorded"
    if any(status in STATUSES for status in statuses):
        again = "the same command with --retry-failed runs again what failed"
    return f"{counted(len(bad), 'trial')} did not end well ({words}); {again}"


def _build_caches(screen: "Console", plan: "Plan", todo: "list[Trial]") -> None:
    """Decode the images of each data set once, before trials start, with a progress bar."""
    from bench import backbone, data
    from bench.data import cache

    wanted = {
        (trial.dataset, size, backbone.preprocess_of(trial.backbone).resize)
        for trial in todo
        if (size := backbone.image_size(trial.backbone)) is not None
    }
    for name, size, how in sorted(wanted, key=str):
        dataset = data.load(data.card(name), plan.root)
        for note in dataset.notes:
            say(screen, f"{name}: {note}")
        cache.build(dataset, size, how, console=screen)
