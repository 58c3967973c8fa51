"""Paired tests over queries, on ranks made by hand and on random ones with known answers."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench import UserError
from bench.trained import compare


def trial(folder: Path, name: str, i2t: list[float], t2i: list[float], **given: object) -> Path:
    """A record with its ranks."""
    path = folder / name / "seed0-12345678.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": 1,
        "status": "ok",
        "trial": {"call": name, "seed": 0},
        "data": {"hashes": {"test": "same"}},
        **given,
    }
    path.write_text(json.dumps(document))
    np.savez(path.with_suffix(".npz"), i2t=np.float32(i2t), t2i=np.float32(t2i))
    return path


def test_recalls_and_queries_by_hand(tmp_path: Path) -> None:
    a = trial(tmp_path, "a", [1, 6], [1, 2, 11, 3])
    b = trial(tmp_path, "b", [1, 1], [1, 7, 1, 3])
    found = compare.compare(a, b, resamples=200)
    values = {one.metric: (one.a, one.b) for one in found.differences}
    assert values["i2t_R@1"] == (50, 100)
    assert values["i2t_R@5"] == (50, 100)
    assert values["i2t_R@10"] == (100, 100)
    assert values["t2i_R@1"] == (25, 50)
    assert values["t2i_R@5"] == (75, 75)
    assert values["t2i_R@10"] == (75, 100)
    assert values["mR"] == pytest.approx((375 / 6, 525 / 6))
    assert found.won == {"i2t": [1], "t2i": [2]}
    assert found.lost == {"i2t": [], "t2i": [1]}
    assert found.queries == {"i2t": 2, "t2i": 4}
    assert found == compare.compare(a, b, resamples=200)


def test_largest_change_first(tmp_path: Path) -> None:
    a = trial(tmp_path, "a", [9, 5, 30, 1], [1, 1, 1, 1])
    b = trial(tmp_path, "b", [2, 4, 3, 8], [1, 1, 1, 1])
    assert compare.compare(a, b, resamples=50).won["i2t"] == [2, 0, 1]


def test_equal_models_do_not_differ(tmp_path: Path) -> None:
    ranks = np.random.default_rng(0).integers(1, 40, 300).astype(float)
    a = trial(tmp_path, "a", ranks[:50].tolist(), ranks[50:].tolist())
    b = trial(tmp_path, "b", ranks[:50].tolist(), ranks[50:].tolist())
    for one in compare.compare(a, b, resamples=300).differences:
        assert (one.difference, one.low, one.high, one.p) == (0, 0, 0, 1)


def test_interval_is_that_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(3.0, 10.0, (1, 400, 1))
    low, high = compare.bootstrap(differences, 4000)
    error = differences.std(ddof=1) / 400**0.5
    assert low[0] == pytest.approx(differences.mean() - 1.96 * error, abs=0.1)
    assert high[0] == pytest.approx(differences.mean() + 1.96 * error, abs=0.1)


def test_seeds_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    same = np.repeat(rng.normal(2, 5, (1, 300, 1)), 3, axis=0)
    spread = same + np.array([-4.0, 0.0, 4.0])[:, None, None]
    low_same, _ = compare.bootstrap(same, 2000)
    low_spread, _ = compare.bootstrap(spread, 2000)
    assert low_same[0] > 0 > low_spread[0]


def test_permutation_by_enumeration() -> None:
    # Four differences 1, 1, 1, 2: |mean| is reached by 2 of the 16 sign patterns.
    p = compare.permutation(np.array([[1.0], [1.0], [1.0], [2.0]]), 20_000)
    assert p[0] == pytest.approx(2 / 16, abs=0.01)
    assert compare.permutation(np.full((40, 1), 1.0), 99)[0] == 1 / 100  # never none at all


def test_false_alarms_are_rare() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for n in range(100):
        low, high = compare.bootstrap(rng.normal(0, 1, (1, 100, 1)), 500, seed=n)
        alarms += bool(low[0] > 0 or high[0] < 0)
    assert alarms <= 13  # expected 5 of 100


@pytest.mark.parametrize("what", ["missing", "broken", "not ok", "other data", "uneven"])
def test_what_cannot_be_compared(tmp_path: Path, what: str) -> None:
    a = trial(tmp_path, "a", [1, 2], [1, 2, 3, 4])
    status = "failed" if what == "not ok" else "ok"
    hashes = {"test": "another" if what == "other data" else "same"}
    b = trial(tmp_path, "b", [1, 2], [1, 2, 3, 4], status=status, data={"hashes": hashes})
    if what == "missing":
        b.with_suffix(".npz").unlink()
    elif what == "broken":
        b.with_suffix(".npz").write_bytes(b"PK\x03\x04 no archive")
    elif what == "uneven":
        a = trial(tmp_path, "a", [1, 2], [1, 2, 3])
        b = trial(tmp_path, "b", [1, 2], [1, 2, 3])
    with pytest.raises(UserError) as raised:
        compare.compare(a, b, resamples=10)
    assert "\n" not in str(raised.value)


def test_printed(tmp_path: Path) -> None:
    a = trial(tmp_path, "lora", [1, 6], [1, 2, 11, 3])
    b = trial(tmp_path, "cmer", [1, 1], [1, 7, 1, 3])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(compare.table(compare.compare(a, b, resamples=100)))
    text = console.export_text()
    assert "A  lora seed 0" in text
    assert "t2i: of 4 captions B ranks 1 better, 1 worse, 2 alike" in text
    assert "+50.00" in text
