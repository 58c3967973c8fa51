"""Which GPUs of this machine torch can use, and the reason where it cannot use one that is there.

A driver that is too old, a torch built for CPUs or an empty CUDA_VISIBLE_DEVICES all look alike to
torch: no GPU. A sweep would then train on the CPU, fifty times slower, without a word.
"""

import importlib
import os
from pathlib import Path

PROC = Path("/proc/driver/nvidia/gpus")
"""NVIDIA's kernel module has a folder here for each of its GPUs."""


def visible() -> list[str]:
    """The GPUs that torch can use, named as CUDA_VISIBLE_DEVICES names them.

    Asks the driver; starts no CUDA context.
    """
    import torch

    # torch counts through NVML, which also answers where the driver is too old for this torch.
    if _driver_too_old() is not None:
        return []
    count = torch.cuda.device_count()  # less than the variable names where some do not exist
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(i) for i in range(count)]
    return [word.strip() for word in chosen.split(",")][:count]


def why_none() -> str | None:
    """Why torch sees no GPU although this machine has one; None where it has none."""
    import torch

    there = _installed()
    if not there:
        return None
    has = f"this machine has {there} NVIDIA GPU{'s' if there > 1 else ''}, but "
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"{has}torch {torch.__version__} is built for CPUs; install a CUDA build "
            "(https://pytorch.org/get-started/locally)"
        )
    if (old := _driver_too_old()) is not None:
        return has + old
    if chosen is not None and not torch.cuda.device_count():
        return f"{has}CUDA_VISIBLE_DEVICES={chosen!r} hides them all; unset it or name one"
    return f"{has}torch cannot use it: {_torchs_reason()}"


def given_but_unusable() -> str | None:
    """Inside a trial: why torch cannot use the GPU that this process was given; None: it can.

    Also None where the process was given no GPU.
    """
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if given in ("", "-1") or torch.cuda.is_available():
        return None
    reason = why_none() or f"torch cannot use it: {_torchs_reason()}"
    return (
        f"the trial was given GPU {given}, but {reason}; mend that, or train on the CPU "
        "(--gpus none; with Slurm: --slurm gpus=0)"
    )


def _torchs_reason() -> str:
    """What torch says when it is made to start CUDA."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split())
    return "it does not say why"


def _installed() -> int:
    """How many NVIDIA GPUs the driver knows, through NVML or, where that fails, the kernel."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        return int(nvml.nvmlDeviceGetCount())
    except Exception:  # no driver, or its parts are of different versions
        return len([*PROC.iterdir()]) if PROC.is_dir() else 0


def _driver_too_old() -> str | None:
    """A clause where the driver is of an older CUDA generation than torch; None: not known to be.

    A driver serves every CUDA version of its own generation (the number before the point) and of
    older ones.
    """
    import torch

    built = torch.version.cuda
    if built is None:
        return None
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        serves = int(nvml.nvmlSystemGetCudaDriverVersion_v2())  # 12040 for 12.4
        driver = nvml.nvmlSystemGetDriverVersion()
    except Exception:
        return None
    if serves // 1000 >= int(built.partition(".")[0]):
        return None
    name = driver.decode() if isinstance(driver, bytes) else driver
    cuda = f"{serves // 1000}.{serves % 1000 // 10}"
    return (
        f"its driver {name} serves CUDA up to {cuda} and torch {torch.__version__} is built for "
        f"CUDA {built}: update the driver, or install a torch built for CUDA "
        f"{serves // 1000} (https://pytorch.org/get-started/previous-versions)"
    )
