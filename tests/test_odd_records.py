"""Records changed in every field: each is either refused by name or reported like any other.

One odd record must not take a report, a table or a comparison with it.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import UserError, record, schema
from bench.report import choose, plots, searches, terminal
from bench.report.grouping import group_records
from bench.sweeps import forecast, tune
from bench.trained import compare
from bench.trial import Trial
from tests.helpers.fake_records import write_report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "archive" / "starter-1"
RECORDS = RESULTS / "ucm" / "starter"
SOUND = {
    path.relative_to(RESULTS): json.loads(path.read_text(encoding="utf-8"))
    for name in ("cmer/*", "cmer(queue=0)/*", "lora/seed[01]*", "zeroshot/seed[01]*", "harma/*")
    for path in sorted(RECORDS.glob(f"{name}.json"))
}
TARGETS = [
    next(path for path in SOUND if path.parent.name == name) for name in ("cmer", "lora", "harma")
]
GONE = object()
VALUES: list[Any] = [
    *(GONE, None, "many", "", 0, -1, 0.5, 1e308, True, [], {}, [[]], [None]),
    *({"a": {}}, {"": 1}, [{"a": 1}], "\x00\n|$\\%&_#{}~^<b>"),
]
Place = tuple[str | int, ...]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Where a field is in a document: all keys, and the first item of each list."""
    if above:
        yield above
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*above, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*above, 0))


def mutated(document: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return changed


def said_by(act: Callable[[], object]) -> str:
    """The sentence with which something is refused."""
    try:
        act()
    except UserError as error:
        return str(error)
    return ""


def use(results: Path, path: Path) -> None:
    """Do with a folder of records, one of them odd, what the commands do, but for plots."""
    write_report(results, results.parent / "report")
    terminal.table(group_records(record.load(results, left_out=lambda _: None)))
    documents = [document for _, document in record.read_all(record.paths(results), print)]
    forecast.seconds(Trial.of(SOUND[TARGETS[0]]["trial"]), documents, None)
    tune._result(path)
    for act in (
        lambda: Trial.recorded(record.read(path)),
        lambda: choose.choices(path.parent),
        lambda: choose.pair(str(path), "ucm/starter/lora", results),
        lambda: compare.compare([path, path], [path, path]),
    ):
        assert "\n" not in said_by(act)


REFUSED: list[tuple[Place, list[Any]]] = [
    (("trial", "recipe", "time"), [0, -5.0, "10m", 1e308, True]),
    (("trial", "recipe", "memory"), [0, -1, "24GiB", 0.5]),
    (("efficiency", "budget_steps"), [0, "many", 2.5]),
    (("efficiency", "budget_planned_steps"), [-1, None]),
    (("efficiency", "budget_seconds_used"), ["45 s", 1e308]),
    (("efficiency", "budget_warning"), [3, ["missed"]]),
    (("efficiency", "feature_seconds"), ["many", [], 1e308]),
    (("backbone", "trained_on"), [3, "rsicd", [3]]),
    (("curve", 0, "train_seconds"), ["x", 1e308]),
    (("trial", "call"), ["lora(", "[bold]x[/red]", "a|b<i>", "(" * 5000]),
]


@pytest.mark.parametrize(("place", "values"), REFUSED)
def test_odd_values_are_refused_by_name(tmp_path: Path, place: Place, values: list[Any]) -> None:
    """Mostly of fields that the records of `SOUND` are too old to have."""
    sound = mutated(SOUND[TARGETS[1]], ("trial", "recipe", "time"), 45.0)
    path = tmp_path / "seed0-1.json"
    for value in values:
        path.write_text(json.dumps(mutated(sound, place, value)))
        name = ".".join(map(str, place))
        assert name in said_by(lambda: record.read(path)), (place, value)


def test_whatever_number_a_report_takes_from_a_record_has_a_type() -> None:
    """Reports name fields as `efficiency.train_seconds`; each is checked when a record is read."""
    known = {"efficiency": schema.Efficiency, "data": schema.Data, "backbone": schema.Backbone}
    known |= {"environment": schema.Environment}
    for file in sorted((ROOT / "bench" / "report").glob("*.py")):
        text = file.read_text(encoding="utf-8")
        for part, name in re.findall(r'"(efficiency|data|backbone|environment)\.(\w+)"', text):
            assert name in known[part].__annotations__, f"{file.name} takes {part}.{name}"


@pytest.mark.parametrize("target", TARGETS, ids=lambda path: path.parent.name)
def test_one_odd_record_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Path
) -> None:
    """Each field is taken away and replaced by two odd values, in turn for each field."""
    monkeypatch.setattr(plots, "draw", lambda *_, **__: {})  # it takes seconds
    results = tmp_path / "results"
    for path, document in SOUND.items():
        (results / path.parent).mkdir(parents=True, exist_ok=True)
        (results / path).write_text(json.dumps(document))
    path, used = results / target, 0
    for number, place in enumerate(places(SOUND[target])):
        others = (VALUES[1 + (5 * number + k) % (len(VALUES) - 1)] for k in (0, 3))
        for value in (GONE, *others):
            path.write_text(json.dumps(mutated(SOUND[target], place, value)))
            said: list[str] = []
            record.read_all([path], said.append)
            if said:
                assert str(path) in said[0], (place, value)
                assert "\n" not in said[0], (place, value)
                continue
            used += 1
            if used % 12 == number % 12:  # a report takes some 0.1 s
                try:
                    use(results, path)
                except Exception as error:
                    raise AssertionError(f"{'.'.join(map(str, place))} = {value!r}") from error
    assert used > 50


def test_committed_searches_are_shown_and_odd_ones_named(tmp_path: Path) -> None:
    said: list[str] = []
    shown = searches.tables(RESULTS, said.append)
    assert [path.name for path, *_ in shown] == sorted(path.name for path in RESULTS.glob("*.toml"))
    assert not said
    sound = (RESULTS / "tuned-ucm.toml").read_text(encoding="utf-8")
    path = tmp_path / "tuned.toml"
    for old, new, why in (
        ("recipe = {", "recipes = {", "no key 'recipes' (did you mean 'recipe'?)"),
        ("batch_size = 128", "batch_size = 'x'", "'recipe.batch_size' is 'x'"),
        ("lr = 0.01\n", "lr = 'fast'\n", "'tuned.0.lr' is 'fast'"),
        ("grid = [", "grid = [[], ", "'tuned.0.grid.0' is []"),
        ("val_mR = [", "val_mR = true # ", "'tuned.0.val_mR' is True"),
        ("at_edge = true\n", "", ".at_edge; `bench tune` writes the whole file"),
        ("[[tuned]]", "[[", "cannot be used as a file of learning rates"),
    ):
        path.write_text(sound.replace(old, new, 1), encoding="utf-8")
        assert searches.tables(tmp_path, said.append) == []
        assert str(path) in said[-1]
        assert why in said[-1]
