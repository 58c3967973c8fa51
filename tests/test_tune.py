"""The learning-rate search: grid, winners, the file in between."""

import json
from pathlib import Path

import pytest

from bench import UserError, tune
from bench.recipe import Recipe
from bench.sweep import Plan
from bench.trial import Trial


def trial(call: str, lr: float | None = None, seed: int = 0) -> Trial:
    name = call.split("(")[0]
    return Trial("ucm", "starter", name, call, {"x": call}, lr, Recipe(), seed, {})


def search(tmp_path: Path, scores: dict[float, float | None]) -> tuple[Plan, Plan]:
    plan = Plan([trial("lora(rank=4)")], tmp_path, tmp_path)
    searched = tune.widen(plan, {"lora": 1e-3}, [0.3, 1, 3])
    for one in searched.trials:
        path = one.path(tmp_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        score = scores[one.lr or 0]
        done = {"schema": 1, "trial": {}, "status": "ok" if score is not None else "diverged"}
        path.write_text(json.dumps({**done, "metrics": {"val": {"mR": score}}}))
    return plan, searched


def test_the_grid_is_around_the_methods_own_rate(tmp_path: Path) -> None:
    _, searched = search(tmp_path, {3e-4: 1, 1e-3: 2, 3e-3: 3})
    assert [t.lr for t in searched.trials] == [3e-4, 1e-3, 3e-3]
    assert searched.trials[0].call == "lora(rank=4, lr=0.0003)"
    assert len({t.identity for t in searched.trials}) == 3


def test_a_rate_in_the_call_is_the_centre(tmp_path: Path) -> None:
    plan = Plan([trial("full(lr=0.0001)", 1e-4)], tmp_path, tmp_path)
    searched = tune.widen(plan, {"full": 1e-5}, [1, 3])
    assert [(t.call, t.lr) for t in searched.trials] == [
        ("full(lr=0.0001)", 1e-4),
        ("full(lr=0.0003)", 3e-4),
    ]


def test_what_trains_nothing_is_left_out(tmp_path: Path) -> None:
    plan = Plan([trial("zeroshot")], tmp_path, tmp_path)
    with pytest.raises(UserError, match="nothing to search"):
        tune.widen(plan, {"zeroshot": None}, [1.0])


def test_the_best_on_validation_wins_and_is_used(tmp_path: Path) -> None:
    plan, searched = search(tmp_path, {3e-4: 10.0, 1e-3: 30.0, 3e-3: 20.0})
    (row,) = tune.winners(plan, searched)
    assert (row["lr"], row["at_edge"]) == (1e-3, False)
    path = tmp_path / "tuned.toml"
    tune.save([row], searched, path)
    applied = tune.apply(Plan([trial("lora(rank=4)"), trial("lora")], tmp_path, tmp_path), path)
    assert [t.lr for t in applied.trials] == [1e-3, None]


def test_a_diverged_rate_cannot_win(tmp_path: Path) -> None:
    plan, searched = search(tmp_path, {3e-4: 10.0, 1e-3: 5.0, 3e-3: None})
    (row,) = tune.winners(plan, searched)
    assert row["lr"] == 3e-4
    assert row["at_edge"]
    with pytest.raises(UserError, match="ended well"):
        tune.winners(*search(tmp_path, {3e-4: None, 1e-3: None, 3e-3: None}))


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("a = 1")
    with pytest.raises(UserError, match="no learning rates"):
        tune.apply(Plan([], tmp_path, tmp_path), tmp_path / "x.toml")
