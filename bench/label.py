"""Show a method's call in a narrow column of a terminal: broken between settings, not in words."""

import re
from collections.abc import Iterator
from textwrap import TextWrapper

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text


class CallWrapper(TextWrapper):
    """Wraps at spaces, and also after an opening bracket or a comma."""

    wordsep_simple_re = re.compile(r"(?<=[(,])|( +)")


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width` letters; a part that is longer than a line is broken at its end."""
    wrapper = CallWrapper(max(1, width), break_on_hyphens=False)
    return [part for line in text.splitlines() for part in wrapper.wrap(line)]


class Label:
    """A text for a table of rich, which itself breaks lines only at spaces; calls have few."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = max(map(len, self.text.splitlines()))
        narrowest = max(map(len, re.split(r"[ \n]|(?<=[(,])", self.text)))
        return Measurement(narrowest, longest).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in fold(self.text, options.max_width):
            yield Text(line, overflow="fold")
