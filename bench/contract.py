"""Check that a method keeps the contract, on small models with random weights.

This needs no data and no network. `bench validate` prints the results; `check_method` is for your
own tests of your own method.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.hf_model import HFTextEncoder
from open_clip.timm_model import TimmModel
from rich import box
from rich.table import Table
from rich.text import Text
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bench import UserError, brief
from bench.console import few
from bench.measure.count import saved_bytes
from methods import attention
from methods.base import Batch, Method, NotApplicable


@dataclass(frozen=True)
class Result:
    """What one check found on one kind of model; `passed` is None if it was left out."""

    kind: str
    name: str
    passed: bool | None
    reason: str = ""


# Small models with random weights, for images of 32 px.

VISION = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8, "head_width": 32}
TEXT = {"context_length": 48, "vocab_size": 100, "width": 48, "heads": 2, "layers": 3}


def _open_clip() -> Any:
    """open_clip's own towers."""
    return CLIP(embed_dim=32, vision_cfg=VISION, text_cfg=TEXT, quick_gelu=True)


def _hugging_face() -> Any:
    """A BERT text tower of Hugging Face."""
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
    return model


def _timm() -> Any:
    """A timm image tower that pools by attention, as SigLIP's."""
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
    return model


def _resnet() -> Any:
    """A ResNet image tower, which has no transformer blocks."""
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    return CLIP(embed_dim=32, vision_cfg=vision, text_cfg=TEXT)


MODELS = {"open_clip": _open_clip, "hf": _hugging_face, "timm": _timm, "resnet": _resnet}
KINDS = tuple(MODELS)
"""The kinds of small models that a method is checked on."""


def tiny_model(kind: str = "open_clip", seed: int = 0) -> nn.Module:
    """A small two-tower model with random weights; `kind` is one of KINDS.

    Raises UserError if `hf` lacks the package transformers.
    """
    with _seeded(seed):
        model: nn.Module = MODELS[kind]()
        attention.speed_up(model)
        for name, parameter in model.named_parameters():
            # These are zero at first, which they are in no trained model.
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bn3.weight"):
                nn.init.ones_(parameter)
        return model.eval()


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
    kinds: tuple[str, ...] = KINDS,
) -> list[Result]:
    """Run every check on each kind of model; the result says so where the method does not apply."""
    results = []
    for kind in kinds:
        candidate = Candidate(cls, settings or {}, kind)
        try:
            candidate.build()
        except (NotApplicable, UserError) as error:
            results.append(Result(kind, "applies", None, str(error)))
        except Exception as error:
            reason = f"the constructor raises {type(error).__name__}: {error}"
            results.append(Result(kind, "applies", False, reason))
        else:
            results += [_result(candidate, name) for name in CHECKS]
    return results


def obstacle(cls: type[Method], settings: Mapping[str, Any]) -> str | None:
    """Why a method cannot be built around a model as wide as real ones; None if it can."""
    vision, text = {**VISION, "layers": 1, "width": 512}, {**TEXT, "layers": 1, "width": 256}
    try:
        with _seeded(0):
            cls(CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text), **settings)
    except Exception as error:  # perhaps of another library
        return brief(error)
    return None


def _result(candidate: "Candidate", name: str) -> Result:
    try:
        return Result(candidate.kind, name, True, CHECKS[name](candidate) or "")
    except LeftOut as reason:
        return Result(candidate.kind, name, None, str(reason))
    except AssertionError as error:
        return Result(candidate.kind, name, False, str(error))
    except Exception as error:  # somebody else's code: whatever it raises is a finding
        return Result(candidate.kind, name, False, f"{type(error).__name__}: {error}")


class LeftOut(Exception):
    """A check does not apply to this method; the message says why."""


@dataclass
class Candidate:
    """A method to be checked, with its settings, on one kind of model."""

    cls: type[Method]
    settings: Mapping[str, Any]
    kind: str

    def build(self) -> Method:
        """A fresh method around a fresh model, always with the same weights."""
        with _seeded(0):
            return self.cls(tiny_model(self.kind), **self.settings)

    @cached_property
    def untrained(self) -> Method:
        """The method in evaluation mode; for checks that only encode."""
        return self.build().eval()

    @cached_property
    def training(self) -> "Training":
        """Three training steps; several checks look at what they did."""
        return Training(self.build())


class Training:
    """A method, trained for three steps, and what happened meanwhile.

    Three, because in the first step some gradients are zero: the second matrix of an adapter
    starts at zero, which stops the gradient of the first.

    losses: of each step. Names of parameters: reached: that had a gradient in one of the steps;
    not_finite: whose gradient was infinite or no number; moved: of frozen tensors that changed.
    """

    def __init__(self, method: Method, steps: int = 3) -> None:
        self.method, trainable = method, _trainable(method)
        if not trainable:
            raise LeftOut("nothing is trained")
        frozen = {n: t.clone() for n, t in _tensors(method).items() if n not in trainable}
        self.losses: list[Tensor] = []
        self.reached: set[str] = set()
        self.not_finite: set[str] = set()
        optimizer = torch.optim.AdamW(method.param_groups(), lr=1e-2)
        method.on_fit(64)
        method.train()
        with _seeded(1):
            for step in range(steps):
                method.on_step(step, steps)
                loss = method.loss(tiny_batch(seed=step))
                loss.backward()
                self.losses.append(loss.detach())
                self.reached |= {
                    n for n, p in trainable.items() if p.grad is not None and p.grad.any()
                }
                self.not_finite |= _not_finite(method)
                optimizer.step()
                optimizer.zero_grad()
        after = _tensors(method)
        self.moved = {n for n, t in frozen.items() if n not in after or not t.equal(after[n])}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _trainable(method: Method) -> dict[str, nn.Parameter]:
    return {n: p for n, p in method.named_parameters() if p.requires_grad}


def _tensors(method: Method) -> dict[str, Tensor]:
    """All parameters, and the buffers of the backbone."""
    tensors: dict[str, Tensor] = {n: p.detach() for n, p in method.named_parameters()}
    return tensors | dict(method.model.named_buffers(prefix="model"))


def _not_finite(method: Method) -> set[str]:
    named = _trainable(method).items()
    return {n for n, p in named if p.grad is not None and not p.grad.isfinite().all()}


@torch.no_grad()
def _features(method: Method, seed: int = 2) -> Tensor:
    batch = tiny_batch()
    with _seeded(seed):
        return torch.stack([method.encode_image(batch.images), method.encode_text(batch.texts)])


def _lengths_off(features: Tensor, tolerance: float) -> str | None:
    """What is wrong if features do not have unit length; else None."""
    lengths = features.float().norm(dim=-1)
    if torch.allclose(lengths, torch.ones_like(lengths), atol=tolerance):
        return None
    return f"features have lengths {float(lengths.min()):.4f} to {float(lengths.max()):.4f}, not 1"


# The checks. Each raises AssertionError with what is wrong, or LeftOut; it may return a note.


def _loss(candidate: Candidate) -> None:
    method = candidate.build()
    method.on_fit(64)
    loss = method.train().loss(tiny_batch()).detach()
    assert loss.ndim == 0, f"the loss has shape {tuple(loss.shape)}; it must be a scalar"
    assert bool(loss.isfinite()), f"the loss is {float(loss)}"


def _gradients(candidate: Candidate) -> None:
    training = candidate.training
    wrong = few(sorted(training.not_finite))
    assert not wrong, f"the gradient is not finite in {wrong}"
    missed = _trainable(training.method).keys() - training.reached
    assert not missed, (
        f"no gradient in three steps for {few(sorted(missed))}; freeze what the loss does not "
        "depend on"
    )


def _groups(candidate: Candidate) -> str:
    method = candidate.build()
    own = _trainable(method).values()
    grouped = [p for group in method.param_groups() for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, own)), (
        "param_groups() must hold each trainable parameter once, and nothing else"
    )
    return f"{sum(p.numel() for p in own):,} trainable parameters"


def _frozen(candidate: Candidate) -> None:
    moved = candidate.training.moved
    assert not moved, f"frozen weights changed in three steps: {few(sorted(moved))}"


def _state(candidate: Candidate) -> str:
    method = candidate.training.method
    state = {name: tensor.clone() for name, tensor in method.own_state().items()}
    buffers = {n for n, _ in method.named_buffers() if not n.startswith("model.")}
    wrong = state.keys() ^ (_trainable(method).keys() | buffers)
    assert not wrong, (
        f"own_state must be the trainable parameters and own buffers; see {few(sorted(wrong))}"
    )
    fresh = candidate.build()
    fresh.load_own_state(state)
    # Bit for bit: the same operations on the same numbers in the same shapes.
    assert _features(method.eval()).equal(_features(fresh.eval())), (
        "a fresh method with the saved state encodes differently; keep all that is learned in "
        "parameters and buffers"
    )
    returned = fresh.own_state()
    assert all(returned[n].equal(t) for n, t in state.items()), "the state does not come back"
    return f"{sum(t.numel() * t.element_size() for t in state.values()):,} bytes"


def _unit(candidate: Candidate) -> None:
    features = _features(candidate.untrained)
    assert features.shape[1] == len(tiny_batch().images), (
        f"features have shape {tuple(features.shape)}"
    )
    wrong = _lengths_off(features, 1e-4)
    assert wrong is None, wrong


def _modes(candidate: Candidate) -> None:
    method = candidate.build().train()
    if any(isinstance(m, nn.Dropout) and m.training and m.p > 0 for m in method.modules()):
        raise LeftOut("dropout is on in training")
    training = _features(method)
    if not training.equal(_features(method, seed=3)):
        raise LeftOut("it draws random numbers in training")
    difference = float((training - _features(method.eval())).abs().max())
    assert difference < 1e-5, (
        f"training and evaluation mode encode differently (by {difference:.2g}); use nn.Dropout "
        "modules where that is meant"
    )


def _alone(candidate: Candidate) -> None:
    method, batch = candidate.untrained, tiny_batch()
    with torch.no_grad():
        images, texts = method.encode_image(batch.images[:1]), method.encode_text(batch.texts[:1])
    together = _features(method)[:, :1]
    difference = float((torch.stack([images, texts]) - together).abs().max())
    assert difference < 1e-4, (
        f"an input's feature depends on its batch (by {difference:.2g}): recall would depend on it"
    )


def _autocast(candidate: Candidate) -> None:
    method = candidate.build().train()
    method.on_fit(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.loss(tiny_batch())
        wrong = _lengths_off(_features(method), 1e-3)
    assert bool(loss.isfinite()), f"the loss is {float(loss.detach())} under bf16 autocast"
    assert wrong is None, (
        f"under bf16 autocast {wrong}; scale them with methods.base.unit, which does it in float32"
    )
    if loss.requires_grad:
        loss.backward()
        names = _not_finite(method)
        assert not names, f"the gradient is not finite under bf16 autocast in {few(sorted(names))}"


def _seed(candidate: Candidate) -> None:
    first, second = candidate.training, Training(candidate.build())
    state, other_state = first.method.own_state(), second.method.own_state()
    same = first.losses == second.losses  # bit for bit: one process, the same shapes
    same = same and all(tensor.equal(other_state[name]) for name, tensor in state.items())
    assert same, "two runs with one seed differ; draw random numbers from torch's generator only"


def _cached(candidate: Candidate) -> None:
    method, batch = candidate.untrained, tiny_batch()
    image, text = getattr(method, "frozen_image", None), getattr(method, "frozen_text", None)
    if not method.frozen_features or image is None or text is None:
        raise LeftOut("the method offers no frozen features")
    with torch.no_grad():
        pair = [method.encode_image(image(batch.images)), method.encode_text(text(batch.texts))]
    difference = float((torch.stack(pair) - _features(method)).abs().max())
    # Not bit for bit: a method may give the side the same numbers in another layout of memory.
    assert difference < 1e-5, (
        "encode_image(frozen_image(x)) must equal encode_image(x), and likewise for text; they "
        f"differ by {difference:.2g}"
    )


def _bytes(candidate: Candidate) -> str:
    batch = tiny_batch()

    def kept(method: Method) -> tuple[int, int]:
        known = [*method.parameters(), *method.buffers(), batch.images, batch.texts]
        image = saved_bytes(lambda: method.encode_image(batch.images), known)
        return image, saved_bytes(lambda: method.encode_text(batch.texts), known)

    full = Method(tiny_model(candidate.kind))
    full.model.requires_grad_(True)
    image, text = kept(candidate.build().train())
    share = 100 * (image + text) / max(1, sum(kept(full)))
    return f"image {image:,}, text {text:,} ({share:.0f}% of full fine-tuning)"


CHECKS: dict[str, Callable[[Candidate], str | None]] = {
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


def table(results: list[Result], title: str) -> Table:
    """The results: a row for each check, a column for each kind of model, the reasons below."""
    kinds = list(dict.fromkeys(result.kind for result in results))
    table = Table("check", *kinds, title=title, box=box.SIMPLE_HEAD)
    table.title_justify = table.caption_justify = "left"
    words = {True: "pass", False: "[bold]FAIL[/]", None: "left out"}
    rows: dict[str, dict[str, str]] = {}
    notes: dict[str, list[str]] = {}
    for result in results:
        rows.setdefault(result.name, {})[result.kind] = words[result.passed]
        if result.reason:
            notes.setdefault(f"{result.name}: {result.reason}", []).append(result.kind)
    for name, cells in rows.items():
        table.add_row(name, *(cells.get(kind, "") for kind in kinds))
    lines = [f"{', '.join(where)}: {note}" for note, where in notes.items()]
    table.caption = Text("\n".join(lines))
    return table
