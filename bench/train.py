"""The one training loop, and the evaluation; the only `backward()` of the project is here."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from bench import retrieval
from bench.backbone import Backbone
from bench.data import Dataset, Loader, TokenTable, normalise, spoken_form
from bench.meter import Memory, Stopwatch, flops, saved_bytes, step_rate
from bench.recipe import Recipe
from methods.base import Batch, Method
from methods.towers import text_tower

Progress = Callable[[dict[str, Any]], None]


class Diverged(ArithmeticError):
    """The loss or a similarity became NaN or infinite."""


def compute_type(precision: str, device: torch.device) -> torch.dtype:
    """Autocast's number format: what the recipe says, `auto` by what the device computes in."""
    if precision == "auto":
        if device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        else:
            precision = "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def autocast(kind: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to `kind`; nothing where that is float32."""
    return nullcontext() if kind == torch.float32 else torch.autocast(device.type, dtype=kind)


def learning_rate(step: int, steps: int, warmup: float) -> float:
    """Factor on the peak learning rate: linear warm-up, then cosine to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class Trainer:
    """Optimiser, schedule and one step; what `fit`, the meters and the prediction all run."""

    def __init__(self, method: Method, recipe: Recipe, lr: float, steps: int, device: torch.device):
        self.method, self.recipe, self.device = method, recipe, device
        self.kind = compute_type(recipe.precision, device)
        groups = method.param_groups()
        self.parameters = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(
            groups, lr=lr, weight_decay=recipe.weight_decay, fused=device.type == "cuda"
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate(step, steps, recipe.warmup)
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.kind == torch.float16)

    def step(self, batches: list[Batch]) -> Tensor:
        """One optimiser step over its micro-batches; the mean loss, left on the device."""
        total = torch.zeros((), device=self.device)
        for batch in batches:
            with autocast(self.kind, self.device):
                loss = self.method.loss(batch) / len(batches)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total


@dataclass
class Fitted:
    """What training left: the best state on validation, the learning curve, what it cost."""

    best_state: dict[str, Tensor]
    best_step: int
    curve: list[dict[str, float]] = field(default_factory=list)
    efficiency: dict[str, Any] = field(default_factory=dict)


def planned_steps(recipe: Recipe, batches_per_epoch: int) -> int:
    """Optimiser steps of a whole training."""
    if recipe.steps is not None:
        return recipe.steps
    return max(1, round(recipe.epochs * batches_per_epoch / recipe.accumulation))


def fit(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    lr: float,
    validate: Callable[[], float] | None,
    progress: Progress = lambda _: None,
) -> Fitted:
    """Train; keep the state with the best validation mR (without `validate`: the last one).

    Raises Diverged when the loss is not finite at a look (every validation and at the end).
    """
    device = loader.device
    per_epoch = loader.split.batches_per_epoch(recipe.batch_size)
    steps = planned_steps(recipe, per_epoch)
    looks = {round(steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)} | {
        steps
    }
    trainer = Trainer(method, recipe, lr, steps, device)
    watch, memory = Stopwatch(device), Memory(device)
    memory.start()
    fitted = Fitted({}, 0)
    epochs = math.ceil(steps * recipe.accumulation / per_epoch)
    batches = _stream(method, loader, epochs)
    losses: list[Tensor] = []
    best, started = -1.0, time.perf_counter()
    method.on_fit(len(loader.split.rows))
    method.train()
    for step in range(1, steps + 1):
        method.on_step(step - 1, steps)
        losses.append(trainer.step(list(islice(batches, recipe.accumulation))))
        watch.step(recipe.batch_size * recipe.accumulation)
        if step not in looks:
            progress({"step": step, "steps": steps, "images_per_second": watch.latest()})
            continue
        with watch.paused(), memory.paused():
            loss = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} before step {step}; try a smaller learning rate"
                )
            point = {
                "step": step,
                "epoch": step * recipe.accumulation / per_epoch,
                "loss": loss,
                "lr": lr * learning_rate(step - 1, steps, recipe.warmup),
            }
            if validate is not None:
                point["val_mR"] = validate()
                method.train()
            fitted.curve.append(point)
            score = point.get("val_mR", float(step))
            if score > best:
                best, fitted.best_step = score, step
                fitted.best_state = {k: v.cpu().clone() for k, v in method.own_state().items()}
        progress({"step": step, "steps": steps, "images_per_second": watch.latest(), **point})
    fitted.efficiency = {
        **watch.summary(),
        **memory.read(method, trainer.optimizer),
        "train_seconds": time.perf_counter() - started,
    }
    progress({"stage": "measuring"})
    fitted.efficiency |= _measure(trainer, next(iter(loader.epoch(epochs))))
    return fitted


def _measure(trainer: Trainer, batch: Batch) -> dict[str, Any]:
    """What one step costs on a resident batch: bytes kept for backward, FLOPs, images/s."""
    method, images = trainer.method.train(), len(batch.images)

    def loss() -> Tensor:
        with autocast(trainer.kind, trainer.device):
            return method.loss(batch)

    given = [batch.images, batch.texts]
    forward, backward = flops(loss, trainer.parameters)
    return {
        "saved_for_backward_bytes": saved_bytes(
            loss, [*method.parameters(), *method.buffers(), *given]
        ),
        "forward_flops_per_image": forward / images,
        "backward_flops_per_image": backward / images,
        "step_images_per_second": step_rate(trainer, [batch]),
    }


def _stream(method: Method, loader: Loader, epochs: int) -> Iterator[Batch]:
    for epoch in range(epochs):
        method.on_epoch(epoch, epochs)
        yield from loader.epoch(epoch)


class Evaluation:
    """One split, ready to be ranked: images once, every distinct caption once."""

    def __init__(self, dataset: Dataset, split: str, pixels: Any, backbone: Backbone) -> None:
        self.rows, self.scenes = dataset.split(split), dataset.scenes
        self.samples = [dataset.samples[row] for row in self.rows]
        self.pixels, self.mean, self.std = pixels, backbone.mean, backbone.std
        self.captions = [
            (image, caption) for image, s in enumerate(self.samples) for caption in s.captions
        ]
        self.image_of = [image for image, _ in self.captions]
        self.sentences = [spoken_form(caption) for _, caption in self.captions]
        self.right = retrieval.right_items(self.image_of, self.sentences)
        self.seconds = {"images": 0.0, "captions": 0.0}
        self.encoded = {"images": 0, "captions": 0}
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
            parts = [tower(part) for part in table(words).split(256)]
            return nn.functional.normalize(torch.cat(parts).float(), dim=-1)

        names = self.scenes
        distinct = {c: i for i, c in enumerate(dict.fromkeys(c for _, c in self.captions))}
        nearest = (encode(list(distinct)) @ encode(names).t()).argmax(dim=1).tolist()
        self.asked = [
            replace(self.samples[image], scene=names[nearest[distinct[caption]]])
            for image, caption in self.captions
        ]

    def rates(self) -> dict[str, float]:
        """Images and captions encoded per second, over all that this evaluation encoded."""
        return {
            f"eval_{what}_per_second": self.encoded[what] / max(self.seconds[what], 1e-9)
            for what in ("images", "captions")
        }

    @torch.no_grad()
    def features(
        self, method: Method, table: TokenTable, kind: torch.dtype, device: torch.device, block: int
    ) -> tuple[Tensor, Tensor]:
        """Images `(S, D)` and captions `(S*C, D)`, unit length, float32, on the device."""
        method.eval()
        words = [
            method.test_caption(caption, sample)
            for (_, caption), sample in zip(self.captions, self.asked, strict=True)
        ]
        distinct = {word: i for i, word in enumerate(dict.fromkeys(words))}
        tokens = table(list(distinct))
        with autocast(kind, device), self._clock("images", len(self.rows), device):
            image = torch.cat(
                [
                    method.encode_image(
                        normalise(self._block(start, block, device), self.mean, self.std)
                    ).float()
                    for start in range(0, len(self.rows), block)
                ]
            )
        with autocast(kind, device), self._clock("captions", len(distinct), device):
            text = torch.cat(
                [method.encode_text(part.to(device)).float() for part in tokens.split(block)]
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
        i2t, t2i = (image, text), (text, image)
        return {
            way: retrieval.rank(*(i2t if way.endswith("i2t") else t2i), right)
            for way, right in self.right.items()
        }

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
