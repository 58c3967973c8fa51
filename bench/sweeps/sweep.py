"""Plan the trials of a sweep and tell which are recorded already."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, backbone, data, record
from bench.backbone.preprocess import defining
from bench.data import SPLITS
from bench.messages import Job
from bench.recipe import Recipe
from bench.schema import Record
from bench.spec import Call, load_plugins, parse_calls, resolve
from bench.trial import Trial, too_few
from bench.trial_process import clear
from methods import registry

if TYPE_CHECKING:
    from methods.base import Method


@dataclass
class Plan:
    """The trials of a sweep, in order, and where they stand."""

    trials: list[Trial]
    results: Path
    root: Path
    plugins: list[Path] = field(default_factory=list)
    jobs_per_gpu: int = 1
    time_limit: float | None = None
    """Seconds after which a trial ends as `timeout`."""
    checkpoint_seconds: float = 180.0
    """Seconds between the checkpoints of a trial; 0: after each step."""
    before: dict[str, str | None] = field(default_factory=dict)
    """Hash of the record that a trial to run will replace, by identity; another one there by then
    is that of another sweep, which was faster."""
    corrupt: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """By identity the corruptions and severities that a trained trial is to be tested under; then
    nothing is trained."""
    backbones: dict[str, list[str]] = field(default_factory=dict)
    """By data set the backbones as they were named, by the user or by the data set's card."""

    def status(self, trial: Trial) -> str | None:
        """The status of the trial's record, or None where there is none."""
        path = trial.path(self.results)
        return str(record.read(path)["status"]) if path.exists() else None

    def todo(self, rerun: bool, retry_failed: bool) -> list[Trial]:
        """The trials to run: those without a record; all with `rerun`; those not ok on request.

        Takes away checkpoints that a killed process left beside a record that needs none.
        """
        for trial in self.trials:
            clear(trial.path(self.results))
        self.before = {t.identity: record.digest(t.path(self.results)) for t in self.trials}
        if rerun:
            return list(self.trials)
        again = {None, *(set(record.STATUSES) - set(record.GOOD) if retry_failed else ())}
        return [trial for trial in self.trials if self.status(trial) in again]

    def overtaken(self, trial: Trial) -> Record | None:
        """The record of a trial to run that another sweep has written since `todo` was asked."""
        path = trial.path(self.results)
        if self.corrupt or record.digest(path) == self.before.get(trial.identity):
            return None
        return record.read(path)

    def job(self, trial: Trial) -> Job:
        """What a trial's process is told."""
        return Job(
            trial,
            self.results.resolve(),
            self.root.resolve(),
            [plugin.resolve() for plugin in self.plugins],
            self.time_limit,
            self.checkpoint_seconds,
            self.jobs_per_gpu,
            self.before.get(trial.identity),
            self.corrupt.get(trial.identity),
        )


def plan(
    *,
    methods: str,
    datasets: list[str],
    backbones: list[str],
    seeds: list[int],
    recipe: Recipe,
    root: Path,
    results: Path,
    plugins: list[Path] | None = None,
    rehearse: bool = False,
    images: bool = True,
    cached_features: int = 0,
) -> Plan:
    """Every data set x backbone x seed x method, the methods innermost.

    `backbones`: [] for the one that each data set's card names. `rehearse`: only to predict, so
    neither data nor weights need be there; images=False: the images need not be. Raises UserError
    for a name, setting, backbone or data set that cannot be used.
    """
    load_plugins(plugins)
    if cached_features > 1 and not recipe.augment:
        raise UserError(
            f"--cache-features {cached_features} stores that many augmentations of each image, and "
            "the recipe says augment=false; store one view"
        )
    known = registry()
    calls = _calls(methods, known)
    for name in [] if rehearse else datasets:
        _demand_training(name, recipe, [c.text for c in calls if known[c.name].lr is not None])
    chosen = {name: backbones or [data.card(name).backbone] for name in datasets}
    specs = {name: list(dict.fromkeys(map(backbone.expand, some))) for name, some in chosen.items()}
    every = dict.fromkeys(spec for some in specs.values() for spec in some)
    weights = {spec: {} if rehearse else _weights(spec) for spec in every}
    loaded = {} if rehearse else {n: data.load(data.card(n), root, images) for n in datasets}
    for dataset in loaded.values():
        _demand_scenes(dataset, calls)
        _demand_words(dataset, recipe, [c.text for c in calls if known[c.name].lr is not None])
    splits = {name: _splits(name, loaded.get(name)) for name in datasets}
    trials = [
        Trial(
            name,
            spec,
            call.name,
            call.text,
            dict(call.settings),
            call.lr,
            recipe,
            seed,
            {**splits[name], **weights[spec]},
            cached_features,
        )
        for name in datasets
        for spec, seed, call in itertools.product(specs[name], seeds, calls)
    ]
    return Plan(trials, results, root, plugins or [], backbones=chosen)


def _calls(methods: str, known: "dict[str, type[Method]]") -> list[Call]:
    """The method calls that are asked for, each with all its settings; raises UserError."""
    calls = [resolve(name, given, known) for name, given in _expanded(parse_calls(methods), known)]
    twice = {call.text for call in calls if [c.text for c in calls].count(call.text) > 1}
    if twice:
        raise UserError(f"{', '.join(sorted(twice))} is named twice; name each method call once")
    return calls


def _expanded(
    calls: list[tuple[str, dict[str, Any]]], known: Iterable[str]
) -> list[tuple[str, dict[str, Any]]]:
    """The calls, with `all` replaced by every method that is not named beside it."""
    if ("all", {}) not in calls or "all" in known:
        return calls
    named = [name for name, _ in calls if name != "all"]
    rest = [(name, dict[str, Any]()) for name in known if name not in named]
    return [call for pair in calls for call in (rest if pair[0] == "all" else [pair])]


def _demand_training(name: str, recipe: Recipe, calls: list[str]) -> None:
    """Raise UserError where a data set has no images for the methods that train."""
    counts = data.card(name).counts
    images = counts.get("train", 0) + (counts.get("val", 0) if recipe.track != "train" else 0)
    if calls and images < 2:
        raise UserError(too_few(name, images, calls))


def _weights(spec: str) -> dict[str, str]:
    """Hash of a backbone's weights, and its preprocessing where that is not what the first versions
    did; raises UserError where they cannot be used."""
    backbone.check(spec)
    try:
        return {"weights": backbone.weights_identity(spec), **defining(spec)}
    except backbone.Absent as absent:
        raise UserError(f"{absent}\n\nNothing was run.") from None


def _demand_scenes(dataset: data.Dataset, calls: list[Call]) -> None:
    """Raise UserError where a call puts scenes into test captions and the data set has none."""
    for call in calls:
        mode = dict(call.settings).get("scene_at_test", "none")
        if mode != "none" and not dataset.scenes:
            raise UserError(
                f"{call.text} puts the scene of an image into its test captions, and "
                f"{dataset.card.name} has no scenes; state [scenes] on its card, or leave "
                "scene_at_test out"
            )


def _demand_words(dataset: data.Dataset, recipe: Recipe, calls: list[str]) -> None:
    """Raise UserError where fewer than two training images have a caption for the methods."""
    splits = ("train",) if recipe.track == "train" else ("train", "val")
    samples = [sample for sample in dataset.samples if sample.split in splits]
    told = sum(any(map(data.spoken_form, sample.captions)) for sample in samples)
    if calls and told < 2:
        raise UserError(
            f"{told} of the {len(samples)} training images of {dataset.card.name} have a caption "
            f"with a word in it, and {', '.join(calls)} cannot train on fewer than two; "
            "`bench data check` shows the captions"
        )


def _splits(name: str, dataset: data.Dataset | None) -> dict[str, str]:
    """Hashes of what a data set is; None: of its card alone.

    Captions and scenes count where they are not those that the card pins.
    """
    hashes = {} if dataset is None else dataset.hashes
    named = {f"{key}_split" if key in SPLITS else key: one for key, one in hashes.items()}
    return {"card": data.card(name).digest(), **named}
