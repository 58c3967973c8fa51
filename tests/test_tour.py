"""The cells of the notebook run from the first to the last, on smaller data and fewer steps."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

import methods

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "tour.ipynb"
SMALLER = {
    '"batch_size": 32': '"batch_size": 4',
    '"steps": 16': '"steps": 2',
    "zeroshot,linear,lora,cmer": "zeroshot,lora,cmer",
}
"""What is replaced in the cells to save time, beside the data set."""


def test_the_tour_runs(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny)
    monkeypatch.setenv("BENCH_DATA", str(tiny))
    monkeypatch.setattr(methods, "_REGISTRY", methods.registry())
    names: dict[str, Any] = {}
    plt.close("all")
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        smaller = {**SMALLER, '"synthetic",': f'"{tiny / "tiny.toml"}",'}
        for before, after in smaller.items():
            source = source.replace(before, after)
        if source.startswith("%%writefile "):
            first, _, text = source.partition("\n")
            Path(first.split()[1]).write_text(text, encoding="utf-8")
        else:
            exec(source.replace("%matplotlib inline", ""), names)
    assert len(plt.get_fignums()) == 3
    plt.close("all")
    assert set(names["table"].index) == {"zeroshot", "lora", "cmer"}
    assert set(names["mine"]["trial.call"]) == {"shift", "shift(size=0.1)"}
