"""The example package under docs/: installed as a user would, found by its entry point, run."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import methods

EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "example_method"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed."""
    folder = tmp_path_factory.mktemp("site")
    left_by_builds = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=left_by_builds)
    words = ["install", str(source), "--no-deps", "--no-build-isolation", "--quiet"]
    words += ["--target", str(folder / "packages")]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    paths = [str(folder / "packages"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_the_installed_method_keeps_the_contract(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its entry point; the package's own test is run."""
    monkeypatch.setattr(methods, "_REGISTRY", methods.registry())
    monkeypatch.syspath_prepend(installed["PYTHONPATH"].split(os.pathsep)[0])
    tests = runpy.run_path(str(EXAMPLE / "tests" / "test_gate.py"))
    tests["test_gate_is_registered_and_keeps_the_contract"]()


def test_the_installed_method_runs(installed: dict[str, str], tiny: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "bench", "run", "--methods", "gate(low_rank=2)"]
    words += ["--dataset", str(tiny / "tiny.toml"), "--data-root", str(tiny)]
    words += ["--recipe", "steps=2,batch_size=8,evaluations=1", "--results", str(tmp_path)]
    subprocess.run(words, cwd=tmp_path, env=installed, check=True)
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("seed*.json")]
    assert {record["trial"]["call"] for record in records} == {"gate(low_rank=2)"}
    assert {record["status"] for record in records} == {"ok"}
