"""Odd values of options: nothing, blanks, NUL, huge numbers; each is refused in one sentence."""

import itertools
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from bench import UserError, api
from bench.spec import LARGEST_WHOLE
from bench.sweeps import sweepfile
from tests import golden
from tests.helpers.command import bench

HUGE = "9" * 23
SWEEP = "methods = 'cmer'\ndatasets = 'ucm'\n"


COMMANDS = {words: one for words, one in golden.commands() if not hasattr(one, "commands")}


def taking_a_value(command: Any) -> list[Any]:
    """The options and arguments of a command, but for those that are there or not."""
    return [param for param in command.params if not getattr(param, "is_flag", False)]


def written(command: Any, odd: Any, value: str) -> list[str]:
    """The words of a command line on which one option or argument has an odd value."""
    options, arguments = [], []
    for param in taking_a_value(command):
        text = value if param is odd else "1"
        if param.opts[0].startswith("-"):
            options += [param.opts[0], text] if param is odd or param.required else []
        else:
            arguments.append(text)
    return [*options, "--", *arguments]


def test_the_commands_have_options() -> None:
    names = {words: [param.name for param in taking_a_value(c)] for words, c in COMMANDS.items()}
    assert {"gpus", "seeds", "results", "tuned", "sweep"} <= set(names["run",])
    assert {"name", "annotations", "out"} <= set(names["data", "new"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_value_that_nobody_can_mean_is_one_sentence(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    whole = {name for name, hint in get_type_hints(command.callback).items() if "int" in str(hint)}
    odd = {"": "is empty", " ": "is empty", "a\0b": "holds a NUL"}
    for param in taking_a_value(command):
        huge = {HUGE: "", "-" + HUGE: "", "9" * 5000: ""} if param.name in whole else {}
        for value, says in (odd | huge).items():
            done = bench(*words, *written(command, param, value))
            assert done.code == 2, (param.name, value, done)
            assert done.err.startswith("bench: "), done.err
            assert len(done.err.strip().splitlines()) == 1, done.err
            name = param.opts[0] if param.opts[0].startswith("-") else ""
            assert name in done.err, (param.name, value, done.err)
            assert says in done.err, (param.name, value, done.err)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--backbone", ",", "--backbone names nothing"),
        ("--dataset", ",", "--dataset names nothing"),
        ("--log", ",", "--log names nothing"),
        ("--methods", ",", "cannot read the methods"),
        ("--corrupt", ",", "--corrupt is one or more of"),
        ("--jobs-per-gpu", "1001", "--jobs-per-gpu is at most 1000"),
        ("--cache-features", "1001", "--cache-features is at most 1000"),
        ("--recipe", "evaluations=100001", "evaluations is at most 100000"),
        ("--time-limit", HUGE, "is more than a year"),
        ("--time-limit", "9" * 400, "is more than a year"),
        ("--checkpoint-every", "9" * 400, "is more than a year"),
        ("--time-limit", "9" * 40 + "x", "is a time such as 2h"),
        ("--epochs", "1e300", "epochs is at most"),
        ("--steps", HUGE, "up to 9007199254740991"),
        ("--steps", "9" * 5000, "steps is a whole number"),
        ("--recipe", f"memory={'9' * 400}", "is more than any device has"),
        ("--slurm", "=3", "write --slurm NAME=VALUE"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_sentence(option: str, value: str, says: str) -> None:
    words = {"--methods": "zeroshot", "--dataset": "synthetic", option: value}
    done = bench("run", "--dry-run", *itertools.chain(*words.items()))
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done.err
    assert says in done.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nosuch", "there is no command `bench nosuch`; `bench --help` lists them"),
        ("rnu", "there is no command `bench rnu` (did you mean 'run'?); `bench"),
        ("data chek", "there is no command `bench data chek` (did you mean 'check'?); `bench data"),
        ("--verion", "bench has no option --verion (did you mean '--version'?)"),
        ("data --halp", "bench data has no option --halp (did you mean '--help'?)"),
        ("run --dataste ucm", "bench run has no option --dataste (did you mean '--dataset'?)"),
        ("run --warmup 3", "it is a part of the recipe: --recipe warmup=..."),
        ("run --seeds", "option '--seeds' requires an argument; see `bench run --help`"),
        ("retrieve x --top a", "valid integer"),  # the rest is Typer's wording, which varies
        ("datasets a b", "got unexpected extra argument(s) (b); see `bench datasets --help`"),
    ],
)
def test_a_word_typed_wrong_is_one_sentence(line: str, says: str) -> None:
    done = bench(*line.split())
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done.err
    assert says in done.err


def test_a_group_alone_prints_its_help() -> None:
    for words in (["data"], ["data", "--"]):
        done = bench(*words)
        assert done.code == 2
        assert "Fetch and check data sets" in done.out + done.err


@pytest.mark.parametrize("memory", [HUGE, "9" * 400, f"{HUGE}GiB"])
def test_more_memory_than_there_is_is_one_sentence(memory: str) -> None:
    done = bench("plan", "--methods", "lora", "--dataset", "ucm", "--gpu-memory", memory)
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done.err
    assert "more than any device has" in done.err


@pytest.mark.parametrize("odd", ["''", "' '", '"a\\u0000b"'])
@pytest.mark.parametrize(
    "line",
    [
        *("results = {}", "data_root = {}", "tuned = {}", "plugins = [{}]", "gpus = {}"),
        *("seeds = {}", "log = {}", "recipe = {{ steps = {} }}", "slurm = {{ partition = {} }}"),
        *("[search]\nresults = {}", "[search]\nsettings = [{}]"),
    ],
)
def test_an_odd_text_in_a_sweep_file_is_one_sentence(line: str, odd: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP + line.format(odd))
    key = line.removeprefix("[search]\n").partition(" ")[0]
    says = "is empty|holds a NUL|no seed is named|is a whole number|are whole numbers"
    with pytest.raises(UserError, match=rf"'(search\.)?{key}(\.0)?': .*({says})"):
        sweepfile.gather(path)


@pytest.mark.parametrize("key", ["jobs_per_gpu", "cache_features", "draw_seed", "max_points"])
def test_a_huge_number_in_a_sweep_file_is_one_sentence(key: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    table = "[search]\n" if key in sweepfile.SearchConfig.__annotations__ else ""
    path.write_text(f"{SWEEP}{table}{key} = {HUGE}")
    with pytest.raises(UserError, match=f"{key}' is 9.* less than or equal to {LARGEST_WHOLE}"):
        sweepfile.gather(path)


def test_an_empty_text_from_python_is_one_sentence() -> None:
    with pytest.raises(UserError, match="gpus is empty"):
        api.run("zeroshot", "synthetic", gpus="")
