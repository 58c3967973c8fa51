"""A method restored from its record answers as it did, and the sheets show what is right."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bench import UserError, data, testset, trial_run
from bench.data import cache
from bench.recipe import Recipe
from bench.trained import retrieve, sheet
from bench.trained.restore import Restored, restore
from bench.trial import Trial
from tests.helpers.trained import trained


def restored(root: Path, method: str = "cmer") -> Restored:
    path, _ = trained(root, method)
    return restore(path, root)


def test_a_restored_method_repeats_the_ranks_of_its_trial(tiny: Path) -> None:
    made, _ = trained(tiny, "lora", rank=2)
    given = Trial.of(json.loads(made.read_text())["trial"])
    given = replace(given, recipe=Recipe(steps=2, batch_size=4, evaluations=1, precision="fp32"))
    results = tiny / "other"
    document = trial_run.run(given, tiny, results, lambda _: None)
    assert document["status"] == "ok", document["traceback"]
    path = given.path(results)
    path.write_text(json.dumps(document))
    method = restore(path, tiny)
    dataset = method.dataset
    assert dataset is not None
    rows = dataset.split("test")
    image = method.encode_images(cache.images(dataset, 64), rows)
    texts = [c for row in rows for c in dataset.samples[row].captions]
    scores = method.encode_texts(texts) @ image.t()
    own = scores.gather(1, torch.arange(len(texts))[:, None] // 5)
    ranks = 1 + (scores > own).sum(dim=1)
    assert np.array_equal(ranks.numpy(), np.load(path.with_suffix(".npz"))["t2i"])


def test_images_for_a_text_come_in_the_order_of_their_cosine(tiny: Path) -> None:
    method = restored(tiny)
    assert method.dataset is not None
    rows = method.dataset.split("test")
    answer = retrieve.images_for(method, "Picture 14 of a pond, version 2", 3)
    image = method.encode_images(cache.images(method.dataset, 64), rows)
    scores = (image @ method.encode_texts(["Picture 14 of a pond, version 2"])[0]).numpy()
    assert [hit.row for hit in answer.hits] == [rows[i] for i in np.argsort(-scores)[:3]]
    expected = sorted(scores.tolist(), reverse=True)[:3]
    assert [hit.score for hit in answer.hits] == pytest.approx(expected, abs=1e-5)
    assert [hit.right for hit in answer.hits] == [hit.row == 14 for hit in answer.hits]
    assert answer.right == 1  # the caption is annotated in other letters and spaces
    unknown = retrieve.images_for(method, "nothing that is annotated", 9)
    assert len(unknown.hits) == 4  # there are no more
    assert {hit.right for hit in unknown.hits} == {None}
    assert "not known" in unknown.summary()


def test_captions_for_an_image_by_file_and_by_name(tiny: Path) -> None:
    method = restored(tiny)
    by_file = retrieve.captions_for(method, tiny / "tiny" / "images" / "port_13.png", 20)
    by_name = retrieve.captions_for(method, Path("port_13.tif"), 20)
    assert by_file.hits == by_name.hits
    right = [hit.caption for hit in by_file.hits if hit.right]
    assert len(right) == by_file.right == 5
    assert all(caption is not None and "picture 13 " in caption for caption in right)
    Image.new("RGB", (90, 70), (40, 90, 160)).save(tiny / "mine.png")
    foreign = retrieve.captions_for(method, tiny / "mine.png", 3)
    assert {hit.right for hit in foreign.hits} == {None}
    with pytest.raises(UserError, match="neither a file nor the name of a test image"):
        retrieve.captions_for(method, Path("port_1.png"), 3)  # a training image


def test_the_focus_map_lies_on_the_patches(tiny: Path) -> None:
    method = restored(tiny)
    assert method.dataset is not None
    maps = method.focus_maps(cache.images(method.dataset, 64), [12, 13])
    scores = method.method.image_side.scores
    assert maps.shape == (2, 8, 8)
    assert 0 <= maps.min() < maps.max() <= 1
    expected = sum(tap[1, 8 * 5 + 2] for tap in scores) / len(scores)
    assert maps[1, 5, 2] == pytest.approx(float(expected))  # sixth row, third column


def test_methods_without_a_focus_map_are_told(tiny: Path) -> None:
    for settings in ({"focus": "none"}, {}):
        path, _ = trained(tiny, "cmer" if settings else "linear", **settings)
        method = restore(path, tiny)
        answer = retrieve.images_for(method, "a port", 2)
        with pytest.raises(UserError, match="no focus map"):
            retrieve.draw(method, answer, focus=True)


def grey(tiles: list[sheet.Tile]) -> np.ndarray:
    return np.asarray(sheet.draw_images("a port", ["a note"], tiles).convert("L")).astype(int)


def test_right_images_are_marked_so_that_grey_shows_it() -> None:
    plain = np.full((sheet.SIDE, sheet.SIDE, 3), 200, dtype=np.uint8)
    tiles = [sheet.Tile(plain, "0.5", "port_1.png", right) for right in (True, False)]
    page = grey(tiles)
    difference = np.abs(page - grey([replace(tile, right=False) for tile in tiles]))
    rows, columns = np.nonzero(difference > 60)
    assert len(rows) > 4 * sheet.SIDE  # a frame, not a dot
    assert columns.max() < sheet.MARGIN + sheet.SIDE + sheet.GAP  # around the first image only
    unknown = grey([replace(tile, right=None) for tile in tiles])
    assert np.array_equal(unknown, grey([replace(tile, right=False) for tile in tiles]))


def test_the_focus_is_drawn_where_it_is() -> None:
    plain = np.full((sheet.SIDE, sheet.SIDE, 3), 128, dtype=np.uint8)
    focus = np.full((8, 8), 0.2, dtype=np.float32)
    focus[6, 1] = 0.9
    drawn = np.asarray(Image.fromarray(sheet.overlay(plain, focus, (0.2, 0.9))).convert("L"))
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    side = sheet.SIDE // 8
    assert (row // side, column // side) == (6, 1)
    assert drawn[row, column] > drawn[20, 200] + 60  # bright on dark, so that it reads in grey
    with_map = grey([sheet.Tile(plain, "0.5", "port_1.png", None, focus)])
    assert len(with_map) > len(grey([sheet.Tile(plain, "0.5", "port_1.png")])) + sheet.SIDE


def test_long_words_and_long_names_stay_on_the_sheet() -> None:
    plain = np.zeros((sheet.SIDE, sheet.SIDE, 3), dtype=np.uint8)
    tile = sheet.Tile(plain, "0.5", "x" * 300)
    page = sheet.draw_images("word " * 60 + "y" * 400, ["note " * 80], [tile] * 6)
    assert page.width == sheet.WIDTH
    edge = np.asarray(page)[:, -sheet.MARGIN + 8 :]
    assert (edge == 255).all()
    captions = [("0.5", "many planes " * 40, right) for right in (True, False, None)]
    assert (np.asarray(sheet.draw_captions("t", [], tile, captions))[:, -20:] == 255).all()


def test_what_cannot_be_restored_is_one_sentence(tiny: Path) -> None:
    path, _ = trained(tiny, "linear")
    good = json.loads(path.read_text())
    weights = path.with_suffix(".safetensors")

    def fails(says: str, **changed: object) -> None:
        path.write_text(json.dumps(good | changed))
        with pytest.raises(UserError, match=says) as caught:
            restore(path, tiny)
        assert "\n" not in str(caught.value)
        path.write_text(json.dumps(good))

    fails("ended as diverged", status="diverged")
    fails("are not those of the record", backbone={"name": "starter", "weights_sha256": "0" * 16})
    fails("they differ in their test images", data={"hashes": {"test": "0" * 16}})
    fails("--plugin", trial={**good["trial"], "method": "mine"})
    fails("another version of linear", trial={**good["trial"], "settings": {"odd": 1}})
    state = load_file(weights)
    save_file({"other": torch.zeros(1)}, weights)
    fails("do not belong to the record")
    save_file(
        {name: tensor[..., :-1].clone() for name, tensor in state.items() if tensor.ndim}
        | {name: tensor for name, tensor in state.items() if not tensor.ndim},
        weights,
    )
    fails("do not belong to the record")
    weights.write_bytes(b"no tensors")
    fails("do not belong to the record")
    weights.unlink()
    fails("--rerun")
    with pytest.raises(UserError, match="there is no record"):
        restore(tiny / "nothing.json", tiny)


def test_other_captions_and_scenes_are_refused_and_old_records_are_told(tiny: Path) -> None:
    """The names of the test images are the same; what the record was tested with is not."""
    path, _ = trained(tiny, "linear")
    document = json.loads(path.read_text())
    assert "queries" not in document["data"]  # as older records
    [note] = restore(path, tiny).notes
    assert "only the names of the test images were compared" in note
    dataset = data.load(data.card(str(tiny / "tiny.toml")), tiny)
    document["data"]["queries"] = testset.digest(dataset.samples)
    path.write_text(json.dumps(document))
    assert restore(path, tiny).notes == ()
    annotation = tiny / "tiny" / "dataset.json"
    sound = annotation.read_text()
    changes = {"captions": ("picture 13 of", "image 13 of"), "order": None}
    for what, change in changes.items():
        said = json.loads(sound.replace(*change) if change else sound)
        if what == "order":
            said["images"].reverse()
        annotation.write_text(json.dumps(said))
        with pytest.raises(UserError, match="test captions, scenes or order of images"):
            restore(path, tiny)
    annotation.write_text(sound.replace("picture 1 of", "image 1 of"))  # of a training image
    assert restore(path, tiny).dataset is not None


def test_the_command_writes_a_sheet(tiny: Path) -> None:
    path, _ = trained(tiny, "cmer")
    words = [sys.executable, "-m", "bench.cli", "retrieve", str(path), "--data-root", str(tiny)]
    environment = {**os.environ, "COLUMNS": "120"}

    def ask(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*words, *more], capture_output=True, text=True, env=environment, check=False
        )

    out = tiny / "sheets" / "one.png"
    done = ask("picture 13 of a port , version 1 .", "--top", "4", "--focus", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "1 of 1 right image found" in done.stdout
    assert "port_13.png" in done.stdout
    assert Image.open(out).width == sheet.WIDTH
    for more in ([], ["a port", "--image", "port_13.png"], [" "]):
        bad = ask(*more)
        assert bad.returncode == 2
        assert "either a text" in bad.stderr
