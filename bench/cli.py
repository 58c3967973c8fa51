"""The command `bench`: its subcommands, each with the examples at the end of its help."""

import errno
import signal
from typing import Annotated

import typer

from bench import UserError, __version__
from bench.commands import backbones, data, evaluate, framework, methods, plan, results, run, tune
from bench.console import complain, replace_unprintable
from bench.recipe import defaults_in_a_line

OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO),
)
"""Errors of the system that are about the user's folders and files, and not faults of the program.
Another OSError keeps its traceback."""
RUN, RESULTS, KNOWN = "Run", "Results", "Methods and data"

app = framework.group(
    "Compare ways to fine-tune CLIP for remote-sensing image-text retrieval: recall, memory and "
    "speed, under one protocol.",
    name="bench",
    completion=True,
)

framework.command(
    app,
    "bench run --methods cmer,lora --dataset rsitmd",
    "bench run --methods 'cmer,lora(rank=16)' --dataset rsitmd,ucm --seeds 0-2",
    "bench run sweep.toml --dry-run",
    notes=f"Names for --recipe, with their defaults: {defaults_in_a_line()}.",
    panel=RUN,
)(run.run)
framework.command(
    app,
    "bench tune --methods cmer,lora --dataset ucm --recipe steps=30",
    "bench run --methods cmer,lora --dataset ucm --tuned tuned.toml",
    panel=RUN,
)(tune.tune)
framework.command(
    app,
    "bench plan --methods cmer,lora --dataset rsitmd --backbone ViT-L-14:none --gpu-memory 24GiB",
    panel=RUN,
)(plan.plan)
framework.command(app, "bench report --results results --out reports", panel=RESULTS)(
    results.report
)
framework.command(
    app,
    "bench compare ucm/starter/cmer ucm/starter/lora",
    "bench compare ucm/starter/cmer ucm/starter/lora --seed 0 --pictures won.png",
    panel=RESULTS,
)(results.compare)
framework.command(app, 'bench retrieve ucm/starter/cmer "many planes" --seed 0', panel=RESULTS)(
    results.retrieve
)
framework.command(
    app,
    "bench evaluate ucm/starter/lora --dataset rsicd",
    "bench evaluate ucm --dataset rsicd,rsitmd",
    "bench evaluate ucm/starter/lora",
    panel=RESULTS,
)(evaluate.evaluate)
framework.command(
    app,
    "bench export ucm/starter/lora --seed 0 --out my-adapter",
    "bench export ucm/starter/lora --seed 0 --push me/lora-ucm --dry-run",
    panel=RESULTS,
)(results.export)
framework.command(app, "bench methods", "bench methods cmer", "bench methods peft", panel=KNOWN)(
    methods.methods
)
framework.command(
    app, "bench recipe", "bench run --methods lora --dataset ucm --recipe warmup=0.1", panel=KNOWN
)(methods.recipe)
framework.command(app, "bench validate lora", "bench validate mine.py", panel=KNOWN)(
    methods.validate
)
framework.command(app, "bench datasets", "bench datasets rsitmd", panel=KNOWN)(data.datasets)
app.add_typer(backbones.app, name="backbones", rich_help_panel=KNOWN)
app.add_typer(data.app, name="data", rich_help_panel=KNOWN)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            help="Print the version.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """The options of `bench` itself."""


def main() -> None:
    """Run the command. A UserError becomes one sentence on standard error and exit code 2."""
    replace_unprintable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends a sweep as Ctrl-C does
    try:
        app(prog_name="bench")
    except UserError as error:
        complain(f"bench: {error}")
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        place = "a file" if error.filename is None else error.filename
        complain(
            f"bench: {place} cannot be read or written ({error.strerror}); make room, change "
            "the permissions, or give another folder or name"
        )
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
