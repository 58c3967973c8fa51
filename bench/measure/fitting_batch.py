"""The largest batch that fits a recipe's `memory`, predicted before anything is trained."""

import bisect
import copy
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from bench import units
from bench.measure.rehearsal import WORKSPACE, Rehearsal, predictable
from bench.randomness import same_random_states
from bench.recipe import Recipe
from bench.training.batches import TokenTable
from methods.base import Method, NotApplicable, Sample

if TYPE_CHECKING:
    from bench.backbone import Backbone

CPU = torch.device("cpu")


def sizes(images: int) -> list[int]:
    """Batch sizes to choose from: powers of two from 2 to a quarter of the training images."""
    return [2**power for power in range(1, max(2, images // 4).bit_length())]


def largest_within(
    memory: int, images: int, bytes_of: Callable[[int], int], what: str
) -> tuple[int, int]:
    """The largest of `sizes` whose bytes fit `memory`, and those bytes.

    bytes_of: the bytes of a batch of a size, which must not fall as the size grows; what: these
    bytes in words, for the error. Raises NotApplicable if not even two images fit.
    """
    choices, known = sizes(images), dict[int, int]()

    def over(size: int) -> bool:
        known[size] = bytes_of(size)
        return known[size] > memory

    place = bisect.bisect_left(choices, True, key=over)
    if place == 0:
        raise NotApplicable(
            f"not even a batch of 2 fits memory={units.exact_bytes(memory)}: {what} are predicted "
            f"to be {units.format_bytes(known[2])}"
        )
    return choices[place - 1], known[choices[place - 1]]


@same_random_states(CPU)  # so that the training draws as if its recipe had given the batch
@predictable("; give its recipe a batch_size instead of memory")
def batch_within(
    base: "Backbone",
    method: type[Method],
    settings: dict[str, Any],
    recipe: Recipe,
    samples: Sequence[Sample],
    *,
    images: int | None = None,
    cuda: bool,
    cached: bool,
) -> tuple[int, int]:
    """The batch that fits the recipe's `memory`, and the bytes predicted for it.

    samples: those of the training split. If they are not at hand, `images` says how many there are,
    and texts are taken to be as long as the backbone allows. cuda: on a GPU the bytes are the peak
    of training, as `bench plan` predicts it; on a CPU those that autograd keeps for the backward
    pass. cached: whether training uses cached features. Raises NotApplicable as the method does, if
    nothing fits, or if the memory cannot be predicted.
    """
    assert recipe.memory is not None
    built = method(copy.deepcopy(base.model), **settings)
    rng = random.Random(0)
    captions = [
        built.train_caption(text, sample, rng) for sample in samples for text in sample.captions
    ]
    length = text_length(base, captions) or context_length(base)
    count = images or len(samples)
    rehearsal = Rehearsal(
        built, recipe, base.image_size, length, cuda=cuda, cached=cached, images=count
    )
    if cuda:
        what = "the bytes of a training step on the GPU"
        return largest_within(recipe.memory, count, lambda n: rehearsal.peak(n) + WORKSPACE, what)
    what = "the bytes kept for the backward pass"
    return largest_within(recipe.memory, count, rehearsal.kept, what)


def text_length(base: "Backbone", captions: Sequence[str]) -> int | None:
    """Tokens of the longest caption, to which all texts are padded.

    None if there are no captions, or if the backbone takes only texts of one length.
    """
    if base.pad_id is None:
        return None
    table = TokenTable(base.tokenizer, base.pad_id)
    table.add(captions)
    return table.length or None


def context_length(base: "Backbone") -> int:
    """The most tokens of a text that the backbone takes."""
    return int(getattr(base.tokenizer, "context_length", None) or 77)
