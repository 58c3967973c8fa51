"""`bench run` and `bench tune` offer to fetch a data set that is not there."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bench import data
from bench.fetch import fetching, status

if TYPE_CHECKING:
    from rich.console import Console

Made = TypeVar("Made")


def with_data(make: Callable[[], Made], yes: bool, console: "Console") -> Made:
    """What `make` returns; where it finds that a data set is missing, that is fetched first.

    It is fetched where `yes` says so, or where the user at a terminal does. Raises data.Missing
    where it is not fetched, UserError where it cannot be.
    """
    tried = set[str]()
    while True:
        try:
            return make()
        except data.Missing as missing:
            name = missing.card.name
            if name in tried or not _wanted(missing, yes):
                raise
            tried.add(name)
            fetching.run(missing.card, missing.root, None, console)


def _wanted(missing: data.Missing, yes: bool) -> bool:
    """Whether to fetch it: as told, else as the user answers; never without a source."""
    card, root = missing.card, missing.root
    parts = status.lacking(card, root, status.look(card, root))
    if not parts or yes:
        return bool(parts)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    import typer

    sizes = fetching.sizes_of([part.sources[0] for part in parts])
    size = fetching.in_words(fetching.total(sizes.values()))
    said = f"{card.title} ({size} from {status.owners(parts)}) is not in {root}."
    return typer.confirm(f"{said} Fetch it now?", default=True)
