"""Which plots there are to draw, and drawing those whose records changed, on all cores."""

import functools
import hashlib
import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.report.figure import Look, looks_of
from bench.report.groups import Entry, Group, Row

FORMATS = ("png", "pdf", "svg")
SINGLE = ("recall_memory", "recall_throughput", "learning_curves", "memory_parts")
ALONE = 2
"""So many plots are sooner drawn here than another process has started."""


@dataclass(frozen=True)
class Job:
    """A plot of some groups (the first gives the name), its files, and what it is drawn from."""

    kind: str
    groups: list[Group]
    look: dict[str, Look]
    paths: list[Path]
    digest: str


def done(paths: list[Path], digest: str) -> bool:
    """Whether the files are there, drawn from what has the digest."""
    mark = digest.encode()
    return all(path.is_file() and mark in path.read_bytes() for path in paths)


def digest_of(facts: str) -> str:
    """A digest of what a plot is drawn from and of the code that draws it."""
    return hashlib.sha256(f"{_code()} {facts}".encode()).hexdigest()


def write(
    groups: list[Group], out: Path, formats: Iterable[str] = FORMATS
) -> dict[str, list[Path]]:
    """Draw what the records allow to `<group>-<plot>.<format>`; the files by group's name.

    A plot whose files are there and whose records did not change is left as it is.
    """
    slim = [_essence(one) for one in groups]
    plans = [(kind, [one]) for one in slim for kind in SINGLE]
    plans += [("batch_memory", family) for family in _families(slim)]
    jobs = []
    for kind, family in plans:
        stem = f"{family[0].name}-{kind}"
        look = looks_of(family, slim)
        digest = digest_of(f"{kind} {_facts(family, look)}")
        jobs.append(Job(kind, family, look, [out / f"{stem}.{form}" for form in formats], digest))
    todo = [job for job in jobs if not done(job.paths, job.digest)]
    drawn = dict(zip(map(id, todo), _draw(todo), strict=True))
    written: dict[str, list[Path]] = {one.name: [] for one in groups}
    for job in jobs:
        if drawn.get(id(job), True):
            written[job.groups[0].name] += job.paths
    return written


def _families(groups: list[Group]) -> list[list[Group]]:
    """Groups that differ in batch size alone, the smallest first."""
    families: dict[str, list[Group]] = {}
    for one in sorted(groups, key=lambda g: (g.recipe["batch_size"], g.name)):
        families.setdefault(one.family, []).append(one)
    return [family for family in families.values() if len(family) > 1]


def _essence(one: Group) -> Group:
    """The group with what plots need of its records alone."""

    def entry(of: Entry) -> Entry:
        trial = {name: of.get(f"trial.{name}") for name in ("seed", "method", "call")}
        kept = {"status": of.record["status"], "trial": trial, "curve": of.get("curve")}
        recall = {"test": {"mR": of.get("metrics.test.mR")}}
        return Entry(of.path, {**kept, "metrics": recall, "efficiency": of.get("efficiency")})

    rows = [Row(row.label, [entry(e) for e in row.entries]) for row in one.rows]
    return replace(one, rows=rows, folded=[])


def _facts(groups: list[Group], look: dict[str, Look]) -> str:
    """All that a plot of the groups is drawn from, as text."""
    rows = [
        [one.title, one.name, one.recipe["batch_size"]]
        + [[row.label, [[e.path, e.record] for e in row.entries]] for row in one.rows]
        for one in groups
    ]
    own = [str(look[row.label]) for one in groups for row in one.rows]
    return json.dumps([rows, own], sort_keys=True)


@functools.cache
def _code() -> str:
    names = ("figure", "plots", "tradeoff", "labels", "groups", "conditions", "robustness")
    here = Path(__file__)
    files = [here, *(here.with_name(f"{name}.py") for name in names)]
    texts = [file.read_text(encoding="utf-8") for file in files]
    texts.append(importlib.metadata.version("matplotlib"))
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _draw(jobs: list[Job]) -> list[bool]:
    """Draw them, some in other processes where there are many; whether each could be drawn."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    shares = max(1, min(cores, len(jobs) // ALONE))
    parts = [jobs[n::shares] for n in range(shares)]
    running = []
    for part in parts[1:]:
        command = [sys.executable, "-m", "bench.report.drawing"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        pickle.dump(part, process.stdin)
        process.stdin.close()
        running.append(process)
    answers = [draw_all(parts[0])]
    for process, part in zip(running, parts[1:], strict=True):
        assert process.stdout is not None
        with process:
            told = process.stdout.read()
        answers.append(json.loads(told) if process.returncode == 0 else draw_all(part))
    found: list[Any] = [None] * len(jobs)
    for n, answer in enumerate(answers):
        found[n::shares] = answer
    return found


def draw_all(jobs: list[Job]) -> list[bool]:
    """Draw here, one after the other."""
    if not jobs:
        return []
    from bench.report import plots

    return [plots.draw(job.kind, job.groups, job.look, job.paths, job.digest) for job in jobs]


if __name__ == "__main__":
    print(json.dumps(draw_all(pickle.load(sys.stdin.buffer))))
