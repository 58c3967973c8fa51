"""The command line as a user has it: sweeps, resuming after kill -9, bad arguments."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

BENCH = [sys.executable, "-m", "bench.cli"]


def bench(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        [*BENCH, *words], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


def sweep(root: Path, *more: str) -> list[str]:
    return [
        *("run", "--dataset", str(root / "tiny.toml"), "--data-root", str(root)),
        *("--results", str(root / "results"), "--recipe", "batch_size=4,evaluations=2"),
        *more,
    ]


def records(root: Path) -> list[Path]:
    return sorted((root / "results").rglob("seed*.json"))


def test_a_sweep_is_recorded_and_resumed(tiny: Path) -> None:
    words = sweep(tiny, "--methods", "zeroshot,cmer(queue=8)", "--recipe", "steps=4")
    first = bench(*words)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 trials: 0 recorded" in first.stdout
    found = {json.loads(p.read_text())["trial"]["method"]: p for p in records(tiny)}
    assert set(found) == {"zeroshot", "cmer"}
    record = json.loads(found["cmer"].read_text())
    assert record["status"] == "ok", record["traceback"]
    assert 0 <= record["metrics"]["test"]["mR"] <= 100
    assert [point["step"] for point in record["curve"]] == [2, 4]
    efficiency = record["efficiency"]
    assert efficiency["trainable_parameters"] > 0
    assert efficiency["saved_for_backward_bytes"] > 0
    assert efficiency["train_images_per_second"] > 0
    assert efficiency["step_images_per_second"] > 0
    assert found["cmer"].with_suffix(".npz").exists()
    assert found["cmer"].with_suffix(".safetensors").exists()
    before = {p: p.read_bytes() for p in records(tiny)}
    second = bench(*words)
    assert second.returncode == 0
    assert "nothing to do" in second.stdout
    assert {p: p.read_bytes() for p in records(tiny)} == before
    third = bench(*words, "--rerun")
    assert third.returncode == 0, third.stderr
    assert len(list((tiny / "results").rglob("*.replaced"))) == 2  # nothing recorded is lost
    again = json.loads(found["cmer"].read_text())
    assert again["metrics"] == record["metrics"]  # the same seed on the same machine
    assert again["curve"] == record["curve"]


def test_a_search_and_a_sweep_that_uses_it(tiny: Path) -> None:
    tuned = tiny / "tuned.toml"
    search = sweep(tiny, "--methods", "linear", "--recipe", "steps=2", "--factors", "1,3")
    search = ["tune", *search[1:], "--out", str(tuned)]
    first = bench(*search)
    assert first.returncode == 0, first.stdout + first.stderr
    (winner,) = tomllib.loads(tuned.read_text())["tuned"]
    assert winner["grid"] == [0.001, 0.003]
    again = bench(*search)  # nothing is left to run
    assert again.returncode == 0, again.stderr
    words = sweep(tiny, "--methods", "linear", "--recipe", "steps=2", "--tuned", str(tuned))
    used = bench(*words)
    assert used.returncode == 0, used.stderr
    lr = {json.loads(p.read_text())["trial"]["lr"] for p in records(tiny)}
    assert lr == {0.001, 0.003}
    assert [p.parent.name for p in records(tiny) if p.parent.name == "linear"] == ["linear"]


def test_a_sweep_goes_on_after_kill_9(tiny: Path) -> None:
    words = sweep(tiny, "--methods", "zeroshot,linear", "--recipe", "steps=4000,evaluations=2")
    process = subprocess.Popen(
        [*BENCH, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 180
        while not records(tiny) and time.monotonic() < until:
            time.sleep(0.05)
        assert len(records(tiny)) == 1, process.stderr.read() if process.stderr else ""
        time.sleep(1.0)  # the second trial is on its way
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(2)  # the trial under way ends with the sweep
    kept = records(tiny)
    assert len(kept) == 1
    before = kept[0].read_bytes()
    left = bench(*words, "--dry-run")
    assert "1 recorded" in left.stdout
    assert "1 to run" in left.stdout
    assert kept[0].read_bytes() == before
    assert not list((tiny / "results").rglob("linear/seed*.json"))


def test_a_failing_method_does_not_stop_the_sweep(tiny: Path) -> None:
    plugin = tiny / "faulty.py"
    plugin.write_text(
        "from methods import register\nfrom methods.base import Method\n\n\n"
        "@register('faulty')\nclass Faulty(Method):\n    lr = 1e-3\n\n"
        "    def loss(self, batch):\n        raise RuntimeError('no loss today')\n\n\n"
        "@register('nan')\nclass Nan(Method):\n    lr = 1e-3\n\n"
        "    def loss(self, batch):\n        return super().loss(batch) * float('nan')\n"
    )
    words = sweep(tiny, "--plugin", str(plugin), "--methods", "faulty,nan,zeroshot")
    done = bench(*words, "--recipe", "steps=2")
    assert done.returncode == 1
    assert "no loss today" in done.stdout
    status = {p.parent.name: json.loads(p.read_text())["status"] for p in records(tiny)}
    assert status == {"faulty": "failed", "nan": "diverged", "zeroshot": "ok"}
    failed = next(p for p in records(tiny) if p.parent.name == "faulty")
    assert "no loss today" in json.loads(failed.read_text())["traceback"]
    again = bench(*words, "--recipe", "steps=2", "--dry-run", "--retry-failed")
    assert "2 to run" in again.stdout
    once_more = bench(*words, "--recipe", "steps=2")  # nothing is left, and not all is well
    assert once_more.returncode == 1
    assert "2 recorded earlier are not ok" in once_more.stdout


def test_random_weights_are_for_efficiency_only(tiny: Path) -> None:
    words = sweep(tiny, "--methods", "linear", "--recipe", "steps=2", "--backbone", "starter:none")
    done = bench(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(records(tiny)[0].read_text())
    assert record["metrics"] == {}
    assert record["efficiency"]["step_images_per_second"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--methods", "lorra", "--dataset", "synthetic"], "did you mean 'lora'"),
        (["run", "--methods", "lora", "--dataset", "rsitdm"], "did you mean 'rsitmd'"),
        (["run", "--methods", "lora", "--dataset", "rsitmd"], "get it from"),
        (["run", "--methods", "lora", "--dataset", "synthetic", "--seeds", "a"], "whole numbers"),
        (["run", "--methods", "lora,lora", "--dataset", "synthetic"], "named twice"),
        (["run", "--methods", "lora", "--dataset", "synthetic", "--recipe", "a=1"], "no 'a'"),
        (["run", "--methods", "lora", "--dataset", "synthetic", "--backbone", "x"], "no weights"),
        (["report", "--results", "nowhere"], "no record"),
        (["methods", "crem"], "no method"),
        (["datasets", "nothing"], "no data set"),
        (["validate", "nothing.py"], "no file"),
    ],
)
def test_bad_arguments_are_one_sentence(words: list[str], says: str, tmp_path: Path) -> None:
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_lists() -> None:
    assert "cmer" in bench("methods").stdout
    shown = bench("methods", "cmer").stdout
    assert "scene_p" in shown
    assert "2501.10638" in shown
    assert "rsitmd" in bench("datasets").stdout


def test_help_imports_no_torch() -> None:
    code = (
        "import sys, bench.cli; assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
