"""The recipe: what all methods share."""

import ast
import inspect
import itertools
import math
import textwrap
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from bench import UserError, units
from bench.spec import nearest

LATER = {"later": True}
"""Marks a field that was added after the first release. At its default it is left out of the hash,
so that old records keep their identity."""


def defining(thing: Any) -> dict[str, Any]:
    """The fields of a dataclass that define a trial, later ones only where not at their default."""
    values = {f.name: getattr(thing, f.name) for f in fields(thing)}
    silent = {f.name for f in fields(thing) if f.metadata.get("later")}
    usual = {f.name: f.default for f in fields(thing)}
    return {k: v for k, v in values.items() if not (k in silent and v == usual[k])}


@dataclass(frozen=True)
class Recipe:
    """The training settings that all methods share, so that methods alone are compared.

    The learning rate is the one value that each method may state itself.
    """

    epochs: float = 30.0
    """Passes over all (image, caption) pairs; may be a fraction."""
    steps: int | None = None
    """Optimiser steps, instead of epochs."""
    time: float | None = field(default=None, metadata=LATER)
    """Time of training, such as 10m, instead of epochs: as many steps as fit. Evaluation does not
    count, caching features does."""
    batch_size: int = 128
    """Pairs of image and caption in a step."""
    memory: int | None = field(default=None, metadata=LATER)
    """Memory of training, such as 24GiB, instead of batch_size: the largest power of two that is
    predicted to fit."""
    lr: float | None = None
    """Peak learning rate of every method; none: each method's own."""
    weight_decay: float = 0.05
    """Decay of AdamW; vectors and scalars are not decayed."""
    warmup: float = 0.05
    """Share of the steps, 0 to 1, in which the learning rate rises from 0."""
    clip_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: str = "auto"
    """Number format of the computation: bf16, fp16, fp32, or auto (bf16 where the device has it,
    else fp16 on a GPU and fp32 on a CPU)."""
    augment: bool = True
    """Random resized crops (0.5 to 1.0 of the area) and flips of training images."""
    evaluations: int = 10
    """How often validation recall is measured, evenly over the training."""
    track: str = "train"
    """train: keep the step that is best on validation; train+val: train on both, keep the last."""
    accumulation: int = 1
    """Micro-batches per step, to save memory; negatives come from within a micro-batch."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    frozen: str = field(default="fp32", metadata=LATER)
    """Number format of the weights that stay frozen: fp32 or bf16 (half the memory)."""
    compile: bool = field(default=False, metadata=LATER)
    """Use torch.compile; the time it takes is recorded apart."""
    deterministic: bool = field(default=False, metadata=LATER)
    """Use deterministic algorithms only (slower on a GPU; a CPU is deterministic anyway)."""
    gradcache: int = field(default=0, metadata=LATER)
    """Images per chunk, 0: off. A batch's exact gradients at the memory of a chunk, for one more
    forward pass (Gao et al. 2021)."""


CHOICES = {
    "precision": ("auto", "bf16", "fp16", "fp32"),
    "track": ("train", "train+val"),
    "frozen": ("fp32", "bf16"),
}


INSTEAD = {
    "the length of the training": ("epochs", "steps", "time"),
    "the batch": ("batch_size", "memory"),
}
"""Settings of which a recipe takes one, and what they all say."""


LONGEST, LARGEST = 366 * 86400.0, 2**50
"""Limits of `time` in seconds and `memory` in bytes: what is beyond them is a slip of the pen."""
LIST_THEM = "`bench recipe` lists what a recipe has"


def meanings() -> dict[str, str]:
    """What each value of the recipe means: the text below its field, in one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(Recipe))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field_, text in itertools.pairwise(tree.body):
        if isinstance(field_, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field_.target, ast.Name)
            found[field_.target.id] = " ".join(ast.literal_eval(text.value).split())
    return found


def defaults_in_a_line() -> str:
    """`epochs=30, steps=none, batch_size=128, ...`."""
    return ", ".join(f"{f.name}={written(f.name, f.default)}" for f in fields(Recipe))


def written(name: str, value: Any) -> str:
    """A value of the recipe as it is written after `--recipe NAME=`."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if name == "time":
        return units.exact_seconds(value)
    if name == "memory":
        return units.exact_bytes(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_recipe(words: list[str], base: Recipe | None = None) -> Recipe:
    """`["epochs=10", "lr=1e-3"]` -> Recipe; also comma-separated. Raises UserError."""
    return check_recipe(merge_recipe(base or Recipe(), words))


def merge_recipe(base: Recipe, words: list[str]) -> Recipe:
    """A recipe with other values, not yet checked against each other; raises UserError.

    Some settings stand for one another (INSTEAD): giving one takes the others back to their
    defaults, and two at once are refused.
    """
    hints = get_type_hints(Recipe)
    known = {f.name: hints[f.name] for f in fields(Recipe)}
    values: dict[str, Any] = {}
    for word in (part.strip() for text in words for part in text.split(",") if part.strip()):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            raise UserError(f"write --recipe NAME=VALUE, not {word!r}; {LIST_THEM}")
        if name not in known:
            raise UserError(f"the recipe has no {name!r}{nearest(name, known)}; {LIST_THEM}")
        values[name] = _value(name, known[name], value)
    for what, names in INSTEAD.items():
        given = [name for name in names if values.get(name) is not None]
        if len(given) > 1:
            both = " and ".join(f"{name}={written(name, values[name])}" for name in given)
            raise UserError(
                f"the recipe says both {both}, two ways to give {what}; give one of them"
            )
        if given:
            defaults = {f.name: f.default for f in fields(Recipe)}
            values |= {name: defaults[name] for name in names if name not in given}
    return replace(base, **values)


def _value(name: str, kind: Any, text: str) -> Any:
    if name in CHOICES:
        return text
    if text.lower() == "none" and kind in (int | None, float | None):
        return None
    if name == "time":
        return units.parse_seconds(text, "recipe time", "s")
    if name == "memory":
        return units.parse_bytes(text, "recipe memory", "b")
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"recipe {name} is true or false, not {text!r}")
    whole = kind in (int, int | None)
    try:
        return int(text) if whole else float(text)
    except ValueError:
        what = "a whole number" if whole else "a number"
        raise UserError(f"recipe {name} is {what}, not {text!r}") from None


def check_recipe(recipe: Recipe) -> Recipe:
    """The recipe itself when its values make sense, else UserError."""
    for name, choices in CHOICES.items():
        if getattr(recipe, name) not in choices:
            raise UserError(
                f"recipe {name} is one of {', '.join(choices)}, not {getattr(recipe, name)!r}"
            )
    positive = ("epochs", "batch_size", "clip_norm", "evaluations", "accumulation")
    for name in positive:
        if not 0 < getattr(recipe, name) < math.inf:
            raise UserError(f"recipe {name} must be a number above 0")
    if recipe.steps is not None and recipe.steps < 1:
        raise UserError("recipe steps must be at least 1")
    if recipe.time is not None and not 0 < recipe.time < math.inf:
        raise UserError("recipe time must be a time above 0, such as 10m")
    if recipe.time is not None and recipe.time > LONGEST:
        raise UserError(
            f"recipe time={written('time', recipe.time)} is more than a year; write for instance 2h"
        )
    if recipe.memory is not None and recipe.memory < 2**10:
        raise UserError(
            f"recipe memory={recipe.memory} would be that many bytes; write the unit, such as 24GiB"
        )
    if recipe.memory is not None and recipe.memory > LARGEST:
        raise UserError(
            f"recipe memory={written('memory', recipe.memory)} is more than any device has; "
            "write for instance 24GiB"
        )
    if recipe.lr is not None and not 0 < recipe.lr < math.inf:
        raise UserError("recipe lr must be a number above 0")
    if not 0 <= recipe.weight_decay < math.inf:
        raise UserError("recipe weight_decay must be a number from 0")
    if not 0 <= recipe.warmup <= 1:
        raise UserError("recipe warmup is a share of the steps, 0 to 1")
    if recipe.frozen == "bf16" and recipe.precision in ("fp32", "fp16"):
        raise UserError(f"recipe frozen=bf16 needs precision=bf16, not {recipe.precision}")
    if recipe.gradcache < 0:
        raise UserError("recipe gradcache is a number of images from 0 (off)")
    if recipe.gradcache and recipe.compile:
        raise UserError("recipe gradcache does not work with compile=true; leave one of them out")
    if recipe.batch_size < 2:
        raise UserError("recipe batch_size must be at least 2: a contrastive loss needs a negative")
    return recipe
