"""The data set `tiny` of tests/conftest.py: its card, its samples, trials on it, changes to it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import data
from bench.recipe import Recipe
from bench.spec import resolve
from bench.trial import Trial
from methods import registry


def card(root: Path) -> data.Card:
    return data.card(str(root / "tiny.toml"))


def load(root: Path) -> data.Dataset:
    return data.load(card(root), root)


def with_captions(root: Path, split: str, *captions: list[str]) -> data.Dataset:
    """The data set with these captions for the first images of a split."""
    dataset = load(root)
    for row, said in zip(dataset.split(split), captions, strict=False):
        dataset.samples[row] = replace(dataset.samples[row], captions=tuple(said))
    return dataset


def trial(
    root: Path, method: str, recipe: Recipe, views: int = 0, seed: int = 0, **settings: Any
) -> Trial:
    """A trial on the data set with the starter; `views`: of cached features."""
    call = resolve(method, settings, registry())
    what = (call.name, call.text, dict(call.settings), call.lr)
    return Trial(str(root / "tiny.toml"), "starter", *what, recipe, seed, {}, views)


def edit(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the images of the annotation."""
    path = root / "tiny" / "dataset.json"
    document = json.loads(path.read_text())
    change(document["images"])
    path.write_text(json.dumps(document))
