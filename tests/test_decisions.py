"""CMER's decisions: the tables in docs/cmer.md are those of the committed trials."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "decisions.py"))


def test_the_tables_are_those_of_the_trials(script: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "cmer.md").read_text(encoding="utf-8")
    files = [table[2] for table in script["TABLE"].finditer(page)]
    assert files == ["benchmarks/decisions.jsonl", "benchmarks/decisions-starter-1.jsonl"]
    assert script["update"](page) == page


def test_a_difference_is_paired_by_seed_with_its_t_interval(script: dict[str, Any]) -> None:
    base, other = {0: 30.0, 1: 31.0, 2: 33.0, 7: 1.0}, {2: 34.0, 0: 31.5, 1: 31.5, 5: 99.0}
    seeds, mean, half = script["difference"](other, base)
    assert (seeds, mean) == (3, pytest.approx(1.0))
    interval = stats.ttest_1samp([1.5, 0.5, 1.0], 0.0).confidence_interval(0.95)
    assert mean + half == pytest.approx(interval.high)
    assert script["signed"]((1, -0.5, float("nan"))) == "-0.50"
