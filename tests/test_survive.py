"""Trials that are killed, run out of memory, time or disk; sweeps that meet in one folder."""

import errno
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import UserError, data, disk, lock, record, trial_process, trial_run
from bench.data import cache
from bench.measure import oom
from bench.messages import Event, Step
from bench.recipe import Recipe
from bench.sweeps import engine, engine_choice, forkserver
from bench.sweeps.sweep import Plan
from bench.training import checkpoint, limits, train
from bench.trial import Trial, blank_record
from methods import registry
from methods.base import Method
from tests.helpers.curves import untimed
from tests.helpers.killed import Killed, killed_after
from tests.helpers.tiny import trial
from tests.helpers.until import PATIENCE, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measuring after training."""
    monkeypatch.setattr(train, "step_costs", lambda *_: {})


def made(root: Path, method: str, seed: int = 0, steps: int = 9, **settings: Any) -> Trial:
    recipe = Recipe(steps=steps, batch_size=4, evaluations=3, precision="fp32")
    return trial(root, method, recipe, seed=seed, **settings)


def ran(one: Trial, root: Path, results: str, kill: int = 99) -> dict[str, Any]:
    """The record of a trial with a checkpoint after each step, killed after step `kill`."""
    return trial_run.run(one, root, root / results, killed_after(kill), {}, every=0.0)


@pytest.mark.parametrize(
    ("method", "settings", "kills"),
    [
        ("cmer", {"queue": 8, "queue_start": 0.0, "scene_p": 0.5}, [2, 7]),
        ("lora", {"dropout": 0.3}, [3]),
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
    assert untimed(again["curve"]) == untimed(whole["curve"])
    assert again["best_step"] == whole["best_step"]


@pytest.mark.parametrize(
    ("status", "age", "stays"), [("ok", 60, False), ("timeout", 60, True), ("ok", -60, True)]
)
def test_a_checkpoint_left_by_a_kill_after_the_record_goes(
    tmp_path: Path, status: str, age: int, stays: bool
) -> None:
    one = made(tmp_path, "linear")
    path = one.path(tmp_path / "r")
    record.write(path, blank_record(one) | {"status": status})
    left = path.with_suffix(".checkpoint")
    left.write_bytes(b"of a training that ended")
    then = path.stat().st_mtime - age  # younger than the record: of a trial that is repeated
    os.utime(left, (then, then))
    todo = Plan([one], tmp_path / "r", tmp_path).todo(rerun=False, retry_failed=False)
    assert todo == []
    assert left.exists() == stays


def test_a_damaged_or_foreign_checkpoint_is_set_aside(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tiny, "linear", steps=3)
    path = one.path(tiny / "r").with_suffix(".checkpoint")
    said: list[str] = []

    def again() -> int:
        watch = lambda event: said.append(getattr(event, "note", ""))  # noqa: E731
        done = trial_run.run(one, tiny, tiny / "r", watch, {}, every=0.0)
        assert done["status"] == "ok"
        return int(done["resumed"])

    assert again() == 0
    assert again() == 1
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert again() == 0
    assert path.with_name(f"{path.name}.aside").exists()
    assert "starts over" in "".join(said)
    monkeypatch.setattr(checkpoint, "code", lambda _: "another")
    assert again() == 0
    assert "is of another code" in "".join(said)

    def edit(event: Event) -> None:
        """Change the files while the trial runs, which goes on with the code that it has read."""
        if isinstance(event, Step):
            monkeypatch.setattr(checkpoint, "code", lambda _: "edited meanwhile")

    path.unlink()
    trial_run.run(one, tiny, tiny / "r", edit, {}, every=0.0)
    assert again() == 0


def test_only_code_that_trains_counts_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        return b""

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    checkpoint.code(registry()["linear"])
    bench = Path(checkpoint.__file__).resolve().parent.parent
    names = [path.relative_to(bench).as_posix() for path in read if path.is_relative_to(bench)]
    assert {"training/train.py", "data/cache.py", "measure/count.py"} <= {*names}
    assert not [name for name in names if name.startswith(("report/", "sweeps/", "commands/"))]
    assert [path for path in read if path.parent.name == "methods" and path.name == "linear.py"]


def test_a_checkpoint_that_cannot_be_written_does_not_end_a_training(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    one = made(tiny, "linear", steps=3)
    cache.images(data.load(data.card(one.dataset), tiny), 64)  # before the disk is full
    full_disk(monkeypatch)
    done = trial_run.run(
        one, tiny, tiny / "r", lambda e: said.append(getattr(e, "note", "")), {}, every=0.0
    )
    assert done["status"] == "ok"
    assert "no checkpoint could be written (No space" in "".join(said)


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record.os, "fsync", fsync)
    monkeypatch.setattr(trial_run, "probe", lambda *_: None)


def test_a_trial_over_its_time_ends_as_timeout_and_goes_on(tiny: Path) -> None:
    one = made(tiny, "linear", steps=5)
    clock = limits.Clock(1000.0)

    def slow(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            clock.before += 2000.0

    done = trial_run.run(one, tiny, tiny / "r", slow, {}, clock, every=100.0)
    assert done["status"] == "timeout"
    assert "16 min 40 s" in done["message"]
    again = trial_run.run(
        one, tiny, tiny / "r", lambda _: None, {}, limits.Clock(9000.0), every=100.0
    )
    assert (again["status"], again["resumed"]) == ("ok", 1)
    assert again["efficiency"]["trial_seconds"] > 2000


def test_out_of_memory_says_the_largest_batch(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = Method.loss, itertools.count()

    def loss(*given: Any) -> Any:
        if next(tries) == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(*given)

    monkeypatch.setattr(oom, "usable_memory", lambda: 2**30)
    monkeypatch.setattr(Method, "loss", loss)
    done = trial_run.run(made(tiny, "linear"), tiny, tiny / "r", lambda _: None)
    assert done["status"] == "out_of_memory"
    largest = done["efficiency"]["largest_batch_predicted"]
    assert largest > 4
    assert f"--batch-size {largest} (now 4)" in done["message"]
    monkeypatch.setattr(oom, "usable_memory", lambda: 1 / 0)  # never breaks a record
    assert oom.explain(MemoryError(), made(tiny, "linear"), None)[0] == "MemoryError"


@pytest.mark.parametrize(
    ("method", "remedy"),
    [("lora", " --recipe checkpointing=true needs less."), ("cmer", ""), ("linear", "")],
)
def test_recomputation_is_advised_only_where_it_helps(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, method: str, remedy: str
) -> None:
    monkeypatch.setattr(oom, "_largest_batch", lambda *_: 0)
    said, _ = oom.explain(MemoryError(), made(tiny, method), None)
    assert said == f"MemoryError Predicted to fit this GPU: not even a batch of 2.{remedy}"


def test_a_training_is_not_lost_for_want_of_memory_to_count_in(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step_costs(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    said: list[str] = []
    monkeypatch.setattr(train, "step_costs", step_costs)
    watch = lambda event: said.append(getattr(event, "note", ""))  # noqa: E731
    done = trial_run.run(made(tiny, "linear"), tiny, tiny / "r", watch)
    assert (done["status"], done["metrics"].keys()) == ("ok", {"val", "test"})
    assert "the training is kept" in "".join(said)


@pytest.mark.parametrize(
    "message", ["CUDA error: out of memory\nSearch for ...", "cuDNN: CUDNN_STATUS_ALLOC_FAILED"]
)
def test_other_ways_in_which_a_gpu_says_that_it_is_full(message: str) -> None:
    assert oom.is_out_of_memory(RuntimeError(message))
    assert not oom.is_out_of_memory(ValueError(message))


FEW = ("--faults", "3", "--methods", "linear", "--seeds", "0")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds children in /proc")
def test_a_short_chaos(tmp_path: Path) -> None:
    script = Path(__file__).with_name("chaos.py")
    words = [sys.executable, str(script), "--forked", *FEW]
    env = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    env["PYTHONPATH"] = str(script.parent.parent)
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost: 0\ndamaged: 0\nleft over: 0\n" in done.stdout


# Records.


def test_a_record_is_kept_elsewhere_where_the_folder_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "call" / "seed0-a.json"
    monkeypatch.setattr(trial_process, "cache_folder", lambda: tmp_path / "cache")
    real = record.write

    def write(where: Path, *rest: Any) -> None:
        if where == path:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(where, *rest)

    monkeypatch.setattr(trial_process, "write", write)
    with pytest.raises(trial_process.Unsaved, match=r"No space left on device.*it is kept as"):
        trial_process._write(path, {"status": "ok", "metrics": {}}, {})
    (kept,) = (tmp_path / "cache").rglob("seed0-a.json")
    assert json.loads(kept.read_text())["status"] == "ok"


def test_a_record_without_room_for_its_weights_says_so(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path, done = tmp_path / "seed0.json", {"message": None, "x": float("nan")}
    record.write(path, done, {".npz": lambda p: p.write_bytes(b"1"), ".safetensors": full})
    found = json.loads(path.read_text())
    assert "seed0.safetensors could not be kept" in found["message"]
    assert found["x"] is None
    assert not record.is_stray(path, found, ".npz")
    path.with_suffix(".npz").write_bytes(b"2")
    assert record.is_stray(path, found, ".npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seed0.json", "seed0.npz"]


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
def test_a_crash_while_a_record_is_replaced_leaves_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    path = tmp_path / "seed0.json"
    record.write(path, {"n": 1})
    calls = iter(range(9))

    def dying(real: Any) -> Any:
        def call(*given: Any) -> Any:
            if next(calls) == dies_at:
                raise Killed
            return real(*given)

        return call

    monkeypatch.setattr(record, "_keep_replaced", dying(record._keep_replaced))
    monkeypatch.setattr(Path, "replace", dying(Path.replace))
    try:
        record.write(path, {"n": 2}, {".npz": lambda p: p.write_bytes(b"2")})
    except Killed:
        assert dies_at < 3
    assert json.loads(path.read_text())["n"] in (1, 2)
    old = [json.loads(p.read_text())["n"] for p in tmp_path.glob("*.replaced")]
    assert json.loads(path.read_text())["n"] == 1 or old == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_or_read_only_folder_is_found_out_first(tmp_path: Path) -> None:
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(disk.NoRoom, match="No space left on device"):
            record.probe(tmp_path)
        (tmp_path / "fills it").write_bytes(bytes(2**16))
        with pytest.raises(UserError, match="No space left on device"):
            disk.demand_writable(tmp_path / "tuned.toml")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        with pytest.raises(disk.NoRoom, match="Read-only file system"):
            record.probe(tmp_path / "results")
        with pytest.raises(UserError, match="Read-only file system"):
            engine_choice.Engine("local").run(Plan([], tmp_path / "results", tmp_path), [], Any)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# Locks.

HOLDS = """
import sys, time; from pathlib import Path; from bench import lock
with lock.held(Path(sys.argv[1])) as mine:
    print(mine, flush=True); sys.stdin.readline()
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", HOLDS, str(path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_lock_is_one_process_and_is_taken_over_when_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "seed0.json"
    process = holder(path)
    with lock.held(path) as mine:
        assert not mine
    assert lock.busy(path)
    process.kill()
    process.wait()
    assert not lock.busy(path)
    with lock.held(path) as mine:
        assert mine
        assert lock.busy(path)
    assert not list(tmp_path.iterdir())


def test_a_killed_trial_leaves_no_lock_and_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path, "linear")
    path = one.path(tmp_path)
    process = holder(path)
    process.kill()
    process.wait()
    path.with_name(f".{path.name}.a1.partial").touch()
    monkeypatch.setattr(forkserver, "_server", None)  # a Python of its own
    monkeypatch.setattr(forkserver.sys, "executable", "/bin/false")
    plan = Plan([one], tmp_path, tmp_path)
    outcome = engine.run_trial(plan, one, "cpu", set(), lambda *_: None)
    assert (outcome.status, outcome.message) == ("killed", "its process ended with exit code 1")
    assert not list(path.parent.iterdir())


def lost(claim: Path) -> None:
    """Make a claim one that was not renewed for more than two minutes."""
    claim.touch()
    old = time.time() - lock.STALE - 5
    os.utime(claim, (old, old))


def test_a_claim_that_another_process_renewed_meanwhile_stays(tmp_path: Path) -> None:
    claim = tmp_path / "seed0.lock"
    claim.write_text("faster elsewhere")
    lock._remove_lost(claim)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["faster elsewhere"]
    lost(claim)
    lock._remove_lost(claim)
    lock._remove_lost(claim)  # and one that is gone
    assert not list(tmp_path.iterdir())


def test_a_claim_whose_owner_died_before_it_wrote_its_name_is_soon_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = tmp_path / "seed0.lock"
    monkeypatch.setattr(lock, "BEAT", 1000.0)  # longer than any machine needs between two lines
    monkeypatch.setattr(lock, "STALE", 2000.0)
    claim.touch()
    assert lock.busy(tmp_path / "seed0.json")
    soon = time.time() - lock.BEAT - 5
    os.utime(claim, (soon, soon))
    assert not lock.busy(tmp_path / "seed0.json")
    claim.write_text("somebody elsewhere")
    os.utime(claim, (soon, soon))
    assert lock.busy(tmp_path / "seed0.json")
    claim.write_bytes(b"\xff\x00 not a text")
    os.utime(claim, (soon, soon))
    assert lock.busy(tmp_path / "seed0.json")
    lost(claim)
    with lock.held(tmp_path / "seed0.json") as locked:
        assert locked


def test_a_claim_is_renewed_and_its_loss_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    claim, ended = tmp_path / "seed0.lock", threading.Event()
    monkeypatch.setattr(lock, "BEAT", 0.02)
    monkeypatch.setattr(lock.os, "_exit", lambda _: ended.set())
    with lock.held(tmp_path / "seed0.json"):
        lost(claim)
        until(lambda: lock.busy(tmp_path / "seed0.json"))
        claim.unlink()  # as while somebody looks at it a second time: no reason to end
        time.sleep(0.1)
        assert not ended.is_set()
        claim.write_text("another owner")
        assert ended.wait(PATIENCE)
    assert "took this trial over" in capsys.readouterr().err
    assert claim.read_text() == "another owner"


def test_a_lock_of_another_host_is_stale_without_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seed0.json"
    monkeypatch.setattr(lock, "BEAT", 1000.0)  # the first sleeps
    with lock.held(path) as first:
        assert first
        monkeypatch.setattr(lock, "_machine", lambda: "another")
        monkeypatch.setattr(lock.os, "_exit", lambda _: None)
        with lock.held(path) as mine:
            assert not mine  # it is new
        lost(tmp_path / "seed0.lock")
        with lock.held(path) as mine, lock.held(path) as third:
            assert (mine, third) == (True, False)
            assert [p.name for p in tmp_path.iterdir()] == ["seed0.lock"]
        later = ExitStack()
        assert later.enter_context(lock.held(path))
    assert lock.busy(path)  # the first, awake again, leaves another's lock alone
    later.close()
    assert not list(tmp_path.iterdir())


def test_a_claim_that_cannot_be_written_is_not_left_behind(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="not on Windows")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as on a full disk
    try:
        with pytest.raises(OSError, match="File too large"), lock.held(tmp_path / "seed0.json"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_of_many_who_take_over_one_wins(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench import lock\n"
        "for path in map(Path, sys.stdin.readline().split()):\n"
        "    with lock.held(path) as ours:\n"
        "        print(ours, flush=True)\n"
        "        sys.stdin.readline()"  # held until every process has answered
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    processes = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(4)]
    paths = [tmp_path / f"seed{number}.json" for number in range(25)]
    for path in paths:
        lost(path.with_suffix(".lock"))
    for process in processes:
        process.stdin.write(" ".join(map(str, paths)) + "\n")
    for _ in paths:
        answers = [process.stdout.readline().strip() for process in processes]
        assert sorted(answers) == ["False"] * 3 + ["True"]
        for process in processes:
            process.stdin.write("\n")
    for process in processes:
        process.communicate()
    assert not list(tmp_path.iterdir())


def test_one_process_after_the_other_looks_at_the_claims_of_a_folder(tmp_path: Path) -> None:
    answers = queue.Queue[bool]()

    def claim() -> None:
        with lock.held(tmp_path / "seed0.json") as ours:
            answers.put(ours)

    second = threading.Thread(target=claim)
    lost(tmp_path / "seed0.lock")
    with lock._one_at_a_time(tmp_path):  # the first one
        second.start()
        with pytest.raises(queue.Empty):
            answers.get(timeout=0.2)
    assert answers.get(timeout=PATIENCE)
    second.join()


def test_a_trial_that_another_sweep_did_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path, "linear")
    plan = Plan([one], tmp_path / "r", tmp_path)
    assert plan.todo(rerun=False, retry_failed=False) == [one]
    job = plan.job(one)
    record.write(one.path(plan.results.resolve()), blank_record(one))
    monkeypatch.setattr(trial_run, "run", lambda *_: pytest.fail("it was run again"))
    assert trial_process._run_job(job, lambda _: None, limits.Clock()).status == "ok"


# Time.


def test_a_trial_that_does_not_end_in_time_is_killed_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> Any:
        words = {"text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(["sleep", "100000"], start_new_session=True, **words)
        return process, process.stdin, process.stdout

    monkeypatch.setattr(forkserver, "start_trial", start)
    monkeypatch.setattr(engine, "GRACE_SECONDS", 0.1)
    one = made(tmp_path, "linear")
    plan = Plan([one], tmp_path, tmp_path, time_limit=0.1)
    outcome = engine.run_trial(plan, one, "cpu", set(), lambda *_: None)
    assert (outcome.status, plan.status(one)) == ("timeout", "timeout")
    assert "it was killed 0.2 s after it began" in (outcome.message or "")
