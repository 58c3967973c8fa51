"""Equal budgets: a recipe's `time` and `memory`, on a clock that the tests move."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from bench import evaluate, trial_run
from bench.measure import fitting_batch, training_clock
from bench.messages import Event, Stage
from bench.recipe import Recipe, merge_recipe, parse_recipe, written
from bench.training import budget, features, train, trainer
from bench.training.batches import Loader, TokenTable
from bench.trial import Trial
from methods.base import NotApplicable
from tests.helpers.curves import untimed
from tests.helpers.hand import Hand
from tests.helpers.killed import Killed, killed_after
from tests.helpers.tiny import trial

RECIPE = Recipe(batch_size=4, evaluations=3, precision="fp32")


class Steps:
    """Makes each training step take time on the hand's clock: by default a second."""

    def __init__(self, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.real = 0, trainer.Trainer.step
        self.seconds = lambda number: 1.0
        self.hand = hand

        def step(own: trainer.Trainer, batches: list[Any]) -> torch.Tensor:
            self.count += 1
            hand.move(self.seconds(self.count))
            return self.real(own, batches)

        monkeypatch.setattr(trainer.Trainer, "step", step)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What a step takes; nothing is measured after the training."""
    hand = Hand()
    monkeypatch.setattr(training_clock, "now", hand)
    monkeypatch.setattr(train, "step_costs", lambda *_: {})
    return Steps(hand, monkeypatch)


def ran(one: Trial, root: Path, results: str = "results", **given: Any) -> dict[str, Any]:
    progress = given.pop("progress", lambda _: None)
    return trial_run.run(one, root, root / results, progress, {}, **given)


CMER = {"queue": 8, "queue_start": 0.0, "scene_p": 0.5}


@pytest.mark.parametrize(
    ("method", "settings", "views"),
    [("cmer", CMER, 0), ("cmer", CMER, 2), ("lora", {"dropout": 0.3}, 0)],
)
def test_a_budget_of_n_steps_is_the_training_of_n_steps(
    tiny: Path, steps: Steps, method: str, settings: dict[str, Any], views: int
) -> None:
    """Measuring the speed leaves no trace: not in weights, queues, random numbers, captions."""
    given = ran(trial(tiny, method, replace(RECIPE, steps=9), views, **settings), tiny)
    steps.count = 0
    found = ran(trial(tiny, method, replace(RECIPE, time=9.5), views, **settings), tiny)
    assert found["status"] == "ok", found["traceback"] or found["message"]
    assert steps.count >= 9 + 6  # it was measured
    assert found["efficiency"]["budget_steps"] == 9
    assert untimed(found["curve"]) == untimed(given["curve"])
    assert found["metrics"] == given["metrics"]


def test_captions_met_while_measuring_make_no_text_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def tokens(captions: list[str]) -> torch.Tensor:
        return torch.tensor([[1] * len(text) + [0] * (20 - len(text)) for text in captions])

    table = TokenTable(tokens, 0)
    table.add(["short"])
    monkeypatch.setattr(budget, "all_captions", lambda *_: iter(["a much longer one"]))
    own = budget._apart(cast(Loader, SimpleNamespace(table=table)))
    assert (own.table.length, table.length) == (17, 5)
    assert table(["a much longer one"]).shape == (1, 17)  # met here for the first time


def test_the_speed_is_measured_after_a_slow_start(tiny: Path, steps: Steps) -> None:
    """The first two steps, which look for memory and kernels, do not count."""
    steps.seconds = lambda number: 30.0 if number <= 2 else 0.5
    found = ran(trial(tiny, "linear", replace(RECIPE, time=20.0)), tiny)
    assert found["efficiency"]["budget_steps"] == 40
    assert found["efficiency"]["budget_step_seconds"] == pytest.approx(0.5)


def test_evaluation_does_not_count(
    tiny: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = evaluate.Evaluation.features

    def features(*given: Any) -> Any:
        steps.hand.move(50)
        return real(*given)

    monkeypatch.setattr(evaluate.Evaluation, "features", features)
    found = ran(trial(tiny, "linear", replace(RECIPE, time=9.0)), tiny)
    assert [(p["step"], p["train_seconds"]) for p in found["curve"]] == [(3, 3), (6, 6), (9, 9)]
    assert found["efficiency"]["budget_seconds_used"] == 9
    assert found["efficiency"]["budget_warning"] is None
    assert found["efficiency"]["budget_corrections"] == 0


@pytest.mark.parametrize(
    "speed",
    [
        lambda done: 1.0 + done,  # slower and slower
        lambda done: 1.0 if done < 0.5 else 0.6,  # faster
        lambda done: 1.3 if done < 0.1 else 1.0,  # a start that is slow for long
    ],
)
def test_a_machine_that_changes_its_speed_ends_in_time(
    tiny: Path, steps: Steps, speed: Callable[[float], float]
) -> None:
    measured = 2 + 4
    steps.seconds = lambda number: speed(max(0, number - measured) / 100)
    recipe = replace(RECIPE, time=100.0, evaluations=10)
    found = ran(trial(tiny, "linear", recipe), tiny)
    efficiency, curve = found["efficiency"], found["curve"]
    assert efficiency["budget_seconds_used"] == pytest.approx(100, rel=0.03)
    assert efficiency["budget_warning"] is None
    assert efficiency["budget_corrections"] > 0
    assert curve[-1]["step"] == efficiency["budget_steps"] != efficiency["budget_planned_steps"]
    assert len(curve) == 10
    rates = [point["lr"] for point in curve]  # after the warm-up it falls all the way to the end
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01 * rates[0]


def test_a_training_that_misses_its_time_says_so(tiny: Path, steps: Steps) -> None:
    steps.seconds = lambda number: 1.0 if number <= 6 else 2.0
    found = ran(trial(tiny, "linear", replace(RECIPE, time=10.0, evaluations=1)), tiny)
    assert found["efficiency"]["budget_seconds_used"] == 20
    assert found["efficiency"]["budget_warning"] == "time budget missed by +100%"


def test_a_time_that_holds_no_training_is_one_sentence(tiny: Path, steps: Steps) -> None:
    found = ran(trial(tiny, "linear", replace(RECIPE, time=2.0)), tiny)
    assert (found["status"], found["traceback"]) == ("not_applicable", None)
    assert found["message"] == (
        "time=2s is too short: a training step takes 1 s, so that 2 fit; give at least 3s"
    )


def test_a_killed_trial_goes_on_within_its_budget(tiny: Path, steps: Steps) -> None:
    """Steps, batch and seconds are those of before; nothing is measured again."""
    one = trial(tiny, "cmer", replace(RECIPE, time=12.0, batch_size=128, memory=2**30), **CMER)
    whole = ran(one, tiny, "whole", every=0.0)
    assert whole["status"] == "ok", whole["traceback"] or whole["message"]

    with pytest.raises(Killed):
        ran(one, tiny, every=0.0, progress=killed_after(7))
    steps.count = 0
    steps.hand.move(1000)
    events: list[Event] = []
    again = ran(one, tiny, every=0.0, progress=events.append)
    assert again["resumed"] == 1
    assert steps.count == 12 - 7
    assert Stage("measuring speed") not in events
    assert Stage("choosing the batch") not in events
    assert again["data"]["batch_size"] == whole["data"]["batch_size"] == 2
    assert again["curve"] == whole["curve"]
    assert again["efficiency"]["budget_seconds_used"] == 12


def test_a_resumed_trial_keeps_the_corrected_schedule(tiny: Path, steps: Steps) -> None:
    steps.seconds = lambda number: 1.0 if steps.hand.time < 130 else 2.0
    one = trial(tiny, "linear", replace(RECIPE, time=40.0, evaluations=8))
    whole = ran(one, tiny, "whole", every=0.0)
    assert whole["efficiency"]["budget_corrections"] > 0
    steps.hand.time = 100.0
    with pytest.raises(Killed):
        ran(one, tiny, every=0.0, progress=killed_after(28))
    again = ran(one, tiny, every=0.0)
    assert again["resumed"] == 1
    assert again["curve"] == whole["curve"]


def test_caching_features_counts(tiny: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    real = features.Features.build

    def build(self: features.Features, *given: Any) -> None:
        real(self, *given)
        self.seconds = 10.0

    monkeypatch.setattr(features.Features, "build", build)
    found = ran(trial(tiny, "linear", replace(RECIPE, time=22.0), views=2), tiny)
    assert found["status"] == "ok", found["traceback"] or found["message"]
    assert found["efficiency"]["budget_steps"] == 12
    assert [point["train_seconds"] for point in found["curve"]] == [14, 18, 22]
    short = ran(trial(tiny, "linear", replace(RECIPE, time=9.0), views=2), tiny)
    assert short["status"] == "not_applicable"
    assert "after the 10 s of caching features" in short["message"]


# Memory.


def test_the_largest_power_of_two_that_fits() -> None:
    assert fitting_batch.sizes(1680) == [2, 4, 8, 16, 32, 64, 128, 256]
    assert fitting_batch.sizes(8) == fitting_batch.sizes(3) == [2]
    seen: list[int] = []

    def bytes_of(batch: int) -> int:
        seen.append(batch)
        return 1000 + 10 * batch

    assert fitting_batch.largest_within(1640, 1680, bytes_of, "the bytes") == (64, 1640)
    assert fitting_batch.largest_within(1639, 1680, bytes_of, "the bytes") == (32, 1320)
    assert fitting_batch.largest_within(10**6, 1680, bytes_of, "the bytes") == (256, 3560)
    with pytest.raises(NotApplicable, match="fits memory=1kB: the bytes are predicted to be 1020"):
        fitting_batch.largest_within(1000, 1680, bytes_of, "the bytes")


@pytest.mark.parametrize(
    ("method", "recipe", "views"),
    [
        ("cmer", {}, 0),
        ("cmer", {"gradcache": 2}, 0),
        ("cmer", {}, 2),
        ("lora", {"checkpointing": True}, 0),
        ("full", {}, 0),
    ],
)
def test_what_is_predicted_is_what_is_kept(
    tiny: Path, method: str, recipe: dict[str, Any], views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "step_rate", lambda *_: None)
    one = replace(RECIPE, steps=2, memory=2**30, **recipe)
    settings = CMER if method == "cmer" else {}
    found = ran(trial(tiny, method, one, views, **settings), tiny)
    assert found["status"] == "ok", found["traceback"] or found["message"]
    assert found["data"]["batch_size"] == 2
    efficiency = found["efficiency"]
    kept = efficiency["saved_for_backward_bytes"]
    assert efficiency["budget_predicted_bytes"] == pytest.approx(kept, rel=0.02)


def test_a_memory_in_which_nothing_fits_is_one_sentence(tiny: Path) -> None:
    found = ran(trial(tiny, "lora", replace(RECIPE, steps=2, memory=4096)), tiny)
    assert (found["status"], found["traceback"]) == ("not_applicable", None)
    assert found["message"].startswith("not even a batch of 2 fits memory=4KiB: the bytes kept ")


# The recipe.


def test_budgets_as_they_are_written() -> None:
    recipe = parse_recipe(["time=1h30m", "memory=24GiB"])
    assert (recipe.time, recipe.memory) == (5400, 24 * 2**30)
    for name, texts in {
        "time": ["10m", "1h30m", "45s", "0.25s"],
        "memory": ["24GiB", "1536MiB", "80GB", "1234567B"],
    }.items():
        for text in texts:
            value = getattr(parse_recipe([f"{name}={text}"]), name)
            assert written(name, value) == text
            assert getattr(parse_recipe([f"{name}={value}"]), name) == value  # as files have it


def test_a_budget_takes_the_place_of_what_it_stands_for() -> None:
    timed = merge_recipe(Recipe(steps=20, batch_size=64), ["time=10m", "memory=1GiB"])
    assert (timed.steps, timed.epochs, timed.time) == (None, Recipe.epochs, 600)
    assert (timed.batch_size, timed.memory) == (Recipe.batch_size, 2**30)
    back = merge_recipe(timed, ["epochs=3", "batch_size=32"])
    assert (back.time, back.memory, back.epochs, back.batch_size) == (None, None, 3, 32)


def test_budgets_are_part_of_the_identity(tiny: Path) -> None:
    plain = trial(tiny, "linear", RECIPE)
    others = [replace(RECIPE, time=60.0), replace(RECIPE, time=61.0), replace(RECIPE, memory=2**30)]
    identities = {trial(tiny, "linear", recipe).identity for recipe in others} | {plain.identity}
    assert len(identities) == 4
