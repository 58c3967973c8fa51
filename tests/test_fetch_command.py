"""From the first command to a report, as a user types it; the data is served on this machine."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import bench
from tests.helpers.hub_server import HubServer, hub_of_this_process

SCENES = ("airport", "baseballfield", "storagetanks", "pond")
REPO = "datasets/somebody/pictures"
RUN = ("run", "--methods", "zeroshot", "--dataset", "fake.toml", "--backbone", "starter")
CARD = """
title = "Fake RSITMD"
kind = "karpathy"
annotation = "dataset_RSITMD.json"
images = "images"
[counts]
train = 32
test = 8
[scenes]
rule = "filename"
[[fetch]]
to = "dataset_RSITMD.json"
[[fetch.sources]]
base = "{url}/harma"
files = [{{ file = "d_train.json" }}, {{ file = "d_val.json" }}, {{ file = "d_test.json" }}]
[[fetch]]
to = "images"
[[fetch.sources]]
base = "hf://datasets/somebody/pictures@main"
files = [{{ file = "rsitmd.zip" }}]
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A fresh machine, with a Hub that has RSITMD of 40 drawn images as the real one lies there.

    The annotation is in rows, split as HarMA splits it; the images are in an archive, with the
    subimages of that work beside them. The card is `fake.toml` in the current folder.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for n in range(40):
            folder, split = {0: ("test", "test"), 1: ("train", "val")}.get(
                n % 5, ("train", "train")
            )
            stem = f"{SCENES[n % 4]}_{n}"
            rows[split] += [
                {"image": f"{folder}/{stem}.tif", "caption": f"{stem} , seen {k} times"}
                for k in range(5)
            ]
            image = io.BytesIO()
            pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(image, "TIFF")
            file.writestr(f"rsitmd/images/{folder}/{stem}.tif", image.getvalue())
            file.writestr(f"rsitmd/subimages/{folder}/{stem}/tree.png", b"a part of it")
    with hub_of_this_process(monkeypatch, tmp_path / "hub") as server:
        for split, entries in rows.items():
            server.add_file(f"harma/d_{split}.json", json.dumps(entries).encode())
        server.add_repo(REPO, {"rsitmd.zip": archive.getvalue()})
        Path("fake.toml").write_text(CARD.format(url=server.url))
        yield server


def test_from_nothing_to_a_report(hub: HubServer) -> None:
    shown = bench("datasets", "fake.toml")
    assert shown.code == 0
    assert "NOT COMPLETE" in shown.out
    assert "bench data fetch fake.toml" in shown.out
    for words in ((), ("--dry-run", "--no-memory")):
        refused = bench(*RUN, *words)
        assert refused.code == 2
        assert refused.err.endswith("to get it: bench data fetch fake.toml\n")
        assert refused.err.count("\n") == 1

    pictures = hub.repos.pop(REPO)
    failed = bench("data", "fetch", "fake.toml")
    assert failed.code == 2
    assert (
        "images of Fake RSITMD could not be fetched: huggingface.co/datasets/somebody/"
        in failed.err
    )
    dry = bench(*RUN, "--dry-run", "--no-memory")  # which needs the annotation alone
    assert dry.code == 0, dry.err
    assert "0 recorded in results, 1 to run" in dry.out

    hub.repos[REPO] = pictures
    done = bench(*RUN, "--yes")
    assert done.code == 0, done.out + done.err
    assert "Fetching Fake RSITMD into" in done.out
    assert "32 train · 8 test" in done.out
    assert "complete in" in done.out
    assert len(list(Path("data/fake/images").iterdir())) == 40
    assert not list(Path("data/fake").glob(".*"))
    assert len(list(Path("results").rglob("seed*.json"))) == 1
    assert bench("data", "fetch", "fake.toml").code == 0
    checked = bench("data", "check", "fake.toml")
    assert checked.code == 0, checked.out + checked.err
    assert bench("report").code == 0
    assert "zeroshot" in Path("reports/report.md").read_text(encoding="utf-8")
