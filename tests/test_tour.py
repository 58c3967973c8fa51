"""The notebook runs from its first cell to its last, as a reader would run it."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "tour.ipynb"


@pytest.mark.slow
def test_the_tour_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    committed = [cell.source for cell in notebook.cells]
    runner = client.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    runner.execute()
    assert [cell.source for cell in notebook.cells] == committed
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    tables = [o.data["text/plain"] for o in outputs if "text/plain" in o.get("data", {})]
    assert any("cmer" in table and "mR" in table for table in tables)
    assert any("shift(size=0.1)" in table for table in tables)
