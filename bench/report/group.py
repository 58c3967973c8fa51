"""A group of a report: rows of records that can be compared with each other; a section."""

import re
import zlib
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from bench.backbone.names import known_weights
from bench.recipe import Recipe, written
from bench.report.entry import Entry
from bench.report.row import Row
from bench.spec import portable
from bench.units import format_bytes, format_seconds

SEEN = "§"
"""Marks a backbone that was trained on the training images of the data set it is compared on."""


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
    """Hash of the same without the batch size: equal for groups that differ in nothing else."""
    rows: list[Row] = field(default_factory=list)
    usual: dict[str, str] = field(default_factory=dict)
    """The most frequent value of each field in SHOULD_BE_EQUAL, and the most frequent seeds."""
    folded: list[Row] = field(default_factory=list)
    """Rows that stand only in a table of settings (see `bench.report.ablation`)."""

    @property
    def every(self) -> list[Row]:
        """All rows, those in a table of settings too; the highest mR first."""
        return sorted([*self.rows, *self.folded], key=lambda row: row.order)

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
        """Whether the backbone was trained on the training images of this very data set.

        Early records do not say so, but for named backbones it is known.
        """
        known = known_weights(self.spec)
        lists = [e.get("backbone.trained_on") or [] for row in self.every for e in row.entries]
        lists += [known.datasets] if known else []
        return any(self.dataset in names for names in lists)

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

    def named(self, name: str) -> list[Row]:
        """The rows with that label, else of that call, else of that method; the best first.

        Rows without a trial that ended well are left out.
        """
        call = name.partition(" [")[0]  # a label has brackets only where rows share a call
        for part, wanted in (("label", name), ("call", call), ("method", call)):
            if rows := [row for row in self.every if row.ok and getattr(row, part) == wanted]:
                return rows
        return []

    def row(self, name: str) -> Row | None:
        """The best of the rows that `named` finds; None if there are none."""
        return next(iter(self.named(name)), None)


def _written(name: str, value: Any) -> str:
    """A recipe field as titles and file names have it: `80s`, not `1m20s`."""
    return f"{value:g}s" if name == "time" and value % 60 else written(name, value)


def slug(text: str) -> str:
    """A text as a part of a file name: only letters, digits and hyphens, because LaTeX must be able
    to read it. Other scripts are left out, and a number tells such a text from others."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", text.replace("=", "")).strip("-")
    return words if text.isascii() else f"{words}-{zlib.crc32(text.encode()):08x}".lstrip("-")
