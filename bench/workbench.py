"""What a trial works with: a data set prepared for a backbone (Workbench), and a method (Model).

Training, tests of trained methods, pretraining and benchmarks all begin here, so that all of them
use the same images, texts and precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bench.backbone import Backbone
from bench.data import SPLITS, Dataset, cache, cut
from bench.data.resize import Pixels, Resize
from bench.evaluate import Evaluation
from bench.recipe import Recipe
from bench.retrieval import Ranks
from bench.schema import Backbone as BackboneFields
from bench.schema import Data
from bench.testset import digest
from bench.training import frozen
from bench.training.batches import TokenTable, TrainSplit
from bench.training.features import Features
from bench.training.trainer import compute_dtype
from methods.base import Method

Decode = Callable[[Dataset, int, Resize], Pixels]
"""Gives all images of a data set as pixels of a size, resized in a given way."""


class Workbench:
    """A data set prepared for a backbone: decoded images, tokens, splits to train on and rank."""

    def __init__(self, dataset: Dataset, backbone: Backbone, decode: Decode = cache.images) -> None:
        """Decode the images, or take them from the cache; raises UserError where one is broken."""
        self.dataset, self.backbone = dataset, backbone
        # Whole data sets as uint8 in a file that is mapped to memory (see `bench.data.cache`).
        self.pixels = decode(dataset, backbone.image_size, backbone.preprocess.resize)
        self.tokens = TokenTable(backbone.tokenizer, backbone.pad_id)

    @cached_property
    def cut(self) -> cut.Cut:
        """Which captions are longer than the backbone's context and lose their end."""
        return cut.find(self.backbone.tokenizer, self.dataset.captions)

    def training(self, track: str = "train") -> TrainSplit:
        """The images to train on, their captions tokenised; `track` is the recipe's."""
        splits = ("train", "val") if track == "train+val" else ("train",)
        mean, std = self.backbone.preprocess.mean, self.backbone.preprocess.std
        split = TrainSplit.of(self.dataset, self.pixels, mean, std, splits, self.cut)
        captions = [caption for several in split.captions for caption in several]
        # Texts get the length of the longest training caption; without any, of the longest at all.
        self.tokens.add(captions or self.dataset.captions)
        return split

    def evaluation(
        self, split: str, scene_at_test: str = "none", untouched: Backbone | None = None
    ) -> Evaluation:
        """A split to rank. `scene_at_test`: which scene label its queries get, if any (see
        `Evaluation.label`). `untouched`: the backbone that predicts it, if a method has changed
        `self.backbone`."""
        evaluation = Evaluation(self.dataset, split, self.pixels, self.backbone, self.tokens)
        evaluation.label(scene_at_test, untouched or self.backbone)
        return evaluation

    def evaluations(self, scene_at_test: str = "none") -> dict[str, Evaluation]:
        """Validation and test split, if they have images. Empty for random weights, whose recall
        says nothing."""
        return {
            name: self.evaluation(name, scene_at_test)
            for name in ("val", "test")
            if self.backbone.weights != "none" and self.dataset.split(name)
        }

    def described(self) -> tuple[Data, BackboneFields]:
        """What a record says about the data set and the backbone."""
        dataset, backbone = self.dataset, self.backbone
        data: Data = {
            "counts": {name: len(dataset.split(name)) for name in SPLITS},
            "hashes": dataset.hashes,
            "queries": digest(dataset.samples),
            "card": dataset.card.digest(),
            "scenes": len(dataset.scenes),
            "notes": list(dataset.notes),
            "context_length": self.tokens.length,
            "captions_cut": self.cut.by_split(dataset.samples),
        }
        return data, {
            "name": backbone.name,
            "weights": backbone.weights,
            "weights_sha256": backbone.weights_sha256,
            "parameters": backbone.parameters,
            "image_size": backbone.image_size,
            "preprocess": backbone.preprocess.config(),
            "notes": list(backbone.notes),
            "trained_on": list(backbone.datasets),
        }


@dataclass
class Model:
    """A method on its backbone, on the device, and the dtype that it computes in."""

    method: Method
    device: torch.device
    dtype: torch.dtype
    bf16_parameters: int = 0
    """Frozen parameters held in bfloat16 (the recipe's `frozen`)."""
    features: Features | None = None
    """Cached features, if the method is to read these instead of images and texts."""

    @classmethod
    def build(
        cls,
        method_class: type[Method],
        settings: dict[str, Any],
        backbone: Backbone,
        recipe: Recipe,
        seed: int,
        device: torch.device | None = None,
    ) -> "Model":
        """A new method, initialised by the seed. device None: the GPU if there is one.

        Raises NotApplicable as the method does, and UserError if the device cannot compute in the
        recipe's precision.
        """
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(seed)  # the same new weights on every device: they are drawn on the CPU
        method = method_class(backbone.model, **settings)
        method.image_tower.checkpointing = recipe.checkpointing
        method.text_tower.checkpointing = recipe.checkpointing
        dtype = compute_dtype(recipe.precision, device)
        held = frozen.hold(method, recipe, dtype)
        return cls(method.to(device), device, dtype, held)

    def encode(self, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
        """Features of a split's images and captions, see `Evaluation.features`."""
        return evaluation.features(self.method, self.dtype, self.device, self.features)

    def rank(self, evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Ranks]]:
        """The recalls of a split in percent, and the ranks that they come from."""
        ranks = evaluation.ranks(*self.encode(evaluation))
        return evaluation.metrics(ranks), ranks
