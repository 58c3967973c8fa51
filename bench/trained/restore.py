"""A trained method, rebuilt from its record and the weights beside it.

Legend: B images or captions, D embedding width, S side of the backbone's images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bench import UserError, backbone, data, record, testset
from bench.backbone import Backbone
from bench.backbone.preprocess import of_record
from bench.batches import TokenTable, join_blocks, normalise
from bench.data import Dataset
from bench.data.cache import Pixels
from bench.schema import Record
from bench.spec import misfits, nearest
from bench.trainer import autocast
from bench.trial import Trial
from bench.workbench import Model
from methods import registry
from methods.base import Method, NotApplicable, Sample

EXPORTED, ADAPTER = "record.json", "adapter.safetensors"
"""What an export calls the record and the trained weights."""


@dataclass
class Restored:
    """A trained method at work; `dataset` is None where no data root was given."""

    path: Path
    record: Record
    trial: Trial
    method: Method
    backbone: Backbone
    dataset: Dataset | None
    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
    """What could not be checked: sentences for the user."""

    @torch.no_grad()
    def encode_images(self, pixels: Pixels, rows: Sequence[int], block: int = 64) -> Tensor:
        """Rows of uint8 pixels `(any, S, S, 3)` -> `(B, D)`, unit length, float32, on the CPU."""

        def encode(start: int) -> Tensor:
            images = self._images(pixels, rows[start : start + block])
            with autocast(self.dtype, self.device):
                return self.method.encode_image(images).float().cpu()

        return join_blocks(map(encode, range(0, len(rows), block)), len(rows))

    @torch.no_grad()
    def encode_texts(self, captions: Sequence[str], block: int = 256) -> Tensor:
        """Captions -> `(B, D)`, unit length, float32, on the CPU; no scene is told."""
        table = TokenTable(self.backbone.tokenizer, self.backbone.pad_id)
        nothing = Sample("", (), "test")
        words = [self.method.test_caption(caption, nothing) for caption in captions]

        def encode(tokens: Tensor) -> Tensor:
            with autocast(self.dtype, self.device):
                return self.method.encode_text(tokens.to(self.device)).float().cpu()

        return join_blocks(map(encode, table(words).split(block)), len(words))

    @torch.no_grad()
    def focus_maps(self, pixels: Pixels, rows: Sequence[int]) -> Tensor:
        """Rows of uint8 pixels -> where the method looks, `(B, h, w)`, float32, on the CPU.

        A method offers this as `focus_map(images)`, `(B, 3, S, S)` -> `(B, h, w)` in 0..1; raises
        UserError for one that does not.
        """
        offered = getattr(self.method, "focus_map", None)
        if offered is None:
            raise UserError(f"{self.trial.method} has no focus map to draw; leave out --focus")
        try:
            with autocast(self.dtype, self.device):
                maps: Tensor = offered(self._images(pixels, rows))
        except NotApplicable as error:
            raise UserError(f"{error}; leave out --focus") from None
        return maps.float().cpu()

    def _images(self, pixels: Pixels, rows: Sequence[int]) -> Tensor:
        chosen = torch.from_numpy(pixels[list(rows)]).to(self.device)
        return normalise(chosen, self.backbone.preprocess.mean, self.backbone.preprocess.std)


def restore(
    path: Path, root: Path | None, device: str | None = None, spec: str | None = None
) -> Restored:
    """Rebuild a trained method in evaluation mode; `device` None: on the GPU if there is one.

    `path` is the record, or the folder of an export; the weights are beside it. `root` is the data
    root, None where the data set is not needed. `spec`: the backbone, where its weights are not in
    the place that the record says. Raises UserError, with the remedy, where the trial did not end
    well, or where weights, data or method are absent or are not those of the record.
    """
    path = path / EXPORTED if path.is_dir() else path
    document = record.read(path)
    if document["status"] != "ok":
        raise UserError(
            f"the trial in {path} ended as {document['status'].replace('_', ' ')}, so there is no "
            "trained method; repeat it with `bench run ... --retry-failed`"
        )
    trial = Trial.recorded(document)
    trial = trial if spec is None else replace(trial, backbone=spec)
    cls = _method_class(trial)
    dataset = None if root is None else _dataset(path, document, trial, root)
    base = backbone.load(trial.backbone)
    known = document.get("backbone", {})
    base.preprocess = of_record(trial.backbone, known, base.preprocess)
    found, recorded = base.weights_sha256, known.get("weights_sha256")
    if found != recorded:
        raise UserError(
            f"the weights of {trial.backbone} are not those of the record (hash {found}, recorded "
            f"{recorded}); use the same file and version, or run the trial again with --rerun"
        )
    recipe = trial.recipe
    if recipe.frozen == "bf16":  # as it was trained, on whatever device this is
        recipe = replace(recipe, precision="bf16")
    where = None if device is None else torch.device(device)
    # The seed draws again what a method draws at first and never trains.
    model = Model.build(cls, trial.settings, base, recipe, trial.seed, where)
    _load_own_state(model.method, path)
    model.method.eval()
    checked = dataset is None or testset.is_known(document)
    notes = () if checked else (f"{path.name}: {testset.UNKNOWN}",)
    return Restored(
        path, document, trial, model.method, base, dataset, model.device, model.dtype, notes
    )


def _method_class(trial: Trial) -> type[Method]:
    known = registry()
    if trial.method not in known:
        raise UserError(
            f"no method is called {trial.method!r}{nearest(trial.method, known)}; if a file of "
            "your own registers it, give that with --plugin"
        )
    cls = known[trial.method]
    if odd := misfits(cls, trial.settings):
        raise UserError(
            f"the record is of another version of {trial.method}: they differ in the settings "
            f"{odd}; run the trial again"
        )
    return cls


def _dataset(path: Path, document: Record, trial: Trial, root: Path) -> Dataset:
    dataset = data.load(data.card(trial.dataset), root)
    what = testset.difference(document, testset.described(dataset))
    if what is not None:
        raise UserError(
            f"{dataset.card.name} is not here as {path} was made with it: they differ in their "
            f"{what}; use the annotation it was made with, or run the trial again"
        )
    return dataset


def _load_own_state(method: Method, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not method.own_state():
        return  # nothing is trained, so nothing was saved
    exported = path.name == EXPORTED
    file = path.with_name(ADAPTER) if exported else path.with_suffix(".safetensors")
    if not file.is_file():
        raise UserError(
            f"the trained weights {file} are missing (records are committed, weights are not, and "
            "random backbones keep none); run the trial again with `bench run ... --rerun`"
        )
    if not exported and record.is_stray(path, record.read(path), ".safetensors"):
        raise UserError(
            f"the trained weights {file} are of another run than the record; run the trial again "
            "with `bench run ... --rerun`"
        )
    try:
        method.load_own_state(load_file(file))
    except (SafetensorError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the trained weights {file} do not belong to the record ({reason}); run the trial "
            "again with `bench run ... --rerun`"
        ) from None
