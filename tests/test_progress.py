"""What is shown while a sweep runs: figures of a trial, time left, lines where no terminal is."""

import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.console import counted, say
from bench.label import fold
from bench.measure import meter
from bench.messages import Note, Stage, Step
from bench.recipe import Recipe
from bench.schema import CurvePoint
from bench.sweeps import progress
from bench.sweeps.engine import Outcome
from bench.trial import Trial
from tests.helpers.hand import Hand

ONE = Trial("ucm", "starter", "lora", "lora(rank=4)", {}, None, Recipe(), 0, {})
TWO, THREE = replace(ONE, seed=1), replace(ONE, seed=2)
STEP = Step(10, 40, 1234.0, peak_memory_bytes=3 * 2**30)
POINT: CurvePoint = {"step": 20, "epoch": 1.0, "val_mR": 45.67}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=hand))
    return hand


def shown(watch: Any, console: Console) -> str:
    watch.live.refresh()
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def feed(watch: Any, clock: Hand, trial: Trial = ONE) -> None:
    if trial.identity not in watch.running:
        watch.started(trial, "0")
    watch.reported(trial, STEP)
    clock.move(60)
    watch.reported(trial, Step(20, 40, 1234.0, POINT, peak_memory_bytes=2**30))


def test_a_terminal_shows_rate_memory_time_left_and_validation(clock: Hand) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with progress.watcher(console, [ONE, TWO, THREE]) as watch:
        watch.started(ONE, "0")
        watch.reported(ONE, Stage("loading"))
        assert "loading" in shown(watch, console)
        feed(watch, clock)
        text = shown(watch, console)
        for word in ("images/s", "memory", "1,234", "3 GiB", "2:00", "45.7", "0 of 3 trials done"):
            assert word in text
        assert "5:00" in text  # 60 s for half of one of three trials
        failed = Outcome(ONE, "failed", "[red]no[/] luck", record=Path("here.json"))
        watch.ended(failed)
        said = "failed ucm starter lora(rank=4) seed 0: [red]no[/] luck, here.json"
        assert said in shown(watch, console)
        assert "1 of 3 trials done" in shown(watch, console)
    for line in text.splitlines()[1:]:  # ^C has room: see progress.Screen.table
        assert len(line.rpartition("\x1b")[2]) <= 80 - 3 + 4


@pytest.mark.parametrize("width", [80, 120])
def test_no_name_in_the_table_is_broken_within_a_word(width: int, clock: Hand) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    call = "cmer(text_taps='all', reduction=2, focus='relu', mask='caption')"
    long = replace(ONE, method="cmer", call=call)
    with progress.watcher(console, [long, TWO]) as watch:
        feed(watch, clock, long)
        text = shown(watch, console)
    rows = [re.split(r"[\u2501\u2578\u257a]", line)[0] for line in text.splitlines()]
    words = {word.strip() for row in rows for word in re.split(r"(?<=[ (,])", row)}
    for part in ("cmer(", "text_taps='all',", "reduction=2,", "focus='relu',", "mask='caption')"):
        assert part in words
    bars = [len(re.findall(r"[\u2501\u2578\u257a]", line)) for line in text.splitlines()]
    assert max(bars) >= (4 if width == 80 else 10)  # half of it, without colours: it fills the line


def test_only_what_differs_between_trials_is_shown_in_the_table() -> None:
    seeds = [ONE, replace(ONE, seed=1)]
    assert [*progress.short_names(seeds).values()] == ["lora(rank=4) seed 0", "lora(rank=4) seed 1"]
    assert [*progress.short_names([ONE]).values()] == ["lora(rank=4)"]
    places = [ONE, replace(ONE, dataset="mine/rsicd.toml", backbone="ViT-B-32:/weights/a.pt")]
    assert [*progress.short_names(places).values()] == [
        "ucm starter lora(rank=4)",
        "rsicd ViT-B-32:a.pt lora(rank=4)",
    ]


def test_a_file_gets_lines(clock: Hand) -> None:
    file = io.StringIO()
    record = Path.cwd() / "results" / "ucm" / "seed0.json"
    with progress.watcher(Console(file=file, width=80), [ONE, TWO, THREE]) as watch:
        watch.started(ONE, "cuda 0")
        feed(watch, clock)
        watch.ended(Outcome(ONE, "ok", None, record, test_mR=27.66, seconds=192, val_mR=29.1))
        watch.started(TWO, "cpu")
        watch.ended(Outcome(TWO, "failed", "a first line\nand a hundred more"))
        watch.started(THREE, "cpu")
        watch.ended(Outcome(THREE, "user_error", "told at the end, in full"))
    name = "ucm starter lora(rank=4) seed 0"
    assert file.getvalue().splitlines() == [
        f"start {name} on cuda 0",
        f"  {name}: step 20/40, 1,234 images/s, 3 GiB, val mR 45.7, 2:00 left",
        f"[1/3] ok {name}: val mR 29.1, test mR 27.7, 3:12, {Path('results/ucm/seed0.json')}"
        " (about 2:00 left)",
        "start ucm starter lora(rank=4) seed 1 on cpu",
        "[2/3] failed ucm starter lora(rank=4) seed 1: a first line ... (about 0:30 left)",
        "start ucm starter lora(rank=4) seed 2 on cpu",
        "[3/3] user error ucm starter lora(rank=4) seed 2",
    ]


def test_where_a_trial_goes_on_is_said_for_each(clock: Hand) -> None:
    file = io.StringIO()
    with progress.watcher(Console(file=file, width=80), [ONE, TWO]) as watch:
        for trial in (ONE, TWO):
            watch.started(trial, "cpu")
            watch.reported(trial, Note("goes on after step 7", of_trial=True))
    assert file.getvalue().count("goes on after step 7") == 2


def test_a_label_is_broken_between_settings_and_long_parts_where_the_line_ends() -> None:
    assert fold("lora(rank=4)", 12) == ["lora(rank=4)"]
    assert fold("adapter(parallel=True) seed 0", 22) == ["adapter(parallel=True)", "seed 0"]
    assert fold("adapter(parallel=True)", 20) == ["adapter(", "parallel=True)"]
    assert fold("lora(rank=4, alpha=8)\n  2 failed", 14) == [
        "lora(rank=4,",
        "alpha=8)",
        "  2 failed",
    ]
    assert fold("abcdefgh ij", 4) == ["abcd", "efgh", "ij"]
    for width in range(1, 30):
        lines = fold("cmer(text_taps='all', reduction=2) seed 0", width)
        assert max(map(len, lines)) <= width
        assert "".join(lines).replace(" ", "") == "cmer(text_taps='all',reduction=2)seed0"


def test_a_sentence_is_wrapped_between_words_on_a_terminal_alone() -> None:
    path = "/somewhere/" + "deep/" * 20 + "seed0-1b6bd312.json"
    text = f"a record of well known form could not be read from the file {path}; mend it"
    for terminal in (True, False):
        file = io.StringIO()
        say(Console(file=file, force_terminal=terminal, width=40, color_system=None), text)
        lines = file.getvalue().splitlines()
        assert " ".join(line.strip() for line in lines) == text
        assert len(lines) == (4 if terminal else 1)
        assert any(path in line for line in lines)  # whole, so that it can be copied


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 trials"), (1, "1 trial"), (1200, "1,200 trials")]
)
def test_one_trial_is_no_trials(number: int, words: str) -> None:
    assert counted(number, "trial") == words


def test_a_process_without_a_gpu_shows_its_ram_as_such() -> None:
    running = progress.Running()
    running.update(Step(1, 9, process_memory_bytes=2**30))
    assert running.sentence() == "step 1/9, 1 GiB RAM"


def test_memory_so_far_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand()
    monkeypatch.setattr(meter.time, "monotonic", hand)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    memory = meter.LiveMemory()
    assert memory.added_to(Stage("loading")) == Stage("loading")
    assert memory.added_to(Step(1, 9)).process_memory_bytes > 2**20
    assert memory.added_to(Step(2, 9)) == Step(2, 9)
    hand.move(1.5)
    assert memory.added_to(Step(3, 9)).process_memory_bytes > 2**20


def test_a_shared_device_is_on_record() -> None:
    assert meter.shared(1, {"warning": None}) == {}
    found = meter.shared(3, {"warning": "busy"})
    assert found["jobs_per_device"] == 3
    assert found["warning"].startswith("busy; 3 trials at once on one device")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_that_follows_from_data_and_weights_is_printed_once(
    clock: Hand, terminal: bool
) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    other, elsewhere = replace(ONE, seed=1), replace(ONE, seed=2, dataset="rsicd")
    with progress.watcher(console, [ONE, other, elsewhere]) as watch:
        for trial in (ONE, other, elsewhere):
            watch.started(trial, "cpu")
            watch.reported(trial, Note("3 captions are cut"))
        watch.reported(other, Note("something else"))
        file = console.file
        assert isinstance(file, io.StringIO)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
        lines = [line.strip() for line in text.splitlines() if "seed" in line]
    told = [line for line in lines if ": " in line]
    assert told == [
        "ucm starter lora(rank=4) seed 0: 3 captions are cut",
        "rsicd starter lora(rank=4) seed 2: 3 captions are cut",
        "ucm starter lora(rank=4) seed 1: something else",
    ]
