"""The recipe's compile: the same features, its time apart, one sentence where it cannot be."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import UserError, trial_run
from bench.contract import tiny_batch, tiny_model
from bench.recipe import Recipe
from bench.training import compiled, train, trainer
from methods.base import Batch, Method, NotApplicable
from methods.linear import Linear
from methods.mrs_adapter import MRSAdapter
from tests.helpers.close import close
from tests.helpers.tiny import edit, trial

CPU = torch.device("cpu")


class Counting(Linear):
    """A method whose loss changes a buffer and draws random numbers."""

    seen: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch: Batch) -> Tensor:
        self.seen += torch.rand(()) + 1
        return super().loss(batch)


class Asking(Linear):
    """A method whose features depend on a value that the host asks for."""

    def encode_image(self, images: Any) -> Tensor:
        feature = super().encode_image(images)
        return -feature if feature.sum().item() > 0 else feature


def made(cls: type[Method]) -> Method:
    torch.manual_seed(0)
    return cls(tiny_model())


def warmed(method: Method, evaluations: list[Callable[[], object]]) -> float:
    compiled.wrap(method, CPU)
    return compiled.warm_up(method, tiny_batch(), evaluations, torch.float32, CPU)


def test_warming_up_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    method, plain, batch, looked = made(Counting), made(Counting), tiny_batch(), []
    torch.manual_seed(5)
    assert warmed(method, [lambda: looked.append(1)]) > 0
    assert len(looked) == 2
    assert float(method.seen) == 0
    assert all(p.grad is None for p in method.parameters())
    drawn = torch.rand(())
    torch.manual_seed(5)
    assert drawn == torch.rand(())
    close(method.encode_text(batch.texts), plain.encode_text(batch.texts))
    close(method.encode_image(batch.images), plain.encode_image(batch.images))


def test_what_a_compiled_step_costs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(train, "step_rate", lambda *_: 1.0)
    compiling, plain = (
        trainer.Trainer(made(Linear), Recipe(compile=whether), 1e-3, 2, CPU)
        for whether in (True, False)
    )
    compiled.wrap(compiling.method, CPU)
    measured = train.step_costs(compiling, tiny_batch(), 0.2)
    assert measured.pop("saved_for_backward_bytes") > 0  # a compiled step keeps what it likes
    expected = train.step_costs(plain, tiny_batch(), 0.2)
    assert measured == {key: expected[key] for key in measured}
    assert measured["forward_flops_per_image"] > 0


def test_texts_keep_the_length_that_they_were_compiled_for(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the longest caption of all is one of the test split, which is compiled for too."""
    edit(tiny, lambda images: images[-1]["sentences"][0].update(raw="a very " * 9 + "long test"))
    lengths: list[int] = []

    def warm_up(_: Method, batch: Batch, rankings: list[Callable[[], object]], *__: Any) -> float:
        lengths.append(batch.texts.shape[1])
        for rank in rankings:
            rank()
        return 0.0

    def step(own: trainer.Trainer, batches: list[Batch]) -> Tensor:
        lengths.extend(batch.texts.shape[1] for batch in batches)
        return real(own, batches)

    real = trainer.Trainer.step
    monkeypatch.setattr(trainer.Trainer, "step", step)
    monkeypatch.setattr(compiled, "wrap", lambda *_: None)
    monkeypatch.setattr(compiled, "warm_up", warm_up)
    monkeypatch.setattr(train, "step_costs", lambda *_: {})
    recipe = Recipe(steps=2, batch_size=4, evaluations=1, precision="fp32", compile=True)
    done = trial_run.run(trial(tiny, "linear", recipe), tiny, tiny / "results", lambda _: None)
    assert done["status"] == "ok", done["traceback"]
    assert len(lengths) == 3
    assert len(set(lengths)) == 1


def test_what_cannot_be_compiled_is_not_applicable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    with pytest.raises(NotApplicable, match="compile=true"):
        warmed(made(Asking), [])


def test_a_branch_beside_the_mlp_compiles_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    warmed(made(MRSAdapter), [])  # else NotApplicable


def test_without_a_compiler_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(UserError, match=r"g\+\+"):
        compiled.wrap(made(Linear), CPU)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: apt install g++")
def test_machine_code_gives_the_same_features() -> None:
    method, plain, batch = made(Linear), made(Linear), tiny_batch()
    with torch.no_grad():
        features = plain.frozen_text(batch.texts)
        compiled.wrap(method, CPU)
        close(method.encode_text(features), plain.encode_text(features))
