"""What a trial runs on: versions, settings, an idle GPU or not, its clock, power and heat."""

import importlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Any

import torch

from bench import __version__
from bench.schema import Efficiency, Environment
from bench.units import format_bytes

THROTTLED = {
    "power_cap": 0x4,
    "hardware_slowdown": 0x8,
    "thermal_software": 0x20,
    "thermal_hardware": 0x40,
    "power_brake": 0x80,
}
"""NVML's reasons for a lowered clock that spoil a figure (idling and a user's own cap do not)."""
STAT = Path("/proc/stat")
"""Where Linux says what each CPU has done so far."""


def environment(device: torch.device | None = None) -> Environment:
    """Versions, hardware and switches that a figure depends on; no host, user or path.

    Without a device: the GPU if there is one.
    """
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.type == "cuda"
    cudnn: Any = torch.backends.cudnn
    commit, dirty = _git()
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "torchvision": _version("torchvision"),
        "open_clip": _version("open_clip_torch"),
        "peft": _version("peft"),
        "timm": _version("timm"),
        "transformers": _version("transformers"),
        "numpy": _version("numpy"),
        "bench": __version__,  # of the code that runs; pip may know an older one
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "gpu_memory_bytes": torch.cuda.get_device_properties(device).total_memory if cuda else None,
        "driver": _driver(device),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": cudnn.version() if cuda else None,
        "precision": {
            "matmul": torch.backends.cuda.matmul.fp32_precision,
            "convolution": cudnn.conv.fp32_precision,
            "cudnn_benchmark": cudnn.benchmark,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        },
        "allocator": {
            "backend": torch.cuda.memory.get_allocator_backend() if cuda else None,
            "settings": os.environ.get("PYTORCH_ALLOC_CONF")
            or os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
        },
        "git_commit": commit,
        "git_dirty": dirty,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git() -> tuple[str | None, bool | None]:
    """Commit of the checkout this code is run from, and whether its code was changed since."""
    package = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(package), *words], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None  # installed, perhaps inside a repository of somebody else's
    changes = git("status", "--porcelain", "--", ".", "../methods", "../datasets")
    return git("rev-parse", "HEAD"), None if changes is None else bool(changes)


def foreign_cpu_seconds() -> float | None:
    """CPU seconds that other processes have used on this process's CPUs, up to a constant.

    Compare two values. What a hypervisor took away counts too. None if the system is not Linux.
    """
    if not hasattr(os, "sched_getaffinity") or not STAT.exists():
        return None
    own_cpus = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for line in STAT.read_text(encoding="ascii").splitlines():
        name, *values = line.split()
        if name in own_cpus:
            user, nice, system, _, _, irq, softirq, steal = map(int, values[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


# The GPU as its driver sees it: through NVML, by the package `nvidia-ml-py`.


def _nvml(device: torch.device) -> tuple[Any, Any] | None:
    """The NVML module and this device's handle; found by UUID, since CUDA may renumber devices."""
    if device.type != "cuda":
        return None
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        return nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
    except Exception:  # no driver, a virtual GPU, a part of one: figures are then absent
        return None


def _ask(nvml: Any, name: str, *arguments: Any) -> Any:
    """One NVML value, None where this GPU or driver does not give it."""
    try:
        return getattr(nvml, name)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None


def _driver(device: torch.device) -> str | None:
    gpu = _nvml(device)
    if gpu is not None:
        version = _ask(gpu[0], "nvmlSystemGetDriverVersion")
        return version.decode() if isinstance(version, bytes) else version
    file = Path("/sys/module/nvidia/version")
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def process_bytes(device: torch.device) -> int | None:
    """What the driver says this process holds on the device; None where it cannot say."""
    gpu = _nvml(device)
    if gpu is None:
        return None
    nvml, handle = gpu
    for process in _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or ():
        if process.pid == os.getpid() and process.usedGpuMemory:
            return int(process.usedGpuMemory)
    return None


def busy_warning(device: torch.device, slack_bytes: int = 2 * 2**30) -> str | None:
    """A warning if another process uses the GPU, so that time and memory are not comparable.

    Call it before training. `slack_bytes`: what this process's own context and libraries may take.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    gpu = _nvml(device)
    rates = _ask(gpu[0], "nvmlDeviceGetUtilizationRates", gpu[1]) if gpu else None
    if others > slack_bytes:
        return (
            f"another process holds {format_bytes(others)} of the GPU: time and memory of this "
            "trial are not comparable; run it again on an idle GPU"
        )
    if rates is not None and rates.gpu > 20:
        return (
            f"the GPU was {rates.gpu}% busy before the trial began: its throughput is not "
            "comparable; run it again on an idle GPU"
        )
    return None


class GpuSampler:
    """Clock, power, temperature and throttling of a GPU, sampled in a thread while inside `with`.

    Does nothing without NVML; `summary` is then empty.
    """

    def __init__(self, device: torch.device, interval: float = 0.5) -> None:
        self._gpu, self._interval = _nvml(device), interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._samples: list[dict[str, Any]] = []
        self._joules: tuple[float | None, float | None] = (None, None)

    def __enter__(self) -> "GpuSampler":
        if self._gpu is not None:
            self._joules = (self._energy(), None)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._gpu is not None:
            self._stop.set()
            self._thread.join()
            self._joules = (self._joules[0], self._energy())

    def summary(self, windows: list[tuple[float, float]] | None = None) -> Efficiency:
        """Figures with units in their names; `windows` are `Stopwatch.spans`."""
        if not self._samples:
            return {}
        throttled = [s["time"] for s in self._samples if s["reasons"]]
        first, last = self._joules
        return {
            "gpu_clock_mhz_median": self._over(statistics.median, "clock"),
            "gpu_clock_mhz_min": self._over(min, "clock"),
            "gpu_power_watts_mean": self._over(statistics.fmean, "watts"),
            "gpu_temperature_celsius_max": self._over(max, "celsius"),
            "gpu_energy_joules": None if first is None or last is None else last - first,
            "gpu_throttle_reasons": sorted({r for s in self._samples for r in s["reasons"]}),
            # Looked up, since there may be 500,000 windows; the samples are in order of time.
            "throttled_windows": sum(
                bisect_left(throttled, start) < bisect_right(throttled, end)
                for start, end in windows or ()
            ),
        }

    def _over(self, function: Any, name: str) -> float | None:
        values = [s[name] for s in self._samples if s[name] is not None]
        return float(function(values)) if values else None

    def _energy(self) -> float | None:
        assert self._gpu is not None
        millijoules = _ask(self._gpu[0], "nvmlDeviceGetTotalEnergyConsumption", self._gpu[1])
        return None if millijoules is None else millijoules / 1000

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._samples.append(self._sample())

    def _sample(self) -> dict[str, Any]:
        assert self._gpu is not None
        nvml, gpu = self._gpu
        milliwatts = _ask(nvml, "nvmlDeviceGetPowerUsage", gpu)
        mask = _ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", gpu)
        if mask is None:  # its name in older drivers
            mask = _ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", gpu) or 0
        return {
            "time": time.perf_counter(),
            "clock": _ask(nvml, "nvmlDeviceGetClockInfo", gpu, 1),  # 1: the multiprocessors
            "watts": None if milliwatts is None else milliwatts / 1000,
            "celsius": _ask(nvml, "nvmlDeviceGetTemperature", gpu, 0),  # 0: the GPU itself
            "reasons": [name for name, bit in THROTTLED.items() if mask & bit],
        }
