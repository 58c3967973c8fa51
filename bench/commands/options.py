"""The options that several commands share, and the console they print to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

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
TimeLimit = Annotated[
    str | None, typer.Option("--time-limit", help="Of each trial: 2h, 1h30m, or 90 (minutes).")
]
CheckpointEvery = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-every",
        help="Time between a trial's checkpoints; 0: every step.",
        show_default="3m",
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Repeat what is recorded but not ok.")
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="Only deterministic algorithms: recipe deterministic."),
]


def console(stderr: bool = False) -> "Console":
    """Where a command prints."""
    from rich.console import Console

    return Console(stderr=stderr)
