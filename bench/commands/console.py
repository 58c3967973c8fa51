"""Where a command prints, and how a sentence is printed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(stderr: bool = False) -> "Console":
    """Where a command prints."""
    from rich.console import Console

    return Console(stderr=stderr)


def warn(screen: "Console", text: str) -> None:
    """Print a warning that nobody should overlook."""
    say(screen, f"WARNING: {text}", style="bold yellow")


def say(screen: "Console", text: str, style: str | None = None) -> None:
    """Print a sentence: wrapped between words on a terminal, in one line in a file or pipe.

    A word longer than the line (a path) is not broken, so that it can be copied.
    """
    screen.print(
        text,
        style=style,
        markup=False,
        highlight=False,
        soft_wrap=not screen.is_terminal,
        overflow="ignore",
        crop=False,
    )
