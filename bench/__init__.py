"""A benchmark of ways to fit vision-language models to remote-sensing text-image retrieval."""

__version__ = "0.1.0"


class UserError(Exception):
    """Something the user can mend; the message is one sentence with the remedy."""
