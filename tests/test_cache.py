"""The image cache against direct decoding: staleness, damage, two builders, a killed builder."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench import UserError, cli, data
from bench.data import cache, cached, pixelmap
from bench.data.pixelmap import BLOCK, Damaged, Layout, Pixels
from bench.data.resize import Interpolation, Mode, Resize, fit

LAYOUT = Layout(count=5 * BLOCK + 3, size=8)


@pytest.fixture
def dataset(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> data.Dataset:
    """The made data set, with an empty cache."""
    monkeypatch.setenv("BENCH_CACHE", str(tiny / "cache"))
    return data.load(data.card(str(tiny / "tiny.toml")), tiny)


def drawn(rows: range) -> Pixels:
    """Pixels that say which image they are."""
    return np.stack([np.full((8, 8, 3), row, np.uint8) for row in rows])


class Maker:
    """`drawn`, and a list of the images that were asked for."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, rows: range) -> Pixels:
        self.rows.extend(rows)
        return drawn(rows)


def whole(path: Path) -> Path:
    """A finished file."""
    pixelmap.build(path, LAYOUT, drawn)
    return path


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


# The map of a data set.


SHAPES = [(40, 48), (61, 40), (40, 43), (33, 38), (37, 97), (20, 20), (32, 32), (32, 57), (7, 90)]
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
    for row, path in enumerate(dataset.paths):
        assert path is not None
        assert np.array_equal(pixels[row], cache.decode(path, 32))
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_a_changed_image_of_the_same_size_and_date_is_noticed(dataset: data.Dataset) -> None:
    path = dataset.paths[3]
    assert path is not None
    Image.new("RGB", (40, 40), (10, 0, 0)).save(path, format="BMP")
    assert (cache.images(dataset, 32)[3] == (10, 0, 0)).all()
    before = path.stat()
    Image.new("RGB", (40, 40), (20, 0, 0)).save(path, format="BMP")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert (cache.images(dataset, 32)[3] == (20, 0, 0)).all()


def test_a_touched_or_copied_image_is_not_decoded_again(
    dataset: data.Dataset, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_recipe", lambda _: "one")
    cache.images(dataset, 32)
    monkeypatch.setattr(cache, "decode", lambda *_: pytest.fail("decoded again"))
    os.utime(dataset.paths[0] or "")
    cache.images(dataset, 32)
    shutil.copytree(tiny / "tiny", tiny / "elsewhere" / "tiny")
    moved = data.load(dataset.card, tiny / "elsewhere")
    assert cache.place(moved, 32) == cache.place(dataset, 32)
    cache.images(moved, 32)


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


def test_files_are_hashed_once(dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = cache.place(dataset, 32)
    monkeypatch.setattr("bench.data.filehash._hash", lambda path: pytest.fail(f"read {path} again"))
    assert cache.place(dataset, 32) == usual


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": [1, 2, 3]}'])
def test_a_broken_memo_of_hashes_is_made_again(dataset: data.Dataset, text: str) -> None:
    usual = cache.place(dataset, 32)
    cache.memo("tiny", dataset.folder).write_text(text)
    assert cache.place(dataset, 32) == usual


def test_an_image_that_changes_while_it_is_read_leaves_no_map(
    dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = cache.decode

    def late(path: Path, *rest: object) -> Pixels:
        if path == dataset.paths[15]:
            Image.new("RGB", (64, 64)).save(dataset.paths[0] or "")
        return decode(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "_recipe", lambda _: "one")
    monkeypatch.setattr(cache, "decode", late)
    with pytest.raises(UserError, match="changed while they were read"):
        cache.images(dataset, 32)
    assert not list(cache.cache_folder().glob("*.npy*"))


def test_a_full_disk_is_one_sentence(
    dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(dataset.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"take 0\.0 MiB and .* has 0\.0 MiB free; make room"):
        cache.images(dataset, 32)


def test_what_a_map_that_is_half_done_takes_already_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, layout = tmp_path / "a.npy", pixelmap.Layout(100, 64)
    usage = shutil.disk_usage(tmp_path)
    pixelmap.partial(path).write_bytes(bytes(layout.bytes // 2))
    taken = pixelmap.partial(path).stat().st_blocks * 512
    assert taken > layout.bytes // 4
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=layout.bytes - taken))
    cache._demand_room(path, layout)
    pixelmap.partial(path).unlink()
    with pytest.raises(UserError, match="make room"):
        cache._demand_room(path, layout)


def test_a_folder_that_cannot_be_used_is_one_sentence(
    dataset: data.Dataset, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tiny / "tiny.toml" / "cache"))
    with pytest.raises(UserError, match=r"cannot be used \(.*set \$BENCH_CACHE"):
        cache.images(dataset, 32)


def test_the_size_is_told_before_and_damage_is_mended(dataset: data.Dataset) -> None:
    said: list[str] = []
    cache.images(dataset, 32, say=said.append)
    assert re.fullmatch(r"decoding 16 images of tiny at 32 px into .*: 0\.0 MiB", said[0])
    path = cache.place(dataset, 32)
    flip(path, 5000)
    good = cache.images(dataset, 32, say=said.append)
    assert "1 of its 1 blocks do not fit their checksum" in said[1]
    assert np.array_equal(good[0], cache.decode(dataset.paths[0] or Path(), 32))


# The file.


def test_numpy_reads_the_file_and_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "a.npy"
    pixelmap.build(path, LAYOUT, drawn, progress=lambda *two: seen.append(two))
    assert np.array_equal(np.load(path), drawn(range(LAYOUT.count)))
    assert np.array_equal(pixelmap.read(path, LAYOUT), np.load(path, mmap_mode="r"))
    assert seen[-1] == (LAYOUT.count, LAYOUT.count)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


DAMAGE = {
    "cut": (lambda path: os.truncate(path, LAYOUT.start(3)), "bytes and not", 6),
    "one byte short": (lambda path: os.truncate(path, LAYOUT.bytes - 1), "bytes and not", 1),
    "longer": (lambda path: os.truncate(path, LAYOUT.bytes + 1), "bytes and not", 0),
    "header": (lambda path: flip(path, 70), "header", 6),
    "a pixel": (lambda path: flip(path, LAYOUT.start(2) + 100), "1 of its 6 blocks", 1),
    "the last pixel": (lambda path: flip(path, LAYOUT.end - 1), "1 of its 6 blocks", 1),
    "a checksum": (lambda path: flip(path, LAYOUT.end + 4), "1 of its 6 blocks", 1),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_refused_and_only_what_is_bad_is_made_again(tmp_path: Path, what: str) -> None:
    damage, message, blocks = DAMAGE[what]
    path = whole(tmp_path / "a.npy")
    damage(path)
    with pytest.raises(Damaged, match=message):
        pixelmap.read(path, LAYOUT)
    make = Maker()
    pixelmap.build(path, LAYOUT, make)
    assert len({row // BLOCK for row in make.rows}) == blocks
    assert np.array_equal(pixelmap.read(path, LAYOUT), drawn(range(LAYOUT.count)))


def test_an_image_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(rows: range) -> Pixels:
        if 40 in rows:
            raise UserError("no image")
        return drawn(rows)

    with pytest.raises(UserError, match="no image"):
        pixelmap.build(tmp_path / "a.npy", LAYOUT, fail)
    assert not list(tmp_path.iterdir())


# Two processes.

BUILDER = """
import sys, time
from pathlib import Path
from typing import get_args
import numpy as np
from bench.data import pixelmap

def drawn(rows):
    time.sleep(float(sys.argv[2]) if rows.start else 0)
    return np.stack([np.full((8, 8, 3), row, np.uint8) for row in rows])

pixelmap.cores = lambda: 1
pixelmap.build(Path(sys.argv[1]), pixelmap.Layout(int(sys.argv[3]), 8), drawn)
"""


@contextmanager
def builder(path: Path, pause: float) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has finished at least one block and sleeps so long before each other one."""
    words = [sys.executable, "-c", BUILDER, str(path), str(pause), str(LAYOUT.count)]
    with subprocess.Popen(words) as process:
        try:
            while not pixelmap.finished(path, LAYOUT):
                assert process.poll() is None
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def test_of_two_builders_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    path, make, said = tmp_path / "a.npy", Maker(), list[str]()
    seen: list[int] = []
    with builder(path, 0.25) as process:
        pixelmap.build(
            path, LAYOUT, make, progress=lambda done, _: seen.append(done), say=said.append
        )
        assert process.wait(10) == 0
    assert make.rows == []
    assert said == ["another process is building a.npy; waiting for it"]
    assert 0 < seen[0] < LAYOUT.count
    assert np.array_equal(pixelmap.read(path, LAYOUT), drawn(range(LAYOUT.count)))


def test_the_one_that_waits_takes_over_from_a_builder_that_is_killed(tmp_path: Path) -> None:
    path, make = tmp_path / "a.npy", Maker()
    with builder(path, 60) as process:
        pixelmap.build(path, LAYOUT, make, progress=lambda *_: process.kill())
    assert make.rows
    assert min(make.rows) == BLOCK  # the first block was finished and is not made again
    assert len(make.rows) == len(set(make.rows)) == LAYOUT.count - BLOCK
    assert np.array_equal(pixelmap.read(path, LAYOUT), drawn(range(LAYOUT.count)))


def test_a_build_goes_on_after_a_kill_and_trusts_no_half_written_block(tmp_path: Path) -> None:
    path, make, begun = tmp_path / "a.npy", Maker(), list[int]()
    with builder(path, 0.1) as process:
        while pixelmap.finished(path, LAYOUT) < 3 * BLOCK:
            time.sleep(0.005)
        process.kill()
    assert not path.exists()
    there = pixelmap.finished(path, LAYOUT)
    flip(pixelmap.partial(path), LAYOUT.start(1) + 7)
    pixelmap.build(path, LAYOUT, make, begin=begun.append)
    assert begun == [there]
    assert set(range(BLOCK, 2 * BLOCK)) <= set(make.rows)
    assert len(make.rows) == LAYOUT.count - there + BLOCK
    assert np.array_equal(pixelmap.read(path, LAYOUT), drawn(range(LAYOUT.count)))


# The command.


def run(*words: str) -> str:
    done = CliRunner().invoke(cli.app, ["data", "cache", *words], env={"COLUMNS": "100"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_the_command_builds_lists_checks_and_clears_only_what_is_ours(
    dataset: data.Dataset, tiny: Path
) -> None:
    folder, card = cache.cache_folder(), str(tiny / "tiny.toml")
    assert "nothing is cached" in run()
    root = ("--data-root", str(tiny))
    assert "16 images of tiny at 32 px" in run(card, "--size", "32", *root)
    run(card, "--size", "24", *root)
    foreign = {"notes.txt": b"mine", "tiny-32-0123456789abcdef.npy": b"not a map", "a.npy": b"x"}
    for name, content in foreign.items():
        (folder / name).write_bytes(content)
    table = run()
    assert len(re.findall(r"tiny .* 16 .* whole ", table)) == 2
    flip(cache.place(dataset, 24), 3000)
    assert "whole, checksums fit" in run(card, "--show", "--size", "32")
    assert "damaged" in run(card, "--show", "--size", "24")
    assert "freed" in run(card, "--clear", "--size", "24")
    assert [entry.size for entry in cached.found()] == [32]
    assert "the cache of other is empty" in run("other", "--clear")
    assert len(cached.found()) == 1
    assert "freed" in run("--clear")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == foreign


def test_a_map_under_work_is_shown_as_such_and_not_removed(dataset: data.Dataset) -> None:
    path = cache.cache_folder() / "tiny-8-0123456789abcdef.npy"
    path.parent.mkdir(parents=True)
    begun, go = threading.Event(), threading.Event()

    def slow(rows: range) -> Pixels:
        begun.set()
        assert go.wait(20)
        return drawn(rows)

    thread = threading.Thread(target=pixelmap.build, args=(path, LAYOUT, slow))
    thread.start()
    try:
        assert begun.wait(20)
        assert "being built: 0 images" in run()
        assert "kept" in run("--clear")
    finally:
        go.set()
        thread.join()
    assert np.array_equal(pixelmap.read(path, LAYOUT), drawn(range(LAYOUT.count)))


def test_wrong_words_are_one_sentence(tiny: Path) -> None:
    for words, message in (
        (("tiny", "--size", "32", "--backbone", "starter"), "not both"),
        (("--show", "--clear"), "not both"),
        (("--size", "32"), "say which data set"),
    ):
        with pytest.raises(UserError, match=message):
            run(*words)
