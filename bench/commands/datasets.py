"""`bench datasets`: the data sets that there are cards of, and whether they are there."""

from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import Root
from bench.console import console, say

if TYPE_CHECKING:
    from bench.fetch.status import Status


def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set.")] = None, data_root: Root = None
) -> None:
    """List the data sets and whether they are there; with NAME what is there and how to get it."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from bench import data
    from bench.data import SPLITS
    from bench.fetch import status

    root = data.data_root(data_root)
    screen = console()
    if name is None:
        heads = ("data set", "title", "train", "val", "test", escape(f"found in {root}"))
        table = Table(*heads, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for card in data.cards().values():
            counts = [str(card.counts.get(split, "-")) for split in SPLITS]
            table.add_row(card.name, card.title, *counts, _state(status.look(card, root)))
        screen.print(table)
        say(screen, "-: none published; 10% of train, chosen by a hash of the file name, serves")
        say(screen, "To get one: bench data fetch NAME. More on one: bench datasets NAME.")
        return
    card = data.card(name)
    found = status.look(card, root)
    for line in (*status.lines(card, root, found), *status.how(card, root, found)):
        say(screen, line)


def _state(found: "Status") -> str:
    if found.complete:
        return "yes"
    return "no" if found.annotated is None and not found.faults else "incomplete"
