"""The functions for Python users: run, records, load, search."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import bench
from bench.trained.restore import restore
from tests.conftest import make_tiny


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Two short trials on the tiny data set, from Python."""
    root = make_tiny(tmp_path_factory.mktemp("data"))
    results = tmp_path_factory.mktemp("results")
    frame = bench.run(
        ["linear", "zeroshot"],
        str(root / "tiny.toml"),
        backbone="starter",
        recipe={"steps": 2, "batch_size": 4, "evaluations": 1, "precision": "fp32"},
        results=results,
        data_root=root,
        gpus="none",
    )
    return root, frame


def test_run_returns_the_records_of_its_trials_in_order(swept: tuple[Path, pd.DataFrame]) -> None:
    _, frame = swept
    assert list(frame["trial.method"]) == ["linear", "zeroshot"]
    assert list(frame["status"]) == ["ok", "ok"]
    results = Path(frame["path"][0]).parents[3]
    everything = bench.records(results)
    assert sorted(everything["path"]) == sorted(frame["path"])
    assert set(everything["identity"]) == set(frame["identity"])


def test_cached_features_may_be_turned_on_by_true(
    swept: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    root, _ = swept
    card, first = str(root / "tiny.toml"), {"steps": 1, "batch_size": 4}
    options: Any = {"backbone": "starter", "recipe": first, "data_root": root, "gpus": "none"}
    frame = bench.run("linear", card, results=tmp_path, cache_features=True, **options)
    assert list(frame["trial.cached_features"]) == [1]


def test_a_loaded_model_encodes_as_the_record_was_tested(swept: tuple[Path, pd.DataFrame]) -> None:
    root, frame = swept
    model = bench.load(frame["path"][0], device="cpu")
    assert model.call == "linear"
    files = [root / "tiny" / "images" / f"{s}_{n}.png" for n, s in [(12, "pond"), (13, "port")]]
    features = model.encode_images([str(files[0]), files[1]])
    assert features.shape == (2, model.encode_texts(["a pond"]).shape[1])
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2), rtol=0, atol=1e-5)
    # Pillow images, of any mode, are the same to it as the files that hold them.
    opened = model.encode_images([Image.open(files[0]), Image.open(files[1]).convert("RGBA")])
    torch.testing.assert_close(opened, features, rtol=0, atol=1e-5)
    # One at a time, and from features that were encoded before, a search says the same.
    found = model.search("picture 12 of a pond", files, top=5)
    assert [match.image for match in found] == [files[match.index] for match in found]
    assert len(found) == 2
    assert found[0].score >= found[1].score
    again = model.search("picture 12 of a pond", features)
    assert [match.index for match in again] == [match.index for match in found]
    scores = features @ model.encode_texts(["picture 12 of a pond"])[0]
    assert found[0].index == int(scores.argmax())


def test_a_restored_method_repeats_the_ranks_of_its_trial(
    swept: tuple[Path, pd.DataFrame],
) -> None:
    root, frame = swept
    path = Path(frame["path"][0])
    restored = restore(path)
    test_set = restored.test_set(restored.own_dataset(root))
    assert restored.rank(test_set)[0] == pytest.approx(restored.record["metrics"]["test"])
    images, texts = restored.encode(test_set)
    scores = texts @ images.t()
    own = scores.gather(1, torch.arange(len(scores))[:, None] // 5)
    ranks = 1 + (scores > own).sum(dim=1)
    assert np.array_equal(ranks.numpy(), np.load(path.with_suffix(".npz"))["t2i"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda path: bench.load("nowhere.json"), "there is no record"),
        (lambda path: bench.load(path, device="cuda:99"), "cannot be used"),
        (lambda path: bench.records("nowhere"), "no folder"),
        (lambda path: bench.load(path, "cpu").encode_images("a.png"), "as a list"),
        (lambda path: bench.load(path, "cpu").encode_images(["nowhere.png"]), "nowhere.png"),
        (lambda path: bench.load(path, "cpu").encode_images([Image.new("I;16", (9, 9))]), "8 bits"),
        (lambda path: bench.load(path, "cpu").encode_texts("a pond"), "as a list"),
        (lambda path: bench.load(path, "cpu").encode_texts([]), "at least one"),
        (lambda path: bench.run("cmr", "synthetic"), "did you mean 'cmer'"),
        (lambda path: bench.run("cmer", "nowhere"), "no data set"),
        (lambda path: bench.run("cmer", Path("nowhere.toml")), "no card at nowhere.toml"),
        (lambda path: bench.run("cmer", "synthetic", plugins="nowhere.py"), "file nowhere.py"),
        (lambda path: bench.run("cmer", "synthetic", gpus=99), "--gpus"),
        (lambda path: bench.run("cmer", "synthetic", recipe={"stepps": 3}), "steps"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(
    swept: tuple[Path, pd.DataFrame], call: object, says: str
) -> None:
    with pytest.raises(bench.UserError, match=says):
        call(swept[1]["path"][0])  # type: ignore[operator]


def test_importing_bench_brings_nothing_heavy() -> None:
    heavy = "('torch', 'pandas', 'typer', 'numpy')"
    code = f"import bench, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
