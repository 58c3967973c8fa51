"""A method restored from its record answers as it did, and the sheets show what is right."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bench import UserError, cli, data, testset
from bench.trained import sheet
from bench.trained.restore import restore
from bench.trained.retrieve import Searcher
from tests.helpers.trained import trained


@pytest.fixture
def searcher(tiny: Path) -> Searcher:
    path, _ = trained(tiny, "cmer")
    return Searcher(restore(path), tiny)


def test_images_for_a_text_come_in_the_order_of_their_cosine(searcher: Searcher) -> None:
    text = "Picture 14 of a pond, version 2"
    answer = searcher.images_for(text, 3)
    image = searcher.restored.encode_images(searcher.pixels[searcher.rows])
    scores = (image @ searcher.restored.encode_texts([text])[0]).numpy()
    assert [hit.row for hit in answer.hits] == [searcher.rows[i] for i in np.argsort(-scores)[:3]]
    expected = sorted(scores.tolist(), reverse=True)[:3]
    assert [hit.score for hit in answer.hits] == pytest.approx(expected, abs=1e-5)
    assert [hit.right for hit in answer.hits] == [hit.row == 14 for hit in answer.hits]
    assert answer.right == 1  # the caption is annotated in other letters and spaces
    unknown = searcher.images_for("nothing that is annotated", 9)
    assert len(unknown.hits) == 4  # there are no more
    assert {hit.right for hit in unknown.hits} == {None}
    assert "not known" in unknown.summary()


def test_captions_for_an_image_by_file_and_by_name(searcher: Searcher, tiny: Path) -> None:
    by_file = searcher.captions_for(tiny / "tiny" / "images" / "port_13.png", 20)
    by_name = searcher.captions_for(Path("port_13.tif"), 20)
    assert by_file.hits == by_name.hits
    right = [hit.caption for hit in by_file.hits if hit.right]
    assert len(right) == by_file.right == 5
    assert all(caption is not None and "picture 13 " in caption for caption in right)
    Image.new("RGB", (90, 70), (40, 90, 160)).save(tiny / "mine.png")
    foreign = searcher.captions_for(tiny / "mine.png", 3)
    assert {hit.right for hit in foreign.hits} == {None}
    with pytest.raises(UserError, match="neither a file nor the name of a test image"):
        searcher.captions_for(Path("port_1.png"), 3)  # a training image


def test_images_of_one_name_are_told_apart_by_their_folders(searcher: Searcher, tiny: Path) -> None:
    samples = searcher.dataset.samples
    for row, folder in ((12, "harbor"), (13, "beach")):
        samples[row] = replace(samples[row], filename=f"{folder}/1.png")
    by_file = searcher.captions_for(tiny / "tiny" / "images" / "port_13.png", 20)
    assert by_file.right == 5  # although the annotation calls it otherwise
    for name in ("beach/1.png", "beach/1.tif"):
        assert searcher.captions_for(Path(name), 20).hits == by_file.hits
    with pytest.raises(UserError, match=r"several test images: harbor/1\.png, beach/1\.png; name"):
        searcher.captions_for(Path("1.png"), 3)


def test_the_focus_map_lies_on_the_patches(searcher: Searcher) -> None:
    maps = searcher.restored.focus_maps(searcher.pixels[[12, 13]])
    assert maps is not None
    scores = searcher.restored.method.image_side.scores
    assert maps.shape == (2, 8, 8)
    assert 0 <= maps.min() < maps.max() <= 1
    expected = sum(tap[1, 8 * 5 + 2] for tap in scores) / len(scores)
    assert maps[1, 5, 2] == pytest.approx(float(expected))  # sixth row, third column


@pytest.mark.parametrize(("method", "settings"), [("cmer", {"focus": "none"}), ("linear", {})])
def test_without_a_focus_map_there_is_none_to_draw(
    method: str, settings: dict[str, Any], tiny: Path
) -> None:
    path, _ = trained(tiny, method, **settings)
    searcher = Searcher(restore(path), tiny)
    with pytest.raises(UserError, match="no focus map"):
        searcher.picture_sheet(searcher.images_for("a port", 2), focus=True)


def grey(tiles: list[sheet.Tile]) -> np.ndarray:
    return np.asarray(sheet.draw_images("a port", ["a note"], tiles).convert("L")).astype(int)


def test_right_images_are_marked_so_that_grey_shows_it() -> None:
    plain = np.full((sheet.SIDE, sheet.SIDE, 3), 200, dtype=np.uint8)
    first, second = (sheet.Tile(plain, ["port_1.png"], right) for right in (True, False))
    marked = np.abs(grey([first, second]) - grey([second, second])) > 60
    assert marked.sum() > 4 * sheet.SIDE  # a frame, not a dot
    assert np.nonzero(marked)[1].max() < sheet.SIDE + 2 * sheet.GAP  # around the first alone


def test_the_focus_is_drawn_where_it_is() -> None:
    plain = np.full((sheet.SIDE, sheet.SIDE, 3), 128, dtype=np.uint8)
    focus = np.full((8, 8), 0.2, dtype=np.float32)
    focus[6, 1] = 0.9
    drawn = np.asarray(Image.fromarray(sheet.overlay(plain, focus, (0.2, 0.9))).convert("L"))
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    side = sheet.SIDE // 8
    assert (row // side, column // side) == (6, 1)
    assert drawn[row, column] > drawn[20, 200] + 60  # bright on dark, so that it reads in grey
    with_map = grey([sheet.Tile(plain, ["port_1.png"], focus=focus)])
    assert len(with_map) >= len(grey([sheet.Tile(plain, ["port_1.png"])])) + sheet.SIDE


def test_long_words_and_long_names_stay_on_the_sheet() -> None:
    plain = np.zeros((sheet.SIDE, sheet.SIDE, 3), dtype=np.uint8)
    tile = sheet.Tile(plain, ["x" * 300])
    images = sheet.draw_images("word " * 60 + "Y" * 400, ["note " * 80], [tile] * 6)
    captions = [("0.5 " + "many planes " * 40, right) for right in (True, False)]
    for page in (images, sheet.draw_captions("title", [], tile, captions)):
        assert page.width == sheet.WIDTH
        assert (np.asarray(page)[:, -sheet.GAP // 2 :] == 255).all()


def test_what_cannot_be_restored_is_one_sentence(tiny: Path) -> None:
    path, _ = trained(tiny, "linear")
    good = json.loads(path.read_text())
    weights = path.with_suffix(".safetensors")

    def fails(says: str, **changed: object) -> None:
        path.write_text(json.dumps(good | changed))
        with pytest.raises(UserError, match=says) as caught:
            Searcher(restore(path), tiny)
        assert "\n" not in str(caught.value)
        path.write_text(json.dumps(good))

    fails("ended as diverged", status="diverged")
    fails("ended as not applicable, .* give another record", status="not_applicable")
    fails("are not those of the record", backbone={"name": "starter", "weights_sha256": "0" * 16})
    fails("they differ in their test images", data={"hashes": {"test": "0" * 16}})
    fails("--plugin", trial={**good["trial"], "method": "mine"})
    fails("another version of linear", trial={**good["trial"], "settings": {"odd": 1}})
    gone = {"method": "peft", "settings": {"kind": "gone", "targets": "attn+mlp"}}
    fails("the installed peft has no kind 'gone'; use the vers", trial={**good["trial"], **gone})
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
    with pytest.raises(UserError, match=r"is no record; give the seed\*\.json beside it"):
        restore(weights)
    weights.unlink()
    fails("--rerun")
    with pytest.raises(UserError, match=r"is not the folder of an export: it has no record\.json"):
        restore(tiny)
    with pytest.raises(UserError, match="there is no record"):
        restore(tiny / "nothing.json")


def test_other_captions_and_another_order_are_refused(tiny: Path) -> None:
    """The names of the test images are the same; what the record was tested with is not."""
    path, _ = trained(tiny, "linear")
    restored = restore(path)
    dataset = data.load(data.card(str(tiny / "tiny.toml")), tiny)
    restored.record["data"]["queries"] = testset.digest(dataset.samples)
    assert restored.own_dataset(tiny).samples == dataset.samples
    annotation = tiny / "tiny" / "dataset.json"
    sound = annotation.read_text()
    reversed_ = json.loads(sound)
    reversed_["images"].reverse()
    for changed in (sound.replace("picture 13 of", "image 13 of"), json.dumps(reversed_)):
        annotation.write_text(changed)
        with pytest.raises(UserError, match="test captions, scenes or order of images"):
            restored.own_dataset(tiny)
    annotation.write_text(sound.replace("picture 1 of", "image 1 of"))  # of a training image
    restored.own_dataset(tiny)
    (tiny / "tiny.toml").unlink()
    with pytest.raises(UserError, match=r"tiny\.toml of .* is not here; start the command"):
        restored.own_dataset(tiny)


def test_the_command_writes_a_sheet(tiny: Path) -> None:
    path, _ = trained(tiny, "cmer")

    def ask(*words: str) -> Result:
        arguments = ["retrieve", str(path), "--data-root", str(tiny), *words]
        return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "120"})

    out = tiny / "sheets" / "one.png"
    done = ask("picture 13 of a port , version 1 .", "--top", "4", "--focus", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "1 of 1 right image found" in done.output
    assert "port_13.png" in done.output
    assert testset.UNKNOWN.split(",")[0] in " ".join(done.output.split())  # as of an older record
    assert Image.open(out).width == sheet.WIDTH
    done = ask("--image", "port_13.png", "--out", str(out))
    assert "of 5 right sentences found" in done.output
    for words in ([], ["a port", "--image", "port_13.png"]):
        assert "either a text" in str(ask(*words).exception)
    assert "QUERY is empty" in str(ask(" ").exception)
