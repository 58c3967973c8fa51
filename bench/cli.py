"""The command line: parses, prints, decides nothing."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import UserError
from bench.cli_data import app as data_app

if TYPE_CHECKING:
    from rich.console import Console

    from bench.corrupted import Condition
    from bench.data import Dataset
    from bench.engine import Outcome
    from bench.engines import Engine
    from bench.sweep import Plan
    from bench.sweepfile import Wish
    from bench.trial import Trial

app = typer.Typer(
    name="bench",
    help="What recall for what memory and time: ways to fit CLIP to remote-sensing retrieval.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(data_app, name="data")

Sweep = Annotated[
    Path | None,
    typer.Argument(metavar="SWEEP.toml", help="A sweep file; options win over what it says."),
]
Methods = Annotated[str | None, typer.Option("--methods", help="Calls: 'cmer,lora(rank=16)'.")]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", help="A card's name or TOML; repeatable.")
]
Seeds = Annotated[
    str | None, typer.Option("--seeds", help="Comma-separated: 0,1,2.", show_default="0")
]
Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        help="starter, NAME:TAG, NAME:FILE or NAME:none; repeatable.",
        show_default="starter",
    ),
]
RecipeWords = Annotated[
    list[str] | None,
    typer.Option("--recipe", help="What all methods share: epochs=10; repeatable."),
]
Root = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of the data sets (or $BENCH_DATA; ./data)."),
]
Results = Annotated[Path, typer.Option("--results", help="Folder of the records.")]
SweepResults = Annotated[
    Path | None,
    typer.Option("--results", help="Folder of the records.", show_default="results"),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that registers methods; repeatable."),
]

Cached = Annotated[
    int | None,
    typer.Option(
        "--cache-features",
        min=0,
        show_default="0",
        metavar="VIEWS",
        help="Run frozen towers once: stored views per image, 1: centre crop.",
    ),
]

ENGINE = "Where trials run"
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="local: this machine; ray: a Ray cluster; slurm: array jobs through submitit.",
        show_default="local",
        rich_help_panel=ENGINE,
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        help="Which GPUs: 0,1; none: the CPU. Default: all visible.",
        rich_help_panel=ENGINE,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs-per-gpu",
        min=1,
        help="Trials at once on each GPU (or on the CPU); memory and throughput are then not "
        "comparable, and the records say so.",
        show_default="1",
        rich_help_panel=ENGINE,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        help="A running Ray cluster: auto or ray://HOST:10001. Default: one on this machine.",
        rich_help_panel=ENGINE,
    ),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        help="NAME=VALUE: partition, time (minutes or H:MM:SS), gpus, cpus, memory_gb, account, "
        "array_parallelism, other sbatch options; cluster=local tries it here; repeatable.",
        rich_help_panel=ENGINE,
    ),
]


def numbers(text: str, what: str) -> list[int]:
    """`0,1,2` -> whole numbers; raises UserError."""
    try:
        found = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise UserError(f"{what} are whole numbers with commas, not {text!r}") from None
    if not found or len(set(found)) < len(found) or min(found) < 0:
        raise UserError(f"{what} are one or more different numbers from 0, not {text!r}")
    return found


TimeLimit = Annotated[
    str | None, typer.Option("--time-limit", help="Of each trial: 2h, 1h30m, or 90 (minutes).")
]
CheckpointEvery = Annotated[
    str,
    typer.Option("--checkpoint-every", help="Time between a trial's checkpoints; 0: every step."),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="Only deterministic algorithms: recipe deterministic."),
]


@app.command()
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
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Repeat what is recorded but not ok.")
    ] = False,
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
    checkpoint_every: CheckpointEvery = "3m",
    deterministic: Deterministic = False,
) -> None:
    """Sweep data sets x backbones x seeds x methods; each trial in its own process; resumes."""
    from bench import corrupted
    from bench import tune as tune_
    from methods import registry

    if rerun and retry_failed:
        raise UserError("--rerun repeats the failed ones too; leave --retry-failed out")
    if no_memory and not dry_run:
        raise UserError("--no-memory says what a dry run leaves out; give --dry-run with it")
    recipe = _deterministic(recipe, deterministic)
    wish = _wish(sweep, methods, dataset, seeds, backbone, recipe, data_root, results, plugin)(
        tuned=tuned,
        cache_features=cache_features,
        corrupt=corrupt,
        severity=severity,
        engine=engine,
        gpus=gpus,
        jobs_per_gpu=jobs_per_gpu,
        ray_address=ray_address,
        slurm=slurm,
    )
    wanted = corrupted.conditions(wish.corrupt, wish.severity) if wish.corrupt else []
    where = _engine(wish)
    plan = _planned(wish)
    plan.jobs_per_gpu = where.jobs_per_gpu
    _bound(plan, time_limit, checkpoint_every)
    console = _console()
    if wish.tuned is not None:
        plan, without = tune_.apply(plan, wish.tuned, registry())
        for what in without:
            console.print(f"{wish.tuned} has no winner for {what}: its own rate", soft_wrap=True)
    todo = plan.todo(rerun, retry_failed)
    done = len(plan.trials) - len(todo)
    state = f"{len(plan.trials)} trials: {done} recorded in {wish.results}, {len(todo)} to run"
    console.print(state, soft_wrap=True)
    if dry_run:
        _print_forecast(console, plan, todo, where, not no_memory)
        if wanted:
            console.print(f"then {len(wanted)} conditions of corrupted test images for each")
        return
    outcomes = _run(console, plan, todo, where) if todo else []
    _print_results(console, plan)
    failed = _say_bad(console, outcomes)
    if not todo:
        old = [t for t in plan.trials if plan.status(t) not in ("ok", "not_applicable")]
        if old:
            console.print(f"{len(old)} of them are not ok; --retry-failed repeats those")
        console.print("nothing to do: every trial is recorded; --rerun repeats them")
    unmeasured = _run_corrupted(console, plan, wanted, where) if wanted else False
    raise typer.Exit(1 if failed or unmeasured else 0)


@app.command()
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
    cache_features: Cached = None,
    engine: EngineName = None,
    gpus: Gpus = None,
    jobs_per_gpu: Jobs = None,
    ray_address: RayAddress = None,
    slurm: Slurm = None,
    time_limit: TimeLimit = None,
    checkpoint_every: CheckpointEvery = "3m",
    deterministic: Deterministic = False,
) -> None:
    """Search learning rate and settings on validation, the same number of trials per method."""
    from bench import tune as tune_
    from bench.searches import search_table
    from methods import registry

    recipe = _deterministic(recipe, deterministic)
    wish = _wish(sweep, methods, dataset, seeds, backbone, recipe, data_root, results, plugin)(
        searching=True,
        cache_features=cache_features,
        engine=engine,
        gpus=gpus,
        jobs_per_gpu=jobs_per_gpu,
        ray_address=ray_address,
        slurm=slurm,
    )
    where = _engine(wish)
    plan = _planned(wish)
    plan.jobs_per_gpu = where.jobs_per_gpu
    _bound(plan, time_limit, checkpoint_every)
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
    todo, console = searched.plan.todo(rerun=False, retry_failed=False), _console()
    calls, points = len(searched.grids), searched.points
    count = f"{calls} methods x {points} points" + (" drawn from each grid" * searched.drawn)
    console.print(f"{len(searched.plan.trials)} trials ({count}): {len(todo)} to run")
    outcomes = _run(console, searched.plan, todo, where) if todo else []
    failed = _say_bad(console, outcomes)
    rows = tune_.winners(searched)
    tune_.save([*others, *rows], searched, out)
    console.print(search_table(rows, f"in {out}"))
    raise typer.Exit(1 if failed else 0)


def _factors(text: str) -> list[float]:
    """`0.3,1,3` -> numbers; raises UserError."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) <= 0 or len(set(found)) < len(found):
        raise UserError(f"--factors are different numbers above 0 with commas, not {text!r}")
    return found


def _say_bad(console: "Console", outcomes: "list[Outcome]") -> bool:
    """Name the trials that did not end well; whether there are any, exit code 2 for a UserError."""
    bad = [outcome for outcome in outcomes if outcome.status not in ("ok", "not_applicable")]
    for outcome in bad:
        said = f"{outcome.status}: {_name(outcome.trial)}: {outcome.message}"
        console.print(said, markup=False, soft_wrap=True)
    if bad:
        console.print(_count(bad), markup=False, soft_wrap=True)
    if any(outcome.status == "user_error" for outcome in bad):
        raise typer.Exit(2)
    return bool(bad)


def _wish(
    file: Path | None,
    methods: str | None,
    dataset: list[str] | None,
    seeds: str | None,
    backbone: list[str] | None,
    recipe: list[str] | None,
    data_root: Path | None,
    results: Path | None,
    plugin: list[Path] | None,
) -> "Callable[..., Wish]":
    """The sweep that the common options and a sweep file name, once it is told the other ones."""
    from bench import sweepfile

    return functools.partial(
        sweepfile.gather,
        file,
        methods=methods,
        datasets=dataset or None,
        seeds=None if seeds is None else numbers(seeds, "--seeds"),
        backbones=backbone or None,
        recipe=recipe,
        data_root=data_root,
        results=results,
        plugins=plugin or None,
    )


def _bound(plan: "Plan", time_limit: str | None, checkpoint_every: str) -> None:
    from bench.limits import seconds

    plan.checkpoint_seconds = seconds(checkpoint_every, "--checkpoint-every")
    if time_limit is not None:
        plan.time_limit = seconds(time_limit, "--time-limit")


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


def _deterministic(recipe: list[str] | None, only: bool) -> list[str] | None:
    return [*(recipe or []), "deterministic=true"] if only else recipe


def _planned(wish: "Wish", rehearse: bool = False) -> "Plan":
    from bench import sweep
    from bench.data import data_root as root_of

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


def _engine(wish: "Wish") -> "Engine":
    from bench.engines import engine_of

    return engine_of(wish.engine)


def _run(
    console: "Console",
    plan: "Plan",
    todo: "list[Trial]",
    where: "Engine",
    left_over: "Callable[[], list[Trial]] | None" = None,
) -> "list[Outcome]":
    from bench.progress import watcher

    _build_caches(console, plan, todo)
    with watcher(console, len(todo)) as watch:
        try:
            return where.run(plan, todo, watch)
        except KeyboardInterrupt:
            left = [t for t in todo if plan.status(t) is None] if left_over is None else left_over()
    console.print(f"stopped; {len(left)} trials are left, the same command goes on with them:")
    for trial in left:
        console.print(f"  {_name(trial)}")
    raise typer.Exit(130)


def _run_corrupted(
    console: "Console", plan: "Plan", wanted: "list[Condition]", where: "Engine"
) -> bool:
    """Test the trained methods on corrupted images, a process for each; whether some were not."""
    from dataclasses import astuple, replace

    from bench import corrupted, groups, record, robustness

    work = corrupted.todo(plan, wanted)
    evaluations = sum(len(left) for _, left in work)
    console.print(f"corrupted test images: {evaluations} evaluations to do", soft_wrap=True)
    told = {trial.identity: [astuple(one) for one in left] for trial, left in work}
    outcomes = []
    if work:
        tests = replace(plan, corrupt=told, time_limit=None)
        left = lambda: [trial for trial, _ in corrupted.todo(plan, wanted)]  # noqa: E731
        outcomes = _run(console, tests, [trial for trial, _ in work], where, left)
    frame = record.load(plan.results)
    if len(frame):
        mine = frame[frame["identity"].isin([trial.identity for trial in plan.trials])]
        for one in groups.group(mine):
            for about, table in robustness.tables(one, plan.results):
                console.print(robustness.console_table(about, table))
    return _say_bad(console, outcomes)


def _build_caches(console: "Console", plan: "Plan", todo: "list[Trial]") -> None:
    """Decode each data set once, before trials start, with a progress bar."""
    from bench import backbone, cached, data

    wanted = {(trial.dataset, backbone.image_size(trial.backbone)) for trial in todo}
    for name, size in sorted((n, s) for n, s in wanted if s is not None):
        dataset = data.load(data.card(name), plan.root)
        for note in dataset.notes:
            console.print(f"{name}: {note}")
        cached.build(dataset, size, console)


def _name(trial: "Trial") -> str:
    return f"{trial.dataset} {trial.backbone} {trial.call} seed {trial.seed}"


def _print_forecast(
    console: "Console", plan: "Plan", todo: "list[Trial]", where: "Engine", memory: bool
) -> None:
    import itertools

    from rich.progress import Progress

    from bench import forecast

    with Progress(console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task("predicting memory", visible=False)

        def move(done: int, total: int, what: str) -> None:
            words = f"predicting memory of {what}"
            bar.update(task, completed=done, total=total, description=words, visible=True)

        lines = forecast.forecast(plan, todo, where.device_kind(), move if memory else None)
    for _, place in itertools.groupby(lines, key=lambda line: (line.dataset, line.backbone)):
        console.print(forecast.table(list(place)))
    if memory and todo:
        console.print("peak: predicted for a GPU, without the CUDA context")
    if todo:
        console.print(forecast.total(lines, where.at_once()), soft_wrap=True)


def _print_results(console: "Console", plan: "Plan") -> None:
    from bench import record, report

    frame = record.load(plan.results)
    if len(frame):
        mine = frame[frame["identity"].isin([trial.identity for trial in plan.trials])]
        if len(mine):
            console.print(report.console_table(mine))


@app.command()
def report(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    reference: Annotated[str, typer.Option(help="Method that ratios refer to.")] = "lora",
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery",
            help="Put hits and misses of each method on the page, which then holds pictures of the "
            "data set: look at its licence before you pass the page on.",
        ),
    ] = False,
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Write all records as Markdown, LaTeX, CSV, Parquet, plots and one web page."""
    from bench import record
    from bench import report as report_

    console = _console()
    frame = record.load(results)
    if not len(frame):
        raise UserError(f"no record below {results}; `bench run` makes some, --results says where")
    if gallery:
        from bench.data import data_root as root_of  # takes a second: it brings torch
        from bench.gallery_page import block

        _load_plugins(plugin)
        with console.status("asking the trained methods") as status:
            ask = lambda one: block(one, results, root_of(data_root), status.update)  # noqa: E731
            written = report_.write(results, out, reference=reference, gallery=ask, frame=frame)
    else:
        written = report_.write(results, out, reference=reference, frame=frame)
    console.print(report_.console_table(frame))
    if not any(path.suffix == ".parquet" for path in written):
        console.print(
            "no records.parquet without pyarrow: pip install 'cmer-bench\\[parquet]'",
            highlight=False,
        )
    console.print(f"wrote {len(written)} files; read {out / 'report.md'} or {out / 'index.html'}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A record.")],
    b: Annotated[Path, typer.Argument(help="Another one of the same test set.")],
    pictures: Annotated[
        Path | None,
        typer.Option(help="A PNG of queries won and lost; needs weights beside both, and data."),
    ] = None,
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Two trained methods, query by query: bootstrap, permutation test, queries won and lost."""
    from bench import compare as compare_

    console, found = _console(), compare_.compare(a, b)
    console.print(compare_.table(found))
    if pictures is None:
        return
    from bench import wonlost
    from bench.data import data_root as root_of

    _load_plugins(plugin)
    with console.status("encoding"):
        drawn = wonlost.draw(found, a, b, root_of(data_root))
    pictures.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(pictures, format="PNG")
    console.print(f"wrote {pictures}")


@app.command()
def plan(
    sweep: Sweep = None,
    methods: Methods = None,
    dataset: Datasets = None,
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
    import itertools
    import json
    from dataclasses import asdict

    from rich.progress import Progress

    from bench import plan as plan_

    limit = None if gpu_memory is None else plan_.memory_of(gpu_memory)
    wish = _wish(sweep, methods, dataset, "0", backbone, recipe, data_root, None, plugin)()
    planned = _planned(wish, rehearse=True)
    with Progress(console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task("predicting")

        def move(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=f"predicting {what}")

        rows = plan_.plan(planned.trials, limit, planned.root, move)
    if json_:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        for _, place in itertools.groupby(rows, key=lambda row: (row.dataset, row.backbone)):
            _console().print(plan_.table(list(place)))


@app.command()
def validate(
    method: Annotated[str, typer.Argument(help="A method call, or a Python file that makes one.")],
    plugin: Plugins = None,
) -> None:
    """Check a method against the contract, on small models of three kinds, on the CPU."""
    from bench.contract import check_method, table
    from bench.spec import parse_calls, resolve
    from methods import registry

    before = set(registry())
    _load_plugins(plugin)
    if method.endswith(".py"):
        if not Path(method).is_file():
            raise UserError(f"there is no file {method!r}; give a Python file or a method's name")
        _load_plugins([Path(method)])
        calls: list[tuple[str, dict[str, Any]]] = [(n, {}) for n in registry() if n not in before]
        if not calls:
            raise UserError(f"{method} registers no method; put @register('name') on its class")
    else:
        calls = parse_calls(method)
    console, failed = _console(), 0
    for name, given in calls:
        call = resolve(name, given, registry())
        results = check_method(registry()[name], dict(call.settings))
        console.print(table(results, call.text))
        failed += sum(result.passed is False for result in results)
    console.print("all checks passed" if not failed else f"{failed} checks failed")
    raise typer.Exit(1 if failed else 0)


@app.command()
def retrieve(
    record: Annotated[Path, typer.Argument(help="A record; its weights lie beside it.")],
    query: Annotated[str | None, typer.Argument(help="A text, to find images for.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="An image file, or a test image's name: find captions.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 10,
    focus: Annotated[bool, typer.Option("--focus", help="Draw where the method looks.")] = False,
    out: Annotated[Path, typer.Option(help="The picture sheet, a PNG.")] = Path("retrieved.png"),
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Ask a trained method: the top test images for a text, or captions for an image."""
    if (query is None or not query.strip()) == (image is None):
        raise UserError('give either a text to find images for ("many planes") or --image FILE')
    from bench import retrieve as retrieve_
    from bench.data import data_root as root_of
    from bench.restore import restore

    _load_plugins(plugin)
    console = _console()
    with console.status("encoding"):
        restored = restore(record, root_of(data_root))
        if image is None:
            answer = retrieve_.images_for(restored, query or "", top)
        else:
            answer = retrieve_.captions_for(restored, image, top)
        drawn = retrieve_.draw(restored, answer, focus)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(out, format="PNG")
    console.print(retrieve_.table(restored, answer))
    console.print(f"wrote {out}")


@app.command()
def export(
    record: Annotated[Path, typer.Argument(help="A record; its weights lie beside it.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    plugin: Plugins = None,
) -> None:
    """Write a trained adapter as safetensors with a card; LoRA in peft's own format too."""
    from bench.export import export as export_

    _load_plugins(plugin)
    written = export_(record, out)
    _console().print(f"wrote {', '.join(path.name for path in written)} to {out}")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method.")] = None, plugin: Plugins = None
) -> None:
    """List the methods; with NAME its settings, defaults and paper."""
    import inspect

    from rich.table import Table

    from bench.spec import defaults, nearest
    from methods import load_plugin, registry

    for path in plugin or []:
        load_plugin(path)
    known = registry()
    console = _console()
    if name is None:
        table = Table("method", "what", "paper")
        for key, cls in known.items():
            first = (inspect.getdoc(cls) or "").splitlines()[0]
            table.add_row(key, first, f"{cls.paper.year}  {cls.paper.link}" if cls.paper else "")
        console.print(table)
        return
    if name not in known:
        raise UserError(f"no method is called {name!r}{nearest(name, known)}")
    cls = known[name]
    console.print(f"[bold]{name}[/]\n{inspect.getdoc(cls)}\n", highlight=False)
    if cls.paper:
        console.print(f"{cls.paper.title} ({cls.paper.year}), {cls.paper.link}\n", highlight=False)
    table = Table("setting", "default", "type")
    kinds = inspect.get_annotations(cls.__init__)
    for setting, default in defaults(cls).items():
        table.add_row(
            setting, repr(default), inspect.formatannotation(kinds.get(setting, type(default)))
        )
    rate = "nothing is trained" if cls.lr is None else f"{cls.lr:g}"
    table.add_row("lr", rate, "learning rate; may be given in the call")
    console.print(table)


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set.")] = None, data_root: Root = None
) -> None:
    """List the data sets and whether they are there; with NAME all that its card says."""
    from rich.table import Table

    from bench import data
    from bench.forms import SPLITS

    root = data.data_root(data_root)
    console = _console()
    if name is None:
        table = Table("data set", "title", "train", "val", "test", f"found in {root}")
        for key, one in data.cards().items():
            counts = [str(one.counts.get(split, "-")) for split in SPLITS]
            table.add_row(key, str(one.raw.get("title", "")), *counts, _found(one, root))
        console.print(table)
        console.print("-: none published; 10% of train, chosen by a hash of the file name, serves")
        return
    card = data.card(name)
    for key, value in card.raw.items():
        console.print(f"[bold]{key}[/]: {value}", highlight=False)
    dataset: Dataset = data.load(card, root)
    scenes = ", ".join(dataset.scenes)
    console.print(
        f"[bold]found[/]: {len(dataset.samples)} images; scenes: {scenes}", highlight=False
    )
    for note in dataset.notes:
        console.print(note, highlight=False)


def _load_plugins(paths: list[Path] | None) -> None:
    from methods import load_plugin

    for path in paths or []:
        try:
            load_plugin(path)
        except (OSError, SyntaxError, ImportError, ValueError) as error:
            raise UserError(f"the plug-in {path} cannot be loaded: {error}") from None


def _found(card: Any, root: Path) -> str:
    from bench import data

    try:
        data.load(card, root)
    except UserError as error:
        return "no" if "is not there" in str(error) else "incomplete"
    return "yes"


def _console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)


def main() -> None:
    """Run the command; what a user can mend is one sentence and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
