"""`bench data check` finds what was planted; `bench data new` writes a card that loads."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from bench import UserError, data
from bench.commands.data import app
from bench.data import check, contact, newcard, summary, twins
from tests.helpers import tiny as tiny_set
from tests.helpers.tiny import edit


def report_of(root: Path) -> check.Report:
    return check.check(tiny_set.card(root), root)


def test_a_sound_data_set(tiny: Path) -> None:
    report = report_of(tiny)
    assert report.incomplete == []
    assert report.counts == report.published == {"train": 8, "val": 4, "test": 4}
    images = report.images
    assert report.faults == images.missing == images.extra == images.twins == []
    assert report.ceiling == {f"ceiling_t2i_R@{k}": 100.0 for k in (1, 5, 10)}
    assert report.scenes["train"] == {"pond": 4, "port": 4}
    assert images.sizes == {"48 x 40": 16}
    assert report.longest is not None
    assert report.longest.caption == "picture 10 of a pond , version 0 ."
    assert report.longest.tokens is None
    assert report.words["test"].shared_rows == report.words["test"].rows_in_train == 0


def test_odd_captions_are_counted(tiny: Path) -> None:
    def plant(images: list[dict[str, Any]]) -> None:
        images[0]["sentences"][2]["raw"] = " ."
        images[1]["sentences"] = [{"raw": "A port !"}] * 5
        images[8]["sentences"][0]["raw"] = "a harbour"
        for image in images[12:14]:  # two test images of four share a sentence with train
            image["sentences"][0]["raw"] = "a port ."
        images[14]["sentences"][0]["raw"] = "A harbour."
        images[2]["sentences"] = [{"raw": ""}] * 5

    edit(tiny, plant)
    words = report_of(tiny).words
    assert words["train"].blank == 6
    assert words["train"].images_without_words == 1
    assert words["train"].repeating_images == 2
    assert words["test"].shared_rows == 2
    assert words["test"].rows_in_train == 2
    assert words["test"].rows_in_train_and_val == 3
    assert [words[s].rows_in_train for s in ("train", "val")] == [0, 0]
    assert [words[s].rows_in_train_and_val for s in ("train", "val")] == [0, 0]
    assert report_of(tiny).ceiling["ceiling_t2i_R@1"] == pytest.approx(95.0)


def test_odd_images_are_named(tiny: Path) -> None:
    images = tiny / "tiny" / "images"
    Image.new("RGB", (50, 50)).save(images / "pond_0.png")
    (images / "port_1.png").write_text("no image")
    (images / "pond_2.png").unlink()
    Image.new("RGB", (8, 8)).save(images / "other.png")
    shutil.copy(images / "port_3.png", images / "pond_14.png")  # train -> test
    report = report_of(tiny)
    found = report.images
    assert found.missing == ["pond_2.png"]
    assert found.extra == ["other.png"]
    assert list(found.undecodable) == ["port_1.png"]
    assert found.odd_sized == ["pond_0.png"]
    assert list(found.sizes.items()) == [("48 x 40", 13), ("50 x 50", 1)]
    (leak,) = found.leaks("test")
    assert leak.images == ("port_3.png", "pond_14.png")
    assert leak.same_pixels
    assert report.published_test_set
    said = "\n".join(summary.lines(report))
    assert "LEAK 1 test images are in train too: port_3.png = pond_14.png" in said
    assert "missing images: 1 of 16: pond_2.png" in said
    verdict = "NOT COMPLETE: 1 images are missing; 1 images cannot be read"
    assert summary.verdict(report) == verdict
    shutil.copy(images / "pond_0.png", images / "pond_2.png")
    assert report_of(tiny).incomplete == ["1 images cannot be read"]
    shutil.copy(images / "pond_0.png", images / "port_1.png")
    assert report_of(tiny).incomplete == []


def test_another_test_set_is_no_published_one(tiny: Path) -> None:
    def swap(images: list[dict[str, Any]]) -> None:
        for image in images[4:]:
            image["split"] = {"val": "test", "test": "val"}.get(image["split"], image["split"])

    edit(tiny, swap)
    report = report_of(tiny)
    assert not report.published_test_set
    assert "test set: NOT the one of the card: 4 images" in "\n".join(summary.lines(report))
    assert summary.verdict(report) == "NOT COMPLETE: it is not the data of the card"


def test_nearly_equal_images_are_found_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (30, 8, 8, 3), dtype=np.uint8)
    pixels = np.stack(
        [np.asarray(Image.fromarray(b).resize((64, 64), Image.Resampling.BICUBIC)) for b in blocks]
    )
    Image.fromarray(pixels[3]).save(tmp_path / "a.jpg", quality=50)
    again = np.asarray(Image.open(tmp_path / "a.jpg"))
    dim = np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels[5])).enhance(0.98))
    mirrored = pixels[7][:, ::-1]
    for block in (1, 1024):
        monkeypatch.setattr(twins, "BLOCK", block)
        found = twins.near(np.stack([again, dim, mirrored]), pixels)
        assert [(a, b) for a, b, _ in found] == [(0, 3), (1, 5)]
    assert twins.difference_hash(pixels).shape == (30, 112)


def test_eight_signs_may_differ_and_no_more() -> None:
    board = 100 + 2 * (np.indices((8, 8)).sum(axis=0) % 2)  # cells of two levels, all signs sure
    boards = [board.copy() for _ in range(4)]
    for flips, changed in enumerate(boards):
        for column in (1, 3, 5)[:flips]:
            changed[2, column] = 98  # below its four neighbours now, and not above
    pixels = np.kron(np.stack(boards)[..., None], np.ones((1, 8, 8, 3))).astype(np.uint8)
    assert [b for a, b, _ in twins.near(pixels, pixels) if a == 0] == [0, 1, 2]


def test_equal_pairs_come_first(tiny: Path) -> None:
    samples = tiny_set.load(tiny).samples[:4]
    pixels = np.random.default_rng(0).integers(0, 250, (4, 64, 64, 3), dtype=np.uint8)
    pixels[1], pixels[3] = pixels[0] + 2, pixels[2]
    look = twins.Decoded(samples, pixels, np.ones(4, dtype=bool), [None] * 4, {})
    pairs = [(pair.images, pair.same_pixels) for pair in twins.find(look, look)]
    assert pairs == [(("pond_2.png", "port_3.png"), True), (("pond_0.png", "port_1.png"), False)]


def test_flat_images_of_different_colour_are_no_twins() -> None:
    flat = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    flat[1] += 60
    assert not [pair for pair in twins.near(flat, flat) if pair[0] < pair[1]]


def test_the_embedded_data_set_can_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noise(index: int, size: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 255, (size, size, 3), dtype=np.uint8)

    monkeypatch.setattr("bench.synthetic.render", noise)  # drawing 2,048 takes ten times as long
    report = check.check(data.card("synthetic"), tmp_path)
    assert report.published_test_set
    assert not report.faults
    assert sum(report.counts.values()) == 2048


def test_what_the_table_counts(tiny: Path) -> None:
    edit(
        tiny, lambda images: images[12]["sentences"][0].update(raw="picture 0 of a pond ,version 0")
    )
    report = report_of(tiny)
    columns = {s: list(summary.figures(s, words).values()) for s, words in report.words.items()}
    assert columns == {
        "train": ["8", "40", "40", "0", "0.0%", "-", "-", "0.0%"],
        "val": ["4", "20", "20", "0", "0.0%", "0.0%", "-", "0.0%"],
        "test": ["4", "20", "20", "0", "0.0%", "5.0%", "5.0%", "0.0%"],
    }


def test_a_scene_that_test_lacks_is_named(tiny: Path) -> None:
    edit(tiny, lambda images: images[0].update(filename="lake_0.png"))
    said = "\n".join(summary.lines(report_of(tiny)))
    assert "scenes: 3; in train from 1 images (lake) to 4 (port); not in test: lake" in said


def test_a_card_that_pins_no_test_set(tiny: Path) -> None:
    def said() -> str:
        return next(summary.lines(report_of(tiny)))

    assert said().startswith("test set: the one of the card, 4 images of the same names (hash ")
    path = tiny / "tiny.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "sha256" not in line))
    assert "4 images, as many as the card says; it pins no hash, so their names were not" in said()


def test_captions_longer_than_the_context(tiny: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    long = "word " * 76

    def plant(images: list[dict[str, Any]]) -> None:
        images[0]["sentences"][0]["raw"] = long
        for image, end in zip(images[12:14], ("pond", "port"), strict=True):
            for sentence in image["sentences"]:
                sentence["raw"] = long + end

    def checked(tokenizer: Any) -> check.Report:
        return check.check(tiny_set.card(tiny), tiny, tokenizer)

    edit(tiny, plant)
    report = checked(open_clip.get_tokenizer("ViT-B-32"))
    assert report.cut == {"train": 1, "val": 0, "test": 10}
    assert report.context_length == 77
    assert report.longest is not None
    assert report.longest.tokens == 79
    assert report.words["test"].shared_rows == 10
    assert report.words["test"].rows_in_train == 10
    assert report.ceiling["ceiling_t2i_R@1"] == pytest.approx(75.0)
    said = "\n".join(summary.lines(report))
    assert (
        "captions longer than the 77 tokens that CLIP takes: 1 in train, 10 in test; a model"
        in said
    )
    assert checked(None).ceiling["ceiling_t2i_R@1"] == 100


# The commands.


def invoke(root: Path, *words: str) -> Any:
    return CliRunner().invoke(app, [*words, "--data-root", str(root)])


def test_the_command_and_its_exit_code(tiny: Path) -> None:
    card = str(tiny / "tiny.toml")
    done = invoke(tiny, "check", card)
    assert done.exit_code == 0, done.output
    assert "best possible strict t2i R@1 / R@5 / R@10 on test: 100.0 / 100.0 / 100.0" in done.stdout
    assert done.stdout.rstrip().endswith("and every image can be read")
    (tiny / "tiny" / "images").rename(tiny / "tiny" / "elsewhere")
    done = invoke(tiny, "check", card)
    assert done.exit_code == 1
    assert done.stdout.rstrip().endswith("NOT COMPLETE: no image could be looked at")
    (tiny / "tiny" / "elsewhere").rename(tiny / "tiny" / "images")
    edit(tiny, lambda images: images[-1].update(filename="pond_99.png"))
    done = invoke(tiny, "check", card, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["published_test_set"] is False
    assert told["missing"] == ["pond_99.png"]


def test_what_cannot_be_is_refused_before_the_images_are_looked_at(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "check", None)
    card = str(tiny / "tiny.toml")
    for words, said in (
        (("--sheet", "a.jpg"), "ends in .png"),
        (("--against", card, "--pairs-sheet", "a"), "ends in .png"),
        (("--pairs-sheet", "a.png"), "give --against NAME too"),
        (("--against", "rsitmd"), "data set 'rsitmd' is not there"),
    ):
        assert said in str(invoke(tiny, "check", card, *words).exception)


def test_the_contact_sheet(tiny: Path) -> None:
    (tiny / "tiny" / "images" / "pond_0.png").write_text("no image")
    out = tiny / "sheets" / "a.png"
    done = invoke(tiny, "check", str(tiny / "tiny.toml"), "--sheet", str(out))
    assert done.exit_code == 1, done.output  # an image is broken
    with Image.open(out) as sheet:
        assert sheet.width > 1000
    card = tiny_set.card(tiny)
    with pytest.raises(UserError, match=r"ends in \.png"):
        contact.save(card, tiny, tiny / "a.txt")


def test_a_new_card_loads(tiny: Path, tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    words = ["--annotations", str(tiny / "tiny" / "dataset.json")]
    words += ["--images", str(tiny / "tiny" / "images"), "--out", str(card)]
    done = invoke(tiny, "new", "mine", *words)
    assert done.exit_code == 0, done.output
    assert "the annotation was recognised as karpathy" in done.stdout
    assert f"look at it, then: bench data check {card} --data-root {tiny}\n" in done.stdout
    made = data.card(str(card))
    assert made.raw["folder"] == "tiny"
    assert made.kind == "karpathy"
    assert made.test_hash == tiny_set.card(tiny).test_hash
    assert len(data.load(made, tiny).samples) == 16
    assert "is there already; move it" in str(invoke(tiny, "new", "mine", *words).exception)
    assert "call the card other.toml" in str(invoke(tiny, "new", "other", *words).exception)


def test_a_new_card_outside_the_data_root(tiny: Path) -> None:
    folder = tiny / "tiny"
    made = newcard.propose("mine", folder / "dataset.json", folder / "images", tiny / "elsewhere")
    assert f'folder = "{folder}"' in made.toml


@pytest.mark.parametrize(
    ("name", "annotation", "said"),
    [
        ("ucm", "dataset.json", "is there already"),
        ("a b", "dataset.json", "no name for a card"),
        ("mine", "other.json", "there is no annotation"),
    ],
)
def test_a_card_that_cannot_be_proposed(tiny: Path, name: str, annotation: str, said: str) -> None:
    folder = tiny / "tiny"
    words = ("--annotations", str(folder / annotation), "--images", str(folder / "images"))
    assert said in str(invoke(tiny, "new", name, *words).exception)


@pytest.mark.real_data
def test_the_known_faults_of_the_real_data(real_data: Path) -> None:
    def by_split(name: str) -> dict[str, list[Any]]:
        samples, _ = data.read(data.card(name), real_data)
        return {split: [s for s in samples if s.split == split] for split in data.SPLITS}

    ucm, rsicd = check.words(by_split("ucm")), check.words(by_split("rsicd"))
    assert round(100 * ucm["test"].shared_rows / 1050, 1) == 82.7
    assert round(100 * ucm["test"].rows_in_train_and_val / 1050) == 61
    assert rsicd["train"].blank + rsicd["val"].blank == 3
    assert 4851 <= rsicd["train"].repeating_images + rsicd["val"].repeating_images <= 4880


def test_long_captions_are_counted_for_the_backbone_that_is_named(tiny: Path) -> None:
    """A text tower with a shorter context than CLIP's cuts captions that CLIP reads whole."""

    def plant(images: list[dict[str, Any]]) -> None:
        images[0]["sentences"][0]["raw"] = "a plane . " * 20

    edit(tiny, plant)
    card, lengths = str(tiny / "tiny.toml"), {}
    for name in ("starter", "PE-Core-B-16:none"):
        told = json.loads(invoke(tiny, "check", card, "--json", "--backbone", name).stdout)
        lengths[name] = (told["context_length"], told["cut"]["train"], told["backbone"])
    assert lengths == {
        "starter": (77, 0, "starter"),
        "PE-Core-B-16:none": (32, 1, "PE-Core-B-16:none"),
    }
