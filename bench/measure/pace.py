"""How long a training step takes, measured before the training on the training's own steps.

A recipe that gives a time instead of a number of steps needs it, to know how many steps fit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import torch

from bench.checkpoint import random_states, set_random_states
from bench.measure import training_clock
from bench.recipe import Recipe
from bench.train import Trainer
from methods.base import Batch, Method

UNMEASURED = 2
"""Steps before the measuring: a first step is slow, for memory and kernels are looked for."""
PLACES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""Places in the schedule that are measured alike: what a step computes may change on the way, as
CMER's queue, which counts from the middle on."""
SCHEDULE = 800
"""Steps of the training that the method is told of while its speed is measured."""


@contextmanager
def undone(method: Method, device: torch.device) -> Iterator[None]:
    """Undo what steps taken inside do: parameters, buffers, gradients, random states."""
    before = {name: tensor.cpu().clone() for name, tensor in method.own_state().items()}
    random = random_states(device)
    try:
        yield
    finally:
        method.zero_grad(set_to_none=True)
        method.load_own_state(before)
        set_random_states(random, device)


def seconds_per_step(
    method: Method,
    batches: Iterator[Batch],
    recipe: Recipe,
    lr: float,
    images: int,
    device: torch.device,
    enough: float,
) -> float:
    """Seconds of one training step, on average over the schedule; the method is left as it was.

    `batches` never end; `images`: of the training split, to be told to the method. Steps are
    measured in rounds over PLACES, at least one round, until they took `enough` seconds. The
    device is waited for after 1, 1, 2, 4 .. rounds only, so that it runs ahead as in training.
    Where there are more than two such parts, the first is left out, since it may still be slow.
    """

    def wait() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return training_clock.now()

    with undone(method, device):
        trainer = Trainer(method, recipe, lr, SCHEDULE, device)
        method.on_fit(images)
        method.on_epoch(0, 1)
        method.train()

        def step(place: float) -> None:
            method.on_step(int(place * SCHEDULE), SCHEDULE)
            trainer.step(list(islice(batches, recipe.accumulation)))

        for _ in range(UNMEASURED):
            step(PLACES[0])
        parts: list[tuple[int, float]] = []
        began, rounds = wait(), 1
        while not parts or sum(seconds for _, seconds in parts) < enough:
            for _ in range(rounds):
                for place in PLACES:
                    step(place)
            ended = wait()
            parts.append((rounds * len(PLACES), ended - began))
            began, rounds = ended, sum(count for count, _ in parts) // len(PLACES)
    counted = parts[1:] if len(parts) > 2 else parts
    seconds = sum(seconds for _, seconds in counted) / sum(count for count, _ in counted)
    return max(seconds, 1e-9)  # a coarse clock may not have moved
