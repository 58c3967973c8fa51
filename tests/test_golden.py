"""What a restructuring must not change: what commands say of themselves, and what trials reach.

Identities and paths of records are held by tests/identities.txt (test_record.py), the report of the
committed records by test_house.py.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests import golden

QUERIES = {"i2t": golden.COUNTS["test"], "t2i": 5 * golden.COUNTS["test"]}


def test_each_command_says_what_it_said() -> None:
    constraints = (golden.ROOT / "constraints.txt").read_text(encoding="utf-8")
    for package in ("typer", "rich"):
        if f"\n{package}=={version(package)}\n" not in constraints:
            pytest.skip(f"{package} {version(package)} lays out help in another way")
    fresh = golden.help_pages()
    assert fresh == golden.HELP.read_text(encoding="utf-8"), (
        "if the change is meant, run `python tests/golden.py help` and commit what it writes"
    )


def test_short_trials_reach_what_they_reached(tmp_path: Path) -> None:
    """Losses to a thousandth and recalls to one query: another CPU rounds otherwise.

    The optimiser passes such differences on, and near-equal scores may change places.
    """
    fresh, kept = golden.trials(tmp_path), json.loads(golden.TRIALS.read_text(encoding="utf-8"))
    assert fresh.keys() == kept.keys()
    for name, trial in kept.items():
        compare(fresh[name], trial, name)


def compare(fresh: dict[str, Any], kept: dict[str, Any], name: str) -> None:
    """Assert that a trial's curve and metrics are the kept ones, but for rounding."""
    assert len(fresh["curve"]) == len(kept["curve"]), name
    for point, old in zip(fresh["curve"], kept["curve"], strict=True):
        assert {k: point[k] for k in ("step", "epoch")} == {k: old[k] for k in ("step", "epoch")}
        assert point["lr"] == pytest.approx(old["lr"])
        assert point["loss"] == pytest.approx(old["loss"], rel=1e-3), name
        assert point["val_mR"] == pytest.approx(old["val_mR"], abs=one_query("mR")), name
    assert fresh["metrics"].keys() == kept["metrics"].keys()
    for split, metrics in kept["metrics"].items():
        assert fresh["metrics"][split].keys() == metrics.keys()
        for metric, value in metrics.items():
            reached = fresh["metrics"][split][metric]
            assert reached == pytest.approx(value, abs=one_query(metric)), (name, split, metric)


def one_query(metric: str) -> float:
    """By how much one query moves a metric, in percent; the mean recall as one of each way."""
    ways = [way for way in QUERIES if way in metric] or list(QUERIES)
    return 100.01 * sum(1 / QUERIES[way] for way in ways) / (len(ways) if "mR" not in metric else 6)
