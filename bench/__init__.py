"""A benchmark of ways to fit vision-language models to remote-sensing text-image retrieval."""

import textwrap

__version__ = "0.1.0"


class UserError(Exception):
    """Something the user can mend; the message is one sentence with the remedy."""


def brief(error: object) -> str:
    """The text of somebody else's error, in one line of at most 200 letters."""
    return textwrap.shorten(str(error), 200, placeholder=" ...")
