"""How a command speaks: sentences on a terminal or in a file, warnings, errors, any encoding."""

import codecs
import contextlib
import sys
import textwrap
import unicodedata
from functools import partial
from pathlib import Path
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
    if screen.is_terminal:
        text = "\n".join(map(partial(_wrapped, width=screen.width), text.splitlines()))
    screen.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _wrapped(line: str, width: int) -> str:
    """A line in lines of a width, the further ones two letters further in than the first."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `1,200 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def from_here(path: Path) -> str:
    """A path as short as it can be typed in the current folder."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def tilde(path: Path) -> str:
    """A path with ~ for the home folder."""
    with contextlib.suppress(ValueError, RuntimeError):  # elsewhere, or no home
        return f"~/{path.relative_to(Path.home())}"
    return str(path)


def complain(text: str) -> None:
    """Print an error to standard error, wrapped between words on a terminal."""
    if sys.stderr.isatty():
        say(console(stderr=True), text)
    else:
        print(text, file=sys.stderr)


PLAIN = {"\u00b7": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00b1": "+-", "\u00d7": "x"}
PLAIN |= {
    "\u2026": "...",
    "\u2192": "->",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2019": "'",
    "\u2020": "+",
}
"""What stands for a character that a terminal cannot show: dashes, plus-minus, times, arrows."""


def speak_any_encoding() -> None:
    """Let output in an encoding without some of our characters (ASCII, cp1252) replace those.

    Without it a table with a dash in it ends in a UnicodeEncodeError. JSON and files are written
    elsewhere and are not touched.
    """
    codecs.register_error("bench.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="bench.plain")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(map(_plain, text)), error.end


def _plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return base or "?"
