"""Images of more than 8 bits that come out dark, and test sets so small that chance is high."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import data
from bench.commands.data import app
from bench.data import brightness, check, newcard
from methods.base import Sample

tifffile = pytest.importorskip("tifffile")


def refill(root: Path, top: float, kind: str = "uint16", low: float = 0) -> None:
    """Give the data set `tiny` TIFF images with values from `low` to `top`."""
    rng = np.random.default_rng(0)
    folder = root / "tiny" / "images"
    for path in sorted(folder.iterdir()):
        pixels = rng.uniform(low, top, (40, 48, 3)).astype(kind)
        path.unlink()
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="rgb")


def card(root: Path, scale: str = "") -> data.Card:
    path = root / "tiny.toml"
    text = "".join(line for line in path.read_text().splitlines(True) if "scale" not in line)
    path.write_text((f"scale = {scale}\n" if scale else "") + text)
    return data.card(str(path))


def told(root: Path, scale: str = "") -> list[str]:
    """What is said of brightness where a data set is loaded, which is what a record keeps."""
    notes = data.load(card(root, scale), root).notes
    return [note for note in notes if "scale" in note]


def test_reflectance_without_a_scale_is_told_with_the_remedy(tiny: Path) -> None:
    refill(tiny, 2990)
    (note,) = told(tiny)
    assert "uint16 values between about" in note
    assert "they come out nearly black without a scale: state `scale = [0, 3000]` on" in note
    assert told(tiny, "[0, 3000]") == []
    report = check.check(card(tiny), tiny)
    assert note in report.notes
    done = CliRunner().invoke(app, ["check", str(tiny / "tiny.toml"), "--data-root", str(tiny)])
    assert "state `scale = [0, 3000]`" in done.output


@pytest.mark.parametrize(
    ("top", "kind", "scale", "said"),
    [
        (65_000, "uint16", "", None),
        (20_000, "uint16", "", None),
        (10_000, "uint16", "", "nearly black without a scale: state `scale = [0, 9900]`"),
        (1, "float32", "", "which need a scale: state `scale = [0, 0.99]`"),
        (1, "float32", "[0, 1]", None),
        (3000, "uint16", "[0, 1]", "come out nearly white with the card's scale [0, 1]: state"),
        (3000, "uint16", "[5000, 9000]", "nearly black with the card's scale"),
        (3000, "uint16", "[0, 60000]", "nearly black with the card's scale"),
        (3000, "uint16", "[0, 4000]", None),
        (200, "uint8", "", None),
        (200, "uint8", "[0, 3000]", None),
    ],
)
def test_what_is_said(tiny: Path, top: float, kind: str, scale: str, said: str | None) -> None:
    refill(tiny, top, kind)
    found = told(tiny, scale)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_a_new_card_states_the_scale(tiny: Path) -> None:
    refill(tiny, 5000, low=1000)
    folder = tiny / "tiny"
    made = newcard.propose("mine", folder / "dataset.json", folder / "images", tiny)
    assert "scale = [1000, 5000]" in made.toml
    assert any("the card states it now" in note for note in made.notes)
    newcard.write(made, tiny / "mine.toml")
    dataset = data.load(data.card(str(tiny / "mine.toml")), tiny)
    assert dataset.card.scale == (1000, 5000)
    assert not any("nearly black" in note for note in dataset.notes)
    refill(tiny, 200, "uint8")
    assert (
        "scale" not in newcard.propose("b", folder / "dataset.json", folder / "images", tiny).toml
    )


def test_pixels_without_data_and_broken_images_do_not_count(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(100, 3000, (40, 40)).astype(np.uint16)
    pixels[:30] = 65_535
    note = (42113, "s", 0, "65535", True)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[note])
    (tmp_path / "b.tif").write_text("no image")
    seen = brightness.sample([tmp_path / "b.tif", None, tmp_path / "a.tif"])
    assert seen is not None
    assert seen.images == 1
    assert seen.scale == (0, 3000)
    assert brightness.sample([]) is None


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0, 3009], (0, 3000)),
        ([-25, 12], (-25, 12)),
        ([0.02, 0.4321], (0, 0.43)),
        ([0, 0], (0, 1)),
        ([7, 7], (7, 8)),
    ],
)
def test_a_scale_in_two_digits(values: list[float], scale: tuple[float, float]) -> None:
    spread = np.linspace(*values, 10_000)
    assert brightness.Brightness("float32", 32, 1, spread).scale == pytest.approx(scale)


def test_few_test_images_are_told(tiny: Path) -> None:
    def warnings(number: int) -> list[str]:
        return data.few_test_images([Sample(f"{k}", ("a",), "test") for k in range(number)])

    assert "R@1 / R@5 / R@10 of 11 / 56 / 100;" in warnings(9)[0]
    assert warnings(100) == warnings(0) == []
    loaded = data.load(data.card(str(tiny / "tiny.toml")), tiny).notes
    assert any("the test set has 4 images" in note for note in loaded)
