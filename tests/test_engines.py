"""Where trials run: options that contradict, a real Ray cluster, real jobs of submitit."""

import datetime
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from typer.testing import CliRunner

import methods
from bench import UserError, cli, lock, record
from bench.measure import gpus
from bench.messages import Event, Placed, Stage, Step, event_from_json
from bench.recipe import Recipe
from bench.sweeps import engine, engine_choice, engine_ray, engine_slurm, sweep
from bench.sweeps.engine import Outcome, Watcher
from bench.sweeps.sweep import Plan
from bench.sweeps.sweepfile import SweepConfig
from bench.trial import Trial, blank_record
from tests.helpers.until import PATIENCE

PLUGIN = """
import os, signal, time
from pathlib import Path
from methods import register
from methods.base import Method
from methods.linear import Linear


@register('lost')
class Lost(Method):
    lr = 1e-3

    def loss(self, batch):
        worker = os.getppid()
        os.kill(worker, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


@register('waits')
class Waits(Linear):

    def loss(self, batch):
        while not Path(__file__).with_name('go').exists():
            time.sleep(0.01)
        return super().loss(batch)
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a plug-in of its own, all of which register one name."""
    monkeypatch.setattr(methods, "_REGISTRY", dict(methods.registry()))


class Seen(Watcher):
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.told: list[Event] = []
        self.over: dict[str, Outcome] = {}

    def started(self, trial: Trial, device: str) -> None:
        self.begun.append(trial.method)

    def reported(self, trial: Trial, event: Event) -> None:
        assert trial.method in self.begun
        self.told.append(event)

    def ended(self, outcome: Outcome) -> None:
        assert outcome.trial.method in self.begun
        self.over[outcome.trial.method] = outcome

    def waits(self, trial: Trial) -> None:
        pytest.fail("no other sweep is at work")


@contextmanager
def limit() -> Iterator[None]:
    """Fail where a sweep that waits for another would wait for ever."""

    def over(*_: Any) -> None:
        pytest.fail(f"it is still waiting after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def planned(root: Path, methods: str) -> Plan:
    plugin = root / "lost.py"
    plugin.write_text(PLUGIN)
    config = SweepConfig(
        methods,
        [str(root / "tiny.toml")],
        ["starter"],
        recipe=Recipe(steps=2, batch_size=4, evaluations=1),
        data_root=root,
        results=root / "results",
        plugins=[plugin],
    )
    return sweep.plan(config)


def test_on_a_ray_cluster_a_lost_worker_loses_one_trial(tiny: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'cmer-bench[ray]'")
    plan, other = planned(tiny, "lost,linear,bitfit"), ExitStack()
    path = plan.trials[2].path(plan.results)
    assert other.enter_context(lock.held(path))  # another sweep, which then does the trial

    class Waits(Seen):
        def waits(self, trial: Trial) -> None:
            assert trial.method == "bitfit"
            done = {**blank_record(trial), "status": "diverged", "message": "other"}
            record.write(path, done)
            other.close()

    seen = Waits()
    with limit():
        outcomes = engine_choice.engine_of({"engine": "ray"}).run(plan, plan.trials, seen)
    ends = {"lost": "killed", "linear": "ok", "bitfit": "diverged"}
    assert {o.trial.method: o.status for o in outcomes} == ends
    assert "its worker was lost" in (seen.over["lost"].message or "")
    assert [plan.status(trial) for trial in plan.trials] == [None, "ok", "diverged"]
    assert [trial.method for trial in plan.todo(rerun=False, retry_failed=False)] == ["lost"]
    assert sorted(seen.begun) == ["bitfit", "linear", "lost"]
    assert Stage("loading") in seen.told
    assert any(isinstance(event, Step) for event in seen.told)
    assert "RAY_USAGE_STATS_ENABLED" in os.environ


def test_a_folder_too_deep_for_rays_sockets_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = f"AF_UNIX path length cannot exceed 107 bytes: {tmp_path}"
    monkeypatch.setattr(ray, "init", mock.Mock(side_effect=OSError(words)))
    with pytest.raises(UserError, match=r"temporary folder has too long a name: set RAY_TMPDIR"):
        engine_ray.connect(None)


def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        with limit(), pytest.raises(UserError, match=f"no Ray cluster answers at .*:{port} .*ref"):
            engine_ray.connect(f"ray://127.0.0.1:{port}")
        deaf.listen()  # something answers, but no cluster
        monkeypatch.setattr(engine_ray, "PATIENCE_SECONDS", 1)
        with limit(), pytest.raises(UserError, match=r"no answer in 1 s.*ray start --head"):
            engine_ray.connect(f"127.0.0.1:{port}")


def test_a_slurm_job_that_is_preempted_goes_on(tiny: Path) -> None:
    pytest.importorskip("submitit", reason="an extra: pip install 'cmer-bench[slurm]'")
    plan = planned(tiny, "waits")
    logs, other = tiny / "results" / ".slurm", ExitStack()
    assert other.enter_context(lock.held(plan.trials[0].path(plan.results)))  # another sweep

    class Preempting(Seen):
        def waits(self, trial: Trial) -> None:
            other.close()  # it was killed

        def started(self, trial: Trial, device: str) -> None:
            super().started(trial, device)
            log = logs / f"{device.split()[-1]}_0_log.out"
            events = map(event_from_json, log.read_text().splitlines())
            placed = next(event for event in events if isinstance(event, Placed))
            os.kill(placed.pid, signal.SIGUSR2)  # the trial cannot have ended: it waits
            (tiny / "go").touch()

    seen = Preempting()
    where = engine_choice.engine_of({"engine": "slurm", "slurm": {"cluster": "local"}})
    with limit():
        outcomes = where.run(plan, plan.trials, seen)
    assert [o.status for o in outcomes] == [plan.status(plan.trials[0])] == ["ok"]
    said = [path.read_text() for path in sorted(logs.glob("*_log.out"))]
    assert sum("Requeued job" in text for text in said) == 1
    assert Stage("testing") in seen.told


def test_slurms_words_become_submitits() -> None:
    pytest.importorskip("submitit")
    words = {"partition": "gpu", "time": "1-02:30:00", "gpus": 2, "memory_gb": "64", "reserve": 3}
    assert engine_slurm.options(words) == (
        "slurm",
        {
            "name": "bench",
            "slurm_partition": "gpu",
            "timeout_min": 26 * 60 + 30,
            "gpus_per_node": 2,
            "cpus_per_task": 4,
            "mem_gb": 64.0,
            "slurm_additional_parameters": {"reserve": 3},
        },
    )
    for given, count in (({}, 0), ({"gpus": "a100:2"}, 2)):
        _, parameters = engine_slurm.options({"cluster": "local", **given})
        assert parameters["gpus_per_node"] == count


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        (90, 90),
        ("30:00", 30),  # MM:SS
        ("30:01", 31),  # rounded up, as sbatch does
        ("00:45:30", 46),
        ("1-12", 36 * 60),
        ("1-02:30", 26 * 60 + 30),
        ("2-02:30:00", 50 * 60 + 30),
        (datetime.time(2, 30), 150),  # a TOML may hold 02:30:00 without quotes
    ],
)
def test_a_time_of_slurm_is_what_sbatch_takes_it_for(text: Any, minutes: int) -> None:
    assert engine_slurm.minutes(text) == minutes


@pytest.mark.parametrize("text", ["soon", "2h", "", "1:2:3:4", "1-", "-30", "0", "0:00", "1.5"])
def test_what_is_no_time_of_slurm_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--slurm time is"):
        engine_slurm.minutes(text)


def sbatch(words: dict[str, Any]) -> dict[str, str]:
    """The options that would stand in the file for sbatch."""
    from submitit.slurm.slurm import _make_sbatch_string

    _, parameters = engine_slurm.options(words)
    import submitit

    executor = submitit.AutoExecutor("unused", cluster="slurm")
    executor.update_parameters(**parameters)
    text = _make_sbatch_string(command="x", folder="unused", **executor._executor.parameters)
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if "#SBATCH" in line]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_gpus_reach_sbatch_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", classmethod(lambda cls: 1))
    assert sbatch({})["gpus-per-node"] == "1"
    assert sbatch({"gpus": 2})["gpus-per-node"] == "2"
    assert sbatch({"gpus": "a100:1"})["gpus-per-node"] == "a100:1"
    for asked in ({"gres": "gpu:a100:2"}, {"gres": "gpu"}, {"gpus-per-task": 1}):
        made = sbatch(asked)
        assert "gpus-per-node" not in made  # two ways of asking for GPUs contradict each other
        (name, value) = next(iter(asked.items()))
        assert made[name] == str(value)
    beside = sbatch({"gres": "lscratch:20", "gpus": 1, "time": "1-12", "mem": "32G"})
    assert (beside["gres"], beside["gpus-per-node"]) == ("lscratch:20", "1")
    assert (beside["time"], beside["mem"]) == ("2160", "32G")
    assert sbatch({"exclusive": "true"})["exclusive"] == ""  # a flag


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"gres": "gpu:1", "gpus": 1}, "gpus and gres both ask for GPUs"),
        ({"array": "1-12"}, "bench makes the array.*array_parallelism"),
        ({"partition": "gpu,time=30"}, "--slurm partition=gpu --slurm time=30"),
        ({"array_parallelism": "four"}, "array_parallelism is a whole number, not 'four'"),
        ({"gpus": "a100:many"}, "gpus is a whole number, not 'many'"),
        ({"cluster": "moon"}, "cluster is slurm, or local to try it out, not 'moon'"),
    ],
)
def test_words_for_slurm_that_contradict(words: dict[str, Any], says: str) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match=says):  # before anything is downloaded or decoded
        engine_choice.engine_of({"engine": "slurm", "slurm": words})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--engine ray --gpus 0", "--gpus is for the engine local, not for ray"),
        ("--engine slurm --jobs-per-gpu 2", "--jobs-per-gpu is for the engine local or ray"),
        ("--slurm partition=a", "--slurm is for the engine slurm, not for local"),
        ("--ray-address auto", "--ray-address is for the engine ray, not for local"),
        ("--engine slrum", "no engine 'slrum' .did you mean 'slurm'."),
        ("--engine slurm --slurm partition", "write --slurm NAME=VALUE, not 'partition'"),
        ("--gpus 0,0", "--gpus is all, none or different visible GPUs such as 0,1"),
        ("--gpus 9", "visible are 0, 1"),
        ("--no-memory", "give --dry-run with it"),
        ("--rerun --retry-failed", "--rerun runs the failed trials again too"),
    ],
)
def test_options_that_contradict_are_one_sentence(
    words: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "visible", lambda: ["0", "1"])
    line = ["run", "--methods", "zeroshot", "--dataset", "synthetic", *words.split()]
    error = CliRunner().invoke(cli.app, line).exception
    assert isinstance(error, UserError)
    with pytest.raises(UserError, match=says):
        raise error


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_absent_extra_is_one_sentence(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install 'cmer-bench\[{name}\]'"):
        engine_choice.engine_of({"engine": name})


def test_a_gpu_that_is_not_there_is_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {None: 2, "": 0, "-1": 0, "0": 0, "3, 1": 2, "1,9,0": 1}  # as CUDA counts them
    seen = {None: ["0", "1"], "3, 1": ["3", "1"], "1,9,0": ["1"]}
    for words, count in there.items():
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if words is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", words)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda count=count: count > 0)
        assert gpus.visible() == seen.get(words, [])


class Nvml:
    """The driver's library, of a machine with one GPU."""

    def __init__(self, gpus: int = 1) -> None:
        self.count = gpus

    def nvmlInit(self) -> None: ...  # noqa: N802 (NVML's names)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count


def machine(
    monkeypatch: pytest.MonkeyPatch,
    nvml: Nvml | None,
    cuda: str | None = "13.0",
    works: bool = False,
    hidden: str | None = None,
    counts: int = 0,
) -> None:
    """Pretend to be on a machine with this driver and this build of torch."""

    def init() -> None:
        raise RuntimeError("CUDA driver initialization failed,\nno idea why")

    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(gpus, "PROC", Path(__file__) / "none")  # nothing is below a file
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: counts or int(works))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: works)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ({"nvml": Nvml(), "counts": 1}, "torch cannot use it: CUDA"),  # as with an old driver
        ({"nvml": Nvml(), "cuda": None}, "is built for CPUs; install a CUDA build"),
        ({"nvml": Nvml(), "hidden": ""}, "CUDA_VISIBLE_DEVICES='' hides"),
        ({"nvml": Nvml()}, "torch cannot use it: CUDA driver initialization failed, no idea why"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_told(
    there: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, **there)
    where = engine_choice.engine_of({})
    assert where.devices == ()
    assert re.search(f"training on the CPU: this machine has 1 NVIDIA GPU, .*{says}", where.warning)
    with pytest.raises(UserError, match=f"--gpus all: no GPU can be used: .*{says}"):
        engine_choice.engine_of({"gpus": "all"})
    assert engine_choice.engine_of({"gpus": "none"}).warning is None


def test_a_driver_whose_library_does_not_answer_still_has_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, None)
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(gpus, "PROC", tmp_path)
    assert "this machine has 1 NVIDIA GPU" in (engine_choice.engine_of({}).warning or "")


def test_without_a_gpu_the_cpu_is_no_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    for nvml in (None, Nvml(gpus=0)):
        machine(monkeypatch, nvml)
        assert engine_choice.engine_of({}).warning is None
        with pytest.raises(UserError, match="this machine has no NVIDIA GPU"):
            engine_choice.engine_of({"gpus": "all"})
    machine(monkeypatch, Nvml(), works=True)
    assert engine_choice.engine_of({"gpus": "all"}).devices == ("0",)


def test_a_trial_with_a_gpu_that_fails_does_not_train_on_the_cpu(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tiny, "linear")
    monkeypatch.setattr(gpus, "visible", lambda: ["7"])
    outcomes = engine_choice.engine_of({"gpus": "7"}).run(plan, plan.trials, Seen())
    assert [o.status for o in outcomes] == ["user_error"]
    assert "the trial was given GPU 7, but " in (outcomes[0].message or "")


def test_a_sweep_that_can_no_longer_tell_its_progress_does_not_end_as_if_it_were_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bench run | head`: rich raises SystemExit where nobody reads any more."""
    one = Trial("ucm", "starter", "linear", "linear", {}, None, Recipe(), 0, {})
    ended: list[Trial] = []

    class Deaf(Seen):
        def ended(self, outcome: Outcome) -> None:
            ended.append(outcome.trial)
            raise SystemExit(1)

    monkeypatch.setattr(engine, "run_trial", lambda plan, trial, *_: Outcome(trial, "ok"))
    trials = [replace(one, seed=seed) for seed in range(3)]
    with pytest.raises(SystemExit):
        engine.run(Plan(trials, tmp_path, tmp_path), trials, ["cpu"], Deaf())
    assert ended == trials[:1]


def test_a_trial_that_ctrl_c_ends_is_left_and_not_called_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Trial("ucm", "starter", "linear", "linear", {}, None, Recipe(), 0, {})
    begun, sent = threading.Event(), threading.Event()
    process = mock.Mock(send_signal=lambda _: sent.set())

    def runs(plan: Plan, trial: Trial, device: str, running: set[Any], *_: Any) -> Outcome:
        running.add(process)
        begun.set()
        assert sent.wait(PATIENCE)
        return Outcome(trial, "killed", "its process ended with exit code 143")

    def ctrl_c(_: float) -> None:
        assert begun.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_trial", runs)
    monkeypatch.setattr(engine.time, "sleep", ctrl_c)
    seen = Seen()
    with pytest.raises(KeyboardInterrupt):
        engine.run(Plan([one], tmp_path, tmp_path), [one], ["cpu"], seen)
    assert (seen.begun, seen.over) == (["linear"], {})


def test_a_results_folder_that_is_a_file_is_one_sentence(tiny: Path) -> None:
    plan = replace(planned(tiny, "linear"), results=tiny / "tiny.toml")
    todo = plan.todo(rerun=False, retry_failed=False)
    with pytest.raises(UserError, match=r"tiny\.toml cannot be written to"):
        engine_choice.engine_of({"gpus": "none"}).run(plan, todo, Seen())


def test_each_gpu_gets_so_many_trials_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(gpus, "visible", lambda: ["2", "3"])
    monkeypatch.setattr(engine, "run", lambda plan, todo, slots, watcher: given.append(slots))
    plan = Plan([], Path(), Path())
    for options in ({}, {"gpus": "3", "jobs_per_gpu": 2}, {"gpus": "none", "jobs_per_gpu": 2}):
        where = engine_choice.engine_of(options)
        where.run(plan, [], Seen())
        assert where.at_once() == len(given[-1])
    assert given == [["2", "3"], ["3", "3"], ["cpu", "cpu"]]
