"""A method's call in a table on a terminal, broken at its spaces if the column is narrow."""

from rich.text import Text


class Label(Text):
    """Text without markup; a word that is longer than the column goes on in the next line."""

    def __init__(self, text: str) -> None:
        super().__init__(text, overflow="fold")
