"""What `bench methods` says of each method: its family, its line, how much it trains."""

import inspect

import pytest
import torch

from bench.measure import parameters
from methods import registry
from methods.base import Method


def test_a_method_that_cannot_be_built_has_no_count() -> None:
    class Broken(Method):
        def __init__(self, model: torch.nn.Module) -> None:
            raise RuntimeError("not today")

    assert parameters.trainable(Broken) is None


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (999, "999"), (8193, "8.19 k"), (999_900, "1 M"), (151_277_313, "151 M")],
)
def test_counts_are_rounded_to_three_digits(count: int, words: str) -> None:
    assert parameters.rounded(count) == words


def test_every_method_has_a_family_and_a_line_that_fits() -> None:
    for name, cls in registry().items():
        first = (inspect.getdoc(cls) or "").partition("\n")[0]
        assert 10 < len(first) <= 80 - 24, name
        assert cls.family != Method.family, name
