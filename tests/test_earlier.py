"""Records of earlier versions are shown under the call that asks for their settings today."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import earlier, record
from bench.earlier import call_today
from bench.report.grouping import group_records
from bench.spec import defaults, parse_calls, resolve
from methods import registry
from tests.helpers import fake_records as fakes

ROOT = Path(__file__).resolve().parent.parent
BRANCH = {"stride": 1, "queue": 8, "focus": "soft"}


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Today's defaults of a method `branch`."""
    today: dict[str, Any] = {"stride": 2, "queue": 8, "focus": "soft", "width": 64}
    monkeypatch.setattr(earlier, "_defaults", lambda: {"branch": today})
    return today


@pytest.mark.parametrize(
    ("call", "settings", "today"),
    [
        ("branch", {}, "branch(stride=1)"),
        ("branch(stride=2)", {"stride": 2}, "branch"),
        ("branch(stride=2, lr=0.003)", {"stride": 2}, "branch(lr=0.003)"),
        ("branch(focus='none')", {"focus": "none"}, "branch(stride=1, focus='none')"),
        ("branch(lr=0.01)", {}, "branch(stride=1, lr=0.01)"),
        ("branch(gone=3)", {"gone": 3}, "branch(stride=1, gone=3)"),
    ],
)
def test_the_call_of_a_record_is_written_as_today(
    usual: dict[str, Any], call: str, settings: dict[str, Any], today: str
) -> None:
    assert call_today("branch", call, {**BRANCH, **settings}) == today


def test_methods_of_others_and_records_without_settings_keep_their_call(
    usual: dict[str, Any],
) -> None:
    assert call_today("theirs", "theirs(a=1)", {"a": 1, "b": 2}) == "theirs(a=1)"
    assert call_today("branch", "branch", {}) == "branch"


def test_defaults_are_read_from_the_source_as_they_are() -> None:
    read = earlier._defaults()
    for name, method in registry().items():
        assert read.get(name, {}) == defaults(method), name


def test_the_call_of_every_committed_record_means_its_settings() -> None:
    for path in sorted(
        [*ROOT.glob("results/**/seed*.json"), *ROOT.glob("benchmarks/**/seed*.json")]
    ):
        trial = json.loads(path.read_text(encoding="utf-8"))["trial"]
        today = call_today(trial["method"], trial["call"], trial["settings"])
        [(name, given)] = parse_calls(today)
        found = resolve(name, given, registry())
        assert found.text == today, path
        assert {k: v for k, v in found.settings if k in trial["settings"]} == trial["settings"]


def test_a_table_keeps_old_and_new_defaults_apart(usual: dict[str, Any], tmp_path: Path) -> None:
    """What means the same is one row, whichever way it was asked for."""
    asked = [("branch", 1, 0), ("branch", 1, 1), ("branch", 2, 0), ("branch", 2, 1)]
    documents = []
    for call, stride, seed in [*asked, ("branch(stride=2)", 2, 2)]:
        document = fakes.record("cmer", seed)
        settings = {**BRANCH, "stride": stride}
        document["trial"] |= {"method": "branch", "call": call, "settings": settings}
        documents.append(document)
    for number, document in enumerate(documents):
        fakes.save(tmp_path / str(number), [document])
    [group] = group_records(record.load(tmp_path))
    assert {row.label: [e.seed for e in row.entries] for row in group.rows} == {
        "branch": [0, 1, 2],
        "branch(stride=1)": [0, 1],
    }
