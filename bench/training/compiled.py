"""The recipe's `compile`: torch.compile for the encode functions, before training begins."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from bench import UserError
from bench.measure.pace import undone
from bench.training.trainer import pass_through
from methods.base import Batch, Method, NotApplicable

BACKEND = "inductor"


def wrap(method: Method, device: torch.device) -> None:
    """Wrap `encode_image` and `encode_text` in torch.compile, without graph breaks.

    They are compiled when they are first called. Raises UserError on a CPU without a C++ compiler.
    """
    import torch._dynamo
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    if device.type == "cpu" and BACKEND == "inductor":
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise UserError(
                "compile=true needs a C++ compiler on a CPU and there is none: install g++, let "
                "CXX name another one, or leave compile=true out"
            ) from None
    torch._dynamo.config.recompile_limit = 32  # training, evaluation, several sizes of each
    for name in ("encode_image", "encode_text"):
        function = torch.compile(getattr(method, name), fullgraph=True, backend=BACKEND)
        setattr(method, name, function)


def warm_up(
    method: Method,
    batch: Batch | None,
    evaluations: Sequence[Callable[[], object]],
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """Compile everything that a trial will call. Returns the seconds that compiling took.

    A training step and each evaluation are run twice; the first run is slower by the compilation.
    The method is left as it was. Raises NotApplicable if it cannot be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        with undone(method, device):
            works = list(evaluations)
            if batch is not None:
                works.insert(0, partial(pass_through, method, batch, dtype, device))
            seconds = sum(_seconds(work, device) - _seconds(work, device) for work in works)
    except TorchDynamoException as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise NotApplicable(
            f"torch.compile cannot take it ({type(error).__name__}: {first}); leave out "
            "compile=true"
        ) from None
    return max(0.0, seconds)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
