"""The search for each method: grid, settings, equal budget, winners, the file in between."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import methods
from bench import UserError, cli, record
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

RATE = registry()["lora"].lr or 0.0
Score = Callable[[Trial], float | None]
"""The validation mR of a trial; None: it diverged."""


def trial(text: str, **fields: Any) -> Trial:
    ((name, settings),) = parse_calls(text)
    call = resolve(name, settings, registry())
    made = Trial("ucm", "starter", name, call.text, dict(call.settings), call.lr, Recipe(), 0, {})
    return replace(made, **fields)


def start(folder: Path, *calls: str, **options: Any) -> tune.Search:
    """A search of these calls that has no records yet."""
    return tune.widen(Plan([trial(call) for call in calls], folder, folder), **options)


def save_record(one: Trial, results: Path, score: float | None) -> None:
    ended = {"status": "diverged"} if score is None else {"metrics": {"val": {"mR": score}}}
    record.write(one.path(results), {**blank_record(one), **ended, "environment": {}})


def ran(search: tune.Search, score: Score) -> tune.Search:
    """The search when each of its trials has a record."""
    for one in search.plan.trials:
        if not one.path(search.plan.results).exists():
            save_record(one, search.plan.results, score(one))
    return search


def grown(search: tune.Search, score: Score) -> tune.Search:
    """The search at its end."""
    for _ in range(20):
        if not ran(search, score).grow():
            return search
    raise AssertionError("it grows for ever")


def best(call: str) -> Score:
    """This call reaches 30, every other one 1."""
    return lambda one: 30.0 if one.call == call else 1.0


def by_rate(one: Trial) -> float:
    return float(one.lr or 0.0)


def rates(search: tune.Search) -> list[float | None]:
    return [trial.lr for trial in search.plan.trials]


def at(factor: float) -> float:
    """The rate of lora times a factor, as a search rounds it."""
    return float(f"{RATE * factor:.3g}")


# The grid.


def test_the_grid_is_around_the_rate_of_the_method_the_recipe_or_the_call(tmp_path: Path) -> None:
    found = start(tmp_path, "lora(rank=4)")
    assert rates(found) == [at(0.3), at(1), at(3)]
    assert found.plan.trials[0].call == f"lora(rank=4, lr={at(0.3):g})"
    assert len({t.identity for t in found.plan.trials}) == 3
    plan = Plan([trial("lora", recipe=Recipe(lr=0.1))], tmp_path, tmp_path)
    assert rates(tune.widen(plan)) == [0.03, 0.1, 0.3]
    calls = [t.call for t in start(tmp_path, "full(lr=0.0001)", factors=[1, 3]).plan.trials]
    assert calls == ["full(lr=0.0001)", "full(lr=0.0003)"]


RANKS = {"lora": {"rank": [2, 4, 16, 32]}}


@pytest.mark.parametrize(
    ("calls", "options", "says"),
    [
        (["full(lr=0.0001)", "full"], {}, "name one of them"),
        (["lora(lr=3e-4)"], {"factors": [1.0, 1.0000001]}, "so some are the same; give --factors"),
        (["zeroshot"], {}, "nothing to search"),
        (["linear"], {"space": RANKS}, "--methods does not"),
        (["lora", "linear"], {"space": RANKS, "trials": 4}, "linear has 3 points, fewer than"),
        (["lora"], {"max_points": 2}, "--max-points 2 is less than the 3 points"),
    ],
)
def test_a_search_that_cannot_be_is_one_sentence(
    calls: list[str], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        start(tmp_path, *calls, **options)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("lora(rank=8)", "takes a list of different values"),
        ("lora(rank=[8, 8])", "takes a list of different values"),
        ("lora(rnak=[8])", "did you mean 'rank'"),
        ("lora(rank=['a'])", "rank is a whole number from 1"),
        ("lora", "names no setting"),
        ("lora(rank=[4]),lora(alpha=[4])", "names lora twice"),
        ("lorra(rank=[4])", "did you mean 'lora'"),
    ],
)
def test_a_space_that_cannot_be_is_one_sentence(call: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        grid.space_of([call])


def test_settings_are_searched_with_the_rate(tmp_path: Path) -> None:
    space = grid.space_of(["lora(rank=[4, 16], lr=[1e-4, 1e-3])"])
    lora, stated = start(tmp_path, "lora", "lora(rank=2)", space=space, trials=2).searched
    assert (lora.subject.call, lora.grid_size) == ("lora", 4)
    assert {dict(call.settings)["rank"] for call in lora.calls} <= {4, 16}
    assert (stated.subject.call, stated.grid_size) == ("lora(rank=2)", 2)
    texts = [call.text for call in stated.calls]
    assert texts == ["lora(rank=2, lr=0.0001)", "lora(rank=2, lr=0.001)"]


def test_each_method_has_the_same_number_of_trials_and_a_seed_draws(tmp_path: Path) -> None:
    def drawn(seed: int) -> tuple[str, ...]:
        found = start(tmp_path, "lora", "linear", space=RANKS, draw_seed=seed)
        assert found.drawn
        assert [t.method for t in found.plan.trials] == ["lora"] * 3 + ["linear"] * 3
        return tuple(t.call for t in found.plan.trials)

    assert drawn(0) == drawn(0)
    assert len({drawn(seed) for seed in range(5)}) > 1


# Winners, and the file of them.


def test_the_best_on_validation_wins_and_is_used(tmp_path: Path) -> None:
    found = ran(start(tmp_path, "lora(rank=4)"), best(f"lora(rank=4, lr={at(1):g})"))
    (row,), _ = found.winners()
    assert (row["lr"], row["at_edge"], "settings" in row) == (at(1), False, False)
    path = tmp_path / "tuned.toml"
    tuned.save([row], found, path)
    calls = ("lora(rank=4)", "lora", "zeroshot", "lora(rank=4, lr=0.1)")
    applied, notes = tuned.apply(Plan([trial(call) for call in calls], tmp_path, tmp_path), path)
    assert [t.lr for t in applied.trials] == [at(1), None, None, 0.1]
    assert notes == [
        f"{path} has no winner for lora on ucm starter; default learning rate used",
        f"lora(rank=4, lr=0.1) states its learning rate, so the winner in {path} is not used",
    ]
    given = Plan([trial("lora(rank=4)", recipe=Recipe(lr=0.1))], tmp_path, tmp_path)
    rates = f"{at(1):g} of {path} and not 0.1 of the recipe"
    assert tuned.apply(given, path)[1] == [
        f"lora(rank=4) on ucm starter: the learning rate is {rates}"
    ]


def test_no_search_looks_at_images_that_it_trained_on(tmp_path: Path) -> None:
    plan = Plan([trial("lora", recipe=Recipe(track="train+val"))], tmp_path, tmp_path)
    with pytest.raises(UserError, match="give it --recipe track=train"):
        tune.widen(plan)


def test_a_search_keeps_what_another_one_wrote_meanwhile_and_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, call, short = tmp_path / "tuned.toml", "linear(lr=0.001)", Recipe(epochs=5.0)

    def run_trials(screen: Any, plan: Plan, todo: list[Trial], *_: Any, **__: Any) -> list[Outcome]:
        other = tune.widen(Plan([trial("lora", recipe=short)], tmp_path, tmp_path))
        tuned.save(ran(other, best("")).winners()[0], other, file)
        for one in todo:
            save_record(one, plan.results, best(call)(one))
        return [Outcome(one, "ok") for one in todo]

    plan = Plan([trial(call, recipe=short)], tmp_path / "r", tmp_path)
    monkeypatch.setattr(command, "planned_with_engine", lambda *_: (plan, None))
    monkeypatch.setattr(command, "run_trials", run_trials)
    words = ["tune", "--methods", call, "--dataset", "ucm", "--epochs", "5", "--out", str(file)]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert [row["call"] for row in tuned.read(file)["tuned"]] == ["lora", "linear"]
    assert f"\nbench run --methods linear --dataset ucm --tuned {file}\n" in done.output
    assert "this trains with epochs=30, and the search had epochs=5; add --recipe" in done.output


def test_two_backbones_of_one_name_are_not_searched_as_one(tmp_path: Path) -> None:
    trials = [trial("lora", backbone=f"ViT-B-32:{folder}/model.pt") for folder in "ab"]
    with pytest.raises(UserError, match=r"weights called ViT-B-32:model\.pt, cannot be searched"):
        tune.widen(Plan(trials, tmp_path, tmp_path))


def test_a_card_with_a_dot_in_its_name_finds_its_winner(tmp_path: Path) -> None:
    plan = Plan([trial("lora", dataset="cards/photos.v2.toml")], tmp_path, tmp_path)
    found = ran(tune.widen(plan), best(f"lora(lr={at(1):g})"))
    path = tmp_path / "tuned.toml"
    tuned.save(found.winners()[0], found, path)
    applied, without = tuned.apply(plan, path)
    assert (applied.trials[0].lr, without) == (at(1), [])
    assert tuned.other_winners(found, path) == []  # the search replaces its own


def test_a_file_keeps_the_winners_of_other_calls(tmp_path: Path) -> None:
    file = tmp_path / "tuned.toml"
    first = ran(start(tmp_path, "lora"), best(f"lora(lr={at(1):g})"))
    tuned.save(first.winners()[0], first, file)
    second = ran(start(tmp_path, "linear"), best("linear(lr=0.003)"))
    tuned.save([*tuned.other_winners(second, file), *second.winners()[0]], second, file)
    assert [row["call"] for row in tuned.read(file)["tuned"]] == ["lora", "linear"]
    again = start(tmp_path, "lora", factors=[0.5, 1, 2])  # resumed with other factors
    assert [row["call"] for row in tuned.other_winners(again, file)] == ["linear"]
    other = start(tmp_path, "lora", factors=[1.0, 2.0])
    with pytest.raises(UserError, match="with other points; write these to another file"):
        tuned.other_winners(other, file)


def test_settings_that_won_are_part_of_the_call(tmp_path: Path) -> None:
    space = grid.space_of(["lora(rank=[4, 16, 32])"])
    found = ran(start(tmp_path, "lora", space=space), best(f"lora(rank=16, lr={at(3):g})"))
    (row,), _ = found.winners()
    assert (row["lr"], row["settings"]) == (at(3), {"rank": 16})
    assert row["tried"] == {"rank": [4, 16, 32]}
    assert (row["at_edge"], row["settings_at_edge"]) == (True, [])
    path = tmp_path / "tuned.toml"
    tuned.save([row], found, path)
    plan = Plan([trial("lora"), trial("lora(alpha=4)")], tmp_path, tmp_path)
    applied, _ = tuned.apply(plan, path)
    assert [(t.call, t.lr, t.settings["rank"]) for t in applied.trials] == [
        ("lora(rank=16)", at(3), 16),
        ("lora(alpha=4)", None, 8),
    ]
    [(_, about, table)] = searches.tables(tmp_path, pytest.fail)
    assert "9 points for each method, up to 15 where" in about
    assert "seed 0, 30 epochs at batch 128" in about
    *_, tried, _, winner = (cell.text for cell in table.rows[0])
    assert tried.endswith("rank 4, 16, 32")
    assert winner == f"lr {at(3):g}, rank 16 (edge of the grid: lr)"


def test_a_setting_that_was_drawn_alone_is_not_lost(tmp_path: Path) -> None:
    found = ran(start(tmp_path, "lora", space=grid.space_of(["lora(rank=[4])"])), best(""))
    assert found.winners()[0][0]["settings"] == {"rank": 4}


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
    winner = resolve("narrow", {**settings, "lr": 1e-3}, registry()).text
    found = ran(start(tmp_path, "narrow", space=space), best(winner))
    path = tmp_path / "tuned.toml"
    tuned.save(found.winners()[0], found, path)
    (row,) = tuned.read(path)["tuned"]
    assert (row["settings"], row["tried"]["width"]) == (settings, ["None", 4])
    elsewhere = Plan([trial("narrow", dataset="rsicd")], tmp_path, tmp_path)
    other = tune.widen(elsewhere, space=space)
    tuned.save(
        tuned.other_winners(other, path), other, path
    )  # kept while another search is written
    (row,) = tuned.read(path)["tuned"]
    assert row["settings"] == settings
    applied, _ = tuned.apply(Plan([trial("narrow")], tmp_path, tmp_path), path)
    assert applied.trials[0].settings == settings


def test_a_point_that_diverged_cannot_win_nor_takes_another_method_with_it(tmp_path: Path) -> None:
    scores = {3e-4: 10.0, 1e-3: 5.0, 3e-3: None}
    found = ran(start(tmp_path / "a", "linear(lr=1e-3)"), lambda one: scores[one.lr or 0.0])
    (row,), _ = found.winners()
    assert (row["lr"], row["val_mR"], row["at_edge"]) == (3e-4, [10.0, 5.0, -1.0], True)
    found = ran(
        start(tmp_path / "b", "linear", "lora"), lambda one: 1.0 if one.method == "lora" else None
    )
    (row,), without = found.winners()
    assert (row["call"], without) == ("lora", ["linear on ucm starter"])
    found = ran(start(tmp_path / "c", "linear"), lambda _: None)
    assert found.winners() == ([], without)


def test_winners_are_those_of_a_card_and_of_weights_wherever_they_lie(tmp_path: Path) -> None:
    def at_place(folder: str) -> Trial:
        return trial("lora", dataset=f"{folder}my.toml", backbone=f"starter:{folder}mine.pt")

    found = tune.widen(Plan([at_place("a/")], tmp_path, tmp_path), factors=[2])
    tuned.save(ran(found, best("")).winners()[0], found, tmp_path / "tuned.toml")
    applied, without = tuned.apply(
        Plan([at_place("")], tmp_path, tmp_path), tmp_path / "tuned.toml"
    )
    assert (applied.trials[0].lr, without) == (at(2), [])


WINNER = '[[tuned]]\ndataset = "ucm"\nbackbone = "starter"\ncall = "lora"\nlr = {}\n'


@pytest.mark.parametrize(
    "text",
    [
        *("a = 1", "[[tuned]]\nlr = 1", "=", "tuned = 3", "tuned = ['lora']"),
        *(WINNER.format(rate) for rate in ("0", "-1.0", "nan", "inf", "1e40", "'x'")),
        WINNER.format("1.0").replace('"starter"', "3"),
        "recipe = 3\n" + WINNER.format("1.0"),
    ],
)
def test_a_file_of_something_else_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UserError, match="cannot be used as a file of learning rates"):
        tuned.apply(Plan([], tmp_path, tmp_path), tmp_path / "x.toml")


def test_all_faults_of_a_file_are_named_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    rows = WINNER.format("0") + "grid = []\n" + WINNER.format("1e-3").replace("ucm", "")
    path.write_text("recipe = { steps = 'many' }\nseeds = 3\n" + rows)
    with pytest.raises(UserError) as error:
        tuned.read(path)
    places = ("tuned.0.lr", "tuned.0.grid", "tuned.1.dataset", "seeds", "recipe.steps")
    assert all(f"'{place}' is " in str(error.value) for place in places)


@pytest.mark.parametrize(
    ("recipe", "absent"),
    [
        (Recipe(), "steps"),
        (Recipe(steps=30), "epochs"),
        (Recipe(time=60.0, memory=2**34), "epochs batch_size"),
    ],
)
def test_a_file_lists_of_the_recipe_what_applies(
    recipe: Recipe, absent: str, tmp_path: Path
) -> None:
    plan = Plan([trial("lora", recipe=recipe)], tmp_path, tmp_path)
    found, path = tune.widen(plan), tmp_path / "tuned.toml"
    tuned.save([], found, path)
    document = tuned.read(path)
    assert not document["recipe"].keys() & absent.split()
    assert tuned.budget_of(document).recipe == recipe


def test_a_search_goes_on_in_a_file_that_lists_what_does_not_apply(tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    old = "recipe = { epochs = 30.0, steps = 30, batch_size = 128 }\nseeds = [0]\npoints = 1\n"
    (tmp_path / "tuned.toml").write_text(old + WINNER.format("1e-3"))
    plan = Plan([trial("linear", recipe=Recipe(steps=30))], tmp_path, tmp_path)
    found = tune.widen(plan, factors=[1])
    assert [row["call"] for row in tuned.other_winners(found, tmp_path / "tuned.toml")] == ["lora"]


def test_two_winners_of_one_call_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(2 * WINNER.format("1e-3"))
    with pytest.raises(UserError, match="two winners for lora on ucm starter; remove one"):
        tuned.read(tmp_path / "x.toml")


def test_a_file_without_winners_gives_way_to_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text("tuned = []\n")
    search = tune.widen(Plan([trial("lora")], tmp_path, tmp_path), factors=[2])
    assert tuned.other_winners(search, path) == []


def test_the_older_form_is_read(tmp_path: Path) -> None:
    row = 'dataset = "ucm"\nbackbone = "starter"\ncall = "lora"\nlr = 0.006\n'
    row += "grid = [0.0006, 0.006]\nval_mR = [16.2, 25.1]\nat_edge = true\n"
    head = "recipe = { epochs = 30.0, steps = 30, batch_size = 128 }\nseeds = [0]\n"
    path = tmp_path / "tuned-ucm.toml"
    path.write_text(f"{head}\n[[tuned]]\n{row}")
    applied, _ = tuned.apply(Plan([trial("lora")], tmp_path, tmp_path), path)
    assert (applied.trials[0].call, applied.trials[0].lr) == ("lora", 0.006)
    assert searches.tables(tmp_path / "nowhere", pytest.fail) == []


# Growth.


def test_of_equal_rates_the_smallest_wins(tmp_path: Path) -> None:
    found = ran(start(tmp_path, "lora", factors=(3, 1, 0.3)), lambda _: 20.0)
    (row,), _ = found.winners()
    assert row["lr"] == at(0.3)


def test_a_grid_grows_while_its_best_rate_is_the_last_that_was_tried(tmp_path: Path) -> None:
    def peak(one: Trial) -> float:
        return 50.0 - abs((one.lr or 0.0) - (0.0 if one.method == "lora" else 1e-3))

    found = grown(start(tmp_path, "linear(lr=1e-3)", "lora"), peak)
    linear, lora = ([call.lr for call in one.calls] for one in found.searched)
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


@pytest.mark.parametrize("limit", [3, 4, 7])
def test_no_grid_grows_beyond_the_limit(limit: int, tmp_path: Path) -> None:
    found = start(tmp_path, "lora", "linear", max_points=limit)
    assert found.more == 2 * (limit - 3)
    grown(found, by_rate)
    assert [len(one.calls) for one in found.searched] == [limit, limit]
    assert found.more == 0


def test_a_rate_that_diverged_is_the_end(tmp_path: Path) -> None:
    def below(limit: float) -> Score:
        return lambda one: None if by_rate(one) > limit else 10 + by_rate(one)

    found = grown(start(tmp_path / "a", "full(lr=1e-3)"), below(3e-3))
    assert rates(found) == [3e-4, 1e-3, 3e-3, 9e-3]
    (row,), _ = found.winners()
    assert (row["lr"], row["at_edge"], row["val_mR"][-1]) == (3e-3, False, -1.0)
    # where every rate diverged, smaller ones are tried
    found = grown(start(tmp_path / "b", "full(lr=1e-3)"), below(1e-4))
    assert rates(found) == [3e-4, 1e-3, 3e-3, 9e-5, 2.7e-5]
    assert found.winners()[0][0]["lr"] == 9e-5


def test_settings_that_are_numbers_grow_too_within_their_range(tmp_path: Path) -> None:
    def score(one: Trial) -> float:
        return 10.0 + one.settings["rank"] + one.settings["dropout"] - abs(by_rate(one) - 1e-3)

    space = {"lora": {"rank": [4, 8], "dropout": [0.4, 0.8], "lr": [3e-4, 1e-3, 3e-3]}}
    found = grown(start(tmp_path, "lora", space=space, max_points=14), score)
    assert {t.settings["rank"] for t in found.plan.trials} == {4, 8, 16, 32}
    (row,), _ = found.winners()
    assert (row["settings"], row["tried"]["rank"]) == ({"rank": 32, "dropout": 0.8}, [4, 8, 16, 32])
    assert row["settings_at_edge"] == ["rank"]  # dropout is below 1
    assert found.beyond_settings == {row["points"][-1], row["points"][-2]}


def test_a_search_that_grew_goes_on_from_its_records(tmp_path: Path) -> None:
    first, again = grown(start(tmp_path, "lora"), by_rate), start(tmp_path, "lora")
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


def test_a_value_that_a_method_refuses_is_a_failed_point_if_the_search_chose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused value that the user listed ends the search."""
    begun: list[int] = []

    def run_trials(screen: Any, plan: Plan, todo: list[Trial], *_: Any, **__: Any) -> list[Outcome]:
        begun.append(len(todo))
        ended = []
        for one in todo:
            if one.settings["rank"] == refused:
                return [*ended, Outcome(one, "user_error", "too wide")]
            save_record(one, plan.results, 10.0 + one.settings["rank"])
            ended.append(Outcome(one, "ok"))
        return ended

    def search(folder: str) -> tuple[tune.Search, list[Outcome]]:
        found = start(tmp_path / folder, "lora", space={"lora": {"rank": [4, 8], "lr": [1e-3]}})
        return found, command._run(console(), found, None, retry_failed=False)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "run_trials", run_trials)
    refused = 16
    found, outcomes = search("a")
    assert begun == [2, 1]
    assert "lora(rank=16, lr=0.001) cannot be tried: too wide" in capsys.readouterr().out
    assert not report_failures(console(), [o.trial for o in outcomes], outcomes)
    (row,), _ = found.winners()
    assert (row["settings"], row["settings_at_edge"]) == ({"rank": 8}, [])
    refused = 4
    found, outcomes = search("b")
    with pytest.raises(typer.Exit):
        report_failures(console(), found.plan.trials, outcomes)
