"""What a trial is: data set, backbone, method, recipe and seed; its identity and its record's path.

`bench.trial_run` runs one, `bench.trial_process` in a process of its own.
"""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from bench import UserError, __version__
from bench.backbone import folder_name
from bench.data import short_hash
from bench.earlier import call_today
from bench.recipe import LATER, Recipe, defining
from bench.record import SCHEMA
from bench.schema import Record, TrialFields
from bench.spec import portable


@dataclass(frozen=True)
class Trial:
    """One data set, backbone, method with settings, recipe and seed.

    `defines` are hashes of the rest: card, splits, weights.
    """

    dataset: str
    backbone: str
    method: str
    call: str
    settings: dict[str, Any]
    lr: float | None
    recipe: Recipe
    seed: int
    defines: dict[str, str]
    cached_features: int = field(default=0, metadata=LATER)
    """Stored views per image of which the frozen features are cached; 0: nothing is cached."""

    @property
    def dataset_name(self) -> str:
        """The data set's name; for a card in a file, the name of that file without its ending."""
        return Path(self.dataset).stem

    @property
    def name(self) -> str:
        """Its name in messages: data set, backbone, method and seed."""
        return f"{self.dataset_name} {portable(self.backbone)} {self.call} seed {self.seed}"

    @property
    def call_today(self) -> str:
        """The call with these settings, written with today's defaults (see `bench.earlier`)."""
        return call_today(self.method, self.call, self.settings)

    @property
    def scene_at_test(self) -> str:
        """Which scene label test captions get: none, oracle or predicted."""
        return str(self.settings.get("scene_at_test", "none"))

    @property
    def identity(self) -> str:
        """Hash of everything that defines the trial: 16 hex digits.

        Of cards and weights in files, the content counts and not the folder.
        """
        # Never change what is hashed for a trial of today: it is how its record is found again.
        parts = {**defining(self), "recipe": defining(self.recipe)}
        parts |= {"dataset": self.dataset_name, "backbone": portable(self.backbone)}
        return short_hash(json.dumps(parts, sort_keys=True))

    def path(self, results: Path) -> Path:
        """The path of its record."""
        call = self.call.replace(" ", "").replace("'", "").replace("/", "_")  # as a folder's name
        folder = results / self.dataset_name / folder_name(self.backbone) / call
        return folder / f"seed{self.seed}-{self.identity[:8]}.json"

    @classmethod
    def of(cls, fields: TrialFields) -> "Trial":
        """The trial that these fields of a record (or a job) describe."""
        return cls(**{**cast(dict[str, Any], fields), "recipe": Recipe(**fields["recipe"])})

    @classmethod
    def recorded(cls, record: Record) -> "Trial":
        """The trial of a record (from `bench.record.read`).

        Some old records state the learning rate that was used although the call gave none. It is
        removed, so that the trial has the record's identity. Raises UserError if a newer version
        wrote the record, with fields that this one does not know.
        """
        document: TrialFields = {"lr": None, "defines": {}, **record["trial"]}
        known = {"trial": {f.name for f in fields(cls)}, "recipe": {f.name for f in fields(Recipe)}}
        for what, given in (("trial", document), ("recipe", document["recipe"])):
            if unknown := sorted(given.keys() - known[what]):
                raise UserError(
                    f"the record's {what} has {', '.join(unknown)}, which this version "
                    f"({__version__}) does not know; use the version that wrote it "
                    f"({record.get('environment', {}).get('bench', 'a newer one')})"
                )
        trial = cls.of(document)
        without_lr = replace(trial, lr=None)
        return without_lr if without_lr.identity == record["identity"] else trial


def blank_record(trial: Trial) -> Record:
    """The record of a trial that has not begun."""
    return {
        "schema": SCHEMA,
        "status": "ok",
        "message": None,
        "traceback": None,
        "identity": trial.identity,
        "trial": cast(TrialFields, asdict(trial)),
        "lr": None,
        "metrics": {},
        "curve": [],
        "efficiency": {},
        "resumed": 0,
    }
