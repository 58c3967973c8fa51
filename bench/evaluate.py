"""Evaluate a method on one split: encode every image and every distinct caption once, then rank."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench import retrieval
from bench.backbone import Backbone
from bench.data import Dataset, cut
from bench.data.resize import Pixels
from bench.schema import Efficiency
from bench.training.batches import TokenTable, join_blocks, normalise
from bench.training.trainer import autocast
from methods.base import Method
from methods.known_towers import text_tower

EVAL_BATCH = 256
"""Images or captions encoded at a time."""


class FrozenInputs(Protocol):
    """Cached outputs of the frozen towers; `bench.training.features.Features` is one."""

    def of_images(self, rows: Sequence[int]) -> Any:
        """What `frozen_image` returned for rows of the data set."""

    def of_texts(self, captions: Sequence[str]) -> Any:
        """What `frozen_text` returned for captions."""


class Evaluation:
    """One split of a data set: its images, its captions and which of them belong together."""

    def __init__(
        self, dataset: Dataset, split: str, pixels: Pixels, backbone: Backbone, table: TokenTable
    ) -> None:
        self.rows, self.scenes = dataset.split(split), dataset.scenes
        self.samples = [dataset.samples[row] for row in self.rows]
        preprocess = backbone.preprocess
        self.pixels, self.mean, self.std = pixels, preprocess.mean, preprocess.std
        self.table = table
        self.captions = [caption for sample in self.samples for caption in sample.captions]
        self.image_of = [image for image, s in enumerate(self.samples) for _ in s.captions]
        # Captions that the backbone's context cuts to the same words are one sentence.
        self.sentences = cut.find(backbone.tokenizer, self.captions).sentences(self.captions)
        self.right = retrieval.right_items(self.image_of, self.sentences)
        self.label("none", backbone)
        self.reset()

    @torch.no_grad()
    def label(self, mode: str, backbone: Backbone) -> None:
        """Choose the scene label that a method may add to a test query.

        `none`; `oracle`: the true one; `predicted`: the scene whose name is nearest to the caption
        in the untrained `backbone`, which needs no label.
        """
        scenes: Sequence[str | None] = [None] * len(self.captions)
        if mode == "oracle":
            scenes = [self.samples[image].scene for image in self.image_of]
        elif mode == "predicted":
            tower = text_tower(backbone.model)

            def encode(texts: list[str]) -> Tensor:
                blocks = (tower(block) for block in self.table(texts).split(EVAL_BATCH))
                return nn.functional.normalize(join_blocks(blocks, len(texts)).float(), dim=-1)

            distinct = list(dict.fromkeys(self.captions))
            nearest = (encode(distinct) @ encode(self.scenes).t()).argmax(dim=1).tolist()
            scene_of = {c: self.scenes[n] for c, n in zip(distinct, nearest, strict=True)}
            scenes = [scene_of[caption] for caption in self.captions]
        pairs = zip(self.image_of, scenes, strict=True)
        self.queries = [replace(self.samples[image], scene=scene) for image, scene in pairs]

    def reset(self) -> None:
        """Forget how much was encoded and how long it took (see `rates`)."""
        self.seconds = {"images": 0.0, "captions": 0.0}
        self.encoded = {"images": 0, "captions": 0}

    def rates(self) -> Efficiency:
        """Images and captions encoded per second, over all that this evaluation encoded."""
        rate = {what: self.encoded[what] / max(self.seconds[what], 1e-9) for what in self.encoded}
        return {
            "eval_images_per_second": rate["images"],
            "eval_captions_per_second": rate["captions"],
        }

    def captions_for(self, method: Method) -> list[str]:
        """All captions, in order, as the method wants to read them (see `Method.test_caption`)."""
        pairs = zip(self.captions, self.queries, strict=True)
        return [method.test_caption(caption, sample) for caption, sample in pairs]

    @torch.no_grad()
    def features(
        self,
        method: Method,
        dtype: torch.dtype,
        device: torch.device,
        cached: FrozenInputs | None = None,
        block: int = EVAL_BATCH,
    ) -> tuple[Tensor, Tensor]:
        """Images `(S, D)` and captions `(S*C, D)`, unit length, float32, on the device.

        `cached`: frozen features, which the method then encodes instead of images and texts.
        `block`: how many are encoded at a time.
        """
        method.eval()
        captions = self.captions_for(method)
        distinct = list(dict.fromkeys(captions))
        tokens = self.table(distinct)

        def encode_images(part: slice) -> Tensor:
            if cached is not None:
                return method.encode_image(cached.of_images(self.rows[part]))
            pixels = torch.from_numpy(self.pixels[self.rows[part]]).to(device)
            return method.encode_image(normalise(pixels, self.mean, self.std))

        def encode_texts(part: slice) -> Tensor:
            if cached is not None:
                return method.encode_text(cached.of_texts(distinct[part]))
            return method.encode_text(tokens[part].to(device))

        def encoded(what: str, count: int, encode: Callable[[slice], Tensor]) -> Tensor:
            started = time.perf_counter()
            parts = (slice(start, start + block) for start in range(0, count, block))
            with autocast(dtype, device):
                joined = join_blocks((encode(part).float() for part in parts), count)
            if device.type == "cuda":  # which works on while Python goes on
                torch.cuda.synchronize(device)
            self.seconds[what] += time.perf_counter() - started
            self.encoded[what] += count
            return joined

        images = encoded("images", len(self.rows), encode_images)
        texts = encoded("captions", len(distinct), encode_texts)
        row_of = {caption: number for number, caption in enumerate(distinct)}
        return images, texts[torch.tensor([row_of[caption] for caption in captions], device=device)]

    def ranks(self, image: Tensor, text: Tensor) -> dict[str, retrieval.Ranks]:
        """Ranks both ways, strict and duplicate-aware (`dup_`)."""
        return retrieval.rank_both(image, text, self.right)

    def metrics(self, ranks: dict[str, retrieval.Ranks]) -> dict[str, float]:
        """Strict recalls, duplicate-aware recalls (`dup_`) and the t2i ceiling, in percent."""
        loose = retrieval.recalls(ranks["dup_i2t"], ranks["dup_t2i"])
        return {
            **retrieval.recalls(ranks["i2t"], ranks["t2i"]),
            **{f"dup_{name}": value for name, value in loose.items()},
            **retrieval.t2i_ceiling(self.image_of, self.sentences),
        }
