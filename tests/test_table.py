"""Tables of captions as they circulate: CSV, JSON, JSON Lines; lists and numbered columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import UserError
from bench.data import annotations, table
from methods.base import Sample

TWO = ("a cat 's pond", 'a "blue" pond , big')


def read(folder: Path, content: str, name: str = "d.csv") -> annotations.Reading:
    """What an annotation of this content is read as."""
    (folder / name).write_text(content, encoding="utf-8", newline="")
    return annotations.read("auto", folder, name)


def captions(folder: Path, content: str, name: str = "d.csv") -> dict[str, tuple[str, ...]]:
    """The captions by file name."""
    return {sample.filename: sample.captions for sample in read(folder, content, name).samples}


def quoted(text: str) -> str:
    """A cell of a CSV."""
    return '"' + text.replace('"', '""') + '"'


# Lists in a cell.


@pytest.mark.parametrize(
    "cell",
    [
        repr(list(TWO)),
        json.dumps(list(TWO)),
        str(np.array(TWO, dtype=object)),
        str(np.array(TWO)),
        f"array({list(TWO)!r}, dtype=object)",
        "[ " + " , ".join(map(repr, TWO)) + ", ]",
        "\n".join(("[" + repr(TWO[0]), " " + repr(TWO[1]) + "]")),
    ],
    ids=["python", "json", "numpy objects", "numpy texts", "array()", "spaces", "two lines"],
)
@pytest.mark.parametrize("name", ["captions", "sentence", "raw"])
def test_a_list_in_a_cell_is_its_captions(tmp_path: Path, cell: str, name: str) -> None:
    reading = read(tmp_path, f"filename,{name},split\na.tif,{quoted(cell)},test\n")
    assert reading.samples == [Sample("a.tif", TWO, "test")]
    assert f"{name}: 1 cells hold a list, whose captions were read" in reading.notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['a' 'b']", ["a", "b"]),  # Python itself would read this as ['ab']
        ("['a', None, nan]", ["a", None, None]),
        (r"['it\'s', 'a\nb']", ["it's", "a\nb"]),
        ('["caf\\u00e9"]', ["café"]),
        ("[a pond, a port]", None),
        ("['There's a pond', 'a port']", None),
        ("[0, 1]", None),
        ("[]", []),
        ("a [blue] pond", None),
        ("['a'] and ['b']", None),
        ("['a", None),
    ],
)
def test_lists_written_as_text(text: str, expected: Any) -> None:
    assert table.list_in(text) == expected


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    said = "a list and were read as one text each"
    cell = quoted("['There's a pond', 'b']")
    reading = read(tmp_path, f"filename,caption,split\na.tif,{cell},test\n")
    assert reading.samples[0].captions == ("['There's a pond', 'b']",)
    assert f"1 captions look like {said}" in reading.notes[-1]
    image = {"filename": "a.tif", "split": "test", "sentences": [{"raw": "['a', 'b']"}]}
    reading = read(tmp_path, json.dumps({"images": [image]}), "d.json")
    assert f"1 captions look like {said}" in reading.notes[-1]


# As they circulate.


def test_captions_exported_with_pandas_from_karpathys_form(tmp_path: Path) -> None:
    head = ",filename,img_id,split,label,sent_id,sentence\n"
    row = '0,stadium_4272.tif,4225,train,stadium,"[0, 1]","[\'There is a lawn\', ""It \'s one""]"\n'
    reading = read(tmp_path, head + row)
    expected = Sample("stadium_4272.tif", ("There is a lawn", "It 's one"), "train", "stadium")
    assert reading.samples == [expected]


def test_an_export_with_the_images_inside_and_a_file_per_split(tmp_path: Path) -> None:
    image = quoted("{'bytes': b'" + "\\xff a b c " * 20_000 + "', 'path': 'airport_1.jpg'}")
    for word in ("train", "valid", "test"):
        text = f"filename,captions,image\nrsicd_images/{word}_1.jpg,\"['a plane' 'b']\",{image}\n"
        (tmp_path / f"{word}.csv").write_text(text)
    reading = annotations.read("auto", tmp_path)
    assert [(s.filename, s.split) for s in reading.samples] == [
        ("rsicd_images/train_1.jpg", "train"),
        ("rsicd_images/valid_1.jpg", "val"),
        ("rsicd_images/test_1.jpg", "test"),
    ]
    assert {s.captions for s in reading.samples} == {("a plane", "b")}
    assert "valid.csv: captions: 1 cells hold a list, whose captions were read" in reading.notes
    (tmp_path / "val.csv").write_text("filename,captions\n")
    with pytest.raises(UserError, match="could both be the annotation of val"):
        annotations.read("auto", tmp_path)


@pytest.mark.parametrize(
    "head",
    [
        "raw,raw_1,raw_2",
        "sent1,sent2,sent3",
        "caption_0,caption_1,caption_2",
        "caption,caption,caption",
    ],
)
def test_numbered_columns_are_all_read(tmp_path: Path, head: str) -> None:
    found = captions(tmp_path, f"filename,split,{head}\na.tif,test,one,two,three\nb.tif,val,x,,\n")
    assert found == {"a.tif": ("one", "two", "three"), "b.tif": ("x",)}


def test_numbered_columns_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    head = ",".join(f"raw_{k}" for k in (10, 2, 1))
    assert captions(tmp_path, f"filename,split,{head},raw\na.tif,test,d,c,b,a\n") == {
        "a.tif": ("a", "b", "c", "d")
    }


def test_a_column_that_repeats_a_numbered_one_is_not_read_twice(tmp_path: Path) -> None:
    text = "image,split,caption,caption_1,caption_2\na.tif,test,two,one,two\n"
    reading = read(tmp_path, text)
    assert reading.samples[0].captions == ("one", "two")
    assert any("caption repeats a caption of caption, caption_1" in note for note in reading.notes)


def test_nwpu_with_more_than_five_sentences(tmp_path: Path) -> None:
    keys = ("raw", *(f"raw_{k}" for k in range(1, 12)))
    entry = {"filename": "a.tif", "split": "test", **{key: key for key in keys}}
    assert captions(tmp_path, json.dumps({"pond": [entry]}), "d.json") == {"a.tif": keys}


def test_blanks_after_the_separator_and_a_comment_for_each_row(tmp_path: Path) -> None:
    text = "image_name| comment_number| comment| split\n" + "".join(
        f"a.jpg| {k}| {said} .| test\n" for k, said in enumerate(("a pond", "a port"))
    )
    assert captions(tmp_path, text) == {"a.jpg": ("a pond .", "a port .")}
    text = 'filename, split, caption\na.tif, test, "a pond, a port"\n'
    assert captions(tmp_path, text) == {"a.tif": ("a pond, a port",)}


def test_columns_that_are_not_read_are_told(tmp_path: Path) -> None:
    text = "filename,split,caption,long_caption,scene,id\na.tif,test,a pond,a long pond,pond,7\n"
    note = "columns that were not read: long_caption, id (captions are in caption;"
    assert any(told.startswith(note) for told in read(tmp_path, text).notes)


# Ugly.


def test_excel_with_semicolons_a_mark_and_a_line_that_says_so(tmp_path: Path) -> None:
    text = '\ufeffsep=;\r\n"Filename";"Caption";"Split"\r\n'
    text += '"a.TIF";"a ""big"" pond; a port";"Test"\r\n;;\r\n'
    assert captions(tmp_path, text) == {"a.TIF": ('a "big" pond; a port',)}
    assert captions(tmp_path, text.replace("sep=;\r\n", "")) == {"a.TIF": ('a "big" pond; a port',)}
    assert captions(tmp_path, text.replace("\r\n", "\r")) == {"a.TIF": ('a "big" pond; a port',)}


def test_empty_cells_at_the_end_and_paths_of_windows(tmp_path: Path) -> None:
    text = (
        "filename,split,caption,raw_note,\nC:\\d\\a.tif,test,a pond,,,,\n.\\b\\b.tif,test,a port\n"
    )
    assert captions(tmp_path, text) == {"a.tif": ("a pond",), "b/b.tif": ("a port",)}


@pytest.mark.parametrize("word", ["", " ", "nan", "None", "NULL", "<NA>"])
def test_words_that_exports_write_for_nothing(tmp_path: Path, word: str) -> None:
    text = f"filename,split,caption\na.tif,test,a pond\na.tif,test,{word}\nb.tif,test,{word}\n"
    reading = read(tmp_path, text)
    assert [s.captions for s in reading.samples] == [("a pond",), ("",)]
    assert any(note.startswith("2 captions are not there") for note in reading.notes)


def test_missing_values_of_json(tmp_path: Path) -> None:
    text = '[{"image": 7, "split": "test", "caption": ["a", null, NaN]}, {"image": "b", "split": '
    reading = read(tmp_path, text + '"test", "caption": NaN}]', "d.json")
    assert [(s.filename, s.captions) for s in reading.samples] == [("7", ("a",)), ("b", ("",))]
    assert any(note.startswith("3 captions are not there") for note in reading.notes)


def test_json_lines(tmp_path: Path) -> None:
    text = '{"file_name": "a.tif", "text": "a\u2028b", "split": "test"}\r\n\r\n'
    text += '{"file_name": "b.tif", "text": ["c", "d"], "split": "train"}\n'
    for name in ("metadata.jsonl", "d.json"):
        assert captions(tmp_path, text, name) == {"a.tif": ("a\u2028b",), "b.tif": ("c", "d")}
    for name in ("metadata.jsonl", "d.json"):
        with pytest.raises(UserError, match=r"line 4 of .* is not valid JSON \("):
            read(tmp_path, text + '{"file_name": \n', name)


def test_a_file_in_each_folder(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / split).mkdir()
        row = {"file_name": f"{split}.png", "text": "a pond"}
        (tmp_path / split / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    found = annotations.read("auto", tmp_path, "{split}/metadata.jsonl").samples
    assert [(s.filename, s.split) for s in found] == [
        ("train.png", "train"),
        ("validation.png", "val"),
        ("test.png", "test"),
    ]


@pytest.mark.parametrize(
    ("name", "path", "split"),
    [
        ("d.csv", "images/train/a.tif", "train"),
        ("d.csv", "RSICD/Valid/a.tif", "val"),
        ("captions_test.csv", "a.tif", "test"),
        ("captions_test.csv", "images/train/a.tif", "train"),
        ("d.csv", "train/test/a.tif", None),
        ("train_and_test.csv", "a.tif", None),
        ("latest.csv", "a.tif", None),
    ],
)
def test_where_the_split_is_taken_from(
    tmp_path: Path, name: str, path: str, split: str | None
) -> None:
    text = f"filename,caption\n{path},a pond\n"
    if split is None:
        with pytest.raises(
            UserError, match="line 2: nothing says in which split it is; add a column"
        ):
            read(tmp_path, text, name)
    else:
        assert [s.split for s in read(tmp_path, text, name).samples] == [split]


def test_a_row_that_contradicts_its_file(tmp_path: Path) -> None:
    for split, own in (("train", "train"), ("test", "val")):
        (tmp_path / f"d_{split}.csv").write_text(f"filename,split,caption\n{split}.tif,{own},x\n")
    with pytest.raises(UserError, match="line 2: it is in val, and the file is the one of test"):
        annotations.read("auto", tmp_path, "d_{split}.csv")


def test_two_captions_of_an_image_in_rows_far_apart(tmp_path: Path) -> None:
    text = "filename,split,caption\na.tif,test,x\nb.tif,test,y\na.tif,test,z\na.tif,test,x\n"
    assert captions(tmp_path, text) == {"a.tif": ("x", "z", "x"), "b.tif": ("y",)}
