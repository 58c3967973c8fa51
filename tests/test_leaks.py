"""Test images of one data set in what another trains on: by captions, by pixels, on the command."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from bench import data, synthetic
from bench.commands.data import app
from bench.data import cache, leaks, twins
from methods.base import Sample

LONG = "many white planes are parked near a terminal"
OTHER = "two long runways cross the khaki bare land"


def sample(name: str, *captions: str, split: str = "test") -> Sample:
    return Sample(name, captions, split)


def test_pairs_by_captions_need_two_long_sentences() -> None:
    tests = [
        sample("a", LONG, OTHER),
        sample("b", LONG, LONG, "a pond"),  # one sentence, however often
        sample("c", "a pond", "a port"),  # short ones occur by chance
    ]
    trains = [
        sample("x", f"{LONG.upper()} !", f"{OTHER} .", "a pond", split="train"),
        sample("y", LONG, "a pond", "a port", split="train"),
    ]
    (pair,) = leaks.by_captions(tests, trains)
    assert pair.images == ("a", "x")
    assert pair.sentences == sorted([LONG, OTHER])


def test_generated_images_are_those_of_their_names_in_a_part_too(tmp_path: Path) -> None:
    """A leak check looks at the test split alone, whose first row is not the first image."""
    card = data.card("synthetic")
    part = leaks._part(card, tmp_path, test=True)
    few = twins.decode(card, part.samples[:2], part.paths[:2])
    index = sum(synthetic.COUNTS[split] for split in ("train", "val"))
    for row in range(2):
        assert synthetic.filename(index + row) == part.samples[row].filename
        assert (few.pixels[row] == synthetic.render(index + row, twins.SIDE)).all()
        assert (cache.picture(part, row, 48) == synthetic.render(index + row, 48)).all()


@pytest.fixture
def two(tiny: Path) -> Path:
    """`tiny`, and `near`, with two test images of `tiny`: one in train, one in val."""
    shutil.copytree(tiny / "tiny", tiny / "near")
    text = (tiny / "tiny.toml").read_text()
    (tiny / "near.toml").write_text(f'folder = "near"\n{text}')
    document = json.loads((tiny / "near" / "dataset.json").read_text())
    for image in document["images"]:
        image["sentences"] = [{"raw": f"other words for {image['filename']}"}]
    document["images"][0]["sentences"] = [
        {"raw": f"picture 12 of a pond , version {k} ."} for k in range(2)
    ]
    (tiny / "near" / "dataset.json").write_text(json.dumps(document))
    for test, train in (("pond_12", "port_1"), ("port_13", "port_9")):
        shutil.copy(tiny / "tiny/images" / f"{test}.png", tiny / "near/images" / f"{train}.png")
    return tiny


def invoke(root: Path, *words: str) -> Any:
    words = ("check", str(root / "tiny.toml"), "--against", str(root / "near.toml"), *words)
    return CliRunner().invoke(app, [*words, "--data-root", str(root)])


def test_the_command_finds_what_was_planted(two: Path) -> None:
    done = invoke(two, "--json", "--pairs-sheet", str(two / "pairs.png"))
    assert done.exit_code == 0, done.output  # the data is the published one all the same
    (told,) = json.loads(done.stdout[: done.stdout.rindex("}") + 1])["against"]
    assert told["test_images"] == 4
    assert told["train_images"] == 12
    assert [pair["images"] for pair in told["by_captions"]] == [["pond_12.png", "pond_0.png"]]
    assert sorted(pair["images"] for pair in told["by_pixels"]) == [
        ["pond_12.png", "port_1.png"],
        ["port_13.png", "port_9.png"],
    ]
    with Image.open(two / "pairs.png") as sheet:
        assert len(sheet.convert("RGB").getcolors(10**6)) > 1000  # of noise
    said = invoke(two).stdout
    assert "1 of 4 test images of tiny share captions with one of its images (2 or more of" in said
    assert "pond_12.png and pond_0.png (2 captions)" in said
    assert "LEAK 2 test images of tiny are in train or val of near (2 by their pictures, 1" in said
    (two / "near/images/pond_2.png").unlink()
    assert "against near: 1 images are missing or cannot be read" in invoke(two).stdout


def test_without_images_captions_alone_are_compared(two: Path) -> None:
    shutil.rmtree(two / "near" / "images")
    said = invoke(two, "--pairs-sheet", str(two / "pairs.png")).stdout
    assert "no pairs of images, so no" in said
    assert not (two / "pairs.png").exists()
    assert "captions alone were compared: near: the image folder" in said
    assert "POSSIBLE LEAK: by their captions 1 test images of tiny may be in train or val" in said
    assert "in it as pictures" not in said
    assert not [line for line in said.splitlines() if line.startswith("LEAK")]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "other", "leaked", "of"),
    [("rsicd", "rsitmd", 228, 1093), ("rsitmd", "rsicd", 54, 452)],
)
def test_the_known_leaks(real_data: Path, name: str, other: str, leaked: int, of: int) -> None:
    tests, trains = (data.read(data.card(one), real_data)[0] for one in (name, other))
    tests = [s for s in tests if s.split == "test"]
    pairs = leaks.by_captions(tests, [s for s in trains if s.split != "test"])
    assert len(tests) == of
    assert len({pair.images[0] for pair in pairs}) == leaked
