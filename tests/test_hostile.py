"""Hostile and broken input: one UserError sentence each, and nothing else touched."""

import json
import os
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench import UserError, data
from bench.data import annotations, cache, dataset, files, imagefile, text

ENTRY = {"filename": "a.tif", "split": "test", "sentences": [{"raw": "a pond ."}]}


def karpathy(tmp_path: Path, *entries: Any) -> Any:
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"images": entries}))
    return annotations.read("karpathy", tmp_path, "d.json")


# Annotations.


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (ENTRY | {"filename": "../../secret.tif"}, "leads out of the image folder"),
        (ENTRY | {"filename": "..\\secret.tif"}, "leads out of the image folder"),
        (ENTRY | {"filename": "/secret.tif"}, "leads out of the image folder"),
        (ENTRY | {"filename": "C:/secret.tif"}, "leads out of the image folder"),
        (ENTRY | {"filename": "a\x00.tif"}, "is no file name"),
        (ENTRY | {"filename": ""}, "is no file name"),
        (ENTRY | {"filename": "a" * 300}, "is no file name"),
        (ENTRY | {"filename": True}, "the file name in images[0] is a bool, not text"),
        (ENTRY | {"filename": "\ud800.tif"}, "lone surrogate"),
        (ENTRY | {"split": "restval"}, "is in the split 'restval'; known: train, val, test"),
        (ENTRY | {"sentences": []}, "has no caption"),
        (ENTRY | {"sentences": {"raw": "a"}}, "images[0].sentences is an object, not a list"),
        (ENTRY | {"sentences": [{"raw": None}]}, "images[0].sentences[0].raw is null, not text"),
        (ENTRY | {"sentences": [{"tokens": ["a"]}]}, "'raw' is missing in images[0].sentences[0]"),
        (ENTRY | {"label": [1]}, "label of images[0] is a list, not text"),
        ("a.tif", "images[0] is a str, not an object"),
    ],
)
def test_an_entry_is_refused_and_named(tmp_path: Path, entry: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        karpathy(tmp_path, entry)
    assert said in str(caught.value)
    assert "d.json" in str(caught.value)


def test_an_image_named_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the image 'a\.tif' is named twice"):
        karpathy(tmp_path, ENTRY, ENTRY | {"split": "train"})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5_000, b'{"images": 3}', b"null", b"3"],
)
def test_bytes_that_are_no_annotation(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(UserError):
        annotations.read("auto", tmp_path, "d.json")


def test_a_huge_annotation_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "d.json").open("wb") as file:
        file.truncate(text.LIMIT_BYTES + 1)  # a file with a hole: no disk is used
    with pytest.raises(UserError, match="256 MiB is the limit"):
        annotations.read("karpathy", tmp_path, "d.json")


@pytest.mark.parametrize("target", ["d.json", "nowhere.json"])
def test_an_annotation_that_links_to_itself_or_nowhere(tmp_path: Path, target: str) -> None:
    (tmp_path / "d.json").symlink_to(target)
    with pytest.raises(UserError, match="a link that leads nowhere"):
        annotations.read("karpathy", tmp_path, "d.json")


def test_an_annotation_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d.json").mkdir()
    with pytest.raises(UserError, match="is not a file"):
        annotations.read("karpathy", tmp_path, "d.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,words\na.tif,b\n", "no column is called filename (or one of filepath, image, "),
        ("image,words\na.tif,b\n", "no column is called caption (or one of captions, "),
        ("filename,title\ntest/a.tif\n", "line 2 has 1 cells, the first line 2"),
        (
            "filename,title\na.tif,x\n",
            "nothing says in which split line 2 is; add a column `split`",
        ),
        ("filename,title\ntest/a.tif,x,y\n", "put a text that holds the separator in quotation"),
        ('filename,title\ntest/a.tif,"' + "x" * 140_000, "unexpected end of data; a text"),
        ('filename,title\ntest/a.tif,"open\ntest/b.tif,shut"\ntest/c.tif,"x"y\n', "line 4: "),
        ("filename,split,title\na.tif,test\n", "line 2 has 2 cells, the first line 3"),
        ("", "no column is called filename"),
    ],
)
def test_csv_that_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        annotations.read("csv", tmp_path, "d.csv")
    assert said in str(caught.value)


def test_text_of_no_known_encoding(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"filename,title\ntest/a.tif,\xff\xff\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        annotations.read("csv", tmp_path, "d.csv")


# Cards and folders.


SOUND = 'images = "i"\nval_share = 0.2\nscale = [0, 9.5]\n[counts]\ntrain = 8\nval = 0\ntest = 1\n'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            SOUND,
            "",
            "needs 'images' to be a folder inside the data set's folder, needs 'counts' to",
        ),
        ('"i"', "3", "needs 'images' to be a folder"),
        ('"i"', '"../../i"', "needs 'images' to be a folder inside the data set's folder"),
        (
            '"i"',
            '"i"\nannotation = "/a.json"',
            "needs 'annotation' to be a file inside the data set's folder",
        ),
        ("[counts]", "[scenes]", "has the unknown key 'train' in [scenes]"),
        ("train = 8", 'train = "8"', "needs 'counts' to be a table with the images"),
        ("train = 8", "train = 1.5", "needs 'counts' to be a table with the images"),
        ("val = 0", "val = -1", "needs 'counts' to be a table with the images"),
        ("test = 1", "test = 0", "needs 'counts' to be a table with the images"),
        ("val = 0", "dev = 5", "needs 'counts' to be a table with the images"),
        ("0.2", "3", "needs 'val_share' to be a number between 0 and 1"),
        ("0.2", "0.0", "needs 'val_share' to be a number between 0 and 1"),
        ("0.2", "1.0", "needs 'val_share' to be a number between 0 and 1"),
        ("[0, 9.5]", "[5, 5]", "needs 'scale' to be two numbers, low and high"),
        ("[0, 9.5]", "[5, inf]", "needs 'scale' to be two numbers, low and high"),
        ("[0, 9.5]", "[0, 5, 9]", "needs 'scale' to be two numbers, low and high"),
        ('"i"', '"i"\nscenes = 3', "needs 'scenes' to be a table"),
        ('"i"', '"i"\ntest = 3', "needs 'test' to be a table"),
        ('"i"', '"i"\nscenes = {words = 3}', "needs 'scenes.words' to be a table"),
        ("val_share", "valshare", "unknown key 'valshare' (did you mean 'val_share'?); "),
        ('"i"', '"i"\nscene = {}', "unknown key 'scene' (did you mean 'scenes'?); "),
        ('"i"', '"i"\nscenes = {rul = 3}', "unknown key 'rul' (did you mean 'rule'?) in [scenes]"),
        (
            '"i"',
            '"i"\ntest = {sha256 = 3}',
            "unknown key 'sha256' (did you mean 'filenames_sha256'?) in [test]",
        ),
        (
            '"i"',
            '"i"\nscenes = {rule = "block"}',
            "needs 'scenes.rule' to be one of none, generator, ",
        ),
        (
            '"i"',
            '"i"\nscenes = {rule = "blocks", names = ["a"]}',
            "blocks (with `names` and `size`)",
        ),
        ('"i"', '"i"\nscenes = {names = ["a"], size = 0}', "'scenes.size' to be a whole number"),
        ('"i"', '"i"\nscenes = {names = [1], size = 5}', "'scenes.names' to be a list of texts"),
        ('"i"', "", "is not valid TOML"),
    ],
)
def test_a_card_that_cannot_be_used(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "d.toml"
    path.write_text(SOUND)
    assert data.card(str(path)).counts["train"] == 8
    path.write_text(SOUND.replace(old, new))
    with pytest.raises(UserError, match="the card") as caught:
        data.card(str(path))
    assert said in str(caught.value)


def test_every_fault_of_a_card_is_told_at_once(tmp_path: Path) -> None:
    text = SOUND.replace("0.2", "3").replace("[0, 9.5]", "9\ntitel = 3").replace("test = 1", "")
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        data.card(str(tmp_path / "d.toml"))
    said = str(caught.value)
    for key in ("val_share", "scale", "counts"):
        assert f"needs '{key}' to be" in said
    assert "has the unknown key 'titel' (did you mean 'title'?)" in said
    assert said.endswith("; datasets/README.md lists the keys")


def test_a_loop_of_links_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"x")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to("self.png")
    assert [path.name for path in files.scan(tmp_path)] == ["x.png"]


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def refuse(path: Any) -> Any:  # as for a user who is not root
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"closed cannot be read \(Permission denied\)"):
        files.scan(tmp_path)


def test_two_entries_for_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="are both"):
        files.match("d", tmp_path, ["a.tif", "a.png"])


def test_a_file_beside_an_image_is_not_taken_for_it(tmp_path: Path) -> None:
    for name in ("a.tfw", "a.tif.aux.xml", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    found = files.match("d", tmp_path, ["a.tif", "b.tif"])
    assert found.missing == ["a.tif"]


# Images.


def refused(path: Path) -> str:
    before = sorted(path.parent.iterdir())
    with pytest.raises(UserError) as caught:
        cache.decode(path, 32)
    assert sorted(path.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_text_and_truncated_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp"):
        path = tmp_path / f"a.{suffix}"
        path.write_text("no image")
        assert "cannot be read" in refused(path)
        picture.save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert "cannot be read" in refused(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_gigantic_image_is_refused_by_its_header(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":  # a header alone: signature, IHDR
        import struct
        import zlib

        header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + empty)
    else:
        tifffile = pytest.importorskip("tifffile")
        tifffile.memmap(path, shape=(40_000, 40_000), dtype="uint8").flush()  # with a hole
    said = refused(path)
    assert "40000 x 40000" in said or "more than 178,956,970 pixels" in said
    assert "cut it into tiles" in said


def test_a_strip_is_refused(tmp_path: Path) -> None:
    Image.new("L", (5_000, 2)).save(tmp_path / "a.png")
    assert "20 times as long as wide" in refused(tmp_path / "a.png")


GREY = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Image.new("P", (8, 8), 3), None),
        (lambda: Image.new("1", (8, 8), 1), (255, 255, 255)),
        (lambda: Image.new("L", (8, 8), 9), (9, 9, 9)),
        (lambda: Image.new("LA", (8, 8), (9, 0)), (9, 9, 9)),
        (lambda: Image.new("RGBA", (8, 8), (1, 2, 3, 0)), (1, 2, 3)),
        (lambda: Image.new("CMYK", (8, 8), (0, 0, 0, 0)), (255, 255, 255)),
    ],
    ids=["palette", "bilevel", "grey", "grey with alpha", "RGBA", "CMYK"],
)
def test_every_kind_of_pixel_becomes_rgb(
    tmp_path: Path, make: Callable[[], Image.Image], expected: tuple[int, ...] | None
) -> None:
    path = tmp_path / "a.tif"
    make().save(path)
    pixels = cache.decode(path, 8)
    assert pixels.shape == (8, 8, 3)
    if expected:
        assert (pixels == expected).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_wide_bands_in_any_order(tmp_path: Path, order: Any, bands: int, planar: Any) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.stack([GREY // (band + 1) for band in range(bands)], axis=-1)
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    words = {"photometric": "rgb", "planarconfig": planar} if bands > 1 else {}
    stored = stored if bands > 1 else GREY
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=order, **words)
    high = np.asarray(imagefile.read(tmp_path / "a.tif"))
    scaled = np.asarray(imagefile.read(tmp_path / "a.tif", (0, 10_240)))
    for band in range(3):
        own = values[..., band % bands]
        assert np.array_equal(high[..., band], own >> 8)
        assert np.abs(scaled[..., band] - (own / 10_240).clip(0, 1) * 255).max() <= 0.5


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_of_many_bands_the_first_three_are_read(tmp_path: Path, planar: str, kind: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(13, dtype=kind) * (10 if kind == "uint8" else 2560)
    bands = np.tile(values, (9, 8, 1))
    stored = bands if planar == "contig" else bands.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
    assert (cache.decode(tmp_path / "a.tif", 8) == (0, 10, 20)).all()
    assert imagefile.size(tmp_path / "a.tif") == (8, 9)


def test_a_compression_that_needs_another_package_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 8, 13), "uint16"), planarconfig="contig")

    def lacking(path: Path) -> None:  # the words of tifffile 2026
        raise ValueError("<COMPRESSION.ZSTD: 50000> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile, "TiffFile", lacking)
    with pytest.raises(UserError, match=r"needs imagecodecs; `pip install 'cmer-bench\[geo\]'`"):
        cache.decode(tmp_path / "a.tif", 8, (0, 1))


RAMP = np.tile(np.arange(16, dtype=np.uint16) * 4096, (16, 1))


@pytest.mark.parametrize("bands", [1, 4])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("float32", {"compression": "deflate"}),
        ("float32", {"compression": "zstd", "predictor": 3}),
        ("uint16", {"compression": "lzw", "tile": (16, 16)}),
        ("uint16", {"compression": "deflate"}),
    ],
)
def test_compressed_geotiff(tmp_path: Path, kind: str, options: dict[str, Any], bands: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    values = np.stack([RAMP // (band + 1) for band in range(bands)]).astype(kind)
    words = {"photometric": "minisblack", "planarconfig": "separate"} if bands > 1 else {}
    tifffile.imwrite(tmp_path / "a.tif", values if bands > 1 else values[0], **words, **options)
    pixels = cache.decode(tmp_path / "a.tif", 16, (0, 65_280))
    for band in range(3):
        expected = (RAMP // (band + 1 if bands > 1 else 1) / 65_280 * 255 + 0.5).astype(np.uint8)
        assert np.abs(pixels[..., band].astype(int) - expected).max() <= 1


def test_pixels_without_data_are_black(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = RAMP.astype(np.float32)
    values[0, 0], values[1, 1] = 99_999, np.nan
    note = (42113, "s", 0, "99999", True)
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[note])
    pixels = cache.decode(tmp_path / "a.tif", 16, (0, 65_280))
    assert pixels[0, 0].tolist() == pixels[1, 1].tolist() == [0, 0, 0]
    assert (pixels[:, 15] == round(61_440 / 256)).all()


# Fuzz: 2,400 cases in all; nothing but UserError may come out of a reader.

fuzz = settings(
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = st.one_of(
    st.sampled_from(
        [
            "images",
            "filename",
            "split",
            "sentences",
            "raw",
            "raw_1",
            "label",
            "label_name",
            "image",
            "caption",
            "title",
            "train",
            "val",
            "test",
            "a.tif",
            "test/a.tif",
            "../a.tif",
        ]
    ),
    st.text(max_size=8),
    st.text(st.characters(codec=None), max_size=4),
)
LEAVES = st.one_of(WORDS, st.none(), st.booleans(), st.integers(), st.floats())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=5)),
    max_leaves=12,
)
ALMOST_KARPATHY = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "filename": LEAVES,
                    "split": st.sampled_from(["train", "val", "test", 3, None]),
                    "sentences": st.lists(st.fixed_dictionaries({"raw": LEAVES}), max_size=2),
                    "label": LEAVES,
                },
            ),
            max_size=3,
        )
    }
)
ALMOST_ROWS = st.lists(
    st.fixed_dictionaries(
        {"image": st.one_of(st.just("test/a.tif"), LEAVES), "caption": TREES},
        optional={"label_name": LEAVES, "split": LEAVES},
    ),
    max_size=4,
)
ALMOST_COCO = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries({"id": LEAVES, "file_name": LEAVES}, optional={"split": LEAVES}),
            max_size=3,
        ),
        "annotations": st.lists(
            st.fixed_dictionaries({"image_id": LEAVES, "caption": LEAVES}), max_size=3
        ),
    }
)
ALMOST_NWPU = st.dictionaries(
    WORDS,
    st.lists(st.fixed_dictionaries({"filename": WORDS, "split": WORDS, "raw": LEAVES}), max_size=3),
    max_size=3,
)
LINES = st.text(st.sampled_from(string.ascii_letters + ',;\t\n\r"/.\x00\u2028é'), max_size=60)


def attempt(kind: str, folder: Path, annotation: str | None) -> None:
    """Read and go through all that follows the reading; only UserError may come out."""
    said = "one sentence"
    try:
        samples = annotations.read(kind, folder, annotation).samples
        data.names_hash(samples)
        dataset._hold_out(samples, 0.5)
        files.match("d", folder / "images", [s.filename for s in samples])
    except (UserError, annotations.Absent) as error:
        said = str(error)
    assert said
    assert "\n" not in said
    assert {p.name for p in folder.iterdir()} <= {"images", "d.json", "d.csv"} | {
        f"{split}_{what}.txt" for split in data.SPLITS for what in ("caps", "filename")
    }


@pytest.mark.parametrize(
    ("kind", "documents"),
    [
        ("auto", TREES),
        ("karpathy", ALMOST_KARPATHY),
        ("rows", ALMOST_ROWS),
        ("nwpu", ALMOST_NWPU),
        ("coco", ALMOST_COCO),
    ],
)
def test_fuzz_json(tmp_path: Path, kind: str, documents: st.SearchStrategy[Any]) -> None:
    (tmp_path / "images").mkdir()

    @fuzz
    @given(documents)
    def cases(document: Any) -> None:
        (tmp_path / "d.json").write_text(json.dumps(document))
        attempt(kind, tmp_path, "d.json")

    cases()


@pytest.mark.parametrize("name", ["d.json", "d.csv"])
def test_fuzz_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    start = st.sampled_from([b"", b"{", b"[", b'{"images": [', b"filename,title\n"])

    @fuzz
    @given(start, st.binary(max_size=60))
    def cases(head: bytes, tail: bytes) -> None:
        (tmp_path / name).write_bytes(head + tail)
        attempt("auto", tmp_path, name)

    cases()


def test_fuzz_csv(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    head = st.sampled_from(["filename,title\n", "filepath\tcaption\n", "image;text;split\n", ""])

    @fuzz
    @given(head, LINES)
    def cases(first: str, rest: str) -> None:
        (tmp_path / "d.csv").write_text(first + rest, newline="")
        attempt("csv", tmp_path, "d.csv")

    cases()


def test_fuzz_precomp(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()

    @fuzz
    @given(st.lists(LINES, max_size=11), st.lists(LINES, max_size=3), st.sampled_from(data.SPLITS))
    def cases(captions: list[str], names: list[str], split: str) -> None:
        (tmp_path / f"{split}_caps.txt").write_text("\n".join(captions), newline="")
        (tmp_path / f"{split}_filename.txt").write_text("\n".join(names), newline="")
        attempt("precomp", tmp_path, None)

    cases()


def test_fuzz_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    whole = {}
    for suffix in ("png", "jpg", "tif", "gif"):
        picture.save(tmp_path / f"a.{suffix}")
        whole[suffix] = (tmp_path / f"a.{suffix}").read_bytes()

    @settings(fuzz, max_examples=400)
    @given(st.sampled_from(sorted(whole)), st.integers(0, 300), st.binary(min_size=1, max_size=4))
    def cases(suffix: str, place: int, wrong: bytes) -> None:
        content = bytearray(whole[suffix])
        content[place : place + len(wrong)] = wrong
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(content)
        said = ""
        try:
            assert cache.decode(path, 8).shape == (8, 8, 3)
        except UserError as error:
            said = str(error)
        assert "\n" not in said

    cases()
