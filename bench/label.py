"""A method's call in a narrow column of a terminal: broken between settings, not within a word."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.measure import Measurement
    from rich.text import Text


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width` letters, broken at spaces and after brackets and commas.

    A part that is longer than a line is broken where the line ends.
    """
    lines: list[str] = []
    for line in text.splitlines():
        current = ""
        for part in re.split(r"(?<=[ (,])", line):
            if current and len(current) + len(part.rstrip()) > width:
                lines.append(current.rstrip())
                current = ""
            current += part
            while len(current.rstrip()) > width:
                lines.append(current[:width])
                current = current[width:]
        lines.append(current.rstrip())
    return lines


class Label:
    """A text for rich that is folded as `fold` does it, at the width that its column has."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: "Console", options: "ConsoleOptions") -> "Measurement":
        """From the longest part that is not broken to the longest line."""
        from rich.measure import Measurement

        parts = [part.rstrip() for part in re.split(r"(?<=[ (,])|\n", self.text)]
        lines = self.text.splitlines()
        return Measurement(max(map(len, parts)), max(map(len, lines))).with_maximum(
            options.max_width
        )

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        """The lines, without markup or highlighting."""
        from rich.text import Text

        for line in fold(self.text, options.max_width):
            yield Text(line, overflow="fold")
