"""The image cache against direct decoding: staleness, damage, two builders, a killed builder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench import UserError, cli, data
from bench.data import cache
from bench.data.resize import Interpolation, Mode, Pixels, Resize, fit
from tests.helpers.until import until


@pytest.fixture
def dataset(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> data.Dataset:
    """The made data set, with an empty cache."""
    monkeypatch.setenv("BENCH_CACHE", str(tiny / "cache"))
    return data.load(data.card(str(tiny / "tiny.toml")), tiny)


# The map of a data set.


SHAPES = [(40, 48), (61, 40), (33, 38), (37, 97), (20, 20), (32, 57), (7, 90)]
WAYS = [
    Resize(mode, interpolation, fill)
    for mode in get_args(Mode)
    for interpolation in get_args(Interpolation)
    for fill in ((0, 93) if mode == "longest" else (0,))
]


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_those_of_the_own_transform_of_open_clip(
    tmp_path: Path, shape: tuple[int, int], how: Resize
) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    wanted = PreprocessCfg(
        size=32,
        mean=(0,) * 3,
        std=(1,) * 3,
        resize_mode=how.mode,
        interpolation=how.interpolation,
        fill_color=how.fill,
    )
    theirs = image_transform_v2(wanted, is_train=False)
    with Image.open(tmp_path / "a.png") as opened:
        expected = np.asarray(theirs(opened)).transpose(1, 2, 0) * 255
    assert np.array_equal(cache.decode(tmp_path / "a.png", 32, how=how), expected.round())


def test_a_sliver_of_an_image_is_padded_too() -> None:
    pixels = fit(Image.new("RGB", (400, 1), (9, 9, 9)), 8, Resize("longest"))
    assert (pixels[3] == 9).all()
    assert pixels.sum() == 9 * 8 * 3


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_each_way_of_resizing_has_a_map_of_its_own(dataset: data.Dataset, how: Resize) -> None:
    pixels = cache.images(dataset, 32, how=how)
    assert dataset.paths[2] is not None
    assert np.array_equal(pixels[2], cache.decode(dataset.paths[2], 32, how=how))
    others = {cache.place(dataset, 32, other) for other in WAYS if other != how}
    assert len(others) == len(WAYS) - 1
    assert cache.place(dataset, 32, how) not in others
    assert (cache.place(dataset, 32, how) == cache.place(dataset, 32)) == (how == Resize())


def test_what_is_drawn_needs_no_resizing() -> None:
    drawn = data.load(data.card("synthetic"), Path())
    assert cache.place(drawn, 32, Resize("squash", "bilinear")) == cache.place(drawn, 32)


def test_every_image_equals_its_direct_decoding(dataset: data.Dataset) -> None:
    pixels = cache.images(dataset, 32)
    assert pixels.shape == (16, 32, 32, 3)
    direct = [cache.decode(path or Path(), 32) for path in dataset.paths]
    assert np.array_equal(pixels, direct)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_a_changed_image_is_noticed(dataset: data.Dataset) -> None:
    path = dataset.paths[3]
    assert path is not None
    Image.new("RGB", (40, 40), (10, 0, 0)).save(path, format="BMP")
    assert (cache.images(dataset, 32)[3] == (10, 0, 0)).all()
    size = path.stat().st_size
    Image.new("RGB", (40, 40), (20, 0, 0)).save(path, format="BMP")
    assert path.stat().st_size == size
    os.utime(path, ns=(0, 1))  # another date, however coarse the clock of the file system
    assert (cache.images(dataset, 32)[3] == (20, 0, 0)).all()


def test_a_data_set_in_another_place_shares_the_map(
    dataset: data.Dataset, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, pixels = cache.place(dataset, 32), cache.images(dataset, 32)
    monkeypatch.setattr(cache, "picture", lambda *_: pytest.fail("decoded again"))
    shutil.copytree(tiny / "tiny", tiny / "elsewhere" / "tiny")  # keeps dates, as rsync -a does
    moved = data.load(dataset.card, tiny / "elsewhere")
    assert cache.place(moved, 32) == usual
    assert np.array_equal(cache.images(moved, 32), pixels)


def test_the_key_covers_scale_size_order_and_code(
    dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = cache.place(dataset, 32)
    assert cache.place(dataset, 33) != usual
    scaled = data.Card(dataset.card.name, {**dataset.card.raw, "scale": [0.0, 9.0]})
    turned = dataset.samples[::-1], dataset.paths[::-1]
    others = (
        data.Dataset(scaled, dataset.folder, dataset.samples, dataset.paths, {}),
        data.Dataset(dataset.card, dataset.folder, *turned, {}),
    )
    assert len({usual, *(cache.place(other, 32) for other in others)}) == 3
    monkeypatch.setattr("PIL.__version__", "0.0")
    assert cache.place(dataset, 32) != usual


def test_an_image_that_changes_while_it_is_read_leaves_no_map(
    dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = cache.picture

    def late(dataset: data.Dataset, row: int, *words: object) -> Pixels:
        if row == 15:
            Image.new("RGB", (64, 64)).save(dataset.paths[0] or "")
        return picture(dataset, row, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "BLOCK", 15)  # the last image comes after the others
    monkeypatch.setattr(cache, "picture", late)
    with pytest.raises(UserError, match="changed while they were read"):
        cache.images(dataset, 32)
    assert not list(cache.cache_folder().glob("*.npy*l"))
    assert not list(cache.cache_folder().glob("*.npy"))


def test_a_folder_that_cannot_be_used_is_one_sentence(
    dataset: data.Dataset, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tiny / "tiny.toml" / "cache"))
    with pytest.raises(UserError, match=r"cannot be written to .* another disk with BENCH_CACHE"):
        cache.images(dataset, 32)


def test_the_size_is_said_first_and_progress_reaches_the_end(
    dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BLOCK", 5)  # the last block has one image
    said, seen = list[str](), list[tuple[int, int]]()
    pixels = cache.images(dataset, 32, progress=lambda *two: seen.append(two), say=said.append)
    (sentence,) = said
    assert re.fullmatch(r"decoding 16 images of tiny at 32 px into .*: 48 KiB", sentence)
    assert seen == [(5, 16), (10, 16), (15, 16), (16, 16)]
    assert np.array_equal(np.load(cache.place(dataset, 32)), pixels)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, 5_000),
    "one byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "another file": lambda path: path.write_bytes(b"not a map of pixels" * 9_000),
    "another array": lambda path: np.save(path, np.zeros((16, 3))),
    "other images": lambda path: np.save(path, np.zeros((2, 32, 32, 3), np.uint8)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_map_is_built_again(dataset: data.Dataset, what: str) -> None:
    good = np.array(cache.images(dataset, 32))
    path, said = cache.place(dataset, 32), list[str]()
    DAMAGE[what](path)
    assert np.array_equal(cache.images(dataset, 32, say=said.append), good)
    assert said[0] == f"{path} is damaged; its images are decoded again"


def test_an_image_that_cannot_be_read_leaves_nothing(dataset: data.Dataset) -> None:
    (dataset.paths[9] or Path()).write_text("no image")
    with pytest.raises(UserError, match="cannot be read"):
        cache.images(dataset, 32)
    assert {path.suffix for path in cache.cache_folder().iterdir()} == {".lock"}


# Two processes.

BUILDER = """
import sys
from pathlib import Path
from bench import data
from bench.data import cache

cache.BLOCK = 4
root = Path(sys.argv[1])
dataset = data.load(data.card(str(root / "tiny.toml")), root)
cache.images(dataset, 8, progress=lambda *_: sys.stdin.read())
"""


def builder(dataset: data.Dataset, root: Path) -> subprocess.Popen[bytes]:
    """A process that decodes a part of `dataset` at 8 px, and the rest once its input is closed."""
    process = subprocess.Popen([sys.executable, "-c", BUILDER, str(root)], stdin=subprocess.PIPE)
    partial = Path(f"{cache.place(dataset, 8)}.partial")
    until(lambda: partial.exists() or process.poll() is not None)
    assert process.poll() is None
    return process


def test_of_two_builders_one_builds_and_the_other_waits(
    dataset: data.Dataset, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with builder(dataset, tiny) as process:

        def say(text: str) -> None:
            said.append(text)
            process.communicate()  # closes its input, and waits until it has ended

        monkeypatch.setattr(cache, "picture", lambda *_: pytest.fail("decoded here too"))
        pixels = cache.images(dataset, 8, say=say)
    assert process.returncode == 0
    assert said == [f"another process is building {cache.place(dataset, 8).name}; waiting for it"]
    assert np.array_equal(pixels[5], cache.decode(dataset.paths[5] or Path(), 8))


def test_the_one_that_waits_takes_over_from_a_builder_that_is_killed(
    dataset: data.Dataset, tiny: Path
) -> None:
    with builder(dataset, tiny) as process:
        assert "unfinished" in run()
        assert "kept" in run("--clear")
        pixels = cache.images(dataset, 8, say=lambda _: process.kill())
    assert np.array_equal(pixels[5], cache.decode(dataset.paths[5] or Path(), 8))
    assert [entry.state for entry in cache.entries()] == ["whole"]


def test_what_a_killed_builder_leaves_is_listed_and_removed(dataset: data.Dataset) -> None:
    path = cache.place(dataset, 8)
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.partial").write_bytes(b"half")
    path.symlink_to(path.with_name("gone"))
    assert "unfinished" in run()
    assert "damaged" in run()
    assert "removed" in run("--clear")
    assert list(cache.cache_folder().iterdir()) == []


# The command.


def run(*words: str) -> str:
    done = CliRunner().invoke(cli.app, ["data", "cache", *words], env={"COLUMNS": "100"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_the_command_builds_lists_and_clears_only_what_is_ours(
    dataset: data.Dataset, tiny: Path
) -> None:
    folder, card = cache.cache_folder(), str(tiny / "tiny.toml")
    assert "nothing is cached" in run()
    root = ("--data-root", str(tiny))
    assert "ready: 16 images of tiny at 32 px" in run(card, "--size", "32", *root)
    run(card, "--size", "24", *root)
    foreign = {"notes.txt": b"mine", "tiny-32-0123456789.npy": b"other", "a.npy": b"x"}
    for name, content in foreign.items():
        (folder / name).write_bytes(content)
    table = run()
    assert len(re.findall(r"tiny .* 16 .* whole ", table)) == 2
    os.truncate(cache.place(dataset, 24), 3000)
    assert "whole" in run(card, "--show", "--size", "32")
    assert "damaged" in run(card, "--show", "--size", "24")
    assert "freed" in run(card, "--clear", "--size", "24")
    assert [entry.size for entry in cache.entries()] == [32]
    for other in ("other", "other.v2"):  # as the list names them
        assert f"the cache of {other} is empty" in run(other, "--clear")
    assert len(cache.entries()) == 1
    assert "freed" in run("--clear")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == foreign


def test_wrong_words_are_one_sentence(tiny: Path) -> None:
    for words, message in (
        (("tiny", "--size", "32", "--backbone", "starter"), "not both"),
        (("--show", "--clear"), "not both"),
        (("--size", "32"), "say which data set"),
    ):
        with pytest.raises(UserError, match=message):
            run(*words)
