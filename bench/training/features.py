"""Cached features (`--cache-features`): outputs of the frozen towers, computed only once.

A method whose towers stay as they are needs no image during training, only what the towers made of
it. That is computed before training for each stored view of an image and for each caption.

Legend: B batch, V stored views per image.
"""

import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from bench import disk
from bench.data import short_hash
from bench.data.cache import cache_folder
from bench.evaluate import Evaluation
from bench.messages import Note, Progress, Stage
from bench.schema import Efficiency
from bench.training.batches import Loader, TokenTable, crop_and_flip, normalise
from bench.training.trainer import autocast
from bench.units import format_bytes
from methods.base import Batch, Method, NotApplicable

SHARE = 0.5
"""Share of the device's free memory that the features may take."""
SPARE = 2**30
"""Bytes that stay free on the disk."""
PEAKS = (
    "peak_memory_train_bytes",
    "peak_memory_reserved_bytes",
    "peak_memory_eval_bytes",
    "activation_bytes",
)
"""Peaks from which features on a GPU are subtracted, as they are reported on their own."""
BLOCK = 256
"""Inputs of one pass through a tower, as in evaluation."""


class Table:
    """The outputs of a frozen tower in one block of memory: nested tensors, a row for each input.

    Hidden states of all tokens, the bulk of it, are kept in autocast's dtype, since the first layer
    that reads them casts them to it anyway. Other outputs keep their dtype.
    """

    def __init__(self, example: Any, rows: int, dtype: torch.dtype) -> None:
        """example: the tower's output for one input; dtype: autocast's."""
        leaves, self.spec = tree.tree_flatten(example)
        self.rows = rows
        # Shapes without memory, until `allocate`: both tables share one block, whose size has to be
        # known before it is decided where it lies.
        self.parts: list[Tensor | None] = [
            None if leaf is None else _without_memory(leaf, rows, dtype) for leaf in leaves
        ]

    @property
    def bytes(self) -> int:
        """Size of the block of memory; each tensor is rounded up to 64 bytes."""
        return sum(-(-part.nbytes // 64) * 64 for part in self.parts if part is not None)

    def allocate(self, block: Tensor) -> None:
        """Use this block of memory: uint8, as long as `bytes` says."""
        start = 0
        for index, part in enumerate(self.parts):
            if part is not None:
                own = block[start : start + part.nbytes]
                self.parts[index] = own.view(part.dtype).view(part.shape)
                start += -(-part.nbytes // 64) * 64

    def put(self, start: int, value: Any) -> None:
        """Write rows, from row `start` on."""
        for part, leaf in zip(self.parts, tree.tree_leaves(value), strict=True):
            if part is not None:
                part[start : start + len(leaf)].copy_(leaf)

    def take(self, rows: Tensor) -> Any:
        """Read rows `(B,)`, nested as the tower's output is, on the device of the memory."""
        leaves = [None if part is None else part.index_select(0, rows) for part in self.parts]
        return tree.tree_unflatten(leaves, self.spec)


def _without_memory(leaf: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    shape, stored = (rows, *leaf.shape[1:]), _stored_dtype(leaf, dtype)
    return torch.empty(shape, dtype=stored, device="meta")


def _stored_dtype(leaf: Tensor, dtype: torch.dtype) -> torch.dtype:
    """The dtype in which an output is kept; see `Table`."""
    hidden_states = leaf.ndim > 2 and leaf.is_floating_point()
    return dtype if hidden_states and dtype.itemsize < leaf.dtype.itemsize else leaf.dtype


class Features:
    """The cached features of a trial: of each stored view of its images and of all its captions.

    View 0 is the centre crop, which evaluation uses. With V = 1 training uses it too. With V > 1
    training uses views 1 .. V, which are augmentations that the seed has drawn.
    """

    images: Table
    texts: Table

    def __init__(
        self,
        method: Method,
        table: TokenTable,
        dtype: torch.dtype,
        device: torch.device,
        views: int,
    ) -> None:
        """Raises NotApplicable for a method without frozen features."""
        if not (method.frozen_features and hasattr(method, "frozen_image")):
            raise NotApplicable(
                "its towers do not stay as they are, so there are no frozen features to cache; "
                "leave out --cache-features"
            )
        self.method, self.table, self.dtype, self.device = method, table, dtype, device
        self.views = [0] if views == 1 else list(range(1, views + 1))
        self.image_rows: dict[tuple[int, int], int] = {}
        self.text_rows: dict[str, int] = {}
        self.on_disk = False
        self.seconds = 0.0

    def build(
        self,
        loader: Loader | None,
        epochs: int,
        evaluations: Sequence[Evaluation],
        progress: Progress = lambda _: None,
    ) -> None:
        """Run the towers over everything that `epochs` epochs and the evaluations will need.

        loader None: nothing is trained. Raises UserError if the features fit neither the device nor
        the disk.
        """
        progress(Stage("caching features"))
        started = time.perf_counter()
        self.method.eval()
        captions = dict.fromkeys(
            caption
            for evaluation in evaluations
            for caption in evaluation.captions_for(self.method)
        )
        keys = {(0, row) for evaluation in evaluations for row in evaluation.rows}
        if loader is not None:
            captions |= dict.fromkeys(all_captions(loader, epochs))
            keys |= {(view, row) for view in self.views for row in loader.split.rows}
        self.text_rows = {caption: row for row, caption in enumerate(captions)}
        self.image_rows = {key: row for row, key in enumerate(sorted(keys))}
        tokens = self.table(list(self.text_rows))
        source = evaluations[0] if loader is None else loader.split
        seed = 0 if loader is None else loader.seed

        def image(part: Sequence[tuple[int, int]]) -> Any:
            rows = [row for _, row in part]
            pixels = torch.from_numpy(source.pixels[rows]).to(self.device)
            images = normalise(pixels, source.mean, source.std)
            view = part[0][0]
            if view > 0:
                drawn = int(short_hash(f"{seed}/{view}/{rows[0]}/stored"), 16) % 2**63
                images = crop_and_flip(images, torch.Generator().manual_seed(drawn))
            return self._frozen("image", images)

        # One input through each tower tells the shapes of all outputs.
        parts = list(_blocks(sorted(keys)))
        self.images = Table(image(parts[0][:1]), len(keys), self.dtype)
        self.texts = Table(self._frozen("text", tokens[:1]), len(tokens), self.dtype)
        self._allocate(progress)
        for part in parts:
            self.images.put(self.image_rows[part[0]], image(part))
        for start in range(0, len(tokens), BLOCK):
            self.texts.put(start, self._frozen("text", tokens[start : start + BLOCK]))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds = time.perf_counter() - started

    @torch.no_grad()
    def _frozen(self, which: str, inputs: Tensor) -> Any:
        with autocast(self.dtype, self.device):
            return getattr(self.method, f"frozen_{which}")(inputs.to(self.device))

    def _allocate(self, progress: Progress) -> None:
        """Give both tables memory: on the device if there is room, else mapped to a file."""
        size, free = self.bytes, free_memory(self.device)
        self.on_disk = size > SHARE * free
        where = f"in a file in {cache_folder()}" if self.on_disk else "on the device"
        what = f"{self.images.rows:,} images and {self.texts.rows:,} captions"
        progress(Note(f"features of {what}: {format_bytes(size)}, {where}"))
        if self.on_disk:
            block = map_file(size, cache_folder())
        else:
            block = torch.empty(size, dtype=torch.uint8, device=self.device)
        self.images.allocate(block[: self.images.bytes])
        self.texts.allocate(block[self.images.bytes :])

    @property
    def bytes(self) -> int:
        """Size of all features."""
        return self.images.bytes + self.texts.bytes

    def of_images(self, rows: Sequence[int]) -> Any:
        """The outputs of `frozen_image` for the centre crops of rows of the data set."""
        return self._take(self.images, [self.image_rows[0, row] for row in rows])

    def of_texts(self, captions: Sequence[str]) -> Any:
        """The outputs of `frozen_text` for captions."""
        return self._take(self.texts, [self.text_row(caption) for caption in captions])

    def text_row(self, caption: str) -> int:
        """The row of a caption; raises RuntimeError if its features were not computed."""
        try:
            return self.text_rows[caption]
        except KeyError:
            raise RuntimeError(
                f"the caption {caption!r} was not foreseen: to cache features train_caption may "
                "depend on its arguments only, not on how far training is"
            ) from None

    def _take(self, table: Table, rows: Sequence[int]) -> Any:
        index = torch.tensor(rows, device="cpu" if self.on_disk else self.device)
        return tree.tree_map_only(Tensor, lambda t: t.to(self.device), table.take(index))

    def summary(self, efficiency: Efficiency, pairs: int) -> Efficiency:
        """What a trial records about its features; pairs: (image, caption) pairs of an epoch.

        Features that lie on a GPU are taken off its peaks of memory in `efficiency`.
        """
        rate = efficiency.get("train_images_per_second")
        epoch = pairs / rate if rate else None
        costs: Efficiency = {
            "feature_bytes": self.bytes,
            "feature_place": "disk" if self.on_disk else "device",
            "feature_images": self.images.rows,
            "feature_captions": self.texts.rows,
            "feature_seconds": self.seconds,
            "epoch_seconds": epoch,
            "epoch_and_features_seconds": None if epoch is None else epoch + self.seconds,
        }
        if self.device.type == "cuda" and not self.on_disk:
            measured: Mapping[str, Any] = efficiency
            peaks = {n: measured[n] - self.bytes for n in PEAKS if measured.get(n) is not None}
            costs |= cast(Efficiency, peaks)
        return costs


class FeatureLoader(Loader):
    """Loads batches with cached features in place of images and texts."""

    def __init__(self, features: Features, plain: Loader) -> None:
        """`plain`: the loader that this one replaces; pairs and their order stay the same."""
        self.__dict__.update(plain.__dict__)
        self.features = features

    def gather(self, pairs: list[tuple[int, int]], epoch: int, number: int) -> dict[str, Any]:
        """One batch on the host: which rows of the tables it has (the features, if on disk)."""
        features, split = self.features, self.split
        draw = random.Random(f"{self.seed}/{epoch}/{number}/view")
        images = [(draw.choice(features.views), split.rows[i]) for i, _ in pairs]
        texts = [features.text_row(caption) for caption in self.captions(pairs, epoch, number)]
        host: dict[str, Any] = {
            "images": torch.tensor([features.image_rows[key] for key in images]),
            "texts": torch.tensor(texts),
            **self.ids(pairs),
        }
        if features.on_disk:
            host["images"] = features.images.take(host["images"])
            host["texts"] = features.texts.take(host["texts"])
        if self.device.type == "cuda":
            host = tree.tree_map_only(Tensor, Tensor.pin_memory, host)
        return host

    def place(self, host: dict[str, Any], epoch: int, number: int) -> Batch:
        """The batch on the device."""
        moved = tree.tree_map_only(Tensor, lambda t: t.to(self.device, non_blocking=True), host)
        if not self.features.on_disk:
            moved["images"] = self.features.images.take(moved["images"])
            moved["texts"] = self.features.texts.take(moved["texts"])
        return Batch(**moved)


@torch.no_grad()
def frozen_batch(method: Method, batch: Batch, dtype: torch.dtype, device: torch.device) -> Batch:
    """A batch with features in place of images and texts; dtype: autocast's."""
    frozen = {}
    with autocast(dtype, device):
        for which in ("image", "text"):
            output = getattr(method, f"frozen_{which}")(getattr(batch, f"{which}s"))
            frozen[f"{which}s"] = tree.tree_map_only(
                Tensor, lambda leaf: leaf.to(_stored_dtype(leaf, dtype)), output
            )
    return Batch(**{**vars(batch), **frozen})


def all_captions(loader: Loader, epochs: int) -> Iterator[str]:
    """Every caption of so many epochs, as the method writes them.

    If it leaves captions as they are, those are the captions of the split, however many epochs a
    time budget allows.
    """
    if getattr(loader.caption, "__func__", None) is Method.train_caption:
        yield from chain.from_iterable(loader.split.captions)
        return
    for epoch in range(epochs):
        batches = loader.split.epoch(loader.batch_size, loader.seed, epoch)
        for number, pairs in enumerate(batches):
            yield from loader.captions(pairs, epoch, number)


def _blocks(keys: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Sorted (view, row) in blocks of one view each; a block's augmentation is drawn at once."""
    for _, group in groupby(keys, key=lambda key: key[0]):
        view = list(group)
        for start in range(0, len(view), BLOCK):
            yield view[start : start + BLOCK]


def free_memory(device: torch.device) -> int:
    """Bytes of free memory: of the GPU, or, on a CPU, what the system calls available."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def map_file(size: int, folder: Path) -> Tensor:
    """Memory of `size` bytes, uint8, mapped to a file without a name that ends with the process.

    Raises disk.NoRoom.
    """
    folder.mkdir(parents=True, exist_ok=True)
    disk.demand_room(
        folder, size + SPARE, "BENCH_CACHE, store fewer views, or leave out --cache-features"
    )
    handle, name = tempfile.mkstemp(prefix="features-", suffix=".partial", dir=folder)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)  # a full disk is an error now, not a crash later
        return torch.from_file(name, shared=True, size=size, dtype=torch.uint8)
    finally:
        os.close(handle)
        Path(name).unlink()
