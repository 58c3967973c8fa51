"""Which records may stand in one table: sorts them into groups, and these into rows.

An *entry* is a record. A *row* holds the entries of one method call, one for each seed. A *group*
holds the rows that can be compared, because their records differ only in method, learning rate and
seed: it becomes one section of the report.
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bench.earlier import call_today
from bench.recipe import Recipe
from bench.report.entry import Entry
from bench.report.group import Group
from bench.report.row import Row
from bench.spec import portable

SHOULD_BE_EQUAL = {
    "precision": "efficiency.precision",
    "context length": "data.context_length",
    "threads": "environment.threads",
    "cpu": "environment.cpu",
    "torch": "environment.torch",
    "open_clip": "environment.open_clip",
    "peft": "environment.peft",
    "timm": "environment.timm",
    "cuda": "environment.cuda",
    "driver": "environment.driver",
    "bench": "environment.bench",
    "commit": "environment.git_commit",
    "uncommitted changes": "environment.git_dirty",
}
"""What may differ within a group but should not; where it does, the column `differs` says so."""


def group_records(frame: pd.DataFrame) -> list[Group]:
    """The records of a frame (see `bench.record.load`) as groups: most seeds first, then methods.

    The records of a group share data set, split, backbone, weights, device, recipe (but for the
    learning rate) and the use of scenes at test. They also share the use of cached features, unless
    training time was made equal: then caching is one way to spend the time.
    """
    if not len(frame):
        return []
    pairs = zip(frame["path"], frame["record"], strict=True)
    entries = [Entry(str(path), document) for path, document in pairs]
    groups: dict[str, Group] = {}
    rows: dict[str, dict[str, list[Entry]]] = {}
    for entry in sorted(entries, key=lambda e: (str(e.record.get("finished")), e.path)):
        group = _group_of(entry)
        groups.setdefault(group.digest, group)
        settings, lr = entry.trial["settings"], entry.trial["recipe"]["lr"]
        key = json.dumps([_call(entry), settings, lr, entry.cached_features], sort_keys=True)
        rows.setdefault(group.digest, {}).setdefault(key, []).append(entry)
    for digest, group in groups.items():
        group.rows = [_row(rows[digest][key]) for key in sorted(rows[digest])]
        _tell_apart(group)
        _find_differences(group)
        group.rows.sort(key=lambda row: row.order)
    names = Counter(group.name.casefold() for group in groups.values())
    for group in groups.values():
        if names[group.name.casefold()] > 1:  # other weights or another split of the same name
            group.backbone += f" {group.digest[:6]}"
    return sorted(groups.values(), key=lambda g: (-g.seeds, -g.methods, g.title, g.digest))


def _group_of(entry: Entry) -> Group:
    """The group that a record belongs to, still without rows."""
    known = {f.name for f in fields(Recipe)} - {"lr"}
    stated = {name: value for name, value in entry.trial["recipe"].items() if name in known}
    recipe = Recipe(**stated)  # fields that an older record lacks were at their default
    shared: dict[str, Any] = {
        "dataset": Path(entry.trial["dataset"]).stem,
        "backbone": portable(entry.trial["backbone"]),
        "device": entry.get("environment.gpu") or entry.efficiency.get("device") or "cpu",
        "scene_at_test": entry.trial["settings"].get("scene_at_test") or "none",
        "cached_features": 0 if recipe.time is not None else entry.cached_features,
    }
    fixed = {name: value for name, value in asdict(recipe).items() if name != "lr"}
    any_batch = {name: value for name, value in fixed.items() if name != "batch_size"}
    defines = entry.trial.get("defines")
    digest = _digest([{**shared, "recipe": fixed}, defines])
    family = _digest([{**shared, "recipe": any_batch}, defines])
    return Group(**shared, recipe=recipe, digest=digest, family=family)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _row(entries: list[Entry]) -> Row:
    """A row of the latest trial of each seed, among those at the latest learning rate.

    A method's own learning rate changes with its code and with each `bench tune`, and trials at
    different rates must not be averaged. A trial that was killed or failed before its training
    began has no rate: it stands for its seed if no other does.
    """
    rate = next((entry.lr for entry in reversed(entries) if entry.lr is not None), None)
    begun_last = sorted(entries, key=lambda entry: entry.lr is not None)
    latest = {entry.seed: entry for entry in begun_last if entry.lr in (rate, None)}
    kept = [latest[seed] for seed in sorted(latest)]
    left_out = [entry for entry in entries if entry not in kept]
    return Row(_call(entries[0]), kept, replaced=left_out)


def _call(entry: Entry) -> str:
    """The call of a record as it would be written today."""
    trial = entry.trial
    return call_today(trial["method"], trial["call"], trial["settings"])


def _tell_apart(group: Group) -> None:
    """Where rows share a call, note how they differ."""
    for row in group.rows:
        first = row.entries[0]
        same = [r.entries[0].trial for r in group.rows if r.call == row.call]
        words = []
        if first.cached_features != group.cached_features:
            words.append(f"cached features views={first.cached_features}")
        for setting, value in sorted(first.trial["settings"].items()):
            # `...` stands for a setting that an older record lacks; None may be a setting's value.
            if any(repr(other["settings"].get(setting, ...)) != repr(value) for other in same):
                words.append(f"{setting}={value!r}")
        if len({other["recipe"]["lr"] for other in same}) > 1:
            lr = first.trial["recipe"]["lr"]
            words.append("own lr" if lr is None else f"recipe lr={lr:g}")
        row.apart = ", ".join(words)


def _find_differences(group: Group) -> None:
    """Note for each row what differs from the rest of the group and should not."""
    usual = {name: (group.values(path) or [None])[0] for name, path in SHOULD_BE_EQUAL.items()}
    group.usual = {name: _shown(name, value) for name, value in usual.items() if value is not None}
    seed_sets = Counter(tuple(entry.seed for entry in row.ok) for row in group.rows if row.ok)
    seeds = max(seed_sets, key=lambda s: (seed_sets[s], len(s), s), default=())
    group.usual["seeds"] = ", ".join(map(str, seeds))
    for row in group.rows:
        for name, path in SHOULD_BE_EQUAL.items():
            values = {entry.get(path) for entry in row.ok} - {usual[name], None}
            row.differs += [f"{name} {_shown(name, value)}" for value in sorted(values, key=str)]
        own = tuple(entry.seed for entry in row.ok)
        if own and own != seeds:
            row.differs.append("seeds " + ", ".join(map(str, own)))


def _shown(name: str, value: Any) -> str:
    return str(value)[:12] if name == "commit" else str(value)
