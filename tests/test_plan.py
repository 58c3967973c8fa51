"""The prediction against the same step on real tensors, and against what the profiler saw."""

import dataclasses
import gc
import io
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile

from bench import contract
from bench.measure import count, plan, plan_table
from bench.measure import rehearsal as rehearsal_
from bench.measure.rehearsal import LiveBytes, Rehearsal, as_on_cuda
from bench.recipe import Recipe
from bench.spec import defaults
from bench.trial import Trial
from methods import registry
from methods.base import NotApplicable
from tests.helpers import fake_cuda

METHODS = registry()
BATCH = 24


def model() -> nn.Module:
    torch.manual_seed(0)
    vision = {"layers": 2, "width": 96, "head_width": 32, "patch_size": 8, "image_size": 48}
    text = {"context_length": 20, "vocab_size": 500, "width": 64, "heads": 2, "layers": 2}
    return open_clip.CLIP(48, vision, text)


def rehearsal(name: str, fake: bool = True, **recipe: object) -> Rehearsal:
    torch.manual_seed(1)
    try:
        method = METHODS[name](model())
    except NotApplicable as reason:
        pytest.skip(str(reason))
    return Rehearsal(method, Recipe(**{"precision": "bf16", **recipe}), 48, 20, fake=fake)


def profiled_peak(real: Rehearsal) -> int:
    """Peak bytes of a step as the allocator reported them, above what was there before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        real.peak(BATCH)
    assert seen.profiler is not None
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("name", METHODS)
def test_fake_tensors_need_what_real_ones_need(name: str):
    fake, real = rehearsal(name), rehearsal(name, fake=False)
    assert fake.peak(BATCH) == pytest.approx(real.peak(BATCH), rel=0.02)
    assert fake.parts() == real.parts()
    if fake.trainer is not None:
        assert fake.kept(BATCH) == pytest.approx(real.kept(BATCH), rel=0.02)


@pytest.mark.parametrize("name", ["zeroshot", "linear", "full", "lora", "vpt", "cmer"])
def test_the_allocator_saw_what_is_predicted(name: str):
    """In float32: a CPU's bfloat16 kernels convert inside and need scratch that CUDA's do not."""
    fake, real = rehearsal(name, precision="fp32"), rehearsal(name, fake=False, precision="fp32")
    before = LiveBytes()
    for tensor in fake.resident():
        before.add(tensor)
    assert fake.peak(BATCH) - before.live == pytest.approx(profiled_peak(real), rel=0.02)


@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.lr is not None])
def test_cuda_keeps_for_backward_what_is_predicted(name: str):
    """Under its own autocast, in forward: a backward needs a GPU that is there."""
    predicted, mode = rehearsal(name), FakeTensorMode(allow_non_fake_inputs=True)
    torch.manual_seed(1)
    method = METHODS[name](model()).train()
    batch = fake_cuda.placed(method, predicted.batch(BATCH), mode)
    method.on_fit(10_000)
    method.on_step(99, 100)

    def loss() -> torch.Tensor:
        with fake_cuda.autocast():
            return method.loss(batch)

    with mode, fake_cuda.fused_attention():
        kept = count.saved_bytes(loss, [*method.parameters(), *method.buffers()])
    assert predicted.kept(BATCH) == pytest.approx(kept, rel=0.02)


@pytest.mark.parametrize("kind", ["hf", "timm"])
@pytest.mark.parametrize("name", ["lora", "cmer"])
def test_towers_of_other_makes_too(name: str, kind: str):
    pairs = [METHODS[name](contract.tiny_model(kind)) for _ in range(2)]
    recipe = Recipe(precision="bf16")
    fake, real = (Rehearsal(m, recipe, 32, 48, fake=i == 0) for i, m in enumerate(pairs))
    assert fake.peak(8) == pytest.approx(real.peak(8), rel=0.02)


def test_checkpointing_and_accumulation_are_part_of_the_rehearsal():
    plain, saving = rehearsal("full"), rehearsal("full", checkpointing=True)
    assert saving.peak(BATCH) < plain.peak(BATCH)
    assert saving.kept(BATCH) < 0.5 * plain.kept(BATCH)
    more = rehearsal("full", accumulation=2)
    waiting = 3 * 48 * 48 * 4 * BATCH  # the second micro-batch's images; its activations come later
    gradients = plain.parts().gradients  # of the first one, kept through the second
    extra = more.peak(BATCH) - plain.peak(BATCH)
    assert waiting <= extra <= 1.05 * (waiting + gradients)


@pytest.mark.parametrize("name", ["full", "cmer", "mrs_adapter"])
def test_chunks_that_are_left_out_would_not_change_the_peak(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunked = rehearsal(name, gradcache=3, accumulation=2)
    sizes = [14, 15]  # five chunks, the last one short or full
    quick = [chunked.peak(images) for images in sizes]
    monkeypatch.setattr(rehearsal_, "few_chunks", lambda count: nullcontext())
    assert quick == [chunked.peak(images) for images in sizes]


def test_the_time_to_predict_a_step_does_not_grow_with_its_chunks() -> None:
    chunked = rehearsal("linear", gradcache=2)
    encoded = []

    def counted(texts: torch.Tensor) -> torch.Tensor:
        encoded.append(len(texts))
        return encode(texts)

    encode, chunked.method.encode_text = chunked.method.encode_text, counted
    chunked.peak(20)
    few = len(encoded)
    chunked.peak(400)
    assert len(encoded) == 2 * few


def test_the_method_that_trains_nothing_needs_no_gradient():
    zeroshot = rehearsal("zeroshot")
    assert zeroshot.trainer is None
    assert zeroshot.parts().gradients == zeroshot.parts().optimizer == 0
    assert zeroshot.flops(4)[1] == 0


def test_full_fine_tuning_adds_up():
    full = rehearsal("full")
    parts = full.parts()
    gradients = parts.gradients
    assert 2 * gradients <= parts.optimizer <= 2.01 * gradients
    assert full.peak(2) > parts.parameters + 3 * gradients
    forward, backward = full.flops(BATCH)
    assert backward == pytest.approx(2 * forward, rel=0.03)
    assert rehearsal("linear").flops(BATCH)[1] < 0.01 * forward


# CUDA's types on a CPU.


def test_inside_autocast_computes_as_on_cuda_and_afterwards_as_before():
    x = torch.randn(4, 8, dtype=torch.bfloat16)

    def kinds() -> list[torch.dtype]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            results = [F.layer_norm(x, (8,)), x.softmax(-1), x.exp(), x.sum(1), x @ x.t()]
            return [result.dtype for result in results]

    single, half = torch.float32, torch.bfloat16
    before = kinds()
    with as_on_cuda():
        assert kinds() == [single, single, single, single, half]
    assert kinds() == before == [half] * 5


def test_dropout_keeps_a_mask_of_bytes():
    x = torch.randn(64, 64, requires_grad=True)
    drop = nn.Dropout(0.5)
    with as_on_cuda(), LiveBytes() as live:
        result = drop(x)
    assert live.live == result.nbytes + 64 * 64
    assert (result == 0).any()


# The largest batch and the table.


@pytest.mark.parametrize("memory", [10_000, 500_000, 4_000_000, 2_000_000_000])
def test_the_largest_batch_is_found_in_few_trials(memory: int):
    asked = []

    def peak(images: int) -> int:
        asked.append(images)
        return 5_000 + 700 * images + images**2

    found = plan.largest_batch(peak, memory, (128, peak(128)))
    best = max(size for size in range(1, plan.LIMIT) if peak(size) <= memory)
    del asked[-plan.LIMIT + 1 :]
    assert found <= best
    assert memory - peak(found) <= memory // 100 or found == best
    assert len(asked) <= 11


def test_where_nothing_fits_the_largest_batch_is_none():
    assert plan.largest_batch(lambda images: 100 + images, 50, (128, 228)) == 0
    assert plan.largest_batch(lambda images: 7, 50, (128, 7), limit=1000) == 1000


def trials(*names: str, **recipe: object) -> list[Trial]:
    return [
        Trial("ucm", "starter:none", name, name, defaults(METHODS[name]), None, each, seed, {})
        for name in names
        for each in [Recipe(batch_size=8, **recipe)]
        for seed in (0, 1)
    ]


def test_a_plan_has_one_row_per_method_and_is_plain_data():
    told = []
    rows = plan.plan(
        trials("zeroshot", "linear"),
        2**30,
        progress=lambda done, total, _: told.append((done, total)),
    )
    assert [row.call for row in rows] == ["zeroshot", "linear"]
    assert told == [(0, 2), (1, 2), (2, 2)]
    for row in rows:
        figures = row.figures
        assert figures["fits"]
        assert figures["largest_batch"] > 8
        parts = ("parameter", "gradient", "optimizer", "activation")
        total = sum(figures[f"{part}_bytes"] for part in parts)
        assert total == figures["predicted_peak_bytes"]
    json.dumps([dataclasses.asdict(row) for row in rows])
    shown = lines(rows)
    text = "text 77 tokens (as long as the backbone takes)"
    assert shown[0].split(" \u00b7 ") == ["ucm", "starter:none", "batch 8", text, "GPU 1 GiB"]
    heads = ("method", "trains", "peak MiB", "fits", "largest batch", "GFLOPs/image")
    assert re.split(" {2,}", shown[1]) == [*heads]
    assert [line.split()[0] for line in shown[3:5]] == ["zeroshot", "linear"]
    assert all(" yes " in line for line in shown[3:5])
    assert "GFLOPs/image: forward and backward" in shown[6]


def lines(rows: list[plan.Row], parts: bool = False) -> list[str]:
    """What a terminal of 80 columns shows."""
    file = io.StringIO()
    Console(file=file, width=80).print(plan_table.table(rows, parts))
    table = [line.strip() for line in file.getvalue().splitlines() if line.strip()]
    assert max(map(len, table)) <= 80
    return [
        plan_table.header(rows, 2**30),
        *(table if any(row.reason is None for row in rows) else []),
        *plan_table.legend(rows, Recipe(), parts),
    ]


def figures(**given: Any) -> dict[str, Any]:
    """Those of a prediction for ViT-L/14, in round numbers."""
    gib = 2**30
    return {
        "trainable_parameters": 6_833_416,
        "context_length": 42,
        "batch_size": 128,
        "images_per_step": 128,
        "predicted_peak_bytes": 4 * gib,
        "parameter_bytes": 2 * gib,
        "gradient_bytes": 1,
        "optimizer_bytes": gib // 10,
        "activation_bytes": gib,
        "saved_for_backward_bytes": gib // 2,
        "forward_flops_per_image": 100e9,
        "backward_flops_per_image": 77.1e9,
        "fits": True,
        "largest_batch": 1740,
        **given,
    }


def test_the_screen_says_what_fits_and_what_would_need_less() -> None:
    call = "cmer(text_taps='all', focus='relu', reduction=2, mask='caption')"
    over = figures(predicted_peak_bytes=32 * 2**30, fits=False, largest_batch=0)
    rows = [
        plan.Row("rsitmd", "ViT-L-14:none", call, figures(), length_of="the longest caption"),
        plan.Row("rsitmd", "ViT-L-14:none", "lora", over),
    ]
    shown = lines(rows)
    assert "text 42 tokens (the longest caption)" in shown[0]
    text = " ".join(shown)
    assert re.search(r"6\.83 M +4\.0 +yes +1,740 +177", text)
    assert re.search(r"lora +6\.83 M +32\.0 +no +none +177", text)
    assert f"Of the 4.0 GiB of {call} 2.0 are frozen weights: --recipe frozen=bf16 halves" in text
    assert "lora does not fit: --recipe checkpointing=true needs less memory" in text
    parts = " ".join(lines(rows, parts=True))
    assert re.search(r"6\.83 M +4\.0 +yes +2\.0 +<0\.1 +0\.1 +1\.0 +0\.5", parts)
    assert "peak = weights + gradients + optimiser + activations" in parts
    frugal = plan_table.legend(rows, Recipe(frozen="bf16", checkpointing=True))
    frugal += plan_table.legend([plan.Row("a", "b", call, over)], Recipe(frozen="bf16"))
    assert not [line for line in frugal if "--recipe" in line]  # CMER's towers keep nothing


def test_captions_without_their_images_tell_how_long_texts_are(tiny: Path) -> None:
    for image in (tiny / "tiny" / "images").iterdir():
        image.unlink()
    card = str(tiny / "tiny.toml")
    one = dataclasses.replace(trials("linear")[0], dataset=card)
    (row,) = plan.plan([one], root=tiny)
    assert row.length_of == "the longest caption"
    assert 5 < row.figures["context_length"] < 30
    (row,) = plan.plan([one], root=tiny / "elsewhere")
    assert (row.figures["context_length"], row.length_of) == (77, "as long as the backbone takes")


def test_what_does_not_fit_says_so_and_the_largest_batch_does():
    call = ("starter:none", "vpt", defaults(METHODS["vpt"]))
    whole = plan.predict(*call, Recipe(batch_size=64), context_length=20)["predicted_peak_bytes"]
    memory = int(0.7 * whole)
    found = plan.predict(*call, Recipe(batch_size=64), gpu_memory=memory, context_length=20)
    assert not found["fits"]
    assert 2 <= found["largest_batch"] < 64
    smaller = Recipe(batch_size=found["largest_batch"])
    assert plan.predict(*call, smaller, gpu_memory=memory, context_length=20)["fits"]


def test_a_method_that_cannot_be_predicted_gives_a_row_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
):
    class Refuses(METHODS["linear"]):
        def __init__(self, model: nn.Module) -> None:
            raise NotApplicable("needs a tower that this backbone has not")

    class Looks(METHODS["linear"]):
        def loss(self, batch: object) -> torch.Tensor:
            loss = super().loss(batch)
            return loss if loss.item() > 0 else loss * 2

    known = {**METHODS, "linear": Refuses, "full": Looks}
    monkeypatch.setattr(plan, "registry", lambda: known)
    refused, looks = plan.plan(trials("linear", "full"))
    assert refused.reason == "needs a tower that this backbone has not"
    assert str(looks.reason).endswith(
        "looks at the values of tensors (aten._local_scalar_dense.default)"
    )
    shown = lines([refused, looks])
    assert shown[:2] == [
        "ucm \u00b7 starter:none \u00b7 GPU 1 GiB",
        "linear: needs a tower that this backbone has not",
    ]
    assert shown[2].startswith("full: its memory cannot be predicted, because its step looks")
