"""The repository as a whole: packaging, and pages that the code generates."""

import io
import json
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pandas as pd
import pydantic
import pytest
import yaml
from typer.testing import CliRunner

import methods
from bench import cli, record
from tests import modules, readme_table, schemas
from tests.helpers.fake_records import write_report

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def copy(names: list[str], folder: Path) -> None:
    """Copy files of the tree, so that nothing is written into it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())


def test_the_page_of_modules_is_the_code() -> None:
    kept = modules.PAGE.read_text(encoding="utf-8")
    assert modules.page() == kept, "run `python tests/modules.py`"


def test_the_schemas_for_editors_are_the_code() -> None:
    if f"pydantic=={pydantic.VERSION}" not in (ROOT / "constraints.txt").read_text().split():
        pytest.skip("versions of pydantic write them differently; constraints.txt names the one")
    for name, fresh in schemas.pages().items():
        kept = (schemas.FOLDER / name).read_text(encoding="utf-8")
        assert fresh == kept, "run `python tests/schemas.py`"


def test_nothing_of_the_workplace_is_named() -> None:
    places = ("/work" + "/", "/root" + "/", "file" + ":///", "pypi" + ".org/simple")
    for name in tracked():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".json", ".txt", ".csv", ".html", ""):
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [place for place in places if place in text], name


def test_the_example_method_passes_its_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = re.search(r"<!-- example: shift.py -->\n```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    assert len(block[1].strip().splitlines()) <= 30
    (tmp_path / "shift.py").write_text(block[1])
    monkeypatch.setattr(methods, "_REGISTRY", methods.registry())
    done = CliRunner().invoke(cli.app, ["validate", str(tmp_path / "shift.py")])
    assert done.exit_code == 0, done.output
    assert "all checks passed" in done.output


def test_the_wheel_carries_cards_and_starter_and_no_datasets_package(tmp_path: Path) -> None:
    parts = ("bench/", "methods/", "datasets/", "pyproject.toml", "README.md", "LICENSE")
    copy([name for name in tracked() if name.startswith(parts)], tmp_path / "source")
    words = ["wheel", "./source", "--no-deps", "--no-build-isolation", "--quiet", "-w", "."]
    subprocess.run([sys.executable, "-m", "pip", *words], cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "bench/cards/rsitmd.toml" in names
    assert "bench/starter/starter.safetensors" in names
    assert "bench/starter/starter.json" in names
    assert not [name for name in names if name.startswith(("datasets/", "tests/"))]
    folder = tmp_path / "installed"
    words = ["install", str(wheel), "--no-deps", "--quiet", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    code = (
        f"import sys; sys.path = [p for p in sys.path if p not in ('', {str(ROOT)!r})];"
        f"sys.path.insert(0, {str(folder)!r}); from bench import data, backbone;"
        "print(sorted(data.cards()), backbone.load('starter').parameters, data.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rsitmd" in done.stdout
    assert str(folder) in done.stdout


def test_help_is_quick() -> None:
    code = """
import runpy, sys
from tests.helpers.calls import calls
sys.argv = ["bench", "--help"]
print(calls(runpy.run_module, "bench.cli", None, "__main__"), file=sys.stderr)
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stderr) < 300_000  # 150,000 in 0.27 s where this was written


def committed(folder: str, *endings: str) -> list[str]:
    """The files below a folder, without those of an archive in it."""
    archive = f"{folder}/{record.ARCHIVE}/"
    inside = [name for name in tracked() if name.startswith(f"{folder}/")]
    return [name for name in inside if name.endswith(endings) and not name.startswith(archive)]


@pytest.mark.parametrize(
    "folder", ["", f"/{record.ARCHIVE}/starter-1", f"/{record.ARCHIVE}/version-0.6"]
)
def test_the_report_is_of_the_committed_records(tmp_path: Path, folder: str) -> None:
    """An archive of records has a report of its own; the report of `results` leaves it out."""
    results, reports = f"results{folder}", f"reports{folder}"
    copy(committed(results, ".json", ".toml"), tmp_path)
    texts = (".md", ".csv", ".tex")
    written = write_report(tmp_path / results, tmp_path / reports)
    fresh = {path.relative_to(tmp_path).as_posix() for path in written if path.suffix in texts}
    assert fresh == set(committed(reports, *texts))
    for name in fresh:
        content, kept = (tmp_path / name).read_bytes(), (ROOT / name).read_bytes()
        if name.endswith(".csv"):  # the last of 16 digits depends on the versions of packages
            tables = pd.read_csv(io.BytesIO(content)), pd.read_csv(io.BytesIO(kept))
            pd.testing.assert_frame_equal(*tables, rtol=1e-12, obj=name)
        else:
            assert content == kept, f"{name}: run `bench report` and commit it"


def test_the_readme_shows_the_report() -> None:
    report = (ROOT / "reports" / "report.md").read_text(encoding="utf-8")
    assert readme_table.update(README, report) == README, "run `python tests/readme_table.py`"


def test_the_page_of_predictions_shows_the_committed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "predicted.py"))
    rows = json.loads((ROOT / "benchmarks" / "predicted.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "predictions.md").read_text(encoding="utf-8")
    assert script["table"](rows) in page


def test_what_the_pages_link_to_is_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_one_version_stands_everywhere() -> None:
    import bench

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert declared["project"]["version"] == bench.__version__
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == bench.__version__
    assert cited["license"] == declared["project"]["license"]
    assert f"## {bench.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_fits_three_screens() -> None:
    assert len(README.splitlines()) <= 160
