"""How commands print: sentences on a terminal or into a file, warnings, errors, short paths."""

import codecs
import contextlib
import io
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(stderr: bool = False) -> "Console":
    """The console that a command prints to."""
    from rich.console import Console

    return Console(stderr=stderr)


def warn(screen: "Console", text: str) -> None:
    """Print a warning that nobody should overlook."""
    say(screen, f"WARNING: {text}", style="bold yellow")


def say(screen: "Console", text: str, style: str | None = None) -> None:
    """Print a sentence: wrapped between words on a terminal, in one line in a file or pipe.

    A word longer than the line (a path) is not broken, so that it can be copied.
    """
    if screen.is_terminal:
        text = "\n".join(_wrapped(line, screen.width) for line in text.splitlines())
    screen.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _wrapped(line: str, width: int) -> str:
    """Wrap a line; the lines after the first are indented by two more spaces."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def plain_table(*heads: str, title: str | None = None) -> "Table":
    """A table without rows, as commands print it: with a line below its headings and no other."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    if title is not None:
        title = escape(title)  # else rich would hide `[own lr]`
    table = Table(*heads, title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.title_justify = "left"
    return table


@contextlib.contextmanager
def predicting() -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on standard error, shown once `bench.measure.plan.plan` reports progress."""
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    columns = (SpinnerColumn("line"), "{task.description}", MofNCompleteColumn())
    screen = console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=screen, transient=True) as bar:
        task = bar.add_task("predicting", visible=False)

        def move(done: int, total: int, what: str) -> None:
            words = f"predicting {what}"
            bar.update(task, completed=done, total=total, description=words, visible=True)

        yield move


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `1,200 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def few(names: Iterable[str], shown: int = 3, mark: str = ", ") -> str:
    """The first of several names, and how many more there are: `a, b, c and 4 more`."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return mark.join(listed[:shown]) + more


def from_here(path: Path) -> str:
    """A path relative to the current folder if it lies below that, else as it is."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def tilde(path: Path) -> str:
    """A path with `~` instead of the home folder."""
    with contextlib.suppress(ValueError, RuntimeError):  # not below home, or no home
        return f"~/{path.relative_to(Path.home())}"
    return str(path)


def complain(text: str) -> None:
    """Print an error to standard error, wrapped between words on a terminal."""
    if sys.stderr.isatty():
        say(console(stderr=True), text)
    else:
        print(text, file=sys.stderr)


# Middle dot, three dashes, times, four quotation marks, dagger.
PLAIN = str.maketrans(
    "\u00b7\u2013\u2014\u2212\u00d7\u2018\u2019\u201c\u201d\u2020", "----x''\"\"+"
) | {0xB1: "+-", 0x2192: "->", 0x2264: "<=", 0x2265: ">="}
"""What is printed for dashes, plus-minus, times, arrows, quotation marks that are not ASCII."""


def replace_unprintable() -> None:
    """Print a stand-in for a character that the encoding of the output (ASCII, cp1252) lacks.

    Without this, Python raises UnicodeEncodeError.
    """
    codecs.register_error("bench.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="bench.plain")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end].translate(PLAIN)
    letters = unicodedata.normalize("NFKD", missing)  # an accent is left out
    return letters.encode("ascii", "ignore").decode() or "?", error.end
