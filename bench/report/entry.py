"""An entry of a report: a record, and what tables and plots take from it."""

import math
from dataclasses import dataclass
from typing import Any

from bench import record
from bench.schema import Efficiency, Record, TrialFields

# Fields that several tables and plots show, by their dotted names in a record.
RECALL = "metrics.test.mR"
VALIDATION = "metrics.val.mR"
"""The mR by which a training chose the step that is tested: its best on validation."""
SPEED = "efficiency.train_images_per_second"
JOULES = "derived.joules_per_image"
"""GPU energy of the whole training, validation included, divided by the images trained on. Records
do not hold it: `Entry.get` computes it."""


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
        images = curve[-1]["step"] * self.images_per_step
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
    def lr(self) -> float | None:
        """The learning rate that the training used; None if nothing was trained."""
        return record.learning_rate(self.record)

    @property
    def seed(self) -> int:
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
    def batch_size(self) -> int:
        """Images in a micro-batch: the recipe's number, or all images if there are fewer."""
        recipe, counts = self.trial["recipe"], self.get("data.counts") or {}
        splits = ("train",) if recipe.get("track") == "train" else ("train", "val")
        images = sum(counts.get(split, 0) for split in splits)
        return int(self.get("data.batch_size") or min(recipe["batch_size"], images or math.inf))

    @property
    def images_per_step(self) -> int:
        """Images in a step of the optimiser: those of all its micro-batches."""
        return self.batch_size * int(self.trial["recipe"].get("accumulation", 1))
