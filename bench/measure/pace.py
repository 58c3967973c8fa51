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
from bench.timing import Pace
from bench.trainer import Trainer
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


def measure(
    method: Method,
    batches: Iterator[Batch],
    recipe: Recipe,
    lr: float,
    images: int,
    device: torch.device,
    enough: float,
) -> Pace:
    """Seconds of a training step over the schedule; the method is left as it was.

    `batches` never end; `images`: of the training split, to be told to the method. Steps are
    measured in rounds over PLACES: one step at each, then one, two, four .. until they took
    `enough` seconds. The device is waited for only after each place, so that it runs ahead as in
    training. Of three rounds or more the first is left out, since it may still be slow.
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
        rounds: list[tuple[int, list[float]]] = []
        began = wait()
        while not rounds or sum(sum(seconds) for _, seconds in rounds) < enough:
            steps, seconds = max(1, sum(count for count, _ in rounds)), list[float]()
            for place in PLACES:
                for _ in range(steps):
                    step(place)
                ended = wait()
                seconds.append(ended - began)
                began = ended
            rounds.append((steps, seconds))
    counted = rounds[1:] if len(rounds) > 2 else rounds
    steps = sum(count for count, _ in counted)
    return smoothed(
        [sum(places) / steps for places in zip(*[s for _, s in counted], strict=True)], steps
    )


def smoothed(places: list[float], steps: int) -> Pace:
    """The pace from the mean seconds at each place, of so many steps each.

    With few steps what differs between the places is mostly noise, so it counts in part: a third
    with two steps, nearly all of it with many. Their mean stays.
    """
    mean, share = sum(places) / len(places), steps / (steps + 4)
    slow = [mean + share * (place - mean) for place in places]
    return Pace(tuple(max(seconds, 1e-9) for seconds in slow))  # a coarse clock may not have moved
