"""What only a GPU can show: `make gpu`. Skipped elsewhere, as in `make test`, which hides GPUs."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench import contract, trial_run
from bench.recipe import Recipe
from bench.training.trainer import Trainer
from methods import registry
from methods.attention import SelfAttention, speed_up
from methods.base import Batch
from tests.helpers.tiny import trial
from tests.helpers.training import TRAINED, built

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA"),
    pytest.mark.usefixtures("sdpa"),
]
CUDA = torch.device("cuda")


@pytest.fixture
def no_waiting() -> Iterator[Callable[[], None]]:
    """From its call on, whatever makes the CPU wait for the GPU raises RuntimeError."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def batch(size: int = 6) -> Batch:
    """A random batch on the GPU."""
    made = contract.tiny_batch(size)
    return Batch(**{field.name: getattr(made, field.name).to(CUDA) for field in fields(Batch)})


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", TRAINED)
def test_no_training_step_waits_for_the_gpu(
    name: str, precision: str, no_waiting: Callable[[], None]
) -> None:
    method = built(name, "cuda")
    trainer = Trainer(method, Recipe(precision=precision), 1e-4, 8, CUDA)
    inputs = [batch()]
    for _ in range(3):  # the optimiser's state is made in the first step
        trainer.step(inputs)
    no_waiting()
    for _ in range(2):
        loss = trainer.step(inputs)
    torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_is_that_of_torch(masked: bool, dtype: torch.dtype) -> None:
    plain = nn.MultiheadAttention(64, 2, batch_first=True, device=CUDA)
    ours = nn.MultiheadAttention(64, 2, batch_first=True, device=CUDA)
    ours.load_state_dict(plain.state_dict())
    speed_up(ours)
    assert type(ours) is SelfAttention
    tokens = torch.randn(3, 50, 64, device=CUDA)
    future = torch.full((50, 50), float("-inf"), device=CUDA).triu(1) if masked else None
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        found, wanted = (
            each(tokens, tokens, tokens, need_weights=False, attn_mask=future)[0]
            for each in (ours, plain)
        )
    close = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found, wanted, rtol=close, atol=close)


RECIPES: dict[str, dict[str, Any]] = {
    "auto": {"steps": 4},
    "fp16": {"steps": 4, "precision": "fp16"},
    "fp32": {"steps": 4, "precision": "fp32", "accumulation": 2},
    "frozen": {"steps": 4, "precision": "bf16", "frozen": "bf16"},
    "checkpointing": {"steps": 4, "checkpointing": True},
    "gradcache": {"steps": 4, "gradcache": 2},
    "deterministic": {"steps": 4, "deterministic": True},  # `make gpu` sets cuBLAS beforehand
    "compile": {"steps": 4, "compile": True},
    "budget": {"time": 2.0, "memory": 2**30},
}


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("method", ["zeroshot", "cmer", "lora", "full", "vpt"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_trials_end_well(recipe: str, method: str, views: int, tiny: Path) -> None:
    if views and not registry()[method].frozen_features:
        pytest.skip("it has no features that could be cached")
    if recipe == "compile" and method not in ("cmer", "lora"):
        pytest.skip("compiling takes long")
    given = Recipe(**{"batch_size": 4, "evaluations": 2} | RECIPES[recipe])
    one = trial(tiny, method, given, views)
    document = trial_run.run(one, tiny, tiny / "results", lambda _: None, {})
    if document["status"] == "not_applicable":
        pytest.skip(str(document["message"]))
    assert document["status"] == "ok", document["traceback"]
    costs = document["efficiency"]
    assert costs["device"] == torch.cuda.get_device_name()
    assert costs["peak_memory_eval_bytes"] > 0
    if method != "zeroshot":
        assert costs["peak_memory_train_bytes"] > 0
