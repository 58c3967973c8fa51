"""One trial from its seed to its record: load, build, prepare, train, test."""

import random
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from bench import UserError, backbone, data, perquery
from bench.measure import fitting_batch, machine, meter, oom
from bench.measure.training_clock import TrainingClock
from bench.messages import Note, Progress, Stage
from bench.record import Files, probe
from bench.retrieval import NotFinite, Ranks
from bench.schema import Record
from bench.training import batches, budget, compiled, train
from bench.training.budget import BudgetChoice
from bench.training.checkpoint import Checkpointer
from bench.training.features import FeatureLoader, Features, all_captions
from bench.training.limits import Clock, TimeLimit
from bench.training.train import Diverged
from bench.training.trainer import deterministic
from bench.trial import Trial, blank_record
from bench.workbench import Model, Workbench
from methods import registry
from methods.base import Batch, NotApplicable


def run(
    trial: Trial,
    root: Path,
    results: Path,
    progress: Progress,
    files: Files | None = None,
    clock: Clock | None = None,
    every: float | None = None,
) -> Record:
    """Run a trial and return its record. A trial that fails raises nothing: its status says so.

    files: gets the functions that write the files beside the record. every: seconds between
    checkpoints; None: no checkpoints. Raises UserError for what the user must put right before any
    trial can run: data, weights, or a results folder that is full.
    """
    started = datetime.now(UTC)
    clock = clock or Clock()
    work = TrialRun(trial, root, results, progress, clock, every)
    record = work.record
    memory_error: BaseException | None = None
    try:
        work.run({} if files is None else files)
    except UserError:
        raise
    except NotApplicable as error:
        record |= {"status": "not_applicable", "message": str(error)}
    except TimeLimit as error:
        record |= {"status": "timeout", "message": str(error)}
    except (Diverged, NotFinite) as error:
        record |= {"status": "diverged", "message": str(error)}
    except Exception as error:  # the sweep goes on, and the record says what happened
        if oom.is_out_of_memory(error):
            # Dealt with below, when model and traceback are gone: they hold the memory.
            memory_error = error.with_traceback(None)
        message = f"{type(error).__name__}: {error}"
        record |= {"status": "failed", "message": message, "traceback": traceback.format_exc()}
    del work
    if memory_error is not None:
        known = record.get("data", {})
        recipe = BudgetChoice(known.get("batch_size")).settled(trial.recipe)
        settled = replace(trial, recipe=recipe)
        resident = int(record["efficiency"].get("resident_bytes") or 0)
        message, costs = oom.explain(memory_error, settled, known.get("context_length"), resident)
        record |= {"status": "out_of_memory", "message": message, "traceback": None}
        record["efficiency"] |= costs
    record["efficiency"]["trial_seconds"] = clock.seconds()
    record["environment"] = machine.environment()
    record["started"] = started.isoformat(timespec="seconds")
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    return record


class TrialRun:
    """A trial at work.

    `recipe` is the trial's, but as soon as the batch and steps of its budgets are known, they take
    the place of `memory` and `time`. `lr` is the learning rate of the training: the call's, else
    the recipe's, else the method's; None if nothing is trained.
    """

    def __init__(
        self,
        trial: Trial,
        root: Path,
        results: Path,
        progress: Progress,
        clock: Clock,
        every: float | None,
    ) -> None:
        self.trial, self.recipe, self.root = trial, trial.recipe, root
        self.progress = progress
        self.record = blank_record(trial)
        self.costs = self.record["efficiency"]
        self.method_class = registry()[trial.method]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        own_lr = self.method_class.lr
        self.lr = own_lr and (trial.lr or self.recipe.lr or own_lr)
        self.chosen = BudgetChoice()
        self.checkpointer: Checkpointer | None = None
        if every is not None and self.lr is not None:
            path = trial.path(results).with_suffix(".checkpoint")
            self.checkpointer = Checkpointer(path, trial.identity, every, clock, progress)

    def run(self, files: Files) -> None:
        """Run all stages, in this order.

        Each puts what it finds out into the record at once, so that the record of a trial that ends
        early still has what was known by then.
        """
        self.load()
        self.build()
        if self.lr is not None:
            self.prepare()
            self.train()
        else:
            self.prepare_untrained()
        if self.evaluations:
            self.test(files)
        features, size = self.model.features, self.recipe.batch_size
        if features is not None and features.text_rows:
            pairs = self.split.batches_per_epoch(size) * self.split.batch_size(size)
            self.costs |= features.summary(self.costs, pairs)

    def load(self) -> None:
        """Load the data set and the backbone, decode the images."""
        trial = self.trial
        random.seed(trial.seed)
        deterministic(self.recipe.deterministic)
        self.progress(Stage("loading"))
        dataset = data.load(data.card(trial.dataset), self.root)
        self.bench = Workbench(dataset, backbone.load(trial.backbone))
        self.split = self.bench.training(self.recipe.track)
        self.record["data"], self.record["backbone"] = self.bench.described()
        # Notes on the backbone were printed at the start of the sweep.
        if (note := self.bench.cut.note(dataset.samples)) is not None:
            self.progress(Note(note))
        self.evaluations = self.bench.evaluations(trial.scene_at_test)

    def build(self) -> None:
        """Choose the batch for a memory budget and build the method."""
        trial = self.trial
        if self.checkpointer is not None:
            self.checkpointer.open(self.method_class, self.device)
            self.chosen = self.checkpointer.chosen
        if self.lr is not None:
            self._settle_batch()
        self.model = Model.build(
            self.method_class,
            trial.settings,
            self.bench.backbone,
            self.recipe,
            trial.seed,
            self.device,
        )
        method, dtype = self.model.method, self.model.dtype
        parameters = list(method.parameters())
        self.costs |= {
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "precision": str(dtype).removeprefix("torch."),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "total_parameters": sum(p.numel() for p in parameters),
            "bf16_parameters": self.model.bf16_parameters,
        }
        if trial.cached_features:
            self.model.features = Features(
                method, self.bench.tokens, dtype, self.device, trial.cached_features
            )
        if self.recipe.compile:
            compiled.wrap(method, self.device)

    def _settle_batch(self) -> None:
        # A checkpoint has the batch already, and resuming with another one would not be the same.
        if self.recipe.memory is not None and self.chosen.batch_size is None:
            self.progress(Stage("choosing the batch"))
            self.chosen.batch_size, self.chosen.predicted_bytes = fitting_batch.batch_within(
                self.bench.backbone,
                self.method_class,
                self.trial.settings,
                self.recipe,
                self.split.samples,
                cached=self.trial.cached_features > 0,
                cuda=self.device.type == "cuda",
            )
        self.recipe = self.chosen.settled(self.recipe)

    def prepare(self) -> None:
        """Everything before the first step: loader, cached features, compilation, time budget."""
        assert self.lr is not None
        self.record["lr"] = self.lr
        self._note_batch()
        self.costs["warning"] = machine.busy_warning(self.device)
        method, features, tokens = self.model.method, self.model.features, self.bench.tokens
        self.loader = batches.Loader(
            self.split,
            tokens,
            method.train_caption,
            batch_size=self.recipe.batch_size,
            seed=self.trial.seed,
            device=self.device,
            augment=self.recipe.augment,
            resident=None if features is None else False,  # keep the GPU free for the features
        )
        epochs = self._epochs()
        if features is not None:
            # One more epoch: the cost of a step is measured on a batch after the training.
            features.build(self.loader, epochs + 1, list(self.evaluations.values()), self.progress)
            self.loader = FeatureLoader(features, self.loader)
        self.costs["resident_bytes"] = self.loader.resident_bytes
        if self.recipe.compile:
            # With all captions known, texts keep one length, and are compiled for it only once.
            if features is None:  # else all captions are known already
                tokens.add(list(all_captions(self.loader, epochs + 1)))
            for evaluation in self.evaluations.values():
                tokens.add(evaluation.captions_for(method))
            self._compile(next(iter(self.loader.epoch(0))))
        if self._validates:
            # The longest caption known sets the length of texts. Without this it would change at
            # the first evaluation.
            tokens.add(self.evaluations["val"].captions_for(method))
        if self.checkpointer is not None:
            size = sum(tensor.nbytes for tensor in method.own_state().values())
            probe(self.checkpointer.path.parent, size + 2**20)
        if self.recipe.time is not None:
            self.progress(Stage("measuring speed"))
            spent, foreseen = (features.seconds, epochs) if features is not None else (0.0, None)
            budget.choose_steps(
                self.chosen, method, self.loader, self.recipe, self.lr, spent, foreseen
            )
            self.recipe = self.chosen.settled(self.recipe)

    def _note_batch(self) -> None:
        """Record the images in a batch, with a note if they are fewer than the recipe's."""
        wanted, notes = self.recipe.batch_size, list(self.bench.dataset.notes)
        size = self.split.batch_size(wanted)
        if size < wanted:
            notes.append(
                f"there are only {size} training images, so each batch has all of them "
                f"(the recipe's batch is {wanted})"
            )
            self.progress(Note(notes[-1]))
        self.record["data"] |= {"batch_size": size, "notes": notes}

    def _epochs(self) -> int:
        """How many epochs training may reach."""
        if self.recipe.time is None:
            return self.chosen.epochs(self.recipe, self.split)
        self.progress(Stage("measuring speed"))
        assert self.lr is not None
        return budget.foreseen_epochs(
            self.model.method, self.loader, self.recipe, self.lr, self.model.features
        )

    @property
    def _validates(self) -> bool:
        return "val" in self.evaluations and self.recipe.track == "train"

    def prepare_untrained(self) -> None:
        """`prepare` for a method that does not train."""
        if self.model.features is not None and self.evaluations:
            evaluations = list(self.evaluations.values())
            self.model.features.build(None, 0, evaluations, self.progress)
        if self.recipe.compile:
            self._compile(None)

    def _compile(self, batch: Batch | None) -> None:
        """Compile now, so that no training step has to wait for it."""
        self.progress(Stage("compiling"))
        method, dtype = self.model.method, self.model.dtype
        rankings = [partial(self._rank, name) for name in self.evaluations]
        seconds = compiled.warm_up(method, batch, rankings, dtype, self.device)
        self.costs["compile_seconds"] = seconds
        for evaluation in self.evaluations.values():
            evaluation.reset()

    def train(self) -> None:
        """Train, then restore the best state."""
        assert self.lr is not None
        features, method = self.model.features, self.model.method
        clock = TrainingClock(features.seconds if features is not None else 0.0)
        fitted = train.fit(
            method,
            self.loader,
            self.recipe,
            self.lr,
            (lambda: self._rank("val")[0]["mR"]) if self._validates else None,
            self.progress,
            self.checkpointer,
            clock,
            self.chosen.timing(self.trial.recipe.time),
        )
        method.load_own_state({k: v.to(self.device) for k, v in fitted.best_state.items()})
        self.record["curve"], self.record["best_step"] = fitted.curve, fitted.best_step
        if self.checkpointer is not None:
            self.record["resumed"] = self.checkpointer.resumed
        steps = fitted.curve[-1]["step"]
        self.costs |= fitted.efficiency
        self.costs |= self.chosen.summary(self.trial.recipe, steps, clock.seconds)
        self.costs["warning"] = self.costs["warning"] or meter.crowded(self.costs)

    def _rank(self, split: str) -> tuple[dict[str, float], dict[str, Ranks]]:
        return self.model.rank(self.evaluations[split])

    def test(self, files: Files) -> None:
        """Rank the test split, for the first and only time, and validation with the best weights.

        `files` gets the functions that write the ranks and the trained weights.
        """
        self.progress(Stage("testing"))
        memory = meter.Memory(self.device)
        memory.start()
        test = self.evaluations["test"]
        metrics = {}
        if "val" in self.evaluations:  # first: what is slow only once does not count in the rates
            metrics["val"] = self._rank("val")[0]
        metrics["test"], ranks = self._rank("test")
        self.record["metrics"] = metrics
        self.costs |= {"peak_memory_eval_bytes": memory.peak(), **test.rates()}
        arrays = perquery.arrays(ranks, test.image_of)
        files[".npz"] = lambda path: perquery.save(path, arrays)
        own = self.model.method.own_state()
        if own:
            state = {name: tensor.cpu().contiguous().clone() for name, tensor in own.items()}
            files[".safetensors"] = lambda path: _save_state(path, state)


def _save_state(path: Path, state: dict[str, Any]) -> None:
    try:
        save_file(state, path)
    except SafetensorError as error:  # also raised for a full disk
        raise OSError(str(error)) from None
