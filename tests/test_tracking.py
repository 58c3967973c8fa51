"""Experiment trackers: what they are told, what they show, and that no trial notices them."""

import importlib
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from typer.testing import CliRunner

from bench import UserError, cli, record
from bench.messages import Event, Stage, Step
from bench.recipe import Recipe
from bench.sweeps import engine, forkserver, sweepfile
from bench.sweeps.engine import Outcome, Watcher
from bench.sweeps.sweep import Plan
from bench.tracking import choose
from bench.tracking.base import Ending, Figures, Run, StepFigures, Tracker
from bench.tracking.watcher import Tracking, tracking
from bench.trial import Trial, blank_record
from tests.helpers.until import until

ONE = Trial(
    "ucm", "starter", "lora", "lora(rank=4)", {"rank": 4, "targets": "all"}, None, Recipe(), 0, {}
)
STEP = Step(1, 4, 10.0, peak_memory_bytes=2**30)
EVALUATIONS = [
    Step(2, 4, 11.0, {"step": 2, "epoch": 0.5, "loss": 2.0, "lr": 0.1, "val_mR": 10.0}),
    Step(4, 4, 12.0, {"step": 4, "epoch": 1.0, "loss": 1.0, "lr": 0.0, "val_mR": 11.0}),
]
FINAL = {"test/mR": 27.5, "test/i2t_R@1": 12.0, "final/trainable_parameters": 100.0}


class Quiet(Watcher):
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def started(self, trial: Trial, device: str) -> None:
        self.told.append((trial.identity, device))

    def reported(self, trial: Trial, event: Event) -> None:
        self.told.append((trial.identity, event))

    def ended(self, outcome: Outcome) -> None:
        self.told.append(outcome)

    def waits(self, trial: Trial) -> None:
        self.told.append(trial.identity)


class Remembers:
    """A tracker in memory; `fails` names the call that raises."""

    name, place = "remembers", "here"

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.runs: list[Run] = []
        self.logged: list[StepFigures] = []
        self.endings: list[Ending] = []

    def _maybe(self, call: str) -> None:
        if self.fails == call:
            raise SystemExit("no\nluck")

    def begin(self, run: Run) -> "Remembers":
        self._maybe("begin")
        self.runs.append(run)
        return self

    def log(self, step: int, figures: Figures) -> None:
        self._maybe("log")
        self.logged.append(StepFigures(step, figures))

    def end(self, ending: Ending) -> None:
        self._maybe("end")
        self.endings.append(ending)


def written(results: Path, trial: Trial = ONE) -> Path:
    """A record of a trial as it stands beside these evaluations."""
    path = trial.path(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = blank_record(trial)
    document["metrics"] = {"test": {"mR": 27.5, "i2t_R@1": 12.0}}
    document["efficiency"] = {"trainable_parameters": 100, "peak_memory_train_bytes": None}
    document["curve"] = [step.evaluation for step in EVALUATIONS]
    record.write(path, document)
    return path


def play(
    trackers: list[Tracker],
    results: Path,
    events: list[Event] | None = None,
    status: str = "ok",
    inner: Any = None,
    trial: Trial = ONE,
) -> list[str]:
    """A whole trial as the engine tells of it; what was said to the user."""
    said: list[str] = []
    with tracking(inner or Quiet(), trackers, said.append) as watch:
        watch.started(trial, "0")
        for event in [Stage("loading"), STEP, *EVALUATIONS] if events is None else events:
            watch.reported(trial, event)
        path = written(results, trial) if status == "ok" else None
        watch.ended(Outcome(trial, status, None, path, test_mR=27.5, seconds=3.0))
    return said


# What a tracker is told.


def test_a_tracker_is_told_evaluations_settings_and_the_end(tmp_path: Path) -> None:
    tracker = Remembers()
    assert play([tracker], tmp_path) == []
    (run,) = tracker.runs
    assert (run.trial, run.resumed, run.step) == (ONE, False, 1)
    assert run.config["settings.rank"] == 4
    assert run.config["recipe.batch_size"] == 128
    assert "lr" not in run.config  # the method's own: None is left out
    assert (run.config["dataset"], run.config["seed"]) == ("ucm", 0)
    assert [step for step, _ in tracker.logged] == [2, 4]
    assert tracker.logged[0][1] == {
        "train/loss": 2.0,
        "train/lr": 0.1,
        "train/epoch": 0.5,
        "val/mR": 10.0,
        "cost/images_per_second": 11.0,
        "cost/peak_memory_bytes": 2.0**30,
    }
    (ending,) = tracker.endings
    assert (ending.status, ending.good, ending.figures) == ("ok", True, FINAL)
    assert ending.record == ONE.path(tmp_path)


def test_the_other_watcher_is_told_everything(tmp_path: Path) -> None:
    alone, beside = Quiet(), Quiet()
    play([], tmp_path / "a", inner=alone)
    play([Remembers()], tmp_path / "a", inner=beside)
    assert alone.told == beside.told
    quiet = Quiet()
    with tracking(quiet, [], print) as watch:
        assert watch is quiet


@pytest.mark.parametrize(
    ("events", "resumed", "step"),
    [
        ([Stage("loading"), replace(STEP, step=3), EVALUATIONS[1]], True, 3),
        ([Stage("measuring")], True, 1),  # the checkpoint was written after the last step
        ([Stage("loading"), Stage("testing")], False, 1),  # nothing is trained
        ([], False, 1),  # no message came through, as from a cluster whose files lag
    ],
)
def test_a_trial_that_goes_on_is_told_from_one_that_begins(
    events: list[Event], resumed: bool, step: int, tmp_path: Path
) -> None:
    tracker = Remembers()
    play([tracker], tmp_path, events)
    (run,) = tracker.runs
    assert (run.resumed, run.step) == (resumed, step)
    assert tracker.logged[-1][0] == 4  # what no message told is taken from the record
    assert len(tracker.endings) == 1


def test_steps_that_are_repeated_are_passed_on_once(tmp_path: Path) -> None:
    tracker = Remembers()
    play([tracker], tmp_path, [STEP, EVALUATIONS[0], STEP, EVALUATIONS[0], EVALUATIONS[1]])
    assert [step for step, _ in tracker.logged] == [2, 4]


@pytest.mark.parametrize("status", ["elsewhere", "user_error"])
def test_a_trial_that_did_not_begin_here_has_no_run(status: str, tmp_path: Path) -> None:
    tracker = Remembers()
    play([tracker], tmp_path, [], status)
    assert not tracker.runs
    assert not tracker.endings


def test_a_trial_that_is_stopped_ends_its_run() -> None:
    tracker = Remembers()

    def sweep() -> None:
        with tracking(Quiet(), [tracker], print) as watch:
            watch.started(ONE, "0")
            watch.reported(ONE, STEP)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep()
    assert [(ending.status, ending.good) for ending in tracker.endings] == [("stopped", False)]


# A tracker that fails or hangs.


@pytest.mark.parametrize("fails", ["begin", "log", "end"])
def test_a_tracker_that_fails_is_noted_once_and_harms_nothing(fails: str, tmp_path: Path) -> None:
    bad, good = Remembers(fails), Remembers()
    said: list[str] = []
    with tracking(Quiet(), [bad, good], said.append) as watch:
        for trial in (ONE, replace(ONE, seed=1)):
            watch.started(trial, "0")
            for event in (STEP, *EVALUATIONS):
                watch.reported(trial, event)
            watch.ended(Outcome(trial, "ok", None, written(tmp_path, trial)))
    assert said == ["remembers failed (no luck); the trials go on without it"]
    assert len(good.endings) == 2


def test_a_tracker_that_hangs_is_left_behind(tmp_path: Path) -> None:
    hangs, free = Remembers(), threading.Event()
    hangs.begin = lambda run: free.wait() and hangs  # type: ignore[assignment,return-value]
    good, said = Remembers(), list[str]()
    watch = Tracking(Quiet(), [hangs, good], said.append)
    watch.started(ONE, "0")
    watch.reported(ONE, STEP)
    watch.ended(Outcome(ONE, "ok", None, written(tmp_path)))
    until(lambda: good.endings and watch._feeds[1]._busy_since is None)
    watch.close(silence=0.05)  # such as a server that does not answer
    assert said == [
        "remembers does not answer or is too slow, so it did not get everything; the records are "
        "complete"
    ]
    assert len(good.endings) == 1
    free.set()


# Which trackers.


def test_a_tracker_that_is_unknown_or_not_installed_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"no tracker 'tensorbord' \(did you mean 'tensorboard'\?\)"
    ):
        choose.trackers("tensorbord", tmp_path)
    missing = lambda name: None  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    for name in choose.TRACKERS:
        with pytest.raises(UserError, match=rf"pip install 'cmer-bench\[{name}\]'"):
            choose.check(f"tensorboard,{name}" if name == "tensorboard" else name)
    words = ["run", "--methods", "linear", "--dataset", "nowhere", "--log", "wandb"]
    done = CliRunner().invoke(cli.app, words)  # before the data set is looked for
    assert isinstance(done.exception, UserError)
    assert "--log wandb needs the package wandb, which is not installed" in str(done.exception)


def test_a_sweep_file_names_trackers(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text('methods = ["cmer"]\ndatasets = ["ucm"]\nlog = ["tensorboard", "mlflow"]\n')
    assert sweepfile.gather(path).log == "tensorboard,mlflow"
    assert sweepfile.gather(path, log=["wandb"]).log == "wandb"
    assert sweepfile.gather(path, log=["wandb,trackio", "mlflow"]).log == "wandb,trackio,mlflow"
    with pytest.raises(UserError, match="log names nothing"):
        sweepfile.gather(path, log=[","])


# Each tracker, with its own package.


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of a run, as TensorBoard itself reads them."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs TensorBoard: pip install 'cmer-bench[tensorboard]'",
    )
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_shows_the_curves(tmp_path: Path) -> None:
    (tracker,) = choose.trackers("tensorboard", tmp_path)
    assert choose.trackers("tensorboard", Path("/a b"))[0].place.endswith("'/a b/tensorboard'")
    assert play([tracker], tmp_path) == []
    folder = tmp_path / "tensorboard" / ONE.path(Path()).with_suffix("")
    found = scalars(folder)
    assert found["train/loss"] == [(2, 2.0), (4, 1.0)]
    assert found["val/mR"] == [(2, 10.0), (4, 11.0)]
    assert found["test/mR"] == [(4, 27.5)]
    assert found["cost/peak_memory_bytes"] == [(2, 2.0**30), (4, 2.0**30)]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    (text,) = events.Tensors("config/text_summary")
    assert b"| settings.rank | 4 |" in text.tensor_proto.string_val[0]
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(
        events.summary_metadata
    )


def test_tensorboard_goes_on_where_the_trial_does(tmp_path: Path) -> None:
    """Steps that were lost with the killed trial are shown once; a repeated trial begins anew."""
    folder = tmp_path / "tensorboard" / ONE.path(Path()).with_suffix("")
    log = lambda: choose.trackers("tensorboard", tmp_path)  # noqa: E731
    killed = [
        STEP,
        Step(2, 4, 11.0, {"step": 2, "epoch": 0.5, "loss": 9.0}),
        Step(3, 4, 11.0, {"step": 3, "epoch": 0.5, "loss": 7.0}),
    ]
    play(log(), tmp_path, killed, "killed")
    play(log(), tmp_path, [replace(STEP, step=3), EVALUATIONS[1]])  # from a checkpoint after step 2
    assert scalars(folder)["train/loss"] == [(2, 9.0), (4, 1.0)]
    play(log(), tmp_path, [STEP, *EVALUATIONS])  # --rerun
    assert scalars(folder)["train/loss"] == [(2, 2.0), (4, 1.0)]


def test_mlflow_holds_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in choose.NEEDS["mlflow"]:
        pytest.importorskip(package, reason="needs MLflow: pip install 'cmer-bench[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    from mlflow import MlflowClient

    for events in ([STEP, EVALUATIONS[0]], [replace(STEP, step=3), EVALUATIONS[1]]):
        status = "killed" if events[-1] is EVALUATIONS[0] else "ok"
        assert play(choose.trackers("mlflow", tmp_path), tmp_path, events, status) == []
    client = MlflowClient()
    experiment = client.get_experiment_by_name("cmer-bench")
    (run,) = client.search_runs([experiment.experiment_id])  # the second went on in the first
    assert run.info.status == "FINISHED"
    assert run.data.params["settings.rank"] == "4"
    assert run.data.tags["bench.identity"] == ONE.identity
    assert run.data.tags["bench.record"] == str(ONE.path(tmp_path))
    assert run.data.metrics["test/i2t_R_at_1"] == 12.0
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(2, 2.0), (4, 1.0)]
    play(choose.trackers("mlflow", tmp_path), tmp_path)  # --rerun: a run of its own
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_wandb_writes_a_run_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs wandb: pip install 'cmer-bench[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert play(choose.trackers("wandb", tmp_path), tmp_path) == []
    (file,) = (tmp_path / "wandb").glob(f"offline-run-*-{ONE.identity}/run-*.wandb")
    content = file.read_bytes()
    for word in (b"train/loss", b"settings.rank", b"test/i2t_R@1", ONE.identity.encode()):
        assert word in content


def test_wandb_without_a_login_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb would stop in the middle of the sweep, and ask."""
    fake = types.ModuleType("wandb")
    fake.setup = lambda: types.SimpleNamespace(  # type: ignore[attr-defined]
        settings=types.SimpleNamespace(mode="online")
    )
    fake.login = lambda prompt, verify: False  # type: ignore[attr-defined]
    fake.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(UserError, match="nobody is logged in to Weights & Biases"):
        choose.trackers("wandb", tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")  # nothing is written that could be sent later
    assert choose.trackers("wandb", tmp_path)[0].place.endswith(", disabled")


def test_trackio_is_told_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for its module: trackio itself wants an older Pillow than the tested one."""
    calls: list[tuple[str, Any]] = []

    class FakeRun:
        def log(self, figures: dict[str, Any], step: int) -> None:
            calls.append(("log", (step, figures)))

        def finish(self) -> None:
            calls.append(("finish", None))

    fake = types.ModuleType("trackio")
    fake.init = lambda **words: calls.append(("init", words)) or FakeRun()  # type: ignore[attr-defined]
    fake.__spec__ = importlib.machinery.ModuleSpec("trackio", None)
    monkeypatch.setitem(sys.modules, "trackio", fake)
    assert play(choose.trackers("trackio", tmp_path), tmp_path) == []
    assert [call for call, _ in calls] == ["init", "log", "log", "log", "finish"]
    began, *_, (_, (step, final)), _ = calls
    assert (began[1]["project"], began[1]["resume"]) == ("cmer-bench", "never")
    assert ONE.identity[:8] in began[1]["name"]
    assert began[1]["auto_log_gpu"] is began[1]["auto_log_cpu"] is False
    assert (step, final["test/mR"], final["status"]) == (4, 27.5, "ok")


# The trial itself.


def test_a_trials_process_is_the_same_with_and_without_trackers(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the same environment and sends the same messages, figures of time aside."""
    pytest.importorskip("tensorboard", reason="pip install 'cmer-bench[tensorboard]'")
    forkserver.warm_up()
    started: list[dict[str, str]] = []
    start = forkserver.start_trial

    def recorded(environment: dict[str, str], errors: IO[str]) -> Any:
        started.append(environment)
        return start(environment, errors)

    monkeypatch.setattr(forkserver, "start_trial", recorded)
    recipe = Recipe(steps=2, batch_size=4, evaluations=2, precision="fp32")
    card = str(tiny / "tiny.toml")
    trial = Trial(card, "starter", "linear", "linear", {}, None, recipe, 0, {})
    told: list[list[Event]] = []
    for trackers in ("", "tensorboard"):
        results = tiny / "results"
        plan, quiet = Plan([trial], results, tiny), Quiet()
        with tracking(quiet, choose.trackers(trackers, tiny / "logs"), print) as watch:
            plan.todo(rerun=True, retry_failed=False)
            (outcome,) = engine.run(plan, [trial], [], watch)
        assert outcome.status == "ok", outcome
        assert outcome.record is not None
        outcome.record.unlink()
        told.append([event for _, event in quiet.told[1:-1]])
    forkserver.cool_down()
    assert started[0] == started[1]
    without, beside = ([(type(e), getattr(e, "stage", None)) for e in events] for events in told)
    assert without == beside
    assert list((tiny / "logs").rglob("*.tfevents.*"))


def test_a_run_has_a_name_of_its_own() -> None:
    other = replace(ONE, recipe=Recipe(steps=7))
    first, second = Run(ONE, 1, False), Run(other, 1, False)
    assert first.name == f"ucm starter lora(rank=4) seed 0 ({ONE.identity[:8]})"
    assert first.name != second.name
