"""Show a method's call in a narrow column of a terminal: broken between settings, not in words."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.measure import Measurement
    from rich.text import Text

BREAKS = re.compile(r"(?<=[ (,])|\n")
"""Where a line may be broken: after a space, an opening bracket or a comma, and at a newline."""


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width` letters; a part that is longer than a line is broken at its end."""
    lines: list[str] = []
    for line in text.splitlines():
        current = ""
        for part in BREAKS.split(line):
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
    """A text for a table of rich, which itself breaks lines only at spaces; calls have few."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: "Console", options: "ConsoleOptions") -> "Measurement":
        from rich.measure import Measurement

        parts = [len(part.rstrip()) for part in BREAKS.split(self.text)]
        lines = [len(line) for line in self.text.splitlines()]
        return Measurement(max(parts), max(lines)).with_maximum(options.max_width)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        from rich.text import Text

        for line in fold(self.text, options.max_width):
            yield Text(line, overflow="fold")
