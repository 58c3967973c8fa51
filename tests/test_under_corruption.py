"""Trained methods on corrupted images: what is recorded, when it is measured again, the report."""

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import UserError, data, lock, record, trial_process
from bench.data import contact
from bench.messages import Stage
from bench.report import contents, markdown, plots, robustness
from bench.report.grouping import group_records
from bench.sweeps.sweep import Plan
from bench.trained import under_corruption
from bench.trained.under_corruption import Condition
from bench.training import limits
from bench.trial import Trial
from tests.helpers import fake_records as fakes
from tests.helpers.trained import trained

WANTED = under_corruption.conditions("blur,cloud", "5")


def measured(path: Path) -> dict[Condition, dict[str, Any]]:
    return under_corruption.results_of(path, record.read(path))


def test_conditions_are_read() -> None:
    pairs = under_corruption.conditions("noise, blur,noise", "3,1")
    assert [(c.corruption, c.severity) for c in pairs] == [
        *(("noise", 1), ("noise", 3)),
        *(("blur", 1), ("blur", 3)),
    ]
    for names, severities, said in [
        ("rain", "1", "no corruption is called 'rain'"),
        ("blur", "6", "1 to 5"),
        ("blur", "", "1 to 5"),
        (",", "1", "one or more of blur"),
    ]:
        with pytest.raises(UserError, match=said):
            under_corruption.conditions(names, severities)


def pending(plan: Plan) -> list[tuple[Trial, list[under_corruption.Condition]]]:
    return under_corruption.todo(plan.trials, plan.results, WANTED)


def test_results_lie_beside_the_record_and_belong_to_its_run(tiny: Path) -> None:
    path, _ = trained(tiny, "linear")
    assert list(under_corruption.measure(path, tiny, WANTED)) == WANTED
    found = measured(path)
    assert set(found) == set(WANTED)
    assert record.paths(tiny / "results") == [path]  # no result is taken for a trial
    again = found[WANTED[1]]
    files = {p: p.read_bytes() for p in (path.parent / "corrupted").iterdir()}
    for file in files:
        file.unlink()
    list(under_corruption.measure(path, tiny, WANTED))
    assert measured(path)[WANTED[1]]["metrics"] == again["metrics"]  # decided by the seed
    plan = Plan([Trial.of(record.read(path)["trial"])], tiny / "results", tiny)
    assert pending(plan) == []
    document = record.read(path) | {"finished": "later"}  # the trial was repeated
    record.write(path, document)
    assert [left for _, left in pending(plan)] == [WANTED]
    list(under_corruption.measure(path, tiny, WANTED))
    assert pending(plan) == []
    kept = list((path.parent / "corrupted").glob("*.replaced"))
    assert len(kept) == 2  # nothing recorded is lost
    next((path.parent / "corrupted").glob("*.json")).write_text("{}")
    said: list[str] = []
    assert len(under_corruption.results_of(path, document, said.append)) == 1
    assert len(said) == 1
    assert "is not a sound result under corruption: 'schema' is missing" in said[0]
    assert pending(plan) != []  # it is measured again


def test_the_method_sees_the_corrupted_pixels(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = trained(tiny, "zeroshot")
    seen: list[tuple[Any, ...]] = []

    def black(images: Any, name: str, severity: int, seed: int) -> Any:
        seen.append((images.shape, name, severity, seed))
        return np.zeros_like(images)

    monkeypatch.setattr(under_corruption, "corrupt", black)
    list(under_corruption.measure(path, tiny, WANTED[:1]))
    assert seen == [((4, 64, 64, 3), "blur", 5, 0)]
    result = measured(path)[WANTED[0]]
    assert result["metrics"]["t2i_R@1"] == pytest.approx(25.0)  # four equal images: chance
    assert result["clean"] != result["metrics"]


def test_a_trials_process_measures_what_is_missing_under_its_lock(tiny: Path) -> None:
    path, _ = trained(tiny, "linear")
    one = Trial.of(record.read(path)["trial"])
    plan = Plan([one], tiny / "results", tiny)
    plan.corrupt[one.identity] = [astuple(condition) for condition in WANTED]
    list(under_corruption.measure(path, tiny, WANTED[:1]))  # by another command, meanwhile
    files = {p: p.read_bytes() for p in (path.parent / "corrupted").iterdir()}
    told: list[Any] = []

    def done() -> Any:
        return trial_process._run_job(plan.job(one), told.append, limits.Clock()).status

    with lock.held(path):
        assert done() == "elsewhere"
    assert done() == "ok"
    assert told == [Stage("cloud 5, 1/1")]
    assert set(measured(path)) == set(WANTED)
    assert all(p.read_bytes() == content for p, content in files.items())
    plan.corrupt[one.identity] = [("haze", 1)]
    path.with_suffix(".safetensors").unlink()
    ended = trial_process._run_job(plan.job(one), told.append, limits.Clock())
    assert ended.status == "not_measured"
    assert "--rerun" in ended.message


def results_of(
    folder: Path, method: str, seed: int, mr: dict[tuple[str, int], float], clean: float = 40.0
) -> None:
    """A made record and its made results; clean: the mR on the images as they are."""
    document = fakes.record(method, seed)
    (path,) = fakes.save(folder, [document])
    for (corruption, severity), value in mr.items():
        result = {
            "schema": 1,
            "corrupt_version": 1,
            "trial_finished": document.get("finished"),
            "condition": {"corruption": corruption, "severity": severity},
            "clean": {"mR": clean},
            "metrics": {"mR": value},
        }
        target = under_corruption.path_of(path, Condition(corruption, severity))
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(result))


def test_the_report_says_what_is_lost(tmp_path: Path) -> None:
    full = {("blur", 1): 36.0, ("blur", 3): 30.0, ("haze", 1): 32.0, ("haze", 3): 22.0}
    results_of(tmp_path, "lora", 0, full)
    results_of(tmp_path, "lora", 1, {key: value + 2 for key, value in full.items()})
    results_of(tmp_path, "vpt", 0, {("blur", 1): 20.0})
    results_of(tmp_path, "full", 0, {})
    frame = record.load(tmp_path)
    (one,) = group_records(frame)
    severity, corruption = (part.table for part in robustness.tables(one, tmp_path))
    assert severity.heads == [
        *("method", "n", "mR clean", "severity 1", "severity 3", "lost", "lost of clean"),
    ]
    text = [[cell.text for cell in row] for row in severity.rows]
    assert text == [
        ["lora", "2", "40.0", "35.0", "27.0", "9.0", "22%"],
        ["vpt", "1", "40.0", "–", "–", "–", "–"],  # other conditions do not compare
    ]
    assert severity.rows[0][3].spread == "1.4"
    assert [[c.text for c in row[3:]] for row in corruption.rows] == [
        ["34.0", "28.0"],
        ["–", "–"],
    ]
    said = markdown.write(contents.contents(frame, [one], tmp_path, "lora", {}))
    assert "| `lora` | 2 | 40.0 ± 0.0 | 35.0 ± 1.4 | 27.0 ± 1.4 | 9.0 ± 1.4 | 22% |" in (
        said.replace("\u00a0", " ")
    )
    drawn = plots.draw([one], tmp_path, tmp_path)[one.name]
    assert [p.suffix for p in drawn if "corruption" in p.name] == [".png"]
    assert robustness.tables(one, tmp_path / "elsewhere") == []


def test_a_mean_over_fewer_conditions_says_so(tmp_path: Path) -> None:
    mr = {("blur", 1): 36.0, ("blur", 3): 30.0, ("haze", 3): 22.0}
    results_of(tmp_path, "lora", 0, mr)
    (one,) = group_records(record.load(tmp_path))
    severity, corruption = (part.table for part in robustness.tables(one, tmp_path))
    assert severity.heads[3:5] == ["severity 1 (blur)", "severity 3"]
    assert corruption.heads[3:] == ["blur", "haze (3)"]


def test_what_is_lost_is_a_share_of_the_recall_of_the_same_trials(tmp_path: Path) -> None:
    results_of(tmp_path, "lora", 0, {("blur", 1): 36.0, ("blur", 3): 32.0})
    results_of(tmp_path, "lora", 1, {("blur", 1): 5.0}, clean=10.0)  # lacks a condition
    (one,) = group_records(record.load(tmp_path))
    [severity] = robustness.tables(one, tmp_path)
    [row] = severity.table.rows
    assert [cell.text for cell in row[-2:]] == ["6.0", "15%"]


def test_the_sheet_of_corruptions(tiny: Path) -> None:
    out = tiny / "a.png"
    contact.corruptions(data.card(str(tiny / "tiny.toml")), tiny, out)
    from PIL import Image

    with Image.open(out) as sheet:
        assert sheet.size == (2 * 24 + 4 * 228, 24 + 5 * (20 + 224 + 24))
