"""The example package under docs/: installed as a user would, found by its entry point, run."""

import json
import os
import runpy
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
    source = folder / "source"  # a copy: building leaves files in the tree
    source.mkdir()
    for path in EXAMPLE.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".toml", ".md"):
            copy = source / path.relative_to(EXAMPLE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    words = ["install", str(source), "--no-deps", "--no-build-isolation", "--quiet"]
    words += ["--target", str(folder / "packages")]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    paths = [str(folder / "packages"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def bench(words: list[str], environment: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_installed_method_keeps_the_contract(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its entry point; the package's own test is run."""
    monkeypatch.setattr(methods, "_REGISTRY", methods.registry())
    monkeypatch.syspath_prepend(installed["PYTHONPATH"].split(os.pathsep)[0])
    tests = runpy.run_path(str(EXAMPLE / "tests" / "test_gate.py"))
    tests["test_gate_is_registered_and_keeps_the_contract"]()


def test_the_installed_method_runs(installed: dict[str, str], tiny: Path, tmp_path: Path) -> None:
    words = ["run", "--methods", "gate(low_rank=2)", "--dataset", str(tiny / "tiny.toml")]
    words += ["--recipe", "steps=2,batch_size=8,evaluations=1", "--results", str(tmp_path)]
    bench([*words, "--data-root", str(tiny)], installed, tmp_path)
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("seed*.json")]
    assert {record["trial"]["call"] for record in records} == {"gate(low_rank=2)"}
    assert {record["status"] for record in records} == {"ok"}
