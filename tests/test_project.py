"""The project's own files agree with the package: workflow, container, contributing."""

import re
import tomllib
from pathlib import Path

import yaml

from tests.helpers import slow

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_workflow_begins_with_the_oldest_python_and_runs_make_test() -> None:
    job = yaml.safe_load(text(".github/workflows/tests.yml"))["jobs"]["test"]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == oldest
    assert any(step.get("run", "").startswith("make test") for step in job["steps"])


def test_the_container_holds_every_folder_with_code() -> None:
    places = set(PROJECT["tool"]["setuptools"]["package-dir"].values())
    recipe, kept = text("Dockerfile"), text(".dockerignore").splitlines()
    for folder in places:
        assert f"COPY {folder} ./{folder}" in recipe
        assert f"!{folder}" in kept
    for file in re.findall(r"COPY (.+) \./\n", recipe)[0].split():
        assert (ROOT / file).is_file()
        assert f"!{file}" in kept


def test_hooks_and_commands_that_are_named_exist() -> None:
    (local,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    for hook in local["hooks"]:
        script = re.search(r"tests/\S+\.py", hook["entry"])
        assert script is None or (ROOT / script.group()).is_file()
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    page = text("CONTRIBUTING.md")
    assert set(re.findall(r"make ([a-z]+)\b(?= *[`#|])", page)) <= targets


def test_the_list_of_slow_tests_is_of_these_tests() -> None:
    """Where many names are gone, `make slow` is due: tests have moved, and new ones are slow."""
    gone = []
    for name in slow.named():
        file, function = name.split("::")
        path = ROOT / "tests" / file
        if not path.is_file() or f"def {function}(" not in text(f"tests/{file}"):
            gone.append(name)
    assert len(gone) <= 0.1 * len(slow.named()), f"not among the tests: {gone}; run `make slow`"
