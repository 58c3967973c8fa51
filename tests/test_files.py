"""Which file is meant by an annotated name: spelling, extensions, links, what is no image."""

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from bench import UserError
from bench.data import files, scenes


def put(folder: Path, *names: str) -> None:
    """Empty files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(matches: files.Matches) -> list[str | None]:
    return [None if path is None else path.name for path in matches.paths]


NFC, NFD = (unicodedata.normalize(form, "étang_1.tif") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("annotated", "file"),
    [
        ("Pond_1.tif", "pond_1.tif"),
        ("POND_1.TIF", "pond_1.jpg"),
        (NFC, NFD),
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
    assert found.notes == []


def test_where_it_is_not_sure_it_is_one_sentence(tmp_path: Path) -> None:
    put(tmp_path, "pond_1.tif", "POND_1.tif", "port_1.tif")
    with pytest.raises(UserError, match=r"several images could be 'Pond_1\.tif'"):
        files.match("d", tmp_path, ["Pond_1.tif"])
    with pytest.raises(UserError, match=r"'PORT_1\.tif' and 'Port_1\.tif' are both"):
        files.match("d", tmp_path, ["PORT_1.tif", "Port_1.tif"])


def test_which_extension_stands_for_which(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.png", "d.v2.png", "e.TIF")
    found = files.match("d", tmp_path, ["a.tif", "b.tif", "c", "d.v2", "e.tif"])
    assert names(found) == ["a.jpg", "b.jpg", "c.png", "d.v2.png", "e.TIF"]
    assert found.notes == [
        "2 of 5 image files are .jpg, where the annotation says .tif",
        "2 of 5 image files are .png, where the annotation says no extension",
    ]


def test_a_number_after_a_dot_is_a_part_of_the_name(tmp_path: Path) -> None:
    put(tmp_path, "tile_7.tif", "tile_7.25.tif", "tile_7.5.tif")
    found = files.match("d", tmp_path, ["tile_7.5", "tile_7.25"])
    assert names(found) == ["tile_7.5.tif", "tile_7.25.tif"]
    assert [path.name for path in found.extra] == ["tile_7.tif"]
    assert found.notes == ["2 of 2 image files are .tif, where the annotation says no extension"]


def test_what_systems_leave_behind_is_no_image(tmp_path: Path) -> None:
    put(
        tmp_path,
        *("a.TIF", "._a.tif", ".hidden.png", "Thumbs.db", "desktop.ini", "a.tif.aux.xml", "a.tfw"),
        *("__MACOSX/._a.tif", "__MACOSX/a.tif", "@eaDir/a.tif/SYNOPHOTO_THUMB_M.jpg"),
        *(".Trash/a.tif", "sub/b.png"),
    )
    found = files.match("d", tmp_path, ["a.tif"])
    assert names(found) == ["a.TIF"]
    assert [path.name for path in found.extra] == ["b.png"]


def test_links_are_followed_and_one_to_nowhere_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "store/a.tif", "images/c.tif")
    (tmp_path / "images" / "a.tif").symlink_to(tmp_path / "store" / "a.tif")
    (tmp_path / "images" / "b.tif").symlink_to("nowhere.tif")
    found = files.match("d", tmp_path / "images", ["a.tif", "b.tif"])
    assert names(found) == ["a.tif", None]
    assert found.missing == ["b.tif"]


def test_a_loop_of_links_is_walked_once(tmp_path: Path) -> None:
    put(tmp_path, "a/x.png")
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


def test_images_in_one_folder_per_class_are_found_by_number(tmp_path: Path) -> None:
    put(tmp_path, "harbor/harbor00.tif", "river/river01.tif")
    rule = {"rule": "blocks", "size": 100, "names": ["harbor", "river"]}
    found = files.match(
        "ucm", tmp_path, ["1.tif", "102.tif"], lambda n: scenes.original_stem(rule, n)
    )
    assert [p.name for p in found.paths if p] == ["harbor00.tif", "river01.tif"]
    assert "2 images were found by number in their original class folders" in found.notes


def test_the_folder_of_the_annotation_decides_between_two_files(tmp_path: Path) -> None:
    put(tmp_path, "train/a.tif", "test/a.tif")
    found = files.match("d", tmp_path, ["test/a.tif", "train/a.tif"])
    assert [p.parent.name for p in found.paths if p] == ["test", "train"]
    with pytest.raises(UserError, match=r"several images could be 'a\.tif'"):
        files.match("d", tmp_path, ["a.tif"])


def test_of_a_missing_image_the_nearest_file_is_named(tmp_path: Path) -> None:
    put(tmp_path, "river_10.tif", "zoo.tif")
    assert files.match("d", tmp_path, ["a/river_11.tif"]).first_missing == (
        "'a/river_11.tif' (did you mean 'river_10.tif'?)"
    )
    assert files.match("d", tmp_path, ["1.png"]).first_missing == "'1.png'"
