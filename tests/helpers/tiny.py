"""The made data set `tiny` of tests/conftest.py: its card, its samples, and changes to them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import data


def card(root: Path) -> data.Card:
    return data.card(str(root / "tiny.toml"))


def load(root: Path) -> data.Dataset:
    return data.load(card(root), root)


def edit(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the images of the annotation."""
    path = root / "tiny" / "dataset.json"
    document = json.loads(path.read_text())
    change(document["images"])
    path.write_text(json.dumps(document))
