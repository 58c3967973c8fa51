"""Plan the trials of a sweep and find out which are recorded already."""

import itertools
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from bench import UserError, backbone, data, record
from bench.backbone.preprocess import defining
from bench.data import SPLITS
from bench.messages import Job
from bench.recipe import Recipe
from bench.schema import Record
from bench.spec import Call, load_plugins, parse_calls, resolve
from bench.sweeps.sweepfile import SweepConfig
from bench.trial import Trial
from bench.trial_process import clear
from methods import registry

MOST_VIEWS = 1000
"""Stored augmentations of an image; more is a typing error."""


@dataclass
class Plan:
    """The trials of a sweep, in order, and everything needed to run them."""

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
    """Hash of each trial's record when `todo` was called, by identity. If the record has another
    hash when the trial is to start, another sweep has run it in the meantime."""
    corrupt: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """Corruptions and severities to test trained trials under, by identity. If there are any,
    nothing is trained."""

    def status(self, trial: Trial) -> str | None:
        """The status of the trial's record, or None where there is none."""
        path = trial.path(self.results)
        return str(record.read(path)["status"]) if path.exists() else None

    def todo(self, rerun: bool, retry_failed: bool) -> list[Trial]:
        """The trials to run: those without a record, all of them, or also those that failed.

        Removes checkpoints that a killed process left beside a record that needs none.
        """
        for trial in self.trials:
            clear(trial.path(self.results))
        self.before = {t.identity: record.digest(t.path(self.results)) for t in self.trials}
        if rerun:  # also of a record that cannot be read
            return list(self.trials)
        return [trial for trial in self.trials if self._is_left(trial, retry_failed)]

    def recorded(self) -> int:
        """How many trials had a record when `todo` was called, readable or not."""
        return sum(digest is not None for digest in self.before.values())

    def _is_left(self, trial: Trial, retry_failed: bool) -> bool:
        status = self.status(trial)
        return status is None or (retry_failed and status not in record.FINISHED_STATUSES)

    def overtaken(self, trial: Trial) -> Record | None:
        """The record of a trial if another sweep has written it since `todo` was called."""
        path = trial.path(self.results)
        if self.corrupt or record.digest(path) == self.before.get(trial.identity):
            return None
        return record.read(path)

    def job(self, trial: Trial) -> Job:
        """The message that tells a trial's process what to run."""
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


def plan(config: SweepConfig, rehearse: bool = False, images: bool = True) -> Plan:
    """Every data set x backbone x seed x method, the methods innermost.

    `rehearse`: only to predict, so neither data nor weights need be there; images=False: the images
    need not be. Raises UserError for a name, setting, backbone or data set that cannot be used.
    """
    load_plugins(config.plugins)
    views, recipe = config.cache_features, config.recipe
    if views > MOST_VIEWS:
        raise UserError(f"--cache-features is at most {MOST_VIEWS}, not {views}")
    if views > 1 and not recipe.augment:
        raise UserError(
            f"--cache-features {views} stores that many augmentations of each image, and the "
            "recipe says augment=false; store one view"
        )
    calls, root = _calls(config.methods), data.data_root(config.data_root)
    specs = {
        name: list(dict.fromkeys(map(backbone.expand, words)))
        for name, words in backbones_of(config).items()
    }
    defines = {name: {"card": data.card(name).digest()} for name in specs}
    weights: dict[str, dict[str, str]] = {}
    if not rehearse:
        weights = {spec: _weights(spec) for spec in dict.fromkeys(itertools.chain(*specs.values()))}
        for name in specs:
            dataset = data.load(data.card(name), root, images)
            _check(name, dataset, calls, recipe)
            for key, digest in dataset.hashes.items():
                defines[name][f"{key}_split" if key in SPLITS else key] = digest
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
            {**defines[name], **weights.get(spec, {})},
            views,
        )
        for name in specs
        for spec, seed, call in itertools.product(specs[name], config.seeds, calls)
    ]
    return Plan(
        # Once each: a card may be named twice, in two ways.
        list({trial.identity: trial for trial in trials}.values()),
        config.results,
        root,
        config.plugins,
        config.engine.get("jobs_per_gpu", 1),
        config.time_limit,
        config.checkpoint_seconds,
    )


def backbones_of(config: SweepConfig) -> dict[str, list[str]]:
    """The backbones of each data set, as the user names them, or else the data set's card."""
    return {name: config.backbones or [data.card(name).backbone] for name in config.datasets}


def _calls(methods: str) -> list[Call]:
    """The method calls, each with all its settings; raises UserError.

    `all` stands for every method that is not named beside it.
    """
    named = parse_calls(methods)
    calls = []
    for name, settings in named:
        if name == "all" and not settings:
            calls += [resolve(n, {}, registry()) for n in registry() if n not in dict(named)]
        else:
            calls.append(resolve(name, settings, registry()))
    texts = [call.text for call in calls]
    if twice := {text for text in texts if texts.count(text) > 1}:
        are = "is" if len(twice) == 1 else "are"
        raise UserError(f"{', '.join(sorted(twice))} {are} named twice; name each method call once")
    return calls


def _weights(spec: str) -> dict[str, str]:
    """What of a backbone enters a trial's identity; raises UserError if it cannot be used.

    That is the hash of its weights, and its preprocessing if it differs from that of the first
    versions of this project (so their records keep their identities).
    """
    backbone.check(spec)
    try:
        return {"weights": backbone.weights_identity(spec), **defining(spec)}
    except backbone.Absent as absent:
        raise UserError(f"{absent}\n\nNothing was run.") from None


def _check(name: str, dataset: data.Dataset, calls: list[Call], recipe: Recipe) -> None:
    """Raise UserError if a data set lacks what a method needs: images, captions, scenes."""
    splits = ("train",) if recipe.track == "train" else ("train", "val")
    samples = [sample for sample in dataset.samples if sample.split in splits]
    with_words = sum(any(map(data.spoken_form, sample.captions)) for sample in samples)
    training = [call.text for call in calls if registry()[call.name].lr is not None]
    if training and len(samples) < 2:
        held_out = dataset.card.counts.get("train", 0) > len(samples)
        beside = " beside those held out for validation" if held_out else ""
        few = f"one training image{beside}, and training needs two"
        have = few if samples else "no training images"
        raise UserError(
            f"{name} has {have}, so {', '.join(training)} cannot be trained on it; test `zeroshot` "
            "on it, or a method that was trained elsewhere: bench evaluate RECORD --dataset "
            f"{shlex.quote(name)}"
        )
    if training and with_words < 2:
        raise UserError(
            f"{with_words} of the {len(samples)} training images of {dataset.card.name} have a "
            f"caption with a word in it, and {', '.join(training)} cannot train on fewer than two; "
            "`bench data check` shows the captions"
        )
    for call in calls:
        if dict(call.settings).get("scene_at_test", "none") != "none" and not dataset.scenes:
            raise UserError(
                f"{call.text} puts the scene of an image into its test captions, and "
                f"{dataset.card.name} has no scenes; state [scenes] on its card, or leave "
                "scene_at_test out"
            )
