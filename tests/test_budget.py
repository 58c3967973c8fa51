"""Equal budgets: a recipe's `time` and `memory`, on a clock that the tests move."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import train, trial
from bench.measure import training_clock
from bench.recipe import Recipe
from bench.spec import resolve
from bench.trial import Trial
from methods import registry
from tests.helpers.curves import untimed
from tests.helpers.hand import Hand

RECIPE = Recipe(batch_size=4, evaluations=3, precision="fp32")


class Steps:
    """Makes each training step take time on the hand's clock: by default a second."""

    def __init__(self, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.real = 0, train.Trainer.step
        self.seconds = lambda number: 1.0
        self.hand = hand

        def step(trainer: train.Trainer, batches: list[Any]) -> torch.Tensor:
            self.count += 1
            hand.move(self.seconds(self.count))
            return self.real(trainer, batches)

        monkeypatch.setattr(train.Trainer, "step", step)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What a step takes; nothing is measured after the training."""
    hand = Hand()
    monkeypatch.setattr(training_clock, "now", hand)
    monkeypatch.setattr(train, "_measure", lambda *_: {})
    return Steps(hand, monkeypatch)


def made(root: Path, method: str, recipe: Recipe, views: int = 0, **settings: Any) -> Trial:
    call = resolve(method, settings, registry())
    card = str(root / "tiny.toml")
    parts = (call.text, dict(call.settings), None, recipe, 0, {}, views)
    return Trial(card, "starter", method, *parts)


def ran(one: Trial, root: Path, results: str = "results", **given: Any) -> dict[str, Any]:
    progress = given.pop("progress", lambda _: None)
    return trial.run(one, root, root / results, progress, {}, **given)


CMER = {"queue": 8, "queue_start": 0.0, "scene_p": 0.5}


@pytest.mark.parametrize(
    ("method", "settings", "views"),
    [("cmer", CMER, 0), ("cmer", CMER, 2), ("lora", {"dropout": 0.3}, 0)],
)
def test_a_budget_of_n_steps_is_the_training_of_n_steps(
    tiny: Path, steps: Steps, method: str, settings: dict[str, Any], views: int
) -> None:
    """Measuring the speed leaves no trace: not in weights, queues, random numbers, captions."""
    given = ran(made(tiny, method, replace(RECIPE, steps=9), views, **settings), tiny)
    steps.count = 0
    found = ran(made(tiny, method, replace(RECIPE, time=9.5), views, **settings), tiny)
    assert found["status"] == "ok", found["traceback"] or found["message"]
    assert steps.count >= 9 + 6  # it was measured
    assert found["efficiency"]["budget_steps"] == 9
    assert untimed(found["curve"]) == untimed(given["curve"])
    assert found["metrics"] == given["metrics"]
