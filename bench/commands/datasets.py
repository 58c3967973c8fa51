"""`bench datasets`: the data sets that there are cards of, and whether they are there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import UserError
from bench.commands.console import console
from bench.commands.options import Root

if TYPE_CHECKING:
    from bench.data import Dataset


def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set.")] = None, data_root: Root = None
) -> None:
    """List the data sets and whether they are there; with NAME all that its card says."""
    from rich.markup import escape
    from rich.table import Table

    from bench import data
    from bench.data.forms import SPLITS

    root = data.data_root(data_root)
    screen = console()
    if name is None:
        table = Table("data set", "title", "train", "val", "test", escape(f"found in {root}"))
        for key, one in data.cards().items():
            counts = [str(one.counts.get(split, "-")) for split in SPLITS]
            table.add_row(key, str(one.raw.get("title", "")), *counts, _found(one, root))
        screen.print(table)
        screen.print("-: none published; 10% of train, chosen by a hash of the file name, serves")
        return
    card = data.card(name)
    for key, value in card.raw.items():
        screen.print(f"[bold]{key}[/]: {escape(str(value))}", highlight=False)
    dataset: Dataset = data.load(card, root)
    scenes = escape(", ".join(dataset.scenes))
    screen.print(
        f"[bold]found[/]: {len(dataset.samples)} images; scenes: {scenes}", highlight=False
    )
    for note in dataset.notes:
        screen.print(note, highlight=False, markup=False)


def _found(card: Any, root: Path) -> str:
    from bench import data

    try:
        data.load(card, root)
    except UserError as error:
        return "no" if "is not there" in str(error) else "incomplete"
    return "yes"
