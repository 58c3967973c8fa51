"""A method is tested by the contract that the methods of the benchmark pass too."""

from bench.contract import check_method
from methods import registry


def test_gate_is_registered_and_keeps_the_contract() -> None:
    results = check_method(registry()["gate"])
    assert not [f"{r.kind}: {r.name}: {r.reason}" for r in results if r.passed is False]
