"""`bench data fetch`: download a data set from the sources on its card, check it, put it in place.

`fetching` runs the steps: `status` finds out what is missing, `sources` reads the addresses on the
card, `download` gets one file, `archive` unpacks it, and `place` checks the result and moves it to
its place. `offer` asks before a run.
"""

from bench import UserError


class Full(UserError):
    """The disk is full, so no other source is tried."""


class Fault(Exception):
    """A source did not deliver; the message says why. The next source is tried."""
