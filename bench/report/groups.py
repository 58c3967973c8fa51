"""Which records may stand in one table, and their means over seeds.

An *entry* is a record. A *row* holds the entries of one method call, one for each seed. A *group*
holds the rows that can be compared, because their records differ only in method, learning rate and
seed: it becomes one section of the report.
"""

import hashlib
import json
import math
import re
import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import record
from bench.backbone.names import known_weights
from bench.earlier import call_today
from bench.recipe import Recipe, written
from bench.schema import Data, Efficiency, Record, TrialFields
from bench.spec import portable
from bench.units import format_bytes, format_seconds

if TYPE_CHECKING:
    import pandas as pd

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
    "commit": "environment.git_commit",
    "uncommitted changes": "environment.git_dirty",
}
"""What may differ within a group but should not; where it does, the column `differs` says so."""
SEEN = "§"
"""Marks a backbone that was trained on the training images of the data set it is compared on."""
JOULES = "derived.joules_per_image"
"""GPU energy of the whole training, validation included, divided by the images trained on. Records
do not hold it: `Entry.get` computes it."""
RECALL = "metrics.test.mR"


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation (ddof 1; None for one value) of n values."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: list[float]) -> "Statistic | None":
        """None for no values."""
        if not values:
            return None
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), std, len(values))


@dataclass(frozen=True)
class Entry:
    """A record and its path below the results folder."""

    path: str
    record: Record

    def get(self, dotted: str) -> Any:
        """A field by its dotted name, such as `metrics.test.mR`; None if the record lacks it."""
        if dotted == JOULES:
            return self._joules_per_image()
        value: Any = self.record
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _joules_per_image(self) -> float | None:
        joules, curve = self.efficiency.get("gpu_energy_joules"), self.record.get("curve")
        if joules is None or not curve:
            return None
        images = curve[-1]["step"] * self.batch_size * self.accumulation
        return float(joules / images)

    @property
    def trial(self) -> TrialFields:
        """The fields that define the trial."""
        return self.record["trial"]

    @property
    def efficiency(self) -> Efficiency:
        """What the trial cost; empty if the record does not say."""
        return self.record.get("efficiency", {})

    @property
    def data(self) -> Data:
        """The data set as it was found; empty if the record does not say."""
        return self.record.get("data", {})

    @property
    def lr(self) -> float | None:
        """The learning rate that the training used; None if nothing was trained."""
        return record.learning_rate(self.record)

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return self.trial["seed"]

    @property
    def ok(self) -> bool:
        """Whether the trial ended well."""
        return self.record["status"] == "ok"

    @property
    def status(self) -> str:
        """How the trial ended, in words: `out of memory`."""
        return self.record["status"].replace("_", " ")

    @property
    def cached_features(self) -> int:
        """Stored views of each image whose features are cached; 0: nothing is cached."""
        return self.trial.get("cached_features", 0)

    @property
    def test_images(self) -> int:
        """Images of the test split; 0 if the record does not say."""
        return self.data.get("counts", {}).get("test", 0)

    @property
    def accumulation(self) -> int:
        """Micro-batches in a step."""
        return int(self.trial["recipe"].get("accumulation", 1))

    @property
    def batch_size(self) -> int:
        """Images in a micro-batch: the recipe's number, or all images if there are fewer."""
        recipe, counts = self.trial["recipe"], self.data.get("counts", {})
        splits = ("train",) if recipe.get("track") == "train" else ("train", "val")
        images = sum(counts.get(split, 0) for split in splits)
        return int(self.data.get("batch_size") or min(recipe["batch_size"], images or math.inf))


@dataclass
class Row:
    """The trials of one method call in a group, in the order of their seeds."""

    label: str
    """The call, with what sets the row apart from others of the same call."""
    entries: list[Entry]
    differs: list[str] = field(default_factory=list)
    """What differs from the rest of the group and should not, such as `torch 2.11.0`."""
    replaced: list[Entry] = field(default_factory=list)
    """Older trials that the report leaves out: of the same seed, or at a learning rate that was the
    method's own before."""

    @property
    def method(self) -> str:
        """The method's name."""
        return self.entries[0].trial["method"]

    @cached_property
    def ok(self) -> list[Entry]:
        """The trials that ended well."""
        return [entry for entry in self.entries if entry.ok]

    @property
    def not_ok(self) -> list[Entry]:
        """The trials that did not end well."""
        return [entry for entry in self.entries if not entry.ok]

    @property
    def states(self) -> str:
        """The statuses of the trials that did not end well."""
        return ", ".join(sorted({entry.status for entry in self.not_ok}))

    def values(self, dotted: str) -> dict[int, float]:
        """A field of the trials that ended well, by seed; trials without it are left out."""
        numbers = {entry.seed: entry.get(dotted) for entry in self.ok}
        return {seed: float(number) for seed, number in numbers.items() if number is not None}

    def statistic(self, dotted: str) -> Statistic | None:
        """Mean and standard deviation over seeds; None if no trial has the number."""
        return Statistic.of(list(self.values(dotted).values()))

    @property
    def trains(self) -> bool:
        """Whether anything is trained (unknown counts as yes)."""
        return any(entry.efficiency.get("trainable_parameters") != 0 for entry in self.entries)


@dataclass
class Group:
    """Records that differ only in method, learning rate and seed."""

    dataset: str
    backbone: str
    """The backbone's name; ends in a digest if another group would have the same name."""
    device: str
    recipe: Recipe
    """With `lr=None`: rows may differ in the learning rate."""
    scene_at_test: str
    cached_features: int
    """Stored views of each image whose features are cached; 0: nothing is cached."""
    digest: str
    """Hash of everything that the group's records share."""
    family: str
    """The same for groups that differ only in batch size."""
    rows: list[Row] = field(default_factory=list)
    usual: dict[str, str] = field(default_factory=dict)
    """The most frequent value of each field in SHOULD_BE_EQUAL."""
    folded: list[Row] = field(default_factory=list)
    """Rows that stand only in a table of settings (see `bench.report.ablation`)."""

    @property
    def every(self) -> list[Row]:
        """All rows, the highest mR first."""
        return sorted([*self.rows, *self.folded], key=_order) if self.folded else self.rows

    @property
    def cuda(self) -> bool:
        """Whether the trials ran on a GPU, so that a peak of its memory was measured."""
        return self.device != "cpu"

    @property
    def memory(self) -> str:
        """The field that is shown as memory."""
        name = "peak_memory_train_bytes" if self.cuda else "saved_for_backward_bytes"
        return f"efficiency.{name}"

    @property
    def ok(self) -> list[Entry]:
        """All trials that ended well."""
        return [entry for row in self.rows for entry in row.ok]

    @property
    def batch_size(self) -> int:
        """Images in a micro-batch: the recipe's number, or all images if there are fewer."""
        return min((e.batch_size for e in self.ok), default=self.recipe.batch_size)

    @property
    def seeds(self) -> int:
        """The number of seeds of the row that has most."""
        return max((len(row.ok) for row in self.rows), default=0)

    @property
    def methods(self) -> int:
        """The number of methods, however many calls each has."""
        return len({row.method for row in self.every})

    @property
    def special(self) -> list[str]:
        """How the group differs from trials with default settings: `steps=200`, ..."""
        values = {f.name: (getattr(self.recipe, f.name), f.default) for f in fields(Recipe)}
        special = [
            f"{name}={_written(name, value)}"
            for name, (value, default) in sorted(values.items())
            if value != default
        ]
        if self.scene_at_test != "none":
            special.append(f"{self.scene_at_test} scene at test")
        if self.cached_features:
            special.append(f"cached features views={self.cached_features}")
        return special

    @property
    def budget(self) -> str:
        """What was made equal: `equal training time (45 s) and memory (364 MiB)`; may be empty."""
        time, memory = self.recipe.time, self.recipe.memory
        limits = []
        if time is not None:
            limits.append(f"training time ({f'{time:g} s' if time % 60 else format_seconds(time)})")
        if memory is not None:
            limits.append(f"memory ({format_bytes(memory)})")
        return f"equal {' and '.join(limits)}" if limits else ""

    @property
    def spec(self) -> str:
        """The backbone as records name it."""
        return portable(self.every[0].entries[0].trial["backbone"])

    @property
    def seen(self) -> bool:
        """Whether the backbone was trained on the training images of this very data set."""
        entries = [entry for row in self.every for entry in row.entries]
        return any(self.dataset in _trained_on(entry) for entry in entries)

    @property
    def title(self) -> str:
        """The heading of the group's section."""
        backbone = f"{self.backbone} {SEEN}" if self.seen else self.backbone
        others = [word for word in self.special if not word.startswith(("time=", "memory="))]
        budget = [self.budget] if self.budget else []
        return " · ".join([self.dataset, backbone, self.device, *budget, *others])

    @property
    def name(self) -> str:
        """How the names of the group's files begin; does not depend on what other groups exist."""
        words = [self.dataset, self.backbone, *([self.device] if self.cuda else []), *self.special]
        name = "-".join(slug(word) for word in words)
        return name if len(name) <= 100 else f"{name[:93]}-{self.digest[:6]}"

    def values(self, dotted: str) -> list[Any]:
        """The different values of a field in the trials that ended well, most frequent first."""
        counts = Counter(v for entry in self.ok if (v := entry.get(dotted)) is not None)
        return sorted(counts, key=lambda value: (-counts[value], str(value)))

    def row(self, call: str) -> Row | None:
        """The row of a call, or the best row of the method of that name."""
        ok = [row for row in self.every if row.ok]
        rows = [r for r in ok if r.label == call] or [r for r in ok if r.method == call]
        return rows[0] if rows else None


def _trained_on(entry: Entry) -> set[str]:
    """The data sets that a record's backbone was trained on, as far as known.

    Early records do not say so, but for named backbones it is known.
    """
    known = known_weights(entry.trial["backbone"])
    recorded = entry.record.get("backbone", {}).get("trained_on", [])
    return {*recorded, *(known.datasets if known else ())}


def _written(name: str, value: Any) -> str:
    """A recipe field as titles and file names have it: `80s`, not `1m20s`."""
    return f"{value:g}s" if name == "time" and value % 60 else written(name, value)


def slug(text: str) -> str:
    """A text as a part of a file name: only letters, digits and hyphens, because LaTeX must be able
    to read it."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text.replace("=", "")).strip("-")


def group_records(frame: "pd.DataFrame") -> list[Group]:
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
        _label_rows(group)
        _find_differences(group)
        group.rows.sort(key=_order)
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
    different rates must not be averaged.
    """
    rate = entries[-1].lr
    latest = {entry.seed: entry for entry in entries if entry.lr == rate}
    kept = [latest[seed] for seed in sorted(latest)]
    return Row("", kept, replaced=[entry for entry in entries if entry not in kept])


def _call(entry: Entry) -> str:
    """The call of a record as it would be written today."""
    trial = entry.trial
    return call_today(trial["method"], trial["call"], trial["settings"])


def _label_rows(group: Group) -> None:
    """Label rows by their calls; where rows share a call, add how they differ."""
    for row in group.rows:
        first = row.entries[0]
        row.label = _call(first)
        same = [r.entries[0].trial for r in group.rows if _call(r.entries[0]) == row.label]
        words = []
        if first.cached_features != group.cached_features:
            words.append(f"cached features views={first.cached_features}")
        for setting, value in sorted(first.trial["settings"].items()):
            if any(other["settings"].get(setting) != value for other in same):
                words.append(f"{setting}={value!r}")
        if len({other["recipe"]["lr"] for other in same}) > 1:
            lr = first.trial["recipe"]["lr"]
            words.append("own lr" if lr is None else f"recipe lr={lr:g}")
        if words:
            row.label += f" [{', '.join(words)}]"


def _find_differences(group: Group) -> None:
    """Note for each row what differs from the rest of the group and should not."""
    usual = {name: (group.values(path) or [None])[0] for name, path in SHOULD_BE_EQUAL.items()}
    group.usual = {name: _shown(name, value) for name, value in usual.items() if value is not None}
    seed_sets = Counter(tuple(entry.seed for entry in row.ok) for row in group.rows if row.ok)
    seeds = max(seed_sets, key=lambda s: (seed_sets[s], len(s), s), default=())
    for row in group.rows:
        for name, path in SHOULD_BE_EQUAL.items():
            values = {entry.get(path) for entry in row.ok} - {usual[name], None}
            row.differs += [f"{name} {_shown(name, value)}" for value in sorted(values, key=str)]
        own = tuple(entry.seed for entry in row.ok)
        if own and own != seeds:
            row.differs.append("seeds " + ", ".join(map(str, own)))


def _shown(name: str, value: Any) -> str:
    return str(value)[:12] if name == "commit" else str(value)


def _order(row: Row) -> tuple[bool, float, str]:
    """Sorts rows by falling mR; rows without a trial that ended well come last."""
    recall = row.statistic(RECALL)
    return not row.ok, -(recall.mean if recall else 0.0), row.label
