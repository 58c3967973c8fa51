"""`bench data fetch`: the real client of the Hugging Face Hub against a server on this machine."""

import hashlib
import io
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from rich.console import Console

from bench import UserError, data
from bench.data import Card, newcard
from bench.data.cardfile import check_card
from bench.disk import NoRoom
from bench.fetch import Fault, download, fetching, place, sources, status
from bench.fetch.sources import Remote
from tests.helpers.hub_server import HubServer, git_blob, hub_of_this_process
from tests.helpers.until import until

CONTENT = bytes(range(256)) * 1200
CHUNK = 100_000


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub that the client is pointed at, with a cache of the client's own."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        constants, "DOWNLOAD_CHUNK_SIZE", CHUNK
    )  # what survives a cut is a multiple
    with hub_of_this_process(monkeypatch, tmp_path / "hub") as server:
        yield server


def there(root: Path) -> list[str]:
    """Everything below the root, hidden files too."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def on_hub(hub: HubServer, content: bytes = CONTENT, **more: Any) -> Remote:
    """A file of a data set on the Hub."""
    hub.add_repo("datasets/some/set", {"a.zip": content}, **more)
    return Remote("hf://datasets/some/set/a.zip")


def elsewhere(hub: HubServer, content: bytes = CONTENT) -> Remote:
    """A file at a plain address."""
    return Remote(hub.add_file("files/a.zip", content))


ANYWHERE = pytest.mark.parametrize("at", [on_hub, elsewhere])


# One file.


@ANYWHERE
def test_a_file_arrives_whole_and_is_asked_for_once(
    hub: HubServer, tmp_path: Path, at: Any
) -> None:
    remote, folder = at(hub), tmp_path / "d"
    assert download.size(remote) == len(CONTENT)
    for _ in range(2):
        assert download.download(remote, folder).read_bytes() == CONTENT
    assert there(tmp_path) == ["d/a.zip"]  # nothing in the client's own cache
    assert len(hub.downloads("a.zip")) == 1


@ANYWHERE
def test_a_cut_download_goes_on_where_it_stopped(hub: HubServer, tmp_path: Path, at: Any) -> None:
    remote = at(hub)
    hub.fail("a.zip" if at is on_hub else "files/a.zip", "cut", after=250_000)
    assert download.download(remote, tmp_path / "d").read_bytes() == CONTENT
    assert [r.range for r in hub.downloads("a.zip")] == [None, "bytes=200000-"]


@pytest.mark.parametrize(
    ("beginning", "resumes", "ranges"),
    [
        (CONTENT[:100_000], True, ["bytes=100000-"]),
        (CONTENT[:1000], False, ["bytes=1000-"]),  # the server sends everything, from the start
        (bytes(1000), True, ["bytes=1000-", None]),  # a wrong beginning: once more from the start
    ],
)
def test_another_call_goes_on_where_it_can(
    hub: HubServer, tmp_path: Path, beginning: bytes, resumes: bool, ranges: list[str | None]
) -> None:
    remote = Remote(elsewhere(hub).url, sha256=hashlib.sha256(CONTENT).hexdigest())
    hub.fail("files/a.zip", "status", times=100, after=0, status=503)
    with pytest.raises(Fault, match="HTTP 503"):
        download.download(remote, tmp_path / "d")
    (partial,) = (tmp_path / "d").iterdir()
    partial.write_bytes(beginning)  # as an interrupted call leaves it
    hub.faults.clear()
    hub.requests.clear()
    if not resumes:
        hub.fail("files/a.zip", "no range", times=100)
    assert download.download(remote, tmp_path / "d").read_bytes() == CONTENT
    assert [r.range for r in hub.downloads("files/a.zip")] == ranges
    assert there(tmp_path) == ["d/a.zip"]


@pytest.mark.parametrize("key", ["sha256", "git_blob"])
def test_a_wrong_file_is_refused_and_leaves_nothing(
    hub: HubServer, tmp_path: Path, key: str
) -> None:
    right = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "git_blob": git_blob(CONTENT)}[key]
    remote = Remote(elsewhere(hub).url, **{key: right})
    hub.fail("files/a.zip", "wrong")
    with pytest.raises(Fault, match=rf"another file than the card names \({key} .*{right}"):
        download.download(remote, tmp_path / "d")
    assert there(tmp_path) == []
    assert download.download(remote, tmp_path / "d").read_bytes() == CONTENT


def test_a_file_of_another_size_than_the_card_says_is_not_downloaded(
    hub: HubServer, tmp_path: Path
) -> None:
    remote = Remote(elsewhere(hub).url, bytes=5)
    with pytest.raises(Fault, match=r"has 307,200 bytes there, on the card 5"):
        download.download(remote, tmp_path / "d")
    assert not hub.downloads("files/a.zip")


def test_the_users_token_goes_to_the_hub_and_nowhere_else(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    remote = on_hub(hub, gated=True, tokens=("hf_mine",))
    assert download.download(remote, tmp_path / "d").read_bytes() == CONTENT
    download.download(elsewhere(hub), tmp_path / "e")
    assert {r.token for r in hub.requests if "/resolve/" in r.path} == {"hf_mine"}
    assert {r.token for r in hub.requests if "/resolve/" not in r.path} == {None}


def test_the_reasons_are_told_with_the_remedy(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason(url: str) -> str:
        with pytest.raises(Fault) as caught:
            download.download(Remote(url), tmp_path / "d")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    on_hub(hub, gated=True, tokens=("hf_right",))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    said = reason("hf://datasets/some/set/a.zip")
    assert "only to those who accepted its terms" in said
    assert "open https://huggingface.co/datasets/some/set, accept them, then log in" in said
    assert "has no data set 'no/set', or it is private" in reason("hf://datasets/no/set/a.zip")
    assert "absent.zip is not there any more (HTTP 404)" in reason(f"{hub.url}/files/absent.zip")
    nobody = HubServer()
    nobody.server_close()
    assert "no connection to 127.0.0.1" in reason(f"{nobody.url}/a.zip")


def test_a_server_that_answers_no_head_request(hub: HubServer, tmp_path: Path) -> None:
    remote = elsewhere(hub)
    hub.fail("files/a.zip", "no head")
    assert download.size(remote) is None
    assert download.download(remote, tmp_path / "d").read_bytes() == CONTENT


def test_a_full_disk_is_told_before_the_download(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = on_hub(hub)
    full = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(NoRoom, match=r"307 kB needed, 0 bytes free.*goes on where"):
        download.download(remote, tmp_path / "d")
    assert not hub.downloads("a.zip")
    refused = pytest.raises(NoRoom, match=r"cannot be written to \(denied\).* with --data-root")
    with refused, download._faults(remote, tmp_path):
        raise PermissionError(13, "denied", str(tmp_path / "a.part"))


# Whole data sets, on a card of their own.


def picture(seed: int, suffix: str = ".png") -> bytes:
    """A drawn picture as the bytes of a file."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    pixels = np.kron(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, {".png": "PNG", ".tif": "TIFF"}[suffix])
    return stream.getvalue()


SETS = {"train": 8, "val": 4, "test": 4}


def entries() -> list[dict[str, Any]]:
    """An annotation's images in Karpathy's form."""
    splits = [split for split, count in SETS.items() for _ in range(count)]
    return [
        {
            "filename": f"{('pond', 'port')[n % 2]}_{n}.tif",
            "split": split,
            "sentences": [{"raw": f"picture {n} of water , version {k} ."} for k in range(5)],
        }
        for n, split in enumerate(splits)
    ]


def annotation() -> bytes:
    return json.dumps({"images": entries()}).encode()


def zipped(names: dict[str, bytes]) -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in names.items():
            file.writestr(name, content)
    return stream.getvalue()


def images(under: str = "set/images/{split}/") -> dict[str, bytes]:
    """The pictures by their name in an archive."""
    return {
        under.format(split=e["split"]) + e["filename"]: picture(n, ".tif")
        for n, e in enumerate(entries())
    }


def make_card(root: Path, *parts: dict[str, Any], **more: Any) -> Card:
    """A card of the data set `d`, written to a file as users have it."""
    raw = {
        "kind": "karpathy",
        "title": "The Set",
        "folder": "d",
        "annotation": "d.json",
        "images": "images",
        "counts": SETS,
        "scenes": {"rule": "filename"},
        "fetch": list(parts),
        **more,
    }
    card = Card("d", raw, root / "d.toml")
    sources.parts(card)
    return card


def part(to: str, *sources_: tuple[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    """A `[[fetch]]` table; each source is its base and its files."""
    return {"to": to, "sources": [{"base": b, "files": f} for b, f in sources_], **more}


def whole_card(hub: HubServer, root: Path, content: bytes | None = None, **more: Any) -> Card:
    """A card whose annotation lies at a plain address and whose images on the Hub."""
    hub.add_file("notes/d.json", annotation())
    hub.add_repo("datasets/some/set", {"images.zip": content or zipped(images())})
    return make_card(
        root,
        part("d.json", (f"{hub.url}/notes", [{"file": "d.json"}])),
        part("images", ("hf://datasets/some/set@main", [{"file": "images.zip"}])),
        **more,
    )


def fetch(card: Card, root: Path, file: Path | None = None) -> tuple[bool, str]:
    """Run the command's function; whether the set is complete, and what was printed."""
    console = Console(file=io.StringIO(), width=1000)
    done = fetching.run(card, root, file, console)
    said = console.file.getvalue()
    assert ".fetching" not in "".join(there(root / "d"))
    return done, said


NAMES = sorted(["d/d.json", *(f"d/images/{e['filename']}" for e in entries())])


def test_a_data_set_arrives_checked_and_in_place(hub: HubServer, tmp_path: Path) -> None:
    card, root = whole_card(hub, tmp_path, licence="free"), tmp_path / "data"
    done, said = fetch(card, root)
    assert done
    assert there(root) == NAMES
    assert f"Fetching The Set into {root}/d   (licence: free)" in said
    assert "from 127.0.0.1" in said
    assert "from huggingface.co/datasets/some/set (images.zip)" in said
    assert "needed while unpacking, " in said
    assert "16 images, every one decodes" in said
    assert len(data.load(card, root).samples) == 16
    asked = len(hub.requests)
    assert fetch(card, root)[0]
    assert len(hub.requests) == asked

    # What is missing is fetched, and nothing else is touched.
    kept, gone = root / "d/images/pond_12.tif", root / "d/images/port_1.tif"
    kept.write_bytes(picture(99, ".tif"))
    gone.unlink()
    done, said = fetch(card, root)
    assert done
    assert "1 images, every one decodes" in said
    assert there(root) == NAMES
    assert kept.read_bytes() == picture(99, ".tif")


def test_a_second_process_waits_and_finds_it_there(hub: HubServer, tmp_path: Path) -> None:
    card, root = whole_card(hub, tmp_path), tmp_path / "data"
    hub.fail("images.zip", "held")
    printed = [io.StringIO() for _ in range(2)]
    consoles = [Console(file=file, width=1000) for file in printed]
    threads = [
        threading.Thread(target=fetching.run, args=(card, root, None, console))
        for console in consoles
    ]
    for thread in threads:
        thread.start()
    until(lambda: any("another process is putting" in file.getvalue() for file in printed))
    hub.go_on.set()
    for thread in threads:
        thread.join()
    said = [file.getvalue() for file in printed]
    assert sum("another process is putting files into" in text for text in said) == 1
    assert all("complete in" in text for text in said)
    assert len(hub.downloads("images.zip")) == 1
    assert there(root) == NAMES


# Sources.


def test_the_next_source_is_tried_where_one_fails(hub: HubServer, tmp_path: Path) -> None:
    short = images()
    short.popitem()
    broken = {**images(), "set/images/train/pond_0.tif": b"no picture"}
    hub.add_repo("datasets/good/set", {"images.zip": zipped(images())})
    hub.add_repo("datasets/short/set", {"images.zip": zipped(short)})
    hub.add_repo("datasets/broken/set", {"images.zip": zipped(broken)})
    hub.add_repo("datasets/hostile/set", {"images.zip": zipped({"../../pond_0.tif": b"x"})})
    hub.add_file("notes/d.json", annotation())
    file = [{"file": "images.zip"}]
    repos = ("absent", "short", "broken", "hostile", "good")
    tables = [(f"hf://datasets/{name}/set@main", file) for name in repos]
    card = make_card(
        tmp_path,
        part("d.json", (f"{hub.url}/notes", [{"file": "d.json"}])),
        part("images", *tables),
    )
    done, said = fetch(card, tmp_path / "data")
    assert done
    assert there(tmp_path / "data") == NAMES
    for reason in (
        "has no data set 'absent/set', or it is private",
        "short/set: 1 of 16 images are not in images.zip, the first is 'port_15.tif'",
        "broken/set: 1 images cannot be read, the first: the image ",
        "hostile/set: images.zip holds '../../pond_0.tif', which leads out of its folder",
    ):
        assert reason in said


def test_where_no_source_gives_it_all_reasons_are_told(hub: HubServer, tmp_path: Path) -> None:
    card, root = whole_card(hub, tmp_path), tmp_path / "data"
    hub.repos.clear()
    with pytest.raises(UserError) as caught:
        fetch(card, root)
    said = str(caught.value)
    assert said.startswith(
        "images of The Set could not be fetched: huggingface.co/datasets/some/set: "
    )
    assert said.endswith(f"bench data fetch {tmp_path}/d.toml --data-root {root} --from FILE")
    assert "\n" not in said
    assert [name for name in there(root) if "fetching" not in name] == ["d/d.json"]


def test_without_a_network(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set: unset it to download"):
        fetch(whole_card(hub, tmp_path), tmp_path / "data")
    assert not hub.requests
    assert not (tmp_path / "data" / "d").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("agrees", [True, False])
def test_at_a_terminal_a_run_asks(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agrees: bool
) -> None:
    card, root = whole_card(hub, tmp_path), tmp_path / "data"
    questions = []

    def confirm(question: str, default: bool) -> bool:
        questions.append(question)
        return agrees

    monkeypatch.setattr("typer.confirm", confirm)

    def load() -> data.Dataset:
        return fetching.with_data(lambda: data.load(card, root), False, Console(file=io.StringIO()))

    with pytest.raises(data.Missing):  # this is no terminal
        load()
    assert not questions
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    if agrees:
        assert len(load().samples) == 16
    else:
        with pytest.raises(data.Missing):
            load()
    assert there(root) == (NAMES if agrees else [])
    (question,) = questions
    assert question.startswith("The Set (")
    assert f"huggingface.co/datasets/some/set) is not in {root}. Fetch it now?" in question


def test_an_optional_part_may_be_left_out(hub: HubServer, tmp_path: Path) -> None:
    card = whole_card(hub, tmp_path)
    lists = part("lists", (f"{hub.url}/no", [{"file": "lists.rar"}]), optional=True)
    card.raw["fetch"].append(lists)
    done, said = fetch(card, tmp_path / "data")
    assert done
    assert "lists: left out (127.0.0.1" in said
    del lists["optional"]
    with pytest.raises(UserError, match="lists of The Set could not be fetched"):
        fetch(card, tmp_path / "data")


def test_another_data_set_is_refused_and_named(hub: HubServer, tmp_path: Path) -> None:
    card, root = whole_card(hub, tmp_path), tmp_path / "data"
    other = json.dumps({"images": entries()[:-1]}).encode()
    hub.add_file("notes/d.json", other)
    with pytest.raises(
        UserError, match=r"d\.json of The Set could not be fetched: .*images per split"
    ):
        fetch(card, root)
    assert not (root / "d/d.json").exists()
    (root / "d/d.json").write_bytes(other)
    with pytest.raises(UserError, match="move away what is there, then fetch again"):
        fetch(card, root)
    assert (root / "d/d.json").read_bytes() == other


# Forms.


def test_an_annotation_in_rows_is_brought_into_the_cards_form(
    hub: HubServer, tmp_path: Path
) -> None:
    """A copy that holds out part of the published train as val, as HarMA's of RSITMD."""
    files, published = [], []
    for split in SETS:
        folder = "test" if split == "test" else "train"
        images_ = [e for e in entries() if e["split"] == split]
        published += [{**e, "split": folder} for e in images_]
        rows = [
            {"image": f"{folder}/{e['filename']}", "caption": s["raw"]}
            for e in images_
            for s in e["sentences"]
        ]
        content = json.dumps(rows).encode()
        hub.add_file(f"rows/d_{split}.json", content)
        files.append({"file": f"d_{split}.json", "sha256": hashlib.sha256(content).hexdigest()})
    source = part("d.json", (f"{hub.url}/rows", files))
    card = make_card(tmp_path, source, counts={"train": 12, "test": 4})
    _, said = fetch(card, tmp_path)
    assert "d.json: 16 images with captions, converted, from 127.0.0.1" in said
    assert "checksum as on the card" in said
    (tmp_path / "published/d").mkdir(parents=True)
    (tmp_path / "published/d/d.json").write_text(json.dumps({"images": published}))
    ours, theirs = (data.read(card, root)[0] for root in (tmp_path, tmp_path / "published"))
    assert data.content_hash(ours) == data.content_hash(theirs)
    assert [s.split for s in ours] == [s.split for s in theirs]
    table = make_card(tmp_path, source, counts={"train": 12, "test": 4}, kind="csv")
    with pytest.raises(UserError, match=r"d\.json of The Set could not be fetched: .* read as csv"):
        fetch(table, tmp_path / "table")


@pytest.mark.parametrize("val", [4, "8-9 10 11"])
def test_an_annotation_that_merges_train_and_val(
    hub: HubServer, tmp_path: Path, val: int | str
) -> None:
    """The precomp form, where the card says which of its training images are val."""
    for split, rows in (("train", entries()[:12]), ("test", entries()[12:])):
        names = [e["filename"].split("_")[1] for e in rows]
        said = [s["raw"] for e in rows for s in e["sentences"]]
        hub.add_file(f"pre/{split}_filename.txt", "".join(f"{n}\n" for n in names).encode())
        hub.add_file(f"pre/{split}_caps.txt", "".join(f"{s}\n" for s in said).encode())
    files = [{"file": f"{s}_{w}.txt"} for s in ("train", "test") for w in ("caps", "filename")]
    table = part("d.json", (f"{hub.url}/pre", files))
    table["sources"][0]["val"] = val
    card = make_card(tmp_path, table, scenes={"rule": "none"})
    fetch(card, tmp_path)
    splits = {Path(s.filename).stem: s.split for s in data.read(card, tmp_path)[0]}
    assert splits == {str(n): "train" if n < 8 else "val" if n < 12 else "test" for n in range(16)}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """A Parquet file as the Hub keeps data sets with images."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as parquet_

    held = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table(
        {
            "filename": [f"some_images/{e['filename']}" for e in rows],
            "captions": [[s["raw"] for s in e["sentences"]] for e in rows],
            "image": pyarrow.array(
                [{"bytes": e["content"], "path": None} for e in rows], type=held
            ),
        }
    )
    stream = io.BytesIO()
    parquet_.write_table(table, stream, row_group_size=3)
    return stream.getvalue()


def in_parquet() -> dict[str, bytes]:
    """The data set in Parquet, train in two pieces; the Hub calls val `validation`."""
    rows = [{**e, "content": picture(n, ".tif")} for n, e in enumerate(entries())]
    pieces = {
        "train-00000-of-00002": rows[:5],
        "train-00001-of-00002": rows[5:8],
        "validation-00000-of-00001": rows[8:12],
        "test-00000-of-00001": rows[12:],
    }
    return {f"data/{name}.parquet": parquet(part) for name, part in pieces.items()}


def test_a_data_set_in_parquet_is_downloaded_once_for_both_parts(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.add_repo("datasets/some/set", in_parquet())
    source = ("hf://datasets/some/set@main", [{"file": name} for name in in_parquet()])
    card = make_card(tmp_path, part("d.json", source), part("images", source))
    done, said = fetch(card, tmp_path / "data")
    assert done
    assert there(tmp_path / "data") == NAMES
    assert all(len(hub.downloads(name)) == 1 for name in in_parquet())
    assert "16 images, every one decodes" in said


def test_parquet_is_a_form_like_the_others(tmp_path: Path) -> None:
    card = make_card(tmp_path, kind="parquet", annotation="data/{split}-*.parquet")
    (tmp_path / "d/data").mkdir(parents=True)
    for name, content in in_parquet().items():
        (tmp_path / "d" / name).write_bytes(content)
    samples, _ = data.read(card, tmp_path)
    assert {split: sum(s.split == split for s in samples) for split in SETS} == SETS
    assert samples[0].captions[1] == "picture 0 of water , version 1 ."
    done, said = fetch(card, tmp_path, tmp_path / "d/data")  # the images are inside
    assert done, said
    assert data.load(card, tmp_path).paths[0] == tmp_path / "d/images/pond_0.tif"


def test_a_card_is_proposed_for_parquet_and_its_pictures_written(tmp_path: Path) -> None:
    for name, content in in_parquet().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    first = tmp_path / "data/train-00000-of-00002.parquet"
    made = newcard.propose("mine", first, tmp_path / "images", tmp_path)
    newcard.write(made, tmp_path / "mine.toml")
    dataset = data.load(data.card(str(tmp_path / "mine.toml")), tmp_path)
    assert dataset.card.kind == "parquet"
    assert dataset.card.counts == SETS
    assert dataset.paths[0] == tmp_path / "images/some_images/pond_0.tif"
    assert dataset.paths[0].read_bytes() == picture(0, ".tif")


def test_a_card_is_proposed_for_a_single_file_in_parquet(tmp_path: Path) -> None:
    train, path = tmp_path / "train.parquet", tmp_path / "test-00000-of-00001.parquet"
    train.write_bytes(in_parquet()["data/train-00001-of-00002.parquet"])
    path.write_bytes(in_parquet()[f"data/{path.name}"])
    with pytest.raises(UserError, match="3 images in train and none in test"):
        newcard.propose("mine", train, tmp_path / "images", tmp_path)
    assert not (tmp_path / "images").exists()
    (tmp_path / "images").mkdir()  # an empty folder is filled too
    made = newcard.propose("mine", path, tmp_path / "images", tmp_path)
    newcard.write(made, tmp_path / "mine.toml")
    dataset = data.load(data.card(str(tmp_path / "mine.toml")), tmp_path)
    assert dataset.card.counts == {"test": SETS["test"]}
    assert None not in dataset.paths


def test_pictures_in_parquet_go_by_their_column_of_names(tmp_path: Path) -> None:
    """Whatever `path` beside the bytes says; and a mask before the picture is none."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as parquet_

    mask, image = ({"bytes": content, "path": "0.tif"} for content in (b"", picture(0, ".tif")))
    row = {"mask": mask, "image": image, "file_name": "a.tif", "text": "a pond"}
    parquet_.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "test.parquet")
    newcard.propose("mine", tmp_path / "test.parquet", tmp_path / "images", tmp_path)
    assert there(tmp_path / "images") == ["a.tif"]
    assert (tmp_path / "images/a.tif").read_bytes() == picture(0, ".tif")


def test_parquet_without_pictures_needs_a_folder_of_images(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as parquet_

    row = {"file_name": "a.tif", "text": "a pond"}
    parquet_.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "test.parquet")
    with pytest.raises(UserError, match=r"there are no images in .* has no column of pictures"):
        newcard.propose("mine", tmp_path / "test.parquet", tmp_path / "images", tmp_path)


def test_two_pictures_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    """Else one would get the captions of both, and the other would be lost."""
    same = [{**e, "filename": "a.tif"} for e in entries()[-2:]]
    rows = [{**e, "content": picture(n, ".tif")} for n, e in enumerate(same)]
    path = tmp_path / "test.parquet"
    path.write_bytes(parquet(rows))
    with pytest.raises(UserError, match=r"two different pictures are called 'some_images/a\.tif'"):
        newcard.propose("mine", path, tmp_path / "images", tmp_path)
    assert not (tmp_path / "images").exists()


def test_parquet_without_pyarrow_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(tmp_path, kind="parquet", annotation="{split}.parquet")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/train.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        data.read(card, tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'cmer-bench\[parquet\]'"):
        data.read(card, tmp_path)


# Numbered pictures.


def numbered(hub: HubServer, root: Path, order: list[int]) -> Card:
    """A set whose pictures lie in class folders, and a card that pins their hashes."""
    from PIL import Image

    from bench.fetch import pictures

    side = pictures.SIDE
    pixels = np.stack(
        [
            np.asarray(Image.open(io.BytesIO(picture(n))).convert("RGB").resize((side, side)))
            for n in range(16)
        ]
    )
    lines = [np.packbits(bits).tobytes().hex() for bits in pictures.hashes(pixels)]
    (root / "d.hashes").write_text("\n".join(lines))
    rows = [{**e, "filename": f"{n}.tif"} for n, e in enumerate(entries(), 1)]
    hub.add_file("notes/d.json", json.dumps({"images": rows}).encode())
    classes = ("pond", "port")
    content = {
        f"Images/{classes[n // 8]}/{classes[n // 8]}{n % 8}.tif": picture(shown, ".tif")
        for n, shown in enumerate(order)
    }
    hub.add_file("files/images.zip", zipped(content))
    return make_card(
        root,
        part("d.json", (f"{hub.url}/notes", [{"file": "d.json"}])),
        part("images", (f"{hub.url}/files", [{"file": "images.zip"}])),
        scenes={"rule": "blocks", "size": 8, "names": list(classes)},
        pictures="d.hashes",
    )


def test_pictures_in_class_folders_are_those_that_the_captions_mean(
    hub: HubServer, tmp_path: Path
) -> None:
    done, said = fetch(numbered(hub, tmp_path, list(range(16))), tmp_path)
    assert done
    assert "16 images, every one decodes, numbered as published" in said
    assert (tmp_path / "d/images/pond0.tif").exists()


def test_pictures_numbered_by_another_rule_are_refused(hub: HubServer, tmp_path: Path) -> None:
    card = numbered(hub, tmp_path, [*range(1, 16), 0])
    with pytest.raises(UserError, match=r"16 of 16 pictures are not those that their numbers"):
        fetch(card, tmp_path)
    assert there(tmp_path / "d") == ["d.json"] or not (tmp_path / "d/images").exists()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ucm", "rsicd"])
def test_the_published_val_is_restored_where_a_copy_merges_it(real_data: Path, name: str) -> None:
    card = data.card(name)
    (vals,) = {s.val for p in sources.parts(card) for s in p.sources if s.val}
    samples, _ = data.read(card, real_data)
    train = [s for split in ("train", "val") for s in samples if s.split == split]
    if name == "ucm":  # in the order of their numbers, in the copy too
        train.sort(key=lambda s: int(Path(s.filename).stem))
    merged = [replace(s, split="train") for s in train]
    restored = {s.filename: s.split for s in place._published_splits(card, merged, vals)}
    assert restored == {s.filename: s.split for s in train}


@pytest.mark.real_data
def test_the_hashes_of_ucm_are_those_of_its_pictures(real_data: Path) -> None:
    from bench.data import twins
    from bench.fetch import pictures

    card = data.card("ucm")
    samples, _ = data.read(card, real_data)
    paths = data.find_images(card, real_data, samples).paths
    look = twins.decode(card, samples, paths, pictures.SIDE)
    assert len(pictures.pinned(card)) == 2100
    assert not pictures.misnumbered(card, samples, look.pixels, look.seen)
    rolled = np.roll(look.pixels, 1, axis=0)
    assert len(pictures.misnumbered(card, samples, rolled, look.seen)) > 2000


# What a user has.


@pytest.mark.parametrize("nested", [False, True])
def test_an_archive_that_the_user_has(tmp_path: Path, nested: bool) -> None:
    card = make_card(tmp_path)
    pictures = {"RS/i.zip": zipped(images("imgs/"))} if nested else images("RS/imgs/")
    both = zipped({"RS/d.json": annotation(), "RS/readme.txt": b"r", **pictures})
    (tmp_path / "all.zip").write_bytes(both)
    for _ in range(2):  # the second time all is there
        done, said = fetch(card, tmp_path, tmp_path / "all.zip")
        assert done, said
        assert there(tmp_path / "d") == [name.removeprefix("d/") for name in NAMES]


def test_files_one_after_the_other(tmp_path: Path) -> None:
    card = make_card(tmp_path)
    (tmp_path / "images.zip").write_bytes(zipped(images("")))
    (tmp_path / "download.json").write_bytes(annotation())
    with pytest.raises(UserError, match=r"images\.zip was not used: d\.json: .*holds no d\.json"):
        fetch(card, tmp_path, tmp_path / "images.zip")
    assert not fetch(card, tmp_path, tmp_path / "download.json")[0]
    assert fetch(card, tmp_path, tmp_path / "images.zip")[0]
    with pytest.raises(UserError, match="there is no"):
        fetch(card, tmp_path, tmp_path / "absent.zip")


def test_the_lists_of_scenes_may_be_given_as_their_folder(tmp_path: Path) -> None:
    card = make_card(tmp_path, scenes={"rule": "files", "folder": "lists"})
    (tmp_path / "all.zip").write_bytes(zipped({"d.json": annotation(), **images("")}))
    (tmp_path / "have/lists").mkdir(parents=True)
    (tmp_path / "have/lists/pond.txt").write_text("pond_0.tif")
    for given in ("all.zip", "have/lists"):
        fetch(card, tmp_path, tmp_path / given)
    assert data.read(card, tmp_path)[0][0].scene == "pond"


def test_names_in_an_archive_may_be_spelled_otherwise(tmp_path: Path) -> None:
    spelled = {name.upper(): content for name, content in images("").items()}
    (tmp_path / "all.zip").write_bytes(zipped({"d.json": annotation(), **spelled}))
    assert fetch(make_card(tmp_path), tmp_path, tmp_path / "all.zip")[0]


def test_equal_copies_of_an_image_in_two_folders_are_one(tmp_path: Path) -> None:
    card = make_card(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/d.json").write_bytes(annotation())
    (tmp_path / "a.zip").write_bytes(zipped({**images("a/"), **images("b/{split}/")}))
    assert fetch(card, tmp_path, tmp_path / "a.zip")[0]
    shutil.rmtree(tmp_path / "d/images")
    (tmp_path / "a.zip").write_bytes(zipped({**images("a/"), "b/pond_0.tif": picture(5, ".tif")}))
    with pytest.raises(UserError, match=r"several images could be 'pond_0\.tif'"):
        fetch(card, tmp_path, tmp_path / "a.zip")


# Cards.


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"to": "/d.bin"}, "to"),
        ({"to": "d_{split}.json"}, "to"),
        ({"sources": []}, "sources"),
        ({"optional": 1}, "optional"),
        ({"base": "file" + ":///etc"}, "base"),
        ({"base": "hf://datasets/only"}, "base"),
        ({"files": []}, "files"),
        ({"files": [{"file": "a"}, {"file": "a"}]}, "files"),
        ({"files": [{"file": "../a"}]}, "file"),
        ({"files": [{"file": "a", "git_blob": "0" * 64}]}, "git_blob"),
        ({"files": [{"file": "a", "bytes": "many"}]}, "bytes"),
        ({"val": "1-"}, "val"),
    ],
)
def test_addresses_that_cannot_be_used(change: dict[str, Any], key: str) -> None:
    table = part("d.bin", ("https://a", [{"file": "b"}]))
    inner = {k: v for k, v in change.items() if k in ("base", "files", "val")}
    table["sources"][0] |= inner
    table |= {k: v for k, v in change.items() if k not in inner}
    with pytest.raises(
        UserError, match=rf"the card 'd' cannot be used: 'fetch[\w.]*\b{key}\b.*' is "
    ):
        sources.parts(Card("d", {"fetch": [table]}))


def test_all_faults_of_the_tables_are_told_at_once() -> None:
    table = part("../d", ("ftp://a", [{"file": "b", "sha256": "x", "size": 3}]), optionl=True)
    with pytest.raises(UserError) as caught:
        sources.parts(Card("d", {"fetch": [table, "d.bin"]}))
    said = str(caught.value)
    for fault in (
        "'fetch.0.to' is '../d' and should be a path inside",
        "'fetch.0.sources.0.base' is 'ftp://a' and should be https://",
        "'fetch.0.sources.0.files.0.sha256' is 'x' and should be 64 hex digits",
        "there is no key 'fetch.0.sources.0.files.0.size'",
        "there is no key 'fetch.0.optionl' (did you mean 'optional'?)",
        "'fetch.1' is 'd.bin' and should be a table",
    ):
        assert fault in said
    assert "\n" not in said


def test_addresses_do_not_change_what_a_card_is(tmp_path: Path) -> None:
    bare = make_card(tmp_path)
    fetched = make_card(
        tmp_path, part("d", ("https://a", [{"file": "b"}])), page="https://p", pictures="d.hashes"
    )
    del bare.raw["fetch"]
    assert bare.digest() == fetched.digest()


def test_a_card_of_ones_own_with_the_name_of_a_shipped_one_is_named_by_its_file(
    tmp_path: Path,
) -> None:
    own = replace(make_card(tmp_path), name="ucm")
    assert data.fetch_command(own, tmp_path).startswith(f"bench data fetch {own.path} ")
    assert data.fetch_command(data.card("ucm"), tmp_path).startswith("bench data fetch ucm ")


def test_the_shipped_cards_can_be_fetched() -> None:
    for name, card in data.cards().items():
        check_card(card)
        found = sources.parts(card)
        wanted = {card.raw.get("annotation"), card.raw.get("images")} - {None}
        assert wanted <= {p.to for p in found}, name
        if wanted:  # the annotation says which images are wanted
            assert found[0].to == card.raw["annotation"]


def test_owners_are_addresses_that_one_can_open() -> None:
    owners = {
        "https://raw.githubusercontent.com/a/b/0123/c.json": "github.com/a/b",
        "https://media.githubusercontent.com/media/a/b/0123/c.zip": "github.com/a/b",
        "hf://datasets/a/b@main/c.zip": "huggingface.co/datasets/a/b",
        "hf://a/b/below/c.pt": "huggingface.co/a/b",
        "https://zenodo.org/records/1/files/c.zip": "zenodo.org",
    }
    assert {url: Remote(url).owner for url in owners} == owners


# What is told.


def test_the_screen_of_a_data_set(hub: HubServer, tmp_path: Path) -> None:
    card, root = whole_card(hub, tmp_path, citation="Some, 2022", page="https://p.org"), tmp_path
    found = status.read(card, root)
    said = "\n".join([*status.lines(card, root, found), *status.instructions(card, root, found)])
    assert "The Set   8 train · 4 val · 4 test   NOT COMPLETE in" in said
    assert "[ ] d.json, missing" in said
    assert "[ ] images/   16 images, none there" in said
    assert f"bench data fetch {tmp_path}/d.toml --data-root {tmp_path}" in said
    assert "from huggingface.co/datasets/some/set" in said
    assert "https://p.org" in said
    assert "Citation: Some, 2022" in said
    fetch(card, root)
    (root / "d/images/pond_12.tif").unlink()
    said = "\n".join(status.lines(card, root, status.read(card, root)))
    assert "[x] d.json" in said
    assert "[ ] images/   16 images, 15 there" in said
