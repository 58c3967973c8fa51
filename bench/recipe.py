"""The recipe: the training settings that all methods share."""

import ast
import inspect
import itertools
import math
import textwrap
from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from bench import UserError, units
from bench.spec import HIGHEST_RATE, LARGEST_WHOLE, nearest

LATER = {"later": True}
"""Marks a field that was added after the first release. At its default it is left out of the hash,
so that old records keep their identity."""


def defining(thing: Any) -> dict[str, Any]:
    """The fields of a dataclass that define a trial; those marked LATER if not at their default."""
    return {
        f.name: value
        for f in fields(thing)
        if (value := getattr(thing, f.name)) != f.default or not f.metadata.get("later")
    }


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
    """Pairs of image and caption in a step (with accumulation: in a micro-batch)."""
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
    """Micro-batches of batch_size pairs in a step, for a larger step in the same memory; negatives
    come from within a micro-batch."""
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
"""Settings that exclude each other, because they decide the same thing; the first is the usual."""
ABOVE_ZERO = ("epochs", "steps", "time", "batch_size", "lr", "clip_norm", "evaluations")
MOST_EVALUATIONS = 100_000
"""Their steps are listed before the training; more is a typing error."""
LIST_THEM = "`bench recipe` lists what a recipe has"


def meanings(form: type = Recipe) -> dict[str, str]:
    """What each field of a class means, by its name: the text below it, in one line."""
    # From the source: Python itself does not keep a text below a field.
    tree = ast.parse(textwrap.dedent(inspect.getsource(form))).body[0]
    assert isinstance(tree, ast.ClassDef)
    return {
        line.target.id: " ".join(ast.literal_eval(text.value).split())
        for line, text in itertools.pairwise(tree.body)
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and isinstance(text, ast.Expr)
    }


def defaults_in_a_line() -> str:
    """`epochs=30, steps=none, batch_size=128, ...`."""
    return ", ".join(f"{f.name}={written(f.name, f.default)}" for f in fields(Recipe))


def applying(recipe: Recipe) -> dict[str, Any]:
    """The values that apply, by name: no epochs beside steps, and nothing that is none."""
    replaced = {
        usual
        for usual, *others in INSTEAD.values()
        if any(getattr(recipe, name) is not None for name in others)
    }
    return {k: v for k, v in vars(recipe).items() if v is not None and k not in replaced}


def batch_in_words(sizes: Collection[int], accumulation: int) -> str:
    """The images of a step: `64 to 256`, or `512 (4 micro-batches of 128)`.

    sizes: images in a micro-batch, of one training or several.
    """

    def ends(factor: int) -> str:
        return " to ".join(f"{factor * size:,}" for size in sorted({min(sizes), max(sizes)}))

    parts = f" ({accumulation} micro-batches of {ends(1)})" if accumulation > 1 else ""
    return ends(accumulation) + parts


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
    """`["epochs=10", "lr=1e-3,warmup=0"]` -> a recipe, over the values of another one.

    Raises UserError.
    """
    recipe = merge_recipe(base or Recipe(), words)
    _check(recipe)
    return recipe


def merge_recipe(base: Recipe, words: list[str]) -> Recipe:
    """As `parse_recipe`, but values are not checked against each other: more may follow.

    Values that exclude each other (INSTEAD): the one that is stated sets the others to their
    defaults.
    """
    hints, defaults = get_type_hints(Recipe), {f.name: f.default for f in fields(Recipe)}
    values: dict[str, Any] = {}
    for word in (part.strip() for text in words for part in text.split(",") if part.strip()):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            raise UserError(f"write --recipe NAME=VALUE, not {word!r}; {LIST_THEM}")
        if name not in hints:
            raise UserError(f"the recipe has no {name!r}{nearest(name, hints)}; {LIST_THEM}")
        values[name] = _value(name, hints[name], value)
    for what, names in INSTEAD.items():
        # steps=100 over a base with epochs=10 means 100 steps: the other ways are reset.
        stated = [name for name in names if values.get(name) is not None]
        if len(stated) > 1:
            both = " and ".join(f"{name}={written(name, values[name])}" for name in stated)
            raise UserError(
                f"the recipe says both {both}, two ways to give {what}; give one of them"
            )
        if stated:
            values |= {name: defaults[name] for name in names if name not in stated}
    return replace(base, **values)


def _value(name: str, hint: Any, text: str) -> Any:
    if name in CHOICES:
        return text
    if text.lower() == "none" and hint in (int | None, float | None):
        return None
    if name == "time":
        return units.parse_seconds(text, "recipe time", "s")
    if name == "memory":
        return units.parse_bytes(text, "recipe memory", "b")
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"recipe {name} is true or false, not {text!r}")
    is_int = hint in (int, int | None)
    try:
        number = int(text) if is_int else float(text)
    except ValueError:
        what = "a whole number" if is_int else "a number"
        raise UserError(f"recipe {name} is {what}, not {text[:99]!r}") from None
    if is_int and abs(number) > LARGEST_WHOLE:
        raise UserError(f"recipe {name} is a whole number up to {LARGEST_WHOLE}, not {number}")
    return number


def _check(recipe: Recipe) -> None:
    """Raise UserError if values of a recipe make no sense."""
    for name, choices in CHOICES.items():
        if (value := getattr(recipe, name)) not in choices:
            raise UserError(f"recipe {name} is one of {', '.join(choices)}, not {value!r}")
    for name in ABOVE_ZERO:
        value = getattr(recipe, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"recipe {name} must be a number above 0")
    faults = {
        f"memory={written('memory', recipe.memory)} is too little; write the unit, such as 24GiB": (
            recipe.memory is not None and recipe.memory < 2**10
        ),
        f"epochs is at most {LARGEST_WHOLE}": recipe.epochs > LARGEST_WHOLE,
        f"evaluations is at most {MOST_EVALUATIONS}": recipe.evaluations > MOST_EVALUATIONS,
        f"lr is at most {HIGHEST_RATE:g}": (recipe.lr or 0) > HIGHEST_RATE,
        "weight_decay must be a number from 0": not 0 <= recipe.weight_decay < math.inf,
        "warmup is a share of the steps, 0 to 1": not 0 <= recipe.warmup <= 1,
        "accumulation must be at least 1": recipe.accumulation < 1,
        "gradcache is a number of images from 0 (off)": recipe.gradcache < 0,
        "gradcache does not work with compile=true; leave one of them out": (
            bool(recipe.gradcache and recipe.compile)
        ),
        f"frozen=bf16 needs precision=bf16, not {recipe.precision}": (
            recipe.frozen == "bf16" and recipe.precision in ("fp32", "fp16")
        ),
        "batch_size must be at least 2: a contrastive loss needs a negative": recipe.batch_size < 2,
    }
    for fault, holds in faults.items():
        if holds:
            raise UserError(f"recipe {fault}")
