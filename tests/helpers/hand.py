"""A clock that tests move by hand."""


class Hand:
    """Stands still until it is moved; called it gives the time, in seconds."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time

    def move(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.time += seconds
