"""The documentation is built as a site, without a network and without a dead link."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_site_is_built_without_a_dead_link(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        reason = "needs the extra `docs`: pip install -c constraints.txt -e '.[docs]'"
        pytest.importorskip(package, reason=reason)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "docs" / "python.html").read_text(encoding="utf-8")
    for name in (
        "bench.api.load",
        "bench.trained.model.TrainedModel.search",
        "methods.base.Method",
    ):
        assert f'id="{name}"' in page
    assert "hf:OWNER/NAME" in page  # the docstrings
    # Nothing is loaded from elsewhere, so it can be read where there is no network.
    for file in (tmp_path / "site").rglob("*.html"):
        if file.parent.name != "reports":
            loaded = re.findall(
                r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\" >]+)",
                file.read_text(encoding="utf-8"),
            )
            assert not loaded, file.name


def test_every_page_of_docs_is_in_the_navigation() -> None:
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f": docs/{page.name}\n" in told, f"enter docs/{page.name} in mkdocs.yml"
