"""Cached frozen features: the same recall as without, nothing left behind, no disk filled."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as tree

from bench import UserError, backbone, data, trial_run
from bench.contract import tiny_batch, tiny_model
from bench.data import cache
from bench.recipe import Recipe
from bench.sweeps import sweep
from bench.sweeps.sweepfile import SweepConfig
from bench.training import batches, features, train
from bench.training.features import FeatureLoader, Features, Table
from methods import registry
from methods.base import Method, NotApplicable
from tests.helpers.close import close
from tests.helpers.makes import WITH_BLOCKS
from tests.helpers.tiny import trial

CPU = torch.device("cpu")
FROZEN = [name for name, cls in registry().items() if cls.frozen_features]


def ran(root: Path, name: str, views: int, recipe: Recipe, **settings: Any) -> dict[str, Any]:
    """The record of a trial on the data set `tiny`."""
    one = trial(root, name, recipe, views, **settings)
    return trial_run.run(one, root, root / "results", lambda _: None)


@pytest.mark.parametrize("kind", WITH_BLOCKS)
@pytest.mark.parametrize("name", FROZEN)
def test_a_table_gives_back_what_the_towers_gave(name: str, kind: str) -> None:
    method, batch = registry()[name](tiny_model(kind)).eval(), tiny_batch()
    rows = torch.tensor([4, 0, 4])
    for inputs, frozen, encode in (
        (batch.images, method.frozen_image, method.encode_image),
        (batch.texts, method.frozen_text, method.encode_text),
    ):
        given = frozen(inputs)
        table = Table(frozen(inputs[:1]), len(inputs), torch.float32)
        table.allocate(torch.empty(table.bytes, dtype=torch.uint8))
        table.put(0, tree.tree_map_only(Tensor, lambda t: t[:2], given))
        table.put(2, tree.tree_map_only(Tensor, lambda t: t[2:], given))
        taken = table.take(rows)
        for leaf, whole in zip(tree.tree_leaves(taken), tree.tree_leaves(given), strict=True):
            assert leaf is whole is None or torch.equal(leaf, whole[rows])  # copied, not computed
        close(encode(taken), encode(given)[rows])  # three rows at once, six at once


def test_token_states_are_held_as_autocast_reads_them() -> None:
    example = (torch.zeros(1, 9), [torch.zeros(1, 5, 9)], None, torch.ones(1, 5) > 0)
    table = Table(example, 10, torch.bfloat16)
    table.allocate(torch.empty(table.bytes, dtype=torch.uint8))
    pooled, states, nothing, mask = table.take(torch.tensor([1]))
    assert (pooled.dtype, states[0].dtype) == (torch.float32, torch.bfloat16)
    assert (nothing, mask.dtype) == (None, torch.bool)
    assert 10 * (9 * 4 + 45 * 2 + 5) <= table.bytes < 10 * (9 * 4 + 45 * 2 + 5) + 3 * 64


@pytest.mark.parametrize(("precision", "rounding"), [("fp32", 1e-3), ("bf16", 5e-2)])
@pytest.mark.parametrize("call", [("linear", {}), ("cmer", {"queue": 8, "queue_start": 0.0})])
def test_one_view_is_training_without_augmentation(
    tiny: Path,
    call: tuple[str, Any],
    precision: str,
    rounding: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "step_rate", lambda *_: None)  # it takes its time
    recipe = Recipe(steps=6, batch_size=4, evaluations=2, precision=precision, augment=False)
    plain = ran(tiny, call[0], 0, recipe, **call[1])
    cached = ran(tiny, call[0], 1, replace(recipe, augment=True), **call[1])
    assert (plain["status"], cached["status"]) == ("ok", "ok"), cached["traceback"]
    # Rounding may make two almost equal scores change places: in float32 one of the 4 images may
    # differ, in bfloat16 several. The losses, which are no counts, stay close.
    one_image = pytest.approx(0, abs=100 / 4 + 1e-6)
    for split in ("val", "test") if precision == "fp32" else ():
        for name, value in plain["metrics"][split].items():
            assert cached["metrics"][split][name] - value == one_image
    for a, b in zip(plain["curve"], cached["curve"], strict=True):
        assert (b["step"], b["loss"]) == (a["step"], pytest.approx(a["loss"], rel=rounding))
    found = cached["efficiency"]
    assert found["feature_images"] == 16
    assert found["feature_bytes"] > 0
    assert found["epoch_seconds"] > 0
    both = found["epoch_seconds"] + found["feature_seconds"]
    assert found["epoch_and_features_seconds"] == pytest.approx(both)
    assert "feature_bytes" not in plain["efficiency"]


def parts(root: Path, name: str = "linear") -> tuple[Method, batches.Loader]:
    """A method around the starter and its loader on `tiny`, in float32."""
    dataset, base = data.load(data.card(str(root / "tiny.toml")), root), backbone.load("starter")
    table = batches.TokenTable(base.tokenizer, base.pad_id)
    pixels = cache.images(dataset, base.image_size)
    split = batches.TrainSplit.of(dataset, pixels, base.preprocess.mean, base.preprocess.std)
    method = registry()[name](base.model)
    given = {"batch_size": 4, "seed": 3, "device": CPU}
    return method, batches.Loader(split, table, method.train_caption, **given)


def stored(root: Path, views: int) -> tuple[FeatureLoader, Method]:
    method, loader = parts(root)
    made = Features(method, loader.table, torch.float32, CPU, views)
    made.build(loader, 2, [])
    return FeatureLoader(made, loader), method


def test_views_are_drawn_once_by_the_seed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, method = stored(tiny, 3)
    table = loader.features.images
    assert table.rows == 3 * 8
    (first,), (again,) = table.parts, stored(tiny, 3)[0].features.images.parts
    assert torch.equal(first, again)  # the same operations in the same shapes
    assert len({tuple(row) for row in first.tolist()}) == 24  # every view of an image is another
    monkeypatch.setattr(features, "crop_and_flip", lambda images, _: images)
    (centre,) = stored(tiny, 1)[0].features.images.parts
    plain = torch.from_numpy(loader.split.pixels[loader.split.rows])
    shown = batches.normalise(plain, loader.split.mean, loader.split.std)
    (expected,) = method.frozen_image(shown)
    close(centre, expected)
    seen = Counter(tuple(row) for batch in loader.epoch(0) for row in batch.images[0].tolist())
    assert set(seen) <= {tuple(row) for row in first.tolist()}
    assert len(seen) > 8  # not one view for each image


def test_too_large_for_the_device_it_goes_to_a_file_that_leaves_nothing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = list(stored(tiny, 2)[0].epoch(0))
    monkeypatch.setattr(features, "free_memory", lambda _: 0)
    loader, _ = stored(tiny, 2)
    assert loader.features.on_disk
    assert not list(cache.cache_folder().glob("features*"))
    for a, b in zip(memory, loader.epoch(0), strict=True):
        # The same operations in the same shapes; where the results are stored is the difference.
        assert torch.equal(a.images[0], b.images[0])
        assert torch.equal(a.texts[0], b.texts[0])


def test_features_on_a_gpu_are_in_no_peak(tiny: Path) -> None:
    made = stored(tiny, 1)[0].features
    made.device = torch.device("cuda")
    parts = ("train_bytes", "reserved_bytes", "eval_bytes")
    peaks = {f"peak_memory_{part}": made.bytes + 7 for part in parts}
    found = made.summary({**peaks, "train_images_per_second": 2.0}, 10)
    assert {name: found[name] for name in peaks} == dict.fromkeys(peaks, 7)


def test_captions_that_nobody_writes_anew_are_read_once(tiny: Path) -> None:
    """A time budget may allow thousands of epochs, and reading all of these takes minutes."""
    _, loader = parts(tiny)
    expected = [caption for five in loader.split.captions for caption in five]
    assert list(features.all_captions(loader, 100)) == expected
    _, loader = parts(tiny, "cmer")
    written = list(features.all_captions(loader, 3))
    assert len(written) == 3 * len(expected)
    assert any(caption.startswith(("pond. ", "port. ")) for caption in written)


def test_a_caption_that_was_not_foreseen_is_told(tiny: Path) -> None:
    loader, _ = stored(tiny, 1)
    loader.caption = lambda caption, sample, rng: f"later {caption}"
    with pytest.raises(RuntimeError, match="not foreseen"):
        next(iter(loader.epoch(0)))


def test_where_it_does_not_apply_the_record_says_so(tiny: Path) -> None:
    record = ran(tiny, "coop", 1, Recipe(steps=1, batch_size=4))
    assert record["status"] == "not_applicable"
    assert "--cache-features" in record["message"]
    with pytest.raises(NotApplicable):
        Features(parts(tiny, "full")[0], None, torch.float32, CPU, 1)


def test_views_without_augmentation_are_refused() -> None:
    with pytest.raises(UserError, match="augment=false"):
        sweep.plan(
            SweepConfig("linear", ["synthetic"], recipe=Recipe(augment=False), cache_features=2)
        )
