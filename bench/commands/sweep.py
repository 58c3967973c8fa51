"""The commands about a sweep: run it, search with it, predict what it needs."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import UserError
from bench.commands.options import (
    Backbones,
    Cached,
    CheckpointEvery,
    Datasets,
    Deterministic,
    EngineName,
    Gpus,
    Jobs,
    Methods,
    Plugins,
    RayAddress,
    RecipeWords,
    RetryFailed,
    Root,
    Seeds,
    Slurm,
    Sweep,
    SweepResults,
    TimeLimit,
    console,
)
from bench.record import GOOD

if TYPE_CHECKING:
    from rich.console import Console

    from bench.corrupted import Condition
    from bench.sweeps.engine import Outcome
    from bench.sweeps.engines import Engine
    from bench.sweeps.sweep import Plan
    from bench.sweeps.sweepfile import Wish
    from bench.trial import Trial


def run(
    sweep: Sweep = None,
    methods: Methods = None,
    dataset: Datasets = None,
    seeds: Seeds = None,
    backbone: Backbones = None,
    recipe: RecipeWords = None,
    data_root: Root = None,
    results: SweepResults = None,
    plugin: Plugins = None,
    tuned: Annotated[
        Path | None, typer.Option(help="What `bench tune` found: a TOML with the winners.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is done, what is left, what it takes.")
    ] = False,
    no_memory: Annotated[
        bool, typer.Option("--no-memory", help="A dry run without predicted memory: at once.")
    ] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="Repeat what is recorded.")] = False,
    retry_failed: RetryFailed = False,
    corrupt: Annotated[
        str | None,
        typer.Option(help="Then test on corrupted images: blur,noise,cloud,jpeg,haze."),
    ] = None,
    severity: Annotated[
        str | None, typer.Option(help="How strongly, 1 to 5.", show_default="1,3,5")
    ] = None,
    cache_features: Cached = None,
    engine: EngineName = None,
    gpus: Gpus = None,
    jobs_per_gpu: Jobs = None,
    ray_address: RayAddress = None,
    slurm: Slurm = None,
    time_limit: TimeLimit = None,
    checkpoint_every: CheckpointEvery = None,
    deterministic: Deterministic = False,
) -> None:
    """Sweep data sets x backbones x seeds x methods; each trial in its own process; resumes."""
    given = locals()
    from bench import corrupted
    from bench.sweeps import tune as tune_
    from methods import registry

    if rerun and retry_failed:
        raise UserError("--rerun repeats the failed ones too; leave --retry-failed out")
    if no_memory and not dry_run:
        raise UserError("--no-memory says what a dry run leaves out; give --dry-run with it")
    wish = _wish(given)
    wanted = corrupted.conditions(wish.corrupt, wish.severity) if wish.corrupt else []
    plan, where = _planned_where(wish)
    screen = console()
    if wish.tuned is not None:
        plan, without = tune_.apply(plan, wish.tuned, registry())
        for what in without:
            screen.print(f"{wish.tuned} has no winner for {what}: its own rate", soft_wrap=True)
    todo = plan.todo(rerun, retry_failed)
    done = len(plan.trials) - len(todo)
    state = f"{len(plan.trials)} trials: {done} recorded in {wish.results}, {len(todo)} to run"
    screen.print(state, soft_wrap=True)
    if dry_run:
        _print_forecast(screen, plan, todo, where, not no_memory)
        if wanted:
            screen.print(f"then {len(wanted)} conditions of corrupted test images for each")
        return
    outcomes = _run(screen, plan, todo, where) if todo else []
    _print_results(screen, plan)
    failed = _say_bad(screen, outcomes)
    ran = {outcome.trial.identity for outcome in outcomes}
    old = [t for t in plan.trials if t.identity not in ran and plan.status(t) not in GOOD]
    if old:
        screen.print(f"{len(old)} recorded earlier are not ok; --retry-failed repeats those")
    if not todo:
        screen.print("nothing to do: every trial is recorded; --rerun repeats them")
    unmeasured = _run_corrupted(screen, plan, wanted, where) if wanted else False
    raise typer.Exit(1 if failed or old or unmeasured else 0)


def tune(
    sweep: Sweep = None,
    methods: Methods = None,
    dataset: Datasets = None,
    seeds: Seeds = None,
    backbone: Backbones = None,
    recipe: RecipeWords = None,
    data_root: Root = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of the search's records.", show_default="tuning"),
    ] = None,
    plugin: Plugins = None,
    factors: Annotated[
        str | None,
        typer.Option(help="Factors on each method's own learning rate.", show_default="0.3,1,3"),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(help="Settings to try as well: 'lora(rank=[4,8,16])'; repeatable."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Points for each method, drawn from its grid of rates x settings.",
            show_default="the smallest grid",
        ),
    ] = None,
    draw_seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the draw.", show_default="0")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the winners go.", show_default="tuned.toml"),
    ] = None,
    retry_failed: RetryFailed = False,
    cache_features: Cached = None,
    engine: EngineName = None,
    gpus: Gpus = None,
    jobs_per_gpu: Jobs = None,
    ray_address: RayAddress = None,
    slurm: Slurm = None,
    time_limit: TimeLimit = None,
    checkpoint_every: CheckpointEvery = None,
    deterministic: Deterministic = False,
) -> None:
    """Search learning rate and settings on validation, the same number of trials per method."""
    given = locals()
    from bench.report.searches import search_table
    from bench.sweeps import tune as tune_
    from methods import registry

    wish = _wish(given, searching=True)
    plan, where = _planned_where(wish)
    said = wish.search
    searched = tune_.widen(
        plan,
        registry(),
        said.get("factors", tune_.FACTORS) if factors is None else _factors(factors),
        tune_.space_of(search or said.get("settings", []), registry()),
        said.get("trials") if trials is None else trials,
        said.get("draw_seed", 0) if draw_seed is None else draw_seed,
    )
    out = out or wish.tuned or Path("tuned.toml")
    others = tune_.others(searched, out)
    todo, screen = searched.plan.todo(False, retry_failed), console()
    calls, points = len(searched.grids), searched.points
    count = f"{calls} methods x {points} points" + (" drawn from each grid" * searched.drawn)
    screen.print(f"{len(searched.plan.trials)} trials ({count}): {len(todo)} to run")
    outcomes = _run(screen, searched.plan, todo, where) if todo else []
    failed = _say_bad(screen, outcomes)
    rows, without = tune_.winners(searched)
    tune_.save([*others, *rows], searched, out)
    screen.print(search_table(rows, f"in {out}"))
    for what in without:
        screen.print(f"no trial of {what} ended well: it has no winner", soft_wrap=True)
    raise typer.Exit(1 if failed or without else 0)


def plan(
    sweep: Sweep = None,
    methods: Methods = None,
    dataset: Datasets = None,
    seeds: Seeds = None,
    backbone: Backbones = None,
    recipe: RecipeWords = None,
    data_root: Root = None,
    plugin: Plugins = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Say what fits: 24GiB; and the largest batch that does.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Predict parameters, FLOPs and peak memory of each trial, without a GPU, data or weights."""
    given = locals()
    import itertools
    import json
    from dataclasses import asdict

    from rich.progress import Progress

    from bench.measure import plan as plan_

    limit = None if gpu_memory is None else plan_.memory_of(gpu_memory)
    planned = _planned(_wish(given), rehearse=True)
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("predicting")

        def move(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=f"predicting {what}")

        rows = plan_.plan(planned.trials, limit, planned.root, move)
    if json_:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        for _, place in itertools.groupby(rows, key=lambda row: (row.dataset, row.backbone)):
            console().print(plan_.table(list(place)))


def _factors(text: str) -> list[float]:
    """`0.3,1,3` -> numbers; raises UserError."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < f < math.inf for f in found) or len(set(found)) < len(found):
        raise UserError(f"--factors are different numbers above 0 with commas, not {text!r}")
    return found


def _numbers(text: str, what: str) -> list[int]:
    """`0,1,2` -> whole numbers; raises UserError."""
    try:
        found = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise UserError(f"{what} are whole numbers with commas, not {text!r}") from None
    if not found or len(set(found)) < len(found) or min(found) < 0:
        raise UserError(f"{what} are one or more different numbers from 0, not {text!r}")
    return found


def _wish(given: dict[str, Any], searching: bool = False) -> "Wish":
    """The sweep that a command's arguments name, over what its sweep file says.

    They are called like the keys of a sweep file, but for those given more than once. [search] is
    `bench tune`'s own.
    """
    from bench.sweeps import sweepfile

    several = {"dataset": "datasets", "backbone": "backbones", "plugin": "plugins"}
    words = {several.get(n, n): None if value == [] else value for n, value in given.items()}
    words = {key: words.get(key) for key in sweepfile.KEYS if key != "search"}
    if words["seeds"] is not None:
        words["seeds"] = _numbers(words["seeds"], "--seeds")
    if given.get("deterministic"):
        words["recipe"] = [*(words["recipe"] or []), "deterministic=true"]
    return sweepfile.gather(given["sweep"], searching, **words)


def _planned(wish: "Wish", rehearse: bool = False) -> "Plan":
    from bench.data import data_root as root_of
    from bench.sweeps import sweep

    return sweep.plan(
        methods=wish.methods,
        datasets=wish.datasets,
        backbones=wish.backbones,
        seeds=wish.seeds,
        recipe=wish.recipe,
        root=root_of(wish.data_root),
        results=wish.results,
        plugins=wish.plugins,
        rehearse=rehearse,
        cached_features=wish.cache_features,
    )


def _planned_where(wish: "Wish") -> "tuple[Plan, Engine]":
    """The trials of a sweep, how long each may take, and what runs them."""
    from bench.limits import seconds
    from bench.sweeps.engines import engine_of

    where = engine_of(wish.engine)
    plan = _planned(wish)
    plan.jobs_per_gpu = where.jobs_per_gpu
    plan.checkpoint_seconds = seconds(wish.checkpoint_every, "--checkpoint-every")
    if wish.time_limit is not None:
        plan.time_limit = seconds(wish.time_limit, "--time-limit")
        if not plan.time_limit:
            raise UserError("--time-limit is above 0; leave it out for none")
    return plan, where


def _say_bad(screen: "Console", outcomes: "list[Outcome]") -> bool:
    """Name the trials that did not end well; whether there are any, exit code 2 for a UserError."""
    bad = [outcome for outcome in outcomes if outcome.status not in GOOD]
    for outcome in bad:
        said = f"{outcome.status}: {outcome.trial.name}: {outcome.why}"
        screen.print(said, markup=False, soft_wrap=True)
    if bad:
        screen.print(_count(bad), markup=False, soft_wrap=True)
    if any(outcome.status == "user_error" for outcome in bad):
        raise typer.Exit(2)
    return bool(bad)


def _count(bad: "list[Outcome]") -> str:
    """How many trials did not end well, of which kind, and what to do."""
    from collections import Counter

    from bench.record import STATUSES

    kinds = Counter(outcome.status for outcome in bad)
    words = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in kinds.most_common())
    again = "the same command runs again what is not recorded"
    if any(status in STATUSES for status in kinds):
        again = "the same command with --retry-failed runs them again"
    return f"{len(bad)} did not end well ({words}); {again}"


def _run(
    screen: "Console",
    plan: "Plan",
    todo: "list[Trial]",
    where: "Engine",
    left_over: "Callable[[], list[Trial]] | None" = None,
) -> "list[Outcome]":
    from bench.sweeps.progress import watcher

    _build_caches(screen, plan, todo)
    with watcher(screen, len(todo)) as watch:
        try:
            return where.run(plan, todo, watch)
        except KeyboardInterrupt:
            left = [t for t in todo if plan.status(t) is None] if left_over is None else left_over()
    screen.print(f"stopped; {len(left)} trials are left, the same command goes on with them:")
    for trial in left:
        screen.print(f"  {trial.name}")
    raise typer.Exit(130)


def _run_corrupted(
    screen: "Console", plan: "Plan", wanted: "list[Condition]", where: "Engine"
) -> bool:
    """Test the trained methods on corrupted images, a process for each; whether some were not."""
    from dataclasses import astuple, replace

    from bench import corrupted, record
    from bench.report import groups, robustness

    work = corrupted.todo(plan, wanted)
    evaluations = sum(len(left) for _, left in work)
    screen.print(f"corrupted test images: {evaluations} evaluations to do", soft_wrap=True)
    told = {trial.identity: [astuple(one) for one in left] for trial, left in work}
    outcomes = []
    if work:
        tests = replace(plan, corrupt=told, time_limit=None)
        left = lambda: [trial for trial, _ in corrupted.todo(plan, wanted)]  # noqa: E731
        outcomes = _run(screen, tests, [trial for trial, _ in work], where, left)
    frame = record.load(plan.results)
    if len(frame):
        mine = frame[frame["identity"].isin([trial.identity for trial in plan.trials])]
        for one in groups.group(mine):
            for about, table in robustness.tables(one, plan.results):
                screen.print(robustness.console_table(about, table))
    return _say_bad(screen, outcomes)


def _build_caches(screen: "Console", plan: "Plan", todo: "list[Trial]") -> None:
    """Decode each data set once, before trials start, with a progress bar."""
    from bench import backbone, data
    from bench.data import cached

    wanted = {(trial.dataset, backbone.image_size(trial.backbone)) for trial in todo}
    for name, size in sorted((n, s) for n, s in wanted if s is not None):
        dataset = data.load(data.card(name), plan.root)
        for note in dataset.notes:
            screen.print(f"{name}: {note}")
        cached.build(dataset, size, screen)


def _print_forecast(
    screen: "Console", plan: "Plan", todo: "list[Trial]", where: "Engine", memory: bool
) -> None:
    import itertools

    from rich.progress import Progress

    from bench.sweeps import forecast

    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("predicting memory", visible=False)

        def move(done: int, total: int, what: str) -> None:
            words = f"predicting memory of {what}"
            bar.update(task, completed=done, total=total, description=words, visible=True)

        lines = forecast.forecast(plan, todo, where.device_kind(), move if memory else None)
    for _, place in itertools.groupby(lines, key=lambda line: (line.dataset, line.backbone)):
        screen.print(forecast.table(list(place)))
    if memory and todo:
        screen.print("peak: predicted for a GPU, without the CUDA context")
    if todo:
        screen.print(forecast.total(lines, where.at_once()), soft_wrap=True)


def _print_results(screen: "Console", plan: "Plan") -> None:
    from bench import record
    from bench.report import report

    frame = record.load(plan.results)
    if len(frame):
        mine = frame[frame["identity"].isin([trial.identity for trial in plan.trials])]
        if len(mine):
            screen.print(report.console_table(mine))
