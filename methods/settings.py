"""The numbers that a setting of a method may have, declared where the setting is.

    def __init__(self, model, *, rank: Annotated[int, Within(1)] = 8) -> None:

A call with another number is refused before anything runs; `bench methods NAME` shows the range.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Within:
    """From `least` to `most`, both included."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    """Leave out `least` itself."""
    below: bool = False
    """Leave out `most` itself."""
    step: int = 1
    """Only multiples of this."""

    def __contains__(self, value: float) -> bool:
        """Whether a setting may have this value; not infinity, nor what is not a number."""
        if not abs(value) <= LARGEST or (self.step > 1 and value % self.step):
            return False
        low = self.least < value if self.above else self.least <= value
        return low and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        """`from 1`, `from 0 to below 1`, `above 0 to 1`, `from 16 in steps of 16`."""
        words = []
        if self.least > -math.inf:
            words.append(f"{'above' if self.above else 'from'} {self.least:g}")
        if self.most < math.inf:
            words.append(f"to {'below ' if self.below else ''}{self.most:g}")
        if self.step > 1:
            words.append(f"in steps of {self.step}")
        return " ".join(words) or f"of at most {LARGEST}"


LARGEST = 2**31
"""No setting is larger: nothing so wide or long could be trained."""
ANY = Within()
"""What a number may be whose range is not declared."""


class Setting(NamedTuple):
    """A setting that depends on others: its default, and the type hint of its values."""

    default: Any
    hint: Any


class Refused(Exception):
    """Settings that a method cannot have; the message says why, and follows the method's name."""
