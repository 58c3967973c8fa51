"""Hostile and broken input: one UserError sentence each, and nothing else touched."""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench import UserError, data
from bench.data import annotations, cache, dataset, files, text

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
        (ENTRY | {"filename": "C:secret.tif"}, "leads out of the image folder"),
        (ENTRY | {"filename": "a\x00.tif"}, "is no file name"),
        (ENTRY | {"filename": ""}, "is no file name"),
        (ENTRY | {"filename": "a" * 300}, "is no file name"),
        (ENTRY | {"filename": True}, "images[0]: the file name is true or false, not text"),
        (ENTRY | {"filename": "\ud800.tif"}, "lone surrogate"),
        (
            ENTRY | {"split": "restval"},
            "images[0]: the split is 'restval'; known: train, val, test",
        ),
        (ENTRY | {"sentences": []}, "has no caption"),
        (ENTRY | {"sentences": {"raw": "a"}}, "images[0]: 'sentences' is an object, not a list"),
        (ENTRY | {"sentences": [{"raw": None}]}, "images[0]: 'raw' is null, not text"),
        (ENTRY | {"sentences": [{"tokens": ["a"]}]}, "images[0]: 'raw' is missing"),
        (ENTRY | {"label": [1]}, "images[0]: the label is a list, not text"),
        ("a.tif", "images[0]: there is a text, not an object"),
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


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.json", "3", "nwpu (JSON with a list of images for each class), but the file is a num"),
        ("d.json", '{"images": 3}', "karpathy (JSON with a list `images`, each with its `sente"),
        ("d.json", "[3]", "rows (a JSON list of captions or images), but entry 0 is a number"),
        ("d.csv", "a,b", "csv (a table with a header), but no column is called filename"),
    ],
)
def test_a_form_that_was_recognised_is_told(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        annotations.read("auto", tmp_path, name)
    assert f"{tmp_path / name} was read as {said}" in str(caught.value)
    assert "another `kind` on the card: karpathy, coco, " in str(caught.value)


@pytest.mark.parametrize("name", ["**.json", "a**", "{split}**.csv", "**"])
def test_a_pattern_with_two_stars_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="two stars in a row; one star stands for the pieces"):
        annotations.read("auto", tmp_path, name)


def test_a_huge_annotation_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "d.json").open("wb") as file:
        file.truncate(text.LIMIT_BYTES + 1)  # a file with a hole: no disk is used
    with pytest.raises(UserError, match="256 MiB is the limit"):
        annotations.read("karpathy", tmp_path, "d.json")


def test_a_precomp_annotation_without_its_list_of_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "train_caps.txt").write_text("a pond\n")
    with pytest.raises(UserError, match=r"train_filename\.txt is missing, or is not a file"):
        annotations.read("precomp", tmp_path)


@pytest.mark.parametrize("target", ["d.json", "nowhere.json", None])
def test_an_annotation_that_links_to_nowhere_or_is_a_folder(
    tmp_path: Path, target: str | None
) -> None:
    if target is None:
        (tmp_path / "d.json").mkdir()
    else:
        (tmp_path / "d.json").symlink_to(target)
    with pytest.raises(UserError, match="is not a file"):
        annotations.read("karpathy", tmp_path, "d.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,words\na.tif,b\n", "no column is called filename (or one of filepath, image, "),
        ("image,words\na.tif,b\n", "no column is called caption (or one of captions, "),
        (
            "filename,title\ntest/a.tif\n",
            "line 2 has 1 cell, and 2 are expected: as far as the column 'title'",
        ),
        ("filename,title\ntest/a.tif,x,y\n", "a text that holds the separator ',' in quotation"),
        ('filename,title\ntest/a.tif,"' + "x" * 140_000, "unexpected end of data; a text"),
        ('filename,title\ntest/a.tif,"open\ntest/b.tif,shut"\ntest/c.tif,"x"y\n', "line 4: "),
        (
            "filename,split,title\na.tif,test\n",
            "line 2 has 2 cells, and 3 are expected: as far as the column 'title'",
        ),
        ("filename,title,split\na,x,train\n\n,,\na,z,test\n", "5: 'a' is in train and in test"),
        ("", "no column is called filename"),
    ],
)
def test_csv_that_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        annotations.read("csv", tmp_path, "d.csv")
    assert said in str(caught.value)


# Cards and folders.


SOUND = 'images = "i"\nval_share = 0.2\nscale = [0, 9.5]\n[counts]\ntrain = 8\nval = 0\ntest = 1\n'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (SOUND, "", "'counts' is missing"),
        ('"i"', '""', "'images' is '' and should be the folder of the images"),
        ('"i"', "3", "'images' is 3 and should be a valid string"),
        ('"i"', '"../../i"', "'images' is '../../i' and should be a path inside the data set's"),
        ('"i"', '"i"\nannotation = "/a.json"', "'annotation' is '/a.json' and should be a path"),
        ('"i"', '"i"\nfolder = "\\u0000"', "'folder' is '\\x00' and should hold no NUL"),
        ('"i"', '"i"\nannotation = "a\\u0000"', "'annotation' is 'a\\x00' and should hold no NUL"),
        (
            '"i"',
            '"i"\nscenes = {folder = "/etc"}',
            "'scenes.folder' is '/etc' and should be a path",
        ),
        ("[counts]", "[scenes]", "there is no key 'scenes.train'"),
        ("train = 8", 'train = "8"', "'counts.train' is '8' and should be a valid integer"),
        ("val = 0", "val = -1", "'counts.val' is -1 and should be greater than or equal to 0"),
        ("test = 1", "test = 0", "'counts.test' is 0 and should be greater than 0"),
        ("val = 0", "dev = 5", "there is no key 'counts.dev'"),
        ("0.2", "1.0", "'val_share' is 1.0 and should be less than 1"),
        ("[0, 9.5]", "[5, 5]", "'scale' is [5, 5] and should be two numbers, the lower one first"),
        ("[0, 9.5]", "[5, inf]", "'scale.1' is inf and should be a finite number"),
        ("[0, 9.5]", "[0, 5, 9]", "'scale' is [0, 5, 9] and should have at most 2 items"),
        ('"i"', '"i"\nscenes = 3', "'scenes' is 3 and should be"),
        ('"i"', '"i"\nscenes = {words = 3}', "'scenes.words' is 3 and should be"),
        ("val_share", "valshare", "there is no key 'valshare' (did you mean 'val_share'?)"),
        (
            '"i"',
            '"i"\nscenes = {rul = 3}',
            "there is no key 'scenes.rul' (did you mean 'rule'?)",
        ),
        ('"i"', '"i"\nscenes = {rule = "block"}', "and should be 'none', 'generator', 'filename'"),
        (
            '"i"',
            '"i"\nscenes = {rule = "blocks", names = ["a"]}',
            "'scenes.rule' is 'blocks' and should have `names` and `size` beside it",
        ),
        ('"i"', '"i"\nscenes = {rule = "files"}', "is 'files' and should have `folder` beside it"),
        ('"i"', '"i"\nannotation_sha256 = ""', "'annotation_sha256' is '' and should be 16 hex"),
        ('"i"', '"i"\nscenes = {names = [1], size = 5}', "'scenes.names.0' is 1 and should be"),
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
    for key in ("val_share' is ", "scale' is ", "counts.test' is missing", "no key 'titel"):
        assert key in str(caught.value)
    assert str(caught.value).endswith("; datasets/README.md lists the keys")


# Fuzz: 1,800 cases in all; nothing but UserError may come out of a reader.

fuzz = settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
KNOWN = "images filename split sentences raw raw_1 label label_name image caption title train val"
WORDS = st.one_of(
    st.sampled_from([*KNOWN.split(), "test", "a.tif", "test/a.tif", "../a.tif"]),
    st.text(max_size=8),
    st.text(st.characters(codec=None), max_size=4),
)
LEAVES = st.one_of(WORDS, st.none(), st.booleans(), st.integers(), st.floats())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=5)),
    max_leaves=12,
)


def tables(required: dict[str, Any], **optional: Any) -> Any:
    """Up to three objects with these keys."""
    return st.lists(st.fixed_dictionaries(required, optional=optional), max_size=3)


SENTENCES = tables({"raw": LEAVES})
SPLIT = st.sampled_from(["train", "val", "test", 3, None])
ALMOST_KARPATHY = st.fixed_dictionaries(
    {"images": tables({}, filename=LEAVES, split=SPLIT, sentences=SENTENCES, label=LEAVES)}
)
NAME = st.one_of(st.just("test/a.tif"), LEAVES)
ALMOST_ROWS = tables({"image": NAME, "caption": TREES}, label_name=LEAVES, split=LEAVES)
ALMOST_COCO = st.fixed_dictionaries(
    {
        "images": tables({"id": LEAVES, "file_name": LEAVES}, split=LEAVES),
        "annotations": tables({"image_id": LEAVES, "caption": LEAVES}),
    }
)
ALMOST_NWPU = st.dictionaries(
    WORDS, tables({"filename": WORDS, "split": WORDS, "raw": LEAVES}), max_size=3
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
