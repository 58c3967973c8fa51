"""Equal budgets told beforehand (`bench plan`, dry runs) and afterwards (groups of a report)."""

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import record
from bench.measure import fitting_batch, plan
from bench.recipe import Recipe
from bench.report.ablation import ablations
from bench.sweeps import forecast
from bench.sweeps.sweep import Plan
from bench.trial import Trial, blank_record
from tests.helpers import fake_records as fakes

RECIPE = Recipe(precision="fp32", evaluations=3)


def trial(seed: int = 0, method: str = "linear", **recipe: Any) -> Trial:
    made = replace(RECIPE, **recipe)
    return Trial("ucm", "starter", method, method, {}, None, made, seed, {})


def done(root: Path, one: Trial, batch: int, rate: float, trained: float) -> None:
    """Write the record of a trial that took 25 seconds beside its training."""
    document = {
        **blank_record(one),
        "data": {"batch_size": batch},
        "curve": [{"step": 40, "epoch": 0.5, "train_seconds": trained}],
        "efficiency": {
            "train_images_per_second": rate,
            "trial_seconds": trained + 25,
            "train_seconds": trained + 5,
        },
        "environment": {"gpu": None, "cpu": "Abacus"},
    }
    path = one.path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def test_steps_and_time_of_a_time_budget_come_from_records(tmp_path: Path) -> None:
    budgeted = [trial(seed, time=60.0) for seed in range(2)]
    sweep = Plan(budgeted, tmp_path, tmp_path)
    (line,) = forecast.forecast(sweep, budgeted, "Abacus", None)
    assert (line.steps, line.seconds) == (forecast.MEASURED, 2 * 60)  # at least its time
    done(tmp_path, trial(5, steps=40), 128, 320.0, trained=16)
    (line,) = forecast.forecast(sweep, budgeted, "Abacus", None)
    assert (line.steps, line.seconds) == (60 * 320 // 128, 2 * (60 + 25))
    assert forecast.table([line]).columns[3].header == "steps"
    (line,) = forecast.forecast(sweep, budgeted, "H100", None)
    assert line.steps == forecast.MEASURED
    other = [trial(time=60.0, batch_size=64)]  # of another batch nothing is known
    (line,) = forecast.forecast(Plan(other, tmp_path, tmp_path), other, "Abacus", None)
    assert line.steps == forecast.MEASURED
    untrained = [trial(method="zeroshot", time=60.0)]
    (line,) = forecast.forecast(Plan(untrained, tmp_path, tmp_path), untrained, "Abacus", None)
    assert (line.steps, line.seconds) == (None, None)


@pytest.mark.parametrize("batch", [1024, None])
@pytest.mark.parametrize("steps", [forecast.MEASURED, 123_456, None])
def test_a_dry_run_breaks_no_word_of_a_call(batch: int | None, steps: int | str | None) -> None:
    """80 letters hold all columns; calls are broken between their settings."""
    calls = ["lora(lr=0.01)", "uniadapter", "adapter(parallel=True, lr=0.03)"]
    lines = [
        forecast.Line("ucm", "starter", call, Counter(states), 99, 2**36, 7200.0, batch, steps)
        for call in calls
        for states in ({}, {"ok": 10, "not_applicable": 12, "out_of_memory": 3})
    ]
    file = io.StringIO()
    Console(width=80, file=file, color_system=None).print(forecast.table(lines))
    shown = file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("lora(lr=0.01)", "uniadapter", "adapter(parallel=True,", "lr=0.03)", "2:00:00"):
        assert shown.count(part) >= 2, shown
    for word in ("applicable", *(["1,024"] if batch else ["65,536"])):
        assert word in shown, shown


def test_a_dry_run_says_why_no_memory_is_predicted(tmp_path: Path) -> None:
    one = trial(method="linear", memory=2**10)
    (line,) = forecast.forecast(
        Plan([one], tmp_path, tmp_path), [one], None, lambda done, total, what: None
    )
    assert "not even a batch of 2 fits memory=1KiB" in str(line.reason)


def test_steps_at_the_batch_that_a_memory_comes_to(tmp_path: Path) -> None:
    one = trial(time=60.0, memory=2**30)
    done(tmp_path, trial(5, steps=40, batch_size=256), 256, 512.0, trained=20)
    known = [json.loads(path.read_text()) for path in record.paths(tmp_path)]
    assert forecast.steps(one, 256, known, None) == 120
    assert forecast.steps(one, 512, known, None) == forecast.MEASURED
    assert forecast.steps(one, None, known, None) == forecast.MEASURED


def test_a_plan_names_the_batch_that_its_prediction_fits(tmp_path: Path) -> None:
    """The same bytes as of a plan for that batch, and twice the batch is over."""
    one = trial(method="lora", memory=300 * 2**20)
    (row,) = plan.plan([one])
    batch = row.figures["batch_size"]
    assert batch in fitting_batch.sizes(1680)
    assert row.figures["predicted_peak_bytes"] <= 300 * 2**20
    (given,) = plan.plan([trial(method="lora", batch_size=batch)])
    assert given.figures == row.figures
    (double,) = plan.plan([trial(method="lora", batch_size=2 * batch)])
    assert double.figures["predicted_peak_bytes"] > 300 * 2**20
    (none,) = plan.plan([trial(method="lora", memory=2**20)])
    assert "not even a batch of 2 fits memory=1MiB" in str(none.reason)


def test_cached_features_need_less_memory_than_towers() -> None:
    one = trial(method="linear", batch_size=64)
    (towers,) = plan.plan([one])
    (cached,) = plan.plan([replace(one, cached_features=4)])
    assert cached.figures["activation_bytes"] < towers.figures["activation_bytes"] / 2


# Groups.


@pytest.mark.parametrize("time", [45.0, None])
def test_cached_features_stand_with_the_rest_under_an_equal_time(
    tmp_path: Path, time: float | None
) -> None:
    documents = [fakes.record(name, recipe={"time": time}) for name in ("cmer", "lora", "cmer")]
    documents[2]["trial"]["cached_features"] = 4
    documents[2]["identity"] = "0" * 16
    documents[0]["data"]["batch_size"], documents[1]["data"]["batch_size"] = 256, 32
    groups = fakes.groups_of(tmp_path, documents)
    labels = [sorted(row.label for row in group.rows) for group in groups]
    if time is None:
        assert sorted(labels) == [["cmer"], ["cmer", "lora"]]
    else:
        assert labels == [["cmer", "cmer [cached features views=4]", "lora"]]
        assert ablations(groups[0]) == []  # caching is no setting of the method
