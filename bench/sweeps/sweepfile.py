"""Sweep files: a TOML with everything that `bench run`, `plan` and `tune` can be told."""

import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import UserError, at_home
from bench.recipe import Recipe, merge_recipe, parse_recipe
from bench.spec import nearest

LARGEST_SEED = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly, a browser included; records
hold the seed. Torch takes seeds of 64 bits."""


@dataclass(frozen=True)
class SweepConfig:
    """A sweep: what the sweep file says, and the command line's options over it.

    `search` is the file's table for `bench tune`. Relative paths start where the command is run.
    """

    methods: str
    datasets: list[str]
    backbones: list[str]
    """[]: of each data set the one that its card names."""
    seeds: list[int]
    recipe: Recipe
    data_root: Path | None
    results: Path
    tuned: Path | None
    plugins: list[Path]
    cache_features: int = 0
    corrupt: str = ""
    severity: str = "1,3,5"
    time_limit: str | None = None
    checkpoint_every: str = "3m"
    log: str = ""
    """Trackers, with commas."""
    engine: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    words = [value] if isinstance(value, str) else value
    return isinstance(words, list) and bool(words) and all(map(_is_text, words))


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_seeds(value: Any) -> bool:
    whole = isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)
    return _is_text(value) or (whole and 0 < len(value) == len(set(value)))


def _is_factors(value: Any) -> bool:
    right = isinstance(value, list) and all(_is_number(v) and 0 < v < math.inf for v in value)
    return right and 0 < len(value) == len(set(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


Rule = tuple[Callable[[Any], bool], str]
TEXT: Rule = (_is_text, "a text")
TEXTS: Rule = (_is_texts, "a list of texts")
COUNT: Rule = (_is_count, "a whole number above 0")
SEEDS: Rule = (_is_seeds, "a list of different whole numbers from 0")
TABLE: Rule = (_is_table, "a table of name = value")
KEYS: dict[str, Rule] = {
    "methods": TEXTS,
    "datasets": TEXTS,
    "backbones": TEXTS,
    "seeds": SEEDS,
    "recipe": TABLE,
    "data_root": TEXT,
    "results": TEXT,
    "tuned": TEXT,
    "plugins": TEXTS,
    "cache_features": COUNT,
    "corrupt": TEXT,
    "severity": TEXT,
    "time_limit": TEXT,
    "checkpoint_every": TEXT,
    "log": TEXTS,
    "engine": TEXT,
    "gpus": TEXT,
    "jobs_per_gpu": COUNT,
    "ray_address": TEXT,
    "slurm": TABLE,
    "search": TABLE,
}
ENGINE = ("engine", "gpus", "jobs_per_gpu", "ray_address", "slurm")
SEARCH: dict[str, Rule] = {
    "factors": (_is_factors, "a list of different numbers above 0"),
    "settings": TEXTS,
    "trials": COUNT,
    "max_points": COUNT,
    "draw_seed": (lambda value: type(value) is int and value >= 0, "a whole number from 0"),
    "seeds": SEEDS,
    "recipe": TABLE,
    "results": TEXT,
}


def read(path: Path) -> dict[str, Any]:
    """What a sweep file says, by key; raises UserError for what it cannot say."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if str(path).lower() in ("true", "false", "yes", "no", "1", "0"):
            raise UserError(
                f"an option such as --dry-run takes no value; leave {str(path)!r} out"
            ) from None
        raise UserError(
            f"there is no sweep file {path}; methods are given with --methods"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no sweep file ({error}); it is a TOML, see README") from None
    _check(said, KEYS, str(path))
    _check(said.get("search", {}), SEARCH, f"[search] of {path}")
    return said


def _check(said: dict[str, Any], keys: dict[str, Rule], where: str) -> None:
    for key, value in said.items():
        if key not in keys:
            known = ", ".join(keys)
            raise UserError(f"{where} has an unknown {key!r}{nearest(key, keys)}; known: {known}")
        right, what = keys[key]
        if not right(value):
            raise UserError(f"{key} in {where} is {what}, not {value!r}")


def gather(file: Path | None, searching: bool = False, **given: Any) -> SweepConfig:
    """The sweep of a file (or none) with the command line's words over it; None: not given.

    `given` has the keys of a file, with texts as they are typed: `datasets=["ucm,rsicd"]`,
    `seeds=["0-2"]`, `recipe` and `slurm` as lists of NAME=VALUE. `searching`: the seeds, recipe and
    results of [search] count. Raises UserError where neither names methods or data sets, and for a
    recipe that makes no sense.
    """
    said = read(file) if file is not None else {}
    given = {key: value for key, value in given.items() if value not in (None, [])}
    for key in ("datasets", "backbones"):
        if key in given:
            given[key] = [word for text in given[key] for word in _split(text)]
    search = said.get("search", {})
    recipe = merge_recipe(Recipe(), _words(said.get("recipe", {})))
    if searching:  # a search's records are no results: they lie elsewhere unless it says so
        said = {**said, "results": search.get("results", "tuning")}
        said["seeds"] = search.get("seeds", said.get("seeds"))
        recipe = merge_recipe(recipe, _words(search.get("recipe", {})))
    recipe = parse_recipe(given.pop("recipe", []), recipe)
    if given.get("engine") not in (None, said.get("engine", "local")):
        for key in ENGINE:  # what the file says is for its own engine
            said.pop(key, None)
    if given.get("slurm"):
        given["slurm"] = {**said.get("slurm", {}), **pairs(given["slurm"], "--slurm")}
    said |= given
    for key, option in (("methods", "--methods"), ("datasets", "--dataset")):
        if not said.get(key):
            place = f"{file} names no {key}" if file else f"no {key} are named"
            raise UserError(f"{place}; give {option}, or {key} = [...] in a sweep file")
    if said.get("log") and not any(map(str.strip, _list(said["log"]))):
        raise UserError("--log names no tracker; leave it out for none")
    return SweepConfig(
        methods=",".join(_list(said["methods"])),
        datasets=list(dict.fromkeys(map(_at_home, _list(said["datasets"])))),
        backbones=list(dict.fromkeys(map(_at_home, _list(said.get("backbones") or [])))),
        seeds=parse_seeds(said.get("seeds") or [0]),
        recipe=recipe,
        data_root=_path(said.get("data_root")),
        results=at_home(said.get("results") or "results"),
        tuned=_path(said.get("tuned")),
        plugins=[at_home(word) for word in _list(said.get("plugins") or [])],
        cache_features=said.get("cache_features") or 0,
        corrupt=said.get("corrupt") or "",
        severity=said.get("severity") or "1,3,5",
        time_limit=said.get("time_limit"),
        checkpoint_every=said.get("checkpoint_every") or "3m",
        log=",".join(_list(said.get("log") or [])),
        engine={key: said[key] for key in ENGINE if key in said},
        search=search,
    )


def parse_seeds(said: list[int] | list[str] | str) -> list[int]:
    """`0,1,2`, `0-2` or `[0, 1, 2]` -> whole numbers; raises UserError."""
    words = [word for part in _list(said) for word in _split(str(part))]
    seeds: list[int] = []
    for word in words:
        found = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", word)
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise UserError(f"seeds are whole numbers from 0, such as 0,1,2 or 0-2, not {word!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if last > LARGEST_SEED:
            raise UserError(f"a seed is at most {LARGEST_SEED}, not {last}")
        if last - first >= 10_000:
            raise UserError(f"{word} is {last - first + 1:,} seeds; name fewer")
        seeds += range(first, last + 1)
    if not seeds:
        raise UserError("no seed is named; write for instance --seeds 0,1,2")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"a seed is named twice in {','.join(words)}; name each seed once")
    return seeds


def _split(text: str) -> list[str]:
    """`ucm, rsicd` -> its parts; commas in brackets do not part."""
    return [word.strip() for word in re.split(r",(?![^(\[]*[)\]])", text) if word.strip()]


def pairs(texts: list[str], option: str) -> dict[str, Any]:
    """`["partition=gpu", "time=720"]` -> a dict, whole numbers as such; raises UserError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(f"write {option} NAME=VALUE, not {text!r}")
        found[name.strip()] = int(value) if value.isdecimal() else value
    return found


def _words(recipe: dict[str, Any]) -> list[str]:
    """A table as what --recipe takes."""
    return [f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in recipe.items()]


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def _path(value: Any) -> Path | None:
    return None if value is None else at_home(value)


def _at_home(spec: str) -> str:
    """`ViT-B-32:~/mine.pt` with the home folder, which a shell would not look for there."""
    name, tilde, path = spec.partition("~/")
    return f"{name}{at_home(f'~/{path}')}" if tilde and name[-1:] in ("", ":") else spec
