"""Archives are unpacked inside their folder, whatever they hold, and what cannot be is told."""

import gzip
import io
import os
import resource
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.disk import NoRoom
from bench.fetch import Fault, archive


def there(root: Path) -> list[str]:
    """Every file below the root, hidden files too."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def unpack(path: Path, into: Path) -> list[Path]:
    return archive.extract(path, into, lambda name: True)


def zipped(names: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in names.items():
            file.writestr(name, content)
    return path


def tarred(names: dict[str, bytes | tarfile.TarInfo], path: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in names.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            body = content if isinstance(content, bytes) else b""
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return path


def linked(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def stored_rar(names: dict[str, bytes], path: Path) -> Path:
    """A RAR of version 4 with its files stored as they are, written byte by byte."""

    def block(kind: int, flags: int, fields: bytes, more: int = 0) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    parts = [b"Rar!\x1a\x07\x00", block(0x73, 0, bytes(6))]
    for name, content in names.items():
        said, size = name.encode(), len(content)
        fields = struct.pack(
            "<IIBIIBBHI", size, size, 3, zlib.crc32(content), 0, 29, 0x30, len(said), 0o100644
        )
        parts += [block(0x74, 0x8000, fields + said), content]
    path.write_bytes(b"".join([*parts, block(0x7B, 0, b"")]))
    return path


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "rar"])
def test_what_is_asked_for_is_taken_out(tmp_path: Path, suffix: str) -> None:
    names = {
        "top/a/1.jpg": b"one",
        "top/2.jpg": b"two",
        "3.txt": b"3",
        "__MACOSX/top/._2.jpg": b"x",
    }
    path = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        zipped(names, path)
    elif suffix == "rar":
        pytest.importorskip("unrar.cffi")
        stored_rar(names, path)
    else:
        tarred(dict(names), path, f"w:{suffix[4:]}")
    archive.extract(path, tmp_path / "new", lambda name: name.suffix == ".jpg")
    assert there(tmp_path / "new") == ["top/2.jpg", "top/a/1.jpg"]
    assert (tmp_path / "new/top/a/1.jpg").read_bytes() == b"one"


def test_a_folder_is_an_archive_too(tmp_path: Path) -> None:
    (tmp_path / "have/below").mkdir(parents=True)
    (tmp_path / "have/below/1.jpg").write_bytes(b"one")
    unpack(tmp_path / "have", tmp_path / "new")
    assert there(tmp_path) == ["have/below/1.jpg", "new/below/1.jpg"]


def test_names_as_some_programs_on_windows_write_them(tmp_path: Path) -> None:
    unpack(zipped({"top\\1.jpg": b"one"}, tmp_path / "a.zip"), tmp_path / "new")
    assert there(tmp_path / "new") == ["top/1.jpg"]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


LEAVING = ["../a", "x/../../a", "/a", "C:/a", "..\\a", "a\nb"]
HOSTILE: list[tuple[str, Callable[[Path], Path], str]] = [
    *(
        (f"tar {n!r}", lambda p, n=n: tarred({n: b"x"}, p), "leads out of its folder")
        for n in LEAVING
    ),
    *(
        (f"zip {n!r}", lambda p, n=n: zipped({n: b"x"}, p), "leads out of its folder")
        for n in LEAVING
    ),
    *(
        (f"tar link {target}", lambda p, k=kind, t=target: tarred({"a": linked(k, t)}, p), "a link")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)
        for target in ("../../etc/passwd", "/etc/passwd", "b")
    ),
    ("tar device", lambda p: tarred({"a": linked(tarfile.CHRTYPE, "")}, p), "a link or a device"),
    ("tar twice", lambda p: tarred({"a": b"x", "./a": b"y"}, p), "twice"),
    ("tar file as folder", lambda p: tarred({"a": b"x", "a/b": b"y"}, p), "cannot be unpacked"),
    ("no archive", lambda p: written(p, b"text"), "is no zip, tar or RAR"),
    ("7z", lambda p: written(p, b"7z\xbc\xaf\x27\x1c"), "unpack another kind .* --from FOLDER"),
]


@pytest.mark.parametrize(("make", "said"), [c[1:] for c in HOSTILE], ids=[c[0] for c in HOSTILE])
def test_a_hostile_archive_touches_nothing(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    (tmp_path / "deep").mkdir()
    path = make(tmp_path / "deep" / "archive")
    with pytest.raises(Fault, match=said) as caught:
        unpack(path, tmp_path / "deep" / "new")
    assert "\n" not in str(caught.value)
    assert there(tmp_path) == ["deep/archive"]
    assert not (tmp_path / "deep" / "new").exists()


def test_a_zip_with_a_link_or_a_password(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(Fault, match="a link"):
        unpack(tmp_path / "a.zip", tmp_path / "new")
    content = bytearray(zipped({"a": b"secret"}, tmp_path / "b.zip").read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + at] |= 1  # encrypted, both headers say
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(Fault, match=r"cannot be unpacked \(.*encrypted"):
        unpack(tmp_path / "b.zip", tmp_path / "new")
    assert there(tmp_path) == ["a.zip", "b.zip"]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_truncated_archive_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    names = {f"{k}.jpg": os.urandom(5000) for k in range(20)}
    path = tmp_path / f"a.{suffix}"
    zipped(names, path) if suffix == "zip" else tarred(dict(names), path)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(Fault, match=r"only a part of one|cannot be unpacked"):
        unpack(path, tmp_path / "new")
    assert there(tmp_path) == [path.name]


# Bombs. The limits are lowered, so that nothing large is made.


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SMALL", 10_000)
    monkeypatch.setattr(archive, "RATIO", 2)
    monkeypatch.setattr(archive, "LONGEST_READ", 2**20)


def fresh(path: Path) -> str:
    """Unpack, expecting to be refused as a bomb; the sentence."""
    with pytest.raises(Fault) as caught:
        unpack(path, path.parent / "new")
    assert there(path.parent) == [path.name]
    return str(caught.value)


@pytest.mark.usefixtures("low")
def test_a_bomb_that_says_what_it_is(tmp_path: Path) -> None:
    zeros = bytes(3_000_000)
    (tmp_path / "z").mkdir()
    (tmp_path / "t").mkdir()
    assert "unpacks to more than 10,000 bytes" in fresh(zipped({"a": zeros}, tmp_path / "z/a.zip"))
    assert "meant to fill the disk" in fresh(tarred({"a": zeros}, tmp_path / "t/a.tar.gz"))


@pytest.mark.usefixtures("low")
def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    path = zipped({"a": bytes(3_000_000)}, tmp_path / "a.zip")
    content = path.read_bytes()
    true, lie = struct.pack("<I", 3_000_000), struct.pack("<I", 100)
    assert content.count(true) == 2
    path.write_bytes(content.replace(true, lie))
    assert "cannot be unpacked" in fresh(path)


@pytest.mark.usefixtures("low")
def test_a_tar_whose_headers_are_the_bomb(tmp_path: Path) -> None:
    """A comment of 8 MB before the first file: Python would read it into memory, unasked."""
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * 8_000_000}
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO())
    assert "meant to fill the disk" in fresh(tmp_path / "a.tar.gz")


@pytest.mark.usefixtures("low")
def test_a_gzip_that_never_ends(tmp_path: Path) -> None:
    head = tarfile.TarInfo("a")
    head.size = 9_000
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(head.tobuf() + bytes(9_216))
        for number in range(10_000):  # empty files without end, each a header of 512 bytes
            file.write(tarfile.TarInfo(f"{number}").tobuf())
    assert "meant to fill the disk" in fresh(tmp_path / "a.tar.gz")


@pytest.mark.usefixtures("low")
def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBERS", 20)
    assert "more than 20 files" in fresh(
        tarred({f"{k}": b"" for k in range(30)}, tmp_path / "a.tar")
    )


def test_a_disk_that_fills_up_is_told(tmp_path: Path) -> None:
    """Files may not grow above 1 MB for a moment, which fails as a full disk does."""
    zipped({"a": os.urandom(3_000_000)}, tmp_path / "a.zip")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        with pytest.raises(NoRoom, match=r"cannot be written to \(File too large\); make room"):
            unpack(tmp_path / "a.zip", tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert there(tmp_path) == ["a.zip"]


def test_a_rar_without_the_package_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unrar.cffi", None)
    with pytest.raises(Fault, match=r"a\.rar is a RAR archive: `pip install 'cmer-bench\[rar\]'`"):
        unpack(stored_rar({"a": b"x"}, tmp_path / "a.rar"), tmp_path / "new")
    assert there(tmp_path) == ["a.rar"]


def test_a_rar_cannot_lead_out_either(tmp_path: Path) -> None:
    pytest.importorskip("unrar.cffi")
    (tmp_path / "deep").mkdir()
    with pytest.raises(Fault):
        unpack(stored_rar({"../a": b"x"}, tmp_path / "deep/a.rar"), tmp_path / "deep/new")
    assert there(tmp_path) == ["deep/a.rar"]


@pytest.mark.parametrize("size", [5, 5000])
def test_a_rar_that_lies_about_a_size(tmp_path: Path, size: int) -> None:
    pytest.importorskip("unrar.cffi")
    content = bytearray(stored_rar({"a": bytes(3000)}, tmp_path / "a.rar").read_bytes())
    start = 20  # of the header of the file: checksum, kind, flags, its length, sizes
    length = struct.unpack_from("<H", content, start + 5)[0]
    struct.pack_into("<I", content, start + 11, size)
    struct.pack_into("<H", content, start, zlib.crc32(content[start + 2 : start + length]) & 0xFFFF)
    (tmp_path / "a.rar").write_bytes(content)
    with pytest.raises(Fault, match=r"cannot be unpacked|has another size than it says"):
        unpack(tmp_path / "a.rar", tmp_path / "new")
    assert there(tmp_path) == ["a.rar"]


@pytest.mark.usefixtures("low")
def test_pictures_in_parquet_may_not_fill_the_disk(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"filename": ["a.jpg"], "image": [bytes(3_000_000)]})
    parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(Fault, match="unpacks to more than 10,000 bytes"):
        unpack(tmp_path / "a.parquet", tmp_path / "new")
    assert there(tmp_path) == ["a.parquet"]
