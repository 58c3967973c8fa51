"""Learning curves as tests compare them."""

from typing import Any

Points = list[dict[str, Any]]


def untimed(curve: Points) -> Points:
    """A learning curve without its seconds, which no two runs have in common."""
    return [{k: v for k, v in point.items() if k != "train_seconds"} for point in curve]
