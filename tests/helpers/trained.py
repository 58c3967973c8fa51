"""Made records of 'trained' methods: weights drawn at random, so that no test needs to train."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench import backbone, data, recalls, record
from bench.recipe import Recipe
from methods import registry
from methods.base import Method
from tests.helpers import tiny

METRICS = {f"{prefix}{name}": 12.5 for prefix in ("", "dup_") for name in recalls.METRICS}


def trained(
    root: Path, method: str, recipe: Recipe | None = None, **settings: Any
) -> tuple[Path, Method]:
    """The record of a method on the data set `tiny`, beside it weights; and the method itself."""
    base = backbone.load("starter")
    trial = replace(tiny.trial(root, method, recipe or Recipe(steps=2), **settings), lr=1e-3)
    torch.manual_seed(trial.seed)
    fitted = registry()[method](base.model, **trial.settings)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in fitted.parameters():
            if parameter.requires_grad and parameter.ndim:
                parameter.add_(0.05 * torch.randn_like(parameter))
    dataset = tiny.load(root)
    path = trial.path(root / "results")
    document = {
        "schema": record.SCHEMA,
        "status": "ok",
        "identity": trial.identity,
        "trial": asdict(trial),
        "data": {
            "counts": {name: len(dataset.split(name)) for name in data.SPLITS},
            "hashes": dataset.hashes,
        },
        "backbone": {"name": base.name, "weights_sha256": base.weights_sha256},
        "metrics": {"val": METRICS, "test": METRICS},
    }
    record.write(path, document)
    if fitted.own_state():
        state = {k: v.contiguous().clone() for k, v in fitted.own_state().items()}
        save_file(state, path.with_suffix(".safetensors"))
    return path, fitted.eval()
