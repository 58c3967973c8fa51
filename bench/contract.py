"""The contract of a method, checked on small models with random weights: no data, no network."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench import UserError
from bench.measure.meter import saved_bytes
from methods.base import Batch, Method, NotApplicable

if TYPE_CHECKING:
    from rich.table import Table

KINDS = {
    "open_clip": "open_clip's own towers",
    "hf": "open_clip's image tower, BERT text tower (Hugging Face)",
    "timm": "timm image tower with attention pooling, bidirectional text tower (SigLIP)",
    "resnet": "ResNet image tower, which has no transformer blocks (RN50)",
}
WITH_BLOCKS = ("open_clip", "hf", "timm")
"""The kinds whose towers both have blocks that methods can work on."""


@dataclass(frozen=True)
class Result:
    """What one check found on one kind of towers; `passed` is None where it was left out."""

    kind: str
    name: str
    passed: bool | None
    reason: str = ""


def tiny_model(kind: str = "open_clip", seed: int = 0) -> nn.Module:
    """A small two-tower model of open_clip with random weights, for images of 32 px.

    kind: one of `KINDS`. Raises UserError for another one, or where `hf` lacks transformers.
    """
    _known(kind)
    makers = {"open_clip": _open_clip, "hf": _hugging_face, "timm": _timm, "resnet": _resnet}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return makers[kind]().eval()


def _known(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"the kinds of towers are {', '.join(KINDS)}, not {kind!r}")


VISION = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8, "head_width": 32}
TEXT = {"context_length": 48, "vocab_size": 100, "width": 48, "heads": 2, "layers": 3}


def _open_clip() -> nn.Module:
    from open_clip import CLIP

    return _typed(CLIP(embed_dim=32, vision_cfg=VISION, text_cfg=TEXT, quick_gelu=True))


def _hugging_face() -> nn.Module:
    from open_clip import CustomTextCLIP
    from open_clip.hf_model import HFTextEncoder

    try:
        from transformers import BertConfig
    except ImportError:
        raise UserError(
            "Hugging Face text towers need transformers: pip install transformers"
        ) from None
    config = BertConfig(
        vocab_size=100,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=48,
    )
    model = CustomTextCLIP(embed_dim=32, vision_cfg=VISION, text_cfg=TEXT)
    model.text = HFTextEncoder(
        "", output_dim=32, config=config, pooler_type="mean_pooler", proj_type="mlp"
    )
    model.text.transformer.pooler = None  # as open_clip has it for mean pooling
    return _typed(model)


def _timm() -> nn.Module:
    from open_clip import CustomTextCLIP
    from open_clip.timm_model import TimmModel
    from timm.models.vision_transformer import VisionTransformer

    text = TEXT | {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    model = CustomTextCLIP(embed_dim=64, vision_cfg=VISION, text_cfg=text, init_logit_bias=-10)
    model.visual = TimmModel("test_vit", embed_dim=64, image_size=32, pool="", proj="none")
    model.visual.trunk = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=64,
        depth=3,
        num_heads=2,
        num_classes=0,
        class_token=False,
        global_pool="map",
    )
    return _typed(model)


def _resnet() -> nn.Module:
    from open_clip import CLIP

    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    model = CLIP(embed_dim=32, vision_cfg=vision, text_cfg=TEXT)
    for name, weight in model.visual.named_parameters():
        if name.endswith("bn3.weight"):  # zero at first, which no trained model has
            nn.init.ones_(weight)
    return _typed(model)


def _typed(model: Any) -> nn.Module:
    assert isinstance(model, nn.Module)
    return model


def tiny_batch(size: int = 6, seed: int = 0) -> Batch:
    """Random images and texts for `tiny_model`; the first two images share one caption."""
    source = torch.Generator().manual_seed(seed)
    texts = torch.randint(2, 98, (size, TEXT["context_length"]), generator=source)
    for row, end in enumerate(torch.randint(4, 20, (size,), generator=source).tolist()):
        texts[row, end], texts[row, end + 1 :] = 99, 0
    texts[1] = texts[0]
    ids = torch.arange(size)
    captions = ids.clone()
    captions[1] = 0
    return Batch(
        images=torch.randn(size, 3, 32, 32, generator=source),
        texts=texts,
        image_ids=ids,
        caption_ids=captions,
        caption_sets=torch.stack([captions, captions + size], dim=1),
        scenes=ids % 3,
    )


def check_method(
    cls: type[Method],
    settings: Mapping[str, Any] | None = None,
    kinds: tuple[str, ...] = tuple(KINDS),
) -> list[Result]:
    """Check a method on each kind of towers; where it does not apply the result says so.

    Raises UserError for a kind that is not in `KINDS`.
    """
    results = []
    for kind in kinds:
        _known(kind)
        try:
            _build(cls, settings or {}, partial(tiny_model, kind))
        except (NotApplicable, UserError) as error:
            results.append(Result(kind, "applies", None, str(error)))
            continue
        except Exception as error:
            reason = f"the constructor raises {type(error).__name__}: {error}"
            results.append(Result(kind, "applies", False, reason))
            continue
        results += check(cls, settings or {}, partial(tiny_model, kind), kind)
    return results


def check(
    cls: type[Method],
    settings: Mapping[str, Any],
    model: Callable[[], nn.Module],
    kind: str = "",
) -> list[Result]:
    """Run every check, each on a fresh method around a fresh `model()`, fed with `tiny_batch()`."""
    results = []
    for name, test in CHECKS.items():
        try:
            note = test(partial(_build, cls, settings, model))
            results.append(Result(kind, name, True, note or ""))
        except _LeftOutError as skip:
            results.append(Result(kind, name, None, str(skip)))
        except AssertionError as error:
            results.append(Result(kind, name, False, str(error)))
        except Exception as error:  # somebody else's code: whatever it raises is a finding
            results.append(Result(kind, name, False, f"{type(error).__name__}: {error}"))
    return results


def obstacle(cls: type[Method], settings: Mapping[str, Any]) -> str | None:
    """Why a method cannot be trained on small towers of open_clip's; None where it can.

    Their widths are multiples of 256, as those of real backbones are, and their biases not zero.
    """
    try:
        method = _build(cls, settings, wide_model)
        for loss in _steps(method, count=1):
            if not loss.isfinite():
                return f"its loss is {float(loss)}"
    except Exception as error:  # another library's code: whatever it raises is the answer
        return " ".join(str(error).split()) or type(error).__name__
    return None


@functools.cache
def _wide() -> nn.Module:
    from open_clip import CLIP

    vision = {**VISION, "layers": 1, "width": 512, "head_width": 64}
    model = _typed(
        CLIP(embed_dim=32, vision_cfg=vision, text_cfg={**TEXT, "width": 256, "layers": 1})
    )
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.02)
    return model.eval()


def wide_model() -> nn.Module:
    """A fresh copy of a model with one wide block in each tower."""
    with _seeded(0):
        return copy.deepcopy(_wide())


class _LeftOutError(Exception):
    """A check that does not apply; the message says why."""


Build = Callable[[], Method]


def _build(
    cls: type[Method], settings: Mapping[str, Any], model: Callable[[], nn.Module], seed: int = 0
) -> Method:
    with _seeded(seed):
        return cls(model(), **settings)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _trainable(method: Method) -> dict[str, nn.Parameter]:
    return {n: p for n, p in method.named_parameters() if p.requires_grad}


def _steps(method: Method, count: int = 2, lr: float = 1e-2) -> Iterator[Tensor]:
    """Take so many optimiser steps; yields each loss after its backward, before the step."""
    trainable = list(_trainable(method).values())
    if not trainable:
        raise _LeftOutError("nothing is trained")
    optimizer = torch.optim.AdamW(method.param_groups(), lr=lr)
    method.on_fit(64)
    method.train()
    with _seeded(1):
        for step in range(count):
            method.on_step(step, count)
            loss = method.loss(tiny_batch(seed=step))
            loss.backward()
            yield loss.detach()
            optimizer.step()
            optimizer.zero_grad()


@torch.no_grad()
def _features(method: Method, seed: int = 2) -> Tensor:
    batch = tiny_batch()
    with _seeded(seed):
        return torch.stack([method.encode_image(batch.images), method.encode_text(batch.texts)])


def _loss(build: Build) -> None:
    method = build()
    method.on_fit(64)
    loss = method.train().loss(tiny_batch()).detach()
    assert loss.ndim == 0, f"the loss has shape {tuple(loss.shape)}; it must be a scalar"
    assert bool(loss.isfinite()), f"the loss is {float(loss)}"


def _gradients(build: Build) -> None:
    method, reached = build(), set()
    for _ in _steps(method, count=3):  # what starts at zero holds others' gradients back
        named = _trainable(method).items()
        odd = [n for n, p in named if p.grad is not None and not p.grad.isfinite().all()]
        assert not odd, f"the gradient is not finite in {_some(odd)}"
        reached |= {n for n, p in named if p.grad is not None and bool(p.grad.any())}
    missed = [n for n in _trainable(method) if n not in reached]
    assert not missed, (
        f"no gradient in three steps for {_some(missed)}; freeze what the loss does not depend on"
    )


def _groups(build: Build) -> str:
    method = build()
    own = {id(p): p for p in _trainable(method).values()}
    given = [p for group in method.param_groups() for p in group["params"]]
    assert len(given) == len(own), "param_groups() must hold each trainable parameter once"
    assert {id(p) for p in given} == own.keys(), "param_groups() must hold what requires_grad says"
    return f"{sum(p.numel() for p in given):,} trainable parameters"


def _frozen(build: Build) -> None:
    method = build()
    own = {id(p) for p in _trainable(method).values()}
    tensors = {**dict(method.named_parameters()), **dict(method.model.named_buffers())}
    before = {n: t.detach().clone() for n, t in tensors.items() if id(t) not in own}
    for _ in _steps(method):
        pass
    after = {**dict(method.named_parameters()), **dict(method.model.named_buffers())}
    moved = [n for n, t in before.items() if n not in after or not torch.equal(t, after[n])]
    assert not moved, f"frozen weights changed in two steps: {_some(moved)}"


def _state(build: Build) -> str:
    method = build()
    for _ in _steps(method):
        pass
    state = {name: tensor.clone() for name, tensor in method.own_state().items()}
    own = {n: p for n, p in method.named_parameters() if p.requires_grad}
    buffers = {n: b for n, b in method.named_buffers() if not n.startswith("model.")}
    wrong = sorted(state.keys() ^ (own.keys() | buffers.keys()))
    assert not wrong, (
        f"own_state must be the trainable parameters and own buffers; see {_some(wrong)}"
    )
    other = build()
    other.load_own_state(state)
    method.eval(), other.eval()
    # Bit for bit: the same operations on the same numbers in the same shapes.
    assert torch.equal(_features(method), _features(other)), (
        "a fresh method with the saved state encodes differently; keep all that is learned in "
        "parameters and buffers"
    )
    again = other.own_state()
    assert all(torch.equal(again[n], t) for n, t in state.items()), "the state does not come back"
    return f"{sum(t.numel() * t.element_size() for t in state.values()):,} bytes"


def _unit(build: Build) -> None:
    method, batch = build().eval(), tiny_batch()
    features = _features(method)
    assert features.shape[1] == len(batch.images), f"features have shape {tuple(features.shape)}"
    lengths = features.norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4), (
        f"features have lengths {float(lengths.min()):.3g} to {float(lengths.max()):.3g}, not 1"
    )


def _modes(build: Build) -> None:
    method = build().train()
    random = [m for m in method.modules() if isinstance(m, nn.Dropout) and m.training and m.p > 0]
    if random:
        raise _LeftOutError("dropout is on in training")
    training = _features(method)
    if not torch.equal(training, _features(method, seed=3)):
        raise _LeftOutError("it draws random numbers in training")
    difference = float((training - _features(method.eval())).abs().max())
    assert difference < 1e-5, (
        f"training and evaluation mode encode differently (by {difference:.2g}); use nn.Dropout "
        "modules where that is meant"
    )


def _alone(build: Build) -> None:
    method, batch = build().eval(), tiny_batch()
    with torch.no_grad():
        images, texts = method.encode_image(batch.images[:1]), method.encode_text(batch.texts[:1])
    together = _features(method)[:, :1]
    difference = float((torch.stack([images, texts]) - together).abs().max())
    assert difference < 1e-4, (
        f"an input's feature depends on its batch (by {difference:.2g}): recall would depend on it"
    )


def _autocast(build: Build) -> None:
    method = build().train()
    method.on_fit(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.loss(tiny_batch())
        lengths = _features(method).float().norm(dim=-1)
    assert bool(loss.isfinite()), f"the loss is {float(loss.detach())} under bf16 autocast"
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3), (
        f"under bf16 autocast features have lengths {float(lengths.min()):.4f} to "
        f"{float(lengths.max()):.4f}; scale them with methods.base.unit, which does it in float32"
    )
    if loss.requires_grad:
        loss.backward()
        named = _trainable(method).items()
        odd = [n for n, p in named if p.grad is not None and not p.grad.isfinite().all()]
        assert not odd, f"the gradient is not finite under bf16 autocast in {_some(odd)}"


def _seed(build: Build) -> None:
    runs = []
    for _ in range(2):
        method = build()
        losses = list(_steps(method))
        runs.append((losses, method.own_state()))
    (losses, state), (again, other) = runs  # bit for bit: one process, the same shapes
    same = all(map(torch.equal, losses, again)) and all(map(torch.equal, *_both(state, other)))
    assert same, "two runs with one seed differ; draw random numbers from torch's generator only"


def _both(a: dict[str, Tensor], b: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    return [a[n] for n in sorted(a)], [b[n] for n in sorted(b)]


def _cached(build: Build) -> None:
    method, batch = build().eval(), tiny_batch()
    image, text = getattr(method, "frozen_image", None), getattr(method, "frozen_text", None)
    if not method.frozen_features or image is None or text is None:
        raise _LeftOutError("the method offers no frozen features")
    with torch.no_grad():
        pair = [method.encode_image(image(batch.images)), method.encode_text(text(batch.texts))]
    difference = float((torch.stack(pair) - _features(method)).abs().max())
    # Not bit for bit: a method may give the side the same numbers in another layout of memory.
    assert difference < 1e-5, (
        "encode_image(frozen_image(x)) must equal encode_image(x), and likewise for text; they "
        f"differ by {difference:.2g}"
    )


def _bytes(build: Build) -> str:
    method, batch = build().train(), tiny_batch()
    given = [*method.parameters(), *method.buffers(), batch.images, batch.texts]
    image = saved_bytes(lambda: method.encode_image(batch.images), given)
    text = saved_bytes(lambda: method.encode_text(batch.texts), given)
    full = _everything(build, batch)
    share = 100 * (image + text) / full
    return f"image {image:,}, text {text:,} ({share:.0f}% of full fine-tuning)"


def _everything(build: Build, batch: Batch) -> int:
    plain = Method(build().model)
    plain.model.requires_grad_(True)
    given = [*plain.parameters(), *plain.buffers(), batch.images, batch.texts]
    image = saved_bytes(lambda: plain.encode_image(batch.images), given)
    return max(1, image + saved_bytes(lambda: plain.encode_text(batch.texts), given))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


CHECKS: dict[str, Callable[[Build], str | None]] = {
    "finite loss": _loss,
    "gradient for each trainable parameter": _gradients,
    "optimiser groups": _groups,
    "frozen weights untouched": _frozen,
    "own state round trip": _state,
    "unit length": _unit,
    "same in training and evaluation": _modes,
    "independent of the batch": _alone,
    "bf16 autocast": _autocast,
    "deterministic by seed": _seed,
    "cached features": _cached,
    "bytes kept for backward": _bytes,
}


def table(results: list[Result], title: str) -> "Table":
    """Checks by kinds of towers, and under it the reason of each that did not pass."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kinds = list(dict.fromkeys(result.kind for result in results))
    found = {(result.name, result.kind): result for result in results}
    shown = Table("check", *kinds, title=title, box=box.SIMPLE_HEAD)
    shown.title_justify = shown.caption_justify = "left"
    words = {True: "pass", False: "[bold]FAIL[/]", None: "left out"}
    for name in dict.fromkeys(result.name for result in results):
        row = [found.get((name, kind)) for kind in kinds]
        shown.add_row(name, *("" if one is None else words[one.passed] for one in row))
    notes: dict[str, list[str]] = {}
    for result in results:
        if result.reason:
            notes.setdefault(f"{result.name}: {result.reason}", []).append(result.kind)
    shown.caption = Text("\n".join(f"{', '.join(w)}: {note}" for note, w in notes.items()))
    return shown
