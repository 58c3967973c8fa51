"""Fixtures: the real data where it is, a tiny made data set, a small model."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import slow
from tests.helpers.until import PATIENCE


def pytest_configure(config: pytest.Config) -> None:
    """Give every test, and every process that it starts, the same surroundings on each machine.

    Before torch, Typer and the Hub's client are imported, for they read these once. A GPU is
    hidden, so that all is tested on the CPU; `--gpu` is for tests/test_cuda.py.
    """
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # servers of tests
    for name in list(os.environ):
        told = name.startswith(("HF_", "SLURM_", "RAY_", "BENCH_"))
        if name in TERMINAL or (told and name not in ("BENCH_CACHE", "BENCH_DATA")):
            del os.environ[name]
    for what in ("ETAG", "DOWNLOAD"):  # a busy machine may take its time to answer itself
        os.environ[f"HF_HUB_{what}_TIMEOUT"] = str(PATIENCE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--measure` is for a run of all tests in one process, `--gpu` for tests/test_cuda.py."""
    parser.addoption("--measure", action="store_true", help="write tests/slow.txt anew")
    parser.addoption("--gpu", action="store_true", help="let the tests see this machine's GPU")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that tests/slow.txt names."""
    names = slow.named()
    for item in items:
        if slow.function(item.nodeid) in names:
            item.add_marker(pytest.mark.slow)


USED: Counter[str] = Counter()
"""CPU seconds of each test function so far."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Note what a test takes, fixtures included."""
    before = slow.cpu_seconds()
    try:
        return (yield)
    finally:
        USED[slow.function(item.nodeid)] += slow.cpu_seconds() - before


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the list where it was asked for."""
    if session.config.getoption("measure"):
        slow.write(USED)


TERMINAL = (
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS"),
    *("TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS"),
)
"""What makes Rich and Typer believe that they write to a terminal, or to one of another width."""


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The root of the real data sets; the test is skipped where they are not."""
    root = Path(os.environ.get("BENCH_DATA", "data"))
    if not (root / "ucm" / "dataset_UCM.json").exists():
        pytest.skip("no real data: set BENCH_DATA to a folder with ucm/, rsicd/, rsitmd/")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded images of one test run are not served to another."""
    if "BENCH_CACHE" not in os.environ:
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


CARD = """
name = "tiny"
title = "Tiny"
kind = "karpathy"
source = "this test"
put = "and put it into <data root>/tiny"
annotation = "dataset.json"
images = "images"
backbone = "starter"
[counts]
train = 8
val = 4
test = 4
[test]
filenames_sha256 = "{hash}"
[scenes]
rule = "filename"
"""


@pytest.fixture
def sdpa() -> Iterator[None]:
    """Attention goes through SDPA, as after `backbone.load`; torch's own choice afterwards."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A data root with a made data set `tiny` in Karpathy form, and its card at `tiny.toml`."""
    return make_tiny(tmp_path)


def make_tiny(root: Path) -> Path:
    """Write the data set `tiny` and its card below `root`."""
    from bench.data import short_hash

    folder = root / "tiny"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = []
    splits = ["train"] * 8 + ["val"] * 4 + ["test"] * 4
    for number, split in enumerate(splits):
        scene = ("pond", "port")[number % 2]
        name = f"{scene}_{number}.png"
        pixels = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        sentences = [{"raw": f"picture {number} of a {scene} , version {k} ."} for k in range(5)]
        images.append({"filename": name, "split": split, "sentences": sentences})
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    stems = sorted(Path(i["filename"]).stem for i in images if i["split"] == "test")
    (root / "tiny.toml").write_text(CARD.format(hash=short_hash("\n".join(stems))))
    return root
