"""The options that several commands share."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.sweeps import sweepfile

if TYPE_CHECKING:
    from bench.sweeps.sweepfile import SweepConfig

WHAT = "What to run"
TRAINING = "How to train"
FILES = "Files and folders"
ENGINE = "Where trials run"
AGAIN = "Running again"

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
        help="Which records, where a folder holds some of several recipes: 'steps=200'.",
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Run those trials again that are recorded but did not end well.",
        rich_help_panel=AGAIN,
    ),
]


SKIPPED = ("sweep", "lr", "retry_failed", "yes")
"""Options that `SweepOptions.typed` leaves out of a following command, or puts first (`sweep`)."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What to run: the options that `bench run`, `tune` and `plan` share. None: not given."""

    sweep: Annotated[
        Path | None,
        typer.Argument(
            metavar="SWEEP.toml",
            help="A sweep file with these options as keys. Options given here win over it.",
        ),
    ] = None
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            metavar="LIST",
            help="Methods, with settings in brackets: 'cmer,lora(rank=16)', or all; repeatable. "
            "See `bench methods`.",
            rich_help_panel=WHAT,
        ),
    ] = None
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            metavar="LIST",
            help="Data sets: rsitmd,ucm, or a card of your own (mine.toml); repeatable. "
            "See `bench datasets`.",
            rich_help_panel=WHAT,
        ),
    ] = None
    seeds: Annotated[
        list[str] | None,
        typer.Option(
            "--seeds",
            metavar="LIST",
            help="Seeds: 0,1,2 or 0-2. Default: 0.",
            rich_help_panel=WHAT,
        ),
    ] = None
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            metavar="LIST",
            help="Pretrained models: openai-b32, remoteclip-b32 (all: `bench backbones`), NAME:TAG "
            "of open_clip, NAME:FILE, NAME:hf:OWNER/REPO/FILE, or NAME:none for random weights; "
            "repeatable. Default: that of the data set.",
            rich_help_panel=WHAT,
        ),
    ] = None
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            metavar="NAME=VALUE",
            help="Training settings that all methods share: epochs=10,warmup=0.1; repeatable. "
            "`bench recipe` lists them. The next four options are short for the commonest.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    epochs: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Passes over the data. Default: 30.", rich_help_panel=TRAINING
        ),
    ] = None
    steps: Annotated[
        str | None,
        typer.Option(metavar="N", help="Steps, instead of epochs.", rich_help_panel=TRAINING),
    ] = None
    batch_size: Annotated[
        str | None,
        typer.Option(metavar="N", help="Pairs in a step. Default: 128.", rich_help_panel=TRAINING),
    ] = None
    lr: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Learning rate of every method. Default: each method's own.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    data_root: Root = None
    plugin: Plugins = None

    def words(self) -> dict[str, object]:
        """These options under the names that they have in a sweep file."""
        return {
            "methods": self.methods,
            "datasets": self.dataset,
            "seeds": self.seeds,
            "backbones": self.backbone,
            "recipe": self.recipe_words(),
            "data_root": self.data_root,
            "plugins": self.plugin,
        }

    def typed(self) -> list[str]:
        """These options as words for another command that is to train under the same conditions.

        Without the learning rate, and without what is about one start of a sweep only.
        """
        words = [] if self.sweep is None else [str(self.sweep)]
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value is False or field.name in SKIPPED:
                continue
            flag = f"--{field.name.replace('_', '-')}"
            several = value if isinstance(value, list) else [value]
            words += [flag] if value is True else [w for v in several for w in (flag, str(v))]
        return words

    def recipe_words(self) -> list[str]:
        """`--recipe` and the options that stand for a part of it, as NAME=VALUE."""
        names = ("epochs", "steps", "batch_size", "lr")
        short = [f"{name}={value}" for name in names if (value := getattr(self, name)) is not None]
        return [*(self.recipe or []), *short]

    def config(self, searching: bool = False, **more: object) -> "SweepConfig":
        """The sweep that these options name, over what the sweep file says; raises UserError."""
        return sweepfile.gather(self.sweep, searching, **{**self.words(), **more})


@dataclass(frozen=True, kw_only=True)
class RunOptions(SweepOptions):
    """What to run and where: the options that `bench run` and `bench tune` share."""

    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="Use deterministic algorithms only (slower on a GPU).",
            rich_help_panel=TRAINING,
        ),
    ] = False
    cache_features: Annotated[
        int | None,
        typer.Option(
            "--cache-features",
            metavar="VIEWS",
            min=0,
            help="Run frozen towers once and train on their stored outputs, VIEWS augmentations "
            "per image (1: the centre crop). Default: 0, off.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="local: this machine; ray: a Ray cluster; slurm: a Slurm job array. "
            "Default: local.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="LIST",
            help="GPUs to use: 0,1; all: all visible ones, and fail if there is none; none: the "
            "CPU. Default: all visible ones, else the CPU.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    jobs_per_gpu: Annotated[
        int | None,
        typer.Option(
            "--jobs-per-gpu",
            metavar="N",
            min=1,
            help="Run N trials at once on each GPU (or on the CPU). Their memory and speed cannot "
            "be compared then, and the records say so. Default: 1.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="ADDRESS",
            help="A running Ray cluster: auto or ray://HOST:10001. Default: start one on this "
            "machine.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="NAME=VALUE",
            help="An option of sbatch: partition=gpu, time=2:00:00, gpus=a100:1, cpus=4, "
            "memory_gb=32, account=me, array_parallelism=4, ...; cluster=local tries it without "
            "Slurm; repeatable.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    time_limit: Annotated[
        str | None,
        typer.Option(
            "--time-limit",
            metavar="TIME",
            help="End each trial after this time: 2h, 1h30m, or 90 (minutes).",
            rich_help_panel=ENGINE,
        ),
    ] = None
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            "--checkpoint-every",
            metavar="TIME",
            help="Time between the checkpoints of a trial; 0: after each step. Default: 3m.",
            rich_help_panel=ENGINE,
        ),
    ] = None
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            metavar="LIST",
            help="Show curves and figures in trackers: tensorboard, wandb, mlflow, trackio; "
            "repeatable, or with commas.",
            rich_help_panel=FILES,
        ),
    ] = None
    retry_failed: RetryFailed = False
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            "-y",
            help="Fetch a data set that is missing without asking.",
            rich_help_panel=FILES,
        ),
    ] = False

    def recipe_words(self) -> list[str]:
        """`--recipe` and the options that stand for a part of it, as NAME=VALUE."""
        return [*super().recipe_words(), *(["deterministic=true"] if self.deterministic else [])]

    def words(self) -> dict[str, object]:
        """These options under the names that they have in a sweep file."""
        return {
            **super().words(),
            "cache_features": self.cache_features,
            "engine": self.engine,
            "gpus": self.gpus,
            "jobs_per_gpu": self.jobs_per_gpu,
            "ray_address": self.ray_address,
            "slurm": self.slurm,
            "time_limit": self.time_limit,
            "checkpoint_every": self.checkpoint_every,
            "log": self.log,
        }
