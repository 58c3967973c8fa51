"""One trial from seed to record, in a process of its own.

`python -m bench.trial` reads a trial as a line of JSON from standard input and writes progress as
JSON lines to standard output; the record is the last thing that happens. It ends when its input
closes: a trial does not outlive the sweep that started it. While it runs it holds the trial's lock;
SIGTERM ends it with a checkpoint.
"""

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, __version__, lock
from bench.data import short_hash
from bench.data.cache import cache_folder
from bench.earlier import call_today
from bench.limits import Clock, TimeLimit
from bench.recipe import LATER, Recipe, defining
from bench.record import SCHEMA, NoRoom, atomically, digest, probe, read, write
from bench.spec import portable
from bench.units import format_seconds

if TYPE_CHECKING:
    from bench.batches import TrainSplit

EVAL_BATCH = 256


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
        """The data set without the folder and ending of a card of one's own."""
        return Path(self.dataset).stem

    @property
    def name(self) -> str:
        """What people call it: data set, backbone, method and seed."""
        return f"{self.dataset_name} {portable(self.backbone)} {self.call} seed {self.seed}"

    @property
    def call_today(self) -> str:
        """The call that asks for these settings now; `call` is that of the day of the trial."""
        return call_today(self.method, self.call, self.settings)

    @property
    def identity(self) -> str:
        """Hash of everything that defines the trial: 16 hex digits.

        Of a card and of weights in files that is what they hold, not in which folder they lie.
        """
        parts = {**defining(self), "recipe": defining(self.recipe)}
        parts |= {"dataset": self.dataset_name, "backbone": portable(self.backbone)}
        return short_hash(json.dumps(parts, sort_keys=True))

    def path(self, results: Path) -> Path:
        """Where its record belongs."""
        from bench.backbone import folder_name

        call = self.call.replace(" ", "").replace("'", "").replace("/", "_")
        folder = results / self.dataset_name / folder_name(self.backbone) / call
        return folder / f"seed{self.seed}-{self.identity[:8]}.json"

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Trial":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**document, "recipe": Recipe(**document["recipe"])})

    @classmethod
    def recorded(cls, record: dict[str, Any]) -> "Trial":
        """The trial that a record (bench.record.read) is of.

        Some old records state the learning rate that was used where the trial asked for none; it is
        taken out again, so that the identity is the record's. Raises UserError where a newer
        version of this program asked for something that this one does not know.
        """
        document = {"lr": None, "defines": {}, **record["trial"]}
        known = {"trial": {f.name for f in fields(cls)}, "recipe": {f.name for f in fields(Recipe)}}
        for what, said in (("trial", document), ("recipe", document["recipe"])):
            if unknown := sorted(said.keys() - known[what]):
                raise UserError(
                    f"the record's {what} has {', '.join(unknown)}, which this version "
                    f"({__version__}) does not know; use the version that wrote it "
                    f"({record.get('environment', {}).get('bench', 'a newer one')})"
                )
        trial = cls.of(document)
        as_asked = replace(trial, lr=None)
        return as_asked if as_asked.identity == record["identity"] else trial


def main() -> int:
    """Run the trial given on standard input; 0 unless the user has to mend something.

    The last line says how it ended: the status of its record, `elsewhere` where another sweep runs
    it, `unsaved` where the results folder took no record.
    """
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    out = os.fdopen(os.dup(1), "w")  # ours alone: what else is printed goes to standard error
    os.dup2(2, 1)
    clock = Clock(job.get("time_limit"))
    signal.signal(signal.SIGTERM, clock.stop)

    from bench.measure.meter import LiveMemory

    memory = LiveMemory()

    def progress(state: dict[str, Any]) -> None:
        print(json.dumps(state | memory.read(state)), file=out, flush=True)
        if "stage" in state:
            clock.check()

    try:
        progress(_done(job, progress, clock))
    except UserError as error:
        progress({"status": "user_error", "message": str(error)})
        return 2
    except NoRoom as error:
        progress({"status": "unsaved", "message": str(error)})
    return 0


def _done(job: dict[str, Any], progress: Any, clock: Clock) -> dict[str, Any]:
    """Do a job under the trial's lock; how it ended."""
    from bench.measure import gpus
    from bench.measure.meter import shared
    from methods import load_plugin

    for plugin in job["plugins"]:
        load_plugin(Path(plugin))
    trial, results = Trial.of(job["trial"]), Path(job["results"])
    path, root = trial.path(results), Path(job["data_root"])
    files: dict[str, Any] = {}
    probe(path.parent)
    if (reason := gpus.given_but_unusable()) is not None:
        raise UserError(reason)
    with lock.held(path) as mine:
        if not mine:
            return {"status": "elsewhere", "message": "another sweep is running it"}
        if job.get("corrupt"):
            from bench import under_corruption

            return under_corruption.work(path, root, job["corrupt"], progress)
        if digest(path) != job.get("before"):  # another sweep was faster
            document = read(path)
        else:
            clear(path)
            every = job.get("checkpoint_seconds")
            document = run(trial, root, results, progress, files, clock, every)
            document["efficiency"] |= shared(job.get("jobs_per_gpu", 1), document["efficiency"])
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # too late to stop
            _write(path, document, files)
    return {
        "status": document["status"],
        "message": document["message"],
        "record": str(path),
        "mR": document["metrics"].get("test", {}).get("mR"),
        "seconds": document["efficiency"].get("trial_seconds"),
    }


def _write(path: Path, document: dict[str, Any], files: dict[str, Any]) -> None:
    """Write the record, and take away the checkpoint of a trial that need not go on.

    Where there is no room it is kept elsewhere, and NoRoom says where.
    """
    try:
        write(path, document, files)
    except OSError as error:
        why = f"the record could not be written ({error.strerror or error})"
        for folder in (cache_folder(), Path(tempfile.gettempdir())):
            kept = folder / "unsaved" / path.parent.name / path.name
            try:
                write(kept, document)
            except OSError:
                continue
            raise NoRoom(f"{why}; it is kept as {kept}: move it to {path}") from None
        raise NoRoom(f"{why}, nor anywhere else; its metrics: {document['metrics']}") from None
    clear(path)


def clear(path: Path) -> None:
    """Take away the checkpoints of a trial whose record says that it need not go on.

    A process that is killed right after it wrote the record leaves them. A checkpoint younger than
    the record stays: it is of a trial that is being repeated.
    """
    for suffix in (".checkpoint", ".checkpoint.aside"):
        left = path.with_suffix(suffix)
        with contextlib.suppress(OSError, UserError):
            if left.stat().st_mtime_ns > path.stat().st_mtime_ns:
                continue
            if read(path)["status"] in ("ok", "diverged", "not_applicable"):
                left.unlink()


def give_up(trial: Trial, results: Path, seconds: float) -> tuple[str, str]:
    """Write the record of a trial that was killed, so long after it began; status and message."""
    from bench.measure import meter

    path = trial.path(results)
    message = (
        f"it was killed {format_seconds(seconds)} after it began, for it did not end by itself"
    )
    with lock.held(path) as mine:
        if mine:
            document = _document(trial) | {"status": "timeout", "message": message}
            write(path, {**document, "environment": meter.environment()})
    return "timeout", message


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock would hinder the end of the process
        pass
    os._exit(1)


def _document(trial: Trial) -> dict[str, Any]:
    """The record of a trial that has not begun."""
    return {
        "schema": SCHEMA,
        "status": "ok",
        "message": None,
        "traceback": None,
        "identity": trial.identity,
        "trial": asdict(trial),
        "lr": None,
        "metrics": {},
        "curve": [],
        "efficiency": {},
        "resumed": 0,
    }


def run(
    trial: Trial,
    root: Path,
    results: Path,
    progress: Any,
    files: dict[str, Any] | None = None,
    clock: Clock | None = None,
    every: float | None = None,
) -> dict[str, Any]:
    """Run a trial and return its record; what goes wrong in it is a status, not an exception.

    `files` takes what writes the files beside the record, by suffix (None: they are written at
    once). `every`: seconds between checkpoints, None: none is written. Raises UserError for what
    the user must mend before any trial can run (data or weights), NoRoom for a full results folder.
    """
    from bench import budget, retrieval, train
    from bench.measure import meter, oom
    from methods.base import NotApplicable

    started = datetime.now(UTC)
    document = _document(trial)
    clock, beside = clock or Clock(), {} if files is None else files
    short: BaseException | None = None
    try:
        _run(trial, root, results, document, progress, beside, clock, every)
    except (UserError, NoRoom):
        raise
    except NotApplicable as error:
        document |= {"status": "not_applicable", "message": str(error)}
    except TimeLimit as error:
        document |= {"status": "timeout", "message": str(error)}
    except (train.Diverged, retrieval.NotFinite) as error:
        document |= {"status": "diverged", "message": str(error)}
    except Exception as error:  # the sweep goes on; the record says what happened, in full
        if oom.is_out_of_memory(error):
            short = error.with_traceback(None)  # lets go of the model
        message = f"{type(error).__name__}: {error}"
        document |= {"status": "failed", "message": message, "traceback": traceback.format_exc()}
    if short is not None:
        data = document.get("data", {})
        asked = replace(trial, recipe=budget.settled(trial.recipe, data))
        message, found = oom.explain(short, asked, data.get("context_length"))
        document |= {"status": "out_of_memory", "message": message, "traceback": None}
        document["efficiency"] |= found
    if files is None:
        for suffix, write_to in beside.items():
            atomically(trial.path(results).with_suffix(suffix), write_to)
    document["efficiency"]["trial_seconds"] = clock.seconds()
    document["environment"] = meter.environment()
    document["started"] = started.isoformat(timespec="seconds")
    document["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    return document


def _run(
    trial: Trial,
    root: Path,
    results: Path,
    document: dict[str, Any],
    progress: Any,
    files: dict[str, Any],
    clock: Clock,
    every: float | None,
) -> None:
    import torch

    from bench import (
        backbone,
        batches,
        budget,
        checkpoint,
        compiled,
        data,
        frozen,
        perquery,
        testset,
        train,
    )
    from bench.data import SPLITS, cache, cut
    from bench.evaluate import Evaluation
    from bench.features import FeatureLoader, Features, all_words
    from bench.measure import meter
    from bench.measure.training_clock import TrainingClock
    from methods import registry
    from methods.base import Batch

    recipe = trial.recipe
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random.seed(trial.seed)
    train.deterministic(recipe.deterministic)
    progress({"stage": "loading"})
    dataset = data.load(data.card(trial.dataset), root)
    base = backbone.load(trial.backbone)
    pixels = cache.images(dataset, base.image_size, how=base.preprocess.resize)
    table = batches.TokenTable(base.tokenizer, base.pad_id)
    splits = ("train", "val") if recipe.track == "train+val" else ("train",)
    cut_off = cut.find(base.tokenizer, dataset.captions)
    how = base.preprocess
    split = batches.TrainSplit.of(dataset, pixels, how.mean, how.std, splits, cut_off)
    table.add([c for five in split.captions for c in five] or dataset.captions)
    document["data"] = {
        "counts": {name: len(dataset.split(name)) for name in SPLITS},
        "hashes": dataset.hashes,
        "queries": testset.digest(dataset.samples),
        "card": dataset.card.digest(),
        "scenes": len(dataset.scenes),
        "notes": list(dataset.notes),
        "context_length": table.length,
        "captions_cut": cut_off.by_split(dataset),
    }
    document["backbone"] = {
        "name": base.name,
        "weights": base.weights,
        "weights_sha256": base.weights_sha256,
        "parameters": base.parameters,
        "image_size": base.image_size,
        "preprocess": base.preprocess.config(),
        "notes": list(base.notes),
        "trained_on": list(base.datasets),
    }
    if (note := cut_off.note(dataset)) is not None:  # those of the backbone were said at the start
        progress({"note": note})
    evaluations = {
        name: Evaluation(dataset, name, pixels, base)
        for name in ("val", "test")
        if base.weights != "none" and dataset.split(name)
    }
    scene_at_test = trial.settings.get("scene_at_test", "none")
    for evaluation in evaluations.values():
        evaluation.label(scene_at_test, base, table)

    cls = registry()[trial.method]
    lr = cls.lr and (trial.lr or recipe.lr or cls.lr)
    keeper = None
    if every is not None and lr is not None:
        path = trial.path(results).with_suffix(".checkpoint")
        keeper = checkpoint.Keeper(path, trial.identity, every, clock, progress)
        keeper.open(cls, device)
    fixed = {} if keeper is None else keeper.fixed
    if lr is not None:
        _enough_images(trial, split)
        if recipe.memory is not None and not fixed:
            progress({"stage": "choosing the batch"})
            fixed |= budget.batch_within(
                base,
                cls,
                trial.settings,
                recipe,
                split.samples,
                cached=trial.cached_features > 0,
                cuda=device.type == "cuda",
            )
        recipe = budget.settled(recipe, fixed)

    torch.manual_seed(trial.seed)
    method = cls(base.model, **trial.settings)
    method.image_tower.checkpointing = method.text_tower.checkpointing = recipe.checkpointing
    kind = train.compute_type(recipe.precision, device)
    held = frozen.hold(method, recipe, kind)
    method.to(device)
    efficiency = document["efficiency"] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "precision": str(kind).removeprefix("torch."),
        "trainable_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "total_parameters": sum(p.numel() for p in method.parameters()),
        "bf16_parameters": held,
    }
    views = trial.cached_features
    features = Features(method, table, kind, device, views) if views else None
    if recipe.compile:
        compiled.wrap(method, device)

    def evaluate(name: str) -> tuple[dict[str, float], dict[str, Any]]:
        evaluation = evaluations[name]
        image, text = evaluation.features(method, table, kind, device, EVAL_BATCH, features)
        ranks = evaluation.ranks(image, text)
        return evaluation.metrics(ranks), ranks

    def warm_up(batch: Batch | None) -> None:
        progress({"stage": "compiling"})
        looks = [partial(evaluate, name) for name in evaluations]
        efficiency["compile_seconds"] = compiled.warm_up(method, batch, looks, kind, device)
        for evaluation in evaluations.values():
            evaluation.reset()

    if lr is not None:
        document["data"]["batch_size"] = _batch_size(recipe, split, document, progress)
        efficiency["warning"] = meter.busy_warning(device)
        document["lr"] = lr
        loader = batches.Loader(
            split,
            table,
            method.train_caption,
            batch_size=recipe.batch_size,
            seed=trial.seed,
            device=device,
            augment=recipe.augment,
        )
        # One more: what a step costs is measured on a batch of the next epoch.
        if recipe.time is not None:
            progress({"stage": "measuring speed"})
            epochs = budget.foreseen_epochs(method, loader, recipe, lr, features) + 1
        else:
            epochs = budget.epochs(recipe, split, fixed) + 1
        if features is not None:
            features.build(loader, epochs, list(evaluations.values()), progress)
            loader = FeatureLoader(features, loader)
        if recipe.compile:
            table.add(list(all_words(loader, epochs)))  # texts of one length: compiled once
            warm_up(next(iter(loader.epoch(0))))
        validate = None
        if "val" in evaluations and recipe.track == "train":
            validate = lambda: evaluate("val")[0]["mR"]  # noqa: E731
            table.add(evaluations["val"].words(method))  # now, not at a moment that time decides
        if keeper is not None:
            size = sum(t.nbytes for t in method.own_state().values())
            probe(keeper.path.parent, size + 2**20)
        spent = features.seconds if features is not None else 0.0
        if recipe.time is not None:
            progress({"stage": "measuring speed"})
            cached = epochs - 1 if features is not None else None
            fixed |= budget.steps_within(method, loader, recipe, lr, spent, cached)
            recipe = budget.settled(recipe, fixed)
        training = TrainingClock(spent)
        timing = budget.timing(trial.recipe, fixed)
        fitted = train.fit(method, loader, recipe, lr, validate, progress, keeper, training, timing)
        document["resumed"] = 0 if keeper is None else keeper.resumed
        document["curve"], document["best_step"] = fitted.curve, fitted.best_step
        efficiency |= fitted.efficiency
        efficiency["warning"] = efficiency["warning"] or meter.crowded(fitted.efficiency)
        efficiency |= budget.summary(
            trial.recipe, fixed, int(fitted.curve[-1]["step"]), training.seconds
        )
        method.load_own_state({k: v.to(device) for k, v in fitted.best_state.items()})
    elif features is not None and evaluations:
        features.build(None, 0, list(evaluations.values()), progress)
    if lr is None and recipe.compile:
        warm_up(None)
    if evaluations:
        progress({"stage": "testing"})
        memory = meter.Memory(device)
        memory.start()
        test = evaluations["test"]
        document["metrics"]["test"], ranks = evaluate("test")
        if "val" in evaluations:
            document["metrics"]["val"] = evaluate("val")[0]
        efficiency["peak_memory_eval_bytes"] = memory.peak()
        efficiency |= test.rates()
        arrays = perquery.arrays(ranks, test.image_of)
        files[".npz"] = lambda path: perquery.save(path, arrays)
        if method.own_state():
            state = {k: v.cpu().contiguous().clone() for k, v in method.own_state().items()}
            files[".safetensors"] = lambda path: _save_state(path, state)
    if features is not None and features.text_rows:
        pairs = split.batches_per_epoch(recipe.batch_size) * split.batch_size(recipe.batch_size)
        efficiency |= features.summary(efficiency, pairs)


def _enough_images(trial: Trial, split: "TrainSplit") -> None:
    """Raise UserError where there are too few images to train on."""
    if len(split.rows) < 2:
        raise UserError(too_few(trial.dataset, len(split.rows), [trial.call]))


def _batch_size(
    recipe: Recipe, split: "TrainSplit", document: dict[str, Any], progress: Any
) -> int:
    """Images in a training batch, told and noted where they are fewer than the recipe's."""
    asked, size = recipe.batch_size, split.batch_size(recipe.batch_size)
    if size < asked:
        note = f"batches have all {size} training images, for {asked} were asked for"
        document["data"]["notes"].append(note)
        progress({"note": note})
    return size


def too_few(dataset: str, images: int, calls: Sequence[str]) -> str:
    """What to say where methods cannot be trained on a data set with so few training images."""
    have = "no training images" if not images else "one training image, and training needs two"
    return (
        f"{dataset} has {have}, so {', '.join(calls)} cannot be trained on it; test `zeroshot` on "
        f"it, or a method that was trained elsewhere: bench evaluate RECORD --dataset {dataset}"
    )


def _save_state(path: Path, state: dict[str, Any]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(state, path)
    except SafetensorError as error:  # its own for a full disk too
        raise OSError(str(error)) from None


if __name__ == "__main__":
    raise SystemExit(main())
