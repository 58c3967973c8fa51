"""Sweep files and what a dry run says: the file, the options over it, memory and time."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import UserError, cli
from bench.commands import run, tune
from bench.data import cache
from bench.recipe import Recipe
from bench.spec import parse_calls, resolve
from bench.sweeps import forecast, sweepfile
from bench.sweeps import sweep as sweep_
from bench.sweeps.sweep import Plan
from bench.sweeps.sweepfile import SweepConfig
from bench.trial import Trial, blank_record
from methods import registry

ROOT = Path(__file__).resolve().parent.parent
FULL = """
datasets = ["ucm", "rsicd"]
backbones = "starter"
methods = ["cmer", "lora(rank=16, lr=3e-4)"]
seeds = [0, 1]
data_root = "somewhere"
results = "there"
tuned = "tuned.toml"
plugins = ["mine.py"]
engine = "slurm"
slurm = { partition = "gpu" }
recipe = { steps = 60, augment = false, precision = "bf16" }
[search]
factors = [0.3, 1]
seeds = [7]
recipe = { steps = 30 }
"""


def sweep(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return path


def test_a_sweep_file_is_read(tmp_path: Path) -> None:
    config = sweepfile.gather(sweep(tmp_path, FULL))
    assert config.methods == "cmer,lora(rank=16, lr=3e-4)"
    assert (config.datasets, config.backbones, config.seeds) == (
        ["ucm", "rsicd"],
        ["starter"],
        [0, 1],
    )
    assert config.recipe == Recipe(steps=60, augment=False, precision="bf16")
    assert (config.data_root, config.results) == (Path("somewhere"), Path("there"))
    assert (config.tuned, config.plugins) == (Path("tuned.toml"), [Path("mine.py")])
    assert config.engine == {"engine": "slurm", "slurm": {"partition": "gpu"}}


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = sweep(tmp_path, FULL)
    config = sweepfile.gather(path, methods="full", seeds=[3], recipe=["epochs=5"], datasets=None)
    assert (config.methods, config.seeds, config.datasets) == ("full", [3], ["ucm", "rsicd"])
    assert config.recipe == Recipe(epochs=5, augment=False, precision="bf16")


def test_another_engine_leaves_out_what_the_file_says_for_its_own(tmp_path: Path) -> None:
    path = sweep(tmp_path, FULL)
    assert sweepfile.gather(path, engine="local", gpus="0").engine == {
        "engine": "local",
        "gpus": "0",
    }
    assert sweepfile.gather(path, engine="slurm").engine["slurm"] == {"partition": "gpu"}


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = "datasets = ['~/my.toml']\nmethods = 'cmer'\nbackbones = 'ViT-B-32:~/a.pt'\n"
    config = sweepfile.gather(sweep(tmp_path, text + "data_root = '~/data'\nplugins = '~/p.py'"))
    assert (config.datasets, config.backbones) == (["/home/me/my.toml"], ["ViT-B-32:/home/me/a.pt"])
    assert (config.data_root, config.plugins) == (Path("/home/me/data"), [Path("/home/me/p.py")])


def test_without_a_home_folder_a_tilde_is_one_sentence_and_the_cache_lies_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container's user may have neither $HOME nor an entry in the list of users."""

    def nobody(*_: object) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert cache.cache_folder().parent == Path(tempfile.gettempdir())
    given = {"methods": ["cmer"], "datasets": ["ucm"]}
    assert sweepfile.gather(None, **given).results == Path("results")
    for odd in ({"results": "~/r"}, {"datasets": ["~/my.toml"]}, {"plugins": ["~/p.py"]}):
        with pytest.raises(UserError, match=r"no home folder to stand for ~ in ~/"):
            sweepfile.gather(None, **{**given, **odd})


def test_a_file_can_say_how_long_a_trial_may_take_and_how_many_share_a_gpu(tmp_path: Path) -> None:
    text = "datasets = 'synthetic'\nmethods = 'cmer'\ncheckpoint_every = '5m'\ncache_features = 0\n"
    path = sweep(tmp_path, text + "time_limit = '2h'\njobs_per_gpu = 2")
    plan = sweep_.plan(sweepfile.gather(path), rehearse=True)
    assert (plan.time_limit, plan.checkpoint_seconds, plan.jobs_per_gpu) == (7200, 300, 2)
    assert sweepfile.gather(path, time_limit="90").time_limit == 5400
    with pytest.raises(UserError, match="--time-limit must be above 0"):
        sweepfile.gather(path, time_limit="0")
    with pytest.raises(UserError, match="is over, which takes time=2h; give a longer limit"):
        sweepfile.gather(path, recipe=["time=2h"])


def test_what_is_typed_on_the_command_line_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sweep(tmp_path, FULL.replace("[search]", "cache_features = 4\n[search]"))
    asked: list[sweepfile.SweepConfig] = []

    def stop(config: sweepfile.SweepConfig, *_: Any, **__: Any) -> None:
        asked.append(config)
        raise UserError("far enough")

    for module in (run, tune):
        monkeypatch.setattr(module, "planned_with_engine", stop)
    monkeypatch.setattr(run.tuned_, "read", lambda _: None)  # the file of winners is not there
    words = ["--seeds", "3,5", "--cache-features", "0", "--dataset", "rsitmd", "--deterministic"]
    for command in ("run", "tune"):
        CliRunner().invoke(cli.app, [command, str(file), *words, "--slurm", "time=60"])
    for config in asked:
        assert config.seeds == [3, 5]
        assert config.cache_features == 0
        assert config.datasets == ["rsitmd"]
        assert config.recipe.deterministic
        assert config.plugins == [Path("mine.py")]
        assert config.engine == {"engine": "slurm", "slurm": {"partition": "gpu", "time": 60}}
    ran, searched = asked
    assert (ran.results, ran.recipe.steps) == (Path("there"), 60)
    assert (searched.results, searched.recipe.steps) == (Path("tuning"), 30)


def test_lists_come_with_commas_and_repeated() -> None:
    config = sweepfile.gather(
        None,
        methods=["cmer,lora(rank=4, alpha=8)", "full"],
        datasets=["ucm,rsicd", "mine.toml"],
        backbones=["starter", "ViT-B-32:none,RN50:none"],
        seeds=["0-2,7", "9"],
    )
    assert config.methods == "cmer,lora(rank=4, alpha=8),full"
    assert config.datasets == ["ucm", "rsicd", "mine.toml"]
    assert config.backbones == ["starter", "ViT-B-32:none", "RN50:none"]
    assert config.seeds == [0, 1, 2, 7, 9]


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ("a", "whole numbers from 0, such as 0,1,2 or 0-2, not 'a'"),
        ("2-0", "not '2-0'"),
        ("-1", "not '-1'"),
        ("0,0-1", "a seed is named twice"),
        (",", "no seed is named"),
        (str(2**53), "a seed is at most 9007199254740991"),
        (str(2**70), "a seed is at most 9007199254740991"),
        ("0-999999999", "1,000,000,000 seeds; name fewer"),
    ],
)
def test_wrong_seeds(seeds: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        sweepfile.parse_seeds([seeds])


def test_a_record_of_the_largest_seed_can_be_read(tmp_path: Path) -> None:
    (seed,) = sweepfile.parse_seeds(str(sweepfile.LARGEST_SEED))
    one = trial(seed)
    done(tmp_path, one, 70)
    assert Plan([one], tmp_path, tmp_path).status(one) == "ok"


def test_a_search_has_its_own_seeds_recipe_and_results(tmp_path: Path) -> None:
    config = sweepfile.gather(sweep(tmp_path, FULL), searching=True)
    assert (config.seeds, config.recipe.steps, config.results) == ([7], 30, Path("tuning"))
    assert config.search["factors"] == [0.3, 1]
    config = sweepfile.gather(sweep(tmp_path, FULL), searching=True, recipe=["steps=2"], seeds=[0])
    assert (config.seeds, config.recipe.steps, config.recipe.precision) == ([0], 2, "bf16")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[search]\nfactors = []", "'search.factors' is .* and should have at least 1 item"),
        ("datasets = 'ucm'\nmethods = 'cmer'\nseeds = [0, 0]", "a seed is named twice in 0,0"),
        ("seeds = 3", "'seeds' is 3 and should be a valid list or should be a valid string"),
        ("methods = [3]", "used: 'methods.0' is 3 and should be a valid string; docs"),
        ("jobs_per_gpu = 0", "'jobs_per_gpu' is 0 and should be greater than or equal to 1"),
        ("recipe = 3", "'recipe' is 3 and should be a table"),
        ("a = ", "cannot be read as a sweep file"),
        ("a = " + "[" * 3000, "cannot be read as a sweep file"),
        ("datasets = 'ucm'\nmethods = 'cmer'\nseeds = []", "no seed is named"),
        ("methods = ['cmer']", "names no datasets; give --dataset, or datasets ="),
        ("datasets = ['ucm']", "names no methods; give --methods, or methods ="),
    ],
)
def test_a_wrong_sweep_file_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        sweepfile.gather(sweep(tmp_path, text))


def test_every_fault_of_a_sweep_file_is_told_at_once(tmp_path: Path) -> None:
    text = """
        dataset = 'ucm'
        epochs = 3
        factors = [1]
        methods = ''
        results = "a\\u0000b"
        seeds = '3-x'
        recipe = {step = 3, epochs = -1}
        time_limit = 'soon'
        gpus = 0
        [search]
        trial = 3
        draw_seed = 1.5
        recipe = {steps = 3, epochs = 2}
    """
    with pytest.raises(UserError) as caught:
        sweepfile.gather(sweep(tmp_path, text))
    for fault in (
        "no key 'dataset' (did you mean 'datasets'?)",
        "'epochs' is a part of the recipe: write recipe = { epochs = ... }",
        "'factors' is a key of the table [search]",
        "'methods': it is empty",
        "'results': it holds a NUL",
        "'seeds': seeds are whole numbers from 0, such as 0,1,2 or 0-2, not '3-x'",
        "'recipe': the recipe has no 'step' (did you mean 'steps'?)",
        "recipe epochs must be a number above 0",
        "'time_limit': it is a time such as 2h",
        "'gpus' is 0 and should be a valid string",
        "no key 'search.trial' (did you mean 'trials'?)",
        "'search.draw_seed' is 1.5 and should be a valid integer",
        "'search.recipe': the recipe says both epochs=2 and steps=3",
    ):
        assert fault in str(caught.value)


def test_a_sweep_file_may_begin_with_the_mark_that_windows_writes(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text("datasets = 'ucm'\nmethods = 'cmer'\n", encoding="utf-8-sig")
    assert sweepfile.gather(path).methods == "cmer"


def test_all_is_every_method_once() -> None:
    planned = sweep_.plan(SweepConfig("lora(rank=4),all", ["synthetic"]), rehearse=True)
    calls = [trial.call for trial in planned.trials]
    assert calls == ["lora(rank=4)", *(plain(name) for name in registry() if name != "lora")]


def plain(method: str) -> str:
    """The call of a method that states no setting."""
    return resolve(method, {}, registry()).text


def test_the_papers_sweep_names_every_method() -> None:
    config = sweepfile.gather(ROOT / "benchmarks" / "paper.toml")
    known = registry()
    calls = [resolve(name, given, known) for name, given in parse_calls(config.methods)]
    assert sorted(call.text for call in calls) == sorted(map(plain, known))
    assert (config.datasets, config.seeds) == (["rsitmd", "rsicd"], [0, 1, 2])


# What a dry run says.


def trial(seed: int = 0, **recipe: Any) -> Trial:
    steps = {"steps": 60, **recipe}
    return Trial("ucm", "starter", "linear", "linear", {}, None, Recipe(**steps), seed, {})


def done(tmp_path: Path, one: Trial, total: float, gpu: str | None = None) -> None:
    path = one.path(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        **blank_record(one),
        "curve": [{"step": one.recipe.steps, "epoch": 0.5}],
        "efficiency": {"trial_seconds": total, "train_seconds": total - 10},
        "environment": {"gpu": gpu, "cpu": "Abacus"},
    }
    path.write_text(json.dumps(document))


def test_time_left_comes_from_records_of_the_same_kind(tmp_path: Path) -> None:
    plan = Plan([trial(seed) for seed in range(4)], tmp_path, tmp_path)
    done(tmp_path, trial(0), 70)
    done(tmp_path, trial(1), 90)
    todo = plan.todo(rerun=False, retry_failed=False)
    (line,) = forecast.forecast(plan, todo, "Abacus", None)
    assert (line.states["ok"], line.left, line.seconds) == (2, 2, 160)
    assert forecast.total([line], 2) == "time left: about 1 min 20 s for 2 trials, 2 at once"
    (line,) = forecast.forecast(plan, todo, "H100", None)
    assert line.seconds is None
    assert "unknown" in forecast.total([line], 1)
    (line,) = forecast.forecast(plan, todo, None, None)  # another machine, perhaps like these
    assert line.seconds == 160
    done(tmp_path, trial(1), 90, gpu="H100")
    (line,) = forecast.forecast(plan, todo, None, None)  # or like none of them in particular
    assert line.seconds is None


def test_a_longer_training_counts_in_proportion(tmp_path: Path) -> None:
    done(tmp_path, trial(0), 70)
    records = [json.loads(trial(0).path(tmp_path).read_text())]
    assert forecast.seconds(trial(1, steps=120), records, "Abacus") == 10 + 2 * 60
    assert forecast.seconds(trial(1, steps=None, epochs=2), records, "Abacus") == 10 + 4 * 60
    assert forecast.seconds(trial(1, batch_size=8), records, "Abacus") is None


def test_memory_is_predicted_for_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.measure import plan

    def predicted(trials: list[Trial], *_: Any) -> list[plan.Row]:
        return [
            plan.Row(t.dataset, t.backbone, t.call, {"predicted_peak_bytes": 7}) for t in trials
        ]

    monkeypatch.setattr(plan, "plan", predicted)
    both = Plan([trial(0), trial(1)], tmp_path, tmp_path)
    (line,) = forecast.forecast(both, [trial(1)], None, lambda *_: None)
    assert line.peak_bytes == 7
    (line,) = forecast.forecast(both, [], None, lambda *_: None)
    assert line.peak_bytes is None
