"""A benchmark of ways to fit vision-language models to remote-sensing text-image retrieval.

From Python:

    import bench

    frame = bench.run("cmer,lora", "synthetic", backbone="starter", recipe={"steps": 24})
    model = bench.load(frame["path"][0])
    model.search("many planes beside a runway", ["a.jpg", "b.jpg"])
    frame = bench.records("results")
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bench.trained.model import TrainedModel

__version__ = "0.2.0"
__all__ = ["UserError", "__version__", "load", "records", "run"]


class UserError(Exception):
    """Something the user can mend; the message is one sentence with the remedy."""


def brief(error: object) -> str:
    """The text of somebody else's error, in one line of at most 200 letters."""
    return textwrap.shorten(str(error), 200, placeholder=" ...")


def at_home(path: str | Path) -> Path:
    """A path with ~ as the home folder; raises UserError where there is no home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"there is no home folder to stand for ~ in {path}; write the whole path, or set HOME"
        ) from None


# The functions for Python users. They import what they need when called, so that `import bench`
# takes milliseconds, not the seconds of torch.


def records(results: str | Path = "results") -> "pd.DataFrame":
    """All records below a folder as a table: one row per trial.

    Columns join nested keys with a dot: `trial.dataset`, `trial.method`, `trial.seed`, `status`,
    `metrics.test.mR` (percent), `efficiency.peak_memory_train_bytes` and so on; `path` is the
    record's file, which `load` takes, and `record` the whole record as a dict. Raises UserError
    where there is no such folder.
    """
    from bench import api

    return api.records(at_home(results))


def load(
    record: str | Path, device: str | None = None, backbone: str | None = None
) -> "TrainedModel":
    """A trained model, ready to encode and search, from a record of `bench run`.

    `record` is a `seed*.json`, whose trained weights lie beside it, or the folder of a `bench
    export`. `device` is torch's name for where it runs ("cuda", "cpu"); None: the GPU if there is
    one. `backbone` says where the weights of the backbone are, if not where the record says. Raises
    UserError where the record or its weights are missing or the backbone cannot be had.
    """
    from bench.trained.model import TrainedModel

    return TrainedModel.load(at_home(record), device, backbone)


def run(
    methods: str | Sequence[str],
    dataset: str | Sequence[str],
    *,
    seeds: int | str | Sequence[int] = 0,
    backbone: str | Sequence[str] | None = None,
    recipe: str | Mapping[str, object] | None = None,
    results: str | Path = "results",
    data_root: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    cache_features: int = 0,
    gpus: str | None = None,
    jobs_per_gpu: int = 1,
    time_limit: str | None = None,
    rerun: bool = False,
    retry_failed: bool = False,
) -> "pd.DataFrame":
    """Train and test methods, as `bench run` does, and return the records of these trials.

    The words are those of the command: `methods="cmer,lora(rank=16)"`, `dataset="rsitmd"`,
    `recipe={"epochs": 10}`. Each trial runs in a process of its own; what is recorded in `results`
    already is not run again. Rows are as in `records`; a trial that failed is a row with its
    `status` and `message`. Raises UserError where nothing can run.
    """
    from bench import api

    return api.run(
        methods,
        dataset,
        seeds=seeds,
        backbone=backbone,
        recipe=recipe,
        results=results,
        data_root=data_root,
        plugins=plugins,
        cache_features=cache_features,
        gpus=gpus,
        jobs_per_gpu=jobs_per_gpu,
        time_limit=time_limit,
        rerun=rerun,
        retry_failed=retry_failed,
    )
