"""Which GPUs torch can use here, and why it cannot use one that the machine has.

If torch was built for CPUs, the driver is too old or CUDA_VISIBLE_DEVICES is empty, torch only says
that there is no GPU. A sweep would then silently train on the CPU, fifty times slower.
"""

import importlib
import os
import warnings
from pathlib import Path

PROC = Path("/proc/driver/nvidia/gpus")
"""NVIDIA's kernel module has a folder here for each of its GPUs."""


def visible() -> list[str]:
    """The GPUs that torch can use, named as CUDA_VISIBLE_DEVICES names them."""
    import torch

    # device_count also counts where the driver is too old. This starts the driver, but no context:
    # it takes no memory of a GPU, and trials are not forked from this process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `why_none` says what torch would warn of
        if not torch.cuda.is_available():
            return []
    count = torch.cuda.device_count()  # less than the variable names if some do not exist
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(i) for i in range(count)]
    return [word.strip() for word in chosen.split(",")][:count]


def why_none() -> str | None:
    """Why torch sees no GPU although this machine has one; None if it has none."""
    import torch

    count = _installed()
    if not count:
        return None
    has = f"this machine has {count} NVIDIA GPU{'s' if count > 1 else ''}, but "
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"{has}torch {torch.__version__} is built for CPUs; install a CUDA build "
            "(https://pytorch.org/get-started/locally)"
        )
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and not torch.cuda.device_count():
        return f"{has}CUDA_VISIBLE_DEVICES={chosen!r} hides them all; unset it or name one"
    return f"{has}torch cannot use it: {_torchs_reason()}"


def given_but_unusable() -> str | None:
    """Why this trial's process cannot use the GPU that it was given.

    None if it can, or was given none.
    """
    import torch

    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if gpu in ("", "-1") or torch.cuda.is_available():
        return None
    reason = why_none() or f"torch cannot use it: {_torchs_reason()}"
    return (
        f"the trial was given GPU {gpu}, but {reason}; mend that, or train on the CPU "
        "(--gpus none; with Slurm: --slurm gpus=0)"
    )


def _torchs_reason() -> str:
    """What torch says when it has to start CUDA, for instance that the driver is too old."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split())
    return "it does not say why"


def _installed() -> int:
    """How many NVIDIA GPUs the driver's library knows, or, if that fails, the kernel."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        return int(nvml.nvmlDeviceGetCount())
    except Exception:  # no driver, or its parts are of different versions
        return len([*PROC.iterdir()]) if PROC.is_dir() else 0
