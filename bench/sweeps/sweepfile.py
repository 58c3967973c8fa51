"""Sweep files: a TOML with everything that `bench run`, `plan` and `tune` can be told."""

import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from annotated_types import Ge, Gt, Le, Lt, MinLen, Predicate
from typing_extensions import TypedDict  # the one pydantic reads on every Python

from bench import UserError, at_home, demand_text
from bench.recipe import Recipe, merge_recipe, parse_recipe
from bench.spec import LARGEST_WHOLE
from bench.units import exact_seconds, parse_seconds

LARGEST_SEED = LARGEST_WHOLE
"""Records hold the seed. Torch takes seeds of 64 bits."""
NO_OTHER_KEYS = {"extra": "forbid"}


def _passes(check: Callable[[Any], object]) -> Predicate:
    """A condition on the value of a key: that this function raises no UserError for it."""

    def passes(value: Any) -> bool:
        try:
            check(value)
        except UserError as error:
            raise ValueError(error) from None  # which pydantic lists with the other faults
        return True

    return Predicate(passes)


Text = Annotated[str, _passes(lambda text: demand_text(text, "it"))]
Texts = list[Text] | Text
Count = Annotated[int, Ge(1), Le(LARGEST_WHOLE)]
Seed = Annotated[int, Ge(0), Le(LARGEST_SEED)]
Seeds = Annotated[list[Seed] | str, _passes(lambda seeds: parse_seeds(seeds))]
Time = Annotated[str, _passes(lambda text: parse_seconds(text, "it"))]
RecipeTable = Annotated[dict[str, Any], _passes(lambda table: _check_recipe(table))]
SlurmTable = Annotated[dict[str, Any], _passes(lambda table: _check_texts(table))]


class EngineOptions(TypedDict, total=False):
    """Where the trials run."""

    engine: Text
    """local (this machine), ray (a Ray cluster) or slurm (a job array). Default: local."""
    gpus: Text
    """GPUs to use: 0,1, all, or none for the CPU. Default: all visible ones, else the CPU."""
    jobs_per_gpu: Count
    """Trials at once on each GPU, or on the CPU. Default: 1."""
    ray_address: Text
    """A running Ray cluster: auto or ray://HOST:10001. Default: one on this machine."""
    slurm: SlurmTable
    """Options of sbatch, by name: partition, time, gpus, cpus, memory_gb, account, ..."""


class SearchConfig(TypedDict, total=False):
    """The table [search] of a sweep file: what `bench tune` searches, and how much."""

    __pydantic_config__ = NO_OTHER_KEYS  # type: ignore[misc]

    factors: Annotated[list[Annotated[float, Gt(0), Lt(math.inf)]], MinLen(1)]
    """Learning rates to try, as factors on each method's own. Default: 0.3, 1, 3."""
    settings: list[Text]
    """Calls with settings to try as well: lora(rank=[4,8,16])."""
    trials: Count
    """Points that each method starts with. Default: the size of the smallest grid."""
    max_points: Count
    """Points that each method may have at most. Default: two thirds more than at the start."""
    draw_seed: Seed
    """Seed with which `trials` points are drawn from a larger grid. Default: 0."""
    seeds: Seeds
    """Seeds of the search. Default: those of the sweep."""
    recipe: RecipeTable
    """Values of the recipe that differ in the search."""
    results: Text
    """Folder of the records of the search. Default: tuning."""


class SweepFile(EngineOptions, total=False):
    """The keys of a sweep file, and what each takes."""

    __pydantic_config__ = NO_OTHER_KEYS  # type: ignore[misc]

    methods: Texts
    """Methods with their settings: cmer, lora(rank=16), or all."""
    datasets: Texts
    """Data sets by name, or by the file of a card."""
    backbones: Texts
    """Pretrained models, as `bench backbones` lists them. Default: that of the data set."""
    seeds: Seeds
    """Seeds: [0, 1, 2] or 0-2. Default: 0."""
    recipe: RecipeTable
    """Training settings that all methods share; `bench recipe` lists them."""
    data_root: Text
    """Folder that holds the data sets. Default: $BENCH_DATA, else ./data."""
    results: Text
    """Folder of the records. Default: results."""
    tuned: Text
    """File of learning rates and settings that `bench tune` wrote."""
    plugins: Texts
    """Python files that register methods of your own."""
    cache_features: Annotated[int, Ge(0), Le(LARGEST_WHOLE)]
    """Views of each image of which the outputs of frozen towers are stored. Default: 0."""
    corrupt: Text
    """Corruptions to test the trained methods under: blur,noise,cloud,jpeg,haze."""
    severity: Text
    """How strongly images are corrupted, 1 to 5. Default: 1,3,5."""
    time_limit: Time
    """Time after which a trial is ended: 2h, 1h30m, or 90 (minutes)."""
    checkpoint_every: Time
    """Time between the checkpoints of a trial. Default: 3m."""
    log: Texts
    """Trackers that show the curves: tensorboard, wandb, mlflow, trackio."""
    search: SearchConfig
    """What `bench tune` searches."""


SEARCH_ALONE = SearchConfig.__annotations__.keys() - SweepFile.__annotations__.keys()
KEYS = (*SweepFile.__annotations__, *SEARCH_ALONE)
"""What an option can be called that stands for a key of a sweep file or of its table [search]."""


@dataclass(frozen=True)
class SweepConfig:
    """A sweep: the sweep file, overridden by the options of the command line.

    Relative paths start where the command is run.
    """

    methods: str
    datasets: list[str]
    backbones: list[str] = field(default_factory=list)
    """Empty: for each data set the one that its card names."""
    seeds: list[int] = field(default_factory=lambda: [0])
    recipe: Recipe = field(default_factory=Recipe)
    data_root: Path | None = None
    """None: `$BENCH_DATA`, else `./data`."""
    results: Path = Path("results")
    tuned: Path | None = None
    plugins: list[Path] = field(default_factory=list)
    cache_features: int = 0
    corrupt: str = ""
    severity: str = "1,3,5"
    time_limit: float | None = None
    """Seconds after which a trial ends as `timeout`."""
    checkpoint_seconds: float = 180.0
    """Seconds between the checkpoints of a trial; 0: after each step."""
    log: str = ""
    """Names of trackers, with commas."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    search: SearchConfig = field(default_factory=SearchConfig)


def read(path: Path) -> dict[str, Any]:
    """What a sweep file says, by key; raises UserError if it cannot be read or has a fault."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            f"there is no sweep file {path}; methods are given with --methods, and an option such "
            "as --dry-run takes no value"
        ) from None
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as a sweep file ({error}); it must be TOML, see docs/running.md"
        ) from None
    from bench.faults import faults

    # Since there is an option --epochs, a key `epochs` is a likely mistake.
    parts = sorted(document.keys() & vars(Recipe()).keys())
    wrong = [f"{key!r} is a part of the recipe: write recipe = {{ {key} = ... }}" for key in parts]
    search = sorted(document.keys() & SEARCH_ALONE)
    wrong += [f"{key!r} is a key of the table [search]" for key in search]
    wrong += faults(SweepFile, {k: v for k, v in document.items() if k not in (*parts, *search)})
    if wrong:
        raise UserError(
            f"the sweep file {path} cannot be used: {'; '.join(wrong)}; docs/schemas/sweep.json "
            "explains each key"
        )
    return document


def _check_recipe(table: dict[str, Any]) -> None:
    """Raise UserError, naming every setting that a recipe lacks or that has a wrong value."""
    words, wrong = _assignments(table), list[str]()
    for word in words:
        try:
            parse_recipe([word])
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("; ".join(wrong))
    merge_recipe(Recipe(), words)


def _check_texts(values: dict[str, Any]) -> None:
    """Raise UserError for a value that is an empty text, or a list with one in it."""
    for key, value in values.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                demand_text(text, key)


def gather(file: Path | None, searching: bool = False, **options: Any) -> SweepConfig:
    """The sweep of a file (if any), overridden by the options of the command line.

    `options` has the keys of a file, with texts as they are typed: `datasets=["ucm,rsicd"]`,
    `seeds=["0-2"]`, `recipe` and `slurm` as lists of NAME=VALUE; None: not given. `searching`: the
    table [search] overrides seeds, recipe and results of the file. Raises UserError if neither
    names methods or data sets, and for a recipe that makes no sense.
    """
    values = read(file) if file is not None else {}
    options = _given(options)
    search: SearchConfig = values.get("search", {})
    for_search = {key: options.pop(key) for key in SEARCH_ALONE & options.keys()}
    recipe = merge_recipe(Recipe(), _assignments(values.get("recipe", {})))
    if searching:  # a search's records stay apart from the results, unless [search] says otherwise
        values = {**values, "results": search.get("results", "tuning")}
        values["seeds"] = search.get("seeds", values.get("seeds"))
        recipe = merge_recipe(recipe, _assignments(search.get("recipe", {})))
    recipe = parse_recipe(options.pop("recipe", []), recipe)
    engine_keys = EngineOptions.__annotations__
    if options.get("engine") not in (None, values.get("engine", "local")):
        # The engine options of the file are for another engine.
        values = {key: value for key, value in values.items() if key not in engine_keys}
    if options.get("slurm"):
        options["slurm"] = {**values.get("slurm", {}), **pairs(options["slurm"], "--slurm")}
    values |= options
    for key, option in (("methods", "--methods"), ("datasets", "--dataset")):
        if not values.get(key):
            problem = f"{file} names no {key}" if file else f"no {key} are named"
            raise UserError(f"{problem}; give {option}, or {key} = [...] in a sweep file")
    limit = values.get("time_limit")
    if limit is not None and not (limit := parse_seconds(limit, "--time-limit")):
        raise UserError("--time-limit must be above 0; leave it out for no limit")
    if limit is not None and recipe.time is not None and limit <= recipe.time:
        raise UserError(
            "--time-limit would end each trial before its training is over, which takes "
            f"time={exact_seconds(recipe.time)}; give a longer limit"
        )
    return SweepConfig(
        methods=",".join(_list(values["methods"])),
        datasets=list(dict.fromkeys(map(_at_home, _list(values["datasets"])))),
        backbones=list(dict.fromkeys(map(_at_home, _list(values.get("backbones", []))))),
        seeds=parse_seeds([0] if values.get("seeds") is None else values["seeds"]),
        recipe=recipe,
        data_root=at_home(values["data_root"]) if "data_root" in values else None,
        results=at_home(values.get("results", "results")),
        tuned=at_home(values["tuned"]) if "tuned" in values else None,
        plugins=[at_home(word) for word in _list(values.get("plugins", []))],
        cache_features=values.get("cache_features", 0),
        corrupt=values.get("corrupt", ""),
        severity=values.get("severity", "1,3,5"),
        time_limit=limit,
        checkpoint_seconds=parse_seconds(
            values.get("checkpoint_every", "3m"), "--checkpoint-every"
        ),
        log=",".join(_list(values.get("log", []))),
        engine=cast(EngineOptions, {key: values[key] for key in engine_keys if key in values}),
        search=cast(SearchConfig, {**search, **for_search}),
    )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, with lists split at their commas; raises UserError."""
    given = {key: value for key, value in options.items() if value not in (None, [])}
    _check_texts(given)
    for key, value in given.items():
        if key in ("datasets", "backbones", "log"):
            given[key] = [word for text in value for word in _split(text)]
            if not given[key]:
                option = f"--{key.removesuffix('s')}"
                raise UserError(f"{option} names nothing; leave it out for the default")
        if key == "factors":
            given[key] = _factors(value)
    return given


def _factors(text: str) -> list[float]:
    """`0.3,1,3` -> numbers; raises UserError."""
    try:
        factors = [float(word) for word in text.split(",")]
    except ValueError:
        factors = []
    valid = all(0 < factor < math.inf for factor in factors)
    if not factors or not valid or len(set(factors)) < len(factors):
        raise UserError(f"--factors are different numbers above 0 with commas, not {text!r}")
    return factors


def parse_seeds(seeds: list[int] | list[str] | str) -> list[int]:
    """`0,1,2`, `0-2` or `[0, 1, 2]` -> whole numbers; raises UserError."""
    words = [word for part in _list(seeds) for word in _split(str(part))]
    numbers: list[int] = []
    for word in words:
        match = re.fullmatch(r"(\d{1,99})(?:\s*-\s*(\d{1,99}))?", word)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UserError(
                f"seeds are whole numbers from 0, such as 0,1,2 or 0-2, not {word[:99]!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last > LARGEST_SEED:
            raise UserError(f"a seed is at most {LARGEST_SEED}, not {last}")
        if last - first >= 10_000:
            raise UserError(f"{word} is {last - first + 1:,} seeds; name fewer")
        numbers += range(first, last + 1)
    if not numbers:
        raise UserError("no seed is named; write for instance --seeds 0,1,2")
    if len(set(numbers)) < len(numbers):
        raise UserError(f"a seed is named twice in {','.join(words)}; name each seed once")
    return numbers


def _split(text: str) -> list[str]:
    """`ucm, rsicd` -> `["ucm", "rsicd"]`; a comma in brackets does not separate."""
    return [word.strip() for word in re.split(r",(?![^(\[]*[)\]])", text) if word.strip()]


def pairs(texts: list[str], option: str) -> dict[str, Any]:
    """`["partition=gpu", "time=720"]` -> a dict, whole numbers as such; raises UserError."""
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(f"write {option} NAME=VALUE, not {text!r}")
        values[name.strip()] = int(value) if re.fullmatch(r"\d{1,15}", value) else value
    return values


def _assignments(recipe: dict[str, Any]) -> list[str]:
    """A recipe table as NAME=VALUE words, as --recipe takes them."""
    return [f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in recipe.items()]


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def _at_home(spec: str) -> str:
    """Expand the `~` in `ViT-B-32:~/mine.pt`, which a shell does not do within a word."""
    name, tilde, path = spec.partition("~/")
    return f"{name}{at_home(f'~/{path}')}" if tilde and name[-1:] in ("", ":") else spec
