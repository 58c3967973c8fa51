"""One trial from seed to record, in a process of its own.

`python -m bench.trial` reads a trial as a line of JSON from standard input and writes progress as
JSON lines to standard output; the record is the last thing that happens. It ends when its input
closes: a trial does not outlive the sweep that started it.
"""

import json
import os
import random
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import UserError
from bench.data import short_hash
from bench.recipe import LATER, Recipe, defining
from bench.record import SCHEMA, atomically, keep_replaced, write

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
    def identity(self) -> str:
        """Hash of everything that defines the trial: 16 hex digits."""
        parts = {**defining(self), "recipe": defining(self.recipe)}
        return short_hash(json.dumps(parts, sort_keys=True))

    def path(self, results: Path) -> Path:
        """Where its record belongs."""
        from bench.backbone import folder_name

        call = self.call.replace(" ", "").replace("'", "").replace("/", "_")
        folder = results / Path(self.dataset).stem / folder_name(self.backbone) / call
        return folder / f"seed{self.seed}-{self.identity[:8]}.json"

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Trial":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**document, "recipe": Recipe(**document["recipe"])})


def main() -> int:
    """Run the trial given on standard input; 0 when a record was written, whatever its status."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for plugin in job["plugins"]:
        from methods import load_plugin

        load_plugin(Path(plugin))
    trial, results = Trial.of(job["trial"]), Path(job["results"])

    from bench.meter import LiveMemory, shared

    memory = LiveMemory()

    def progress(state: dict[str, Any]) -> None:
        print(json.dumps(state | memory.read(state)), flush=True)

    document = run(trial, Path(job["data_root"]), results, progress)
    document["efficiency"] |= shared(job["jobs_per_gpu"], document["efficiency"])
    path = trial.path(results)
    keep_replaced(path)
    write(path, document)
    progress({"status": document["status"], "message": document["message"], "record": str(path)})
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def run(trial: Trial, root: Path, results: Path, progress: Any) -> dict[str, Any]:
    """Run a trial and return its record; what goes wrong in it is a status, not an exception.

    Raises UserError for what the user must mend before any trial can run (data or weights).
    """
    import torch

    from bench import meter, retrieval, train
    from methods.base import NotApplicable

    started = datetime.now(UTC)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "status": "ok",
        "message": None,
        "traceback": None,
        "identity": trial.identity,
        "trial": asdict(trial),
        "metrics": {},
        "curve": [],
        "efficiency": {},
    }
    clock = time.perf_counter()
    try:
        _run(trial, root, results, document, progress)
    except UserError:
        raise
    except NotApplicable as error:
        document |= {"status": "not_applicable", "message": str(error)}
    except torch.OutOfMemoryError as error:
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        document |= {"status": "out_of_memory", "message": str(error).splitlines()[0]}
        document["efficiency"]["peak_memory_train_bytes"] = peak
    except (train.Diverged, retrieval.NotFinite) as error:
        document |= {"status": "diverged", "message": str(error)}
    except Exception as error:  # the sweep goes on; the record says what happened, in full
        message = f"{type(error).__name__}: {error}"
        document |= {"status": "failed", "message": message, "traceback": traceback.format_exc()}
    document["efficiency"]["trial_seconds"] = time.perf_counter() - clock
    document["environment"] = meter.environment()
    document["started"] = started.isoformat(timespec="seconds")
    document["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    return document


def _run(trial: Trial, root: Path, results: Path, document: dict[str, Any], progress: Any) -> None:
    import torch
    from safetensors.torch import save_file

    from bench import backbone, batches, cache, compiled, data, frozen, meter, train
    from bench.evaluate import Evaluation
    from bench.features import FeatureLoader, Features, all_words
    from bench.forms import SPLITS
    from methods import registry
    from methods.base import Batch

    recipe = trial.recipe
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random.seed(trial.seed)
    progress({"stage": "loading"})
    dataset = data.load(data.card(trial.dataset), root)
    base = backbone.load(trial.backbone)
    pixels = cache.images(dataset, base.image_size)
    table = batches.TokenTable(base.tokenizer, base.pad_id)
    splits = ("train", "val") if recipe.track == "train+val" else ("train",)
    split = batches.TrainSplit.of(dataset, pixels, base.mean, base.std, splits)
    table.add([c for five in split.captions for c in five])
    document["data"] = {
        "counts": {name: len(dataset.split(name)) for name in SPLITS},
        "hashes": dataset.hashes,
        "card": dataset.card.digest(),
        "scenes": len(dataset.scenes),
        "notes": list(dataset.notes),
        "context_length": table.length,
    }
    document["backbone"] = {
        "name": base.name,
        "weights": base.weights,
        "weights_sha256": base.weights_sha256,
        "parameters": base.parameters,
        "image_size": base.image_size,
        "notes": list(base.notes),
    }
    for note in base.notes:
        progress({"note": note})
    evaluations = {
        name: Evaluation(dataset, name, pixels, base)
        for name in ("val", "test")
        if base.weights != "none" and dataset.split(name)
    }
    scene_at_test = trial.settings.get("scene_at_test", "none")
    for evaluation in evaluations.values():
        evaluation.label(scene_at_test, base, table)

    torch.manual_seed(trial.seed)
    cls = registry()[trial.method]
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

    lr = trial.lr or recipe.lr or cls.lr
    if lr is not None:
        efficiency["warning"] = meter.busy_warning(device)
        document["trial"]["lr"] = lr
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
        epochs = train.planned_epochs(recipe, split.batches_per_epoch(recipe.batch_size)) + 1
        if features is not None:
            features.build(loader, epochs, list(evaluations.values()), progress)
            loader = FeatureLoader(features, loader)
        if recipe.compile:
            table.add(list(all_words(loader, epochs)))  # texts of one length: compiled once
            warm_up(next(iter(loader.epoch(0))))
        validate = None
        if "val" in evaluations and recipe.track == "train":
            validate = lambda: evaluate("val")[0]["mR"]  # noqa: E731
        fitted = train.fit(method, loader, recipe, lr, validate, progress)
        document["curve"], document["best_step"] = fitted.curve, fitted.best_step
        efficiency |= fitted.efficiency
        efficiency["warning"] = efficiency["warning"] or meter.crowded(fitted.efficiency)
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
        path = trial.path(results)
        arrays = {name: r.expected().float().numpy() for name, r in ranks.items()}
        atomically(path.with_suffix(".npz"), lambda p: _save_arrays(p, arrays))
        if method.own_state():
            state = {k: v.cpu().contiguous().clone() for k, v in method.own_state().items()}
            atomically(path.with_suffix(".safetensors"), lambda p: save_file(state, p))
    if features is not None and features.text_rows:
        pairs = split.batches_per_epoch(recipe.batch_size) * min(recipe.batch_size, len(split.rows))
        efficiency |= features.summary(efficiency, pairs)


def _save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except UserError as error:
        print(json.dumps({"status": "user_error", "message": str(error)}), flush=True)
        raise SystemExit(2) from None
