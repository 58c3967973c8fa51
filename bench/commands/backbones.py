"""`bench backbones`: the pretrained models that have names, and their download."""

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import UserError
from bench.commands import framework
from bench.console import console, plain_table, say, tilde

if TYPE_CHECKING:
    from bench.backbone.names import NamedBackbone


class NamesOrCommands(framework.Group):
    """Commands, where any other word is a backbone to show: `bench backbones openai-b32`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, or `show` for it."""
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=NamesOrCommands,
    help="List the pretrained models that have names; with NAME show everything that is known "
    "about it. `bench backbones fetch NAME` downloads it, for instance on a login node.",
    invoke_without_command=True,
    context_settings=framework.HELP_NAMES,
    rich_markup_mode="rich",
    subcommand_metavar="[NAME | fetch NAME]",
    epilog="Examples:\n\nbench backbones\n\nbench backbones fetch remoteclip-b32",
)


@app.callback()
def backbones(ctx: typer.Context) -> None:
    """List the backbones that have names."""
    if ctx.invoked_subcommand is not None:
        return
    from bench.backbone import names, weights

    table = plain_table()
    for head in ("name", "architecture", "MB", "here", "trained on"):
        table.add_column(head, no_wrap=head != "trained on")
    table.columns[2].justify = "right"
    for row in names.table().values():
        here = "yes" if row.name == "starter" or not weights.missing(row.spec) else "no"
        mark = " *" if row.datasets else ""
        table.add_row(row.name, row.architecture, f"{row.megabytes:,}", here, row.brief + mark)
    screen = console()
    screen.print(table)
    say(
        screen,
        "*: trained on the training images of data sets of this benchmark, which its tables mark. "
        "here: in the cache of the Hugging Face Hub (HF_HOME). More about one: bench "
        "backbones NAME",
    )


@framework.command(app, "bench backbones show remoteclip-b32")
def show(name: Annotated[str, typer.Argument(help="A backbone's name.")]) -> None:
    """Show everything that is known about a backbone."""
    from bench.backbone import names

    known = names.table()
    if name not in known:
        raise UserError(
            f"no backbone is called {name!r}{names.likely(name)}; `bench backbones` lists them"
        )
    for head, text in _rows(known[name]):
        lines = textwrap.wrap(text, 64, break_long_words=False, break_on_hyphens=False)
        print(f"{head:<14}{lines[0]}", *(f"{'':<14}{line}" for line in lines[1:]), sep="\n")


def _rows(named: "NamedBackbone") -> list[tuple[str, str]]:
    """The headings and texts that `bench backbones NAME` shows."""
    from bench.backbone import weights

    path = None if named.name == "starter" else weights.locate(named.spec)
    where = "in the package" if named.name == "starter" else "no"
    seen = ", ".join(named.datasets)
    rows = [
        ("name", named.name),
        ("architecture", f"{named.architecture} (of open_clip)"),
        ("weights", named.weights if named.name != "starter" else "bench/starter"),
        ("sha256", named.sha256),
        ("size", f"{named.megabytes:,} MB"),
        ("licence", named.licence),
        ("trained on", named.trained_on),
        ("marked on", f"{seen}: its results there are no transfer" if seen else ""),
        ("activation", f"{named.activation_name}; known from: {named.activation}"),
        ("here", where if path is None else tilde(path)),
        *(("link", link) for link in named.links),
        ("use", f"--backbone {named.name}"),
        ("", f"the same trials as --backbone {named.spec}" if named.spec != named.name else ""),
    ]
    return [(head, text) for head, text in rows if text]


@framework.command(
    app,
    "bench backbones fetch openai-b32",
    "bench backbones fetch ViT-B-32:hf:OWNER/REPO/FILE@REVISION",
)
def fetch(
    names: Annotated[
        list[str], typer.Argument(help="Names, or anything else that --backbone takes.")
    ],
) -> None:
    """Download the weights of backbones to the cache of the Hugging Face Hub."""
    from bench.backbone import expand, weights
    from bench.backbone.ready import make_ready

    screen = console()
    for name in names:
        spec = expand(name)
        ready = make_ready(spec, lambda text: say(screen, text))
        path = weights.locate(spec)
        say(screen, f"{name} is ready" + ("" if path is None else f": {tilde(path)}"))
        for note in ready.notes:
            say(screen, f"note: {note}")
