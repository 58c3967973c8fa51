"""Stopwatch under a fake clock, bytes and FLOPs against sums done by hand, the environment."""

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contract import tiny_batch
from bench.measure import count, machine, meter
from bench.recipe import Recipe
from bench.training.trainer import Trainer, compute_dtype
from methods.base import Batch, Method
from tests.helpers.close import close
from tests.helpers.hand import Hand
from tests.helpers.training import TRAINED, built
from tests.helpers.until import until

CPU = torch.device("cpu")


def run(watch: meter.Stopwatch, clock: Hand, seconds: list[float], images: int = 8) -> None:
    for each in seconds:
        clock.move(each)
        watch.step(images)


def watch_and_clock(window: int = 2, warmup: int = 3) -> tuple[meter.Stopwatch, Hand]:
    clock = Hand()
    return meter.Stopwatch(CPU, window, warmup, clock), clock


# Stopwatch.


def test_windows_follow_the_warm_up():
    watch, clock = watch_and_clock()
    run(watch, clock, [100, 50, 50, 1, 1, 2, 2, 4, 4, 1000])  # the last window is not full
    assert watch.latest() == 8 / 4
    assert watch.rates == [8 / 1, 8 / 2, 8 / 4]
    assert watch.summary() == {
        "train_images_per_second": 4.0,
        "train_images_per_second_iqr": 6.0 - 3.0,
        "windows": 3,
        "busy_windows": 0,
        "disturbed": False,
        "warmup_steps": 3,
    }


def test_validation_is_cut_out_of_the_window_it_falls_in():
    watch, clock = watch_and_clock()
    run(watch, clock, [1, 1, 1, 1])
    with watch.paused():
        clock.move(1000)
    run(watch, clock, [3])
    watch.stop()
    assert watch.rates == [16 / 4]
    assert watch.summary()["train_images_per_second_iqr"] is None  # of one window


def test_windows_in_which_others_took_the_cpu_are_left_out(monkeypatch: pytest.MonkeyPatch):
    now, taken = [0.0], [0.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(meter, "foreign_cpu_seconds", lambda: taken[0])

    def rate(busy: set[int], windows: int = 5) -> dict[str, Any]:
        watch = meter.Stopwatch(torch.device("cpu"), window=2, warmup=2)
        for step in range(2 + 2 * windows):
            disturbed = (step - 2) // 2 in busy
            now[0] += 2.0 if disturbed else 1.0
            taken[0] += 1.0 if disturbed else 0.0
            watch.step(10)
        return watch.summary()

    quiet = rate({0, 3})
    assert quiet["train_images_per_second"] == 10
    assert (quiet["windows"], quiet["busy_windows"], quiet["disturbed"]) == (3, 2, False)
    assert meter.crowded(quiet) is None
    crowd = rate({0, 1, 2})
    assert (crowd["windows"], crowd["busy_windows"], crowd["disturbed"]) == (5, 3, True)
    assert "idle" in (meter.crowded(crowd) or "")


def test_foreign_cpu_time_is_that_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As Linux tells it: user, nice, system, idle, waiting, two of interrupts, steal, in ticks."""
    used = "cpu1 100 200 300 9999 9999 400 500 600 0 0"
    other = "cpu2 7 7 7 7 7 7 7 7 7 7"
    (tmp_path / "stat").write_text(f"cpu 7 7 7\n{other}\n{used}\nctxt 7\n")
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {1}, raising=False)
    monkeypatch.setattr(machine.os, "sysconf", lambda _: 100)
    monkeypatch.setattr(machine.time, "process_time", lambda: 5.0)
    assert meter.foreign_cpu_seconds() == 21.0 - 5.0
    monkeypatch.setattr(machine, "STAT", tmp_path / "none")
    assert meter.foreign_cpu_seconds() is None


def test_windows_fill_up_although_every_step_is_followed_by_validation():
    watch, clock = watch_and_clock(window=4)
    for _ in range(11):
        run(watch, clock, [2])
        with watch.paused():
            clock.move(10)
    assert watch.summary()["windows"] == 2
    assert watch.rates == [4.0, 4.0]


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_short_run_leaves_out_the_first_step_only(steps: int):
    watch, clock = watch_and_clock(window=2, warmup=3)
    run(watch, clock, [100] + [2] * (steps - 1))
    summary = watch.summary()
    assert summary["train_images_per_second"] == 4.0
    assert (summary["windows"], summary["warmup_steps"]) == (1, 1)


def test_one_step_gives_no_figure():
    watch, clock = watch_and_clock()
    run(watch, clock, [1])
    assert watch.latest() is None
    assert watch.summary()["train_images_per_second"] is None
    assert watch.summary()["windows"] == 0


def test_stop_forgets_the_time_until_the_next_step():
    watch, clock = watch_and_clock(window=1, warmup=1)
    run(watch, clock, [1, 1])
    watch.stop()
    run(watch, clock, [500, 4])
    watch.stop()
    assert watch.rates == [8.0, 2.0]


def test_on_cuda_windows_are_read_from_events_and_no_step_waits(monkeypatch: pytest.MonkeyPatch):
    waits, device = [], Hand()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            self.at = device()

        def query(self) -> bool:
            return bool(waits)

        def elapsed_time(self, later: "Event") -> float:
            return 1000 * (later.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    watch = meter.Stopwatch(torch.device("cuda"), window=2, warmup=2)
    run(watch, device, [9, 1, 2, 2, 4, 4])
    assert watch.latest() is None  # nothing has passed yet, and nobody waited for it
    assert waits == []
    watch.stop()
    assert watch.rates == [4.0, 2.0]
    assert len(waits) == 1


# Bytes and FLOPs.


def test_saved_bytes_of_a_small_network_by_hand():
    first, second = nn.Linear(10, 20), nn.Linear(20, 30)
    x = torch.randn(7, 10)
    weights = [*first.parameters(), *second.parameters()]

    def forward() -> Tensor:
        return second(first(x).relu()).square().sum()

    # kept: x, the output of relu (once, though relu and the second layer both need it), the squared
    expected = 4 * 7 * (10 + 20 + 30)
    assert count.saved_bytes(forward, exclude=weights) == expected
    assert count.saved_bytes(forward, exclude=[*weights, x]) == expected - 4 * 7 * 10
    with torch.no_grad():
        assert count.saved_bytes(forward) == 0


def test_a_frozen_layer_keeps_nothing_and_a_view_counts_its_storage_once():
    x = torch.randn(4, 8)
    scale = torch.randn(8, requires_grad=True)
    halves = lambda: (x[:, :4] * scale[:4]).sum() + (x[:, 4:] * scale[4:]).sum()  # noqa: E731
    assert count.saved_bytes(halves, exclude=[scale]) == x.numel() * 4
    frozen = nn.Linear(8, 8).requires_grad_(False)
    assert count.saved_bytes(lambda: frozen(x).relu().sum()) == 0


def test_what_dies_inside_the_function_does_not_count():
    x = torch.randn(1000, requires_grad=True)
    y = torch.randn(5, requires_grad=True)

    def forward() -> Tensor:
        _ = x.exp().sum()
        return y.exp().sum()

    assert count.saved_bytes(forward) == 5 * 4


def test_flops_of_a_linear_layer_by_hand():
    layer, frozen = nn.Linear(16, 32, bias=False), nn.Linear(8, 16, bias=False)
    frozen.requires_grad_(False)
    x = torch.randn(4, 8)
    forward, backward = count.flops(lambda: layer(frozen(x)).sum(), layer.parameters())
    assert forward == 2 * 4 * (8 * 16 + 16 * 32)
    assert backward == 2 * 4 * 16 * 32  # the weight's gradient; none goes below
    assert count.flops(lambda: frozen(x).sum(), frozen.parameters()) == (2 * 4 * 8 * 16, 0)
    assert layer.weight.grad is None


# The methods, on a very small model.


def gradients(method: Method, batches: list[Batch]) -> dict[str, Tensor]:
    """Gradients of one step as the trainer leaves them to the optimiser (learning rate 0)."""
    recipe = Recipe(precision="fp32", clip_norm=1e9, weight_decay=0.0)
    trainer = Trainer(method.train(), recipe, 0.0, 10, CPU)
    found: dict[str, Tensor] = {}

    def keep(optimizer: object, *_: object) -> None:
        for name, parameter in method.named_parameters():
            if parameter.grad is not None:
                found[name] = parameter.grad.clone()

    trainer.optimizer.register_step_pre_hook(keep)
    torch.manual_seed(2)
    trainer.step(batches)
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_checkpointing_gives_the_same_gradients(name: str):
    plain, saving = built(name), built(name)
    saving.image_tower.checkpointing = saving.text_tower.checkpointing = True
    first, second = gradients(plain, [tiny_batch()]), gradients(saving, [tiny_batch()])
    assert first.keys() == second.keys()
    assert first
    for parameter, gradient in first.items():
        close(second[parameter], gradient, scale=10)


def test_accumulated_gradients_are_the_mean_of_those_of_the_micro_batches():
    one, two = tiny_batch(seed=1), tiny_batch(seed=2)
    together = gradients(built("full"), [one, two])
    first, second = gradients(built("full"), [one]), gradients(built("full"), [two])
    for name, gradient in together.items():
        close(gradient, (first[name] + second[name]) / 2, scale=10)


def test_parts_count_shared_storage_once_and_only_trainable_gradients():
    method = built("linear")
    trainer = Trainer(method, Recipe(precision="fp32"), 1e-3, 10, CPU)
    trainer.step([tiny_batch()])
    found = count.parts(method, trainer.optimizer)
    maps = 2 * 32 * 32 + 1  # two square maps and the temperature
    assert found.gradients == 4 * maps
    steps = 3 * 4  # AdamW counts the steps of each tensor in a float
    assert found.optimizer == 2 * 4 * maps + steps
    method.register_buffer("again", method.get_parameter("image_map.weight").data)
    assert count.parts(method, None) == found._replace(optimizer=0)


def test_step_rate_is_boxed_in_time_and_uses_the_real_step():
    trainer = Trainer(built("linear"), Recipe(precision="fp32"), 1e-3, 10, CPU)
    before = trainer.method.get_parameter("image_map.weight").clone()
    rate = meter.step_rate(trainer, [tiny_batch()], seconds=0.2)
    assert rate is not None
    assert rate > 0
    assert not torch.equal(before, trainer.method.get_parameter("image_map.weight"))


# The device.


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_where_the_hardware_has_it(native: bool, monkeypatch: pytest.MonkeyPatch):
    emulates = lambda including_emulation=True: native or including_emulation  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", emulates)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    cuda = torch.device("cuda")
    assert compute_dtype("auto", cuda) == (torch.bfloat16 if native else torch.float16)
    assert compute_dtype("auto", CPU) == (torch.bfloat16 if native else torch.float32)


def test_there_are_no_peaks_without_cuda():
    memory = meter.Memory(CPU)
    memory.start()
    found = memory.read(built("linear"), None)
    assert memory.peak() is None
    assert {found[k] for k in ("peak_memory_train_bytes", "activation_bytes")} == {None}
    assert found["parameter_bytes"] > 0


@pytest.mark.parametrize("apart", [0, 3_000_000])
def test_activations_are_the_rest_of_a_peak_without_resident_pixels(
    apart: int, monkeypatch: pytest.MonkeyPatch
):
    stats = {
        "allocated_bytes.all.peak": 10_000_000,
        "reserved_bytes.all.peak": 12_000_000,
        "num_alloc_retries": 2,
    }
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: stats)
    monkeypatch.setattr(meter, "process_bytes", lambda device: 14_000_000)
    memory = meter.Memory(torch.device("cuda"), apart)
    found = memory.read(built("linear"), None)
    parts = ("parameter_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes")
    assert found["peak_memory_train_bytes"] == memory.peak() == 10_000_000 - apart
    assert sum(found[part] for part in parts) == 10_000_000 - apart
    assert found["peak_memory_reserved_bytes"] == 12_000_000 - apart
    assert found["resident_bytes"] == apart
    assert (found["driver_process_bytes"], found["allocator_retries"]) == (14_000_000, 2)


def test_the_peak_of_validation_is_not_the_peak_of_training(monkeypatch: pytest.MonkeyPatch):
    stats = {"allocated_bytes.all.peak": 0, "reserved_bytes.all.peak": 0}

    def use(peak: int) -> None:
        stats.update(
            {name: max(peak + ("reserved" in name), value) for name, value in stats.items()}
        )

    nothing = lambda *_: None  # noqa: E731
    for name in ("synchronize", "empty_cache", "reset_accumulated_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, nothing)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: stats)
    monkeypatch.setattr(
        torch.cuda, "reset_peak_memory_stats", lambda device: stats.update(dict.fromkeys(stats, 0))
    )
    memory = meter.Memory(torch.device("cuda"))
    use(900)  # building the model
    memory.start()
    use(500)
    with memory.paused():
        use(800)
    use(400)
    assert memory.peak() == 500
    with memory.paused():
        use(800)
    use(600)
    assert memory.peak() == 600
    monkeypatch.setattr(meter, "process_bytes", nothing)
    assert memory.read(built("linear"), None)["peak_memory_reserved_bytes"] == 601


def test_throttled_windows_are_marked(monkeypatch: pytest.MonkeyPatch):
    energy = iter([1_000_000, 3_500_000])
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: next(energy),
        nvmlDeviceGetPowerUsage=lambda gpu: 250_000,
        nvmlDeviceGetClockInfo=lambda gpu, kind: 1500,
        nvmlDeviceGetTemperature=lambda gpu, kind: 61,
        nvmlDeviceGetCurrentClocksEventReasons=lambda gpu: 0x1 | 0x20,
    )
    monkeypatch.setattr(machine, "_nvml", lambda device: (nvml, object()))
    with machine.GpuSampler(torch.device("cuda"), interval=0.005) as sampler:
        until(lambda: sampler._samples)
    at = sampler._samples[0]["time"]
    found = sampler.summary([(at - 1, at), (at + 1e6, at + 2e6)])
    assert found["throttled_windows"] == 1
    assert found["gpu_throttle_reasons"] == ["thermal_software"]
    assert found["gpu_energy_joules"] == 2500.0
    assert found["gpu_power_watts_mean"] == 250.0
    assert found["gpu_clock_mhz_median"] == 1500.0


def test_a_busy_gpu_is_reported(monkeypatch: pytest.MonkeyPatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(machine, "_nvml", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (79 * 2**30, 80 * 2**30))
    assert machine.busy_warning(cuda) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (40 * 2**30, 80 * 2**30))
    assert "40 GiB" in (machine.busy_warning(cuda) or "")
    assert machine.busy_warning(CPU) is None


def test_the_environment_says_what_matters_and_names_no_place_or_person():
    found = machine.environment(CPU)
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found["gpu"] is None
    assert found["threads"] >= 1
    text = json.dumps(found)
    for secret in (socket.gethostname(), str(Path.home()), str(Path.cwd()), sys.prefix):
        assert len(secret) < 3 or secret not in text
