"""How long a training step takes, measured on real steps before training begins.

A recipe with a `time` needs it to know how many steps fit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import torch

from bench.measure import training_clock
from bench.randomness import same_random_states
from bench.recipe import Recipe
from bench.training.schedule import Pace
from bench.training.trainer import Trainer
from methods.base import Batch, Method

UNMEASURED = 2
"""Steps before measuring. The first ones are slow: memory is allocated and kernels are chosen."""
PLACES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""Places in the schedule at which steps are measured, since a step may cost more later on: CMER's
queue counts only from the middle."""
SCHEDULE = 800
"""Length of the training, in steps, that the method is told while its speed is measured."""


@contextmanager
def undone(method: Method, device: torch.device) -> Iterator[None]:
    """Undo what training steps inside change: parameters, buffers, gradients, random states."""
    before = {name: tensor.cpu().clone() for name, tensor in method.own_state().items()}
    with same_random_states(device):
        try:
            yield
        finally:
            method.zero_grad(set_to_none=True)
            method.load_own_state(before)


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

    batches: must not end; images: size of the training split, which the method is told. Steps are
    measured in rounds over PLACES: one step at each, again one, then two, four and so on, until
    they took `enough` seconds. The device is waited for only after each place, so that it can run
    ahead as in training. With three rounds or more the first is left out: it may still be slow.
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
    """The pace from the mean seconds at each place, measured over so many steps each.

    With few steps the differences between places are mostly noise, so only a part of them is kept:
    a third with two steps, nearly all with many. The mean over places stays the same.
    """
    mean, share = sum(places) / len(places), steps / (steps + 4)
    slow = [mean + share * (place - mean) for place in places]
    return Pace(tuple(max(seconds, 1e-9) for seconds in slow))  # a coarse clock may not have moved
