"""From the first command to a report, as a user types it; the data is served on this machine."""

import io
import json
import os
import pty
import select
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.hub_server import HubServer

BENCH = [sys.executable, "-m", "bench"]
SCENES = ("airport", "baseballfield", "storagetanks", "pond")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as made:
        yield made


def environment(hub: HubServer, root: Path, **more: str) -> dict[str, str]:
    """That of a fresh machine whose Hub is `hub`."""
    proxies = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    kept = {k: v for k, v in os.environ.items() if k.lower() not in proxies}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(root / "hf"), "BENCH_CACHE": str(root / "cache")}
    return {**kept, **own, "BENCH_DATA": str(root / "data"), "COLUMNS": "100", **more}


def bench(hub: HubServer, root: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, *words],
        capture_output=True,
        text=True,
        cwd=root,
        env=environment(hub, root, **more),
        stdin=subprocess.DEVNULL,
        check=False,
    )


def drawn(seed: int) -> bytes:
    """A picture as the bytes of a TIFF."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.kron(blocks, np.ones((16, 16, 1), np.uint8))).save(stream, "TIFF")
    return stream.getvalue()


def fake_rsitmd(hub: HubServer, root: Path) -> Path:
    """RSITMD of 40 drawn images where and as the real one lies; its card, `fake.toml`.

    The annotation is in rows, split as HarMA splits it; the images are in an archive on the Hub,
    with the subimages of that work beside them.
    """
    names = {}
    for n in range(40):
        folder = "test" if n % 5 == 0 else "train"
        names[f"{SCENES[n % 4]}_{n}.tif"] = (folder, "val" if n % 5 == 1 else folder)
    for split in ("train", "val", "test"):
        rows = [
            {"image": f"{folder}/{name}", "caption": f"{name} , seen {k} times", "image_id": 1}
            for name, (folder, part) in names.items()
            for k in range(5)
            if part == split
        ]
        hub.add_file(f"harma/rsitmd_{split}.json", json.dumps(rows).encode())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for n, (name, (folder, _)) in enumerate(names.items()):
            file.writestr(f"rsitmd/images/{folder}/{name}", drawn(n))
            stem = Path(name).stem
            file.writestr(f"rsitmd/subimages/{folder}/{stem}/tree_blackbg.png", b"a part of it")
        file.writestr("rsitmd/readme.bin", bytes(range(256)) * 2000)
    hub.add_repo("datasets/somebody/pictures", {"rsitmd.zip": stream.getvalue()})
    card = root / "fake.toml"
    card.write_text(
        f"""
name = "fake"
title = "Fake RSITMD"
licence = "none stated"
kind = "karpathy"
annotation = "dataset_RSITMD.json"
images = "images"
[counts]
train = 32
test = 8
[scenes]
rule = "filename"
[scenes.words]
storagetanks = "storage tanks"

[[fetch]]
to = "dataset_RSITMD.json"
[[fetch.sources]]
base = "{hub.url}/harma"
files = [
    {{ file = "rsitmd_train.json" }}, {{ file = "rsitmd_val.json" }},
    {{ file = "rsitmd_test.json" }},
]
[[fetch]]
to = "images"
[[fetch.sources]]
base = "hf://datasets/somebody/pictures@main"
files = [{{ file = "rsitmd.zip" }}]
"""
    )
    return card


RUN = ("run", "--methods", "zeroshot", "--dataset", "fake.toml", "--backbone", "starter")


def test_fetch_check_run_and_report(hub: HubServer, tmp_path: Path) -> None:
    fake_rsitmd(hub, tmp_path)
    shown = bench(hub, tmp_path, "datasets", "fake.toml")
    assert shown.returncode == 0, shown.stderr
    assert "NOT COMPLETE" in shown.stdout
    assert "bench data fetch fake.toml" in shown.stdout
    refused = bench(hub, tmp_path, *RUN)
    assert refused.returncode == 2
    assert refused.stderr.endswith("to get it: bench data fetch fake.toml\n")
    assert refused.stderr.count("\n") == 1

    fetched = bench(hub, tmp_path, "data", "fetch", "fake.toml")
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    assert "32 train · 8 test" in fetched.stdout
    assert "complete in" in fetched.stdout
    images = sorted((tmp_path / "data/fake/images").iterdir())
    assert len(images) == 40
    assert not list((tmp_path / "data/fake").glob(".*"))

    checked = bench(hub, tmp_path, "data", "check", "fake.toml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = bench(hub, tmp_path, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    reported = bench(hub, tmp_path, "report")
    assert reported.returncode == 0, reported.stderr
    assert "zeroshot" in (tmp_path / "reports/report.md").read_text(encoding="utf-8")


def test_a_run_that_is_told_yes_fetches(hub: HubServer, tmp_path: Path) -> None:
    fake_rsitmd(hub, tmp_path)
    done = bench(hub, tmp_path, *RUN, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Fetching Fake RSITMD into" in done.stdout
    assert len(list((tmp_path / "results").rglob("seed*.json"))) == 1


def test_a_dry_run_needs_the_annotation_alone(hub: HubServer, tmp_path: Path) -> None:
    fake_rsitmd(hub, tmp_path)
    hub.repos.clear()
    without = bench(hub, tmp_path, *RUN, "--dry-run", "--no-memory")
    assert without.returncode == 2
    assert without.stderr.endswith("to get it: bench data fetch fake.toml\n")
    failed = bench(hub, tmp_path, "data", "fetch", "fake.toml")
    assert failed.returncode == 2
    assert "images of Fake RSITMD could not be had: huggingface.co/datasets/somebody/" in (
        failed.stderr
    )
    dry = bench(hub, tmp_path, *RUN, "--dry-run", "--no-memory")
    assert dry.returncode == 0, dry.stderr
    assert "0 recorded in results, 1 to run" in dry.stdout


def test_without_a_network(hub: HubServer, tmp_path: Path) -> None:
    fake_rsitmd(hub, tmp_path)
    offline = bench(hub, tmp_path, "data", "fetch", "fake.toml", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "HF_HUB_OFFLINE is set: unset it to download" in offline.stderr
    assert offline.stderr.count("\n") == 1
    assert not hub.requests


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("", 0)])
def test_at_a_terminal_the_run_asks(hub: HubServer, tmp_path: Path, answer: str, code: int) -> None:
    fake_rsitmd(hub, tmp_path)
    words = [*BENCH, "tune", *RUN[1:], "--factors", "1", "--recipe", "steps=1"]
    if code == 0:
        words = [*BENCH, *RUN]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(words[0], words, environment(hub, tmp_path))
    said, answered = b"", False
    while select.select([terminal], [], [], 120)[0]:
        try:
            part = os.read(terminal, 2**16)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        said += part
        if b"[Y/n]" in said and not answered:
            os.write(terminal, f"{answer}\n".encode())
            answered = True
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code, said.decode()
    text = " ".join(said.decode().split())
    assert "Fake RSITMD (" in text
    assert "huggingface.co/datasets/somebody/pictures) is not in" in text
    assert "Fetch it now? [Y/n]" in text
    assert (tmp_path / "data/fake/images").exists() == (code == 0)
