"""Files that a user names for a result: what cannot be written is one sentence, before any work."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bench import hub, record
from bench.disk import NoRoom
from bench.training import features
from tests.helpers import fake_records
from tests.helpers.command import bench

WHERE = "--dataset synthetic --backbone starter"


@pytest.mark.parametrize(
    "words",
    [
        f"tune --methods linear {WHERE} --results {{}}/tuning --out {{}}/file/tuned.toml",
        f"tune --methods linear {WHERE} --results {{}}/tuning --out {{}}/folder",
        "report --results {}/results --out {}/file/reports",
        "report --results {}/results --out {}/file",
        "retrieve no/record text --out {}/file/found.png",
        "retrieve no/record text --out {}/found.jpg",
        "compare no/record other/record --pictures {}/file/won.png",
        "compare no/record other/record --pictures {}/won.jpg",
        "data check synthetic --sheet {}/file/sheet.png",
        "data check synthetic --sheet {}/sheet.jpg",
        "data corruptions synthetic --out {}/file/sheet.png",
        "data new mine --annotations {}/captions.csv --images {}/folder --out {}/file/mine.toml",
    ],
)
def test_what_cannot_be_written_is_one_sentence(words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "captions.csv").write_text("filename,caption\na.png,a pond\n")
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "folder/a.png")
    fake_records.save(tmp_path / "results", fake_records.sweep(1, ["lora"]))
    done = bench(*words.replace("{}", str(tmp_path)).split())
    assert done.code == 2, done.out
    assert str(tmp_path) in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "tuning").exists()


@pytest.mark.parametrize(
    ("write", "elsewhere"),
    [
        (lambda folder: record.probe(folder, 5_000_000), "--results"),
        (
            lambda folder: features.map_file(5_000_000 - features.SPARE, folder),
            "BENCH_CACHE, store",
        ),
        (
            lambda _: hub.download(hub.HubFileInfo(hub.HubFile("a/b", "c"), 5_000_000, None)),
            "HF_HOME",
        ),
    ],
)
def test_too_small_a_disk_is_told_in_the_same_words(
    write: Callable[[Path], object], elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    sentence = (
        r"cannot be written to \(5 MB needed, 2 MB free\); make room, change its permissions, "
    )
    with pytest.raises(NoRoom, match=f"{sentence}or choose another disk with {elsewhere}"):
        write(tmp_path)
