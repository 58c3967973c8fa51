"""The recipe's `gradcache`: exact gradients of a large batch with the memory of a small one.

A contrastive loss couples all images and texts of a batch, but only through their features. So the
features are computed first, a chunk at a time and without a graph; the loss gives its gradient with
respect to them; then each chunk is encoded again, this time with a graph, and that gradient is sent
back through it. It costs one more forward pass. Source: Gao et al., "Scaling Deep Contrastive
Learning Batch Size under Memory Limited Setup", 2021, arXiv 2101.06983.

Legend: B images or texts of a batch, D embedding width.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from bench.measure.count import saved_bytes
from methods.base import Batch, Method

Context = Callable[[], AbstractContextManager[Any]]
"""Makes the autocast that a forward pass runs in."""
Encode = Callable[[Any], Tensor]


def backward(
    method: Method, batch: Batch, chunk: int, autocast: Context, scale: Callable[[Tensor], Tensor]
) -> Tensor:
    """Add the gradients of `method.loss(batch)` to the parameters, `chunk` images at a time.

    Returns the loss, without a graph. `scale` scales it before the backward pass (for float16). If
    the loss uses the towers in other ways than through `encode_image` and `encode_text` of the
    batch, gradients are still exact, but that part is not chunked.
    """
    towers: list[tuple[Encode, list[Any]]] = [
        (method.encode_image, chunks(batch.images, chunk)),
        (method.encode_text, chunks(batch.texts, chunk)),
    ]
    features, states = [], []
    for encode, parts in towers:
        encoded = []
        for part in parts:
            states.append(random_state())
            with torch.no_grad(), autocast():
                encoded.append(encode_chunk(encode, part))
        features.append(torch.cat(encoded).requires_grad_())
    with _given(method, batch, features), autocast():
        loss = method.loss(batch)
    scale(loss).backward()
    after = random_state()  # the second pass repeats draws; training continues from here
    remaining = iter(states)
    for (encode, parts), feature in zip(towers, features, strict=True):
        gradients = [None] * len(parts) if feature.grad is None else feature.grad.split(chunk)
        for part, gradient in zip(parts, gradients, strict=True):
            state = next(remaining)
            if gradient is None:
                continue
            set_random_state(state)  # dropout draws what it drew for the features
            with autocast():
                encoded_again = encode_chunk(encode, part)
            if encoded_again.requires_grad:
                encoded_again.backward(gradient)
    set_random_state(after)
    return loss.detach()


def encode_chunk(encode: Encode, part: Any) -> Tensor:
    """Encode one chunk. `bench.measure.rehearsal` replaces this, to leave out repetitions."""
    return encode(part)


def chunks(nested: Any, chunk: int) -> list[Any]:
    """Tensors of B rows, alone or nested (cached features), as parts of at most `chunk` rows."""
    leaves, form = tree.tree_flatten(nested)
    rows = next(len(leaf) for leaf in leaves if isinstance(leaf, Tensor))
    return [
        tree.tree_unflatten(
            [leaf[at : at + chunk] if isinstance(leaf, Tensor) else leaf for leaf in leaves], form
        )
        for at in range(0, rows, chunk)
    ]


def kept(method: Method, batch: Batch, chunk: int, autocast: Context, exclude: list[Tensor]) -> int:
    """The bytes that autograd keeps; with chunks, the most at a time: a chunk's, or the loss's."""

    def loss() -> Tensor:
        with autocast():
            return method.loss(batch)

    if not chunk:
        return saved_bytes(loss, exclude)

    def encoding(encode: Encode, inputs: Any) -> int:
        part = chunks(inputs, chunk)[0]

        def forward() -> Tensor:
            with autocast():
                return encode(part)

        return saved_bytes(forward, [*exclude, *_tensors(part)])

    def whole(encode: Encode, inputs: Any) -> Tensor:
        """Features as large as those of the batch: those of its first chunk, repeated."""
        with torch.no_grad(), autocast():
            feature = encode(chunks(inputs, chunk)[0])
        images = len(batch.image_ids)
        return feature.repeat(-(-images // len(feature)), 1)[:images].requires_grad_()

    image = encoding(method.encode_image, batch.images)
    text = encoding(method.encode_text, batch.texts)
    features = [
        whole(method.encode_image, batch.images),
        whole(method.encode_text, batch.texts),
    ]
    with _given(method, batch, features):
        return max(image, text, saved_bytes(loss, [*exclude, *features]))


def first_chunk(batch: Batch, chunk: int) -> Batch:
    """The first `chunk` images of a batch with their texts and ids."""
    return Batch(**{name: chunks(value, chunk)[0] for name, value in vars(batch).items()})


def _tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in tree.tree_leaves(nested) if isinstance(leaf, Tensor)]


@contextmanager
def _given(method: Method, batch: Batch, features: list[Tensor]) -> Iterator[None]:
    """Let the method's encode functions return these features for the inputs of the batch."""

    def instead(encode: Encode, inputs: Any, feature: Tensor) -> Encode:
        return lambda asked: feature if asked is inputs else encode(asked)

    image, text = features
    own: dict[str, Any] = method.__dict__
    before: dict[str, Any] = {
        name: own[name] for name in ("encode_image", "encode_text") if name in own
    }
    own["encode_image"] = instead(method.encode_image, batch.images, image)
    own["encode_text"] = instead(method.encode_text, batch.texts, text)
    try:
        yield
    finally:
        del own["encode_image"], own["encode_text"]
        own.update(before)


def random_state() -> tuple[Tensor, Tensor | None]:
    """The state of torch's random numbers on the CPU and on the GPU in use.

    Other generators are left alone: methods draw from torch's only, which the contract checks.
    """
    started = torch.cuda.is_available() and torch.cuda.is_initialized()
    return torch.get_rng_state(), torch.cuda.get_rng_state() if started else None


def set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    """Go back to what `random_state` gave."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
