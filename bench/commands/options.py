"""The options that several commands share.

`bench plan`, `run` and `tune` take their options as one object each: `SweepOptions` holds what all
three share, `TrainOptions` what the two that train share. A field with the name of a key of sweep
files (methods, datasets, ...) overrides that key.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.framework import option, option_name
from bench.sweeps import sweepfile

if TYPE_CHECKING:
    from bench.sweeps.sweepfile import SweepConfig

WHAT = "What to run"
TRAINING = "How to train"
FILES = "Files and folders"
ENGINE = "Where trials run"
AGAIN = "Running again"

OF_A_SEARCH = ("epochs", "steps", "lr", "track")
"""Settings of the recipe that are not in the `bench run` which `bench tune` prints at its end: a
search is often shorter than the training that it is for, it finds the learning rate, and it must
not train on the validation images. `time` and `memory` stay, since they are the budget that methods
are compared under."""

Root = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Folder that holds the data sets. Default: $BENCH_DATA, else ./data.",
        rich_help_panel=FILES,
    ),
]
Results = Annotated[
    Path,
    typer.Option("--results", metavar="DIR", help="Folder of the records.", rich_help_panel=FILES),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="A Python file that registers methods of your own; repeatable.",
        rich_help_panel=FILES,
    ),
]
Which = Annotated[
    str,
    typer.Argument(
        metavar="RECORD",
        help="A record (seed*.json) or a folder that holds it, such as ucm/starter/cmer below "
        "--results; the trained weights lie beside it.",
    ),
]
SeedOf = Annotated[
    int | None, typer.Option("--seed", help="Which seed, where a folder holds several.")
]
ConditionsOf = Annotated[
    str | None,
    typer.Option(
        "--conditions",
        metavar="LIST",
        help="Which recipe, where a folder holds records of several: 'steps=200'.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What to run: the options that `bench run`, `tune` and `plan` share. None: not given."""

    sweep: Annotated[
        Path | None,
        typer.Argument(
            metavar="SWEEP.toml",
            help="A sweep file with such options as keys. Options given here override it.",
        ),
    ] = None
    methods: list[str] | None = option(
        "Methods, with settings in brackets: 'cmer,lora(rank=16)', or all; repeatable. "
        "See `bench methods`.",
        metavar="LIST",
        panel=WHAT,
    )
    datasets: list[str] | None = option(
        "Data sets: rsitmd,ucm, or a card of your own (mine.toml); repeatable. "
        "See `bench datasets`.",
        "--dataset",
        metavar="LIST",
        panel=WHAT,
    )
    seeds: list[str] | None = option("Seeds: 0,1,2 or 0-2. Default: 0.", metavar="LIST", panel=WHAT)
    backbones: list[str] | None = option(
        "Pretrained models: openai-b32, remoteclip-b32 (all: `bench backbones`), or ARCHITECTURE:"
        "WEIGHTS, where weights are a tag of open_clip, a file, hf:OWNER/REPO/FILE, or none for "
        "random ones; repeatable. Default: that of the data set.",
        "--backbone",
        metavar="LIST",
        panel=WHAT,
    )
    recipe: list[str] | None = option(
        "Training settings that all methods share: epochs=10,warmup=0.1; repeatable. "
        "`bench recipe` lists them. The next four options are short for the commonest.",
        metavar="NAME=VALUE",
        panel=TRAINING,
    )
    epochs: str | None = option("Passes over the data. Default: 30.", metavar="N", panel=TRAINING)
    steps: str | None = option("Steps, instead of epochs.", metavar="N", panel=TRAINING)
    batch_size: str | None = option("Pairs in a step. Default: 128.", metavar="N", panel=TRAINING)
    lr: str | None = option(
        "Learning rate of every method. Default: each method's own.", metavar="RATE", panel=TRAINING
    )
    data_root: Root = None
    plugins: list[Path] | None = option(
        "A Python file that registers methods of your own; repeatable.",
        "--plugin",
        metavar="FILE.py",
        panel=FILES,
    )

    def recipe_words(self) -> list[str]:
        """`--recipe` and the options that stand for a part of it, as NAME=VALUE."""
        names = ("epochs", "steps", "batch_size", "lr")
        short = [f"{name}={value}" for name in names if (value := getattr(self, name)) is not None]
        return [*(self.recipe or []), *short]

    def config(self, searching: bool = False) -> "SweepConfig":
        """The sweep: what the sweep file says, with these options over it; raises UserError."""
        keys = {key: getattr(self, key) for key in sweepfile.KEYS if hasattr(self, key)}
        return sweepfile.gather(self.sweep, searching, **{**keys, "recipe": self.recipe_words()})


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SweepOptions):
    """What to run and where: the options that `bench run` and `bench tune` share."""

    deterministic: bool = option(
        "Use deterministic algorithms only (slower on a GPU).", panel=TRAINING, default=False
    )
    cache_features: int | None = option(
        "Run frozen towers once and train on their stored outputs, VIEWS augmentations "
        "per image (1: the centre crop). Default: 0, off.",
        metavar="VIEWS",
        min=0,
        panel=TRAINING,
    )
    engine: str | None = option(
        "local: this machine; ray: a Ray cluster; slurm: a Slurm job array. Default: local.",
        metavar="NAME",
        panel=ENGINE,
    )
    gpus: str | None = option(
        "GPUs to use: 0,1; all: all visible ones, and fail if there is none; none: the CPU. "
        "Default: all visible ones, else the CPU.",
        metavar="LIST",
        panel=ENGINE,
    )
    jobs_per_gpu: int | None = option(
        "Run N trials at once on each GPU (or on the CPU). Their memory and speed cannot "
        "be compared then, and the records say so. Default: 1.",
        metavar="N",
        min=1,
        panel=ENGINE,
    )
    ray_address: str | None = option(
        "A running Ray cluster: auto or ray://HOST:10001. Default: start one on this machine.",
        metavar="ADDRESS",
        panel=ENGINE,
    )
    slurm: list[str] | None = option(
        "An option of sbatch: partition=gpu, time=2:00:00, gpus=a100:1, cpus=4, memory_gb=32, "
        "account=me, array_parallelism=4, ...; cluster=local tries it without Slurm; repeatable.",
        metavar="NAME=VALUE",
        panel=ENGINE,
    )
    time_limit: str | None = option(
        "End each trial after this time: 2h, 1h30m, or 90 (minutes).", metavar="TIME", panel=ENGINE
    )
    checkpoint_every: str | None = option(
        "Time between the checkpoints of a trial; 0: after each step. Default: 3m.",
        metavar="TIME",
        panel=ENGINE,
    )
    log: list[str] | None = option(
        "Show curves and figures in trackers: tensorboard, wandb, mlflow, trackio; "
        "repeatable, or with commas.",
        metavar="LIST",
        panel=FILES,
    )
    retry_failed: bool = option(
        "Also run trials again that are recorded as failed, diverged, out of memory or timed out.",
        panel=AGAIN,
        default=False,
    )
    yes: bool = option(
        "Fetch a data set that is missing without asking.",
        "--yes",
        "-y",
        panel=FILES,
        default=False,
    )

    def recipe_words(self) -> list[str]:
        """`--recipe` and the options that stand for a part of it, as NAME=VALUE."""
        return [*super().recipe_words(), *(["deterministic=true"] if self.deterministic else [])]

    def for_run(self) -> "TrainOptions":
        """The options for a `bench run` that follows a search with these.

        It leaves out the settings in OF_A_SEARCH, the time limit of the search's trials, and the
        options that concern only one start of a command.
        """
        words = [word for text in self.recipe or [] for word in text.split(",") if word.strip()]
        recipe = [w.strip() for w in words if w.partition("=")[0].strip() not in OF_A_SEARCH]
        own = replace(self, time_limit=None, retry_failed=False, yes=False)
        return replace(own, recipe=recipe, epochs=None, steps=None, lr=None)

    def words(self) -> list[str]:
        """These options as words of a command line."""
        words = [] if self.sweep is None else [str(self.sweep)]
        for field in fields(TrainOptions):
            value, name = getattr(self, field.name), option_name(field)
            if field.name == "sweep" or value is None or value is False:
                continue
            if value is True:
                words.append(name)
            else:
                values = value if isinstance(value, list) else [value]
                words += [word for v in values for word in (name, str(v))]
        return words
