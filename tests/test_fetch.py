"""`bench data fetch` against a server on this machine, and archives that mean harm."""

import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import UserError, data
from bench.commands.data import app
from bench.data import fetch, unpack

CONTENT = bytes(range(256)) * 1200


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults` say what goes wrong with a path, `asked` what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, span = self.path.lstrip("/"), self.headers.get("Range")
        self.server.asked.append((name, span))
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else ""
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        if fault == "no range":
            start, span = 0, None
        if fault == "416" or start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:100_000] if fault == "cut" else body)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    thread = threading.Thread(target=functools.partial(made.serve_forever, 0.01), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def part(urls: list[str], content: bytes = CONTENT, **more: Any) -> dict[str, Any]:
    pinned = hashlib.sha256(content).hexdigest()
    return {"to": "d.bin", "urls": urls, "sha256": pinned, "bytes": len(content), **more}


def card(*parts_: dict[str, Any], **more: Any) -> data.Card:
    raw = {"folder": "d", "annotation": "d.json", "images": "imgs", "fetch": list(parts_), **more}
    return data.Card("d", {"counts": {"train": 1, "test": 1}, **raw})


def there(root: Path) -> list[str]:
    """Everything below the root, hidden files too."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


# Downloading.


def test_a_file_arrives_whole_and_is_not_fetched_twice(tmp_path: Path, server: Server) -> None:
    server.files["a"] = CONTENT
    one, seen = card(part([server.url("a")])), []
    fetch.fetch(one, tmp_path, lambda what, done, of: seen.append((what, done, of)))
    assert (tmp_path / "d/d.bin").read_bytes() == CONTENT
    assert there(tmp_path) == ["d/d.bin"]
    assert seen[-1] == ("d.bin", len(CONTENT), len(CONTENT))
    assert "left as it is" in fetch.fetch(one, tmp_path)[0]
    assert len(server.asked) == 1


def test_of_two_at_once_the_second_waits(tmp_path: Path, server: Server) -> None:
    server.files["a"] = CONTENT
    one, waits, told = card(part([server.url("a")])), threading.Event(), list[str]()

    def later() -> None:
        told.extend(fetch.fetch(one, tmp_path, say=lambda text: waits.set()))

    second = threading.Thread(target=later)

    def move(*_: Any) -> None:
        if not waits.is_set():
            second.start()
            assert waits.wait(10)

    fetch.fetch(one, tmp_path, move)
    second.join(10)
    assert told == [f"{tmp_path / 'd/d.bin'} was put there by another process"]
    assert len(server.asked) == 1
    assert there(tmp_path) == ["d/d.bin"]


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path, server: Server) -> None:
    server.files["a"], server.faults["a"] = CONTENT, ["cut", "cut"]
    fetch.fetch(card(part([server.url("a")])), tmp_path)
    assert (tmp_path / "d/d.bin").read_bytes() == CONTENT
    assert server.asked == [("a", None), ("a", "bytes=100000-"), ("a", "bytes=200000-")]


def test_the_next_call_goes_on_too(tmp_path: Path, server: Server) -> None:
    one = card(part([server.url("a")]))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / fetch.parts(one)[0].unfinished).write_bytes(CONTENT[:1000])
    server.files["a"] = CONTENT
    fetch.fetch(one, tmp_path)
    assert server.asked == [("a", "bytes=1000-")]
    assert there(tmp_path) == ["d/d.bin"]


@pytest.mark.parametrize("fault", ["no range", "416"])
def test_a_server_that_cannot_go_on_starts_again(
    tmp_path: Path, server: Server, fault: str
) -> None:
    server.files["a"], server.faults["a"] = CONTENT, ["cut", fault]
    fetch.fetch(card(part([server.url("a")])), tmp_path)
    assert (tmp_path / "d/d.bin").read_bytes() == CONTENT


def test_a_file_that_stays_short_is_told_and_kept(tmp_path: Path, server: Server) -> None:
    server.files["a"] = CONTENT[:150_000]
    with pytest.raises(UserError, match=r"HTTP 416|after 150,000 of 307,200 bytes"):
        fetch.fetch(card(part([server.url("a")])), tmp_path)
    assert not (tmp_path / "d/d.bin").exists()


def test_a_wrong_file_is_refused_and_leaves_nothing(tmp_path: Path, server: Server) -> None:
    server.files["a"] = CONTENT[::-1]
    with pytest.raises(UserError, match=r"another file \(sha256 .*--from FILE"):
        fetch.fetch(card(part([server.url("a")])), tmp_path)
    assert there(tmp_path) == []


def test_a_stream_without_end_is_stopped(tmp_path: Path, server: Server) -> None:
    server.files["a"] = CONTENT + b"more"
    with pytest.raises(UserError, match="sends more than the 307,200 bytes"):
        fetch.fetch(card(part([server.url("a")])), tmp_path)
    assert not (tmp_path / "d/d.bin").exists()


def test_the_second_mirror_serves_what_the_first_does_not(tmp_path: Path, server: Server) -> None:
    server.files |= {"wrong": CONTENT[::-1], "right": CONTENT}
    urls = [server.url(name) for name in ("absent", "wrong", "right")]
    told = fetch.fetch(card(part(urls)), tmp_path)
    assert told == [f"{tmp_path / 'd/d.bin'} from {urls[2]}"]
    assert (tmp_path / "d/d.bin").read_bytes() == CONTENT


def test_wrong_bytes_of_one_mirror_do_not_spoil_the_next(tmp_path: Path, server: Server) -> None:
    server.files |= {"a": bytes(150_000), "b": CONTENT}  # the first is short and wrong
    fetch.fetch(card(part([server.url("a"), server.url("b")])), tmp_path)
    assert (tmp_path / "d/d.bin").read_bytes() == CONTENT


def test_another_file_in_the_place_is_not_overwritten(tmp_path: Path, server: Server) -> None:
    server.files["a"] = CONTENT
    (tmp_path / "d").mkdir()
    (tmp_path / "d/d.bin").write_text("mine")
    with pytest.raises(UserError, match="is not overwritten; move it away"):
        fetch.fetch(card(part([server.url("a")])), tmp_path)
    assert (tmp_path / "d/d.bin").read_text() == "mine"
    assert not server.asked


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("to", "../d.bin"),
        ("to", "/d.bin"),
        ("urls", []),
        ("urls", ["file" + ":///etc/passwd"]),
        ("sha256", "abc"),
        ("bytes", "many"),
        ("unpack", 1),
    ],
)
def test_addresses_that_cannot_be_used(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"whose '{key}' cannot be used"):
        fetch.parts(card({**part(["https://a/b"]), key: value}))


def test_addresses_do_not_change_what_a_card_is() -> None:
    assert card(part(["https://a/b"])).digest() == card(part(["https://c/d"])).digest()


# Archives.


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


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_are_unpacked_in_place(tmp_path: Path, server: Server, suffix: str) -> None:
    names = {"top/a/1.jpg": b"one", "top/2.jpg": b"two", "__MACOSX/top/._2.jpg": b"x"}
    source = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        zipped(names, source)
    else:
        tarred(dict(names), source, f"w:{suffix[4:]}")
    server.files["a"] = source.read_bytes()
    one = card(part([server.url("a")], source.read_bytes(), to="imgs", unpack=True))
    source.unlink()
    fetch.fetch(one, tmp_path)
    assert there(tmp_path) == ["d/imgs/2.jpg", "d/imgs/a/1.jpg"]
    assert "left as it is" in fetch.fetch(one, tmp_path)[0]


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
    ("no archive", lambda p: (p.write_bytes(b"text"), p)[1], "is no zip, tar or tar.gz"),
]


@pytest.mark.parametrize(("make", "said"), [c[1:] for c in HOSTILE], ids=[c[0] for c in HOSTILE])
def test_a_hostile_archive_touches_nothing(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    (tmp_path / "deep").mkdir()
    archive = make(tmp_path / "deep" / "archive")
    with pytest.raises(UserError, match=said) as caught:
        unpack.unpack(archive, tmp_path / "deep" / "new")
    assert "\n" not in str(caught.value)
    assert there(tmp_path) == ["deep/archive"]
    assert not (tmp_path / "deep" / "new").exists()


def test_a_zip_with_a_link_or_a_password(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="a link"):
        unpack.unpack(tmp_path / "a.zip", tmp_path / "new")
    content = bytearray(zipped({"a": b"secret"}, tmp_path / "b.zip").read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + at] |= 1  # encrypted, both headers say
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be unpacked \(.*encrypted"):
        unpack.unpack(tmp_path / "b.zip", tmp_path / "new")
    assert there(tmp_path) == ["a.zip", "b.zip"]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_truncated_archive_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    names = {f"{k}.jpg": os.urandom(5000) for k in range(20)}
    path = tmp_path / f"a.{suffix}"
    zipped(names, path) if suffix == "zip" else tarred(dict(names), path)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(UserError, match="fetch it again"):
        unpack.unpack(path, tmp_path / "new")
    assert there(tmp_path) == [path.name]


# Bombs. The limits are lowered, so that nothing large is made.


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "SMALL", 10_000)
    monkeypatch.setattr(unpack, "RATIO", 2)
    monkeypatch.setattr(unpack, "LONGEST_READ", 2**20)


def fresh(path: Path) -> str:
    """Unpack, expecting to be refused as a bomb; the sentence."""
    with pytest.raises(UserError) as caught:
        unpack.unpack(path, path.parent / "new")
    assert there(path.parent) == [path.name]
    return str(caught.value)


def test_headers_and_padding_are_no_bomb() -> None:
    limit = 2**26
    bounded = unpack._Bounded(Path("a.tar"), io.BytesIO(), limit)
    assert bounded.seek(limit + 2**20) == limit + 2**20
    with pytest.raises(UserError, match="unpacks to more than"):
        bounded.seek(2 * limit)


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
        for _ in range(200):  # empty files without end, each a header of 512 bytes
            file.write(b"".join(tarfile.TarInfo(f"{k}").tobuf() for k in range(100)))
    said = fresh(tmp_path / "a.tar.gz")
    assert "meant to fill the disk" in said or "twice" in said


@pytest.mark.usefixtures("low")
def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MEMBERS", 20)
    assert "more than 20 files" in fresh(
        tarred({f"{k}": b"" for k in range(30)}, tmp_path / "a.tar")
    )


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(UserError, match="0 are free"):
        unpack.unpack(zipped({"a": b"x"}, tmp_path / "a.zip"), tmp_path / "new")
    with pytest.raises(UserError, match=r"needs 307,200 more bytes, 0 are free"):
        fetch.fetch(card(part(["https://a/b"])), tmp_path)


def test_a_bad_archive_behind_a_right_hash_leaves_no_folder(tmp_path: Path, server: Server) -> None:
    content = tarred({"../a": b"x"}, tmp_path / "a.tar.gz").read_bytes()
    server.files["a"] = content
    one = card(part([server.url("a")], content, to="imgs", unpack=True))
    with pytest.raises(UserError, match="leads out"):
        fetch.fetch(one, tmp_path)
    left = [name for name in there(tmp_path) if name != "a.tar.gz"]
    assert left == [f"d/{fetch.parts(one)[0].unfinished}"]  # the download itself, to look at
    assert not (tmp_path / "a").exists()


# What a user has, and what a user must do.


def test_a_local_file_is_taken_by_its_hash(tmp_path: Path) -> None:
    archive = zipped({"top/1.jpg": b"one"}, tmp_path / "mine.zip")
    one = card(part(["https://a/b"], archive.read_bytes(), to="imgs", unpack=True))
    fetch.take(one, tmp_path, archive)
    assert there(tmp_path / "d") == ["imgs/1.jpg"]
    other = zipped({"top/1.jpg": b"two"}, tmp_path / "other.zip")
    with pytest.raises(UserError, match="is none of the files of d: imgs"):
        fetch.take(one, tmp_path, other)


def test_what_is_there_is_told_in_brief(tiny: Path) -> None:
    toml, images = tiny / "tiny.toml", tiny / "tiny" / "images"
    assert fetch.brief(data.card(str(toml)), tiny) == (
        True,
        ["16 annotated images, 16 of them there", "complete"],
    )
    lines = toml.read_text().splitlines(keepends=True)
    toml.write_text("".join(line for line in lines if "filenames_sha256" not in line))
    for name in ("pond_0", "port_1", "pond_2", "port_3"):
        (images / f"{name}.png").unlink()
    complete, said = fetch.brief(data.card(str(toml)), tiny)
    assert not complete
    assert said[-4:] == [
        "16 annotated images, 12 of them there",
        "missing: pond_0.png, port_1.png, pond_2.png, ...",
        data.UNPINNED,
        "not complete",
    ]


def test_without_a_hash_an_archive_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    one = card()
    names = {"RS/d.json": b"{}", "RS/imgs/1.jpg": b"one", "RS/readme.txt": b"r"}
    told = fetch.take(one, tmp_path, zipped(names, tmp_path / "all.zip"))
    assert there(tmp_path / "d") == ["d.json", "imgs/1.jpg"]
    assert all("the card knows no checksum" in line for line in told)
    with pytest.raises(UserError, match="is not overwritten"):
        fetch.take(one, tmp_path, tmp_path / "all.zip")
    images = zipped({"x/y/1.jpg": b"one", "x/y/2.jpg": b"two"}, tmp_path / "images.zip")
    shutil.rmtree(tmp_path / "d")
    fetch.take(one, tmp_path, images)
    (tmp_path / "d.json").write_text("{}")
    fetch.take(one, tmp_path, tmp_path / "d.json")
    assert there(tmp_path / "d") == ["d.json", "imgs/1.jpg", "imgs/2.jpg"]
    for file in (zipped({"a.txt": b"x"}, tmp_path / "no.zip"), tmp_path / "b.json"):
        file.touch()
        with pytest.raises(UserError, match="get it from its authors"):
            fetch.take(one, tmp_path, file)
    assert there(tmp_path / "d") == ["d.json", "imgs/1.jpg", "imgs/2.jpg"]


def invoke(root: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["fetch", *words, "--data-root", str(root)])


@pytest.mark.parametrize("name", ["nwpu", "rsicd", "rsitmd", "sydney", "ucm"])
def test_the_cards_say_what_to_do(tmp_path: Path, name: str) -> None:
    assert not fetch.parts(data.card(name))  # no address is known to be stable
    done = invoke(tmp_path, name)
    assert done.exit_code == 1
    assert "1. Get it from" in done.stdout
    assert str(data.card(name).raw["annotation"]) in done.stdout
    assert str(tmp_path / name) in done.stdout
    assert there(tmp_path) == []


def test_the_command(tiny: Path, server: Server) -> None:
    path, toml = tiny / "tiny", tiny / "tiny.toml"
    assert "complete" in invoke(tiny, str(toml)).stdout
    content = (path / "dataset.json").read_bytes()
    server.files["a"] = content
    given = part([server.url("a")], content, to="dataset.json")
    toml.write_text(
        toml.read_text()
        + "\n[[fetch]]\n"
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    )
    (path / "dataset.json").unlink()
    done = invoke(tiny, str(toml))
    assert done.exit_code == 0, done.output
    assert "dataset.json from http" in done.stdout
    (path / "images" / "pond_0.png").unlink()
    done = invoke(tiny, str(toml))
    assert done.exit_code == 1
    assert "16 annotated images, 15 of them there" in done.stdout
    assert "missing: pond_0.png" in done.stdout
    assert "nothing to fetch" in invoke(tiny, "synthetic").stdout
