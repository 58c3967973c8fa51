"""Rebuild a trained method from its record and the weights next to it.

Legend: B images or captions, D embedding width, S side of the backbone's images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench import UserError, brief, data, record, testset
from bench import backbone as backbones
from bench.backbone import Backbone
from bench.backbone.preprocess import of_record
from bench.data import Dataset, cache
from bench.data.resize import Pixels
from bench.evaluate import Evaluation
from bench.schema import Record
from bench.spec import misfits, nearest
from bench.training.batches import TokenTable, join_blocks, normalise
from bench.training.trainer import autocast
from bench.trial import Trial
from bench.workbench import Decode, Model, Workbench
from methods import registry
from methods.base import Method, NotApplicable, Sample

EXPORTED, ADAPTER = "record.json", "adapter.safetensors"
"""The names of the record and the trained weights in an export."""


@dataclass(kw_only=True)
class Restored(Model):
    """A trained method in evaluation mode, with its backbone, and the record that it comes from."""

    path: Path
    record: Record
    trial: Trial
    backbone: Backbone

    @torch.no_grad()
    def encode_images(self, pixels: Pixels, block: int = 64) -> Tensor:
        """Pixels `(B, S, S, 3)` uint8 -> `(B, D)`, unit length, float32, on the CPU."""

        def encode(start: int) -> Tensor:
            images = self._normalised(pixels[start : start + block])
            with autocast(self.dtype, self.device):
                return self.method.encode_image(images).float().cpu()

        return join_blocks(map(encode, range(0, len(pixels), block)), len(pixels))

    @torch.no_grad()
    def encode_texts(self, captions: Sequence[str], block: int = 256) -> Tensor:
        """Captions, without a scene -> `(B, D)`, unit length, float32, on the CPU."""
        table = TokenTable(self.backbone.tokenizer, self.backbone.pad_id)
        no_scene = Sample("", (), "test")
        words = [self.method.test_caption(caption, no_scene) for caption in captions]  # as tested

        def encode(tokens: Tensor) -> Tensor:
            with autocast(self.dtype, self.device):
                return self.method.encode_text(tokens.to(self.device)).float().cpu()

        return join_blocks(map(encode, table(words).split(block)), len(words))

    @torch.no_grad()
    def focus_maps(self, pixels: Pixels) -> Tensor | None:
        """Where the method looks in images: pixels `(B, S, S, 3)` -> `(B, h, w)` in 0..1.

        None for a method that does not offer this as `focus_map(images)`.
        """
        focus_map = getattr(self.method, "focus_map", None)
        if focus_map is None:
            return None
        try:
            with autocast(self.dtype, self.device):
                maps: Tensor = focus_map(self._normalised(pixels))
        except NotApplicable:  # not with these settings
            return None
        return maps.float().cpu()

    def _normalised(self, pixels: Pixels) -> Tensor:
        preprocess = self.backbone.preprocess
        images = torch.tensor(pixels, device=self.device)  # a copy: cached pixels are read-only
        return normalise(images, preprocess.mean, preprocess.std)

    def own_dataset(self, root: Path) -> Dataset:
        """The data set of the trial, from the data root.

        Raises UserError if it is missing, or if its test set is not the recorded one.
        """
        name = self.trial.dataset
        if name.endswith(".toml") and not Path(name).is_file():
            raise UserError(
                f"the card {name} of {self.path} is not here; start the command in the folder "
                "where the trial was started, or put the card back"
            )
        dataset = data.load(data.card(name), root)
        difference = testset.difference(self.record.get("data", {}), testset.described(dataset))
        if difference is not None:
            raise UserError(
                f"{dataset.card.name} is not here as {self.path} was made with it: they differ in "
                f"their {difference}; use the annotation it was made with, or run the trial again"
            )
        return dataset

    def test_set(self, dataset: Dataset, decode: Decode = cache.images) -> Evaluation:
        """The test split of a data set, the method's own or another one, to be ranked.

        Raises UserError if an image cannot be read, or if the method is to be told scenes that the
        data set does not have.
        """
        mode = self.trial.scene_at_test
        if mode != "none" and not dataset.scenes:
            raise UserError(
                f"it puts the scene of an image into its test captions, and {dataset.card.name} "
                "has no scenes; state [scenes] on its card"
            )
        bench = Workbench(dataset, self.backbone, decode)
        # Scenes are predicted with an untouched backbone; the method has changed this one's towers.
        untouched = backbones.load(self.trial.backbone) if mode == "predicted" else None
        return bench.evaluation("test", mode, untouched)


def restore(path: Path, device: str | None = None, backbone: str | None = None) -> Restored:
    """Rebuild a trained method in evaluation mode; `device` None: on the GPU if there is one.

    `path` is the record, or the folder of an export; the trained weights lie next to it.
    `backbone`: its spec, if its weights are not where the record says. Raises UserError if the
    trial did not end well, or if weights or method are missing or are not those of the record.
    """
    if path.is_dir():
        path = path / EXPORTED
        if not path.is_file():
            raise UserError(
                f"{path.parent} is not the folder of an export: it has no {EXPORTED}; give a "
                "record (seed*.json), or a folder that `bench export RECORD --out DIR` wrote"
            )
    document = record.read(path)
    if document["status"] != "ok":
        raise UserError(
            f"the trial in {path} ended as {document['status'].replace('_', ' ')}, so there is no "
            "trained method; give another record, or repeat what failed with `bench run ... "
            "--retry-failed`"
        )
    trial = Trial.recorded(document)
    if backbone is not None:
        trial = replace(trial, backbone=backbone)
    method_class = _method_class(trial)
    base = _backbone(trial, document)
    recipe = trial.recipe
    if recipe.frozen == "bf16":  # trained in bf16, so restored in bf16 on any device
        recipe = replace(recipe, precision="bf16")
    place = None if device is None else torch.device(device)
    # The seed matters: it draws again the random weights that a method never trains.
    try:
        model = Model.build(method_class, trial.settings, base, recipe, trial.seed, place)
    except NotApplicable as error:
        raise UserError(
            f"the method of {path} cannot be built here: {error}; use the versions of packages "
            "that the record names"
        ) from None
    _load_weights(model.method, path)
    model.method.eval()
    return Restored(**vars(model), path=path, record=document, trial=trial, backbone=base)


def _method_class(trial: Trial) -> type[Method]:
    methods = registry()
    if trial.method not in methods:
        raise UserError(
            f"no method is called {trial.method!r}{nearest(trial.method, methods)}; if a file of "
            "your own registers it, give that with --plugin, in Python to methods.load_plugin"
        )
    method_class = methods[trial.method]
    if names := misfits(method_class, trial.settings):
        raise UserError(
            f"the record is of another version of {trial.method}: they differ in the settings "
            f"{', '.join(names)}; run the trial again"
        )
    return method_class


def _backbone(trial: Trial, document: Record) -> Backbone:
    """The backbone with the preprocessing of the record; raises UserError for other weights."""
    base = backbones.load(trial.backbone)
    recorded = document.get("backbone", {})
    # As in the record: a later version may prepare images for these weights in another way.
    base.preprocess = of_record(trial.backbone, recorded, base.preprocess)
    if base.weights_sha256 != recorded.get("weights_sha256"):
        raise UserError(
            f"the weights of {trial.backbone} are not those of the record (hash "
            f"{base.weights_sha256}, recorded {recorded.get('weights_sha256')}); use the same file "
            "and version, or run the trial again with --rerun"
        )
    return base


def _load_weights(method: Method, path: Path) -> None:
    if not method.own_state():
        return  # nothing is trained, so nothing was saved
    exported = path.name == EXPORTED
    file = path.with_name(ADAPTER) if exported else path.with_suffix(".safetensors")
    again = "run the trial again with `bench run ... --rerun`"
    if exported and not file.is_file():
        raise UserError(
            f"the trained weights {file} are missing; if {file.parent} is a plain open_clip "
            f"checkpoint (--merged), use it as a backbone: --backbone local-dir:{file.parent}"
        )
    if not file.is_file():
        raise UserError(
            f"the trained weights {file} are missing (records are committed, weights are not, and "
            f"random backbones keep none); {again}"
        )
    if not exported and record.is_stray(path, record.read(path), ".safetensors"):
        raise UserError(f"the trained weights {file} are of another run than the record; {again}")
    try:
        method.load_own_state(load_file(file))
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the trained weights {file} do not belong to the record ({brief(error)}); {again}"
        ) from None
