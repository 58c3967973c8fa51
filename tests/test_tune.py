"""The search for each method: grid, settings, equal budget, winners, the file in between."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

import methods
from bench import UserError, record
from bench.commands import tune as command
from bench.commands.sweeping import report_failures
from bench.console import console
from bench.recipe import Recipe
from bench.report import searches
from bench.spec import load_plugins, parse_calls, resolve
from bench.sweeps import grid, tune, tuned
from bench.sweeps.engine import Outcome
from bench.sweeps.sweep import Plan
from bench.trial import Trial, blank_record
from methods import registry

ROOT = Path(__file__).resolve().parent.parent
RATE = registry()["lora"].lr or 0.0


def trial(text: str) -> Trial:
    ((name, given),) = parse_calls(text)
    call = resolve(name, given, registry())
    settings = dict(call.settings)
    return Trial("ucm", "starter", name, call.text, settings, call.lr, Recipe(), 0, {})


def search(
    tmp_path: Path, calls: list[str], scores: dict[str, float | None], **more: Any
) -> tune.Search:
    """A search whose records have these validation mR by call; None: diverged."""
    plan = Plan([trial(call) for call in calls], tmp_path, tmp_path)
    found = tune.widen(plan, **more)
    for one in found.plan.trials:
        path = one.path(tmp_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        score = scores.get(one.call, 1.0)
        path.write_text(json.dumps(recorded(one, score)))
    return found


def recorded(one: Trial, score: float | None) -> dict[str, Any]:
    """The record of a trial with this validation mR; None: it diverged."""
    ended = {"status": "diverged"} if score is None else {"metrics": {"val": {"mR": score}}}
    return {**blank_record(one), **ended, "environment": {}}


def rates(found: tune.Search) -> list[float | None]:
    return [trial.lr for trial in found.plan.trials]


def at(factor: float) -> float:
    return float(f"{RATE * factor:.3g}")


def test_the_grid_is_around_the_methods_own_rate(tmp_path: Path) -> None:
    found = search(tmp_path, ["lora(rank=4)"], {})
    assert rates(found) == [at(0.3), at(1), at(3)]
    assert found.plan.trials[0].call == f"lora(rank=4, lr={at(0.3):g})"
    assert len({t.identity for t in found.plan.trials}) == 3


def test_a_rate_in_the_call_is_the_centre(tmp_path: Path) -> None:
    found = search(tmp_path, ["full(lr=0.0001)"], {}, factors=[1, 3])
    assert [(t.call, t.lr) for t in found.plan.trials] == [
        ("full(lr=0.0001)", 1e-4),
        ("full(lr=0.0003)", 3e-4),
    ]
    with pytest.raises(UserError, match="name one as the centre"):
        search(tmp_path, ["full(lr=0.0001)", "full"], {})


def test_rates_that_are_written_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="so some are the same; give --factors"):
        search(tmp_path, ["lora(lr=3e-4)"], {}, factors=[1.0, 1.0000001])


def test_what_trains_nothing_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to search"):
        search(tmp_path, ["zeroshot"], {})


def test_settings_are_searched_with_the_rate(tmp_path: Path) -> None:
    space = grid.space_of(["lora(rank=[4, 16], lr=[1e-4, 1e-3])"])
    found = search(tmp_path, ["lora", "lora(rank=2)"], {}, space=space, trials=2)
    assert [(one.place[-1], one.grid_size) for one in found.searched] == [
        ("lora", 4),
        ("lora(rank=2)", 2),
    ]
    assert {t.settings["rank"] for t in found.plan.trials} <= {2, 4, 16}
    stated = [call.text for call in found.searched[1].calls]
    assert stated == ["lora(rank=2, lr=0.0001)", "lora(rank=2, lr=0.001)"]


def test_each_method_has_the_same_number_of_trials_and_a_seed_draws(tmp_path: Path) -> None:
    space = grid.space_of(["lora(rank=[2, 4, 16, 32])"])
    calls = ["lora", "linear"]

    def drawn(seed: int) -> list[str]:
        found = search(tmp_path, calls, {}, space=space, draw_seed=seed)
        assert found.drawn
        assert [t.method for t in found.plan.trials] == ["lora"] * 3 + ["linear"] * 3
        return [t.call for t in found.plan.trials]

    assert drawn(0) == drawn(0)
    assert len({tuple(drawn(seed)) for seed in range(5)}) > 1
    with pytest.raises(UserError, match="grid of linear has 3 points, fewer than --trials 4"):
        search(tmp_path, calls, {}, space=space, trials=4)
    with pytest.raises(UserError, match="--methods does not"):
        search(tmp_path, ["linear"], {}, space=space)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("lora(rank=8)", "takes a list of different values"),
        ("lora(rank=[8, 8])", "takes a list of different values"),
        ("lora(rnak=[8])", "did you mean 'rank'"),
        ("lora(rank=['a'])", "takes a whole number"),
        ("lora", "names no setting"),
        ("lora(rank=[4]),lora(alpha=[4])", "names lora twice"),
        ("lorra(rank=[4])", "did you mean 'lora'"),
    ],
)
def test_a_space_that_is_none_is_one_sentence(call: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        grid.space_of([call])


def test_the_best_on_validation_wins_and_is_used(tmp_path: Path) -> None:
    best = f"lora(rank=4, lr={at(1):g})"
    found = search(tmp_path, ["lora(rank=4)"], {best: 30.0})
    (row,), _ = found.winners()
    assert (row["lr"], row["at_edge"], "settings" in row) == (at(1), False, False)
    path = tmp_path / "tuned.toml"
    tuned.save([row], found, path)
    plan = Plan([trial("lora(rank=4)"), trial("lora"), trial("zeroshot")], tmp_path, tmp_path)
    applied, without = tuned.apply(plan, path)
    assert [t.lr for t in applied.trials] == [at(1), None, None]
    assert without == ["lora on ucm starter"]


def test_a_file_keeps_the_winners_of_other_calls(tmp_path: Path) -> None:
    file = tmp_path / "tuned.toml"
    first = search(tmp_path, ["lora"], {f"lora(lr={at(1):g})": 30.0})
    tuned.save(first.winners()[0], first, file)
    second = search(tmp_path, ["linear"], {"linear(lr=0.003)": 20.0})
    tuned.save([*tuned.others(second, file), *second.winners()[0]], second, file)
    assert [row["call"] for row in tuned.read(file)["tuned"]] == ["lora", "linear"]
    again = search(tmp_path, ["lora"], {f"lora(lr={at(2):g})": 40.0})
    assert [row["call"] for row in tuned.others(again, file)] == ["linear"]
    other = search(tmp_path, ["lora"], {}, factors=[1.0, 2.0])
    with pytest.raises(UserError, match="another points; write these to another file"):
        tuned.others(other, file)


def test_settings_that_won_are_part_of_the_call(tmp_path: Path) -> None:
    space = grid.space_of(["lora(rank=[4, 16, 32])"])
    best = f"lora(rank=16, lr={at(3):g})"
    found = search(tmp_path, ["lora"], {best: 30.0}, space=space)
    (row,), _ = found.winners()
    assert (row["lr"], row["settings"], row["tried"]) == (
        at(3),
        {"rank": 16},
        {"rank": [4, 16, 32]},
    )
    assert (row["at_edge"], row["settings_at_edge"]) == (True, [])
    path = tmp_path / "tuned.toml"
    tuned.save([row], found, path)
    plan = Plan([trial("lora"), trial("lora(alpha=4)")], tmp_path, tmp_path)
    applied, _ = tuned.apply(plan, path)
    assert [(t.call, t.lr) for t in applied.trials] == [
        ("lora(rank=16)", at(3)),
        ("lora(alpha=4)", None),
    ]
    assert applied.trials[0].settings["rank"] == 16
    [(_, about, table)] = searches.tables(tmp_path, pytest.fail)
    assert "9 points for each method, up to 15 where" in about
    assert "seed 0, 30 epochs at batch 128" in about
    *_, tried, _, winner = (cell.text for cell in table.rows[0])
    assert tried.endswith("rank 4, 16, 32")
    assert winner == f"lr {at(3):g}, rank 16 (edge of the grid: lr)"


def test_a_setting_that_was_drawn_alone_is_not_lost(tmp_path: Path) -> None:
    space = grid.space_of(["lora(rank=[4])"])
    (row,), _ = search(tmp_path, ["lora"], {}, space=space).winners()
    assert row["settings"] == {"rank": 4}


NARROW = """
from methods import register
from methods.base import Method


@register("narrow")
class Narrow(Method):
    lr = 1e-3

    def __init__(self, model, *, width: int | None = None, note: str = "None"):
        super().__init__(model)
"""


def test_a_setting_of_none_and_any_text_are_written_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TOML has no null: a file with one could be written and not be read."""
    monkeypatch.setattr(methods, "_REGISTRY", dict(registry()))
    (tmp_path / "narrow.py").write_text(NARROW)
    load_plugins([tmp_path / "narrow.py"])
    text = 'a "quoted" \\ text\nof two lines, \u00fc'
    space = {"narrow": {"width": [None, 4], "note": ["None", text]}}
    settings = {"width": None, "note": text}
    best = resolve("narrow", {**settings, "lr": 1e-3}, registry()).text
    found = search(tmp_path, ["narrow"], {best: 30.0}, space=space)
    path = tmp_path / "tuned.toml"
    tuned.save(found.winners()[0], found, path)
    (row,) = tuned.read(path)["tuned"]
    assert (row["settings"], row["tried"]["width"]) == (settings, ["None", 4])
    elsewhere = Plan([replace(trial("narrow"), dataset="rsicd")], tmp_path, tmp_path)
    other = tune.widen(elsewhere, space=space)
    tuned.save(tuned.others(other, path), other, path)  # kept while another search is written
    (row,) = tuned.read(path)["tuned"]
    assert row["settings"] == settings
    applied, _ = tuned.apply(Plan([trial("narrow")], tmp_path, tmp_path), path)
    assert applied.trials[0].settings == settings


def test_a_diverged_point_cannot_win(tmp_path: Path) -> None:
    calls = [f"linear(lr={lr:g})" for lr in (3e-4, 1e-3, 3e-3)]
    scores = dict(zip(calls, (10.0, 5.0, None), strict=True))
    (row,), _ = search(tmp_path, ["linear(lr=1e-3)"], scores).winners()
    assert (row["lr"], row["val_mR"]) == (3e-4, [10.0, 5.0, -1.0])
    assert row["at_edge"]
    every = search(tmp_path, ["linear(lr=1e-3)"], dict.fromkeys(calls))
    assert every.winners() == ([], ["linear on ucm starter"])


def test_a_method_that_never_ends_well_takes_no_other_with_it(tmp_path: Path) -> None:
    calls = [f"linear(lr={lr:g})" for lr in (3e-4, 1e-3, 3e-3)]
    (row,), without = search(tmp_path, ["linear", "lora"], dict.fromkeys(calls)).winners()
    assert row["call"] == "lora"
    assert without == ["linear on ucm starter"]


def test_winners_are_those_of_a_card_and_of_weights_wherever_they_lie(tmp_path: Path) -> None:
    def at_place(folder: str) -> Trial:
        place = {"dataset": f"{folder}my.toml", "backbone": f"starter:{folder}mine.pt"}
        return replace(trial("lora"), **place)

    found = tune.widen(Plan([at_place("a/")], tmp_path, tmp_path), factors=[2])
    for one in found.plan.trials:
        record.write(one.path(tmp_path), recorded(one, 1.0))
    tuned.save(found.winners()[0], found, tmp_path / "tuned.toml")
    plan = Plan([at_place("")], tmp_path, tmp_path)
    applied, without = tuned.apply(plan, tmp_path / "tuned.toml")
    assert (applied.trials[0].lr, without) == (at(2), [])


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    for text in ("a = 1", "[[tuned]]\nlr = 1", "="):
        (tmp_path / "x.toml").write_text(text)
        with pytest.raises(UserError, match="no learning rates"):
            tuned.apply(Plan([], tmp_path, tmp_path), tmp_path / "x.toml")


def test_the_older_form_is_read_and_told(tmp_path: Path) -> None:
    row = 'dataset = "ucm"\nbackbone = "starter"\ncall = "lora"\nlr = 0.006\n'
    row += "grid = [0.0006, 0.006]\nval_mR = [16.2, 25.1]\nat_edge = true\n"
    head = "recipe = { epochs = 30.0, steps = 30, batch_size = 128 }\nseeds = [0]\n"
    (tmp_path / "tuned-ucm.toml").write_text(f"{head}\n[[tuned]]\n{row}")
    applied, _ = tuned.apply(Plan([trial("lora")], tmp_path, tmp_path), tmp_path / "tuned-ucm.toml")
    assert (applied.trials[0].call, applied.trials[0].lr) == ("lora", 0.006)
    [(_, about, table)] = searches.tables(tmp_path, pytest.fail)
    assert "2 points for each method, seed 0, 30 steps at batch 128" in about
    words = ["lora", "lr 0.0006, 0.006", "16.2, 25.1", "lr 0.006 (edge of the grid: lr)"]
    assert [cell.text for cell in table.rows[0]] == ["ucm", "starter", *words]
    assert searches.tables(tmp_path / "nowhere", pytest.fail) == []


def ran(search: tune.Search, mr: Any) -> tune.Search:
    """The search when each trial has the record that `mr` says for its rate; None: it diverged."""
    for one in search.plan.trials:
        path = one.path(search.plan.results)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(recorded(one, mr(one))))
    return search


def grown(search: tune.Search, mr: Any) -> tune.Search:
    """The search at its end."""
    for _ in range(20):
        if not ran(search, mr).grow():
            return search
    raise AssertionError("it grows for ever")


def start(tmp_path: Path, calls: list[str], **more: Any) -> tune.Search:
    return tune.widen(Plan([trial(call) for call in calls], tmp_path, tmp_path), **more)


def test_a_grid_grows_while_its_best_rate_is_the_last_that_was_tried(tmp_path: Path) -> None:
    def peak(one: Trial) -> float:
        return 50.0 - abs((one.lr or 0.0) - (0.0 if one.method == "lora" else 1e-3))

    found = grown(start(tmp_path, ["linear(lr=1e-3)", "lora"]), peak)
    linear, lora = ([t.lr for t in found.plan.trials if t.method == m] for m in ("linear", "lora"))
    assert linear == [3e-4, 1e-3, 3e-3]  # its best lies between two others
    assert lora == [at(0.3), at(1), at(3), at(0.09), at(0.027)]  # up to the limit
    (first, second), _ = found.winners()
    assert (first["at_edge"], second["at_edge"]) == (False, True)
    assert second["grid"] == sorted(lora)
    assert second["val_mR"] == sorted(second["val_mR"], reverse=True)  # in the order of the grid
    tuned.save([first, second], found, tmp_path / "tuned.toml")
    [(_, about, table)] = searches.tables(tmp_path, pytest.fail)
    assert "3 points for each method, up to 5 where the best lay at the edge" in about
    assert table.heads[3] == "points"
    assert [row[3].text for row in table.rows] == ["3", "5"]
    assert [("edge of the grid" in row[-1].text) for row in table.rows] == [False, True]


def test_no_grid_grows_beyond_the_limit_nor_where_it_is_the_start(tmp_path: Path) -> None:
    def up(one: Trial) -> float:
        return float(one.lr or 0.0)

    for limit in (3, 4, 7):
        found = grown(start(tmp_path, ["lora", "linear"], max_points=limit), up)
        methods_ = [t.method for t in found.plan.trials]
        assert {methods_.count(name) for name in ("lora", "linear")} == {limit}
        assert (start(tmp_path, ["lora", "linear"], max_points=limit).more, found.more) == (
            2 * (limit - 3),
            0,
        )
    with pytest.raises(UserError, match="--max-points 2 is less than the 3 points"):
        start(tmp_path, ["lora"], max_points=2)


def test_a_rate_that_diverged_is_the_end(tmp_path: Path) -> None:
    def below(limit: float) -> Any:
        return lambda one: None if one.lr > limit else 10 + one.lr

    calls = ["full(lr=1e-3)"]
    found = grown(start(tmp_path / "a", calls), below(3e-3))
    assert rates(found) == [3e-4, 1e-3, 3e-3, 9e-3]
    (row,), _ = found.winners()
    assert (row["lr"], row["at_edge"], row["val_mR"][-1]) == (3e-3, False, -1.0)
    # where every rate diverged, smaller ones are tried
    found = grown(start(tmp_path / "b", calls), below(1e-4))
    assert rates(found) == [3e-4, 1e-3, 3e-3, 9e-5, 2.7e-5]
    assert found.winners()[0][0]["lr"] == 9e-5


def test_settings_that_are_numbers_grow_too_within_their_range(tmp_path: Path) -> None:
    def score(one: Trial) -> float:
        return 10.0 + one.settings["rank"] + one.settings["dropout"] - abs(one.lr - 1e-3)

    space = {"lora": {"rank": [4, 8], "dropout": [0.4, 0.8], "lr": [3e-4, 1e-3, 3e-3]}}
    found = grown(start(tmp_path, ["lora"], space=space, max_points=14), score)
    assert {t.settings["rank"] for t in found.plan.trials} == {4, 8, 16, 32}
    (row,), _ = found.winners()
    assert (row["settings"], row["tried"]["rank"]) == ({"rank": 32, "dropout": 0.8}, [4, 8, 16, 32])
    assert row["settings_at_edge"] == ["rank"]  # dropout is below 1
    assert found.beyond_settings == {row["points"][-1], row["points"][-2]}


def test_a_search_that_grew_goes_on_from_its_records(tmp_path: Path) -> None:
    def up(one: Trial) -> float:
        return float(one.lr or 0.0)

    first = grown(start(tmp_path, ["lora"]), up)
    again = start(tmp_path, ["lora"])
    again.resume()
    assert [t.identity for t in again.plan.trials] == [t.identity for t in first.plan.trials]


@pytest.mark.parametrize(
    ("before", "last", "following"),
    [
        (1e-3, 3e-3, 9e-3),
        (1e-3, 3e-4, 9e-5),
        (4, 8, 16),
        (2, 1, None),  # half a rank
        (0, 64, 128),
        (0.2, 0.0, None),
        (-1, -2, -3),
        (1.0, 1.001, None),
    ],
)
def test_the_next_value(before: float, last: float, following: float | None) -> None:
    assert grid.next_value(before, last) == following


def test_the_rate_of_the_recipe_is_the_centre(tmp_path: Path) -> None:
    plan = Plan([replace(trial("lora"), recipe=Recipe(lr=0.1))], tmp_path, tmp_path)
    assert rates(tune.widen(plan)) == [0.03, 0.1, 0.3]


def test_a_value_beyond_the_users_that_a_method_refuses_is_a_failed_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused value that the user listed ends the search; one that the search chose does not."""
    begun: list[list[str]] = []

    def run_trials(screen: Any, plan: Plan, todo: list[Trial], *_: Any, **__: Any) -> list[Outcome]:
        begun.append([one.call for one in todo])
        ended = []
        for one in todo:
            if one.settings["rank"] == refused:
                return [*ended, Outcome(one, "user_error", "too wide")]
            record.write(one.path(plan.results), recorded(one, 10.0 + one.settings["rank"]))
            ended.append(Outcome(one, "ok"))
        return ended

    monkeypatch.setattr(command, "run_trials", run_trials)
    space = {"lora": {"rank": [4, 8], "lr": [1e-3]}}
    refused = 16
    wish = start(tmp_path, ["lora"], space=space)
    outcomes = command._run(console(), wish, None, retry_failed=False)  # type: ignore[arg-type]
    assert [len(calls) for calls in begun] == [2, 1]
    assert "lora(rank=16, lr=0.001) cannot be tried: too wide" in capsys.readouterr().out
    assert not report_failures(console(), [o.trial for o in outcomes], outcomes)
    (row,), _ = wish.winners()
    assert (row["settings"], row["settings_at_edge"]) == ({"rank": 8}, [])
    refused = 4
    wish = start(tmp_path / "b", ["lora"], space=space)
    outcomes = command._run(console(), wish, None, retry_failed=False)  # type: ignore[arg-type]
    with pytest.raises(typer.Exit):
        report_failures(console(), wish.plan.trials, outcomes)
