"""What `bench.run` and `bench.records` do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import typer

from bench import UserError
from bench import record as record_
from bench.commands.sweeping import planned_with_engine, run_trials
from bench.console import console
from bench.sweeps import forkserver, sweepfile


def records(results: Path) -> pd.DataFrame:
    """See `bench.records`."""
    if not results.is_dir():
        raise UserError(f"there is no folder {results}; give the folder of the records")
    frame = record_.load(results)
    if len(frame):
        frame["path"] = [str(results / path) for path in frame["path"]]
    return frame


def run(
    methods: str | Sequence[str],
    dataset: str | Sequence[str],
    *,
    seeds: int | str | Sequence[int],
    backbone: str | Sequence[str] | None,
    recipe: str | Mapping[str, object] | None,
    results: str | Path,
    data_root: str | Path | None,
    plugins: Sequence[str | Path],
    cache_features: int,
    gpus: str | None,
    jobs_per_gpu: int,
    time_limit: str | None,
    rerun: bool,
    retry_failed: bool,
) -> pd.DataFrame:
    """See `bench.run`."""
    config = sweepfile.gather(
        None,
        methods=_texts(methods),
        datasets=_texts(dataset),
        seeds=[str(seeds)] if isinstance(seeds, int | str) else [str(seed) for seed in seeds],
        backbones=None if backbone is None else _texts(backbone),
        recipe=_recipe_words(recipe),
        results=str(results),
        data_root=None if data_root is None else str(data_root),
        plugins=[str(plugin) for plugin in plugins],
        cache_features=cache_features or None,
        gpus=gpus,
        jobs_per_gpu=None if jobs_per_gpu == 1 else jobs_per_gpu,
        time_limit=time_limit,
    )
    forkserver.warm_up()
    plan, engine = planned_with_engine(config)
    todo = plan.todo(rerun, retry_failed)
    try:
        outcomes = run_trials(console(), plan, todo, engine) if todo else []
    except typer.Exit:  # it has said what is left
        raise KeyboardInterrupt from None
    for outcome in outcomes:
        if outcome.status == "user_error":
            raise UserError(outcome.message or "a trial could not run")
    frame = records(plan.results)
    if not len(frame):
        return frame
    place = {trial.identity: number for number, trial in enumerate(plan.trials)}
    rows = frame[frame["identity"].isin(place)]
    in_order = rows["identity"].map(place).sort_values().index
    return rows.loc[in_order].reset_index(drop=True)


def _texts(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _recipe_words(recipe: str | Mapping[str, object] | None) -> list[str]:
    """`{"epochs": 10}` -> `["epochs=10"]`, as --recipe takes it."""
    if recipe is None:
        return []
    return [recipe] if isinstance(recipe, str) else [f"{k}={v}" for k, v in recipe.items()]
