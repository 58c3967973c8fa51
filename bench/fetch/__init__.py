"""`bench data fetch`: download a data set from the sources on its card, check it, put it in place.

`fetching` runs the steps: `status` finds out what is missing, `sources` reads the addresses on the
card, `download` gets one file, `archive` unpacks it, and `place` checks the result and moves it to
its place.
"""


class Fault(Exception):
    """A source did not deliver; the message says why. The next source is tried."""
