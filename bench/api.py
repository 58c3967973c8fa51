"""The functions for Python users: `bench.run`, `bench.records` and `bench.load`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import typer

from bench import UserError, at_home
from bench import record as record_
from bench.commands.sweeping import planned_with_engine, run_trials
from bench.console import console
from bench.sweeps import sweepfile

if TYPE_CHECKING:
    from bench.trained.model import TrainedModel


def records(results: str | Path = "results") -> pd.DataFrame:
    """All records below a folder as a table: one row per trial.

    Columns join nested keys with a dot: `trial.dataset`, `trial.method`, `trial.seed`, `status`,
    `metrics.test.mR` (percent), `efficiency.peak_memory_train_bytes` and so on; `path` is the
    record's file, which `load` takes, and `record` the whole record as a dict. Raises UserError
    if there is no such folder.
    """
    folder = at_home(results)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of the records")
    return _table(folder)


def load(
    record: str | Path, device: str | None = None, backbone: str | None = None
) -> "TrainedModel":
    """A trained model, ready to encode and search, from a record of `bench run`.

    `record` is a `seed*.json`, with the trained weights next to it; the folder of a `bench export`;
    or `hf:OWNER/NAME` (or `hf:OWNER/NAME@REVISION`) for a model that was pushed to the Hugging Face
    Hub, which is downloaded once. `device`: "cuda", "cpu" or another device of torch; None: the GPU
    if there is one. `backbone`: its spec, if its weights are not where the record says. Raises
    UserError if the record, its weights or the backbone are missing.
    """
    from bench.trained import hub_model
    from bench.trained.model import TrainedModel

    pushed = isinstance(record, str) and record.startswith(hub_model.PREFIX)
    path = hub_model.folder_of(str(record)) if pushed else at_home(record)
    return TrainedModel(path, device, backbone)


def run(
    methods: str | Sequence[str],
    dataset: str | Path | Sequence[str | Path],
    *,
    seeds: int | str | Sequence[int] = 0,
    backbone: str | Sequence[str] | None = None,
    recipe: str | Mapping[str, object] | None = None,
    results: str | Path = "results",
    data_root: str | Path | None = None,
    plugins: str | Path | Sequence[str | Path] = (),
    cache_features: int = 0,
    gpus: int | str | None = None,
    jobs_per_gpu: int = 1,
    time_limit: int | str | None = None,
    log: str | Sequence[str] | None = None,
    rerun: bool = False,
    retry_failed: bool = False,
) -> pd.DataFrame:
    """Train and test methods, as `bench run` does, and return the records of these trials.

    Arguments are as on the command line: `methods="cmer,lora(rank=16)"`, `dataset="rsitmd"`,
    `recipe={"epochs": 10}`. Each trial runs in a process of its own; what is recorded in `results`
    already is not run again. `log` names trackers to show the curves in: `log="tensorboard"`. Rows
    are as in `records`; a trial that failed is a row with its `status` and `message`. Raises
    UserError if nothing can run.
    """
    config = sweepfile.gather(
        None,
        methods=_texts(methods),
        datasets=_texts(dataset),
        seeds=[str(seeds)] if isinstance(seeds, int | str) else [str(seed) for seed in seeds],
        backbones=None if backbone is None else _texts(backbone),
        recipe=_recipe_words(recipe),
        results=str(results),
        data_root=None if data_root is None else str(data_root),
        plugins=_texts(plugins),
        cache_features=int(cache_features) or None,
        gpus=None if gpus is None else str(gpus),
        jobs_per_gpu=None if jobs_per_gpu == 1 else jobs_per_gpu,
        time_limit=None if time_limit is None else str(time_limit),
        log=None if log is None else _texts(log),
    )
    plan, engine = planned_with_engine(config)
    todo = plan.todo(rerun, retry_failed)
    try:
        outcomes = run_trials(console(), plan, todo, engine, log=config.log) if todo else []
    except typer.Exit:  # Ctrl-C; `run_trials` has printed what is left
        raise KeyboardInterrupt from None
    for outcome in outcomes:
        if outcome.status == "user_error":
            raise UserError(outcome.message or "a trial could not run")
    return _table(plan.results, [trial.path(plan.results) for trial in plan.trials])


def _table(folder: Path, only: Sequence[Path] | None = None) -> pd.DataFrame:
    """The records in a folder as rows; `only`: those of these paths, in this order."""
    frame = record_.load(folder, only=only)
    if len(frame):
        frame["path"] = [str(folder / path) for path in frame["path"]]
    return frame


def _texts(texts: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(texts)] if isinstance(texts, str | Path) else [str(text) for text in texts]


def _recipe_words(recipe: str | Mapping[str, object] | None) -> list[str]:
    """`{"epochs": 10}` -> `["epochs=10"]`, as --recipe takes it."""
    if recipe is None:
        return []
    return [recipe] if isinstance(recipe, str) else [f"{k}={v}" for k, v in recipe.items()]
