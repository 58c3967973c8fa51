"""The command line as a user has it: sweeps, resuming after kill -9, bad arguments."""

import io
import json
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

import methods
from bench import cli, console, lock
from tests.helpers.curves import untimed
from tests.helpers.until import until

pytestmark = pytest.mark.slow  # most of them start whole sweeps
NAMES = ("stdout", "stderr")


@dataclass
class Done:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


class Bench(Protocol):
    """Runs a command in this process, which saves the start of another one."""

    def __call__(self, *words: str, encoding: str = "utf-8") -> Done: ...


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command `bench`; methods that it registers are forgotten after the test."""
    monkeypatch.setattr(methods, "_REGISTRY", methods.registry())

    def run(*words: str, encoding: str = "utf-8") -> Done:
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in NAMES}
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["bench", *words])
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            patch.setenv("COLUMNS", "100")
            with pytest.raises(SystemExit) as end:
                cli.main()
        shown = {}
        for name, stream in streams.items():
            stream.seek(0)
            shown[name] = stream.read()
        return Done(int(end.value.code or 0), **shown)

    return run


def sweep(root: Path, *more: str) -> list[str]:
    return [
        *("run", "--dataset", str(root / "tiny.toml"), "--data-root", str(root)),
        *("--results", str(root / "results"), "--recipe", "batch_size=4,evaluations=2"),
        *more,
    ]


def records(root: Path) -> list[Path]:
    return sorted((root / "results").rglob("seed*.json"))


def test_a_sweep_is_recorded_and_resumed(tiny: Path, bench: Bench) -> None:
    words = sweep(tiny, "--methods", "zeroshot,cmer(queue=8)", "--recipe", "steps=4")
    first = bench(*words)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "backbone: starter, the default of tiny\n2 trials: 0 recorded" in first.stdout
    found = {json.loads(p.read_text())["trial"]["method"]: p for p in records(tiny)}
    assert set(found) == {"zeroshot", "cmer"}
    record = json.loads(found["cmer"].read_text())
    assert record["status"] == "ok", record["traceback"]
    assert record["backbone"]["trained_on"] == ["rsicd"]
    test, val = (record["metrics"][split]["mR"] for split in ("test", "val"))
    assert 0 <= test <= 100
    assert f"val mR {val:.1f}, test mR {test:.1f}" in first.stdout
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
    assert untimed(again["curve"]) == untimed(record["curve"])


def test_a_search_and_a_sweep_that_uses_it(tiny: Path, bench: Bench) -> None:
    tuned = tiny / "tuned.toml"
    search = sweep(tiny, "--methods", "linear", "--recipe", "steps=2", "--factors", "1,3")
    search = ["tune", *search[1:], "--out", str(tuned), "--max-points", "3"]
    plan = bench(*search, "--dry-run")
    assert "2 trials (1 method x 2 points)" in plan.stdout
    assert "2 to run; up to 1 more" in plan.stdout
    first = bench(*search)
    assert first.returncode == 0, first.stdout + first.stderr
    (winner,) = tomllib.loads(tuned.read_text())["tuned"]
    assert len(winner["grid"]) == 3  # of two values the best is one at an edge
    assert {0.001, 0.003} < set(winner["grid"])
    assert "\nlinear: the next value beyond the edge of the grid is tried\n" in first.stdout
    again = bench(*search)
    assert again.returncode == 0, again.stderr
    assert "3 trials (1 method x 2 points, and 1 beyond them): 3 recorded" in again.stdout
    words = sweep(tiny, "--methods", "linear", "--recipe", "steps=2", "--tuned", str(tuned))
    used = bench(*words)
    assert used.returncode == 0, used.stderr
    lr = {json.loads(p.read_text())["trial"]["lr"] for p in records(tiny)}
    assert lr == set(winner["grid"])
    assert [p.parent.name for p in records(tiny) if p.parent.name == "linear"] == ["linear"]


DIVERGES = """
from methods import register
from methods.base import Method

@register('diverges')
class Diverges(Method):
    lr = 1e-3

    def loss(self, batch):
        return super().loss(batch) * float('nan')
"""


def test_a_search_in_which_every_point_diverges_ends_with_1_and_writes_nothing(
    tiny: Path, bench: Bench
) -> None:
    (tiny / "diverges.py").write_text(DIVERGES)
    words = sweep(tiny, "--methods", "diverges", "--plugin", str(tiny / "diverges.py"))[1:]
    words = ["tune", *words, "--steps", "1", "--factors", "1,3", "--max-points", "3"]
    words += ["--out", str(tiny / "new.toml")]
    for _ in range(2):
        done = bench(*words)
        assert (done.returncode, done.stderr) == (1, "")
        rates = [json.loads(p.read_text())["trial"]["lr"] for p in records(tiny)]
        assert sorted(rates) == [0.000333, 0.001, 0.003]  # a smaller one was tried
        assert "no point of diverges on tiny starter ended well, so it has no" in done.stdout
        assert not (tiny / "new.toml").exists()


ENDLESS = """
import time
from pathlib import Path
from methods import register
from methods.base import Method

@register('endless')
class Endless(Method):
    lr = 1e-3

    def loss(self, batch):
        Path(__file__).with_name('begun').touch()
        time.sleep(100_000)
"""


def test_a_sweep_goes_on_after_kill_9(tiny: Path, bench: Bench) -> None:
    plugin = tiny / "endless.py"
    plugin.write_text(ENDLESS)
    words = sweep(tiny, "--plugin", str(plugin), "--methods", "zeroshot,endless")
    command = [sys.executable, "-m", "bench", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: (tiny / "begun").exists() or process.poll() is not None)
            assert process.poll() is None, process.communicate()
        finally:
            process.kill()
    (claim,) = (tiny / "results").rglob("endless/seed*.lock")
    until(lambda: not lock.busy(claim))  # the trial under way ends with the sweep
    (kept,) = records(tiny)
    before = kept.read_bytes()
    left = bench(*words, "--dry-run", "--no-memory")
    assert "1 recorded" in left.stdout
    assert "1 to run" in left.stdout
    assert kept.read_bytes() == before
    assert kept.parent.name == "zeroshot"


def test_a_failing_method_does_not_stop_the_sweep(tiny: Path, bench: Bench) -> None:
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
    assert "2 earlier trials did not end well" in once_more.stdout


def test_random_weights_are_for_efficiency_only(tiny: Path, bench: Bench) -> None:
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
        (
            ["run", "--methods", "lora", "--dataset", "rsitmd"],
            "to get it: bench data fetch rsitmd\n",
        ),
        (["run", "--methods", "lora,lora", "--dataset", "synthetic"], "lora is named twice"),
        (["run", "--methods", "lora", "--dataset", "synthetic", "--backbone", "x"], "no backbone"),
        (["run", "--methods", "lora", "--dataset", "UCM"], "did you mean 'ucm'"),
        (["run", "--methods", "lora", "--dataset", "ucm", "--corrupt", "blurr"], "mean 'blur'"),
        (["run", "--methods", "lora", "--dataset", "ucm", "--severity", "3"], "give --corrupt"),
        (
            ["run", "--methods", "lora", "--dataset", "synthetic", "--tuned", "no.toml"],
            "no.toml cannot be used as a file of learning rates: No such file or directory",
        ),
        (["run", "--dry-run", "true"], "an option such as --dry-run takes no value"),
        (["report", "--results", "nowhere"], "no record"),
        (["methods", "crem"], "no method"),
        (["datasets", "nothing"], "no data set"),
        (["validate", "nothing.py"], "no file"),
    ],
)
def test_bad_arguments_are_one_sentence(
    words: list[str], says: str, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    done = bench(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_lists(bench: Bench) -> None:
    listed = bench("methods").stdout
    assert re.search(r"^Side branches\ncmer +2\.05 M  Side branch, ", listed, re.MULTILINE)
    assert max(map(len, listed.splitlines()[:-1])) <= 80
    shown = bench("methods", "cmer").stdout
    assert "scene_p" in shown
    assert "2501.10638" in shown
    assert "rsitmd" in bench("datasets").stdout


def test_the_version(bench: Bench) -> None:
    from bench import __version__

    assert bench("--version").stdout == f"bench {__version__}\n"
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler  # `kill` is a Ctrl-C
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"bench {__version__}\n"


def test_help_can_be_asked_for_in_short(bench: Bench) -> None:
    for words in ([], ["run"], ["data"], ["data", "check"]):
        assert bench(*words, "-h").stdout == bench(*words, "--help").stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_our_characters_is_no_error(
    encoding: str, tiny: Path, bench: Bench
) -> None:
    words = sweep(tiny, "--methods", "zeroshot", "--dry-run", "--no-memory")
    for command in (["--help"], ["methods"], ["datasets"], words):
        done = bench(*command, encoding=encoding)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", '35.1 +- 0.4 - 3 x 2 -> cafe "a" ?'),
        ("cp1252", "35.1 ± 0.4 · 3 × 2 -> café “a” ?"),
        ("utf-8", "35.1 ± 0.4 · 3 × 2 → café “a” 港"),
    ],
)
def test_a_terminal_without_our_characters_gets_plain_ones(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, write_through=True))
    console.replace_unprintable()
    print("35.1 ± 0.4 · 3 × 2 → café “a” 港", end="")
    assert written.getvalue().decode(encoding) == shown
