"""A split ready to be ranked: every image and every distinct caption encoded once."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench import retrieval
from bench.backbone import Backbone
from bench.batches import TokenTable, join_blocks, normalise
from bench.data import Dataset, cut
from bench.data.cache import Pixels
from bench.schema import Efficiency
from bench.trainer import autocast
from methods.base import Method
from methods.known_towers import text_tower

EVAL_BATCH = 256
"""Images or captions encoded at a time."""


class FrozenInputs(Protocol):
    """What the frozen towers gave, where it is cached: `bench.features.Features` is one."""

    def of_images(self, rows: Sequence[int]) -> Any:
        """For each row of the data set what `frozen_image` gave."""

    def of_texts(self, words: Sequence[str]) -> Any:
        """For each caption what `frozen_text` gave."""


class Evaluation:
    """One split, ready to be ranked: images once, every distinct caption once."""

    def __init__(self, dataset: Dataset, split: str, pixels: Pixels, backbone: Backbone) -> None:
        self.rows, self.scenes = dataset.split(split), dataset.scenes
        self.samples = [dataset.samples[row] for row in self.rows]
        how = backbone.preprocess
        self.pixels, self.mean, self.std = pixels, how.mean, how.std
        self.captions = [
            (image, caption) for image, s in enumerate(self.samples) for caption in s.captions
        ]
        self.image_of = [image for image, _ in self.captions]
        texts = [caption for _, caption in self.captions]
        self.sentences = cut.find(backbone.tokenizer, texts).sentences(texts)
        self.right = retrieval.right_items(self.image_of, self.sentences)
        self.reset()
        self.asked = [replace(self.samples[image], scene=None) for image in self.image_of]

    @torch.no_grad()
    def label(self, mode: str, backbone: Backbone, table: TokenTable) -> None:
        """Which scene a method may put into a test query: `none`, `oracle` (the true one) or
        `predicted` (the scene name nearest to the caption in the untrained backbone; no label).
        """
        if mode == "oracle":
            self.asked = [self.samples[image] for image in self.image_of]
        if mode != "predicted":
            return
        tower = text_tower(backbone.model)

        def encode(words: list[str]) -> Tensor:
            parts = (tower(part) for part in table(words).split(256))
            return nn.functional.normalize(join_blocks(parts, len(words)).float(), dim=-1)

        names = self.scenes
        distinct = {c: i for i, c in enumerate(dict.fromkeys(c for _, c in self.captions))}
        nearest = (encode(list(distinct)) @ encode(names).t()).argmax(dim=1).tolist()
        self.asked = [
            replace(self.samples[image], scene=names[nearest[distinct[caption]]])
            for image, caption in self.captions
        ]

    def reset(self) -> None:
        """Begin anew to count what is encoded and how long that takes."""
        self.seconds = {"images": 0.0, "captions": 0.0}
        self.encoded = {"images": 0, "captions": 0}

    def rates(self) -> Efficiency:
        """Images and captions encoded per second, over all that this evaluation encoded."""
        images, captions = (
            self.encoded[what] / max(self.seconds[what], 1e-9) for what in ("images", "captions")
        )
        return {"eval_images_per_second": images, "eval_captions_per_second": captions}

    def words(self, method: Method) -> list[str]:
        """The captions as the method wants to be asked."""
        return [
            method.test_caption(caption, sample)
            for (_, caption), sample in zip(self.captions, self.asked, strict=True)
        ]

    @torch.no_grad()
    def features(
        self,
        method: Method,
        table: TokenTable,
        dtype: torch.dtype,
        device: torch.device,
        block: int,
        cached: FrozenInputs | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Images `(S, D)` and captions `(S*C, D)`, unit length, float32, on the device.

        `cached`: frozen features, which the method then encodes instead of images and texts.
        """
        method.eval()
        words = self.words(method)
        distinct = {word: i for i, word in enumerate(dict.fromkeys(words))}
        tokens = table(list(distinct))
        asked = list(distinct)

        def images(start: int) -> Any:
            if cached is not None:
                return cached.of_images(self.rows[start : start + block])
            return normalise(self._block(start, block, device), self.mean, self.std)

        def texts(start: int) -> Any:
            if cached is not None:
                return cached.of_texts(asked[start : start + block])
            return tokens[start : start + block].to(device)

        with autocast(dtype, device), self._clock("images", len(self.rows), device):
            starts = range(0, len(self.rows), block)
            image = join_blocks(
                (method.encode_image(images(start)).float() for start in starts), len(self.rows)
            )
        with autocast(dtype, device), self._clock("captions", len(distinct), device):
            starts = range(0, len(asked), block)
            text = join_blocks(
                (method.encode_text(texts(start)).float() for start in starts), len(asked)
            )
        order = torch.tensor([distinct[word] for word in words], device=device)
        return image, text[order]

    def _block(self, start: int, block: int, device: torch.device) -> Tensor:
        part = self.pixels[self.rows[start : start + block]]
        return torch.from_numpy(part).to(device)

    def _clock(self, what: str, count: int, device: torch.device) -> "_Clock":
        return _Clock(self, what, count, device)

    def ranks(self, image: Tensor, text: Tensor) -> dict[str, retrieval.Ranks]:
        """Ranks both ways, strict and duplicate-aware (`dup_`)."""
        return retrieval.rank_both(image, text, self.right)

    def metrics(self, ranks: dict[str, retrieval.Ranks]) -> dict[str, float]:
        """Strict recalls, duplicate-aware recalls (`dup_`) and the t2i ceiling, in percent."""
        strict = retrieval.recalls(ranks["i2t"], ranks["t2i"])
        loose = retrieval.recalls(ranks["dup_i2t"], ranks["dup_t2i"])
        return {
            **strict,
            **{f"dup_{name}": value for name, value in loose.items()},
            **retrieval.t2i_ceiling(self.image_of, self.sentences),
        }


class _Clock:
    """Adds the time spent and the items encoded to an evaluation's totals."""

    def __init__(self, owner: Evaluation, what: str, count: int, device: torch.device) -> None:
        self.owner, self.what, self.count, self.device = owner, what, count, device

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.owner.seconds[self.what] += time.perf_counter() - self.start
        self.owner.encoded[self.what] += self.count
