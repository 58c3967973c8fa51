"""Sweeps killed with SIGKILL at random moments, over and over, until every trial is recorded.

`make chaos`, or `python tests/chaos.py --faults 50 --seed 0`. Trials of a few steps with a
checkpoint after each are run undisturbed once, then in new folders under fire, two at a time. Each
folder is done when all its trials are recorded: then each has exactly one whole record, equal to
that of the undisturbed run, and nothing else is left. `--forked`, for the tests: one folder at a
time, and no process imports anything. Linux only: children are found in /proc.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import record
from tests.conftest import make_tiny
from tests.helpers.curves import untimed

METHODS = "linear,cmer(queue=8, queue_start=0.0),lora(dropout=0.3)"
PATIENCE = 600.0
"""Seconds after which a sweep counts as hung."""
KINDS = ("record", "record", "sweep", "sweep alone", "trial", "two", "writing")
"""What is hit: all processes, one of them, or a trial in the middle of a write."""
PLUGIN = """
import os, time
from pathlib import Path
from bench.training import train

def slow(real):
    def call(*given, **named):
        time.sleep(0.02)
        result = real(*given, **named)
        time.sleep(0.02)
        return result
    return call

def write_text(path, text, encoding):
    with path.open("w", encoding=encoding) as file:
        file.write(text[:len(text) // 2])
        file.flush()
        time.sleep(0.02)
        file.write(text[len(text) // 2:])

train.step_rate = lambda *_: None
os.fsync, Path.replace, Path.write_text = slow(os.fsync), slow(Path.replace), write_text
"""
"""Nothing is measured after a training of six steps; the disk is slow, so that kills hit writes."""


class Forked:
    """What `subprocess.Popen` is to chaos and engine, for a fork of this process: no imports."""

    def __init__(self, main: Callable[[], Any], stderr: Any, env: Any = None, **_: Any) -> None:
        (mine, self.stdin), (self.stdout, to_me) = (map(os.fdopen, os.pipe(), "rw") for _ in "io")
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            self.stdin.close()  # a trial ends with the sweep: when nobody holds this
            for number, file in enumerate((mine, to_me if env else stderr, stderr)):
                os.dup2(file.fileno(), number)
            sys.stdin = os.fdopen(os.dup(0))
            os.environ.update(env or {})
            try:
                main()
            except Exception:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(0)
        mine.close()
        to_me.close()

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int | None:
        """Wait for its end; raises TimeoutExpired."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(0.002)
        return self.returncode


def forked(words: list[str], log: Any) -> Forked:
    """A sweep that is a fork of this process and forks its trials."""
    from bench import cli, trial_process
    from bench.sweeps import forkserver

    def main() -> None:
        popen = lambda _, **given: Forked(trial_process.main, **given)  # noqa: E731
        forkserver.subprocess = SimpleNamespace(Popen=popen, PIPE=None)
        forkserver.warm_up = lambda: None  # no helper process: the sweep forks its trials itself
        sys.argv[1:] = words
        cli.main()

    return Forked(main, log)


def executed(words: list[str], log: Any) -> "subprocess.Popen[bytes]":
    """A sweep as a user starts it."""
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *words], stdout=log, stderr=log, env=one_thread
    )


def preload() -> None:
    """Import what a trial does, and let no library start threads, which a fork would lack."""
    import open_clip  # noqa: F401
    import torch

    import methods

    torch.set_num_threads(1)
    methods.registry()


Sweep = subprocess.Popen[bytes] | Forked
Start = Callable[[list[str], Any], Sweep]


def children(pid: int) -> list[int]:
    """Processes that a process has started, and those that these have started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        own = [int(w) for task in tasks for w in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*own, *(grandchild for child in own for grandchild in children(child))]


def trials(sweep: int) -> list[int]:
    """The processes of a sweep in which a trial runs: neither the helper that forks them nor the
    process that keeps each."""
    leaves = [pid for pid in children(sweep) if not children(pid)]
    return [pid for pid in leaves if not is_helper(pid, sweep)]


def is_helper(pid: int, sweep: int) -> bool:
    """Whether it is the sweep's helper process, waiting for something to fork."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return parent == sweep and b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(*pids: int) -> bool:
    """SIGKILL; whether one of them was still there."""
    hit = False
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            hit = True
        except ProcessLookupError:
            pass
    return hit


def moment(sweep: Sweep, seconds: float, until: Callable[[], bool]) -> bool:
    """Wait so long, or until something is so; False when the sweep ends before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        if sweep.poll() is not None:
            return False
        time.sleep(0.002)
    return sweep.poll() is None


def ended(sweep: Sweep) -> None:
    """Wait for a sweep's own end."""
    try:
        sweep.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        kill(*children(sweep.pid), sweep.pid)
        raise SystemExit(f"a sweep hung for {PATIENCE:.0f} s") from None


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one trial have in common."""
    alike = {key: found[key] for key in ("status", "metrics")}
    return alike | {"curve": untimed(found["curve"])}


class Field:
    """A results folder under fire."""

    def __init__(self, begin: Start, root: Path, name: str, options: argparse.Namespace) -> None:
        self.begin, self.root, self.results, self.options = begin, root, root / name, options
        self.dice, self.faults = random.Random(f"{options.seed} {name}"), Counter[str]()
        self.deck: list[str] = []
        self.seen: dict[Path, bytes] = {}
        self.lost, self.damaged = 0, 0

    def start(self) -> Sweep:
        """A sweep over the tiny data set, on the CPU, with a checkpoint after each step."""
        root, options = self.root, self.options
        words = [
            *("run", "--dataset", str(root / "tiny.toml"), "--data-root", str(root)),
            *("--methods", options.methods, "--seeds", options.seeds),
            *("--results", str(self.results)),
            *("--recipe", "steps=6,batch_size=4,evaluations=2,precision=fp32", "--gpus", "none"),
            *("--checkpoint-every", "0", "--plugin", str(root / "slow.py")),
        ]
        with (root / "sweeps.log").open("ab") as log:
            return self.begin(words, log)

    def look(self) -> int:
        """Count records; none that was there may be gone, changed or half."""
        now = {path: path.read_bytes() for path in record.paths(self.results)}
        self.lost += len(self.seen.keys() - now.keys())
        self.damaged += sum(now.get(path, old) != old for path, old in self.seen.items())
        for content in now.values():
            try:
                json.loads(content)
            except ValueError:
                self.damaged += 1
        self.seen = now
        return len(now)

    def fire(self, span: float) -> float:
        """Start a sweep, or two, and kill something at a random moment.

        Returns the span for the next moment: shorter if the sweep ended before this one.
        """
        began = time.monotonic()
        if not self.deck:
            self.deck = self.dice.sample(KINDS, len(KINDS))
        kind = self.deck.pop()
        sweep = self.start()
        other = self.start() if kind == "two" else None
        wait = self.dice.uniform(span / 20, span)
        never = lambda: False  # noqa: E731
        if kind in ("writing", "record"):
            # Hit in the middle of a write: a file that has no name yet.
            what = ".*.json.*.partial" if kind == "record" else ".*.partial"
            moment(sweep, wait / 2, never)
            there = moment(sweep, PATIENCE, lambda: any(self.results.rglob(what)))
            there = there and moment(sweep, self.dice.uniform(0, 0.2), never)
        else:
            there = moment(sweep, wait, never)
        running = trials(sweep.pid)
        if not there:
            hit = False
            span = min(span, 1.5 * (time.monotonic() - began))
        elif kind in ("trial", "writing", "record") and running:
            hit = kill(*running)
        elif kind == "sweep alone":
            hit = kill(sweep.pid)
        else:
            hit = kill(*running, sweep.pid, *children(sweep.pid))
        if hit:
            self.faults[kind] += 1
        for left in [sweep] if other is None else [sweep, other]:
            if self.dice.random() < 0.8 and moment(left, self.dice.uniform(span / 20, span), never):
                self.faults["sweep"] += kill(left.pid, *children(left.pid))
            ended(left)
        self.look()
        return span

    def finish(self) -> None:
        """Run what is left, undisturbed."""
        ended(self.start())
        self.look()

    def compare(self, truth: dict[str, dict[str, object]]) -> dict[str, int]:
        """How the folder differs from what it should hold; also how many trials were resumed."""
        found = {str(p.relative_to(self.results)): record.read(p) for p in self.seen}
        unequal = [
            name
            for name, expected in truth.items()
            if name in found and compared(found[name]) != compared(expected)
        ]
        strays = [
            path
            for path in self.seen
            for suffix in (".npz", ".safetensors")
            if record.is_stray(path, record.read(path), suffix)
        ]
        whole = {path.with_suffix(s) for path in self.seen for s in (".json", ".npz")}
        whole |= {path.with_suffix(".safetensors") for path in self.seen}
        rest = [p for p in self.results.rglob("*") if p.is_file() and p not in whole]
        for path in rest:
            print(f"  left over: {path.relative_to(self.results)}")
        for name in unequal:
            print(f"  not equal: {name}: {found[name]['status']} {found[name]['message']}")
        return {
            "lost": self.lost + len(truth.keys() - found.keys()),
            "damaged": self.damaged + len(unequal) + len(strays),
            "left over": len(rest),
            "resumed": sum(document["resumed"] > 0 for document in found.values()),
        }


def main() -> int:
    """Print what was done and found; 0 if nothing was lost, damaged or left over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--forked", action="store_true")
    options = parser.parse_args()
    begin = forked if options.forked else executed
    if options.forked:
        preload()
    root = make_tiny(Path(tempfile.mkdtemp(prefix="chaos-")))
    (root / "slow.py").write_text(PLUGIN)
    calm, began = Field(begin, root, "calm", options), time.monotonic()
    calm.finish()
    truth = {str(p.relative_to(root / "calm")): record.read(p) for p in calm.seen}
    seconds = time.monotonic() - began
    print(f"{len(truth)} trials, undisturbed in {seconds:.0f} s", flush=True)
    if not truth:  # else it would look for something to kill for ever
        print((root / "sweeps.log").read_text())
        return 1
    span = seconds / len(truth) * 1.5
    fields: list[Field] = []
    total = Counter[str]()

    def injected() -> int:
        return sum(field.faults.total() for field in fields)

    def under_fire() -> None:
        wait = span
        while injected() < options.faults:
            field = Field(begin, root, f"field{len(fields)}", options)
            fields.append(field)
            while field.look() < len(truth) and injected() < options.faults:
                wait = field.fire(wait)
            field.finish()
            result = field.compare(truth)
            total.update(result)
            counts = ", ".join(f"{count} {what}" for what, count in sorted(result.items()))
            print(f"{field.results.name}: {field.faults.total()} faults; {counts}", flush=True)

    if options.forked:
        under_fire()
    else:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: under_fire(), range(2)))
    kinds = sum((field.faults for field in fields), Counter[str]())
    print(f"injected faults: {kinds.total()} ({dict(kinds)}), seed {options.seed}")
    print(f"records: {len(fields) * len(truth)}, {total['resumed']} of them of resumed trials")
    bad = 0
    for what in ("lost", "damaged", "left over"):
        print(f"{what}: {total[what]}")
        bad += total[what]
    if bad:
        print(f"kept for a look: {root}")
    else:
        shutil.rmtree(root)
    return 1 if bad or not truth else 0


if __name__ == "__main__":
    raise SystemExit(main())
