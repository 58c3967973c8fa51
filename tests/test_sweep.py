"""A sweep before and after its trials: what is refused while planning, what is said at the end."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer
from typer.testing import CliRunner

from bench import UserError, cli, data, record
from bench.commands import run, tune
from bench.commands.options import TrainOptions
from bench.commands.sweeping import report_failures, run_trials
from bench.console import console
from bench.recipe import Recipe
from bench.sweeps import forecast, sweep
from bench.sweeps.engine import Outcome
from bench.sweeps.sweep import Plan
from bench.sweeps.sweepfile import SweepConfig
from bench.trial import Trial, blank_record


def planned(root: Path, methods: str, **recipe: Any) -> Plan:
    card = str(root / "tiny.toml")
    return sweep.plan(
        SweepConfig(methods, [card], ["starter"], recipe=Recipe(**recipe), data_root=root)
    )


def silence(root: Path, images: int, captions: int = 5) -> None:
    """Blank the first captions of the first training images."""
    path = root / "tiny" / "dataset.json"
    said = json.loads(path.read_text())
    for image in said["images"][:images]:
        for sentence in image["sentences"][:captions]:
            sentence["raw"] = " . "
    path.write_text(json.dumps(said))


@pytest.mark.parametrize("mode", ["oracle", "predicted"])
def test_scenes_at_test_need_scenes(mode: str, tiny: Path) -> None:
    call = f"cmer(scene_at_test='{mode}')"
    assert planned(tiny, call).trials[0].call == call
    card = tiny / "tiny.toml"
    card.write_text(card.read_text().replace('[scenes]\nrule = "filename"\n', ""))
    assert not data.load(data.card(str(card)), tiny).scenes
    with pytest.raises(UserError, match=r"tiny has no scenes; state \[scenes\] on its card"):
        planned(tiny, f"zeroshot,{call}")
    assert len(planned(tiny, "zeroshot,cmer").trials) == 2  # labels in training are optional


def test_blank_training_captions_are_told(tiny: Path) -> None:
    def note() -> str:
        notes = data.load(data.card(str(tiny / "tiny.toml")), tiny).notes
        return next((note for note in notes if "without a word" in note), "")

    assert note() == ""
    silence(tiny, images=1, captions=1)
    assert note() == "training captions without a word, left out of training: 1"
    silence(tiny, images=2)
    expected = "training captions without a word, left out of training: 10, and with them 2 images"
    assert note().startswith(expected)


def test_a_training_without_captions_is_refused_before_it_starts(tiny: Path) -> None:
    silence(tiny, images=7)
    assert planned(tiny, "zeroshot").trials
    with pytest.raises(UserError, match="1 of the 8 training images of tiny have a caption"):
        planned(tiny, "zeroshot,lora")
    assert planned(tiny, "lora", track="train+val").trials  # the validation images have captions


def ended(*statuses: str) -> tuple[list[Trial], list[Outcome]]:
    trials = [
        Trial("ucm", "starter", "lora", "lora", {}, None, Recipe(), seed, {}) for seed in range(4)
    ]
    outcomes = [
        Outcome(trial, status, f"why {trial.seed}", Path("res") / f"seed{trial.seed}.json")
        for trial, status in zip(trials, statuses, strict=False)
    ]
    return trials, outcomes


@pytest.mark.parametrize(
    ("statuses", "left"),
    [(("user_error",), "nothing was run: 4 trials left"), (("ok", "user_error"), "3 trials left")],
)
def test_what_a_user_has_to_mend_is_said_once(
    statuses: tuple[str, ...], left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trials, outcomes = ended(*statuses)
    with pytest.raises(typer.Exit) as stop:
        report_failures(console(), trials, outcomes)
    assert stop.value.exit_code == 2
    said = capsys.readouterr()
    assert said.err == f"bench: why {len(statuses) - 1}\n"
    assert left in said.out


def test_what_failed_is_named_with_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    trials, outcomes = ended("ok", "failed", "out_of_memory", "not_applicable")
    assert report_failures(console(), trials, outcomes)
    assert capsys.readouterr().out.splitlines() == [
        f"failed ucm starter lora seed 1: {Path('res/seed1.json')}",
        f"out of memory ucm starter lora seed 2: {Path('res/seed2.json')}",
        "2 trials did not end well (1 failed, 1 out of memory); the same command with "
        "--retry-failed runs again what failed",
    ]
    assert not report_failures(console(), trials, outcomes[:1])


def test_a_rerun_that_is_stopped_tells_what_is_left_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials, _ = ended()
    paths = [one.path(tmp_path) for one in trials]
    for one, path in zip(trials, paths, strict=True):
        record.write(path, blank_record(one))
    paths[1].write_text("damaged, which --rerun mends")
    plan = Plan(trials, tmp_path, tmp_path)
    todo = plan.todo(rerun=True, retry_failed=False)
    assert "4 trials: all run again; 4 recorded" in run._state_of(plan, todo, rerun=True)
    states = [line.states for line in forecast.forecast(plan, todo, None, None)]
    assert sum(state["damaged"] for state in states) == 1

    def stopped(*_: Any) -> None:
        record.write(paths[0], {**blank_record(trials[0]), "message": "repeated"})
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit):
        run_trials(console(), plan, todo, mock.Mock(run=stopped), prepare=False)
    assert "stopped; 3 trials left" in capsys.readouterr().out


def test_a_card_that_is_named_in_two_ways_is_run_once(tiny: Path) -> None:
    """Two processes for one trial would wait for each other."""
    cards = [f"{tiny}/tiny.toml", f"{tiny}/./tiny.toml"]
    assert len(sweep.plan(SweepConfig("linear", cards, ["starter"], data_root=tiny)).trials) == 1


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (
            "--methods cmer,lora(rank=4) --dataset ucm,mine.toml",
            "bench run --methods 'cmer,lora(rank=4)' --dataset ucm,mine.toml --tuned t.toml",
        ),
        (
            "s.toml --recipe warmup=0,steps=9 --epochs 3 --recipe precision=fp32,lr=0.2 "
            "--recipe track=train --seeds 0-2 --lr 0.1 "
            "--cache-features 0 --deterministic --yes --retry-failed --dry-run --plugin my.py "
            "--results there",
            "bench run s.toml --seeds 0-2 --recipe warmup=0 --recipe precision=fp32 "
            "--plugin my.py --deterministic --cache-features 0 --tuned t.toml",
        ),
    ],
)
def test_a_search_ends_with_the_command_that_uses_it(
    words: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has all that was typed, except what a search has for itself."""
    typed: list[str] = []

    def stop(options: TrainOptions, **_: Any) -> None:
        typed.append(tune._command(options.for_run(), Path("t.toml")))
        raise UserError("far enough")

    monkeypatch.setattr(TrainOptions, "config", stop)
    CliRunner().invoke(cli.app, ["tune", *words.split()])
    assert typed == [command]


def test_a_search_ends_well_where_the_run_needs_a_change_first(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny / "sweep.toml"
    file.write_text(
        'time_limit = "1m"\nrecipe = { time = "2m" }\nmethods = ["lora"]\ndatasets = ["tiny.toml"]'
    )
    plan = planned(tiny, "lora", time=10)
    tune._print_next(console(), TrainOptions(sweep=file), plan, Path("t.toml"))
    said = " ".join(capsys.readouterr().out.split())
    assert "bench run" in said
    assert "it needs a change first: --time-limit would end each trial" in said
