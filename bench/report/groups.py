"""Which records may stand in one table, and their means over seeds."""

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
from bench.recipe import Recipe
from bench.schema import Record
from bench.spec import portable

if TYPE_CHECKING:
    import pandas as pd

EQUAL = {
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
"""What may differ within a group, but should not: where it does, the tables say so."""
SEEN = "§"
"""Marks a backbone that was trained on the training images of the data set of its table."""
JOULES = "derived.joules_per_image"
"""GPU energy of the whole training, validation included, by the images trained on."""


@dataclass(frozen=True)
class Statistic:
    """Mean over n seeds and sample standard deviation (ddof 1; None with one seed)."""

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
    """A record and where it lies below the results folder."""

    path: str
    record: Record

    def get(self, dotted: str) -> Any:
        """`metrics.test.mR` and so on; None where the record has no such entry."""
        if dotted == JOULES:
            return _joules_per_image(self)
        value: Any = self.record
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def lr(self) -> float | None:
        """The learning rate that the training used; None where nothing was trained."""
        return record.learning_rate(self.record)

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return int(self.get("trial.seed"))

    @property
    def ok(self) -> bool:
        """Whether the trial ended well."""
        return bool(self.record["status"] == "ok")

    @property
    def cached_features(self) -> int:
        """Stored views per image, of which features are cached; 0: nothing is cached."""
        return int(self.get("trial.cached_features") or 0)

    @property
    def batch_size(self) -> int:
        """Images in a training batch: the recipe's, or all where there are fewer."""
        recipe, counts = self.get("trial.recipe"), self.get("data.counts") or {}
        splits = ("train",) if recipe.get("track") == "train" else ("train", "val")
        images = sum(counts.get(split, 0) for split in splits)
        return int(self.get("data.batch_size") or min(recipe["batch_size"], images or math.inf))


def _trained_on(entry: Entry) -> set[str]:
    """The data sets that the backbone of a record was trained on, as far as known.

    Early records do not say it; there the table of named backbones does.
    """
    known = known_weights(entry.get("trial.backbone"))
    return {*(entry.get("backbone.trained_on") or ()), *(known.datasets if known else ())}


def _joules_per_image(entry: Entry) -> float | None:
    joules, curve = entry.get("efficiency.gpu_energy_joules"), entry.get("curve")
    if joules is None or not curve:
        return None
    recipe = entry.get("trial.recipe")
    return float(joules / (curve[-1]["step"] * entry.batch_size * recipe.get("accumulation", 1)))


@dataclass
class Row:
    """The trials of one method call in a group: those that ended well and the others, by seed."""

    label: str
    entries: list[Entry]
    odd: list[str] = field(default_factory=list)
    """What should be as in the group and is not, in words."""
    replaced: list[Entry] = field(default_factory=list)
    """Older trials of the call that are not shown: of the same seed, or at a learning rate that was
    the method's own before."""

    @property
    def differs(self) -> str:
        """What should be as in the group and is not, as one text."""
        return "; ".join(self.odd)

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.entries[0].get("trial.method"))

    @cached_property
    def ok(self) -> list[Entry]:
        """Trials that ended well."""
        return [entry for entry in self.entries if entry.ok]

    @cached_property
    def known(self) -> dict[str, dict[int, float]]:
        """Numbers looked up before, by their name and seed."""
        return {}

    @property
    def others(self) -> list[Entry]:
        """Trials that did not."""
        return [entry for entry in self.entries if not entry.ok]

    def values(self, dotted: str) -> dict[int, float]:
        """A number of each trial that ended well, by seed; those without it are left out."""
        if dotted not in self.known:
            found = {entry.seed: entry.get(dotted) for entry in self.ok}
            self.known[dotted] = {
                s: float(value) for s, value in found.items() if value is not None
            }
        return self.known[dotted]

    def statistic(self, dotted: str) -> Statistic | None:
        """Mean and sample standard deviation over seeds; None where no trial has the number."""
        return Statistic.of(list(self.values(dotted).values()))

    @property
    def trains(self) -> bool:
        """Whether anything is trained (unknown counts as yes)."""
        return any(entry.get("efficiency.trainable_parameters") != 0 for entry in self.entries)


@dataclass
class Group:
    """Records that differ only in method, learning rate and seed."""

    dataset: str
    backbone: str
    device: str
    recipe: dict[str, Any]
    scene_at_test: str
    cached_features: int
    """Stored views per image; 0: nothing is cached."""
    digest: str
    family: str
    """The same for groups that differ only in batch size."""
    rows: list[Row] = field(default_factory=list)
    usual: dict[str, str] = field(default_factory=dict)
    """For everything in EQUAL that differs within the group, the most frequent value."""

    folded: list[Row] = field(default_factory=list)
    """Rows that stand in a table of settings alone (bench.report.ablation)."""

    @property
    def every(self) -> list[Row]:
        """All rows, by falling mean mR."""
        return sorted([*self.rows, *self.folded], key=_order) if self.folded else self.rows

    @property
    def cuda(self) -> bool:
        """Whether there is a device peak."""
        return self.device != "cpu"

    @property
    def memory(self) -> str:
        """The number that `memory` means here."""
        name = "peak_memory_train_bytes" if self.cuda else "saved_for_backward_bytes"
        return f"efficiency.{name}"

    @property
    def ok(self) -> list[Entry]:
        """All trials that ended well."""
        return [entry for row in self.rows for entry in row.ok]

    @property
    def batch_size(self) -> int:
        """Images in a training batch of its trials, the recipe's or all where those are fewer."""
        return min((e.batch_size for e in self.ok), default=int(self.recipe["batch_size"]))

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
        """What sets the group apart from the usual one."""
        usual = {f.name: f.default for f in fields(Recipe)}
        items = [(k, v) for k, v in sorted(self.recipe.items()) if usual.get(k) != v]
        odd = [f"{k}={_short(k, v)}" for k, v in items]
        if self.scene_at_test != "none":
            odd.append(f"{self.scene_at_test} scene at test")
        if self.cached_features:
            odd.append(f"cached features views={self.cached_features}")
        return odd

    @property
    def budget(self) -> str:
        """What was made equal: `equal training time (45 s) and memory (364 MiB)`; may be empty."""
        names = {"time": "training time", "memory": "memory"}
        given = [(words, k) for k, words in names.items() if self.recipe.get(k) is not None]
        spaced = [
            f"{words} ({' '.join(re.findall(r'[0-9.]+|[A-Za-z]+', _short(k, self.recipe[k])))})"
            for words, k in given
        ]
        return f"equal {' and '.join(spaced)}" if spaced else ""

    @property
    def spec(self) -> str:
        """The backbone as records name it; `backbone` may say more, to tell groups apart."""
        return portable(self.every[0].entries[0].get("trial.backbone"))

    @property
    def seen(self) -> bool:
        """Whether the backbone was trained on the training images of this very data set."""
        entries = [entry for row in self.every for entry in row.entries]
        return any(self.dataset in _trained_on(entry) for entry in entries)

    @property
    def title(self) -> str:
        """A heading."""
        backbone = f"{self.backbone} {SEEN}" if self.seen else self.backbone
        others = [word for word in self.special if not word.startswith(("time=", "memory="))]
        budget = [self.budget] if self.budget else []
        return " · ".join([self.dataset, backbone, self.device, *budget, *others])

    @property
    def name(self) -> str:
        """The start of its files' names; it does not depend on which other groups there are."""
        words = [self.dataset, self.backbone, *([self.device] if self.cuda else []), *self.special]
        name = "-".join(slug(word) for word in words)
        return name if len(name) <= 100 else f"{name[:93]}-{self.digest[:6]}"

    def values(self, dotted: str) -> list[Any]:
        """The different values of the trials that ended well, most frequent first."""
        found = [entry.get(dotted) for entry in self.ok]
        counts = Counter(value for value in found if value is not None)
        return sorted(counts, key=lambda value: (-counts[value], str(value)))

    def row(self, call: str) -> Row | None:
        """The row of a call, else the best row of the method of that name."""
        named = [row for row in self.every if row.label == call and row.ok]
        return next(iter(named or [r for r in self.every if r.method == call and r.ok]), None)


def _short(name: str, value: Any) -> str:
    """A value of the recipe in a heading: numbers without needless digits, budgets with units."""
    if name == "time" and value is not None:
        return f"{value:g}s" if value % 60 else f"{value / 60:g}min"
    if name == "memory" and value is not None:
        return f"{value / 2**20:g}MiB" if value % 2**30 else f"{value / 2**30:g}GiB"
    return f"{value:g}" if isinstance(value, float) else str(value)


def slug(text: str) -> str:
    """A text as part of a file's name: letters, digits and hyphens alone, as LaTeX needs them."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text.replace("=", "")).strip("-")


def group_records(frame: "pd.DataFrame") -> list[Group]:
    """The records of a frame (bench.record.load) as groups: most seeds first, then most methods.

    The records of a group share data set and split, backbone and weights, recipe but for the
    learning rate, device, use of scenes at test and of cached features. Under an equal training
    time cached features stand with the rest: they are one way to spend it, as each method is. Its
    rows fall in mean mR.
    """
    if not len(frame):
        return []
    pairs = zip(frame["path"], frame["record"], strict=True)
    entries = [Entry(str(path), document) for path, document in pairs]
    groups: dict[str, Group] = {}
    rows: dict[str, dict[str, list[Entry]]] = {}
    for entry in sorted(entries, key=lambda e: (str(e.get("finished")), e.path)):
        new = _group_of(entry)
        groups.setdefault(new.digest, new)
        parts = [_call(entry), entry.get("trial.settings"), entry.get("trial.recipe.lr")]
        key = json.dumps([*parts, entry.cached_features], sort_keys=True)
        rows.setdefault(new.digest, {}).setdefault(key, []).append(entry)
    for digest, group in groups.items():
        group.rows = [_row(rows[digest][key]) for key in sorted(rows[digest])]
        _label(group)
        _differences(group)
        group.rows.sort(key=_order)
    names = Counter(group.name.casefold() for group in groups.values())
    for group in groups.values():
        if names[group.name.casefold()] > 1:  # other weights or another split of the same name
            group.backbone += f" {group.digest[:6]}"
    return sorted(groups.values(), key=lambda g: (-g.seeds, -g.methods, g.title, g.digest))


def _group_of(entry: Entry) -> Group:
    recipe = {**asdict(Recipe()), **entry.get("trial.recipe")}  # older records: fewer fields
    recipe.pop("lr")
    scene = entry.get("trial.scene_at_test") or entry.get("trial.settings.scene_at_test") or "none"
    defines = entry.get("trial.defines") or {
        "splits": entry.get("data.hashes"),
        "weights": entry.get("backbone.weights_sha256"),
    }
    parts: dict[str, Any] = {
        "dataset": Path(entry.get("trial.dataset")).stem,
        "backbone": portable(entry.get("trial.backbone")),
        "device": entry.get("environment.gpu") or entry.get("efficiency.device") or "cpu",
        "recipe": recipe,
        "scene_at_test": scene,
        "cached_features": 0 if recipe["time"] is not None else entry.cached_features,
    }
    smaller = {k: v for k, v in recipe.items() if k != "batch_size"}
    family = _digest([{**parts, "recipe": smaller}, defines])
    return Group(**parts, digest=_digest([parts, defines]), family=family)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _row(entries: list[Entry]) -> Row:
    """The last trial of each seed, in order of seeds, of those at the learning rate of the last.

    A method's own learning rate changes with its code and with each `bench tune`.
    """
    rate = entries[-1].lr
    latest = {entry.seed: entry for entry in entries if entry.lr == rate}
    kept = [latest[seed] for seed in sorted(latest)]
    return Row("", kept, replaced=[entry for entry in entries if entry not in kept])


def _call(entry: Entry) -> str:
    """The call of a record as it reads today."""
    said = (entry.get(f"trial.{part}") for part in ("method", "call", "settings"))
    return call_today(*said)


def _label(group: Group) -> None:
    """The call as it reads today; where two rows share it, also what they do not share."""
    for row in group.rows:
        first = row.entries[0]
        row.label = _call(first)
        same = [r.entries[0] for r in group.rows if _call(r.entries[0]) == row.label]
        odd = []
        if first.cached_features != group.cached_features:
            odd.append(f"cached features views={first.cached_features}")
        for setting, value in sorted(first.get("trial.settings").items()):
            if any(other.get("trial.settings").get(setting) != value for other in same):
                odd.append(f"{setting}={value!r}")
        if len({other.get("trial.recipe.lr") for other in same}) > 1:
            lr = first.get("trial.recipe.lr")
            odd.append("own lr" if lr is None else f"recipe lr={lr:g}")
        if odd:
            row.label += f" [{', '.join(odd)}]"


def _differences(group: Group) -> None:
    """Say of each row what should be as in the group and is not."""
    usual = {name: (group.values(dotted) or [None])[0] for name, dotted in EQUAL.items()}
    group.usual = {name: _words(name, value) for name, value in usual.items() if value is not None}
    sets = Counter(tuple(entry.seed for entry in row.ok) for row in group.rows if row.ok)
    seeds = max(sets, key=lambda found: (sets[found], len(found), found), default=())
    for row in group.rows:
        odd = []
        for name, dotted in EQUAL.items():
            values = {entry.get(dotted) for entry in row.ok} - {usual[name], None}
            odd += [f"{name} {_words(name, value)}" for value in sorted(values, key=str)]
        own = tuple(entry.seed for entry in row.ok)
        if own and own != seeds:
            odd.append("seeds " + ", ".join(map(str, own)))
        row.odd = odd


def _words(name: str, value: Any) -> str:
    return str(value)[:12] if name == "commit" else str(value)


def _order(row: Row) -> tuple[bool, float, str]:
    recall = row.statistic("metrics.test.mR")
    return not row.ok, -(recall.mean if recall else 0.0), row.label
