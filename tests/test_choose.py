"""Which records a user means: files, folders, names below the results folder, several kinds."""

from pathlib import Path
from typing import Any

import pytest

from bench import UserError
from bench.report import choose
from tests.helpers import fake_records as fakes

NAMES = ("ucm/starter/cmer", "ucm/starter/lora")


def records(results: Path, *documents: dict[str, Any]) -> list[Path]:
    paths: list[Path] = fakes.save(results, documents)
    return paths


def refused(*given: Any, **options: Any) -> str:
    call = choose.pair if len(given) == 3 else choose.one
    with pytest.raises(UserError) as raised:
        call(*given, **options)
    assert "\n" not in str(raised.value)
    assert "remove" not in str(raised.value)
    return str(raised.value)


def test_one_record_by_file_folder_and_name(tmp_path: Path) -> None:
    [path] = records(tmp_path, fakes.record("cmer"))
    for where in (str(path), str(path.parent), *NAMES[:1], "ucm", str(path.relative_to(tmp_path))):
        assert choose.one(where, tmp_path) == path


def test_seeds_of_two_methods_are_paired(tmp_path: Path) -> None:
    documents = [
        fakes.record(m, s) for m, s in (("cmer", 0), ("cmer", 1), ("lora", 1), ("lora", 2))
    ]
    paths = records(tmp_path, *documents)
    assert choose.pair(*NAMES, tmp_path) == (
        [paths[1]],
        [paths[2]],
        ["left out: seeds 0, 2, which only one of them has"],
    )
    assert choose.pair(str(paths[0]), str(paths[3]), tmp_path) == ([paths[0]], [paths[3]], [])
    assert choose.pair(str(paths[1]), NAMES[1], tmp_path)[:2] == ([paths[1]], [paths[2]])
    assert "none in common" in refused(str(paths[0]), NAMES[1], tmp_path)
    assert "seeds 0, 1" in refused(*NAMES, tmp_path, seed=2)
    assert "choose: --seed" in refused(NAMES[0], tmp_path)
    assert choose.one(NAMES[0], tmp_path, seed=1) == paths[1]


def test_of_several_kinds_those_in_common_or_those_asked_for(tmp_path: Path) -> None:
    short, long = ({"steps": n} for n in (60, 200))
    documents = [fakes.record(m, recipe=short) for m in ("cmer", "lora")]
    documents += [fakes.record("cmer", recipe=long)]
    paths = records(tmp_path, *documents)
    assert choose.pair(*NAMES, tmp_path) == ([paths[0]], [paths[1]], [])
    paths += records(tmp_path, fakes.record("lora", recipe=long))
    said = refused(*NAMES, tmp_path)
    assert "2 kinds" in said
    assert "--conditions 'steps=200' or --conditions 'steps=60'" in said
    assert choose.pair(*NAMES, tmp_path, conditions="steps=200")[:2] == ([paths[2]], [paths[3]])
    assert choose.pair(str(paths[2]), NAMES[1], tmp_path)[:2] == ([paths[2]], [paths[3]])
    assert choose.one(NAMES[0], tmp_path, conditions="steps=60") == paths[0]
    assert "nothing recorded with steps=7" in refused(NAMES[0], tmp_path, conditions="steps=7")
    a, b, notes = choose.pair(str(paths[0]), str(paths[3]), tmp_path)
    assert (a, b) == ([paths[0]], [paths[3]])
    assert "different conditions" in notes[0]


def test_calls_that_share_a_folder_and_a_group_are_told_apart(tmp_path: Path) -> None:
    plain, cached = (fakes.record("cmer", recipe={"time": 80.0}) for _ in range(2))
    cached["trial"]["cached_features"], cached["identity"] = 4, "0" * 16
    paths = records(tmp_path, plain, cached)
    said = refused(NAMES[0], tmp_path)
    assert "--conditions 'time=80s' or --conditions 'time=80s · cached features views=4'" in said
    for words, path in (("time=80s", paths[0]), ("cached features views=4", paths[1])):
        assert choose.one(NAMES[0], tmp_path, conditions=words) == path


def test_a_list_among_the_settings_is_no_condition(tmp_path: Path) -> None:
    records(tmp_path, fakes.record("lora", blocks={"mlp": [1, 2]}))
    [choice] = choose.choices(tmp_path)
    assert choice.row.label == "lora(blocks={'mlp': [1, 2]})"
    assert choice.conditions == "defaults"


def test_the_latest_learning_rate_speaks_for_a_method_as_in_a_report(tmp_path: Path) -> None:
    old, new = fakes.record("lora"), fakes.record("lora")
    old["trial"]["lr"], old["identity"] = 0.5, "0" * 16
    new["finished"] = "2027-01-01T00:00:00+00:00"
    paths = records(tmp_path, old, new)
    assert choose.one(NAMES[1], tmp_path) == paths[1]


def test_errors_help(tmp_path: Path) -> None:
    records(tmp_path, fakes.record("cmer"), fakes.record("lora", status="diverged"))
    assert "did you mean 'ucm/starter/cmer'" in refused("ucm/starter/cmre", tmp_path)
    assert "lora seed 0 (diverged)" in refused(NAMES[1], tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no seed*.json" in refused("empty", tmp_path)
    records(tmp_path, fakes.record("vpt"))
    assert "give the folder of one method" in refused("ucm", tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "seed0.json").write_text("{")
    assert "is not JSON" in refused("broken", tmp_path)
