"""Make the starter backbone again: train its architecture on RSICD's training split.

python -m bench.starter.pretrain --data-root DATA [--steps 2000] [--out starter.safetensors]

This is the only training that is not a trial. It has a loop of its own, because it drops patches
and averages weights, which would give a method of the benchmark an advantage over the others.
"""

import argparse
import copy
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import PatchDropout
from torch import Tensor, nn

from bench import backbone, data
from bench.backbone.starter import STARTER, save_starter, starter_state
from bench.data import cache
from bench.recipe import Recipe
from bench.starter import augment
from bench.training.batches import normalise
from bench.workbench import Model, Workbench
from methods import registry
from methods.base import share_caption, unit

STEPS, BATCH, LR, WEIGHT_DECAY = 2000, 256, 1e-3, 0.2
WARMUP = 0.06
"""Share of the steps in which the learning rate rises; after that it falls as a cosine."""
DROPPED_PATCHES, DROPPED_UNTIL = 0.5, 0.88
"""Share of the patches that are left out, up to this share of the steps."""
AVERAGING = 0.998
"""Decay of the moving average of the weights. The average is what is validated and kept."""
SOURCE_SIZE = 96
"""Images are decoded larger than the backbone's 64 pixels, so that small crops stay sharp."""
LOOKS = 10
"""How often the average is validated."""


def main() -> None:
    """Train, select on validation, test once, write the weights and their numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=STARTER / "starter.safetensors")
    args = parser.parse_args()
    torch.manual_seed(0)
    root = data.data_root(args.data_root)
    bench = Workbench(data.load(data.card("rsicd"), root), backbone.load("starter:none"))
    images = cache.images(bench.dataset, SOURCE_SIZE, bench.backbone.preprocess.resize)
    split = bench.training()
    best, log = train(bench, torch.from_numpy(images[split.rows]), args.steps)
    texts = {
        " . ",
        *augment.TEMPLATES,
        *(caption for several in split.captions for caption in several),
    }
    texts |= {augment.spoken(sample.scene) for sample in split.samples if sample.scene}
    seen = torch.unique(bench.backbone.tokenizer(sorted(texts)))
    save_starter(best, seen, args.out)
    stored = starter_state(args.out)  # as it was rounded
    numbers = {**log, "val": recall(bench, stored, "val"), "test": recall(bench, stored, "test")}
    args.out.with_name("pretrain.json").write_text(json.dumps(numbers, indent=1) + "\n")


def train(bench: Workbench, pixels: Tensor, steps: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The best averaged weights, and a log of the training. Changes the backbone's model.

    pixels: uint8 `(N, H, W, 3)`, the images of the training split in its order.
    """
    split, size = bench.training(), bench.backbone.image_size
    mean, std = bench.backbone.preprocess.mean, bench.backbone.preprocess.std
    model: Any = copy.deepcopy(bench.backbone.model).train().requires_grad_(True)
    average = copy.deepcopy(model).eval()
    model.visual.patch_dropout = PatchDropout(DROPPED_PATCHES)
    optimiser = torch.optim.AdamW(_groups(model), lr=LR, betas=(0.9, 0.98), eps=1e-6)
    crops, words = torch.Generator().manual_seed(0), random.Random(0)
    batches = _batches(len(pixels))
    curve: list[dict[str, float]] = []
    best, start = {}, time.perf_counter()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LR * _rate(step, steps)
        if step == int(steps * DROPPED_UNTIL):
            model.visual.patch_dropout = nn.Identity()
        rows = next(batches)
        images = augment.views(normalise(pixels[rows], mean, std), size, crops)
        texts = [augment.text(split.captions[i], split.samples[i].scene, words) for i in rows]
        loss = _loss(model, images, bench.backbone.tokenizer(texts), split.caption_sets[rows])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
            decay = min(AVERAGING, (1 + step) / (10 + step))  # less while the weights are random
            for kept, fresh in zip(average.parameters(), model.parameters(), strict=True):
                kept.lerp_(fresh, 1 - decay)
        if (step + 1) % max(steps // LOOKS, 1) == 0 or step + 1 == steps:
            val = recall(bench, average.state_dict(), "val")["mR"]
            curve.append({"step": step + 1, "loss": loss.item(), "val_mR": val})
            print(json.dumps(curve[-1]), flush=True)
            if val == max(look["val_mR"] for look in curve):
                best = copy.deepcopy(average.state_dict())
    return best, {"steps": steps, "seconds": time.perf_counter() - start, "curve": curve}


def _groups(model: nn.Module) -> list[dict[str, Any]]:
    """The parameters for the optimiser: matrices decay, vectors and scalars do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a linear rise, then half a cosine down to 0."""
    past = step - WARMUP * steps
    fall = 0.5 * (1 + math.cos(math.pi * past / ((1 - WARMUP) * steps))) if past > 0 else 1.0
    return min(1.0, (step + 1) / (WARMUP * steps)) * fall


def _batches(images: int) -> Iterator[Tensor]:
    """Image numbers, in a new order each time all have been seen; a short rest is left out."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from torch.randperm(images, generator=generator).split(BATCH)[: images // BATCH]


def _loss(model: Any, images: Tensor, tokens: Tensor, caption_sets: Tensor) -> Tensor:
    """Symmetric InfoNCE; images that share a caption are no negatives of each other."""
    tokens = tokens[:, : int((tokens != 0).sum(1).max())]  # padding costs time and changes nothing
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image, text = unit(model.encode_image(images)), unit(_encode_text(model, tokens))
    logits = model.logit_scale.exp() * image @ text.T
    diagonal = torch.eye(len(images), dtype=torch.bool)
    logits = logits.masked_fill(share_caption(caption_sets, caption_sets) & ~diagonal, -1e4)
    target = torch.arange(len(images))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _encode_text(model: Any, tokens: Tensor) -> Tensor:
    """open_clip's `encode_text`, which takes texts of full length alone.

    All in bfloat16. A tower of `methods/towers.py` keeps float32 between blocks, which would train
    other weights than the ones that are kept.
    """
    length, dtype = tokens.shape[1], torch.bfloat16
    x = model.token_embedding(tokens).to(dtype) + model.positional_embedding[:length].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length].to(dtype))
    ends = tokens.argmax(-1)  # the end-of-text token has the largest number
    features: Tensor = model.ln_final(x)[torch.arange(len(tokens)), ends] @ model.text_projection
    return features


def recall(bench: Workbench, weights: dict[str, Tensor], split: str) -> dict[str, float]:
    """The zero-shot recall of weights on a split of the data set, in percent."""
    bench.backbone.model.load_state_dict(weights)
    model = Model.build(registry()["zeroshot"], {}, bench.backbone, Recipe(), seed=0)
    return model.rank(bench.evaluation(split))[0]


if __name__ == "__main__":
    main()
