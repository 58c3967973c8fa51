"""Cards, annotation forms, scenes, image lookup, cache, tokens, batches."""

import hashlib
import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import UserError, data
from bench.data import cache, dataset
from bench.sweeps import sweep
from bench.sweeps.sweepfile import SweepConfig
from bench.training import batches, resident
from bench.training.batches import Loader, TokenTable, TrainSplit
from methods.sample import Sample
from tests.helpers import tiny as tiny_set
from tests.helpers.tiny import edit, load


def test_no_python_in_the_cards_folder() -> None:
    folder = Path(__file__).parent.parent / "datasets"
    assert not list(folder.rglob("*.py"))
    assert sorted(data.cards()) == sorted(p.stem for p in folder.glob("*.toml"))


def test_an_absent_data_set_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(data.Missing) as caught:
        data.load(data.card("rsitmd"), tmp_path / "my data")
    assert "dataset_RSITMD.json is missing" in str(caught.value)
    assert str(caught.value).endswith(
        f"; to get it: bench data fetch rsitmd --data-root '{tmp_path}/my data'"
    )
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(data.Missing, match=r"to get it: bench data fetch rsitmd$"):
        data.load(data.card("rsitmd"), tmp_path)


def test_trials_can_be_planned_without_the_images(tiny: Path) -> None:
    card = tiny_set.card(tiny)
    whole = data.load(card, tiny)
    shutil.rmtree(tiny / "tiny" / "images")
    planned = data.load(card, tiny, images=False)
    assert planned.hashes == whole.hashes
    assert planned.samples == whole.samples
    assert planned.paths == [None] * 16


def test_counts_are_enforced(tiny: Path) -> None:
    edit(tiny, lambda images: images.pop(0))  # of train
    said = "images per split are 7 train, 4 val, 4 test, the card says 8 train, 4 val, 4 test"
    with pytest.raises(UserError, match=said):
        load(tiny)


def test_edited_captions_are_another_trial_unless_the_card_pins_those(tiny: Path) -> None:
    def edited(images: list[dict[str, Any]]) -> None:
        images[9]["sentences"][0]["raw"] += " two ships"

    def known() -> tuple[str, list[str]]:
        dataset = load(tiny)
        notes = [note for note in dataset.notes if "the test set has 4 images" not in note]
        config = SweepConfig("zeroshot", [str(card)], ["starter"], data_root=tiny)
        (trial,) = sweep.plan(config).trials
        return trial.defines.get("annotation", "as pinned"), notes

    card = tiny / "tiny.toml"
    first, notes = known()
    assert first == data.content_hash(load(tiny).samples)
    assert notes == []
    digest = data.card(str(card)).digest()
    card.write_text(f'annotation_sha256 = "{first}"' + card.read_text())
    assert known() == ("as pinned", [])
    assert data.card(str(card)).digest() == digest  # a pin leaves recorded trials what they are
    edit(tiny, edited)
    second, notes = known()
    assert second not in ("as pinned", first)
    assert notes == [data.OTHER_TEXTS]


def test_another_test_set_is_refused(tiny: Path) -> None:
    edit(tiny, lambda images: images[-1].update(filename="pond_99.png"))
    with pytest.raises(UserError, match="not the ones that the card pins"):
        load(tiny)


def test_a_missing_image_is_named(tiny: Path) -> None:
    (tiny / "tiny" / "images" / "pond_0.png").unlink()
    with pytest.raises(UserError, match=r"1 of 16 images are missing.*pond_0"):
        load(tiny)
    shutil.rmtree(tiny / "tiny" / "images")
    with pytest.raises(
        UserError, match=r"the image folder .* is missing; to get it: bench data fetch"
    ):
        load(tiny)


def test_where_data_sets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", "there")
    assert data.data_root(None) == Path("there")
    assert data.data_root(Path("here")) == Path("here")
    monkeypatch.setenv("BENCH_DATA", "")
    assert data.data_root(None) == Path("data")
    for name, value in (("HOME", "/me"), ("BENCH_DATA", "~/data"), ("BENCH_CACHE", "~/cache")):
        monkeypatch.setenv(name, value)
    assert data.data_root(None) == data.data_root(Path("~/data")) == Path("/me/data")
    assert cache.cache_folder() == Path("/me/cache")
    for folder, place in (("e/f", "here/e/f"), ("~/e", "/me/e")):
        assert data.folder_of(data.Card("d", {"folder": folder}), Path("here")) == Path(place)


def test_what_counts_as_the_same_sentence() -> None:
    assert data.spoken_form(" A pond,\tnear  two\nport-s !") == "a pond near two port s"


def test_validation_is_held_out_where_none_is_published(tiny: Path) -> None:
    def without(images: list[dict[str, Any]]) -> None:
        for image in images:
            image["split"] = image["split"].replace("val", "train")

    edit(tiny, without)
    card = tiny / "tiny.toml"
    text = card.read_text().replace("train = 8\nval = 4", "train = 12")
    card.write_text(f"val_share = 0.5\n{text}")
    assert [len(load(tiny).split(s)) for s in data.SPLITS] == [6, 6, 4]


def test_what_is_held_out_depends_on_the_bare_names_alone() -> None:
    names = [f"{i}.tif" for i in range(47)]

    def held_out(names: list[str]) -> set[str]:
        samples = [Sample(name, ("a",), "train") for name in names]
        return {Path(s.filename).name for s in dataset._hold_out(samples, 0.1) if s.split == "val"}

    order = sorted(names, key=lambda name: hashlib.sha256(f"val/{name}".encode()).digest())
    chosen = set(order[:5])  # what every record so far was made with
    assert held_out(names) == held_out(names[::-1]) == chosen
    assert held_out([f"train/{name}" for name in names]) == chosen
    assert [len(held_out(names[:count])) for count in (1, 2)] == [0, 1]


def words(captions: list[str]) -> torch.Tensor:
    """A tokenizer of words: 9 + length, 0 for "!", padded with 0 to 77."""
    rows = torch.zeros(len(captions), 77, dtype=torch.long)
    for row, caption in enumerate(captions):
        for place, word in enumerate(caption.split()):
            rows[row, place] = 0 if word == "!" else 9 + len(word)
    return rows


def split_of(root: Path) -> TrainSplit:
    dataset = load(root)
    return TrainSplit.of(dataset, cache.images(dataset, 32), (0.5,) * 3, (0.5,) * 3)


def test_tokens_are_trimmed_only_where_that_is_exact() -> None:
    trimmed = TokenTable(words, pad_id=0)
    assert trimmed(["a b c", "a"]).shape == (2, 3)
    assert trimmed(["a b c d"]).shape == (1, 4)
    assert trimmed(["a ! ! c d"]).tolist() == [[10, 0, 0, 10, 10]]  # padding is a token too
    assert TokenTable(words, pad_id=None)(["a"]).shape == (1, 77)


def test_tokens_are_copied_to_a_gpu_as_they_lie() -> None:
    """A cut-out of a larger tensor is copied to another place first, and the GPU waited for."""
    assert TokenTable(words, pad_id=0)(["a b c", "a"]).is_contiguous()


def test_an_epoch_passes_every_pair_once_and_no_image_twice_in_a_batch(tiny: Path) -> None:
    split = split_of(tiny)
    batches = list(split.epoch(4, seed=0, epoch=0))
    assert len(batches) == split.batches_per_epoch(4) == 10
    pairs = Counter(pair for batch in batches for pair in batch)
    assert set(pairs.values()) == {1}
    assert len(pairs) == 8 * 5
    assert all(len({image for image, _ in batch}) == 4 for batch in batches)
    assert batches != list(split.epoch(4, seed=0, epoch=1))
    assert batches == list(split.epoch(4, seed=0, epoch=0))


def test_blank_captions_are_not_trained_on(tiny: Path) -> None:
    edit(tiny, lambda images: images[0]["sentences"][2].update(raw=" ."))
    split = split_of(tiny)
    assert len(split.captions[0]) == 4


def loader(root: Path, seed: int = 0, augment: bool = True, resident: bool | None = None) -> Loader:
    return Loader(
        split_of(root),
        TokenTable(words, 0),
        lambda caption, sample, rng: caption if rng.random() < 0.5 else f"{sample.scene} {caption}",
        batch_size=4,
        seed=seed,
        device=torch.device("cpu"),
        augment=augment,
        resident=resident,
    )


def test_resident_pixels_give_the_same_batches_bit_for_bit(tiny: Path) -> None:
    hosted, there = loader(tiny, seed=3), loader(tiny, seed=3, resident=True)
    assert hosted.resident is None  # by default, on a device that is no GPU
    there.split.pixels = np.zeros(0, np.uint8)  # not looked at again
    assert there.resident_bytes == 8 * 32 * 32 * 3
    batches = list(zip(hosted.epoch(0), there.epoch(0), strict=True))
    assert len(batches) == 10
    for one, two in batches:
        for name in one.__dataclass_fields__:
            assert torch.equal(getattr(one, name), getattr(two, name)), name
    there.release()
    assert (there.resident, there.resident_bytes) == (None, 0)


def test_the_split_is_resident_where_it_takes_no_more_than_its_share(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, split = torch.device("cuda"), split_of(tiny)
    takes = 8 * 32 * 32 * 3
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 10 * takes))
    monkeypatch.delenv("BENCH_RESIDENT", raising=False)
    assert resident.fits(split.pixels, split.rows, cuda)
    assert not resident.fits(split.pixels, split.rows, torch.device("cpu"))
    for text, fits in (("0.099", False), ("0", False), ("1", True)):
        monkeypatch.setenv("BENCH_RESIDENT", text)
        assert resident.fits(split.pixels, split.rows, cuda) is fits
    for text in ("2", "-0.1", "much", "nan"):
        monkeypatch.setenv("BENCH_RESIDENT", text)
        with pytest.raises(UserError, match="BENCH_RESIDENT is a share"):
            resident.fits(split.pixels, split.rows, cuda)


def test_a_batch_without_augmentation_is_the_normalised_image(tiny: Path) -> None:
    made = loader(tiny, augment=False)
    batch = next(iter(made.epoch(0)))
    row = made.split.rows[int(batch.image_ids[0])]
    expected = torch.from_numpy(made.split.pixels[row].copy()).permute(2, 0, 1) / 255 * 2 - 1
    assert torch.allclose(batch.images[0], expected, atol=1e-6)


def test_an_abandoned_epoch_leaves_no_thread(tiny: Path) -> None:
    before = set(threading.enumerate())  # threads of other tests may end meanwhile
    epoch = loader(tiny).epoch(0)
    next(epoch)
    epoch.close()
    assert set(threading.enumerate()) <= before


def test_a_failure_in_the_loader_reaches_the_loop(tiny: Path) -> None:
    made = loader(tiny)

    def fail(caption, sample, rng):  # type: ignore[no-untyped-def]
        raise RuntimeError("no caption")

    made.caption = fail
    with pytest.raises(RuntimeError, match="no caption"):
        list(made.epoch(0))


def test_crops_and_flips_are_what_is_promised() -> None:
    count, side = 400, 32
    at = (torch.arange(side) + 0.5) / side * 2 - 1  # where a pixel is, from -1 to 1
    x, y = at.expand(side, side), at[:, None].expand(side, side)
    images = torch.stack([x, y, x + y]).expand(count, 3, side, side)
    out = batches.crop_and_flip(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    slopes, centres = [], []
    for channel, along in ((0, 2), (1, 1)):
        steps = out[:, channel].diff(dim=along).narrow(along, 1, side - 3).flatten(1)
        assert torch.allclose(steps, steps[:, :1].expand_as(steps), atol=1e-5)  # nothing mirrored
        slopes.append(steps[:, 0] * side / 2)
        centres.append(out[:, channel].flatten(1).mean(dim=1))
    for slope, centre in zip(slopes, centres, strict=True):
        assert (centre.abs() + slope.abs()).max() < 1.02  # inside the image
        assert centre.min() < -0.15
        assert centre.max() > 0.15
        assert 0.4 < (slope < 0).float().mean() < 0.6  # half of them flipped
    width, height = slopes[0].abs(), slopes[1].abs()
    area, aspect = width * height, width / height
    assert 0.45 < area.min() < 0.55
    assert 0.95 < area.max() < 1.01
    assert 0.74 < aspect.min() < 0.8
    assert 1.25 < aspect.max() < 1.34
    same = (slopes[0] < 0) == (slopes[1] < 0)
    assert 0.4 < same.float().mean() < 0.6  # each way on its own
    assert abs(torch.corrcoef(torch.stack(centres))[0, 1]) < 0.2


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "counts", "scenes"),
    [("ucm", (1680, 210, 210), 21), ("rsicd", (8734, 1094, 1093), 31)],
)
def test_real_data(real_data: Path, name: str, counts: tuple[int, ...], scenes: int) -> None:
    dataset = data.load(data.card(name), real_data)
    assert tuple(len(dataset.split(s)) for s in data.SPLITS) == counts
    assert len(dataset.scenes) == scenes
    assert "annotation" not in dataset.hashes  # captions and scenes are those that the card pins
    assert all(s.scene is not None for s in dataset.samples)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "ceiling"), [("ucm", (38.0, 84.8, 100)), ("rsicd", (92.6, 99.2, 99.8))]
)
def test_real_ceilings(real_data: Path, name: str, ceiling: tuple[float, ...]) -> None:
    from bench.retrieval import t2i_ceiling

    test = [s for s in data.load(data.card(name), real_data).samples if s.split == "test"]
    pairs = [(i, data.spoken_form(c)) for i, s in enumerate(test) for c in s.captions]
    found = t2i_ceiling([i for i, _ in pairs], [c for _, c in pairs])
    for k, expected in zip((1, 5, 10), ceiling, strict=True):
        assert found[f"ceiling_t2i_R@{k}"] == pytest.approx(expected, abs=0.6)


@pytest.mark.real_data
def test_rsitmd_annotation_with_made_images(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "rsitmd" / "images").mkdir(parents=True)
    source = real_data / "rsitmd" / "dataset_RSITMD.json"
    shutil.copy(source, tmp_path / "rsitmd")
    for image in json.loads(source.read_text())["images"]:
        (tmp_path / "rsitmd" / "images" / image["filename"]).touch()
    dataset = data.load(data.card("rsitmd"), tmp_path)
    assert [len(dataset.split(s)) for s in data.SPLITS] == [3862, 429, 452]
    assert len(dataset.scenes) == 33
