"""What is shown while a sweep runs: figures of a trial, time left, lines where no terminal is."""

import io
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.measure import meter
from bench.recipe import Recipe
from bench.sweeps import progress
from bench.sweeps.engine import Outcome
from bench.trial import Trial

ONE = Trial("ucm", "starter", "lora", "lora(rank=4)", {}, None, Recipe(), 0, {})
STEP = {"step": 10, "steps": 40, "images_per_second": 1234.0, "peak_memory_bytes": 3 * 2**30}


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def shown(watch: Any, console: Console) -> str:
    watch.progress.refresh()
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def feed(watch: Any, clock: Clock) -> None:
    watch.started(ONE, "cuda 0")
    watch.moved(ONE, STEP)
    clock.now = 60.0
    watch.moved(ONE, {**STEP, "step": 20, "val_mR": 45.67, "peak_memory_bytes": 2**30})


def test_a_terminal_shows_rate_memory_time_left_and_validation(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with progress.watcher(console, 3) as watch:
        feed(watch, clock)
        text = shown(watch, console)
        for word in ("lora(rank=4)", "1,234 images/s", "3.0 GiB", "2:00", "mR 45.7", "0/3"):
            assert word in text
        assert "5:00" in text  # 60 s for half of one of three trials
        assert max(map(len, text.splitlines())) <= 100
        watch.ended(Outcome(ONE, "failed", "[red]no[/] luck"))
        assert "failed ucm starter lora(rank=4) seed 0: [red]no[/] luck" in shown(watch, console)
        assert "1/3" in shown(watch, console)


def test_a_file_gets_lines(clock: Clock) -> None:
    file = io.StringIO()
    with progress.watcher(Console(file=file, width=80), 3) as watch:
        feed(watch, clock)
        watch.ended(Outcome(ONE, "ok", "a first line\nand a hundred more"))
    name = "ucm starter lora(rank=4) seed 0"
    assert file.getvalue().splitlines() == [
        f"start {name} on cuda 0",
        f"  {name}: step 20/40, 1,234 images/s, 3.0 GiB, mR 45.7, 2:00 left",
        f"[1/3] ok {name}: a first line ... (about 2:00 left)",
    ]


def test_a_process_without_a_gpu_shows_its_ram_as_such() -> None:
    running = progress.Running()
    running.moved({"step": 1, "steps": 9, "images_per_second": None, "process_memory_bytes": 2**30})
    assert running.words()["memory"] == "1.0 GiB RAM"


def test_memory_so_far_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Clock()
    made.now = 5.0
    monkeypatch.setattr(meter.time, "monotonic", made.monotonic)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    memory = meter.LiveMemory()
    assert memory.read({"stage": "loading"}) == {}
    assert memory.read({"step": 1})["process_memory_bytes"] > 2**20
    assert memory.read({"step": 2}) == {}
    made.now = 6.5
    assert memory.read({"step": 3})


def test_a_shared_device_is_on_record() -> None:
    assert meter.shared(1, {"warning": None}) == {}
    found = meter.shared(3, {"warning": "busy"})
    assert found["jobs_per_device"] == 3
    assert found["warning"].startswith("busy; 3 trials at once on one device")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_that_follows_from_data_and_weights_is_printed_once(
    clock: Clock, terminal: bool
) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    other, elsewhere = replace(ONE, seed=1), replace(ONE, seed=2, dataset="rsicd")
    with progress.watcher(console, 3) as watch:
        for trial in (ONE, other, elsewhere):
            watch.started(trial, "cpu")
            watch.moved(trial, {"note": "3 captions are cut"})
        watch.moved(other, {"note": "something else"})
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
