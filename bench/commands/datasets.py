"""`bench datasets`: the data sets that there are cards of, and whether they are there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import Root
from bench.console import console, say

if TYPE_CHECKING:
    from bench.data import Card


def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set.")] = None, data_root: Root = None
) -> None:
    """List the data sets and whether they are there; with NAME what is there and how to get it."""
    from rich.markup import escape
    from rich.table import Table

    from bench import data
    from bench.data import SPLITS

    root = data.data_root(data_root)
    screen = console()
    if name is None:
        table = Table("data set", "title", "train", "val", "test", escape(f"found in {root}"))
        for key, one in data.cards().items():
            counts = [str(one.counts.get(split, "-")) for split in SPLITS]
            table.add_row(key, str(one.raw.get("title", "")), *counts, _found(one, root))
        screen.print(table)
        say(screen, "-: none published; 10% of train, chosen by a hash of the file name, serves")
        say(screen, "To get one: bench data fetch NAME. More on one: bench datasets NAME.")
        return
    from bench.fetch import status

    card = data.card(name)
    there = status.look(card, root)
    for line in (*status.lines(card, root, there), *status.how(card, root, there)):
        say(screen, line)


def _found(card: "Card", root: Path) -> str:
    from bench.fetch import status

    there = status.look(card, root)
    if there.complete:
        return "yes"
    return "no" if there.annotated is None and not there.faults else "incomplete"
