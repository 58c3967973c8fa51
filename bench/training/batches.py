"""From samples to batches on the device: tokens, pairs, augmentation, and the loader.

Legend: B batch, C captions per image, L text length.
"""

import functools
import queue
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data import Dataset, short_hash, spoken_form
from bench.data.cut import Cut
from bench.data.resize import Pixels
from bench.retrieval import pad
from bench.training import resident as resident_
from methods.base import Batch, Sample


class TokenTable:
    """Tokenises each distinct caption once and trims all to the length of the longest.

    `pad_id`: the token that fills texts up after their end; None if trimming would change the
    text's features, so that nothing is trimmed.
    """

    def __init__(self, tokenizer: Callable[[list[str]], Tensor], pad_id: int | None) -> None:
        self.tokenizer = tokenizer
        self.pad_id = pad_id
        self.length = 0
        self._rows: dict[str, Tensor] = {}

    def add(self, captions: Sequence[str]) -> None:
        """Tokenise the captions not yet known."""
        fresh = list(dict.fromkeys(c for c in captions if c not in self._rows))
        if not fresh:
            return
        tokens = self.tokenizer(fresh)
        used = tokens.shape[1]
        if self.pad_id is not None:
            # CLIP pads with 0, which also stands for "!" in a text: look for the last other token.
            used = int((torch.arange(1, used + 1) * (tokens != self.pad_id)).max())
        self.length = max(self.length, used)
        self._rows.update(zip(fresh, tokens, strict=True))

    def copy(self) -> "TokenTable":
        """A table with the same captions; what is added to it does not change this one."""
        other = TokenTable(self.tokenizer, self.pad_id)
        other.length, other._rows = self.length, dict(self._rows)
        return other

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Token ids `(len(captions), L)`; L is the length of the longest caption known so far."""
        self.add(captions)
        rows = torch.stack([self._rows[c] for c in captions])[:, : self.length]
        return rows.contiguous()  # else CUDA could not copy it from pinned memory without waiting


@dataclass
class TrainSplit:
    """The training split as arrays, from which batches are made."""

    pixels: Pixels
    rows: list[int]
    samples: list[Sample]
    captions: list[tuple[str, ...]]
    caption_ids: list[tuple[int, ...]]
    caption_sets: Tensor
    scenes: Tensor
    mean: Sequence[float]
    std: Sequence[float]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        pixels: Pixels,
        mean: Sequence[float],
        std: Sequence[float],
        splits: Sequence[str] = ("train",),
        cut: Cut | None = None,
    ) -> "TrainSplit":
        """Collect the splits, without blank captions and images that have no other.

        `cut`: which captions the backbone's context cuts; captions that it makes equal get one id.
        """
        rows, samples, captions = [], [], []
        for row, sample in enumerate(dataset.samples):
            real = tuple(c for c in sample.captions if spoken_form(c))
            if sample.split in splits and real:
                rows.append(row)
                samples.append(sample)
                captions.append(real)
        texts = [c for five in captions for c in five]
        ids: dict[str, int] = {}  # each distinct caption is numbered when it is first met
        numbers = iter([ids.setdefault(s, len(ids)) for s in (cut or Cut()).sentences(texts)])
        caption_ids = [tuple(next(numbers) for _ in five) for five in captions]
        padded = pad([sorted(set(five)) for five in caption_ids])
        names = {name: i for i, name in enumerate(dataset.scenes)}
        scenes = torch.tensor([names.get(s.scene or "", -1) for s in samples], dtype=torch.long)
        return cls(pixels, rows, samples, captions, caption_ids, padded, scenes, mean, std)

    def epoch(self, batch_size: int, seed: int, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Batches of (image, caption) numbers over all pairs; no image is twice in a batch.

        An epoch has as many rounds as the image with most captions has captions. Each round passes
        every image once, with another of its captions and in a new order. The last batch of a round
        is left out if it is short.
        """
        rng = random.Random(f"{seed}/{epoch}/order")
        chosen = [rng.sample(range(len(five)), len(five)) for five in self.captions]
        batch_size = self.batch_size(batch_size)
        for turn in range(self._rounds()):
            order = rng.sample(range(len(self.rows)), len(self.rows))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                batch = order[start : start + batch_size]
                yield [(i, chosen[i][turn % len(chosen[i])]) for i in batch]

    def _rounds(self) -> int:
        return max((len(five) for five in self.captions), default=0)

    def batch_size(self, wanted: int) -> int:
        """Images in a batch: as many as wanted, or all if the split has fewer."""
        return min(wanted, len(self.rows))

    def batches_per_epoch(self, batch_size: int) -> int:
        """Batches in one epoch; 0 where there is no image."""
        return self._rounds() * (len(self.rows) // max(self.batch_size(batch_size), 1))


def crop_and_flip(
    images: Tensor, generator: torch.Generator, scale: tuple[float, float] = (0.5, 1.0)
) -> Tensor:
    """Random resized crop (area share in `scale`, aspect 3/4..4/3) and both flips, batched.

    `(B, 3, H, W)` float -> the same shape, bilinear. The random numbers come from a CPU generator,
    so that one seed gives one augmentation on every device.
    """
    n = len(images)
    u = torch.rand(6, n, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * u[0]
    aspect = torch.exp((2 * u[1] - 1) * torch.log(torch.tensor(4 / 3)))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    # From a place in the result to a place in the image, which reaches from -1 to 1: a scale and a
    # shift for x and for y. A negative scale flips.
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = width * torch.where(u[4] < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = height * torch.where(u[5] < 0.5, -1.0, 1.0)
    theta[:, 0, 2] = (2 * u[2] - 1) * (1 - width)
    theta[:, 1, 2] = (2 * u[3] - 1) * (1 - height)
    if images.device.type == "cuda":
        theta = theta.pin_memory().to(images.device, non_blocking=True)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 `(B, H, W, 3)` -> float `(B, 3, H, W)` with the backbone's mean and deviation."""
    m, s = _constant(tuple(mean), pixels.device), _constant(tuple(std), pixels.device)
    return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(m).div_(s)  # one copy, not four


@functools.cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Per channel `(1, 3, 1, 1)`; cached, because copying it to the device makes a step wait."""
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


def join_blocks(blocks: Iterable[Tensor], rows: int) -> Tensor:
    """Join blocks of rows, computed one after another, into one tensor with `rows` rows (not 0).

    It is like `torch.cat(list(blocks))`, but memory does not grow on a CPU. A list would leave its
    small blocks scattered between the encoder's large tensors, and the allocator would have to find
    a new place for these with each block. Here each block is freed when the next one is computed.
    """
    joined: Tensor | None = None
    done = 0
    for block in blocks:
        if joined is None:
            joined = block.new_empty(rows, *block.shape[1:])
        joined[done : done + len(block)].copy_(block)
        done += len(block)
    assert joined is not None, "there is no block"
    assert done == rows, f"{done} rows instead of {rows}"
    return joined


class Loader:
    """Batches on the device. A thread gathers the next ones while the present one trains.

    resident: whether the pixels of the whole split lie on the device (None:
    `bench.training.resident` decides); if not, each batch is gathered on the host into pinned
    memory. `resident_bytes`: what they take there until `release`.
    """

    def __init__(
        self,
        split: TrainSplit,
        table: TokenTable,
        caption: Callable[[str, Sample, random.Random], str],
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        augment: bool = True,
        ahead: int = 3,
        resident: bool | None = None,
    ) -> None:
        self.split, self.table, self.caption = split, table, caption
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.augment, self.ahead = augment, ahead
        self.resident: Tensor | None = None
        self.resident_bytes = 0
        if resident is None:
            resident = resident_.fits(split.pixels, split.rows, device)
        if resident:
            uploaded = resident_.upload(split.pixels, split.rows, device)
            self.resident, self.resident_bytes = uploaded
        self.text_length = 0
        """L of the last batch; it may grow, since some methods write captions while training."""

    def release(self) -> None:
        """Free the device's memory; later batches are gathered on the host."""
        self.resident, self.resident_bytes = None, 0

    def gather(self, pairs: list[tuple[int, int]], epoch: int, number: int) -> dict[str, Tensor]:
        """One batch on the host: pixels (unless they lie on the device), texts, ids."""
        split = self.split
        host = {"texts": self.table(self.captions(pairs, epoch, number)), **self.ids(pairs)}
        if self.resident is None:
            rows = np.asarray([split.rows[i] for i, _ in pairs])
            host["pixels"] = torch.from_numpy(split.pixels[rows])
        if self.device.type == "cuda":
            host = {name: tensor.pin_memory() for name, tensor in host.items()}
        return host

    def captions(self, pairs: list[tuple[int, int]], epoch: int, number: int) -> list[str]:
        """The captions of one batch as the method writes them."""
        split, rng = self.split, random.Random(f"{self.seed}/{epoch}/{number}/caption")
        return [self.caption(split.captions[i][c], split.samples[i], rng) for i, c in pairs]

    def ids(self, pairs: list[tuple[int, int]]) -> dict[str, Tensor]:
        """The numbers of a batch's images, captions and scenes (see `methods.base.Batch`)."""
        split, images = self.split, torch.tensor([i for i, _ in pairs])
        return {
            "image_ids": images,
            "caption_ids": torch.tensor([split.caption_ids[i][c] for i, c in pairs]),
            "caption_sets": split.caption_sets[images],
            "scenes": split.scenes[images],
        }

    def place(self, host: dict[str, Tensor], epoch: int, number: int) -> Batch:
        """Move a gathered batch to the device and augment it there."""
        self.text_length = host["texts"].shape[1]
        moved = {k: v.to(self.device, non_blocking=True) for k, v in host.items()}
        resident = self.resident
        pixels = moved.pop("pixels") if resident is None else resident[moved["image_ids"]]
        images = normalise(pixels, self.split.mean, self.split.std)
        if self.augment:
            seed = int(short_hash(f"{self.seed}/{epoch}/{number}/crop"), 16) % 2**63
            images = crop_and_flip(images, torch.Generator().manual_seed(seed))
        return Batch(images=images, **moved)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `first` on; seed and epoch decide their order."""
        ready: queue.Queue[Any] = queue.Queue(maxsize=self.ahead)
        stop = threading.Event()

        def put(item: Any) -> bool:
            """Whether there was room; False once nobody takes batches any more."""
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            try:
                batches = self.split.epoch(self.batch_size, self.seed, epoch)
                for number, pairs in islice(enumerate(batches), first, None):
                    if not put((number, self.gather(pairs, epoch, number))):
                        return
                put(None)
            except BaseException as error:  # handed to the training thread, raised there
                put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                number, host = item
                yield self.place(host, epoch, number)
        finally:  # also if the training ends in the middle of the epoch
            stop.set()
            thread.join()
