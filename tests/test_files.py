"""Which file is meant by an annotated name: spelling, extensions, links, what is no image."""

import unicodedata
from pathlib import Path

import pytest

from bench import UserError, data
from bench.data import files


def put(folder: Path, *names: str) -> None:
    """Empty files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(found: files.Found) -> list[str | None]:
    return [None if path is None else path.name for path in found.paths]


@pytest.mark.parametrize(
    ("annotated", "file"),
    [
        ("Pond_1.tif", "pond_1.tif"),
        ("POND_1.TIF", "pond_1.jpg"),
        (
            unicodedata.normalize("NFC", "étang_1.tif"),
            unicodedata.normalize("NFD", "étang_1.tif"),
        ),
        ("pond（１）.tif", "pond(1).tif"),
        ("196", "00196.jpg"),
        ("1.tif", "００１.tif"),
    ],
)
def test_names_that_differ_in_spelling_alone(tmp_path: Path, annotated: str, file: str) -> None:
    put(tmp_path, file, "other.tif")
    found = files.match("d", tmp_path, [annotated])
    assert names(found) == [file]
    assert found.missing == []
    assert [path.name for path in found.extra] == ["other.tif"]
    (note,) = [note for note in found.notes if "spelling" in note]
    assert note.startswith("1 file names differ from the annotation in spelling")
    assert note.endswith(f"the first: {annotated!r} is {file!r}")


def test_an_exact_name_wins_over_one_of_like_spelling(tmp_path: Path) -> None:
    put(tmp_path, "a.tif", "A.tif", "01.tif", "1.tif")
    found = files.match("d", tmp_path, ["A.tif", "a.tif", "1.tif"])
    assert names(found) == ["A.tif", "a.tif", "1.tif"]
    assert found.notes == ()


def test_where_it_is_not_sure_the_near_names_are_told(tmp_path: Path) -> None:
    put(tmp_path, "pond_1.tif", "POND_1.tif", "port_1.tif", "river_10.tif")
    asked = ["Pond_1.tif", "PORT_1.tif", "Port_1.tif", "river_11.tif", "xyz.tif"]
    found = files.match("d", tmp_path, asked)
    assert names(found) == [None] * 5
    assert found.hints == {
        "Pond_1.tif": "it could be 'POND_1.tif' or 'pond_1.tif'; rename one of them",
        "PORT_1.tif": "'port_1.tif' would fit, but another annotated name too",
        "Port_1.tif": "'port_1.tif' would fit, but another annotated name too",
    }
    found = files.match("d", tmp_path, asked[3:])
    assert found.hints == {"river_11.tif": "the nearest file is 'river_10.tif'"}
    assert found.lacking() == "'river_11.tif' (the nearest file is 'river_10.tif')"


def test_the_error_of_a_missing_image_names_the_nearest(tiny: Path) -> None:
    images = tiny / "tiny" / "images"
    (images / "pond_0.png").rename(images / "pond__0.png")
    with pytest.raises(UserError, match=r"'pond_0\.png' \(the nearest file is 'pond__0\.png'\)"):
        data.load(data.card(str(tiny / "tiny.toml")), tiny)


def test_which_extension_stands_for_which(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.png", "d.v2.png", "e.TIF")
    found = files.match("d", tmp_path, ["a.tif", "b.tif", "c", "d.v2", "e.tif"])
    assert names(found) == ["a.jpg", "b.jpg", "c.png", "d.v2.png", "e.TIF"]
    assert found.notes[:2] == (
        "2 of 5 image files are .jpg, where the annotation says .tif",
        "1 of 5 image files are .png, where the annotation says no extension",
    )
    assert not any(".TIF" in note for note in found.notes)


def test_what_systems_leave_behind_is_no_image(tmp_path: Path) -> None:
    put(
        tmp_path,
        *("a.TIF", "._a.tif", ".hidden.png", "Thumbs.db", "desktop.ini", "a.tif.aux.xml"),
        *("__MACOSX/._a.tif", "__MACOSX/a.tif", "@eaDir/a.tif/SYNOPHOTO_THUMB_M.jpg"),
        *(".Trash/a.tif", "sub/b.png"),
    )
    found = files.match("d", tmp_path, ["a.tif"])
    assert names(found) == ["a.TIF"]
    assert [path.name for path in found.extra] == ["b.png"]


def test_links(tmp_path: Path) -> None:
    put(tmp_path, "store/a.tif", "images/c.tif")
    (tmp_path / "images" / "a.tif").symlink_to(tmp_path / "store" / "a.tif")
    (tmp_path / "images" / "b.tif").symlink_to("nowhere.tif")
    found = files.match("d", tmp_path / "images", ["a.tif", "b.tif"])
    assert names(found) == ["a.tif", None]
    assert found.lacking() == "'b.tif' (it is a link that leads nowhere)"
