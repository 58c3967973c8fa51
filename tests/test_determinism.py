"""Same seed, same machine, same record, bit for bit on a CPU; another seed, another training."""

import copy
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import backbone, contract, record, trial_run
from bench.backbone.preprocess import Preprocess
from bench.recipe import Recipe
from bench.training import train, trainer
from methods import registry
from tests.helpers.curves import untimed
from tests.helpers.tiny import trial

METHODS = registry()
MODEL = contract.tiny_model()


def tokenizer(texts: list[str]) -> Tensor:
    """Words as numbers from 2 to 97, then 99, then zeros: what `tiny_model` takes."""
    tokens = torch.zeros(len(texts), contract.TEXT["context_length"], dtype=torch.long)
    for row, text in enumerate(texts):
        words = [2 + zlib.crc32(word.encode()) % 96 for word in text.split()]
        tokens[row, : len(words) + 1] = torch.tensor([*words, 99])
    return tokens


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A small backbone for all, no measuring; the list takes each batch that is trained on."""
    order: list[Any] = []
    gray = (0.5, 0.5, 0.5)
    how = Preprocess(mean=gray, std=gray)
    rest = (tokenizer, 32, how, 0, "0" * 16, 1)
    new = lambda _: backbone.Backbone("tiny", "random", copy.deepcopy(MODEL), *rest)  # noqa: E731
    step = trainer.Trainer.step

    def seen(own: trainer.Trainer, micro: list[Any]) -> Tensor:
        order.extend((b.image_ids.tolist(), b.texts.tolist(), b.images.sum()) for b in micro)
        return step(own, micro)

    monkeypatch.setattr(backbone, "load", new)
    monkeypatch.setattr(train, "step_costs", lambda *_: {})
    monkeypatch.setattr(trainer.Trainer, "step", seen)
    return order


def ran(
    name: str, seed: int, root: Path, order: list[Any], precision: str = "fp32"
) -> dict[str, Any]:
    """What a training leaves: figures, files beside the record, the order of its batches."""
    torch.rand(3), np.random.rand(3), random.random()  # what ran before is no part of a trial
    recipe = Recipe(steps=3, batch_size=4, evaluations=3, precision=precision, lr=0.01)
    files: record.Files = {}
    order.clear()
    one = trial(root, name, recipe, seed=seed)
    done = trial_run.run(one, root, root / "results", lambda _: None, files)
    assert done["status"] == "ok", done["traceback"]
    assert done["efficiency"]["precision"] == {"fp32": "float32", "bf16": "bfloat16"}[precision]
    found = {"metrics": done["metrics"], "curve": untimed(done["curve"]), "order": list(order)}
    for suffix, write in files.items():
        write(root / "file")
        found[suffix] = (root / "file").read_bytes()
    return found


CASES = [(name, "fp32") for name in METHODS] + [(name, "bf16") for name in ("cmer", "lora", "vpt")]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_seed_decides_a_trial(name: str, precision: str, tiny: Path, small: list[Any]) -> None:
    """Bit for bit, since a process does the same operations on the same shapes each time."""
    first = ran(name, 0, tiny, small, precision)
    again = ran(name, 0, tiny, small, precision)
    for what, value in first.items():
        assert again[what] == value, f"{what} of one seed differs"
    if name == "lora":
        other = ran(name, 1, tiny, small, precision)
        assert other["order"] != first["order"]
        assert other["curve"] != first["curve"]
        assert other[".safetensors"] != first[".safetensors"]
