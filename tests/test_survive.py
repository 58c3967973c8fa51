"""Trials that are killed, run out of memory, time or disk; sweeps that meet in one folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import train, trial
from bench.recipe import Recipe
from bench.spec import resolve
from bench.trial import Trial
from methods import registry


class Killed(BaseException):
    """What stands for SIGKILL in one process: nothing catches it."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measuring after training."""
    monkeypatch.setattr(train, "_measure", lambda *_: {})


def made(root: Path, method: str, seed: int = 0, steps: int = 9, **settings: Any) -> Trial:
    call = resolve(method, settings, registry())
    recipe = Recipe(steps=steps, batch_size=4, evaluations=3, precision="fp32")
    card = str(root / "tiny.toml")
    return Trial(card, "starter", method, call.text, dict(call.settings), None, recipe, seed, {})


def ran(one: Trial, root: Path, results: str, kill: int | None = None) -> dict[str, Any]:
    """The record of a trial with a checkpoint after each step, killed after step `kill`."""

    def progress(state: dict[str, Any]) -> None:
        if kill is not None and state.get("step", 0) > kill:
            raise Killed

    return trial.run(one, root, root / results, progress, {}, every=0.0)


@pytest.mark.parametrize(
    ("method", "settings", "kills"),
    [
        ("cmer", {"queue": 8, "queue_start": 0.0, "scene_p": 0.5}, [2, 7]),
        ("mrs_adapter", {}, [3]),
        ("lora", {"dropout": 0.3}, [6]),
        ("linear", {}, [8]),
    ],
)
def test_a_killed_trial_goes_on_bit_for_bit(
    tiny: Path, method: str, settings: dict[str, Any], kills: list[int]
) -> None:
    one = made(tiny, method, **settings)
    whole = ran(one, tiny, "whole")
    assert whole["status"] == "ok", whole["traceback"]
    for kill in kills:
        with pytest.raises(Killed):
            ran(one, tiny, "killed", kill)
        torch.rand(3), np.random.rand(3)  # another process's random states are its own
    again = ran(one, tiny, "killed")
    assert again["resumed"] == len(kills)
    assert again["metrics"] == whole["metrics"]
    assert again["curve"] == whole["curve"]
    assert again["best_step"] == whole["best_step"]
