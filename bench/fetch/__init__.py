"""`bench data fetch`: download a data set from the sources on its card, check it, put it in place.

`sources` reads the card, `download` gets one file, `archive` opens what came, `place` makes of it
what the card wants and checks it, `fetching` does these in order, `status` says what is there,
`offer` asks before a run.
"""

from bench import UserError


class Full(UserError):
    """The disk is full: no other source helps."""


class Fault(Exception):
    """Why one source did not give what was wanted, in words; the next source is tried."""
