"""`bench run` and `bench tune` offer to fetch a data set that is missing."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bench import data
from bench.fetch import fetching, status

if TYPE_CHECKING:
    from rich.console import Console

Made = TypeVar("Made")


def with_data(make: Callable[[], Made], yes: bool, console: "Console") -> Made:
    """Call `make`; if it raises data.Missing, fetch that data set and call it again.

    It is fetched if `yes` is set, or if the user at a terminal agrees; else data.Missing is raised.
    Raises UserError where it cannot be fetched.
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
    """Whether to fetch it: `yes`, or the user's answer; never for a card without sources."""
    card, root = missing.card, missing.root
    parts = status.lacking(card, root, status.look(card, root))
    if not parts or yes:
        return bool(parts)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    import typer

    sources = [part.sources[0] for part in parts]
    owners = ", ".join(dict.fromkeys(source.owner for source in sources))
    size = fetching.format_total(sources)
    return typer.confirm(
        f"{card.title} ({size} from {owners}) is not in {root}. Fetch it now?", default=True
    )
