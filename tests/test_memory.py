"""A training's memory does not grow: no tensor of a step outlives it, and shapes settle.

Small tensors that are kept from every step take little themselves, but they lie in the middle of
the memory that the step's large tensors had, and a CPU's allocator has to find another place for
those of the next step: a training grew by 5 MiB a step that way.
"""

import gc
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench import contract, data
from bench.data import cache
from bench.recipe import Recipe
from bench.training import batches, train
from methods import registry
from methods.base import Method, NotApplicable

CPU = torch.device("cpu")
METHODS = [name for name, cls in registry().items() if cls.lr is not None]
PRODUCTS = ("mm", "attention", "convolution", "linear")
"""What operations that compute products of matrices have in their names."""


def settings(name: str) -> dict[str, Any]:
    return {"queue": 8, "queue_start": 0.0, "scene_p": 0.5} if name == "cmer" else {}


@pytest.fixture
def few_objects() -> Iterator[None]:
    """The garbage collector looks at what the test makes alone, which is a hundredth of it all."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


class Watched:
    """What a training calls before each step; it notes what `measure` says then."""

    def __init__(self, method: Method, measure: Any) -> None:
        self.seen: list[Any] = []
        own = method.on_step

        def on_step(step: int, steps: int) -> None:
            own(step, steps)
            self.seen.append(measure())

        method.on_step = on_step  # type: ignore[method-assign]


def loader_of(method: Method, root: Path) -> batches.Loader:
    """Batches of 4 from the data set `tiny`."""
    dataset = data.load(data.card(str(root / "tiny.toml")), root)
    pixels = cache.images(dataset, 32)
    split = batches.TrainSplit.of(dataset, pixels, (0.5,) * 3, (0.5,) * 3)
    table = batches.TokenTable(words, 0)
    table.add([caption for captions in split.captions for caption in captions])
    return batches.Loader(split, table, method.train_caption, batch_size=4, seed=0, device=CPU)


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("name", METHODS)
def test_no_tensor_of_a_step_outlives_it(
    name: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        method = registry()[name](contract.tiny_model(), **settings(name))
    except NotApplicable as error:
        pytest.skip(str(error))
    loader = loader_of(method, tiny)
    # Batches that are there: the loader's thread runs ahead, now by more of them and now by fewer.
    fed = [contract.tiny_batch(seed=seed) for seed in range(3)]
    monkeypatch.setattr(loader, "epoch", lambda epoch, first=0: islice(cycle(fed), 6))
    monkeypatch.setattr(train, "step_costs", lambda *_: {})
    watched = Watched(method, live_tensors)
    train.fit(method, loader, Recipe(steps=6, batch_size=4, evaluations=1), 1e-3, None)
    assert len(watched.seen) == 6
    assert len(set(watched.seen[3:])) == 1, f"live tensors before each step: {watched.seen}"


class Shapes(TorchDispatchMode):
    """Which shapes go into products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[Any, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(func) for word in PRODUCTS):
            shapes = (tuple(a.shape) if isinstance(a, Tensor) else None for a in args)
            self.seen.add((str(func), *shapes))
        return func(*args, **(kwargs or {}))


def words(texts: list[str]) -> Tensor:
    """As many tokens as a caption has letters, then 99, then zeros: what `tiny_model` takes."""
    tokens = torch.zeros(len(texts), contract.TEXT["context_length"], dtype=torch.long)
    for row, text in enumerate(texts):
        ids = [2 + ord(letter) % 96 for letter in text[:47]]
        tokens[row, : len(ids) + 1] = torch.tensor([*ids, 99])
    return tokens


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_shapes_settle(tiny: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = registry()["cmer"](contract.tiny_model(), **settings("cmer"))
    loader = loader_of(method, tiny)
    table = loader.table
    monkeypatch.setattr(train, "step_costs", lambda *_: {})
    shapes = Shapes()
    watched = Watched(method, lambda: (len(shapes.seen), table.length))
    with shapes:
        recipe = Recipe(steps=24, batch_size=4, evaluations=1, precision=precision)
        train.fit(method, loader, recipe, 1e-3, None)
    counts, lengths = zip(*watched.seen, strict=True)
    assert len(set(counts[12:])) == 1, f"distinct shapes before each step: {counts}"
    assert counts[-1] <= len(set(lengths)) * counts[1], "more shapes than lengths of texts"
