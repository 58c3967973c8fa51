"""Sweeps killed with SIGKILL at random moments, over and over, until every trial is recorded.

`make chaos`, or `python tests/chaos.py --faults 50 --seed 0`. Trials of a few steps with a
checkpoint after each are run undisturbed once, then in new folders under fire. Each folder is done
when all its trials are recorded: then each has exactly one whole record, equal to that of the
undisturbed run, and nothing else is left. Linux only: children are found in /proc.
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
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from conftest import make_tiny

from bench import record

METHODS = "linear,cmer(queue=8, queue_start=0.0),lora(dropout=0.3)"
PATIENCE = 600.0
"""Seconds after which a sweep counts as hung."""


def start(root: Path, results: Path, methods: str, seeds: str) -> "subprocess.Popen[bytes]":
    """A sweep over the tiny data set, on the CPU, with a checkpoint after each step."""
    words = [
        *("run", "--dataset", str(root / "tiny.toml"), "--data-root", str(root), "--gpus", "none"),
        *("--methods", methods, "--seeds", seeds, "--results", str(results)),
        *("--recipe", "steps=6,batch_size=4,evaluations=2,precision=fp32"),
        *("--checkpoint-every", "0"),
    ]
    with (root / "sweeps.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "bench.cli", *words], stdout=log, stderr=log)


def children(pid: int) -> list[int]:
    """Processes that a process has started and that still run."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(w) for task in tasks for w in (task / "children").read_text().split()]
    except OSError:
        return []


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


def moment(sweep: "subprocess.Popen[bytes]", seconds: float, until: Callable[[], bool]) -> bool:
    """Wait so long, or until something is so; False when the sweep ends before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        if sweep.poll() is not None:
            return False
        time.sleep(0.002)
    return sweep.poll() is None


def ended(sweep: "subprocess.Popen[bytes]") -> None:
    """Wait for a sweep's own end."""
    try:
        sweep.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        kill(*children(sweep.pid), sweep.pid)
        raise SystemExit(f"a sweep hung for {PATIENCE:.0f} s") from None


class Field:
    """A results folder under fire."""

    def __init__(self, root: Path, results: Path, methods: str, seeds: str, dice: random.Random):
        self.root, self.results, self.methods, self.seeds = root, results, methods, seeds
        self.dice, self.faults = dice, Counter[str]()
        self.seen: dict[Path, bytes] = {}
        self.lost, self.damaged = 0, 0

    def start(self) -> "subprocess.Popen[bytes]":
        return start(self.root, self.results, self.methods, self.seeds)

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

    def fire(self, span: float) -> None:
        """Start a sweep, or two, and kill something at a random moment."""
        kind = self.dice.choice(["sweep", "sweep alone", "trial", "writing", "writing", "two"])
        sweep = self.start()
        other = self.start() if kind == "two" else None
        wait = self.dice.uniform(0.5, span)
        never = lambda: False  # noqa: E731
        if kind == "writing":
            # Let some writes pass, then hit in the middle of one: a file that has no name yet.
            moment(sweep, self.dice.uniform(0, span / 2), never)
            there = moment(sweep, PATIENCE, lambda: any(self.results.rglob(".*.partial")))
        else:
            there = moment(sweep, wait, never)
        trials = children(sweep.pid)
        if not there:
            hit = False
        elif kind in ("trial", "writing") and trials:
            hit = kill(*trials)
        elif kind == "sweep alone":
            hit = kill(sweep.pid)
        else:
            hit = kill(sweep.pid, *trials)
        if hit:
            self.faults[kind] += 1
        for one in (sweep, other):
            if one is not None:
                ended(one)
        self.look()

    def finish(self) -> None:
        """Run what is left, undisturbed."""
        ended(self.start())
        self.look()

    def compare(self, truth: dict[str, dict[str, object]]) -> dict[str, int]:
        """How the folder differs from what it should hold; also how many trials were resumed."""
        found = {str(p.relative_to(self.results)): record.read(p) for p in self.seen}
        unequal = [
            name
            for name, one in truth.items()
            if name in found
            and any(found[name][key] != one[key] for key in ("status", "metrics", "curve"))
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
            "resumed": sum(int(one["resumed"] > 0) for one in found.values()),
        }


def main() -> int:
    """Print what was done and found; 0 when nothing was lost, damaged or left over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", default="0,1")
    given = parser.parse_args()
    dice, began = random.Random(given.seed), time.monotonic()
    root = make_tiny(Path(tempfile.mkdtemp(prefix="chaos-")))
    calm = Field(root, root / "calm", given.methods, given.seeds, dice)
    calm.finish()
    truth = {str(p.relative_to(calm.results)): record.read(p) for p in calm.seen}
    span = (time.monotonic() - began) / max(1, len(truth)) * 1.5
    print(f"{len(truth)} trials, undisturbed in {time.monotonic() - began:.0f} s", flush=True)
    faults, total = Counter[str](), Counter[str]()
    fields = 0
    while faults.total() < given.faults:
        field = Field(root, root / f"field{fields}", given.methods, given.seeds, dice)
        while field.look() < len(truth) and faults.total() + field.faults.total() < given.faults:
            field.fire(span)
        field.finish()
        result = field.compare(truth)
        faults, total, fields = faults + field.faults, total + Counter(result), fields + 1
        said = ", ".join(f"{n} {kind}" for kind, n in sorted(result.items()))
        print(f"folder {fields}: {field.faults.total()} faults; {said}", flush=True)
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(faults.items()))
    print(f"injected faults: {faults.total()} ({kinds}), seed {given.seed}")
    print(f"records: {fields * len(truth)}, {total['resumed']} of them of resumed trials")
    for what in ("lost", "damaged", "left over"):
        print(f"{what}: {total[what]}")
    print(f"took {time.monotonic() - began:.0f} s")
    bad = total["lost"] + total["damaged"] + total["left over"]
    if bad:
        print(f"kept for a look: {root}")
    else:
        shutil.rmtree(root)
    return 1 if bad or not truth else 0


if __name__ == "__main__":
    raise SystemExit(main())
