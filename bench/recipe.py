"""The recipe: what all methods share."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from bench import UserError

LATER = {"later": True}
"""Marks a field that came after the first records: at its default it does not enter an identity,
so that those records keep theirs."""


def defining(thing: Any) -> dict[str, Any]:
    """The fields of a dataclass that define a trial, later ones only where not at their default."""
    values = {f.name: getattr(thing, f.name) for f in fields(thing)}
    silent = {f.name for f in fields(thing) if f.metadata.get("later")}
    usual = {f.name: f.default for f in fields(thing)}
    return {k: v for k, v in values.items() if not (k in silent and v == usual[k])}


@dataclass(frozen=True)
class Recipe:
    """What all methods share. Learning rate is the one value that a method may state itself."""

    epochs: float = 30.0
    """Passes over all (image, caption) pairs; may be a fraction."""
    steps: int | None = None
    """Optimiser steps; where given, `epochs` does not count."""
    batch_size: int = 128
    lr: float | None = None
    """Peak learning rate; None: the method's own."""
    weight_decay: float = 0.05
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises linearly."""
    clip_norm: float = 1.0
    precision: str = "auto"
    """bf16 | fp16 | fp32 | auto (bf16 where the device computes in it, else fp16 on a GPU and fp32
    on a CPU)."""
    augment: bool = True
    """Random resized crop 0.5-1.0 and both flips, on the device."""
    evaluations: int = 10
    """How often validation is looked at, evenly over the training."""
    track: str = "train"
    """train: select on val. train+val: train on both, take the last step, select nothing."""
    accumulation: int = 1
    """Micro-batches per step; negatives are those of a micro-batch."""
    checkpointing: bool = False
    """Recompute each block in the backward instead of keeping its activations."""
    frozen: str = field(default="fp32", metadata=LATER)
    """fp32 | bf16: the number format in which frozen weights of the backbone are held; what a
    method trains stays float32, so that it changes nothing where all is trained."""
    compile: bool = field(default=False, metadata=LATER)
    """torch.compile `encode_image` and `encode_text`; the time it takes is recorded apart."""
    deterministic: bool = field(default=False, metadata=LATER)
    """Only deterministic algorithms (slower on CUDA; a CPU is deterministic anyway)."""


CHOICES = {
    "precision": ("auto", "bf16", "fp16", "fp32"),
    "track": ("train", "train+val"),
    "frozen": ("fp32", "bf16"),
}


def parse_recipe(words: list[str], base: Recipe | None = None) -> Recipe:
    """`["epochs=10", "lr=1e-3"]` -> Recipe; also comma-separated. Raises UserError."""
    from bench.spec import nearest

    hints = get_type_hints(Recipe)
    known = {f.name: hints[f.name] for f in fields(Recipe)}
    values: dict[str, Any] = {}
    for word in (part.strip() for text in words for part in text.split(",") if part.strip()):
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"write --recipe NAME=VALUE, not {word!r}")
        if name not in known:
            raise UserError(
                f"the recipe has no {name!r}{nearest(name, known)}; it has {list(known)}"
            )
        values[name] = _value(name, known[name], value)
    return check_recipe(replace(base or Recipe(), **values))


def _value(name: str, kind: Any, text: str) -> Any:
    if name in CHOICES:
        return text
    if text.lower() == "none" and kind in (int | None, float | None):
        return None
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"recipe {name} is true or false, not {text!r}")
    try:
        return int(text) if kind in (int, int | None) else float(text)
    except ValueError:
        raise UserError(f"recipe {name} is a number, not {text!r}") from None


def check_recipe(recipe: Recipe) -> Recipe:
    """The recipe itself when its values make sense, else UserError."""
    for name, choices in CHOICES.items():
        if getattr(recipe, name) not in choices:
            raise UserError(f"recipe {name} is one of {', '.join(choices)}")
    positive = ("epochs", "batch_size", "clip_norm", "evaluations", "accumulation")
    for name in positive:
        if not 0 < getattr(recipe, name) < math.inf:
            raise UserError(f"recipe {name} must be a number above 0")
    if recipe.steps is not None and recipe.steps < 1:
        raise UserError("recipe steps must be at least 1")
    if recipe.lr is not None and not 0 < recipe.lr < math.inf:
        raise UserError("recipe lr must be a number above 0")
    if not 0 <= recipe.weight_decay < math.inf:
        raise UserError("recipe weight_decay must be a number from 0")
    if not 0 <= recipe.warmup <= 1:
        raise UserError("recipe warmup is a share of the steps, 0 to 1")
    if recipe.frozen == "bf16" and recipe.precision in ("fp32", "fp16"):
        raise UserError(f"recipe frozen=bf16 needs precision=bf16, not {recipe.precision}")
    if recipe.batch_size < 2:
        raise UserError("recipe batch_size must be at least 2: a contrastive loss needs a negative")
    return recipe
